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
  Where nothing of it is left, the sale is disapproved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta

from bridge.errors import MoneyError
from bridge.model import (
    Cause,
    Click,
    Conversion,
    ConversionKind,
    Payment,
    PaymentKind,
    PaymentState,
    Status,
)
from bridge.money import Money, split

NET, TOTAL = "net", "total"

# A bare payment intent is no sale where an invoice claims it; the claim comes in an event of its
# own, which usually follows within seconds.
BARE_RANK = 2
CLAIM_TIME = timedelta(minutes=1)


def fold(payments: Iterable[Payment], basis: str = NET) -> tuple[Conversion, ...]:
    """Return the conversions that a set of payments amounts to, in order of their ids.

    `basis` is NET (paid minus tax and shipping) or TOTAL. Raises MoneyError where the payments of
    one order come in several currencies.
    """
    conversions = (each for order in connect(payments) for each in _fold_order(order, basis))
    return tuple(sorted(conversions, key=lambda each: each.id))


def connect(payments: Iterable[Payment]) -> list[list[Payment]]:
    """Part payments into orders: those that share a reference, directly or through others.

    Payments without any reference (they only say who a customer is) belong to no order.
    """
    sets = Sets()
    members = [(each, {f"{each.provider}:{one}" for one in each.references}) for each in payments]
    for _, names in members:
        sets.join(names)
    orders: dict[str, list[Payment]] = defaultdict(list)
    for payment, names in members:
        if names:
            orders[sets.find(min(names))].append(payment)
    return list(orders.values())


def mark_renewals(conversions: Sequence[Conversion]) -> list[Conversion]:
    """Mark all but the first paid order of one subscription as renewals."""
    paid = sorted((each.occurred_at, each.id) for each in conversions if each.paid.minor > 0)
    renewals = {id for _, id in paid[1:]}
    return [replace(each, renewal=each.id in renewals) for each in conversions]


