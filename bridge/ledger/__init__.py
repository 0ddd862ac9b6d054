"""The ledger: what all payments of an order mean together.

`fold` is a pure function of a *set* of payments: any order and any repetition of them give the same
conversions. It knows no provider; the rules of the money are these:

- Payments that share a reference belong to one order (`connect`).
- Of each money movement only its latest state counts, by the provider's own clock; what is final
  stays so, and what merely announces undoes nothing.
- An order is named by its best description: an invoice before a checkout session before a bare
  payment intent. A source of money that paid several invoices makes several conversions, and what
  goes back through that source is split over them by what it paid of each.
- What was taken back is the sum over refund, dispute and credit *ids*; a cumulative total only adds
  what none of the refunds made up to then accounts for.
- The value to credit falls in proportion: basis x (paid - taken back) / paid, rounded half-even.
  Where nothing of it is left, the sale is disapproved. What goes back in another proportion, by the
  provider's own account (tax alone), takes of the net only what was net; and where by that account
  all of the net went back, nothing is left, though a unit of tax may be.
- What moved in the buyer's currency is converted at the order's own rate.
- Test traffic moves nothing of a live order, nor is it the first order of a live subscription.

`orders` connects payments, `movements` finds the state of each that counts, `reversals` adds up
what was taken back, `visits` knows the orders of no money.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from bridge.ledger.movements import (
    amount_of,
    counts,
    in_one_currency,
    latest,
    under_totals,
    unmixed,
    written,
)
from bridge.ledger.orders import connect
from bridge.ledger.reversals import Taken, sources, take_back, went_back
from bridge.ledger.visits import fold_visit
from bridge.model import (
    Click,
    Conversion,
    ConversionKind,
    Payment,
    PaymentKind,
    Status,
)
from bridge.money import Money

__all__ = ["NET", "TOTAL", "connect", "fold", "mark_renewals"]

NET, TOTAL = "net", "total"

# A bare payment intent is no sale where an invoice claims it; the claim comes in an event of its
# own, which usually follows within seconds.
BARE_RANK = 2
CLAIM_TIME = timedelta(minutes=1)
MOST_NAMED = 3


def fold(payments: Iterable[Payment], basis: str = NET) -> tuple[Conversion, ...]:
    """Return the conversions that a set of payments amounts to, in order of their ids.

    `basis` is NET (paid minus tax and shipping) or TOTAL. Raises MoneyError where the payments of
    one order come in several currencies.
    """
    conversions = (each for order in connect(payments) for each in _fold_order(order, basis))
    return tuple(sorted(conversions, key=lambda each: each.id))


def mark_renewals(conversions: Sequence[Conversion]) -> list[Conversion]:
    """Mark all but the first paid order of one subscription as renewals; tests by themselves."""
    renewals: set[str] = set()
    for test in (False, True):
        paid = [each for each in conversions if each.paid.minor > 0 and each.test is test]
        renewals |= {id for _, id in sorted((each.occurred_at, each.id) for each in paid)[1:]}
    return [replace(each, renewal=each.id in renewals) for each in conversions]


# ── one order ────────────────────────────────────────────────────────────────────────────────────


def _fold_order(payments: Sequence[Payment], basis: str) -> list[Conversion]:
    if visit := fold_visit(payments):
        return visit
    payments = _without_tests(payments)
    movements = latest(payments)
    sales = _best_sales(movements)
    if not sales:
        return _parked(under_totals(unmixed(movements)), payments)
    movements = under_totals(unmixed(in_one_currency(movements, sales[0])))
    taken = take_back(movements, sales)
    return [_conversion(sale, taken[sale.id], payments, basis) for sale in sales]


def _without_tests(payments: Sequence[Payment]) -> Sequence[Payment]:
    live = [each for each in payments if not each.test]
    sold = any(each.kind is PaymentKind.SALE and counts(each) for each in live)
    return live if sold else payments


def _best_sales(movements: Iterable[Payment]) -> list[Payment]:
    sales = [each for each in movements if each.kind is PaymentKind.SALE and counts(each)]
    best = min((each.rank for each in sales), default=0)
    return [each for each in sales if each.rank == best]


def _conversion(sale: Payment, taken: Taken, payments: Sequence[Payment], basis: str) -> Conversion:
    paid = amount_of(sale)
    back = Money(min(max(taken.units, 0), paid.minor), paid.currency)
    base = sale.net if basis == NET and sale.net else paid
    base = replace(base, minor=min(max(base.minor, 0), paid.minor))
    value = taken.rest_of(base, paid, net=basis == NET)
    gone = 0 < back.minor == paid.minor or value.minor == 0 < base.minor
    return Conversion(
        id=f"{sale.provider}:{sale.id}",
        kind=ConversionKind.SALE,
        provider=sale.provider,
        order=sale.id,
        customer="",
        paid=paid,
        taken_back=back,
        value=value,
        status=Status.DISAPPROVED if gone else Status.APPROVED,
        cause=taken.cause,
        occurred_at=sale.started_at or sale.occurred_at,
        subscription=sale.subscription,
        test=any(each.test for each in payments),
        reason=sale.reason,
        account=sale.account,
        due_at=sale.occurred_at + CLAIM_TIME if sale.rank == BARE_RANK else None,
        items=sale.items,
        keys=_keys(payments, sale),
        clicks=_clicks(each.clicks for each in _nearest(payments, sale)),
        landed=_clicks(each.landed for each in _nearest(payments, sale)),
        redacted=any(each.redacted for each in payments),
    )


def _parked(movements: Sequence[Payment], payments: Sequence[Payment]) -> list[Conversion]:
    """Keep what went back for a sale that has not arrived in sight."""
    counting = [each for each in movements if sum(went_back([each]).values()) > 0]
    if not counting:
        return []
    named = min(counting, key=lambda each: (each.kind is PaymentKind.REFUNDED_SO_FAR, each.id))
    nothing = Money(0, amount_of(named).currency)
    # Its sale may come in another currency than some of what went back, and be what converts it.
    same = [
        each for each in movements if not each.amount or each.amount.currency == nothing.currency
    ]
    taken = Taken()
    for source in sources(same, frozenset()):
        for cause, units in went_back(source).items():
            taken.by_cause[cause] += units
    if taken.units <= 0:
        return []
    return [
        Conversion(
            id=f"{named.provider}:{named.id}",
            kind=ConversionKind.SALE,
            provider=named.provider,
            order=named.id,
            customer="",
            paid=nothing,
            taken_back=replace(nothing, minor=taken.units),
            value=nothing,
            status=Status.PARKED,
            cause=taken.cause,
            occurred_at=min(each.started_at or each.occurred_at for each in counting),
            test=any(each.test for each in payments),
            reason=f"the sale that this money went back for has not arrived{_of(named, payments)}",
            account=named.account,
            keys=_keys(payments, named),
            clicks=_clicks(each.clicks for each in _nearest(payments, named)),
            redacted=any(each.redacted for each in payments),
        )
    ]


def _of(named: Payment, payments: Iterable[Payment]) -> str:
    """Name what else a payment belongs to, by which its sale can be looked for."""
    references = {each for payment in payments for each in payment.references} - {named.id}
    return f" (it belongs to {', '.join(sorted(references)[:MOST_NAMED])})" if references else ""


# ── who and whence ───────────────────────────────────────────────────────────────────────────────


def _keys(payments: Iterable[Payment], first: Payment) -> tuple[str, ...]:
    keys = (key for payment in _nearest(payments, first) for key in payment.keys)
    return tuple(dict.fromkeys(keys))


def _clicks(nearest: Iterable[Mapping[str, Click]]) -> dict[str, Click]:
    clicks: dict[str, Click] = {}
    for each in nearest:
        for vendor, click in each.items():
            clicks.setdefault(vendor, click)
    return clicks


def _nearest(payments: Iterable[Payment], first: Payment) -> list[Payment]:
    """Order payments by how well they speak for a sale: its own reports, then older ones first."""
    nearest = sorted(payments, key=lambda each: (each.id != first.id, each.occurred_at))
    if len({(each.id != first.id, each.occurred_at) for each in nearest}) == len(nearest):
        return nearest
    return sorted(nearest, key=lambda each: (each.id != first.id, each.occurred_at, written(each)))
