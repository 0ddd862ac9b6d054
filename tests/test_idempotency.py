"""Idempotency-Key: what is sent again is not stored again, whoever sends it and however fast."""

from __future__ import annotations

import copy
import json
import re
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from pages import PAGE, SERVER, Start, client, error_of, post, refused, start, store
from stores import together
from werkzeug.test import TestResponse

from bridge import config
from bridge.intake import Intake
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app

__all__ = ["client", "start", "store"]

EMAIL, ADDRESS = "jane.doe@example.com", "203.0.113.77"
BODY: dict[str, Any] = {
    "customer": {"external_id": "user_1", "email": EMAIL, "stripe": "cus_1"},
    "clicks": {"taapit": "tid_1", "codeqr": "clk_1"},
    "context": {"ip": ADDRESS, "user_agent": "Mozilla/5.0"},
}
OTHER = {**BODY, "clicks": {"taapit": "tid_2"}}
PATHS = ("/clicks", "/leads")
each_path = pytest.mark.parametrize("path", PATHS)


def sent(
    client: FlaskClient,
    key: str | None,
    body: object = BODY,
    path: str = "/clicks",
    headers: Mapping[str, str] = SERVER,
) -> TestResponse:
    given = {} if key is None else {"Idempotency-Key": key}
    return post(client, {**headers, **given}, body, path=path)


def rows(store: SqliteStore) -> list[dict[str, Any]]:
    return store.query("SELECT * FROM requests ORDER BY id")


def held(store: SqliteStore) -> dict[str, int]:
    """Return how much there is of everything but of the requests themselves."""
    return {**store.customers.count(), "events": len(store.events.newest(limit=1000))}


def processed(store: SqliteStore) -> list[str]:
    """Process what waits; return the conversions that there are."""
    intake = Intake(store, config.load())
    for row in store.events.newest(limit=1000):
        intake.process(row.key, datetime.now(UTC))
    return [each.id for each in store.orders.newest(limit=1000)]


# ── one key ──────────────────────────────────────────────────────────────────────────────────────


@each_path
def test_the_same_again_is_answered_alike_and_stored_once(
    client: FlaskClient, store: SqliteStore, path: str
) -> None:
    first = sent(client, "key_1", path=path)
    once = held(store)
    again = [sent(client, "key_1", path=path) for _ in range(3)]
    assert [each.status_code for each in (first, *again)] == [201] * 4
    assert {each.data for each in again} == {first.data}
    assert held(store) == once
    assert len(rows(store)) == 1


@each_path
@pytest.mark.parametrize(
    "other",
    [OTHER, {**BODY, "occurred_at": "2026-11-20T12:00:00Z"}, {**BODY, "context": {}}],
    ids=["another click", "another time", "less"],
)
def test_another_body_under_the_same_key_is_refused(
    client: FlaskClient, store: SqliteStore, path: str, other: object
) -> None:
    sent(client, "key_1", path=path)
    once = held(store)
    answer = sent(client, "key_1", other, path)
    assert refused(answer) == (422, "invalid")
    assert list(error_of(answer)["fields"]) == ["Idempotency-Key"]
    assert held(store) == once
    assert sent(client, "key_1", path=path).status_code == 201


def test_the_same_written_otherwise_is_another_body(client: FlaskClient) -> None:
    sent(client, "key_1", json.dumps(BODY).encode())
    assert sent(client, "key_1", json.dumps(BODY, indent=1).encode()).status_code == 422


def test_another_key_stores_again(client: FlaskClient, store: SqliteStore) -> None:
    assert [sent(client, f"key_{n}").status_code for n in (1, 2)] == [201, 201]
    assert len(rows(store)) == 2


def test_a_key_is_of_one_address_and_of_one_sender(client: FlaskClient, store: SqliteStore) -> None:
    assert sent(client, "key_1").status_code == 201
    assert sent(client, "key_1", OTHER, "/leads").status_code == 201
    assert sent(client, "key_1", {**OTHER, "context": {}}, headers=PAGE).status_code == 201
    assert len(rows(store)) == 3


@each_path
@pytest.mark.parametrize("key", ["", " ", "\t", "k" * 256, "k" * 5000])
def test_a_key_that_is_none_is_refused(
    client: FlaskClient, store: SqliteStore, path: str, key: str
) -> None:
    answer = sent(client, key, path=path)
    assert refused(answer) == (422, "invalid")
    assert list(error_of(answer)["fields"]) == ["Idempotency-Key"]
    assert held(store) == {"customers": 0, "clicks": 0, "events": 0}
    assert rows(store) == []


@pytest.mark.parametrize("key", ["k", "k" * 255, "\xe9\xff", '"quoted"', "a b", "%00", "'; --"])
def test_any_short_key_is_taken(client: FlaskClient, store: SqliteStore, key: str) -> None:
    assert [sent(client, key).status_code for _ in range(2)] == [201, 201]
    assert sent(client, key, OTHER).status_code == 422
    assert len(rows(store)) == 1


def test_nothing_of_a_person_is_kept_with_a_key(client: FlaskClient, store: SqliteStore) -> None:
    sent(client, EMAIL)
    sent(client, "user_1", path="/leads")
    for row in rows(store):
        assert set(row) == {"id", "digest", "answered_at"}
        assert re.fullmatch("[0-9a-f]{64}", row["id"])
        assert re.fullmatch("[0-9a-f]{64}", row["digest"])
        assert datetime.fromisoformat(row["answered_at"]).tzinfo


