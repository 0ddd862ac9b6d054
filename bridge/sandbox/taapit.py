"""The stand-in for Taapit: leads and sales, each accepted sale counted anew.

Taapit documents no key by which a sale could be told from its repetition, and no way to take one
back, so neither is here.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from bridge.sandbox.ledger import JsonObject, Lead, Sale, books, write_amount
from bridge.sandbox.reading import RefusedError, bearer, is_good_key, known, read, stand_in
from bridge.sandbox.strict import Camel, LowerCurrency, Number, Text

# The name of the field with the message is not documented.
vendor = stand_in(__name__, lambda error: ({"ok": False, "error": error.message}, error.status))


class Customer(Camel):
    """Hold who signed up or bought."""

    external_id: Text = ""
    email: Text = ""
    firstname: Text = ""
    lastname: Text = ""
    phone_number: Text = ""
    avatar_url: Text = ""


class LeadEvent(Camel):
    """Hold the body of a lead."""

    tracking_id: Text
    customer: Customer
    metadata: dict[str, Any] = Field(default_factory=dict)


class SaleEvent(Camel):
    """Hold the body of a sale; whether it needs a trackingId depends on the customer."""

    tracking_id: Text = ""
    customer: Customer
    amount: Number
    currency: LowerCurrency
    metadata: dict[str, Any] = Field(default_factory=dict)


@vendor.before_request
def check_key() -> None:
    """Demand the secret key for events: not the publishable one, nor that of the management API."""
    key = bearer()
    if not key.startswith("taapit_sk_") or not is_good_key(key):
        raise RefusedError(401, "Invalid API key")


def check(event: LeadEvent | SaleEvent) -> None:
    """Refuse an event without a customer id, or with a click that is not there."""
    if not event.customer.external_id:
        raise RefusedError(400, "customer.externalId is required")
    known(event.tracking_id, "Click not found for this trackingId")


@vendor.post("/api/events/lead")
def track_lead() -> JsonObject:
    """Accept a lead; the same customer is one lead."""
    event = read(LeadEvent, invalid=400)
    check(event)
    customer = event.customer.external_id
    with books() as account:
        account.lead(Lead(type="lead", customer=customer, click=event.tracking_id), customer)
    return {"ok": True}


@vendor.post("/api/events/sale")
def track_sale() -> JsonObject:
    """Accept a sale of a customer that came with a click, now or as a lead."""
    event = read(SaleEvent, invalid=400)
    check(event)
    customer = event.customer.external_id
    with books() as account:
        lead = account.leads.get((customer,))
        if not event.tracking_id and lead is None:
            raise RefusedError(400, "trackingId is required for a customer without an earlier lead")
        sale = Sale(
            type="sale",
            order=str(event.metadata.get("orderId", "")),
            customer=customer,
            click=event.tracking_id or (lead.click if lead else ""),
            amount=write_amount(event.amount, event.currency),
            currency=event.currency.upper(),
        )
        account.sell(sale)
    return {"ok": True}
