"""Paddle Classic: https://developer.paddle.com/classic/webhook-reference

Accounts made before August 2023. Its webhooks, called alerts, are forms; amounts are decimals of
major units; nothing says that one is a test.

`settings` are its settings, `form` reads the form and its signature.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from bridge.errors import ConfigError, MoneyError, PayloadError, SignatureError
from bridge.model import (
    Context,
    Event,
    Item,
    Payment,
    PaymentKind,
    PaymentState,
    WebhookRequest,
)
from bridge.money import Money
from bridge.providers.base import Provider, body_text, moment, text, texts
from bridge.providers.paddle_classic.form import SIGNATURE, fields_of, is_signed, signed_form
from bridge.providers.paddle_classic.settings import PaddleClassicSettings, read_private_key

__all__ = ["PaddleClassic", "PaddleClassicSettings"]

FORM = "application/x-www-form-urlencoded"
# A dispute is only closed when Paddle has won it and the money is back. What the field `status` may
# hold is not documented: another word than these must not give money back.
CLOSED_STATES = {
    "": PaymentState.REVERSED,
    "closed": PaymentState.REVERSED,
    "won": PaymentState.REVERSED,
    "lost": PaymentState.COUNTS,
}

Fields = Mapping[str, str]


class PaddleClassic(Provider[PaddleClassicSettings]):
    """Verify and normalise what Paddle Classic sends."""

    name = "paddle_classic"
    title = "Paddle Classic"
    settings_type = PaddleClassicSettings

    def verify(self, request: WebhookRequest, now: datetime) -> Event:
        """Check the signature; it has no time, so what is sent again is known by its alert_id."""
        fields = fields_of(body_text(request))
        if not fields.get(SIGNATURE):
            raise SignatureError(
                f"{SIGNATURE} is missing: every webhook must be signed by the owner of "
                "PADDLE_CLASSIC_PUBLIC_KEY",
                code="missing_signature",
            )
        if not is_signed(fields, self.settings.public_key.rsa):
            raise SignatureError(f"{SIGNATURE} does not match (check PADDLE_CLASSIC_PUBLIC_KEY)")
        return self._event(request, now)

    def read(self, request: WebhookRequest) -> Event:
        """Read an alert: alert_id, alert_name and event_time, which is in UTC without saying so."""
        return self._event(request, None)

    def _event(self, request: WebhookRequest, now: datetime | None) -> Event:
        """Read an alert; one without a time happened when it came."""
        body = body_text(request)
        fields = fields_of(body)
        id, kind = text(fields.get("alert_id")), text(fields.get("alert_name"))
        at = text(fields.get("event_time"))
        if not (id and kind):
            raise PayloadError("the body is no Paddle Classic alert: no alert_id or no alert_name")
        return Event(
            id=id,
            provider=self.name,
            type=kind,
            occurred_at=now if now and not at else moment(f"{at}+00:00", "event_time"),
            body=body,
            ignored="" if kind in MEANINGS else f"{kind} says nothing about money",
        )

    def normalise(self, event: Event) -> list[Payment]:
        """Say what an alert means; the table MEANINGS tells by which function."""
        meaning = MEANINGS.get(event.type)
        if meaning is None or event.ignored:
            return []
        return [meaning(event, fields_of(event.body))]

    def sign(self, request: WebhookRequest, now: datetime) -> WebhookRequest:
        """Sign with a key of the merchant's own: nobody but Paddle has Paddle's."""
        if self.settings.private_key is None:
            raise ConfigError(
                "PADDLE_CLASSIC_PRIVATE_KEY is not set: only Paddle can sign for its own "
                "PADDLE_CLASSIC_PUBLIC_KEY, so set both to a key pair of your own to test with"
            )
        key = read_private_key(self.settings.private_key)
        body = signed_form(body_text(request), key).encode()
        return WebhookRequest({**request.headers, "content-type": FORM}, body)


# ── what each alert means ────────────────────────────────────────────────────────────────────────


def _sale(event: Event, fields: Fields) -> Payment:
    orders = _orders(event, fields)
    paid = _money(event, fields, "sale_gross")
    net = _less(paid, _money(event, fields, "payment_tax", needed=False))
    return replace(
        _payment(event, fields, PaymentKind.SALE, orders[0], paid),
        net=net,
        subscription=text(fields.get("subscription_id")),
        items=_items(fields, net),
        context=_context(fields),
    )


def _refund(event: Event, fields: Fields) -> Payment:
    field = "gross_refund" if fields.get("gross_refund") else "amount"
    back = _money(event, fields, field)
    kind = text(fields.get("refund_type")).lower()
    net = None
    if kind == "vat":
        net = replace(back, minor=0)
    elif fields.get("tax_refund"):
        net = _less(back, _money(event, fields, "tax_refund"))
    # Each alert is a refund of its own, and the only thing that names it.
    refund = _payment(event, fields, PaymentKind.REFUND, f"alert_{event.id}", back)
    return replace(refund, net=net, reason=kind)


def _dispute(event: Event, fields: Fields) -> Payment:
    """Read a dispute: opened, the money is charged back; closed, it was won and is returned."""
    status = text(fields.get("status")).lower()
    opened = event.type == "payment_dispute_created"
    state = PaymentState.COUNTS if opened else CLOSED_STATES.get(status, PaymentState.OPEN)
    unknown = f"unknown status {status!r}: nothing is given back"
    amount = _disputed(event, fields)
    id = f"dispute_{_orders(event, fields)[-1]}"
    dispute = _payment(event, fields, PaymentKind.DISPUTE, id, amount)
    return replace(dispute, state=state, reason=unknown if state is PaymentState.OPEN else status)


def _disputed(event: Event, fields: Fields) -> Money:
    """Return what of a dispute's amount is no fee, which was never paid for the order.

    Only the amounts of the merchant's balance, in another currency perhaps, know it apart.
    """
    own, balance = text(fields.get("currency")), text(fields.get("balance_currency"))
    told = balance and fields.get("balance_amount")
    if told and balance == own:
        return _money(event, fields, "balance_amount")
    amount = _money(event, fields, "amount")
    if not (told and fields.get("balance_fee")):
        return amount
    back, fee = (
        _money(event, fields, each, currency="balance_currency").minor
        for each in ("balance_amount", "balance_fee")
    )
    return amount.scale(back, back + fee) if back + fee else amount


MEANINGS: dict[str, Callable[[Event, Fields], Payment]] = {
    "payment_succeeded": _sale,
    "subscription_payment_succeeded": _sale,
    "payment_refunded": _refund,
    "subscription_payment_refunded": _refund,
    "payment_dispute_created": _dispute,
    "payment_dispute_closed": _dispute,
}

# ── reading fields ───────────────────────────────────────────────────────────────────────────────


def _payment(event: Event, fields: Fields, kind: PaymentKind, id: str, amount: Money) -> Payment:
    return Payment(
        id=id,
        provider=event.provider,
        kind=kind,
        occurred_at=event.occurred_at,
        references=frozenset({id, *_orders(event, fields)}),
        amount=amount,
        customer=text(fields.get("user_id")),
    )


def _orders(event: Event, fields: Fields) -> list[str]:
    """Return what names an order, best first: its payment of a subscription, its order id."""
    named = [text(fields.get("subscription_payment_id")), text(fields.get("order_id"))]
    # Both are plain numbers: the prefix keeps one from being taken for the other.
    names = [f"subscription_payment_{named[0]}" if named[0] else "", named[1]]
    if not any(names):
        raise PayloadError(f"{event.type} {event.id} has no order_id")
    return [each for each in names if each]


def _money(
    event: Event, fields: Fields, field: str, *, needed: bool = True, currency: str = "currency"
) -> Money:
    """Return an amount in the currency that a field names."""
    amount = text(fields.get(field))
    if not amount and needed:
        raise PayloadError(f"{event.type} {event.id} has no {field}")
    try:
        money = Money.parse(amount or "0", text(fields.get(currency)))
    except MoneyError as error:
        raise MoneyError(f"{event.type} {event.id}, {field}: {error}") from None
    if money.minor < 0:
        raise PayloadError(f"{event.type} {event.id} has a negative {field}")
    return money


def _less(gross: Money, tax: Money) -> Money:
    return replace(gross, minor=max(gross.minor - tax.minor, 0))


def _items(fields: Fields, net: Money) -> tuple[Item, ...]:
    name = text(fields.get("product_name") or fields.get("plan_name"))
    quantity = text(fields.get("quantity"))
    count = int(quantity) if quantity.isascii() and quantity.isdigit() and len(quantity) < 9 else 1
    return (Item(name, net, count),) if name else ()


def _context(fields: Fields) -> Context | None:
    """Read what the merchant attached: JSON objects as metadata, one word as a reference."""
    attached = [_attached(text(fields.get(name))) for name in ("passthrough", "custom_data")]
    first, second = (texts(each) for each in attached)
    context = Context(
        email=text(fields.get("email")),
        ip=text(fields.get("ip")),
        reference=next(filter(None, map(_reference, attached)), ""),
        metadata=second | first,
    )
    return None if context == Context() else context


def _attached(value: str) -> object:
    """Return the JSON value that a text is, its numbers as they are written, else the text."""
    try:
        return json.loads(value, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return value


def _reference(attached: object) -> str:
    """Return what may name a buyer: a sentence names none."""
    words = text(attached).split()
    return words[0] if len(words) == 1 else ""
