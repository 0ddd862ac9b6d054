"""What goes out: to nobody else, over TLS that is verified, with nothing of this machine added.

Real sockets on this machine; the same holds of calls to vendors and of questions to providers.
"""

from __future__ import annotations

import re
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kit import VENDOR_SETTINGS, settings_of
from running import until
from stores import a_call, a_told
from tls import HERE, Papers, issue, recorder

from bridge import config
from bridge import vendors as vendor_package
from bridge.errors import ConfigError, ProviderApiError
from bridge.http import Sender
from bridge.model import Call, Dead, NoAnswer, Response
from bridge.provider_api.paddle import PaddleApi
from bridge.provider_api.shopify import ShopifyApi
from bridge.provider_api.stripe import StripeApi
from bridge.providers.paddle import PaddleSettings
from bridge.providers.shopify import ShopifySettings
from bridge.providers.stripe import StripeSettings
from bridge.vendors.codeqr import Codeqr, CodeqrSettings

KEY = "key_made_up_for_tests_0123456789"
SHOP = "acme.myshopify.com"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
REDIRECTS = [301, 302, 303, 307, 308]


# ── who calls ────────────────────────────────────────────────────────────────────────────────────


def call_of(url: str) -> Call:
    return Call(step="sale", url=f"{url}/sales", tells=a_told(), json={"order": "in_1"})


def deliver(url: str) -> Response | NoAnswer:
    sender = Sender(read_seconds=5)
    try:
        return sender.send(call_of(url), {"Authorization": f"Bearer {KEY}"})
    finally:
        sender.close()


def tell_vendor(url: str) -> str:
    answer = deliver(url)
    return answer.reason if isinstance(answer, NoAnswer) else str(answer.status)


def ask_stripe(url: str) -> str:
    made = StripeSettings(webhook_secret="x", api_key=KEY, api_base=url)
    return asked(StripeApi(made, KEY), "pi_1")


def ask_paddle(url: str) -> str:
    made = PaddleSettings(webhook_secret="x", api_key=KEY, api_base=url)
    return asked(PaddleApi(made, KEY), "txn_1")


def ask_shopify(url: str) -> str:
    made = ShopifySettings(api_secret="x", shop=SHOP, access_token=KEY, api_base=url)
    return asked(ShopifyApi(made, KEY), f"{SHOP}/1")


def asked(api: StripeApi | PaddleApi | ShopifyApi, reference: str) -> str:
    try:
        api.look_up(reference, "", NOW)
    except ProviderApiError as error:
        return str(error)
    finally:
        api.close()
    return "answered"


CALLERS = {
    "vendor": tell_vendor,
    "stripe": ask_stripe,
    "paddle": ask_paddle,
    "shopify": ask_shopify,
}
each_caller = pytest.mark.parametrize("call", CALLERS.values(), ids=CALLERS)
Caller = Callable[[str], str]


# ── redirects ────────────────────────────────────────────────────────────────────────────────────


@each_caller
@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_is_not_followed(call: Caller, status: int) -> None:
    with recorder() as other, recorder() as asked_one:
        asked_one.fault = (status, b"moved")
        for elsewhere in (other.url, other.url.replace(HERE, "localhost"), "//evil.example/x"):
            asked_one.headers = {"Location": f"{elsewhere}/sales"}
            said = call(asked_one.url)
            assert KEY not in said
        assert KEY in asked_one.heard
        assert len(asked_one.asked) == 3
        assert other.asked == []


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_is_a_dead_letter_that_names_the_setting(status: int) -> None:
    vendor = Codeqr(CodeqrSettings(api_key=KEY))
    call = a_call()
    verdict = vendor.judge(call, Response(status=status, body=""))
    assert isinstance(verdict, Dead)
    assert "a redirect is not followed: check CODEQR_BASE_URL" in verdict.reason


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def authority() -> Papers:
    return issue("Authority made up for tests")


def papers(kind: str, authority: Papers) -> Papers:
    return {
        "signed by itself": lambda: issue(HERE),
        "of an authority nobody knows": lambda: issue(HERE, authority),
    }[kind]()


