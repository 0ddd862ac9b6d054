"""The web where the store fails, and what it says of its health."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from signed import (
    SECRET,
    client_of,
    error_of,
    migrated,
    post,
    stored,
)
from werkzeug.test import TestResponse

from bridge import config
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with migrated(tmp_path / "bridge.db") as opened:
        yield opened


@pytest.fixture
def client(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    return client_of(store, monkeypatch)


# ── the store fails ──────────────────────────────────────────────────────────────────────────────


def assert_unavailable(answer: TestResponse) -> None:
    assert answer.status_code == 503
    assert error_of(answer)["code"] == "store_unavailable"


def test_a_locked_database_is_answered_503_until_it_is_free(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = SqliteStore(store.path, 0.01)
    client = client_of(impatient, monkeypatch)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    assert_unavailable(post(client))
    assert client.get("/readyz").status_code == 503

    other.execute("ROLLBACK")
    other.close()
    assert post(client).get_json()["status"] == "stored"
    assert client.get("/readyz").status_code == 200
    impatient.close()


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
