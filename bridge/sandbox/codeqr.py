"""The stand-in for CodeQR: leads and sales in minor units, one sale per invoiceId.

What its own pages leave open is read from Dub, of which CodeQR is a fork: the error envelope, the
answer to a repeat, and the 200 that recorded nothing.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from bridge.money import EXACT
from bridge.sandbox.ledger import Account, JsonObject, Lead, Sale, books, write_amount
from bridge.sandbox.reading import (
    RefusedError,
    bearer,
    is_good_key,
    known,
    mark_refused,
    read,
    stand_in,
)
from bridge.sandbox.strict import AnyCurrency, Camel, Text, dumps

CODES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 422: "unprocessable_entity"}
DOCS = "https://docs.codeqr.io/api-reference/errors"

# Every other currency counts as having two decimals, those with three included.
ZERO_DECIMAL = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF"
# Beyond this a JSON number is no exact integer where CodeQR reads it.
SAFE_INTEGER = 2**53 - 1


def envelope(error: RefusedError) -> tuple[JsonObject, int]:
    """Wrap a refusal as Dub does."""
    code = CODES[error.status]
    inner = {"code": code, "message": error.message, "doc_url": f"{DOCS}#{code}"}
    return {"error": inner}, error.status


vendor = stand_in(__name__, envelope)


def _fits(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(dumps(metadata)) > 10_000:
        raise ValueError("must have at most 10,000 characters as JSON")
    return metadata


CustomerId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
EventName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
ShortText = Annotated[str, StringConstraints(max_length=100)]
Email = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Metadata = Annotated[dict[str, Any], AfterValidator(_fits)]
Processor = Literal["stripe", "shopify", "polar", "paddle", "revenuecat", "custom", "manual"]


class Person(Camel):
    """Hold who signed up or bought."""

    customer_external_id: CustomerId
    customer_name: ShortText | None = None
    customer_email: Email | None = None
    customer_avatar: str | None = None
    metadata: Metadata = Field(default_factory=dict)


class LeadEvent(Person):
    """Hold the body of a lead."""

    click_id: Text
    event_name: EventName
    event_quantity: int | None = None
    mode: Literal["async", "wait", "deferred"] = "async"


class SaleEvent(Person):
    """Hold the body of a sale."""

    amount: Annotated[int, Field(ge=0, le=SAFE_INTEGER)]
    currency: AnyCurrency = "usd"
    event_name: EventName = "Purchase"
    payment_processor: Processor = "custom"
    invoice_id: str | None = None
    lead_event_name: str | None = None
    click_id: str | None = None


@vendor.before_request
def check_key() -> None:
    """Demand an API key."""
    if not is_good_key(bearer()):
        raise RefusedError(401, "Unauthorized: Invalid API key.")


@vendor.post("/track/lead")
def track_lead() -> JsonObject:
    """Accept a lead; the same customer and event name is one lead."""
    event = read(LeadEvent, invalid=422)
    known(event.click_id, f"Click event not found for clickId: {event.click_id}")
    customer = event.customer_external_id
    with books() as account:
        lead = Lead(type=event.event_name, customer=customer, click=event.click_id)
        account.lead(lead, customer, event.event_name)
    person = {
        "externalId": customer,
        "name": event.customer_name,
        "email": event.customer_email,
        "avatar": event.customer_avatar,
    }
    return {"click": {"id": event.click_id}, "customer": person}


@vendor.post("/track/sale")
def track_sale() -> JsonObject:
    """Accept a sale, answer a repeat from memory, or answer 200 and record nothing."""
    sale = read(SaleEvent, invalid=422)
    with books() as account:
        if sale.invoice_id and sale.invoice_id in account.answers:
            return account.answers[sale.invoice_id]
        reason = why_nothing(sale, account)
        if reason:
            mark_refused(f"recorded nothing: {reason}")
            return {"customer": None, "sale": None}
        return enter(sale, account)


def lead_of(sale: SaleEvent, account: Account) -> Lead | None:
    """Return the sign-up by which a sale without a click is credited, the latest if it has many."""
    customer, named = sale.customer_external_id, sale.lead_event_name
    leads = [lead for lead in account.leads.values() if lead.customer == customer]
    return next((lead for lead in reversed(leads) if named in {None, "", lead.type}), None)


def why_nothing(sale: SaleEvent, account: Account) -> str:
    """Say why a sale is acknowledged but not recorded, if so; refuse what cannot be found."""
    customer = sale.customer_external_id
    known(sale.click_id or "", f"Click event not found for clickId: {sale.click_id}")
    if sale.amount == 0:
        return "the amount is 0"
    if sale.click_id:
        return ""
    if customer not in account.customers:
        return "the customer is not known and there is no clickId"
    if lead_of(sale, account) is None:
        named = f" {sale.lead_event_name!r}" if sale.lead_event_name else ""
        raise RefusedError(404, f"No lead event{named} found for this customer")
    return ""


def enter(sale: SaleEvent, account: Account) -> JsonObject:
    """Record a sale and return the documented answer."""
    customer, currency = sale.customer_external_id, sale.currency.upper()
    lead = None if sale.click_id else lead_of(sale, account)
    places = 0 if currency in ZERO_DECIMAL.split() else 2
    entry = Sale(
        type=sale.event_name,
        order=sale.invoice_id or "",
        customer=customer,
        click=lead.click if lead else str(sale.click_id),
        amount=write_amount(Decimal(sale.amount).scaleb(-places, context=EXACT), currency),
        currency=currency,
    )
    account.sell(entry, *filter(None, [sale.invoice_id]))
    answer = {
        "eventName": sale.event_name,
        "customerId": "cus_" + sha256(customer.encode()).hexdigest()[:24],
        "amount": sale.amount,
        "paymentProcessor": sale.payment_processor,
        "invoiceId": sale.invoice_id,
        "currency": sale.currency,
        "metadata": sale.metadata,
    }
    if sale.invoice_id:
        account.answers[sale.invoice_id] = answer
    return answer
