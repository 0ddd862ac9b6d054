"""The stand-in for Trackdesk: conversions by click, external id or coupon, and their status.

Trackdesk documents which conversions fail, but not with which status or body; both are free here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated
from uuid import uuid4

from flask import request
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from bridge.sandbox.ledger import Account, JsonObject, Lead, Sale, books, change, write_amount
from bridge.sandbox.reading import RefusedError, is_good_key, known, read, stand_in
from bridge.sandbox.strict import Camel, Strict, Text, UpperCurrency

vendor = stand_in(__name__, lambda error: ({"message": error.message}, error.status))

# A tenant names its conversion types freely; these are the documents' examples that sell nothing.
LEAD_TYPES = frozenset({"lead", "signup", "freetrial"})

LEDGER_STATUS = {
    "CONVERSION_STATUS_UNSPECIFIED": "approved",
    "CONVERSION_STATUS_APPROVED": "approved",
    "CONVERSION_STATUS_PENDING": "pending",
    "CONVERSION_STATUS_ON_HOLD": "pending",
    "CONVERSION_STATUS_REJECTED": "rejected",
    "CONVERSION_STATUS_REFUNDED": "disapproved",
    "CONVERSION_STATUS_FRAUD": "rejected",
    "CONVERSION_STATUS_NOT_ALLOWED": "rejected",
    "CONVERSION_STATUS_TEST": "pending",
}


def _in_the_ledgers_words(status: str) -> str:
    if status not in LEDGER_STATUS:
        raise ValueError(f"must be one of {', '.join(LEDGER_STATUS)}")
    return LEDGER_STATUS[status]


Status = Annotated[str, AfterValidator(_in_the_ledgers_words)]


class Tracking(Camel):
    """Be the base of the tracking bodies, whose names may be camelCase or snake_case."""

    model_config = ConfigDict(populate_by_name=True)


class Amount(Tracking):
    """Hold an amount: a string of major units."""

    value: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}(\.[0-9]{1,8})?$")]


class Currency(Tracking):
    """Hold a currency."""

    code: UpperCurrency


class CustomParams(Strict):
    """Hold the free parameters of a conversion, which have one spelling."""

    advS1: str = ""  # noqa: N815
    advS2: str = ""  # noqa: N815
    advS3: str = ""  # noqa: N815
    advS4: str = ""  # noqa: N815
    advS5: str = ""  # noqa: N815


class Link(Tracking):
    """Hold the body that links an external id to a click."""

    cid: Text
    external_cid: Text
    revenue_origin_id: Text


class Conversion(Tracking):
    """Hold the body of a conversion."""

    conversion_type_code: Text
    cid: Text = ""
    external_cid: Text = ""
    coupon_code: Text = ""
    coupon_codes: list[Text] = Field(default_factory=list)
    revenue_origin_id: Text = ""
    amount: Amount | None = None
    currency: Currency | None = None
    external_id: Text = ""
    customer_id: Text = ""
    custom_params: CustomParams | None = None
    status: Status = "approved"

    @property
    def coupon(self) -> str:
        """Return the coupon it is to be credited by, if any."""
        return next(iter(self.coupon_codes), self.coupon_code)

    @model_validator(mode="after")
    def _is_attributable(self) -> Conversion:
        if not (self.cid or self.external_cid or self.coupon):
            raise ValueError("one of cid, externalCid, couponCode(s) is required")
        if not (self.cid or self.revenue_origin_id):
            raise ValueError("revenueOriginId is required with an externalCid or a coupon")
        return self


class StatusUpdate(Strict):
    """Hold the body of a status update, which knows snake_case only."""

    revenue_origin_id: Text
    external_id: Text
    conversion_type_code: Text
    status: Status


def find(account: Account, body: Conversion | StatusUpdate) -> Sale | Lead | None:
    """Find a conversion by its external id; one made without a revenue origin is in every one."""
    for origin in (body.revenue_origin_id, ""):
        key = (body.conversion_type_code, body.external_id, origin)
        entry = account.sales.get(key) or account.leads.get(key)
        if entry:
            return entry
    return None


def click_of(body: Conversion, account: Account) -> str:
    """Return what a conversion is credited by; refuse it if that is not there."""
    if body.cid or body.coupon:
        return known(body.cid or body.coupon, f"Click (CID) not found: {body.cid}")
    link = account.leads.get((body.revenue_origin_id, body.external_cid))
    if link is None:
        raise RefusedError(404, f"External CID not found: {body.external_cid}")
    return link.click


@vendor.post("/tracking/external-cid/v1")
def link_external_cid() -> JsonObject:
    """Link an external id to a click."""
    body = read(Link, invalid=400)
    click = known(body.cid, f"Click (CID) not found: {body.cid}")
    link = Lead(type="external-cid", customer=body.external_cid, click=click)
    with books() as account:
        account.lead(link, body.revenue_origin_id, body.external_cid)
    return {}


@vendor.route("/tracking/conversion/v1", methods=["GET", "POST"])
def create_conversion() -> JsonObject:
    """Accept a conversion whose external id is new to its type."""
    body = read(Conversion, invalid=400)
    with books() as account:
        click = click_of(body, account)
        if body.external_id and find(account, body):
            what = f"externalId {body.external_id!r} of type {body.conversion_type_code!r}"
            raise RefusedError(409, f"Duplicate conversion: {what} already exists")
        enter(body, click, account)
    return {"conversionId": str(uuid4())}


def enter(body: Conversion, click: str, account: Account) -> None:
    """Record a conversion, as a lead where it sells nothing."""
    code, customer = body.conversion_type_code, body.customer_id or body.external_cid
    key = (code, body.external_id, body.revenue_origin_id) if body.external_id else ()
    if code in LEAD_TYPES and body.amount is None:
        account.lead(Lead(type=code, customer=customer, click=click), *key)
        return
    currency = body.currency.code if body.currency else ""
    sale = Sale(
        type=code,
        order=body.external_id,
        customer=customer,
        click=click,
        amount=write_amount(Decimal(body.amount.value), currency) if body.amount else "",
        currency=currency,
        status=body.status,
    )
    account.sell(sale, *key)


@vendor.post("/api/node/conversions/v1/update-status-by-external-id")
def update_status() -> JsonObject:
    """Change the status of a known conversion."""
    if not is_good_key(request.headers.get("x-api-key", "")):
        raise RefusedError(401, "Unauthorized: x-api-key is missing or not valid")
    body = read(StatusUpdate, invalid=400)
    with books() as account:
        entry = find(account, body)
        if entry is None:
            raise RefusedError(404, f"Conversion not found: external_id {body.external_id!r}")
        if isinstance(entry, Sale):
            change(entry, status=body.status)
    return {}
