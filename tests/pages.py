"""The click API as pages and servers call it: settings, headers, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit import API_KEY, VENDOR_SETTINGS
from werkzeug.test import TestResponse

from bridge import config
from bridge.store.rows import BondRow
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app

KEY, ORIGIN = "pk_made_up_for_tests", "https://shop.example"
BROWSERS = {
    "BRIDGE_API_KEY": API_KEY,
    "BRIDGE_PUBLISHABLE_KEY": KEY,
    "BRIDGE_ALLOWED_ORIGINS": f"{ORIGIN}, http://localhost:8080",
    **VENDOR_SETTINGS,
}
SERVER = {"Authorization": f"Bearer {API_KEY}"}
PAGE = {"Origin": ORIGIN, "X-Publishable-Key": KEY}
AGENT = "Mozilla/5.0 (made up for tests)"
ADDRESS, ELSEWHERE, PROXY = "93.184.215.14", "1.0.0.1", "10.0.0.2"
VISITOR = "browser_1"
BODY: dict[str, Any] = {
    "customer": {"anonymous_id": VISITOR},
    "clicks": {"taapit": "tid_1"},
    "context": {"url": f"{ORIGIN}/landing?utm_source=x"},
}
INTRODUCED = {**BODY, "customer": {"anonymous_id": VISITOR, "external_id": "user_1"}}
Start = Callable[..., FlaskClient]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(str(tmp_path / "bridge.db"))
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def start(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A function that starts a bridge with some settings changed; None takes one away."""

    def started(**changed: str | None) -> FlaskClient:
        for name, value in {**BROWSERS, **changed}.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        return create_app(config.load(), store).test_client()

    return started


@pytest.fixture
def client(start: Start) -> FlaskClient:
    return start()


def post(
    client: FlaskClient,
    headers: Mapping[str, str] = PAGE,
    body: object = BODY,
    *,
    path: str = "/clicks",
    address: str = ADDRESS,
) -> TestResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"User-Agent": AGENT, **headers}
    return client.post(path, data=raw, headers=sent, environ_base={"REMOTE_ADDR": address})


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in PAGE.items() if name not in names}


def error_of(answer: TestResponse) -> dict[str, Any]:
    assert answer.content_type == "application/json"
    error: dict[str, Any] = answer.get_json()["error"]
    assert API_KEY not in answer.get_data(as_text=True)
    return error


def refused(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, error_of(answer)["code"]


def clicks_of(store: SqliteStore, key: str = f"anonymous:{VISITOR}") -> dict[str, object]:
    clicks = store.customers.clicks(store.customers.aliases([key]))
    return {each.vendor: each.value for each in clicks}


def bonds(store: SqliteStore) -> list[BondRow]:
    return store.customers.said_of([f"anonymous:{VISITOR}"])


def cors(answer: TestResponse) -> list[str]:
    return [name for name, _ in answer.headers if name.startswith("Access-Control")]


def nothing_is_stored(store: SqliteStore) -> bool:
    return store.customers.count() == {"customers": 0, "clicks": 0}


def on_disk(store: SqliteStore) -> bytes:
    path = Path(store.path)
    return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
