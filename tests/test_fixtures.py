"""The webhooks under `fixtures/providers` are well-formed, consistent and made up.

What each one means is tested with its provider; here only the files themselves are looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cases import CASES, Case
from pydantic import TypeAdapter

from bridge.model import Payment, PaymentKind

FOLDERS = [each.folder for each in CASES]
STRIPE = [each.folder for each in CASES if each.provider == "stripe"]

PAYMENTS = TypeAdapter(list[Payment])
EVENT_FIELDS = {"id", "type", "occurred_at", "account", "test", "ignored", "waits"}
CASE_FIELDS = {"description", "headers", "settings", "event", "payments", "erasure"}

EMAIL = re.compile(r"[\w.+-]+@[\w.-]+\.\w+")
MADE_UP = re.compile(r"@(?:[\w-]+\.)*example\.(?:com|org|net)$")
SECRET = re.compile(r"\b(?:sk|rk|pk|whsec|pdl|shpat|shpss)_\w{8,}")

# What Stripe took off these objects with the release of 2025-03-31, or had done before.
CURRENT_STRIPE = "2026-10-28.endive"
GONE = {
    "invoice": {"charge", "payment_intent", "subscription", "paid", "paid_out_of_band", "tax"},
    "line_item": {"subscription", "subscription_item", "price", "plan", "tax_amounts"},
    "charge": {"invoice", "refunds"},
    "payment_intent": {"invoice", "charges"},
    "credit_note": {"refund", "tax_amounts"},
}
# What does not change between two events about the same object.
STEADY = (
    "charge", "created", "customer", "invoice", "payment", "payment_intent", "livemode",
)  # fmt: skip


def name_of(folder: Path) -> str:
    return str(Case(folder))


def provider_of(folder: Path) -> str:
    return Case(folder).provider


each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
each_provider = pytest.mark.parametrize("provider", sorted(set(map(provider_of, FOLDERS))))
each_stripe = pytest.mark.parametrize("folder", STRIPE, ids=name_of)


@cache
def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def case_of(folder: Path) -> Any:
    return read(folder / "case.json")


def body_of(folder: Path) -> Any:
    return read(folder / "body.json")


def payments_of(folder: Path) -> list[Payment]:
    return PAYMENTS.validate_json(json.dumps(case_of(folder)["payments"]))


def sorted_lists(payments: Any) -> Any:
    """Put what is a set in our model, and so comes in any order, in one order."""
    for payment in payments:
        for field in ("references", "contains"):
            if field in payment:
                payment[field] = sorted(payment[field])
    return payments


# ── every provider ───────────────────────────────────────────────────────────────────────────────


def test_there_are_fixtures() -> None:
    assert STRIPE


@each_folder
def test_a_folder_holds_a_body_and_a_case(folder: Path) -> None:
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert len(files) == 2
    assert files[0].startswith("body.")
    assert files[1] == "case.json"


@each_folder
def test_a_case_says_what_it_is_about(folder: Path) -> None:
    case = case_of(folder)
    assert set(case) <= CASE_FIELDS
    assert case["description"].endswith(".")
    assert all(header == header.lower() for header in case["headers"])
    assert {"id", "type", "occurred_at"} <= set(case["event"]) <= EVENT_FIELDS
    assert datetime.fromisoformat(case["event"]["occurred_at"]).utcoffset() is not None


@each_folder
def test_payments_are_written_as_the_model_writes_them(folder: Path) -> None:
    written = case_of(folder)["payments"]
    dumped = PAYMENTS.dump_python(payments_of(folder), mode="json", exclude_defaults=True)
    assert written == sorted_lists(dumped)
    assert all(provider_of(folder) == payment["provider"] for payment in written)


@each_folder
def test_an_event_that_means_nothing_yields_no_payments(folder: Path) -> None:
    case = case_of(folder)
    says_no = case["event"].get("ignored", False) or case["event"].get("waits", False)
    assert (says_no or "erasure" in case) is (case["payments"] == [])


@each_folder
def test_payments_are_of_their_event(folder: Path) -> None:
    event = case_of(folder)["event"]
    for payment in payments_of(folder):
        assert payment.occurred_at == datetime.fromisoformat(event["occurred_at"])
        assert payment.account == event.get("account", "")
        assert payment.test is event.get("test", False)


@each_folder
def test_money_has_one_currency_and_a_sale_its_amounts(folder: Path) -> None:
    for payment in payments_of(folder):
        amounts = [payment.amount, payment.net, *(item.amount for item in payment.items)]
        assert len({amount.currency for amount in amounts if amount}) <= 1
        if payment.kind is PaymentKind.SALE:
            assert payment.net is not None
        if payment.net is not None:
            assert payment.amount is not None


@each_folder
def test_what_moves_money_is_found_by_its_own_id(folder: Path) -> None:
    """Else it could not be parked: what stands alone is named by itself."""
    for payment in payments_of(folder):
        assert payment.amount is None or payment.id in payment.references


@each_folder
def test_nobody_is_real_and_nothing_is_secret(folder: Path) -> None:
    for path in filter(Path.is_file, folder.iterdir()):
        text = path.read_text(encoding="utf-8")
        assert [email for email in EMAIL.findall(text) if not MADE_UP.search(email)] == []
        assert SECRET.findall(text) == []


@each_provider
def test_event_ids_are_unique(provider: str) -> None:
    folders = [folder for folder in FOLDERS if provider_of(folder) == provider]
    ids = {case_of(folder)["event"]["id"] for folder in folders}
    assert len(ids) == len(folders)


@each_provider
def test_an_order_has_one_customer_and_one_currency(provider: str) -> None:
    payments = [
        p for folder in FOLDERS if provider_of(folder) == provider for p in payments_of(folder)
    ]
    for order in orders(payments):
        assert len({payment.customer for payment in order} - {""}) <= 1
        presented = {payment.presentment for payment in order} - {None}
        currencies = {payment.amount.currency for payment in order if payment.amount}
        assert len(currencies) <= 1 + len(presented)
        assert len({payment.account for payment in order}) == 1
        assert len({payment.test for payment in order}) == 1


def orders(payments: list[Payment]) -> list[list[Payment]]:
    """Gather the payments that share a reference, directly or through others."""
    groups: list[tuple[set[str], list[Payment]]] = []
    for payment in payments:
        joined = [group for group in groups if group[0] & payment.references]
        references = set(payment.references).union(*(group[0] for group in joined))
        members = [payment, *(member for group in joined for member in group[1])]
        groups = [group for group in groups if group not in joined] + [(references, members)]
    return [members for _, members in groups]


# ── Stripe ───────────────────────────────────────────────────────────────────────────────────────


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Find all Stripe objects inside a body."""
    if isinstance(value, dict):
        if "object" in value and "id" in value:
            yield value
        for inner in value.values():
            yield from objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(inner)