@each_caller
@pytest.mark.parametrize("kind", ["signed by itself", "of an authority nobody knows"])
def test_a_certificate_that_nobody_vouches_for_is_refused(
    call: Caller, kind: str, authority: Papers, tmp_path: Path
) -> None:
    with recorder(papers(kind, authority).write(tmp_path / "papers.pem")) as server:
        said = call(server.url)
        assert "certificate" in said.lower()
        assert KEY not in said
        assert server.asked == []


@pytest.fixture
def trusting(authority: Papers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Papers:
    """Have this machine's list of authorities hold the one made up for tests alone."""
    path = str(authority.write(tmp_path / "authorities.pem"))
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", path)
    monkeypatch.setattr("stripe.ca_bundle_path", path)
    return authority


@each_caller
@pytest.mark.parametrize(("name", "days"), [("other.example", 1), ("127.0.0.2", 1), (HERE, -1)])
def test_a_certificate_of_another_name_or_time_is_refused(
    call: Caller, name: str, days: int, trusting: Papers, tmp_path: Path
) -> None:
    with recorder(issue(name, trusting, days=days).write(tmp_path / "papers.pem")) as server:
        assert "certificate" in call(server.url).lower()
        assert server.asked == []


@each_caller
def test_a_certificate_that_is_vouched_for_is_taken(
    call: Caller, trusting: Papers, tmp_path: Path
) -> None:
    with recorder(issue(HERE, trusting).write(tmp_path / "papers.pem")) as server:
        call(server.url)
        assert KEY in server.heard


def test_what_is_refused_was_not_sent_and_what_is_sent_is_answered(
    authority: Papers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorder(issue(HERE, authority).write(tmp_path / "papers.pem")) as server:
        refused = deliver(server.url)
        assert isinstance(refused, NoAnswer)
        assert not refused.sent
        known = str(authority.write(tmp_path / "authorities.pem"))
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", known)
        answer = deliver(server.url)
        assert isinstance(answer, Response)
        assert (answer.status, answer.body) == (200, "{}")


# ── connections ──────────────────────────────────────────────────────────────────────────────────


class KeepsOpen(socketserver.StreamRequestHandler):
    """Answer one request after another and keep the connection open, as HTTP/1.1 is by default."""

    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: seen=1\r\nContent-Length: 2\r\n\r\n{}"
    server: CountingServer

    def handle(self) -> None:
        self.server.opened.append(self.client_address)
        while head := self._head():
            length = re.search(rb"(?i)content-length: (\d+)", head)
            self.rfile.read(int(length[1]) if length else 0)
            self.server.heard += head.decode()
            self.wfile.write(self.answer)
        self.server.closed.append(self.client_address)

    def _head(self) -> bytes:
        head = b""
        while (line := self.rfile.readline()) not in {b"\r\n", b""}:
            head += line
        return head


class CountingServer(socketserver.ThreadingTCPServer):
    """Count the connections that are opened, and those that the other side has closed."""

    daemon_threads = True

    def __init__(self, papers: Path | None) -> None:
        super().__init__((HERE, 0), KeepsOpen)
        self.opened: list[object] = []
        self.closed: list[object] = []
        self.heard = ""
        self.url = f"http{'s' if papers else ''}://{HERE}:{self.server_address[1]}"
        if papers:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(papers)
            self.socket = context.wrap_socket(self.socket, server_side=True)


@pytest.fixture(params=["http", "https"])
def keeps_open(
    request: pytest.FixtureRequest, trusting: Papers, tmp_path: Path
) -> Iterator[CountingServer]:
    """Give a server that neither closes a connection nor says that it would."""
    tls = request.param == "https"
    papers = issue(HERE, trusting).write(tmp_path / "papers.pem") if tls else None
    with CountingServer(papers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # seconds to a poll
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("repeatable", [True, False])
def test_what_may_not_be_repeated_goes_over_a_connection_of_its_own(
    keeps_open: CountingServer, repeatable: bool
) -> None:
    call, sender = replace(call_of(keeps_open.url), repeatable=repeatable), Sender(read_seconds=5)
    for _ in range(3):
        assert isinstance(sender.send(call, {}), Response)
    assert len(keeps_open.opened) == (1 if repeatable else 3)
    if not repeatable:
        until(lambda: len(keeps_open.closed) == 3, "all to be closed at once")
    sender.close()


def test_a_cookie_is_not_sent_back(keeps_open: CountingServer) -> None:
    sender = Sender(read_seconds=5)
    for repeatable in (True, True, False, False):
        sender.send(replace(call_of(keeps_open.url), repeatable=repeatable), {})
    sender.close()
    assert "cookie" not in keeps_open.heard.lower()


# ── this machine ─────────────────────────────────────────────────────────────────────────────────


@each_caller
def test_proxies_and_netrc_of_this_machine_change_nothing(
    call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine {HERE} login thief password taken\ndefault login x password y\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with recorder() as proxy, recorder() as server:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            for spelling in (name, name.upper()):
                monkeypatch.setenv(spelling, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        call(server.url)
        assert proxy.asked == []
        assert KEY in server.heard
        assert "Basic " not in server.heard
        assert "thief" not in server.heard


@each_caller
def test_authorities_of_the_environment_are_not_trusted(
    call: Caller, authority: Papers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = str(authority.write(tmp_path / "authorities.pem"))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, known)
    with recorder(issue(HERE, authority).write(tmp_path / "papers.pem")) as server:
        assert "certificate" in call(server.url).lower()
        assert server.asked == []


# ── addresses ────────────────────────────────────────────────────────────────────────────────────

ADDRESSES = [
    *(f"{name}_BASE_URL".upper() for name in vendor_package.discover()),
    *("STRIPE_API_BASE", "PADDLE_API_BASE", "SHOPIFY_API_BASE"),
]
REFUSED = [
    *("http://evil.example", "http://127.0.0.1.evil.example", "http://localhost.evil.example"),
    *("http://localhost@evil.example", "http://127.0.0.1:80@evil.example", "http://evil.example#x"),
    *("http://[::1].evil.example", "http://[::1", "http://[::2]", "http://127.0.0.2", "http://0"),
    *("http://evil.example?http://localhost", "http://evil.example/localhost", "//localhost"),
    *("http:/localhost", "http:localhost", "localhost", "ftp://localhost", "file:///etc/passwd"),
    *("https://user:pass@good.example", "https://user@good.example", "https://", "https:///x"),
    *("http://127.0.0.1\\@evil.example", "http://evil.example\\@127.0.0.1", "http:\\\\localhost"),
    *(
        "https://good.example?key=x",
        "https://good.example#x",
        "javascript:alert(1)",
        "ws://localhost",
    ),
    *("http://127.0.0.1%2eevil.example", "http://localhost%00.evil.example", "http://ⓛocalhost"),
    *(
        "https://[::1].evil.example",
        "https://good.example:x",
        "https://good.example\\@evil.example",
    ),
    *("https://good.example/a\nb", "https://good .example", "https://good.example:123456"),
    *("http://127.0.0.1 .evil.example", "http://local\thost.evil.example", "http://2130706433"),
]
TAKEN = [
    *("http://127.0.0.1", "http://127.0.0.1:8100/x", "http://localhost", "http://LOCALHOST:1"),
    *(
        "http://[::1]",
        "http://[::1]:8100/taapit/",
        "https://good.example",
        "https://good.example:1/x/",
    ),
]


@pytest.fixture
def all_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch on whatever has an address."""
    made_up = {**VENDOR_SETTINGS, **settings_of("stripe", "paddle", "shopify")}
    for name, value in {**made_up, "SHOPIFY_SHOP": SHOP}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("all_set")
@pytest.mark.parametrize("setting", ADDRESSES)
def test_an_address_that_is_not_safe_is_refused_by_its_setting(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {each.name for each in config.known_settings()} >= set(ADDRESSES)
    for url in REFUSED:
        monkeypatch.setenv(setting, url)
        with pytest.raises(ConfigError, match=f"{setting}: ") as error:
            config.load()
        assert "pass" not in str(error.value)
    for url in TAKEN:
        monkeypatch.setenv(setting, url)
        config.load()


def test_every_setting_that_is_an_address_is_checked() -> None:
    known = {each.name for each in config.known_settings()}
    addresses = {name for name in known if name.endswith(("_URL", "_API_BASE"))}
    assert addresses - {"DATABASE_URL"} == set(ADDRESSES)
