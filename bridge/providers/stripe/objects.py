"""How Stripe's objects are read: ids, amounts and invoices, in either layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from bridge.errors import PayloadError
from bridge.model import Context, Event, Item, Payment, PaymentKind
from bridge.money import Money
from bridge.providers.base import Json, dig, moment, objects, text, texts

# https://docs.stripe.com/currencies: Stripe counts these otherwise than ISO 4217. ISK and UGX are
# written with two decimals that are always zero; MGA, which has decimals, without any.
ZERO_DECIMAL = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "JPY",
        "KMF",
        "KRW",
        "MGA",
        "PYG",
        "RWF",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
)
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
MAX_QUOTED = 100


def payment_of(
    event: Event,
    thing: Json,
    kind: PaymentKind,
    references: Iterable[object],
    *,
    email: object = None,
    reference: object = None,
    context: bool = True,
    **facts: Any,
) -> Payment:
    """Build the payment that an object of an event tells of."""
    id = named(event, thing)
    ids = {id, *(id_of(each) for each in references)}
    return Payment(
        id=id,
        provider=event.provider,
        kind=kind,
        occurred_at=event.occurred_at,
        references=frozenset(ids - {""}),
        test=event.test,
        account=event.account,
        customer=id_of(thing.get("customer")) or id_of(thing.get("customer_account")),
        context=context_of(thing, email, reference) if context else None,
        **facts,
    )


def payment_of_invoice(event: Event, invoice: Json, kind: PaymentKind, **facts: Any) -> Payment:
    subscription = dig(invoice, "parent", "subscription_details")
    snapshot = dig(subscription or invoice.get("subscription_details"), "metadata")
    merged = {**invoice, "metadata": texts(snapshot) | texts(invoice.get("metadata"))}
    sources = [
        dig(each, "payment", "payment_intent") for each in objects(dig(invoice, "payments", "data"))
    ]
    return payment_of(
        event,
        merged,
        kind,
        [invoice.get("charge"), invoice.get("payment_intent"), *sources],
        email=invoice.get("customer_email"),
        subscription=id_of(dig(subscription, "subscription") or invoice.get("subscription")),
        **facts,
    )


def context_of(thing: Json, email: object, reference: object = None) -> Context | None:
    context = Context(
        email=text(email), reference=text(reference), metadata=texts(thing.get("metadata"))
    )
    return None if context == Context() else context


def items_of(invoice: Json) -> tuple[Item, ...]:
    return tuple(
        Item(
            name=text(line.get("description")),
            amount=money_of(invoice, units_at(line, "amount"), exact=False),
            quantity=line["quantity"] if isinstance(line.get("quantity"), int) else 1,
        )
        for line in objects(dig(invoice, "lines", "data"))
    )


def units_paid(invoice: Json) -> int:
    """Return what was paid: without what went to a balance, with what came out of band.

    Before basil `amount_paid` leaves out-of-band payments out, since then it includes them.
    """
    paid = units_of(invoice, "amount_paid") - units_at(invoice, "amount_overpaid")
    if paid <= 0 and invoice.get("paid_out_of_band"):
        return units_of(invoice, "amount_due")
    return max(paid, 0)


def units_net(invoice: Json) -> int:
    """Return an invoice's total without tax and shipping, in either layout."""
    if invoice.get("total_excluding_tax") is not None:
        without_tax = units_of(invoice, "total_excluding_tax")
    else:
        taxes = objects(invoice.get("total_taxes") or invoice.get("total_tax_amounts"))
        tax = units_at(invoice, "tax") or sum(units_at(each, "amount") for each in taxes)
        without_tax = units_of(invoice, "total") - tax
    return max(without_tax - units_at(invoice, "shipping_cost", "amount_subtotal"), 0)


def units_credited(note: Json, refunds: list[Json]) -> tuple[int, set[str]]:
    """Return what a credit note gives back besides refunds, and the refunds still contained in it.

    Only the newer layout tells how much of it each refund is.
    """
    if note.get("type") == "pre_payment":
        return 0, set()
    if note.get("post_payment_amount") is not None:
        refunded = sum(units_at(each, "amount_refunded") for each in refunds)
        return max(units_of(note, "post_payment_amount") - refunded, 0), set()
    return units_of(note, "amount"), {id_of(note.get("refund"))} - {""}


def units_of(thing: Json, *path: str) -> int:
    """Return an amount that must be there, in Stripe's smallest units."""
    units = dig(thing, *path)
    if isinstance(units, bool) or not isinstance(units, int):
        where = f"{text(thing.get('object'))} {text(thing.get('id'))}"[:MAX_QUOTED]
        raise PayloadError(f"{where} has no whole {'.'.join(path)}")
    return units


def units_at(thing: Json, *path: str) -> int:
    """Return an amount that Stripe may leave out: then it is none."""
    return 0 if dig(thing, *path) is None else units_of(thing, *path)


def money_of(thing: Json, units: int, *, exact: bool = True) -> Money:
    currency = text(thing.get("currency")).upper()
    places = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    return Money.from_minor(units, currency, places, exact=exact)


def time_of(thing: object, field: str) -> datetime | None:
    seconds = dig(thing, field)
    return None if seconds is None else moment(seconds)


def named(event: Event, thing: Json) -> str:
    """Return the id of an object that must have one."""
    if id := id_of(thing):
        return id
    raise PayloadError(f"{event.type} {event.id} has an object without an id")


def id_of(value: object) -> str:
    """Return the id of an object, whether it is named or expanded."""
    return text(value.get("id")) if isinstance(value, Mapping) else text(value)
