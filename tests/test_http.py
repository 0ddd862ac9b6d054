"""What goes out: to nobody else, over TLS that is verified, with nothing of this machine added.

Real sockets on this machine; the same holds of calls to vendors and of questions to providers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kit import VENDOR_SETTINGS, settings_of
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
