"""POST /clicks from pages: how often, and what is kept of a visitor."""

from __future__ import annotations

import time

import pytest
from flask.testing import FlaskClient
from pages import (
    ADDRESS,
    AGENT,
    BODY,
    ELSEWHERE,
    PAGE,
    PROXY,
    SERVER,
    VISITOR,
    Start,
    clicks_of,
    client,
    error_of,
    nothing_is_stored,
    on_disk,
    post,
    refused,
    start,
    store,
)

from bridge.store.sqlite import SqliteStore
from bridge.vendors.tracify import tracify_hash

__all__ = ["client", "start", "store"]


# ── how often ────────────────────────────────────────────────────────────────────────────────────


def test_an_address_may_send_so_many_a_minute(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(BRIDGE_CLICKS_PER_MINUTE="3")
    began, real = time.time(), time.time
    assert [post(client).status_code for _ in range(5)] == [201, 201, 201, 429, 429]
    answer = post(client)
    assert refused(answer) == (429, "too_many_requests")
    assert "BRIDGE_CLICKS_PER_MINUTE is 3" in error_of(answer)["message"]
    assert 60 - (real() - began) <= int(answer.headers["Retry-After"]) <= 60
    assert post(client, address=ELSEWHERE).status_code == 201

    monkeypatch.setattr(time, "time", lambda: real() + 45)
    assert 1 <= int(post(client).headers["Retry-After"]) <= 16
    monkeypatch.setattr(time, "time", lambda: real() + 61)
    assert [post(client).status_code for _ in range(4)] == [201, 201, 201, 429]


def test_what_is_refused_for_its_body_counts_too(start: Start) -> None:
    client = start(BRIDGE_CLICKS_PER_MINUTE="2")
    assert [post(client, body=b"{").status_code for _ in range(3)] == [422, 422, 429]


def test_foreign_pages_use_up_nothing(start: Start) -> None:
    client = start(BRIDGE_CLICKS_PER_MINUTE="1")
    foreign = {**PAGE, "Origin": "https://foreign.example"}
    assert [post(client, foreign).status_code for _ in range(3)] == [403, 403, 403]
    assert [post(client).status_code for _ in range(2)] == [201, 429]


def test_servers_are_not_limited(start: Start) -> None:
    client = start(BRIDGE_CLICKS_PER_MINUTE="1")
    assert [post(client, {**PAGE, **SERVER}).status_code for _ in range(3)] == [201] * 3
    assert [post(client, SERVER, path="/leads").status_code for _ in range(3)] == [201] * 3


@pytest.mark.parametrize(
    ("one", "other", "status"),
    [
        pytest.param("2606:2800:21f:cb07::1", "2606:2800:21f:cb07:ffff::9", 429, id="household"),
        pytest.param("2606:2800:21f:cb07::1", "2606:2800:21f:cb08::1", 201, id="another household"),
        pytest.param(f"::ffff:{ADDRESS}", ADDRESS, 429, id="IPv4 in IPv6"),
        pytest.param(f"::ffff:{ADDRESS}", f"::ffff:{ELSEWHERE}", 201, id="two IPv4 in IPv6"),
        pytest.param(f"{ADDRESS}:4711", f"{ADDRESS}:4712", 429, id="with ports"),
        pytest.param("[2606:2800::1]:4711", "[2606:2800::1]:4712", 429, id="IPv6 with ports"),
        pytest.param("", "", 429, id="unknown"),
    ],
)
def test_who_is_one_sender(start: Start, one: str, other: str, status: int) -> None:
    client = start(BRIDGE_CLICKS_PER_MINUTE="1")
    assert post(client, address=one).status_code == 201
    assert post(client, address=other).status_code == status


# ── behind proxies ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("proxies", "forwarded", "seen"),
    [
        ("0", ELSEWHERE, ADDRESS),
        ("1", ELSEWHERE, ELSEWHERE),
        ("1", f"8.8.8.8, {ELSEWHERE}", ELSEWHERE),
        ("2", f"8.8.8.8, {ELSEWHERE}, {PROXY}", ELSEWHERE),
        ("1", f"{ELSEWHERE}:4711", ELSEWHERE),
        ("1", f"::ffff:{ELSEWHERE}", ELSEWHERE),
        ("1", "", ADDRESS),
        ("2", ELSEWHERE, ADDRESS),
        ("1", "unknown", ""),
        ("1", "<script>", ""),
    ],
)
def test_only_trusted_proxies_say_where_a_visitor_is(
    start: Start, store: SqliteStore, proxies: str, forwarded: str, seen: str
) -> None:
    client = start(BRIDGE_TRUSTED_PROXIES=proxies)
    assert post(client, {**PAGE, "X-Forwarded-For": forwarded}).status_code == 201
    kept = clicks_of(store)["tracify"]
    assert isinstance(kept, dict)
    assert kept.get("ip_hash", "") == (tracify_hash(seen) if seen else "")


def test_behind_a_proxy_each_visitor_has_a_limit(start: Start) -> None:
    client = start(BRIDGE_TRUSTED_PROXIES="1", BRIDGE_CLICKS_PER_MINUTE="1")

    def status(forwarded: str) -> int:
        headers = {**PAGE, "X-Forwarded-For": forwarded}
        return post(client, headers, address=PROXY).status_code

    assert [status(ADDRESS), status(ELSEWHERE), status(ADDRESS)] == [201, 201, 429]
    assert [status(f"8.8.8.{n}, {ADDRESS}") for n in range(3)] == [429] * 3


def test_without_proxies_nobody_gets_round_the_limit(start: Start) -> None:
    client = start(BRIDGE_CLICKS_PER_MINUTE="1")
    found = [post(client, {**PAGE, "X-Forwarded-For": f"8.8.8.{n}"}).status_code for n in range(3)]
    assert found == [201, 429, 429]


