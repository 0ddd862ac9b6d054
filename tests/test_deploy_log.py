"""One line a webhook, whatever becomes of it: what an operator finds in a platform's log."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from kit import body_of
from logged import logged
from signed import BODY, EVENT_ID, ROUTE, client_of, migrated, v1

from bridge.store.sqlite import SqliteStore
from bridge.web.state import MAX_BODY

Send = Callable[[FlaskClient], int]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with migrated(tmp_path / "bridge.db") as opened:
        yield opened


@pytest.fixture
def client(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    return client_of(store, monkeypatch)


def send(client: FlaskClient, body: str = BODY, route: str = ROUTE, signature: str = "") -> int:
    """Send a webhook, signed unless told how; return what it is answered."""
    headers = {"Stripe-Signature": signature or v1(body.encode())}
    return client.post(route, data=body, headers=headers).status_code


def fields(line: str) -> dict[str, str]:
    """Return what a structured line holds, without the time."""
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)
    return {name: value.strip('"') for name, value in found if name != "timestamp"}


TAKEN = {"level": "info", "event": "webhook", "event_id": f"stripe:{EVENT_ID}"}
REFUSED = {"level": "warning", "event": "refused"}
UNUSED = body_of("invoice.paid").replace('"invoice.paid"', '"invoice.finalized"')
OUTCOMES: dict[str, tuple[Send, int, dict[str, str]]] = {
    "stored": (send, 200, TAKEN | {"type": "invoice.paid", "status": "stored"}),
    "unused": (lambda client: send(client, UNUSED), 200, TAKEN | {"status": "ignored"}),
    "signed by somebody else": (
        lambda client: send(client, signature=v1(BODY.encode(), "whsec_somebody_else_s")),
        400,
        REFUSED | {"code": "bad_signature"},
    ),
    "unreadable": (lambda client: send(client, "{"), 400, REFUSED),
    "not configured": (
        lambda client: send(client, route="/webhooks/paddle"),
        404,
        REFUSED | {"code": "not_configured"},
    ),
    "nobody's": (
        lambda client: send(client, route="/webhooks/acme"),
        404,
        REFUSED | {"code": "not_found"},
    ),
    "too large": (
        lambda client: send(client, " " * (MAX_BODY + 1)),
        413,
        REFUSED | {"code": "too_large"},
    ),
    "at no address of ours": (
        lambda client: send(client, route=f"{ROUTE}/live"),
        404,
        REFUSED | {"code": "not_found"},
    ),
    "asked for": (
        lambda client: client.get(ROUTE).status_code,
        405,
        REFUSED | {"code": "method_not_allowed"},
    ),
}


@pytest.mark.parametrize(("sent", "status", "told"), OUTCOMES.values(), ids=OUTCOMES)
def test_a_webhook_makes_one_line(
    client: FlaskClient, sent: Send, status: int, told: dict[str, str]
) -> None:
    with logged() as log:
        assert sent(client) == status
    (line,) = log.getvalue().splitlines()
    assert fields(line).items() >= told.items()


def test_a_duplicate_makes_one_line(client: FlaskClient) -> None:
    send(client)
    with logged() as log:
        assert send(client) == 200
    (line,) = log.getvalue().splitlines()
    assert fields(line) == TAKEN | {"type": "invoice.paid", "status": "duplicate"}


def test_a_webhook_that_the_store_cannot_take_makes_one_line(
    client: FlaskClient, store: SqliteStore, tmp_path: Path
) -> None:
    store.close()
    (tmp_path / "bridge.db").write_bytes(b"This is no database any more. " * 200)
    with logged() as log:
        assert send(client) == 503
    (line,) = log.getvalue().splitlines()
    assert fields(line).items() >= {"level": "error", "event": "store failed"}.items()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nowhere"])
def test_what_is_no_webhook_makes_none(client: FlaskClient, path: str) -> None:
    with logged() as log:
        client.get(path)
    assert log.getvalue() == ""
