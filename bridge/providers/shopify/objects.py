"""How Shopify's objects are read: names, times, persons, transactions.

An order is known by its shop and its id, together: "acme.myshopify.com/5570123456789". So is what
belongs to it: "acme.myshopify.com/transaction/6512345678901". The header that names the shop is not
signed: a body under another shop's name must not join two orders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bridge.errors import MoneyError, PayloadError
from bridge.model import Context, Event, Payment, PaymentKind, PaymentState
from bridge.money import Money
from bridge.providers.base import Json, dig, moment, objects, text, texts
from bridge.providers.shopify.settings import SHOP

ID = re.compile(r"[0-9]{1,20}")
ORDER = re.compile(rf"{SHOP.pattern}/{ID.pattern}")
MAX_QUOTED = 60

REFUND_STATES = {
    "success": PaymentState.COUNTS,
    "pending": PaymentState.OPEN,
    "awaiting_response": PaymentState.OPEN,
    "failure": PaymentState.REVERSED,
    "error": PaymentState.REVERSED,
}


def payment_of(event: Event, id: str, kind: PaymentKind, *orders: str, **facts: Any) -> Payment:
    """Build a payment of an order, or of none; one of an order is known by its own id, too."""
    return Payment(
        id=id,
        provider=event.provider,
        kind=kind,
        occurred_at=event.occurred_at,
        references=frozenset({id, *orders} if orders else ()),
        test=event.test,
        account=event.account,
        **facts,
    )


def refunds_of(event: Event, order_id: object, transactions: object) -> list[Payment]:
    """Return the refunds among transactions, each by its own id.

    The same transaction comes in refunds/create, in its order and on its own: one movement.
    """
    found = (each for each in objects(transactions) if each.get("kind") == "refund")
    return [_refund(event, order_id, each) for each in found]


def _refund(event: Event, order_id: object, transaction: Json) -> Payment:
    status = text(transaction.get("status"))
    state = REFUND_STATES.get(status)
    unknown = f"unknown status {status[:MAX_QUOTED]!r}" if state is None else ""
    waiting = status if state is PaymentState.OPEN else ""
    return payment_of(
        event,
        own_name(event, transaction, "transaction"),
        PaymentKind.REFUND,
        order_name(event, order_id),
        state=state or PaymentState.OPEN,
        final=state is PaymentState.REVERSED,
        amount=transaction_money(transaction),
        started_at=time_of(transaction, "processed_at", "created_at"),
        reason=text(transaction.get("error_code")) or unknown or waiting,
    )


def transaction_money(transaction: Json) -> Money:
    """Return the amount of a transaction, in its own currency."""
    currency = text(transaction.get("currency"))
    if not currency:
        raise PayloadError(
            f"transaction {text(transaction.get('id'))[:MAX_QUOTED]} names no currency"
        )
    return money(transaction.get("amount"), currency)


def in_currency(transactions: object, currencies: Iterable[object]) -> list[Json]:
    """Return transactions; those that name no currency get the only one they can be in."""
    only = {text(each).upper() for each in currencies} - {""}
    implied = only.pop() if len(only) == 1 else ""
    return [
        each if each.get("currency") else {**each, "currency": implied}
        for each in objects(transactions)
    ]


def context_of(shop: str, order: Json) -> Context | None:
    """Return what an order tells of the buyer and of where they came from."""
    email = order.get("email") or order.get("contact_email") or dig(order, "customer", "email")
    client = order.get("client_details")
    landing = text(order.get("landing_site"))
    context = Context(
        email=text(email),
        ip=text(order.get("browser_ip") or dig(client, "browser_ip")),
        user_agent=text(dig(client, "user_agent")),
        url=f"https://{shop}{landing}" if landing.startswith("/") else landing,
        referrer=text(order.get("referring_site")),
        metadata=_attributes(order),
    )
    return None if context == Context() else context


def _attributes(order: Json) -> dict[str, str]:
    """Return what the shop attached to the cart, which wins, or to a line of it."""
    lines = (
        each for line in objects(order.get("line_items")) for each in _named(line, "properties")
    )
    return texts(dict([*lines, *_named(order, "note_attributes")]))


def _named(thing: Json, field: str) -> list[tuple[str, object]]:
    return [(text(each.get("name")), each.get("value")) for each in objects(thing.get(field))]


def order_name(event: Event, order_id: object) -> str:
    """Return the name of an order: its shop and its id."""
    return f"{event.account}/{_digits(order_id, f'the order of {event.type}')}"


def own_name(event: Event, thing: Json, what: str) -> str:
    """Return the name of a transaction, a refund or a dispute: its shop, what it is and its id."""
    return f"{event.account}/{what}/{id_of(thing, what)}"


def is_id(id: object) -> bool:
    """Tell whether something is the id of a Shopify object."""
    return bool(ID.fullmatch(text(id)))


def id_of(thing: Json, what: str) -> str:
    """Return the id of an object that must have one."""
    return _digits(thing.get("id"), what)


def _digits(id: object, what: str) -> str:
    if is_id(id):
        return text(id)
    raise PayloadError(f"{what} has no id of digits")


def time_of(thing: Json, *fields: str) -> datetime | None:
    """Return the first of several times that is told."""
    given = next(filter(None, (thing.get(each) for each in fields)), None)
    return moment(given) if given else None


def money(amount: object, currency: object) -> Money:
    """Read an amount that must be there."""
    if isinstance(amount, bool) or amount is None:
        raise MoneyError(f"an amount of {text(currency)[:MAX_QUOTED] or 'an order'} is missing")
    return Money.parse(amount, text(currency))  # type: ignore[arg-type]  # it refuses all else