# ── what uses up no key ──────────────────────────────────────────────────────────────────────────


@each_path
@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (b"{", 422),
        ({**BODY, "clicks": {"nobody": "x"}}, 422),
        ({**BODY, "extra": 1}, 422),
        (b" " * 40_000, 422),
    ],
)
def test_what_is_refused_uses_up_no_key(
    client: FlaskClient, store: SqliteStore, path: str, wrong: object, status: int
) -> None:
    assert sent(client, "key_1", wrong, path).status_code == status
    assert rows(store) == []
    assert sent(client, "key_1", path=path).status_code == 201


@each_path
def test_who_may_not_uses_up_no_key(client: FlaskClient, store: SqliteStore, path: str) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    assert sent(client, "key_1", path=path, headers=wrong).status_code == 401
    assert rows(store) == []


@each_path
def test_what_the_store_cannot_take_uses_up_no_key(
    start: Start, store: SqliteStore, path: str
) -> None:
    assert sent(start(), "key_0", path=path).status_code == 201
    impatient = SqliteStore(store.path, patience=0.05)
    client = create_app(config.load(), impatient).test_client()
    busy = sqlite3.connect(store.path, isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")
    answer = sent(client, "key_1", OTHER, path)
    assert refused(answer) == (503, "store_unavailable")
    busy.execute("ROLLBACK")
    busy.close()
    assert len(rows(store)) == 1

    before = held(store)
    assert sent(client, "key_1", OTHER, path).status_code == 201
    assert held(store)["clicks"] > before["clicks"]
    assert len(rows(store)) == 2
    impatient.close()


def test_a_mistake_of_ours_uses_up_no_key(client: FlaskClient, store: SqliteStore) -> None:
    store.execute("ALTER TABLE clicks RENAME TO away")
    assert sent(client, "key_1").status_code >= 500
    assert rows(store) == []
    store.execute("ALTER TABLE away RENAME TO clicks")
    assert sent(client, "key_1").status_code == 201
    assert store.customers.count()["clicks"] > 0


# ── at once ──────────────────────────────────────────────────────────────────────────────────────

MANY = 8


@each_path
def test_of_many_at_once_one_is_stored(start: Start, store: SqliteStore, path: str) -> None:
    start()
    app = create_app(config.load(), store)
    answers = together(MANY, lambda _: sent(app.test_client(), "key_1", path=path))
    assert {(each.status_code, each.data) for each in answers} == {(201, answers[0].data)}
    assert len(rows(store)) == 1
    clicks = store.customers.clicks(store.customers.aliases(["stripe:cus_1"]))
    assert sorted(each.vendor for each in clicks) == ["codeqr", "taapit", "tracify"]
    assert len(store.events.newest()) == (path == "/leads")


@each_path
def test_of_many_bodies_at_once_one_is_stored(start: Start, store: SqliteStore, path: str) -> None:
    start()
    app = create_app(config.load(), store)

    def send(number: int) -> int:
        body = {**BODY, "clicks": {"taapit": f"tid_{number}"}}
        return sent(app.test_client(), "key_1", body, path).status_code

    assert sorted(together(MANY, send)) == [201] + [422] * (MANY - 1)
    clicks = store.customers.clicks(store.customers.aliases(["stripe:cus_1"]))
    assert [each.vendor for each in clicks].count("taapit") == 1


def test_of_many_leads_without_a_key_at_once_one_is_made(start: Start, store: SqliteStore) -> None:
    start()
    app = create_app(config.load(), store)
    answers = together(MANY, lambda _: sent(app.test_client(), None, path="/leads"))
    assert [each.status_code for each in answers] == [201] * MANY
    assert len(store.events.newest()) == 1
    assert len(processed(store)) == 1


# ── by content ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("at", [None, "2026-11-20T12:00:00Z"])
def test_the_same_lead_twice_is_one(
    client: FlaskClient, store: SqliteStore, at: str | None
) -> None:
    body = BODY if at is None else {**BODY, "occurred_at": at}
    for key in (None, None, "key_1", "key_2"):
        assert sent(client, key, body, "/leads").status_code == 201
        assert len(processed(store)) == 1
    assert len(store.events.newest()) == 1


def test_the_same_lead_in_other_words_is_one(client: FlaskClient, store: SqliteStore) -> None:
    turned = copy.deepcopy(BODY)
    turned["customer"] = dict(reversed(BODY["customer"].items())) | {"email": EMAIL.upper()}
    turned["occurred_at"] = "2026-11-20T12:00:00Z"
    elsewhere = {**turned, "occurred_at": "2026-11-20T14:00:00+02:00"}
    for body in (turned, elsewhere):
        assert sent(client, None, body, "/leads").status_code == 201
    assert len(store.events.newest()) == 1
    assert len(processed(store)) == 1


def test_a_customer_signs_up_once(client: FlaskClient, store: SqliteStore) -> None:
    customers: list[dict[str, str]] = [
        {"external_id": "user_1"},
        {"external_id": "user_1", "email": EMAIL},
        {"email": EMAIL, "stripe": "cus_1"},
        {"stripe": "cus_1", "external_id": "user_1"},
    ]
    for customer in customers:
        assert sent(client, None, {"customer": customer}, "/leads").status_code == 201
    assert len(processed(store)) == 1


def test_two_customers_sign_up_twice(client: FlaskClient, store: SqliteStore) -> None:
    for id in ("user_1", "user_2"):
        assert sent(client, None, {"customer": {"external_id": id}}, "/leads").status_code == 201
    assert len(processed(store)) == 2
