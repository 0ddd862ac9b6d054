"""The stand-in for Tracify: events, of which purchases and conversions are sales, and visits.

A sale is never changed: an id that was used before is accepted and ignored.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

from flask import request
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from bridge.sandbox.ledger import Account, JsonObject, Pageview, Sale, books, write_amount
from bridge.sandbox.reading import RefusedError, is_good_key, read, stand_in
from bridge.sandbox.strict import Strict, Text, UpperCurrency

vendor = stand_in(
    __name__,
    # The status of a bad token is not documented; of a bad event, only that `status` is false.
    lambda error: ({"status": False, "error": error.message}, error.status),
)

EMAIL, SESSION, IP = 1, 2, 3
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"

# What may stand beside the documented fields: the parameters of the address by which the visitor
# came, and of a sale also the lines of the order.
EXTRAS = re.compile(r"(?P<line>ITEM|AMT|QTY)(?P<n>[1-9][0-9]*)|(utm|trc)_[A-Za-z0-9_]+")
LINE_VALUES = {
    "ITEM": re.compile(r".+", re.DOTALL),
    "AMT": re.compile(r"[0-9]+([.,][0-9]{1,2})?"),
    "QTY": re.compile(r"[1-9][0-9]*"),
}


def _is_full_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a full URL")
    return url


def _is_uuid4(text: str) -> str:
    if str(UUID(text)) != text.lower() or UUID(text).version != 4:
        raise ValueError("must be a UUID4")
    return text


def _is_time(text: str) -> str:
    moment = datetime.strptime(text, TIME_FORMAT)  # noqa: DTZ007 - UTC, and never leaves here
    if moment.strftime(TIME_FORMAT) != text:
        raise ValueError("must look like 2026-01-31 09:05:00")
    return text


Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Identity = Annotated[int, Field(ge=1, le=4)]
TwoDecimals = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}[.,][0-9]{2}$")]


class Visit(Strict):
    """Hold the data of an event that sells nothing, with the campaign that led to it."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]

    origin: Text
    Referer: Text = ""

    @model_validator(mode="after")
    def _has_only_known_extras(self) -> Visit:
        for name, value in self.__pydantic_extra__.items():
            known = EXTRAS.fullmatch(name)
            if not known or (known["line"] and not isinstance(self, SaleData)):
                raise ValueError(f"{name} is not a documented field")
            if known["line"]:
                self._check_line(name, value, known)
        return self

    def _check_line(self, name: str, value: str, known: re.Match[str]) -> None:
        if not LINE_VALUES[known["line"]].fullmatch(value):
            raise ValueError(f"{name} is not well-formed")
        if f"ITEM{known['n']}" not in self.__pydantic_extra__:
            raise ValueError(f"{name} stands without ITEM{known['n']}")


class SaleData(Visit):
    """Hold what purchases and conversions have in common."""

    currency: UpperCurrency


class PurchaseData(SaleData):
    """Hold the data of a purchase."""

    order_id: Text
    amount: TwoDecimals


class ConversionData(SaleData):
    """Hold the data of a conversion, whose amount one document calls `value`, another `amount`."""

    conversion_id: Text
    amount: TwoDecimals = ""
    value: TwoDecimals = ""

    @model_validator(mode="after")
    def _has_one_amount(self) -> ConversionData:
        given = {self.amount, self.value} - {""}
        if len(given) != 1:
            raise ValueError("needs amount or value, and where both are given they must be equal")
        return self


class BaseEvent(Strict):
    """Hold what all events have in common."""

    url: Annotated[str, StringConstraints(min_length=7), AfterValidator(_is_full_url)]
    customer_site_id: Annotated[str, AfterValidator(_is_uuid4)]
    identity_data: Annotated[dict[Hash, Identity], Field(min_length=1)]
    datetime: Annotated[str, AfterValidator(_is_time)]

    def identity(self, kind: int) -> str:
        """Return the hash of one kind, empty where it was not sent."""
        return next((key for key, value in self.identity_data.items() if value == kind), "")


class VisitEvent(BaseEvent):
    """Hold an event that sells nothing."""

    type: Literal["pageview", "productview", "addtocart"]
    data: Visit


class PurchaseEvent(BaseEvent):
    """Hold a purchase."""

    type: Literal["purchase"]
    data: PurchaseData


class ConversionEvent(BaseEvent):
    """Hold a conversion."""

    type: Literal["conversion"]
    data: ConversionData


SaleEvent: TypeAlias = PurchaseEvent | ConversionEvent
AnyEvent = Annotated[VisitEvent | SaleEvent, Field(discriminator="type")]


class Batch(Strict):
    """Hold the body of a call."""

    events: Annotated[list[AnyEvent], Field(min_length=1)]


@vendor.before_request
def check_token() -> None:
    """Demand a token."""
    if not is_good_key(request.headers.get("tracify-token", "")):
        raise RefusedError(401, "the tracify-token is missing or not valid")


@vendor.post("/api/v1/events")
def accept_events() -> JsonObject:
    """Accept a batch of events, all or none."""
    batch = read(Batch, invalid=200)
    with books() as account:
        for event in batch.events:
            if isinstance(event, VisitEvent):
                see(event, account)
            else:
                enter(event, account)
    return {"status": True}


def see(event: VisitEvent, account: Account) -> None:
    """Record a pageview; what else a visitor does is taken and forgotten."""
    if event.type != "pageview":
        return
    pageview = Pageview(
        customer=event.identity(EMAIL),
        click=event.identity(SESSION) or event.identity(IP),
        url=event.url,
        referrer=event.data.Referer,
        campaign=dict(event.data.__pydantic_extra__),
        at=event.datetime,
    )
    account.see(pageview)


def enter(event: SaleEvent, account: Account) -> None:
    """Record a sale, unless its id was used before."""
    data = event.data
    if isinstance(data, PurchaseData):
        order, amount = data.order_id, data.amount
    else:
        order, amount = data.conversion_id, data.amount or data.value
    if (event.type, order) in account.sales:
        return
    sale = Sale(
        type=event.type,
        order=order,
        customer=event.identity(EMAIL),
        click=event.identity(SESSION) or event.identity(IP),
        amount=write_amount(Decimal(amount.replace(",", ".")), data.currency),
        currency=data.currency,
    )
    account.sell(sale, event.type, order)
