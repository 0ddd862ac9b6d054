"""Random order histories: sets of payments as providers would report them over time.

A history holds one order or several. Each order is paid through one or two sources of money (a
payment intent with its charge) for one to three invoices; then things happen to it: refunds that
fail, disputes that are won, credit notes, cancellations, and reports that never arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from bridge.model import Payment, PaymentKind, PaymentState
from bridge.money import Money

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
OPEN, COUNTS, REVERSED = PaymentState.OPEN, PaymentState.COUNTS, PaymentState.REVERSED
LIVES = ((COUNTS,), (OPEN,), (OPEN, COUNTS), (COUNTS, REVERSED), (OPEN, COUNTS, REVERSED))

# Few of them, so that reports in the same second are common.
minutes = st.integers(0, 6)
amounts = st.integers(1, 12_000)


def at(minute: int) -> datetime:
    """Return a moment some minutes after the start of every history."""
    return START + timedelta(minutes=minute)


def euro(minor: int) -> Money:
    """Return an amount in EUR."""
    return Money(minor, "EUR")


@dataclass(frozen=True)
class Source:
    """Hold the names of one source of money."""

    intent: str
    charge: str
    invoices: tuple[str, ...]

    @property
    def references(self) -> frozenset[str]:
        """Return what a refund or a dispute says it belongs to."""
        return frozenset({self.intent, self.charge})


def payment(
    id: str,
    kind: PaymentKind,
    minute: int,
    *references: str,
    amount: int | None = None,
    net: int | None = None,
    **facts: Any,
) -> Payment:
    """Build a payment that names itself, as those of providers do; amounts are euro cents."""
    return Payment(
        id=id,
        provider="stripe",
        kind=kind,
        occurred_at=at(minute),
        references=frozenset({id, *references}),
        amount=None if amount is None else euro(amount),
        net=None if net is None else euro(net),
        **facts,
    )


def sale(id: str = "in_1", minute: int = 0, amount: int = 1000, **facts: Any) -> Payment:
    """Build a sale of 10.00 EUR, by itself."""
    return payment(id, PaymentKind.SALE, minute, amount=amount, **facts)


def link(*references: str, amount: int | None = None) -> Payment:
    """Build a link between references; `amount` is what one paid of the other."""
    return payment("link_" + "_".join(references), PaymentKind.LINK, 0, *references, amount=amount)


def refund(id: str, minute: int, amount: int, *references: str, **facts: Any) -> Payment:
    """Build a refund; where nothing else is said, through pi_1."""
    references = references or ("ch_1", "pi_1")
    return payment(id, PaymentKind.REFUND, minute, *references, amount=amount, **facts)


@st.composite
def sales(draw: st.DrawFn, source: Source, *, linked: bool) -> list[Payment]:
    """Draw the sales that a source of money paid, and what links them to it."""
    told: list[Payment] = []
    for invoice in source.invoices:
        paid, minute = draw(st.integers(0, 12_000)), draw(minutes)
        named = () if linked else (source.intent,)
        net, key = draw(st.integers(0, paid)), draw(st.sampled_from(("stripe:cus_1", "email:x")))
        sale = payment(invoice, PaymentKind.SALE, minute, *named, amount=paid, net=net, keys=(key,))
        told.append(sale)
        if linked:
            names = (source.intent, invoice)
            id = f"inpay_{source.intent}_{invoice}"
            told.append(payment(id, PaymentKind.LINK, minute, *names, amount=paid))
    told.append(payment(source.charge, PaymentKind.LINK, draw(minutes), source.intent))
    if draw(st.booleans()):
        id, paid, clicks = source.intent, draw(amounts), {"taapit": {"click_id": "t"}}
        bare = payment(
            id, PaymentKind.SALE, draw(minutes), source.charge, amount=paid, rank=2, clicks=clicks
        )
        told.append(bare)
    return told


@st.composite
def movements(
    draw: st.DrawFn, kind: PaymentKind, id: str, references: frozenset[str]
) -> list[Payment]:
    """Draw the life of one refund, dispute or credit, as a report of each state it was in."""
    started, amount = draw(minutes), draw(amounts)
    times = sorted(draw(st.lists(st.integers(started, 8), min_size=3, max_size=3)))
    return [
        payment(
            id,
            kind,
            minute,
            *references,
            amount=amount,
            state=state,
            final=state is REVERSED and kind is PaymentKind.REFUND,
            started_at=at(started),
        )
        for state, minute in zip(draw(st.sampled_from(LIVES)), times, strict=False)
    ]


@st.composite
def taken_back(draw: st.DrawFn, source: Source) -> list[Payment]:
    """Draw what was given back through a source, or beside it."""
    told: list[Payment] = []
    for number in range(draw(st.integers(0, 3))):
        id = f"re_{source.intent}_{number}"
        told += draw(movements(PaymentKind.REFUND, id, source.references))
    if draw(st.booleans()):
        id = f"dp_{source.intent}"
        told += draw(movements(PaymentKind.DISPUTE, id, source.references))
    if draw(st.booleans()):
        invoice = draw(st.sampled_from(source.invoices))
        note = draw(movements(PaymentKind.CREDIT, f"cn_{invoice}", frozenset({invoice})))
        contains = frozenset(draw(st.sampled_from(((), (f"re_{source.intent}_0",)))))
        told += [
            replace(each, contains=contains, references=each.references | contains) for each in note
        ]
    if draw(st.integers(0, 5)) == 0:
        invoice = draw(st.sampled_from(source.invoices))
        told.append(payment(invoice, PaymentKind.CANCELLATION, draw(minutes)))
    return told


@st.composite
def totals(draw: st.DrawFn, source: Source, told: Sequence[Payment]) -> list[Payment]:
    """Draw cumulative totals that agree with the refunds told of at the time of each."""
    return [
        payment(
            source.charge,
            PaymentKind.REFUNDED_SO_FAR,
            minute,
            source.intent,
            amount=refunded_by(at(minute), told),
        )
        for minute in draw(st.lists(st.integers(0, 8), max_size=2))
    ]


def refunded_by(moment: datetime, told: Sequence[Payment]) -> int:
    """Return what refunds came to at a moment."""
    state: dict[str, tuple[datetime, PaymentState, int]] = {}
    for each in told:
        if each.kind is PaymentKind.REFUND and each.occurred_at <= moment and each.amount:
            state[each.id] = (each.occurred_at, each.state, each.amount.minor)
    return sum(units for _, now, units in state.values() if now is COUNTS)


@st.composite
def orders(draw: st.DrawFn, name: str, *, with_totals: bool = True) -> list[Payment]:
    """Draw one order: one source that paid several invoices, or one invoice paid from several."""
    shape = draw(st.sampled_from(((1, 1), (1, 2), (1, 3), (2, 1))))
    invoices = tuple(f"in_{name}{number}" for number in range(shape[1]))
    told: list[Payment] = []
    for number in range(shape[0]):
        source = Source(f"pi_{name}{number}", f"ch_{name}{number}", invoices)
        drawn = draw(sales(source, linked=draw(st.booleans())))
        # The second source reports the same invoice as the first did.
        known = {each.id for each in told if each.kind is PaymentKind.SALE}
        told += [each for each in drawn if each.id not in known]
        back = draw(taken_back(source))
        told += back
        if with_totals:
            told += draw(totals(source, back))
    return told


@st.composite
def histories(draw: st.DrawFn, *, with_totals: bool = True) -> list[Payment]:
    """Draw the payments of one or two orders, of which some may never have arrived."""
    told = [
        each
        for name in "ab"[: draw(st.integers(1, 2))]
        for each in draw(orders(name, with_totals=with_totals))
    ]
    lost = draw(st.sets(st.integers(0, 30), max_size=3))
    return [each for number, each in enumerate(told) if number not in lost]