# ── who was seen ─────────────────────────────────────────────────────────────────────────────────


def test_a_visitor_is_kept_as_hashes_alone(client: FlaskClient, store: SqliteStore) -> None:
    assert post(client).status_code == 201
    assert clicks_of(store)["tracify"] == {
        "ip_hash": tracify_hash(ADDRESS),
        "user_agent_hash": tracify_hash(AGENT),
        "session_hash": tracify_hash(f"{ADDRESS}|{AGENT}"),
        "url": BODY["context"]["url"],
        "utm_source": "x",
    }
    data = on_disk(store)
    assert VISITOR.encode() in data  # it is the right file
    assert not [each for each in (ADDRESS, AGENT) if each.encode() in data]


def test_what_a_page_says_of_its_visitor_is_not_believed(
    client: FlaskClient, store: SqliteStore
) -> None:
    claimed = {"ip": ELSEWHERE, "user_agent": "another"}
    clicks = {"tracify": {"ip_hash": tracify_hash(ELSEWHERE), "utm_medium": "mine"}}
    answer = post(client, body={**BODY, "clicks": clicks, "context": claimed})
    assert answer.status_code == 201
    assert clicks_of(store)["tracify"] == {
        "ip_hash": tracify_hash(ADDRESS),
        "user_agent_hash": tracify_hash(AGENT),
        "session_hash": tracify_hash(f"{ADDRESS}|{AGENT}"),
        "utm_medium": "mine",
    }


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "10.0.0.2", "192.168.1.2", "172.16.0.1", "169.254.1.1"),
        *("100.64.0.1", "fd00::1", "fe80::1", "::ffff:10.0.0.2", "0.0.0.1", "203.0.113.7"),
        *("", "unix:"),
    ],
)
def test_an_address_that_is_a_proxy_s_is_not_the_visitor_s(
    client: FlaskClient, store: SqliteStore, address: str
) -> None:
    assert post(client, address=address).status_code == 201
    kept = clicks_of(store)["tracify"]
    assert isinstance(kept, dict)
    assert "ip_hash" not in kept
    assert "session_hash" not in kept
    assert kept["user_agent_hash"] == tracify_hash(AGENT)


@pytest.mark.parametrize(
    ("agent", "kept"),
    [("", None), ("A\tB\x7f", "AB"), ("x" * 9000, "x" * 4096), ("caf\xe9", "caf\xe9")],
)
def test_any_browser_may_be_named(
    client: FlaskClient, store: SqliteStore, agent: str, kept: str | None
) -> None:
    assert post(client, {**PAGE, "User-Agent": agent}).status_code == 201
    click = clicks_of(store)["tracify"]
    assert isinstance(click, dict)
    assert click.get("user_agent_hash") == (tracify_hash(kept) if kept else None)


# ── what is unreadable ───────────────────────────────────────────────────────────────────────────


def test_one_bad_click_leaves_the_others(client: FlaskClient, store: SqliteStore) -> None:
    clicks = {"taapit": "tid_1", "codeqr": 7, "nobody": "x", "tapfiliate": "undefined"}
    answer = post(client, body={**BODY, "clicks": clicks})
    assert answer.status_code == 201
    said = answer.get_json()
    assert said["clicks"] == {"taapit": "tid_1"}
    assert set(said["left_out"]) == {"clicks.codeqr", "clicks.nobody", "clicks.tapfiliate"}
    assert set(clicks_of(store)) == {"taapit", "tracify"}


def test_nothing_is_left_out_of_what_is_right(client: FlaskClient) -> None:
    assert "left_out" not in post(client).get_json()


def test_only_bad_clicks_do_not_cost_what_else_is_said(
    client: FlaskClient, store: SqliteStore
) -> None:
    answer = post(client, body={**BODY, "clicks": {"taapit": "", "nobody": "x"}})
    assert answer.status_code == 201
    assert set(answer.get_json()["left_out"]) == {"clicks.taapit", "clicks.nobody"}
    assert set(clicks_of(store)) == {"tracify"}


@pytest.mark.parametrize("bad", [{"external_id": "guest"}, {"email": "jane"}, {"stripe": 7}])
def test_one_bad_id_leaves_the_others(
    client: FlaskClient, store: SqliteStore, bad: dict[str, object]
) -> None:
    given = {"anonymous_id": "b_1", "external_id": "user_9", "email": "jane@example.com", **bad}
    answer = post(client, body={**BODY, "customer": given})
    assert answer.status_code == 201
    assert set(answer.get_json()["left_out"]) == {f"customer.{name}" for name in bad}
    assert answer.get_json()["customer"] == {n: given[n] for n in given.keys() - bad.keys()}
    assert "anonymous:b_1" in store.customers.find(["anonymous:b_1"])


def test_no_id_at_all_is_refused(client: FlaskClient, store: SqliteStore) -> None:
    answer = post(client, body={**BODY, "customer": {"external_id": "guest"}})
    assert refused(answer) == (422, "invalid")
    assert nothing_is_stored(store)


def test_what_else_is_wrong_is_refused(client: FlaskClient, store: SqliteStore) -> None:
    customer = {"anonymous_id": "b_1", "email": "jane"}
    answer = post(client, body={**BODY, "customer": customer, "extra": 1})
    assert set(error_of(answer)["fields"]) == {"customer.email", "extra"}
    assert nothing_is_stored(store)


def test_of_a_server_one_bad_click_is_too_many(client: FlaskClient, store: SqliteStore) -> None:
    answer = post(client, SERVER, {**BODY, "clicks": {"taapit": "tid_1", "codeqr": 7}})
    assert refused(answer) == (422, "invalid")
    assert nothing_is_stored(store)
