"""The front as a WSGI application, so that the same client and the same tests reach it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.http import HTTP_STATUS_CODES

from bridge.web.front import Front

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CHUNK = 64 * 1024


def fronted(app: Flask) -> Flask:
    """Have an application be called as the server calls it: through the front."""
    # It calls Flask as it was, or it would call itself.
    front = Front(app.wsgi_app, app.extensions["bridge"])

    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, headers, body = _in_a_thread(lambda: ask(front, environ))
        start_response(f"{status} {HTTP_STATUS_CODES[status].upper()}", headers)
        return [body]

    app.wsgi_app = outer  # type: ignore[method-assign]
    return app


async def ask(front: Front, environ: WSGIEnvironment) -> tuple[int, list[tuple[str, str]], bytes]:
    """Ask as a server of ASGI does; the body comes in chunks."""
    data: bytes = environ["wsgi.input"].read()
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    messages = [{"type": "http.request", "body": each, "more_body": True} for each in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    said: list[dict[str, Any]] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        said.append(message)

    called: Callable[..., Awaitable[None]] = front
    await called(_scope(environ), receive, send)
    start, *rest = said
    headers = [(name.decode("latin-1"), each.decode("latin-1")) for name, each in start["headers"]]
    return start["status"], headers, b"".join(each.get("body", b"") for each in rest)


def _scope(environ: WSGIEnvironment) -> dict[str, Any]:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    }
    return {
        "type": "http",
        "http_version": "1.1",
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
        "client": (environ.get("REMOTE_ADDR", "127.0.0.1"), 1),
    }


def _in_a_thread(ask: Callable[[], Any]) -> Any:
    """Run a coroutine where no other runs: a browser under test has a loop of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(ask())))
    thread.start()
    thread.join()
    return found[0]
