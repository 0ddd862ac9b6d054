"""The movements of an order: the state that counts of each, in the currency of the sale.

A payment is one report of a movement; of many reports the provider's own clock tells the latest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime

from bridge.errors import MoneyError
from bridge.model import Payment, PaymentKind, PaymentState
from bridge.money import Money

FIELDS = tuple(each.name for each in fields(Payment))


def latest(payments: Iterable[Payment]) -> list[Payment]:
    """Return the state that counts of each movement, with every reference ever reported of it."""
    reports: dict[tuple[PaymentKind, str], list[Payment]] = defaultdict(list)
    for payment in payments:
        reports[payment.kind, payment.id].append(payment)
    return [_latest_of(reports[key]) for key in sorted(reports)]


def _latest_of(reports: Sequence[Payment]) -> Payment:
    late = max(map(_lateness, reports))
    tied = [each for each in reports if _lateness(each) == late]
    last = max(tied, key=written) if len(tied) > 1 else tied[0]
    return replace(last, references=frozenset().union(*(each.references for each in reports)))


def _lateness(payment: Payment) -> tuple[bool, bool, datetime, bool, int]:
    return (
        payment.state is not PaymentState.OPEN,
        payment.final,
        payment.occurred_at,
        payment.state is PaymentState.REVERSED,
        units(payment),
    )


def written(value: object) -> str:
    """Write a value down whole, equal ones equally: sets and mappings in order."""
    if isinstance(value, str) or value is None:
        return repr(value)
    if isinstance(value, Payment):
        return repr([written(getattr(value, each)) for each in FIELDS])
    if isinstance(value, Mapping):
        return repr(sorted((name, written(each)) for name, each in value.items()))
    return repr(sorted(value) if isinstance(value, frozenset) else value)


def in_one_currency(movements: Sequence[Payment], sale: Payment) -> list[Payment]:
    """Turn what moved in the buyer's currency into the sale's, at the order's own rate.

    The sum is converted, not each part: parts that make up the whole must amount to the whole.
    Raises MoneyError for a currency that is neither.
    """
    own = amount_of(sale).currency
    buyers = sale.presentment.currency if sale.presentment and sale.presentment.minor else own
    foreign = [each for each in movements if each.amount and each.amount.currency != own]
    wrong = sorted({amount_of(each).currency for each in foreign} - {buyers})
    wrong += [sale.net.currency] if sale.net and sale.net.currency != own else []
    if wrong:
        ids = ", ".join(each.id for each in movements)
        raise MoneyError(f"one order in several currencies ({', '.join([own, *wrong])}): {ids}")
    converted = dict(zip(map(id, foreign), _converted(foreign, sale), strict=True))
    return [converted.get(id(each), each) for each in movements]


def _converted(foreign: Iterable[Payment], sale: Payment) -> Iterable[Payment]:
    rate = amount_of(sale).minor, sale.presentment.minor if sale.presentment else 0
    own, so_far = amount_of(sale).currency, 0
    for each in foreign:
        before = so_far if counts(each) else 0
        after = before + units(each)
        moved = Money(after, own).scale(*rate) - Money(before, own).scale(*rate)
        so_far = after if counts(each) else so_far
        yield replace(each, amount=moved, net=None)


def unmixed(movements: Sequence[Payment]) -> list[Payment]:
    """Take out of each credit the refunds it contains; for one not told of yet it stands in."""
    refunds = {each.id: units(each) for each in movements if each.kind is PaymentKind.REFUND}
    return [_without(refunds, each) if each.contains else each for each in movements]


def _without(refunds: Mapping[str, int], credit: Payment) -> Payment:
    rest = units(credit) - sum(refunds.get(each, 0) for each in credit.contains)
    amount = replace(amount_of(credit), minor=max(rest, 0))
    if counts(credit) and credit.contains - refunds.keys():
        return replace(credit, kind=PaymentKind.REFUND, amount=amount, started_at=None)
    return replace(credit, amount=amount)


def under_totals(movements: Sequence[Payment]) -> list[Payment]:
    """Let each cumulative total and the refunds it covers share a reference of their own."""
    totals = [each for each in movements if each.kind is PaymentKind.REFUNDED_SO_FAR]
    kinds = {PaymentKind.REFUNDED_SO_FAR, PaymentKind.REFUND}
    return [_signed(each, totals) if each.kind in kinds else each for each in movements]


def _signed(payment: Payment, totals: Iterable[Payment]) -> Payment:
    """Add the sign of the total that covers a refund: the one it names, else one beside it."""
    near = [
        (each != payment, each.id not in payment.references, sign_of(each))
        for each in totals
        if each.references & payment.references
    ]
    signs = frozenset(sign for *_, sign in sorted(near)[:1])
    return replace(payment, references=payment.references | signs)


def sign_of(total: Payment) -> str:
    return f"total {total.id}"


def counts(payment: Payment) -> bool:
    return payment.state is PaymentState.COUNTS


def units(payment: Payment) -> int:
    return payment.amount.minor if payment.amount else 0


def amount_of(payment: Payment) -> Money:
    if payment.amount is None:
        raise ValueError(f"{payment.kind} {payment.id} has no amount")
    return payment.amount