@each_stripe
def test_stripe_body_is_the_event_of_its_folder(folder: Path) -> None:
    body, event = body_of(folder), case_of(folder)["event"]
    assert body["type"] == event["type"] == folder.name.partition("@")[0]
    assert body["id"] == event["id"]
    assert body.get("account", "") == event.get("account", "")
    assert body["livemode"] is not event.get("test", False)
    assert moment(body["created"]) == datetime.fromisoformat(event["occurred_at"])


def moment(created: int | str) -> datetime:
    """Read `created`: seconds in an event, RFC 3339 in a thin one."""
    if isinstance(created, str):
        return datetime.fromisoformat(created)
    return datetime.fromtimestamp(created, UTC)


@each_stripe
def test_stripe_envelope_is_complete(folder: Path) -> None:
    body = body_of(folder)
    if body["object"] == "v2.core.event":
        assert {"context", "reason", "related_object"} <= set(body)
        assert "data" not in body
    else:
        assert body["object"] == "event"
        assert {"api_version", "data", "pending_webhooks", "request"} <= set(body)
        assert set(body["request"]) == {"id", "idempotency_key"}


@each_stripe
def test_stripe_object_has_the_layout_of_its_version(folder: Path) -> None:
    body = body_of(folder)
    is_current = body.get("api_version") == CURRENT_STRIPE
    for found in objects(body.get("data", {}).get("object")):
        gone = GONE.get(found["object"], set())
        assert not is_current or not gone & set(found)
        assert found.get("livemode", body["livemode"]) is body["livemode"]


def test_stripe_objects_are_the_same_in_every_event() -> None:
    seen: dict[tuple[str, str], object] = {}
    for folder in STRIPE:
        found = body_of(folder).get("data", {}).get("object", {"id": ""})
        for field in STEADY:
            if field in found:
                assert seen.setdefault((found["id"], field), found[field]) == found[field]


def test_stripe_movements_keep_their_amount() -> None:
    seen: dict[str, object] = {}
    for folder in STRIPE:
        found = body_of(folder).get("data", {}).get("object", {})
        if found.get("object") in {"refund", "dispute", "credit_note", "invoice_payment"}:
            amount = found.get("amount", found.get("amount_paid")), found["currency"]
            assert seen.setdefault(found["id"], amount) == amount