class Sets:
    """Keep disjoint sets of strings; each is named by its smallest member."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, member: str) -> str:
        """Return the name of the set that holds a member."""
        root = member
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while (parent := self._parent.get(member, member)) != root:
            self._parent[member], member = root, parent
        return root

    def join(self, members: Iterable[str]) -> None:
        """Make one set of the sets that hold these members."""
        roots = sorted({self.find(each) for each in members})
        for root in roots:
            self._parent[root] = roots[0]


# ── one order ────────────────────────────────────────────────────────────────────────────────────

_Taken = dict[Cause, int]  # minor units that went back of one sale, by why


def _fold_order(payments: Sequence[Payment], basis: str) -> list[Conversion]:
    movements = _latest(payments)
    _check_currency(movements)
    movements = _under_totals(_unmixed(movements))
    sales = _best_sales(movements)
    if not sales:
        return _parked(movements, payments)
    taken = _take_back(movements, sales)
    return [_conversion(sale, taken[sale.id], payments, basis) for sale in sales]


def _check_currency(movements: Sequence[Payment]) -> None:
    amounts = (amount for each in movements for amount in (each.amount, each.net) if amount)
    currencies = sorted({amount.currency for amount in amounts})
    if len(currencies) > 1:
        ids = ", ".join(each.id for each in movements)
        raise MoneyError(f"one order in several currencies ({', '.join(currencies)}): {ids}")


def _latest(payments: Iterable[Payment]) -> list[Payment]:
    """Return the state that counts of each movement, with every reference ever reported of it."""
    reports: dict[tuple[PaymentKind, str], list[Payment]] = defaultdict(list)
    for payment in payments:
        reports[payment.kind, payment.id].append(payment)
    return [_latest_of(reports[key]) for key in sorted(reports)]


def _latest_of(reports: Sequence[Payment]) -> Payment:
    late = max(map(_lateness, reports))
    tied = [each for each in reports if _lateness(each) == late]
    last = max(tied, key=_written) if len(tied) > 1 else tied[0]
    return replace(last, references=frozenset().union(*(each.references for each in reports)))


def _lateness(payment: Payment) -> tuple[bool, bool, datetime, bool, int]:
    return (
        payment.state is not PaymentState.OPEN,
        payment.final,
        payment.occurred_at,
        payment.state is PaymentState.REVERSED,
        _units(payment),
    )


def _written(value: object) -> str:
    """Write a value down whole, equal ones equally: sets and mappings in order."""
    if isinstance(value, Payment):
        return repr([_written(getattr(value, each.name)) for each in fields(value)])
    if isinstance(value, Mapping):
        return repr(sorted((name, _written(each)) for name, each in value.items()))
    return repr(sorted(value) if isinstance(value, frozenset) else value)


def _unmixed(movements: Sequence[Payment]) -> list[Payment]:
    """Take out of each credit the refunds it contains; for one not told of yet it stands in."""
    refunds = {each.id: _units(each) for each in movements if each.kind is PaymentKind.REFUND}
    return [_without(refunds, each) if each.contains else each for each in movements]


def _without(refunds: Mapping[str, int], credit: Payment) -> Payment:
    rest = _units(credit) - sum(refunds.get(each, 0) for each in credit.contains)
    amount = replace(_amount(credit), minor=max(rest, 0))
    if _counts(credit) and credit.contains - refunds.keys():
        return replace(credit, kind=PaymentKind.REFUND, amount=amount, started_at=None)
    return replace(credit, amount=amount)


def _under_totals(movements: Sequence[Payment]) -> list[Payment]:
    """Let each cumulative total and the refunds it covers share a reference of their own."""
    totals = [each for each in movements if each.kind is PaymentKind.REFUNDED_SO_FAR]
    kinds = {PaymentKind.REFUNDED_SO_FAR, PaymentKind.REFUND}
    return [_signed(each, totals) if each.kind in kinds else each for each in movements]


def _signed(payment: Payment, totals: Iterable[Payment]) -> Payment:
    """Add the sign of the total that covers a refund: the one it names, else one beside it."""
    near = [
        (each != payment, each.id not in payment.references, _sign(each))
        for each in totals
        if each.references & payment.references
    ]
    signs = frozenset(sign for *_, sign in sorted(near)[:1])
    return replace(payment, references=payment.references | signs)


def _sign(total: Payment) -> str:
    return f"total {total.id}"


def _best_sales(movements: Iterable[Payment]) -> list[Payment]:
    sales = [each for each in movements if each.kind is PaymentKind.SALE and _counts(each)]
    best = min((each.rank for each in sales), default=0)
    return [each for each in sales if each.rank == best]


def _conversion(
    sale: Payment, taken: _Taken, payments: Sequence[Payment], basis: str
) -> Conversion:
    paid = _amount(sale)
    back = Money(min(max(sum(taken.values()), 0), paid.minor), paid.currency)
    base = sale.net if basis == NET and sale.net else paid
    base = replace(base, minor=min(max(base.minor, 0), paid.minor))
    value = base.scale(paid.minor - back.minor, paid.minor) if paid.minor > 0 else base
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
        cause=_cause(taken),
        occurred_at=sale.started_at or sale.occurred_at,
        subscription=sale.subscription,
        test=any(each.test for each in payments),
        reason=sale.reason,
        account=sale.account,
        due_at=sale.occurred_at + CLAIM_TIME if sale.rank == BARE_RANK else None,
        items=sale.items,
        keys=_keys(payments, sale),
        clicks=_clicks(payments, sale),
    )


def _parked(movements: Sequence[Payment], payments: Sequence[Payment]) -> list[Conversion]:
    """Keep what went back for a sale that has not arrived in sight."""
    taken: _Taken = defaultdict(int)
    for source in _sources(movements, frozenset()):
        for cause, units in _went_back(source).items():
            taken[cause] += units
    back = sum(taken.values())
    if back <= 0:
        return []
    counting = [each for each in movements if sum(_went_back([each]).values()) > 0]
    named = min(counting, key=lambda each: (each.kind is PaymentKind.REFUNDED_SO_FAR, each.id))
    nothing = Money(0, _amount(named).currency)
    return [
        Conversion(
            id=f"{named.provider}:{named.id}",
            kind=ConversionKind.SALE,
            provider=named.provider,
            order=named.id,
            customer="",
            paid=nothing,
            taken_back=replace(nothing, minor=back),
            value=nothing,
            status=Status.PARKED,
            cause=_cause(taken),
            occurred_at=min(each.started_at or each.occurred_at for each in counting),
            test=any(each.test for each in payments),
            reason="the sale that this money went back for has not arrived",
            account=named.account,
            keys=_keys(payments, named),
            clicks=_clicks(payments, named),
        )
    ]


# ── what was taken back ──────────────────────────────────────────────────────────────────────────


def _take_back(movements: Sequence[Payment], sales: Sequence[Payment]) -> dict[str, _Taken]:
    """Return what went back of each sale, by its id."""
    by_id = {sale.id: sale for sale in sales}
    taken: dict[str, _Taken] = {sale.id: defaultdict(int) for sale in sales}
    for source in _sources(movements, by_id.keys()):
        reached = {each for payment in source for each in payment.references & by_id.keys()}
        weights = {each: _paid_through(source, by_id[each]) for each in reached or by_id}
        for cause, units in _went_back(source).items():
            _share_out(units, cause, weights, taken)
    for each in movements:
        if each.kind is PaymentKind.CANCELLATION:
            _cancel(each, by_id, taken)
    return taken


def _share_out(
    units: int, cause: Cause, weights: Mapping[str, int], taken: Mapping[str, _Taken]
) -> None:
    """Split what went back over sales, by what was paid of each."""
    ids = sorted(weights)
    parts = split(units, [weights[each] for each in ids])
    for each, part in zip(ids, parts, strict=True):
        taken[each][cause] += part


def _cancel(what: Payment, sales: Mapping[str, Payment], taken: Mapping[str, _Taken]) -> None:
    for each in what.references & sales.keys():
        if _counts(what) and what.occurred_at > sales[each].occurred_at:
            taken[each][Cause.CANCELLATION] += _units(sales[each])


def _cause(taken: _Taken) -> Cause | None:
    """Return why most of it went back."""
    most = max(taken.items(), key=lambda each: (each[1], each[0]), default=None)
    return most[0] if most and most[1] > 0 else None


def _sources(movements: Iterable[Payment], sales: Collection[str]) -> list[list[Payment]]:
    """Part the movements of an order by the source of money they belong to.

    What shares a reference that is not itself a sale has one source: a payment intent with its
    charge, its refunds and its disputes. A credit came through none of them: it stands alone.
    """
    sets = Sets()
    own = [
        (each, {each.id} if each.kind is PaymentKind.CREDIT else references or {each.id})
        for each in movements
        for references in [each.references - set(sales)]
    ]
    for _, references in own:
        sets.join(references)
    sources: dict[str, list[Payment]] = defaultdict(list)
    for each, references in own:
        sources[sets.find(min(references))].append(each)
    return list(sources.values())


def _paid_through(source: Iterable[Payment], sale: Payment) -> int:
    links = [
        each for each in source if each.kind is PaymentKind.LINK and sale.id in each.references
    ]
    return sum(_units(each) for each in links) or _units(sale)


def _went_back(source: Sequence[Payment]) -> _Taken:
    """Add up what was taken back through one source of money."""
    units: dict[PaymentKind, int] = defaultdict(int)
    for each in source:
        units[each.kind] += _units(each) if _counts(each) else 0
    totals = (each for each in source if each.kind is PaymentKind.REFUNDED_SO_FAR)
    unseen = sum(_unseen(each, source) for each in totals)
    refunded = units[PaymentKind.REFUND] + units[PaymentKind.CREDIT] + unseen
    return {Cause.REFUND: refunded, Cause.DISPUTE: units[PaymentKind.DISPUTE]}


def _unseen(so_far: Payment, source: Iterable[Payment]) -> int:
    """Return how much of a cumulative total no refund that we know of accounts for."""
    refunds = (each for each in source if each.kind is PaymentKind.REFUND)
    covered = (each for each in refunds if _sign(so_far) in each.references)
    known = sum(_units(each) for each in covered if _is_part_of(each, so_far))
    return max(_units(so_far) - known, 0)


def _is_part_of(refund: Payment, so_far: Payment) -> bool:
    """Tell whether a total included a refund: made by then, and not undone before it."""
    if refund.started_at and refund.started_at > so_far.occurred_at:
        return False
    if refund.state is PaymentState.REVERSED:
        return refund.occurred_at >= so_far.occurred_at
    return _counts(refund)


def _counts(payment: Payment) -> bool:
    return payment.state is PaymentState.COUNTS


def _units(payment: Payment) -> int:
    return payment.amount.minor if payment.amount else 0


def _amount(payment: Payment) -> Money:
    if payment.amount is None:
        raise ValueError(f"{payment.kind} {payment.id} has no amount")
    return payment.amount


# ── who and whence ───────────────────────────────────────────────────────────────────────────────


def _keys(payments: Iterable[Payment], first: Payment) -> tuple[str, ...]:
    keys = (key for payment in _nearest(payments, first) for key in payment.keys)
    return tuple(dict.fromkeys(keys))


def _clicks(payments: Iterable[Payment], first: Payment) -> dict[str, Click]:
    clicks: dict[str, Click] = {}
    for payment in _nearest(payments, first):
        for vendor, click in payment.clicks.items():
            clicks.setdefault(vendor, click)
    return clicks


def _nearest(payments: Iterable[Payment], first: Payment) -> list[Payment]:
    """Order payments by how well they speak for a sale: its own reports, then older ones first."""
    return sorted(
        payments, key=lambda each: (each.id != first.id, each.occurred_at, _written(each))
    )
