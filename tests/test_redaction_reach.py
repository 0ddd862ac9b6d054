"""How far a redaction reaches: to what comes in any order, in any writing, and no further."""

from __future__ import annotations

import json

import pytest
from cases import case_of
from kit import CUSTOMER, SALE, Bench, Make, Sent, body_of, sent_as
from redactions import EMAIL, PERSON, SHOPIFY_CUSTOMER, on_disk, redact

from bridge import attribution
from bridge.forgetting import REDACTED
from bridge.intake import Intake
from bridge.model import WebhookRequest
from bridge.store.rows import EventState

BUYER = {*PERSON, "203.0.113.7"}
# An amount in a currency that does not exist: such an event fails.
UNREADABLE = {"currency": "XQX", "presentment_currency": "XQX", "total_price_set": None}


def shopify(name: str, webhook: str, **fields: object) -> Sent:
    """Return a fixture of Shopify's as another webhook, with fields of its body changed."""
    request = case_of(f"shopify/{name}").request
    body = json.loads(request.body) | fields
    headers = {**request.headers, "x-shopify-webhook-id": webhook}
    return "shopify", WebhookRequest(headers, json.dumps(body).encode())


def stripe(name: str, event: str, **fields: object) -> str:
    """Return the body of a fixture of Stripe's as another event, its object changed."""
    body = json.loads(body_of(name))
    body["id"] = event
    body["data"]["object"] |= fields
    return json.dumps(body)


def left(made: Bench) -> set[str]:
    made.worker.drain()
    return on_disk(made, BUYER)


# ── in any order ─────────────────────────────────────────────────────────────────────────────────


def test_an_order_that_comes_after_its_redaction(make: Make) -> None:
    made = make()
    made.play("shopify/customers/redact", "shopify/orders/paid", "shopify/refunds/create")
    assert left(made) == set()
    (order,) = made.store.orders.newest()
    assert order.redacted
    assert order.paid.minor > order.taken_back.minor > 0


def test_what_comes_later_of_a_redacted_order_and_cannot_be_read(make: Make) -> None:
    made = make()
    made.play("shopify/orders/paid", "shopify/customers/redact")
    late = shopify("order_transactions/create", "late", currency=None, receipt={"email": EMAIL})
    made.play(requests=[shopify("orders/updated", "later", **UNREADABLE), late])
    assert left(made) == set()
    (row,) = made.store.events.find("acme.myshopify.com/late") or made.store.events.find("late")
    assert (row.state, row.reason) == (EventState.IGNORED, REDACTED)


def test_what_was_known_of_a_payment_before_it_joined_a_redacted_order(make: Make) -> None:
    made = make("tapfiliate", STRIPE_COUNT_PAYMENT_INTENTS="1")
    made.play("invoice.paid")
    redact(made)
    made.receive("payment_intent.succeeded")
    assert left(made)
    made.play("invoice_payment.paid")
    assert left(made) == set()
    assert made.store.customers.count() == {"customers": 0, "clicks": 0}


# ── in any writing ───────────────────────────────────────────────────────────────────────────────


def test_what_was_bought_may_be_called_after_somebody(make: Make) -> None:
    made = make()
    lines = json.loads(body_of("invoice.paid"))["data"]["object"]["lines"]
    for line in lines["data"]:
        line["description"] = f"Portrait of Jana Muster for {EMAIL} ({CUSTOMER})"
    made.play(bodies=[stripe("invoice.paid", "evt_portrait", lines=lines)])
    (before,) = made.store.orders.newest()
    redact(made)
    assert left(made) == set()
    (after,) = made.store.orders.newest()
    assert [each.amount for each in after.items] == [each.amount for each in before.items] != []


@pytest.mark.parametrize(
    "metadata",
    [
        {"note": f"please mail {EMAIL.upper()}, thanks"},
        {"url": "https://shop.example/?email=jana.muster%40example.com&x=1"},
        {EMAIL: "yes"},
    ],
)
def test_an_address_within_a_text_an_url_or_a_name(make: Make, metadata: dict[str, str]) -> None:
    made = make()
    made.play(*SALE)
    other = {"charge": "ch_2", "payment_intent": "pi_2", "customer": None, "metadata": metadata}
    made.play(bodies=[stripe("refund.created", "evt_note", id="re_2", **other)])
    redact(made)
    assert left(made) == set()
    assert made.store.events.find("evt_note")[0].redacted


def test_what_could_not_be_read_may_name_the_order_alone(make: Make) -> None:
    made = make()
    guest = {"customer": None, "email": "other@shop.example", "contact_email": None}
    made.play(requests=[shopify("orders/paid", "guest", **guest, **UNREADABLE)])
    assert left(made)
    made.play("shopify/customers/redact")
    assert left(made) == set()


def test_somebody_with_more_ids_than_one_query_holds(make: Make) -> None:
    made = make("tapfiliate")
    ids = [f"external_id:user_{number:06d}" for number in range(1200)]
    with made.store.atomic():
        made.store.customers.join([f"shopify:{SHOPIFY_CUSTOMER}", *ids])
    made.play("shopify/orders/paid", "shopify/customers/redact")
    assert left(made) == set()
    assert made.store.customers.count()["customers"] == 0


# ── and no further ───────────────────────────────────────────────────────────────────────────────


def test_an_amount_is_nobodys_id(make: Make) -> None:
    made = make("tapfiliate")
    alone: dict[str, object] = {"parent": None, "payments": {"data": []}}
    guest = {"customer": None, "customer_email": None, "amount_paid": 100_000, "total": 100_000}
    other = {"customer": "cus_h", "customer_email": "h@example.com", "currency": "xyz"}
    made.play(
        bodies=[
            stripe("invoice.paid", "evt_p", id="in_p", metadata={"user_id": "100000"}, **alone),
            stripe("invoice.paid", "evt_g", id="in_g", **guest, **alone),
            stripe("invoice.paid", "evt_h", id="in_h", amount_paid=100_000, **other, **alone),
        ]
    )
    intake = Intake(made.store, made.config)
    intake.redact(intake.redaction.find(["external_id:100000"]), made.clock())
    redacted = {each.order: each.redacted for each in made.store.orders.newest()}
    assert redacted == {"in_p": True, "in_g": False}
    assert made.store.events.find("evt_h")[0].state is EventState.FAILED


def test_an_order_of_a_shop_is_found_within_that_shop_alone(make: Make) -> None:
    made = make()
    made.play("shopify/customers/redact")
    provider, request = shopify("orders/paid", "elsewhere")
    headers = {**request.headers, "x-shopify-shop-domain": "other.myshopify.com"}
    made.play(requests=[(provider, WebhookRequest(headers, request.body)), sent_as("invoice.paid")])
    assert {each.redacted for each in made.store.orders.newest()} == {False}
    rules = Intake(made.store, made.config).rules
    assert made.store.customers.find([attribution.email_key(EMAIL, rules.email_key)])
