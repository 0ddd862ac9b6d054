"""The stand-in for Tapfiliate: postback 1.7, and of REST 1.6 what makes and finds conversions."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import uuid4

from flask import abort, request
from pydantic import Field, model_validator

from bridge.money import EXACT
from bridge.sandbox.ledger import Account, JsonObject, Lead, Sale, books, change, write_amount
from bridge.sandbox.reading import RefusedError, is_good_key, known, read, stand_in
from bridge.sandbox.strict import NumberOrText, Strict, Text, UpperCurrency

vendor = stand_in(__name__, lambda error: ({"message": error.message}, error.status))

PROGRAM = {"id": "sandbox-program", "title": "Sandbox program", "currency": "USD"}
AFFILIATE = {"id": "af_sandbox", "firstname": "Sandy", "lastname": "Box"}
COMMISSION_SHARE = Decimal("0.1")


class Attributed(Strict):
    """Hold the ways to say whom to credit, of which one is needed, and who the visitor was."""

    coupon: Text = ""
    click_id: Text = ""
    referral_code: Text = ""
    asset_id: Text = ""
    source_id: Text = ""
    meta_data: dict[str, Any] = Field(default_factory=dict)
    user_agent: Text = ""
    ip: Text = ""

    @property
    def click(self) -> str:
        """Return the id that wins."""
        asset = f"{self.asset_id}/{self.source_id}" if self.asset_id and self.source_id else ""
        return self.coupon or self.click_id or self.referral_code or asset

    @property
    def is_attributed(self) -> bool:
        """Tell whether there is one."""
        return bool(self.click)

    @model_validator(mode="after")
    def _has_somebody_to_credit(self) -> Attributed:
        if self.is_attributed:
            return self
        raise ValueError("needs coupon, click_id, referral_code or asset_id with source_id")


class NewConversion(Attributed):
    """Hold the body of a conversion; the documents' own sample writes the amount as a string."""

    external_id: Text
    amount: NumberOrText | None = None
    currency: UpperCurrency = PROGRAM["currency"]
    customer_id: Text = ""


class RestConversion(NewConversion):
    """Hold the body of a conversion at REST 1.6, where a known customer is enough."""

    @property
    def is_attributed(self) -> bool:
        """Tell whether there is a way, or a customer who came by one."""
        return bool(self.click or self.customer_id)


class ConversionChange(Strict):
    """Hold the body of a change; the amount is the new one, not a difference."""

    external_id: Text
    status: Literal["approved", "disapproved"] | None = None
    amount: NumberOrText | None = None
    meta_data: dict[str, Any] = Field(default_factory=dict)


class NewCustomer(Attributed):
    """Hold the body of a customer."""

    customer_id: Text
    status: Literal["new", "trial", "lead"] = "new"


class CustomerChange(Strict):
    """Hold the body of a customer's change, which is free data only."""

    customer_id: Text
    meta_data: dict[str, Any] = Field(default_factory=dict)


@vendor.before_request
def check_key() -> None:
    """Demand an API key: without one there is a web page, with a bad one a JSON message."""
    key = request.headers.get("X-Api-Key", "").strip()
    if not key:
        abort(401)
    if not is_good_key(key):
        raise RefusedError(401, "Invalid API key")


def new_object(body: Attributed, kind: str) -> JsonObject:
    """Return what conversions and customers have in common."""
    known(body.click, f"No affiliate could be found for {body.click!r}")
    return {
        "id": f"{kind}_{uuid4().hex[:20]}",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "click": None,
        "affiliate_meta_data": None,
        "program": PROGRAM,
        "affiliate": AFFILIATE,
        "warnings": None,
        "meta_data": body.meta_data,
    }


def show(sale: Sale, made: JsonObject) -> JsonObject:
    """Return a conversion with its one commission, as they stand now."""
    amount = Decimal(sale.amount or 0)
    commission = {
        "kind": "regular",
        "affiliate": AFFILIATE,
        "currency": sale.currency,
        "id": made["id"].replace("cv_", "cm_"),
        "created_at": made["created_at"],
        "payout": None,
        "commission_type": "standard",
        "approved": made["approved"],
        "amount": EXACT.multiply(amount, COMMISSION_SHARE),
        "comment": None,
        "conversion_sub_amount": amount,
        "final": None,
    }
    shown = {name: value for name, value in made.items() if name != "approved"}
    return {**shown, "amount": amount, "external_id": sale.order, "commissions": [commission]}


