"""Payloads that nobody on this project wrote are read, and mean what their provider documents.

They are third parties' own examples, kept outside this repository: the whole file is skipped where
they are not. BRIDGE_PAYLOADS names the folder they lie in.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cases import made, unsigned
from conftest import REPOSITORY

from bridge.model import Event, Payment, WebhookRequest

FOLDER = Path(os.environ.get("BRIDGE_PAYLOADS") or REPOSITORY.parent / "shared" / "payloads")
SHOP = "acme.myshopify.com"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"there are no third-party payloads in {FOLDER}"
)


def request_of(name: str) -> WebhookRequest:
    """Return a payload as its provider would send it, unsigned."""
    body = (FOLDER / name).read_bytes()
    provider, _, file = name.partition("/")
    if provider == "stripe" and file in RESOURCES:
        return unsigned(in_an_event(json.loads(body), RESOURCES[file]))
    if provider == "paddle":
        return unsigned(in_a_notification(json.loads(body), file))
    if provider == "shopify":
        return unsigned(body, **shopify_headers(file))
    return unsigned(body.strip())


def in_an_event(thing: dict[str, Any], kind: str) -> str:
    event = {"id": "evt_payload", "object": "event", "type": kind, "created": 1_790_000_000}
    return json.dumps(event | {"livemode": True, "data": {"object": thing}})


def in_a_notification(data: dict[str, Any], file: str) -> str:
    kind = file.removeprefix("entity.").removesuffix(".json")
    ids = {"event_id": "evt_payload", "notification_id": "ntf_payload"}
    when = {"occurred_at": "2026-11-20T12:00:00.000000Z"}
    return json.dumps({**ids, "event_type": kind, **when, "data": data})


def shopify_headers(file: str) -> dict[str, str]:
    topic = "/".join(file.partition(".")[0].rsplit("_", 1))
    return {
        "x_shopify_topic": topic,
        "x_shopify_shop_domain": SHOP,
        "x_shopify_webhook_id": f"payload-{topic}",
        "x_shopify_triggered_at": "2026-11-20T12:00:00Z",
        "x_shopify_api_version": "2026-04",
    }


def read(name: str) -> tuple[Event, list[Payment]]:
    """Take a payload in as its provider's webhook, signed."""
    provider = made(name.partition("/")[0])
    event = provider.verify(provider.sign(request_of(name), NOW), NOW)
    return event, [] if event.ignored else provider.normalise(event)


def told(payment: Payment) -> str:
    """Write down what a payment says of money: kind, state, amount, net."""
    words = [str(payment.kind), str(payment.state)]
    words += [str(payment.amount)] if payment.amount else []
    words += [f"net {payment.net}"] if payment.net else []
    return " ".join(words)


# The bare objects of an API, and the event that would carry each.
RESOURCES = {
    "openapi-resource.charge.json": "charge.succeeded",
    "openapi-resource.checkout.session.json": "checkout.session.completed",
    "openapi-resource.credit_note.json": "credit_note.created",
    "openapi-resource.customer.json": "customer.created",
    "openapi-resource.dispute.json": "charge.dispute.created",
    "openapi-resource.invoice.json": "invoice.paid",
    "openapi-resource.invoice_payment.json": "invoice_payment.paid",
    "openapi-resource.payment_intent.json": "payment_intent.succeeded",
    "openapi-resource.refund.json": "refund.created",
}

