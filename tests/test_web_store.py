"""The web where the store fails, and what it says of its health."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from kit import body_of
from werkzeug.test import TestResponse

from bridge import config
from bridge.model import Event
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app

SECRET = "whsec_made_up_for_tests"
OLD_SECRET = "whsec_the_one_before"
ROUTE = "/webhooks/stripe"
BODY = body_of("invoice.paid")
EVENT_ID = json.loads(BODY)["id"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(str(tmp_path / "bridge.db"))
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def client(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", f"{SECRET}, {OLD_SECRET}")
    return create_app(config.load(), store).test_client()


def v1(body: bytes, secret: str = SECRET, at: int | None = None, scheme: str = "v1") -> str:
    """Return one signature as Stripe makes it, worked out here and not by the code under test."""
    moment = int(time.time()) if at is None else at
    signed = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    return f"t={moment},{scheme}={signed.hexdigest()}"


def post(client: FlaskClient, body: str | bytes = BODY, header: str | None = None) -> TestResponse:
    raw = body.encode() if isinstance(body, str) else body
    headers = {"Stripe-Signature": v1(raw) if header is None else header}
    return client.post(ROUTE, data=raw, headers=headers, content_type="application/json")


def error_of(answer: TestResponse) -> dict[str, str]:
    """Return the error, and check that it has the one form and holds no secret."""
    text = answer.get_data(as_text=True)
    assert SECRET not in text
    assert OLD_SECRET not in text
    assert answer.content_type == "application/json"
    (name,) = answer.get_json()
    assert name == "error"
    described: dict[str, str] = answer.get_json()["error"]
    assert set(described) == {"code", "message"}
    assert described["message"]
    return described


def stored(store: SqliteStore) -> list[Event]:
    return [row.event for row in store.events.newest()]


# ── the store fails ──────────────────────────────────────────────────────────────────────────────


def assert_unavailable(answer: TestResponse) -> None:
    assert answer.status_code == 503
    assert error_of(answer)["code"] == "store_unavailable"


def test_a_locked_database_is_answered_503_until_it_is_free(
    client: FlaskClient, store: SqliteStore
) -> None:
    store.query("PRAGMA busy_timeout = 10")  # milliseconds, so that the test is quick
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    assert_unavailable(post(client))

    other.execute("ROLLBACK")
    other.close()
    assert post(client).get_json()["status"] == "stored"


def test_a_database_that_cannot_be_opened_is_answered_503_until_it_can(
    client: FlaskClient, store: SqliteStore, tmp_path: Path
) -> None:
    store.close()
    path, aside = Path(store.path), tmp_path / "aside.db"
    path.rename(aside)
    path.mkdir()

    assert_unavailable(post(client))
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200

    path.rmdir()
    aside.rename(path)
    assert post(client).get_json()["status"] == "stored"


def test_a_database_that_is_not_migrated_is_answered_503_until_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SECRET)
    store = SqliteStore(str(tmp_path / "new.db"))
    client = create_app(config.load(), store).test_client()

    assert_unavailable(post(client))
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "bridge migrate" in ready.get_data(as_text=True)

    store.migrate()
    assert post(client).status_code == 200
    assert client.get("/readyz").status_code == 200
    store.close()


def test_settings_and_store_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: SqliteStore
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{store.path}")
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SECRET)
    app = create_app()
    assert post(app.test_client()).status_code == 200
    assert len(stored(store)) == 1
    app.extensions["bridge"].store.close()


# ── health ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_healthy_bridge_says_so(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.get_json()) == (200, {"status": "ok"})
    assert client.head(path).status_code == 200
