"""What a merchant's server sends to the click API of a bench, and what the vendors hear of it."""

from __future__ import annotations

from typing import Any

from kit import API_KEY, CLICKS, Bench

from bridge.model import Conversion, ConversionKind
from bridge.web import create_app

USER = "user_1001"
WHO = {"external_id": USER}
# The sale of the fixtures is of 2026-11-03, its customer has this id.
SOON = "2026-11-01T12:00:00Z"
LONG_AGO = "2026-07-01T12:00:00Z"


def post(made: Bench, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send the click API a body, which has a time; have nothing delivered yet."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    client = create_app(made.config, made.store).test_client()
    answer = client.post(path, json={"customer": WHO, "occurred_at": SOON, **body}, headers=headers)
    assert answer.status_code == 201, answer.get_data(as_text=True)
    made.clock.catch_up()
    return dict(answer.get_json())


def sign_up(made: Bench, **body: object) -> None:
    """Take in a lead, with a click for every vendor unless others are given, and deliver it."""
    known = {name: click for name, click in CLICKS.items() if name in made.config.vendors}
    post(made, "/leads", {"clicks": known, **body})
    made.worker.drain()


def visit(made: Bench, **body: object) -> None:
    """Take in clicks, and deliver what is due."""
    post(made, "/clicks", dict(body))
    made.worker.drain()


def conversions(made: Bench, kind: ConversionKind = ConversionKind.LEAD) -> list[Conversion]:
    return [each for each in made.store.orders.newest(limit=1000) if each.kind is kind]


def delivery(made: Bench, vendor: str, kind: ConversionKind) -> tuple[str, str]:
    """Return how the only delivery of a kind to a vendor stands, and why."""
    (conversion,) = conversions(made, kind)
    row = made.store.deliveries.get(f"{conversion.id}@{vendor}")
    assert row is not None
    return str(row.state), row.reason


def told(made: Bench, vendor: str) -> list[dict[str, Any]]:
    """Return the bodies of all calls that a sandbox vendor saw."""
    return [call["body"] for call in made.vendors.ledger.calls(vendor)]


def counted(made: Bench) -> dict[str, int]:
    """Return how many calls every sandbox vendor saw."""
    return {name: len(made.vendors.ledger.calls(name)) for name in made.config.vendors}
