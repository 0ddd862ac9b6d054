"""What each Paddle event means in payments: one function an entity, and the table of events.

The facts behind each: https://developer.paddle.com/webhooks/overview. Amounts are strings of minor
units, all positive. A simulated event may be an older and leaner shape, so any field may be absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from bridge.errors import MoneyError, PayloadError
from bridge.model import Context, Event, Item, Payment, PaymentKind, PaymentState
from bridge.money import Money
from bridge.providers.base import Json, dig, moment, objects, text, texts
from bridge.providers.paddle.settings import PaddleSettings

# What an adjustment does to its transaction: what it is, and whether it takes (1) or gives back.
ACTIONS = {
    "refund": (PaymentKind.REFUND, 1),
    "credit": (PaymentKind.CREDIT, 1),
    "credit_reverse": (PaymentKind.CREDIT, -1),
    "chargeback": (PaymentKind.DISPUTE, 1),
    "chargeback_reverse": (PaymentKind.DISPUTE, -1),
    "chargeback_warning": (PaymentKind.DISPUTE, 1),
    "chargeback_warning_reverse": (PaymentKind.DISPUTE, -1),
}
WARNINGS = {"chargeback_warning", "chargeback_warning_reverse"}
# Where these are reversed, an adjustment of its own gives the money back: they stay as they are.
REVERSED_BY_ANOTHER = {"credit", "chargeback", "chargeback_warning"}
STATES = {
    "pending_approval": PaymentState.OPEN,
    "approved": PaymentState.COUNTS,
    "rejected": PaymentState.REVERSED,
    "reversed": PaymentState.REVERSED,
}
MAX_QUOTED = 100


# ── transactions and customers ───────────────────────────────────────────────────────────────────


def _transaction_completed(event: Event, transaction: Json, _: PaddleSettings) -> Payment:
    """Read the sale: `total` is what was paid, in money or from the customer's credit.

    Credit given for an earlier order (a proration, say) was taken off that one by an adjustment of
    its own: counting `grand_total` here would take it off twice. A total below zero goes to the
    customer's balance. What was adjusted since (`adjusted_totals`) comes as adjustments, too.
    """
    id, totals = _named(event, transaction), dig(transaction, "details", "totals")
    currency = _currency(transaction, totals)
    total = _money(id, totals, "total", currency)
    if total is None:
        raise PayloadError(f"{event.type} {id} has no details.totals.total")
    paid = Money(max(total.minor, 0), currency)
    return _payment(
        event,
        transaction,
        PaymentKind.SALE,
        [id],
        amount=paid,
        net=_net_of(id, totals, total) if paid.minor else paid,
        started_at=_paid_at(transaction),
        subscription=text(transaction.get("subscription_id")),
        reason=_reason(text(transaction.get("origin")), total),
        items=tuple(_items(id, transaction, currency)),
        context=_context(transaction, dig(transaction, "customer", "email")),
    )


def _transaction_paid(event: Event, transaction: Json, _: PaddleSettings) -> Payment:
    """Read who paid: what was paid is told when the transaction is completed."""
    return _payment(
        event,
        transaction,
        PaymentKind.LINK,
        [_named(event, transaction)],
        subscription=text(transaction.get("subscription_id")),
        reason="paid, not completed yet",
        context=_context(transaction, dig(transaction, "customer", "email")),
    )


def _customer(event: Event, customer: Json, _: PaddleSettings) -> Payment:
    """Read the e-mail behind a customer id, which transactions do not hold."""
    context = _context(customer, customer.get("email"))
    who = {**customer, "customer_id": _named(event, customer)}
    kind = PaymentKind.LEAD if event.type == "customer.created" else PaymentKind.LINK
    return _payment(event, who, kind, [], context=context)


# ── adjustments ──────────────────────────────────────────────────────────────────────────────────


def _adjustment(event: Event, adjustment: Json, settings: PaddleSettings) -> Payment:
    id, totals = _named(event, adjustment), adjustment.get("totals")
    kind, sign = ACTIONS.get(text(adjustment.get("action")), (PaymentKind.REFUND, 1))
    state, reason = _state(adjustment, settings)
    amount = _adjusted(id, adjustment, _currency(adjustment, totals))
    net = _net(id, totals, amount)
    if net is None and _is_tax_alone(adjustment):
        net = Money(0, amount.currency)
    return _payment(
        event,
        adjustment,
        kind,
        [id, text(adjustment.get("transaction_id"))],
        amount=_signed(sign, amount),
        net=None if net is None else _signed(sign, net),
        state=state,
        final=state is PaymentState.REVERSED,
        started_at=_time(adjustment, "created_at"),
        reason=reason,
    )


def _state(adjustment: Json, settings: PaddleSettings) -> tuple[PaymentState, str]:
    """Return where an adjustment stands, and why: what is not known to us moves nothing."""
    action, status = text(adjustment.get("action")), text(adjustment.get("status"))
    if action not in ACTIONS:
        return PaymentState.OPEN, f"unknown action {action[:MAX_QUOTED]!r}: nothing is counted"
    if status not in STATES:
        return PaymentState.OPEN, f"unknown status {status[:MAX_QUOTED]!r}: nothing is counted"
    if action in WARNINGS and not settings.count_chargeback_warnings:
        why = "is counted only with PADDLE_COUNT_CHARGEBACK_WARNINGS=1"
        return PaymentState.OPEN, f"a {action.replace('_', ' ')} {why}"
    if status == "reversed" and action in REVERSED_BY_ANOTHER:
        return PaymentState.COUNTS, text(adjustment.get("reason"))
    return STATES[status], text(adjustment.get("reason"))


def _adjusted(id: str, adjustment: Json, currency: str) -> Money:
    """Return what an adjustment moves: its total, else the sum of its items."""
    amount = _money(id, adjustment.get("totals"), "total", currency)
    if amount is None:
        parts = [_money(id, each, "amount", currency) for each in objects(adjustment.get("items"))]
        known = [each for each in parts if each is not None]
        if not known or len(known) < len(parts):
            raise PayloadError(f"adjustment {id} has no totals.total, nor amounts of all its items")
        amount = sum(known[1:], known[0])
    _check_sign(id, amount)
    return amount


def _is_tax_alone(adjustment: Json) -> bool:
    kinds = {text(each.get("type")) for each in objects(adjustment.get("items"))}
    return kinds == {"tax"}


def _signed(sign: int, amount: Money) -> Money:
    return Money(sign * amount.minor, amount.currency)


# ── reading entities ─────────────────────────────────────────────────────────────────────────────


def _payment(
    event: Event, thing: Json, kind: PaymentKind, references: Iterable[str], **facts: Any
) -> Payment:
    return Payment(
        id=_named(event, thing),
        provider=event.provider,
        kind=kind,
        occurred_at=event.occurred_at,
        references=frozenset(references) - {""},
        test=event.test,
        account=event.account,
        customer=text(thing.get("customer_id")),
        **facts,
    )


def _named(event: Event, thing: Json) -> str:
    """Return the id of an entity that must have one."""
    if id := text(thing.get("id")):
        return id
    raise PayloadError(f"{event.type} {event.id} has data without an id")


def _context(thing: Json, email: object) -> Context | None:
    context = Context(email=text(email), metadata=texts(thing.get("custom_data")))
    return None if context == Context() else context


def _currency(thing: Json, totals: object) -> str:
    code = text(thing.get("currency_code")) or text(dig(totals, "currency_code"))
    if not code:
        raise PayloadError(f"{text(thing.get('id'))[:MAX_QUOTED]} has no currency_code")
    return code


def _money(id: str, thing: object, field: str, currency: str) -> Money | None:
    """Return an amount, or None where it is left out."""
    units = dig(thing, field)
    if units is None:
        return None
    try:
        return Money.from_minor(units, currency)
    except MoneyError as error:
        raise MoneyError(f"{id[:MAX_QUOTED]}, {field}: {error}") from None


def _check_sign(id: str, amount: Money) -> None:
    """Refuse what Paddle says it never sends: what goes back is told by the action alone."""
    if amount.minor < 0:
        raise PayloadError(f"{id[:MAX_QUOTED]} has a negative total, {amount}")


def _reason(origin: str, total: Money) -> str:
    """Return where a transaction came from, and why nothing was paid though it has a total."""
    why = f"a total of {total} went to the customer's balance" if total.minor < 0 else ""
    return ": ".join(filter(None, (origin, why)))


def _net(id: str, totals: object, total: Money) -> Money | None:
    """Return what of a total is no tax, or None where that is not said."""
    subtotal = _money(id, totals, "subtotal", total.currency)
    if subtotal is not None:
        discount = _money(id, totals, "discount", total.currency)
        return subtotal - (discount or Money(0, total.currency))
    tax = _money(id, totals, "tax", total.currency)
    return None if tax is None else total - tax


def _net_of(id: str, totals: object, total: Money) -> Money:
    """Return what of a total is no tax, all of it where no tax is named."""
    net = _net(id, totals, total)
    return total if net is None else net


def _items(id: str, transaction: Json, currency: str) -> Iterable[Item]:
    for line in objects(dig(transaction, "details", "line_items")):
        total = _money(id, line.get("totals"), "total", currency)
        if total is not None:
            count = line.get("quantity")
            yield Item(
                name=text(dig(line, "product", "name")),
                amount=_net_of(id, line["totals"], total),
                quantity=count if isinstance(count, int) and not isinstance(count, bool) else 1,
            )


def _paid_at(transaction: Json) -> datetime | None:
    """Return when the money was captured, else when the transaction was billed or made."""
    payments = objects(transaction.get("payments"))
    captured = (each for each in payments if each.get("status") == "captured")
    times = [_time(each, "captured_at") for each in captured]
    times += [_time(transaction, field) for field in ("billed_at", "created_at")]
    return next(filter(None, times), None)


def _time(thing: Json, field: str) -> datetime | None:
    return None if thing.get(field) is None else moment(thing[field])


# A subscription is not listened to: its custom_data and its customer are on every transaction.
MEANINGS: dict[str, Callable[[Event, Json, PaddleSettings], Payment]] = {
    "transaction.completed": _transaction_completed,
    "transaction.paid": _transaction_paid,
    "customer.created": _customer,
    "customer.updated": _customer,
    "customer.imported": _customer,
    "adjustment.created": _adjustment,
    "adjustment.updated": _adjustment,
}