# What each must mean. A payload that is not named here says nothing about money.
MEANINGS = {
    # https://docs.stripe.com/api/events/types. These disputes are inquiries (`warning_…`): only the
    # events about funds say that money moved.
    "stripe/charge.dispute.closed.2020-03-02.json": ["dispute open 10.00 USD"],
    "stripe/charge.dispute.created.2020-03-02.json": ["dispute open 10.00 USD"],
    "stripe/charge.dispute.funds_reinstated.2020-03-02.json": ["dispute reversed 10.00 USD"],
    "stripe/charge.dispute.funds_withdrawn.2020-03-02.json": ["dispute counts 10.00 USD"],
    "stripe/charge.dispute.updated.2020-03-02.json": ["dispute open 10.00 USD"],
    "stripe/charge.refunded.2020-03-02.json": [
        "refunded_so_far counts 25.00 USD",
        "refund counts 25.00 USD",
    ],
    "stripe/charge.succeeded.2020-03-02.json": ["link counts"],
    # The invoice it made is the sale.
    "stripe/checkout.session.completed.2020-03-02.json": ["link counts"],
    # Made before payment: they lowered what was paid, and give nothing back.
    "stripe/credit_note.created.2020-03-02.json": ["credit counts 0.00 USD"],
    "stripe/credit_note.updated.2020-03-02.json": ["credit counts 0.00 USD"],
    "stripe/credit_note.voided.2020-03-02.json": ["credit counts 0.00 USD"],
    "stripe/customer.updated.2020-03-02.json": ["link counts"],
    "stripe/invoice.paid.2020-03-02.json": ["sale counts 0.00 USD net 0.00 USD"],
    "stripe/invoice.voided.2020-03-02.json": ["cancellation counts"],
    "stripe/invoice_payment.paid.2023-10-16.json": ["link counts 20.00 USD"],
    "stripe/payment_intent.succeeded.2020-03-02.json": ["link counts"],
    "stripe/refund.created.2020-03-02.json": ["refund counts 10.00 USD"],
    "stripe/refund.failed.2020-03-02.json": ["refund reversed 10.00 USD"],
    "stripe/refund.updated.2020-03-02.json": ["refund counts 10.00 USD"],
    "stripe/openapi-resource.charge.json": ["link counts"],
    "stripe/openapi-resource.checkout.session.json": ["link counts"],  # unpaid
    "stripe/openapi-resource.credit_note.json": ["credit counts 0.00 USD"],
    "stripe/openapi-resource.customer.json": ["lead counts"],
    "stripe/openapi-resource.dispute.json": ["dispute open 10.00 USD"],
    "stripe/openapi-resource.invoice.json": ["link counts"],  # a draft
    "stripe/openapi-resource.invoice_payment.json": ["link counts"],
    "stripe/openapi-resource.payment_intent.json": ["link counts"],
    "stripe/openapi-resource.refund.json": ["refund counts 1.00 USD"],
    # https://developer.paddle.com/webhooks: a refund that waits for approval has moved nothing; a
    # transaction is a sale when it is completed, at its total with tax.
    "paddle/entity.adjustment.created.json": ["refund open 1.00 USD net 0.92 USD"],
    "paddle/entity.adjustment.updated.json": ["refund open 1.00 USD net 0.92 USD"],
    "paddle/entity.customer.created.json": ["lead counts"],
    "paddle/entity.customer.updated.json": ["link counts"],
    "paddle/entity.transaction.completed.json": ["sale counts 652.15 USD net 599.00 USD"],
    "paddle/entity.transaction.paid.json": ["link counts"],
    # https://developer.paddle.com/classic/webhook-reference: a dispute that is closed was won. The
    # numbers are random: here more tax goes back than money, so nothing of it was net.
    "paddle_classic/dispute_closed.form": ["dispute reversed 867.09 EUR"],
    "paddle_classic/dispute_created.form": ["dispute counts 932.02 USD"],
    "paddle_classic/payment_refunded.form": ["refund counts 0.06 USD net 0.00 USD"],
    "paddle_classic/payment_success.form": ["sale counts 645.46 USD net 645.02 USD"],
    "paddle_classic/subscription_payment_refunded.form": ["refund counts 0.17 EUR net 0.00 EUR"],
    "paddle_classic/subscription_payment_success.form": ["sale counts 173.67 GBP net 172.71 GBP"],
    # https://shopify.dev/docs/api/webhooks: their one order is voided and cancelled, so nothing was
    # ever paid, whatever the topic. Authorizations move nothing, chargebacks take back at once.
    "shopify/customers_create.2026-04.json": ["link counts"],
    "shopify/disputes_create.2026-04.json": ["dispute counts 11.50 CAD"],
    "shopify/disputes_update.2026-04.json": ["dispute counts 11.50 CAD"],
    "shopify/order_transactions_create.2026-04.json": ["link counts"],
    "shopify/orders_cancelled.2026-04.json": ["cancellation counts"],
    "shopify/orders_edited.2026-04.json": ["link counts"],
    "shopify/orders_paid.2026-04.json": ["cancellation counts"],
    "shopify/orders_updated.2026-04.json": ["cancellation counts"],
    "shopify/refunds_create.2026-04.json": [
        "refund counts 75.00 USD",
        "refund counts 10.00 USD",
    ],
}
# How each names its order and its customer, by the fields of the payload.
BELONGS = {
    "stripe/refund.created.2020-03-02.json": ("{payment_intent}", ""),
    "stripe/charge.refunded.2020-03-02.json": ("{payment_intent}", "{customer}"),
    "stripe/invoice_payment.paid.2023-10-16.json": ("{invoice}", ""),
    "paddle/entity.adjustment.created.json": ("{transaction_id}", "{customer_id}"),
    "paddle/entity.transaction.completed.json": ("{id}", "{customer_id}"),
    "paddle_classic/dispute_created.form": ("{order_id}", ""),
    "paddle_classic/payment_refunded.form": ("{order_id}", ""),
    "paddle_classic/subscription_payment_success.form": (
        "subscription_payment_{subscription_payment_id}",
        "{user_id}",
    ),
    "shopify/orders_paid.2026-04.json": (f"{SHOP}/{{id}}", "{customer[id]}"),
    "shopify/refunds_create.2026-04.json": (f"{SHOP}/{{order_id}}", ""),
    "shopify/disputes_create.2026-04.json": (f"{SHOP}/{{order_id}}", ""),
}


def fields_of(name: str) -> dict[str, Any]:
    """Return the fields of the object that a payload is about."""
    raw = (FOLDER / name).read_text("utf-8")
    if name.endswith(".form"):
        return dict(parse_qsl(raw))
    body: dict[str, Any] = json.loads(raw)
    thing: dict[str, Any] = body["data"]["object"] if name.startswith("stripe/") else body
    return thing


@pytest.mark.parametrize("name", MEANINGS)
def test_means_what_its_provider_documents(name: str) -> None:
    _, payments = read(name)
    assert [told(each) for each in payments] == MEANINGS[name]


@pytest.mark.parametrize("name", BELONGS)
def test_names_its_order_and_its_customer(name: str) -> None:
    order, customer = (each.format_map(fields_of(name)) for each in BELONGS[name])
    _, payments = read(name)
    assert all(order in each.references for each in payments)
    assert {each.customer for each in payments} <= {customer, ""}
    assert customer in {each.customer for each in payments}


def test_every_payload_is_read_or_says_nothing_about_money() -> None:
    files = [each for each in FOLDER.glob("*/*") if each.suffix in {".json", ".form"}]
    names = {each.relative_to(FOLDER).as_posix() for each in files}
    assert {name for name in names if not read(name)[0].ignored} == MEANINGS.keys()


@pytest.mark.parametrize(
    "name", ["stripe/invoice.paid.2020-03-02.json", "shopify/orders_paid.2026-04.json"]
)
def test_marks_what_is_a_test(name: str) -> None:
    event, payments = read(name)
    assert event.test
    assert all(each.test for each in payments)
