"""What was taken back of a sale: over refund, dispute and credit ids, never over deliveries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.ledger.movements import counts, sign_of, units
from bridge.ledger.orders import Sets
from bridge.model import Cause, Payment, PaymentKind, PaymentState
from bridge.money import Money, divide_half_even, split

# What goes back, each by its own id.
BACK = frozenset({PaymentKind.REFUND, PaymentKind.DISPUTE, PaymentKind.CREDIT})


@dataclass(slots=True)
class Taken:
    """Hold the minor units that went back of one sale, by why.

    `apart` is what of them did not go back in the proportion of the sale (tax alone, say), and
    `apart_net` what of that was neither tax nor shipping. `net` is what of all of them was neither,
    where the provider says so of each.
    """

    by_cause: dict[Cause, int] = field(default_factory=lambda: defaultdict(int))
    apart: int = 0
    apart_net: int = 0
    net: int | None = None

    @property
    def units(self) -> int:
        """Return what went back in all: what was given back of one cause was taken by no other."""
        return sum(max(each, 0) for each in self.by_cause.values())

    @property
    def cause(self) -> Cause | None:
        """Return why most of it went back."""
        most = max(self.by_cause.items(), key=lambda each: (each[1], each[0]), default=None)
        return most[0] if most and most[1] > 0 else None

    def rest_of(self, base: Money, paid: Money, *, net: bool) -> Money:
        """Return what is left of a basis: less its share of what was taken back of what was paid.

        Under `net`, what the provider counted apart takes its own net instead of a share.
        """
        back = min(max(self.units, 0), paid.minor)
        if paid.minor <= 0 or back == paid.minor:
            return Money(0, base.currency) if paid.minor > 0 else base
        if net and self.net is not None and self.net >= base.minor:
            return Money(0, base.currency)
        if not net or not self.apart:
            return base.scale(paid.minor - back, paid.minor)
        share = base.minor * (self.units - self.apart)
        rest = divide_half_even((base.minor - self.apart_net) * paid.minor - share, paid.minor)
        return Money(min(max(rest, 0), base.minor), base.currency)


def take_back(movements: Sequence[Payment], sales: Sequence[Payment]) -> dict[str, Taken]:
    """Return what went back of each sale, by its id."""
    by_id = {sale.id: sale for sale in sales}
    taken = {sale.id: Taken() for sale in sales}
    for source in sources(movements, by_id.keys()):
        reached = {each for payment in source for each in payment.references & by_id.keys()}
        weights = {each: _paid_through(source, by_id[each]) for each in reached or by_id}
        for cause, moved in went_back(source).items():
            _share_out(moved, cause, weights, taken)
    for each in movements:
        if each.kind is PaymentKind.CANCELLATION:
            _cancel(each, by_id, taken)
    if len(sales) == 1:
        _count_apart(movements, sales[0], taken[sales[0].id])
    return taken


def _count_apart(movements: Iterable[Payment], sale: Payment, taken: Taken) -> None:
    """Add up what went back in another proportion than the sale's: tax alone, say.

    Only with one sale, as with every provider that says what of a refund was net.
    """
    backs = [each for each in movements if each.kind in BACK and counts(each)]
    for each in backs:
        if not _in_proportion(each, sale):
            taken.apart += units(each)
            taken.apart_net += each.net.minor if each.net else 0
    nets = [each.net.minor for each in backs if each.net]
    if sale.net and nets and len(nets) == len(backs):
        taken.net = sum(nets)


def _in_proportion(what: Payment, sale: Payment) -> bool:
    """Tell whether a net is, to a minor unit, the share that an amount has of the sale."""
    if what.net is None or sale.net is None or not units(what):
        return True
    paid = units(sale)
    return what.net.minor != 0 and abs(what.net.minor * paid - sale.net.minor * units(what)) < paid


def _share_out(
    moved: int, cause: Cause, weights: Mapping[str, int], taken: Mapping[str, Taken]
) -> None:
    """Split what went back over sales, by what was paid of each."""
    ids = sorted(weights)
    parts = split(moved, [weights[each] for each in ids])
    for each, part in zip(ids, parts, strict=True):
        taken[each].by_cause[cause] += part


def _cancel(what: Payment, sales: Mapping[str, Payment], taken: Mapping[str, Taken]) -> None:
    for each in what.references & sales.keys():
        if counts(what) and what.occurred_at > sales[each].occurred_at:
            taken[each].by_cause[Cause.CANCELLATION] += units(sales[each])


def sources(movements: Iterable[Payment], sales: Collection[str]) -> list[list[Payment]]:
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
    return sum(units(each) for each in links) or units(sale)


def went_back(source: Sequence[Payment]) -> dict[Cause, int]:
    """Add up what was taken back through one source of money."""
    moved: dict[PaymentKind, int] = defaultdict(int)
    for each in source:
        moved[each.kind] += units(each) if counts(each) else 0
    totals = (each for each in source if each.kind is PaymentKind.REFUNDED_SO_FAR)
    unseen = sum(_unseen(each, source) for each in totals)
    refunded = moved[PaymentKind.REFUND] + moved[PaymentKind.CREDIT] + unseen
    return {Cause.REFUND: refunded, Cause.DISPUTE: moved[PaymentKind.DISPUTE]}


def _unseen(so_far: Payment, source: Iterable[Payment]) -> int:
    """Return how much of a cumulative total no refund that we know of accounts for."""
    refunds = (each for each in source if each.kind is PaymentKind.REFUND)
    covered = (each for each in refunds if sign_of(so_far) in each.references)
    known = sum(units(each) for each in covered if _is_part_of(each, so_far))
    return max(units(so_far) - known, 0)


def _is_part_of(refund: Payment, so_far: Payment) -> bool:
    """Tell whether a total included a refund: made by then, and not undone before it."""
    if refund.started_at and refund.started_at > so_far.occurred_at:
        return False
    if refund.state is PaymentState.REVERSED:
        return refund.occurred_at >= so_far.occurred_at
    return counts(refund)
