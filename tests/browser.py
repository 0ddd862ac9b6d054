"""A real browser for tests: Chromium, a shop with the script's tag, and a bridge over real HTTP."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from http_stand_in import HttpStandIn, served
from kit import Bench, bench
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from bridge.web import create_app

KEY = "pk_made_up_for_tests"
PATIENCE = 20.0
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str:
    """Return where Chromium is; skip the test where it is not."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("chromium is not installed: apt-get install chromium")
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start Chromium once for a file of tests."""
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


# ── the shop ─────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Shop(HttpStandIn):
    """Serve the merchant's pages: the same one, with the script's tag, at every address.

    `head` comes before the tag and `body` after it; `tag` is the tag itself.
    """

    head: str = ""
    tag: str = ""
    body: str = ""

    def reply(self, request: Request) -> Response:
        """Answer with a page."""
        if request.path == "/favicon.ico":
            return Response(status=204)
        # What the page's own script does after the tag shows that it still runs.
        page = (
            f"<!doctype html><title>{request.path}</title>{self.head}\n{self.tag}\n{self.body}\n"
            "<p id='rest'>the rest of the page</p>"
        )
        return Response(page, headers=self.headers, content_type="text/html; charset=utf-8")

    def at(self, host: str) -> str:
        """Return the shop's address under another name of this machine."""
        return self.url.replace("127.0.0.1", host)


# ── the bridge ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Post:
    """Hold what a browser posted, and what it was answered."""

    path: str
    headers: Mapping[str, str]
    text: str
    status: int

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.text)
        return body

    @property
    def clicks(self) -> dict[str, Any]:
        clicks: dict[str, Any] = self.body.get("clicks", {})
        return clicks


class Traffic:
    """Keep what passes between browsers and a bridge.

    It may pretend to be a proxy that saw a visitor's `address`, or that the bridge is `gone`.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._changed = threading.Condition()
        self._seen = 0
        self.posts: list[Post] = []
        self.preflights = 0
        self.gone = False
        self.address = ""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Pass a request on; a bridge that is gone takes no clicks."""
        request = Request(environ)
        data = request.get_data()
        if self.address:
            environ["HTTP_X_FORWARDED_FOR"] = self.address
        environ["wsgi.input"] = BytesIO(data)  # it can be read only once
        is_click = request.path.endswith("/clicks")
        answer = (
            Response("gone", 503)
            if self.gone and is_click
            else Response.from_app(self._application, environ, buffered=True)
        )
        if is_click:
            post = Post(request.full_path, dict(request.headers), data.decode(), answer.status_code)
            self._add(request.method, post)
        return answer(environ, start_response)

    def _add(self, method: str, post: Post) -> None:
        with self._changed:
            if method == "POST":
                self.posts.append(post)
            self.preflights += method == "OPTIONS"
            self._changed.notify_all()

    def next(self, count: int = 1) -> list[Post]:
        """Wait for as many posts as that, after those returned before, and return them.

        Those sent at one moment arrive in any order: what is known of the visitor comes last.
        """
        with self._changed:
            wanted = self._seen + count
            there = self._changed.wait_for(lambda: len(self.posts) >= wanted, PATIENCE)
            assert there, f"waited in vain for post {wanted}; there are {self.posts}"
            found = self.posts[self._seen : wanted]
            self._seen = wanted
            return sorted(found, key=lambda each: len(each.body["customer"]))

    @property
    def quiet(self) -> bool:
        """Tell whether nothing came that was not asked for with `next`."""
        return len(self.posts) == self._seen


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def web(made: Bench) -> Iterator[tuple[str, Traffic]]:
    """Serve a bridge on this machine."""
    traffic = Traffic(create_app(made.config, made.store).wsgi_app)
    server = make_server("127.0.0.1", 0, traffic, threaded=True, request_handler=_Silent)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # seconds to a poll
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", traffic
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ── all of it ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Scene:
    """Hold a shop, its bridge and a browser with one visitor."""

    shop: Shop
    bench: Bench
    url: str
    traffic: Traffic
    context: BrowserContext
    errors: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def page(self) -> Page:
        """Open a tab; what goes wrong in it, and what it prints, is kept."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.said.append(message.text))
        return page

    def land(self, path: str = "/", page: Page | None = None, **how: Any) -> Page:
        """Go to one of the shop's pages, and wait until all of it is there."""
        page = page or self.page()
        url = path if path.startswith("http") else self.shop.url + path
        page.goto(url, **how)
        return page

    def use_tag(self, **attributes: str) -> None:
        """Have the shop's tag say something else."""
        said = {"data-key": KEY, **{f"data-{n}": value for n, value in attributes.items()}}
        words = "".join(f' {name}="{value}"' for name, value in said.items())
        self.shop.tag = f'<script src="{self.url}/bridge.js"{words}></script>'

    def set_cookie(self, name: str, value: str) -> None:
        """Give the visitor a cookie of the shop, as a vendor's own script would."""
        self.context.add_cookies([{"name": name, "value": value, "url": self.shop.url}])

    def cookies(self) -> dict[str, str]:
        """Return the visitor's cookies."""
        return {each.get("name", ""): each.get("value", "") for each in self.context.cookies()}


Set = Callable[..., Scene]


@pytest.fixture
def scene(chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Set]:
    """Return a function that sets a scene: with some of the vendors, and some settings."""
    with ExitStack() as stack:

        def set_up(*vendors: str, **settings: str) -> Scene:
            shop = stack.enter_context(served(Shop()))
            settings = {
                "BRIDGE_PUBLISHABLE_KEY": KEY,
                "BRIDGE_ALLOWED_ORIGINS": shop.url,
                **settings,
            }
            path = tmp_path / "bridge.db"
            made = stack.enter_context(bench(path, monkeypatch, vendors or None, **settings))
            url, traffic = stack.enter_context(web(made))
            context = stack.enter_context(chromium.new_context())
            new = Scene(shop, made, url, traffic, context)
            new.use_tag()
            return new

        yield set_up
