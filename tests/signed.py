"""Webhooks of Stripe's, signed here and not by the code under test, posted to the web."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from asgi import fronted
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


@contextmanager
def migrated(path: Path) -> Iterator[SqliteStore]:
    """Open a store that is ready to be used."""
    opened = SqliteStore(str(path))
    opened.migrate()
    yield opened
    opened.close()


def client_of(store: SqliteStore, patch: pytest.MonkeyPatch) -> FlaskClient:
    """Return a client of the web over a store, with two secrets of Stripe's."""
    patch.setenv("STRIPE_WEBHOOK_SECRET", f"{SECRET}, {OLD_SECRET}")
    return fronted(create_app(config.load(), store)).test_client()


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
