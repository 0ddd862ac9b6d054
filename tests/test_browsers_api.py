"""POST /clicks from pages: whose key, whose page, and what its browser is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from kit import API_KEY
from pages import (
    BODY,
    BROWSERS,
    INTRODUCED,
    KEY,
    ORIGIN,
    PAGE,
    SERVER,
    Start,
    bonds,
    clicks_of,
    client,
    cors,
    error_of,
    nothing_is_stored,
    post,
    refused,
    start,
    store,
    without,
)

from bridge import config
from bridge.errors import ConfigError
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app

__all__ = ["client", "start", "store"]


# ── whose key ────────────────────────────────────────────────────────────────────────────────────


def test_a_page_names_itself_by_header(client: FlaskClient, store: SqliteStore) -> None:
    answer = post(client)
    assert (answer.status_code, answer.get_json()["clicks"]) == (201, BODY["clicks"])
    assert clicks_of(store)["taapit"] == {"click_id": "tid_1"}


def test_a_beacon_names_itself_by_its_address(client: FlaskClient, store: SqliteStore) -> None:
    beacon = {"Origin": ORIGIN, "Content-Type": "text/plain;charset=UTF-8"}
    assert post(client, beacon, path=f"/clicks?key={KEY}").status_code == 201
    assert clicks_of(store)["taapit"] == {"click_id": "tid_1"}


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        pytest.param(without("X-Publishable-Key"), "/clicks", id="none"),
        pytest.param(without("X-Publishable-Key"), "/clicks?key=", id="blank"),
        pytest.param(without("X-Publishable-Key"), f"/clicks?key={KEY}x", id="longer"),
        pytest.param(without("X-Publishable-Key"), f"/clicks?key={KEY.upper()}", id="other case"),
        pytest.param(without("X-Publishable-Key"), "/clicks?key=%ff%00", id="no text"),
        pytest.param({**PAGE, "X-Publishable-Key": "pk_\xe9"}, "/clicks", id="not ascii"),
        pytest.param({**PAGE, "X-Publishable-Key": API_KEY}, "/clicks", id="the server's"),
        pytest.param({**PAGE, "X-Publishable-Key": "x"}, f"/clicks?key={KEY}", id="header wins"),
    ],
)
def test_a_missing_or_wrong_key_is_refused(
    client: FlaskClient, store: SqliteStore, headers: dict[str, str], path: str
) -> None:
    answer = post(client, headers, path=path)
    assert refused(answer) == (401, "unauthorized")
    assert "BRIDGE_PUBLISHABLE_KEY" in error_of(answer)["message"]
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert nothing_is_stored(store)


def test_without_a_publishable_key_no_page_may(start: Start) -> None:
    answer = post(start(BRIDGE_PUBLISHABLE_KEY=None))
    assert refused(answer) == (404, "not_configured")
    assert "BRIDGE_PUBLISHABLE_KEY" in error_of(answer)["message"]
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_pages_need_no_key_of_a_server(start: Start) -> None:
    assert post(start(BRIDGE_API_KEY=None)).status_code == 201


@pytest.mark.parametrize("path", ["/clicks", f"/clicks?key={KEY}"])
def test_of_two_keys_the_server_s_counts(
    client: FlaskClient, store: SqliteStore, path: str
) -> None:
    foreign = {"Origin": "https://foreign.example", **SERVER, "X-Publishable-Key": KEY}
    assert post(client, foreign, INTRODUCED, path=path).status_code == 201
    assert [(each.claimed, each.source) for each in bonds(store)] == [(False, "your server")]


def test_a_wrong_key_of_a_server_s_is_not_made_good_by_the_page_s(client: FlaskClient) -> None:
    answer = post(client, {**PAGE, "Authorization": "Bearer wrong"})
    assert refused(answer) == (401, "unauthorized")


@pytest.mark.parametrize("path", ["/leads", f"/leads?key={KEY}"])
def test_a_page_makes_no_leads(client: FlaskClient, store: SqliteStore, path: str) -> None:
    answer = post(client, path=path)
    assert refused(answer) == (401, "unauthorized")
    assert "from your server, not from a page" in error_of(answer)["message"]
    assert not cors(answer)
    assert nothing_is_stored(store)


def test_a_browser_is_not_told_that_it_may_make_leads(client: FlaskClient) -> None:
    asked = {**PAGE, "Access-Control-Request-Method": "POST"}
    for answer in (client.options("/leads", headers=asked), post(client, SERVER, path="/leads")):
        assert answer.status_code < 300
        assert not cors(answer)


def test_what_a_page_says_is_a_claim(client: FlaskClient, store: SqliteStore) -> None:
    assert post(client, body=INTRODUCED).status_code == 201
    assert [(each.claimed, each.source) for each in bonds(store)] == [(True, "a browser")]


# ── whose page ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:8080", "HTTPS://Shop.Example"])
def test_a_page_of_the_merchant_s_may_and_reads_the_answer(
    client: FlaskClient, origin: str
) -> None:
    answer = post(client, {**PAGE, "Origin": origin})
    assert answer.status_code == 201
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Origin" in answer.vary


FOREIGN = {
    "another": "https://foreign.example",
    "null": "null",
    "none": None,
    "empty": "",
    "another port": f"{ORIGIN}:8443",
    "its port said": f"{ORIGIN}:443",
    "another scheme": "http://shop.example",
    "a sub-domain": "https://www.shop.example",
    "longer": "https://shop.example.foreign.example",
    "before": "https://foreign.example/https://shop.example",
    "with a slash": f"{ORIGIN}/",
    "two": f"{ORIGIN}, http://localhost:8080",
    "the setting": BROWSERS["BRIDGE_ALLOWED_ORIGINS"],
    "long": "https://" + "x" * 5000,
}


@pytest.mark.parametrize("origin", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_page_may_not(
    client: FlaskClient, store: SqliteStore, origin: str | None
) -> None:
    headers = without("Origin") if origin is None else {**PAGE, "Origin": origin}
    answer = post(client, headers)
    assert refused(answer) == (403, "foreign_origin")
    assert "BRIDGE_ALLOWED_ORIGINS" in error_of(answer)["message"]
    assert len(error_of(answer)["message"]) < 400
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Origin" in answer.vary
    assert nothing_is_stored(store)


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:8080"])
def test_a_browser_that_asks_is_told_what_a_page_may_send(client: FlaskClient, origin: str) -> None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, idempotency-key, x-publishable-key",
    }
    answer = client.options("/clicks", headers=asked)
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert set(allowed) == set(asked["Access-Control-Request-Headers"].split(", "))
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "Origin" in answer.vary


@pytest.mark.parametrize("origin", FOREIGN.values(), ids=FOREIGN)
def test_a_browser_that_asks_for_a_foreign_page_is_refused(
    client: FlaskClient, origin: str | None
) -> None:
    headers = {"Access-Control-Request-Method": "POST"} | ({"Origin": origin} if origin else {})
    answer = client.options("/clicks", headers=headers)
    assert refused(answer) == (403, "foreign_origin")
    assert not cors(answer)
    assert "Origin" in answer.vary


def test_a_page_can_read_every_error(
    start: Start, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(BRIDGE_CLICKS_PER_MINUTE="6")
    answers = [
        post(client, {**PAGE, "X-Publishable-Key": "wrong"}),
        post(client, {**PAGE, "Authorization": "Bearer wrong"}),
        post(client, body=b"{"),
        post(client, body={**BODY, "extra": 1}),
        post(client, body={**BODY, "clicks": []}),
        post(client, {**PAGE, "Idempotency-Key": ""}),
        post(client, body=b" " * (32 * 1024 + 1)),
    ]
    monkeypatch.delattr(store, "customers")
    answers += [post(client), post(client)]
    assert [each.status_code for each in answers] == [401, 401, 422, 422, 422, 422, 422, 500, 429]
    for answer in answers:
        assert error_of(answer)["message"]
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Origin" in answer.vary


def test_a_page_can_read_that_the_store_is_not_there(
    start: Start, tmp_path: Path, store: SqliteStore
) -> None:
    start()
    away = SqliteStore(str(tmp_path / "not" / "here.db"))
    answer = post(create_app(config.load(), away).test_client())
    assert refused(answer) == (503, "store_unavailable")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    away.close()


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


def test_a_publishable_key_needs_origins(start: Start) -> None:
    for blank in (None, "", " , ,"):
        with pytest.raises(ConfigError, match="BRIDGE_ALLOWED_ORIGINS"):
            start(BRIDGE_ALLOWED_ORIGINS=blank)


@pytest.mark.parametrize("name", ["BRIDGE_API_KEY", "BRIDGE_SECRET_KEY"])
def test_what_stands_in_pages_is_no_secret(start: Start, name: str) -> None:
    with pytest.raises(ConfigError, match="BRIDGE_PUBLISHABLE_KEY") as raised:
        start(**{name: KEY})
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("written", "origins"),
    [
        (ORIGIN, [ORIGIN]),
        (f" {ORIGIN} ,, http://localhost:8080,", [ORIGIN, "http://localhost:8080"]),
        ("HTTPS://Shop.Example", [ORIGIN]),
        (f"{ORIGIN}/", [ORIGIN]),
        (f"{ORIGIN}:443", [ORIGIN]),
        ("http://shop.example:80/", ["http://shop.example"]),
        (f"{ORIGIN}:80", [f"{ORIGIN}:80"]),
        ("http://127.0.0.1:3000", ["http://127.0.0.1:3000"]),
        ("http://[::1]:3000", ["http://[::1]:3000"]),
        ("https://xn--mller-kva.example", ["https://xn--mller-kva.example"]),
        ("capacitor://localhost", ["capacitor://localhost"]),
    ],
)
def test_origins_are_read_as_browsers_write_them(
    start: Start, written: str, origins: list[str]
) -> None:
    client = start(BRIDGE_ALLOWED_ORIGINS=written)
    assert config.load().settings.origins() == origins
    for origin in origins:
        assert post(client, {**PAGE, "Origin": origin}).status_code == 201


@pytest.mark.parametrize(
    "written",
    [
        *("shop.example", "//shop.example", "https://", "https:///", "https:shop.example"),
        *(f"{ORIGIN}/shop", f"{ORIGIN}//", f"{ORIGIN}?a=b", f"{ORIGIN}#a", f"{ORIGIN}:port"),
        *("https://*.shop.example", "https://jane@shop.example", "https://müller.example"),
        *("https://shop .example", f"{ORIGIN} http://localhost", "http://[::1", f"{ORIGIN}, x"),
        *("*", "null"),
    ],
)
def test_what_is_no_origin_is_an_error_at_start(start: Start, written: str) -> None:
    with pytest.raises(ConfigError, match=r"BRIDGE_ALLOWED_ORIGINS: .* is no origin"):
        start(BRIDGE_ALLOWED_ORIGINS=written)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRIDGE_TRUSTED_PROXIES", "-1"),
        ("BRIDGE_TRUSTED_PROXIES", "all"),
        ("BRIDGE_CLICKS_PER_MINUTE", "0"),
        ("BRIDGE_CLICKS_PER_MINUTE", "-5"),
        ("BRIDGE_CLICKS_PER_MINUTE", "1.5"),
    ],
)
def test_a_number_that_makes_no_sense_is_an_error_at_start(
    start: Start, name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=name):
        start(**{name: value})
