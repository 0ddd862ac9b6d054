"""What every provider's address answers: to what it sends, and to what it would never send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cases import CASES, Case, made
from flask.testing import FlaskClient
from kit import settings_of
from signed import migrated
from werkzeug.test import TestResponse

from bridge import config, providers
from bridge.errors import PayloadError
from bridge.model import WebhookRequest
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app
from bridge.web.state import MAX_BODY

PROVIDERS = list(providers.discover())
REFUSED = {name: 401 if name == "shopify" else 400 for name in PROVIDERS}
FIRST = {name: next(each for each in CASES if each.provider == name) for name in PROVIDERS}
SHOPIFY = [each for each in CASES if each.provider == "shopify"]
TOPIC = "x-shopify-topic"

each_provider = pytest.mark.parametrize("name", PROVIDERS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with migrated(tmp_path / "web.db") as opened:
        yield opened


@pytest.fixture
def client(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    for name, value in settings_of(*PROVIDERS).items():
        monkeypatch.setenv(name, value)
    return create_app(config.load(), store).test_client()


def signed(fixture: Case) -> WebhookRequest:
    return made(fixture.provider).sign(fixture.request, datetime.now(UTC))


def post(client: FlaskClient, name: str, request: WebhookRequest) -> TestResponse:
    address = f"/webhooks/{made(name).route}"
    return client.post(address, data=request.body, headers=dict(request.headers))


def code_of(answer: TestResponse) -> str:
    """Return the code of an error, and check that it has the one form."""
    error: Mapping[str, str] = answer.get_json()["error"]
    assert set(error) == {"code", "message"}
    return error["code"]


@pytest.mark.parametrize("fixture", CASES, ids=str)
def test_is_stored_once(client: FlaskClient, store: SqliteStore, fixture: Case) -> None:
    answers = [post(client, fixture.provider, signed(fixture)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.get_json()["status"] for answer in answers][1] == "duplicate"
    assert [row.event.id for row in store.events.newest()] == [fixture.case["event"]["id"]]


@each_provider
def test_unsigned(client: FlaskClient, store: SqliteStore, name: str) -> None:
    answer = post(client, name, FIRST[name].request)
    assert (answer.status_code, code_of(answer)) == (REFUSED[name], "missing_signature")
    assert store.events.newest() == []


@each_provider
def test_signed_with_another_secret(client: FlaskClient, store: SqliteStore, name: str) -> None:
    good = signed(FIRST[name])
    spoilt = good.body.replace(b"p_signature=", b"p_signature=AAAA", 1)
    headers = {
        each: value.translate(str.maketrans("0123456789", "1234567890"))
        if "signature" in each or "hmac" in each
        else value
        for each, value in good.headers.items()
    }
    answer = post(client, name, WebhookRequest(headers, spoilt))
    assert answer.status_code == REFUSED[name]
    assert code_of(answer) in {"bad_signature", "stale_signature"}
    assert store.events.newest() == []


@each_provider
@pytest.mark.parametrize("cut", [1, 2, 200])
def test_truncated(client: FlaskClient, store: SqliteStore, name: str, cut: int) -> None:
    good = signed(FIRST[name])
    answer = post(client, name, replace(good, body=good.body[: -cut or None]))
    assert answer.status_code == REFUSED[name]
    assert store.events.newest() == []


@each_provider
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"a=1&b=%zz", b"{" * 9000]
)
def test_signed_nonsense(client: FlaskClient, store: SqliteStore, name: str, body: bytes) -> None:
    provider = made(name)
    request = WebhookRequest(FIRST[name].request.headers, body)
    with suppress(PayloadError):  # what is no text cannot be signed by some
        request = provider.sign(request, datetime.now(UTC))
    answer = post(client, name, request)
    assert answer.status_code in {400, 401}
    assert code_of(answer)
    assert store.events.newest() == []


@each_provider
def test_giant(client: FlaskClient, store: SqliteStore, name: str) -> None:
    good = signed(FIRST[name])
    answer = post(client, name, replace(good, body=good.body + b" " * MAX_BODY))
    assert (answer.status_code, code_of(answer)) == (413, "too_large")
    assert store.events.newest() == []


@each_provider
def test_sent_to_another_providers_address(
    client: FlaskClient, store: SqliteStore, name: str
) -> None:
    for other in PROVIDERS:
        if other != name:
            assert post(client, other, signed(FIRST[name])).status_code == REFUSED[other]
    assert store.events.newest() == []


def family(topic: str) -> str:
    """Return what kind of body a topic has: every topic of orders but edits has an order."""
    order = topic.startswith("orders/") and topic != "orders/edited"
    return "order" if order else "dispute" if topic.startswith("disputes/") else topic


@pytest.mark.parametrize("fixture", [each for each in SHOPIFY if "@" not in each.name], ids=str)
def test_relabelled(client: FlaskClient, store: SqliteStore, fixture: Case) -> None:
    """The topic is not signed: whoever holds a webhook can send it under another one."""
    good = signed(fixture)
    ignored = fixture.case["event"].get("ignored", False)
    others = {
        each.case["event"]["type"] for each in SHOPIFY if not each.case["event"].get("ignored")
    }
    for topic in sorted(others):
        if family(topic) != family(good.headers[TOPIC]) and not ignored:
            answer = post(client, "shopify", replace(good, headers={**good.headers, TOPIC: topic}))
            assert (answer.status_code, code_of(answer)) == (400, "topic_mismatch"), topic
    assert store.events.newest() == []