@vendor.route("/1.7/pb/con/c/", methods=["GET", "POST"])
def create_conversion() -> JsonObject:
    """Accept a conversion with a new external id; its commission is pending at first."""
    body = read(NewConversion, invalid=422)
    with books() as account:
        return enter(body, body.click, account)


@vendor.post("/1.6/conversions/")
def create_rest_conversion() -> tuple[JsonObject, int]:
    """Accept a conversion likewise, credited to the click of its customer where it has none."""
    body = read(RestConversion, invalid=422)
    with books() as account:
        customer = account.leads.get((body.customer_id,))
        if not body.click and customer is None:
            raise RefusedError(404, f"Customer {body.customer_id!r} could not be found")
        shown = enter(body, body.click or (customer.click if customer else ""), account)
        return shown | {"id": len(account.sales)}, 201


def enter(body: NewConversion, click: str, account: Account) -> JsonObject:
    """Record a conversion, unless its external id was used before."""
    made = {**new_object(body, "cv"), "customer": None, "approved": None}
    if (body.external_id,) in account.sales:
        raise RefusedError(422, f"external_id {body.external_id!r} is not unique")
    sale = Sale(
        type="conversion",
        order=body.external_id,
        customer=body.customer_id,
        click=click,
        amount="" if body.amount is None else write_amount(body.amount, body.currency),
        currency=body.currency,
    )
    account.sell(sale, body.external_id)
    account.answers[body.external_id] = made
    return show(sale, made)


@vendor.route("/1.7/pb/con/u/", methods=["GET", "POST"])
def update_conversion() -> JsonObject:
    """Change the amount or the status of a known conversion."""
    body = read(ConversionChange, invalid=422)
    with books() as account:
        sale = account.sales.get((body.external_id,))
        if sale is None:
            raise RefusedError(404, f"Conversion {body.external_id!r} could not be found")
        made = account.answers[body.external_id]
        amount = sale.amount if body.amount is None else write_amount(body.amount, sale.currency)
        change(sale, amount=amount, status=body.status or sale.status)
        made["meta_data"] = {**made["meta_data"], **body.meta_data}
        if body.status:
            made["approved"] = body.status == "approved"
        return show(sale, made)


@vendor.route("/1.7/pb/cus/c/", methods=["GET", "POST"])
def create_customer() -> JsonObject:
    """Accept a customer with a new id."""
    body = read(NewCustomer, invalid=422)
    key = body.customer_id
    made = {**new_object(body, "cu"), "customer_id": key, "status": body.status}
    with books() as account:
        if (key,) in account.leads:
            raise RefusedError(422, f"customer_id {key!r} is not unique")
        lead = Lead(type=body.status, customer=key, click=body.click, meta=body.meta_data)
        account.lead(lead, key)
    return made


@vendor.route("/1.7/pb/cus/u/", methods=["GET", "POST"])
def update_customer() -> JsonObject:
    """Change the free data of a known customer: what is not named stays."""
    body = read(CustomerChange, invalid=422)
    with books() as account:
        lead = account.leads.get((body.customer_id,))
        if lead is None:
            raise RefusedError(404, f"Customer {body.customer_id!r} could not be found")
        change(lead, meta=lead.meta | body.meta_data)
        return {"customer_id": body.customer_id, "meta_data": lead.meta}


@vendor.get("/1.6/conversions/")
def find_conversions() -> list[JsonObject]:
    """Return the conversions with one external id, or the first page of all."""
    wanted = request.args.get("external_id", "")
    with books() as account:
        # REST 1.6 has ids of its own, which are numbers.
        found = [
            show(sale, account.answers[sale.order]) | {"id": number}
            for number, sale in enumerate(account.sales.values(), 1)
            if wanted in {"", sale.order}
        ]
    return found[:25]
