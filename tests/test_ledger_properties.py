"""The ledger under random order histories: it is a function of the set of payments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from histories import COUNTS, OPEN, REVERSED, at, histories, payment
from hypothesis import given
from hypothesis import strategies as st

from bridge import codec
from bridge.ledger import NET, TOTAL, connect, fold
from bridge.model import Conversion, Payment, PaymentKind, Status
from bridge.money import Money, divide_half_even

GIVES = {PaymentKind.SALE, PaymentKind.LINK}
bases = st.sampled_from((NET, TOTAL))


def written(conversions: Iterable[Conversion]) -> list[str]:
    return [codec.dump(each) for each in conversions]


# ── a function of the set ────────────────────────────────────────────────────────────────────────


@given(st.data(), histories(), bases)
def test_any_permutation_and_repetition_folds_to_the_same(
    data: st.DataObject, history: list[Payment], basis: str
) -> None:
    repeated = history + data.draw(st.lists(st.sampled_from(history))) if history else history
    shuffled = data.draw(st.permutations(repeated))
    assert written(fold(shuffled, basis)) == written(fold(history, basis))


@given(st.data(), histories())
def test_reports_that_tie_in_everything_but_what_they_say_fold_to_the_same(
    data: st.DataObject, history: list[Payment]
) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"reason": "another"},
        {"contains": frozenset({"re_x"})},
        {"subscription": "sub_1"},
        {"rank": 1},
        {"keys": ("stripe:cus_2",)},
    )
    history += [
        replace(each, **change)
        for each in history
        for change in data.draw(st.lists(st.sampled_from(changes), max_size=1))
    ]
    assert written(fold(data.draw(st.permutations(history)))) == written(fold(history))


@given(histories(), bases)
def test_what_was_stored_folds_as_what_was_said(history: list[Payment], basis: str) -> None:
    stored = [codec.load(Payment, codec.dump(each)) for each in history]
    assert fold(stored, basis) == fold(history, basis)


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────


@given(histories(), bases)
def test_amounts_stay_within_what_was_paid(history: list[Payment], basis: str) -> None:
    for each in fold(history, basis):
        if each.status is Status.PARKED:
            assert each.paid.minor == each.value.minor == 0 < each.taken_back.minor
        else:
            assert 0 <= each.value.minor <= each.paid.minor
            assert 0 <= each.taken_back.minor <= each.paid.minor


@given(st.data(), histories(), bases)
def test_whatever_is_said_of_nets_and_currencies_order_does_not_matter(
    data: st.DataObject, history: list[Payment], basis: str
) -> None:
    told = [_with_more(data, each) for each in history]
    folded = fold(told, basis)
    assert written(fold(data.draw(st.permutations(told)), basis)) == written(folded)
    for each in folded:
        assert each.status is Status.PARKED or 0 <= each.value.minor <= each.paid.minor
        assert each.status is Status.PARKED or 0 <= each.taken_back.minor <= each.paid.minor


def _with_more(data: st.DataObject, payment: Payment) -> Payment:
    """Say of what went back how much of it was net, or that it was in the buyer's currency."""
    if payment.kind is PaymentKind.SALE:
        return replace(payment, presentment=Money(3 * _units(payment) + 1, "USD"))
    if payment.kind not in {PaymentKind.REFUND, PaymentKind.DISPUTE}:
        return payment
    amount = _units(payment)
    net = data.draw(st.sampled_from([None, 0, amount // 2, amount, -amount]))
    sign = data.draw(st.sampled_from([1, 1, -1]))
    currency = data.draw(st.sampled_from(["EUR", "EUR", "USD"]))
    return replace(
        payment,
        amount=Money(sign * amount, currency),
        net=None if net is None else Money(net, currency),
    )


@given(histories())
def test_disapproved_is_what_went_back_wholly(history: list[Payment]) -> None:
    for each in fold(history, TOTAL):
        if each.status is not Status.PARKED:
            wholly = each.taken_back == each.paid and each.paid.minor > 0
            assert (each.status is Status.DISAPPROVED) is wholly
            assert (each.cause is None) or each.taken_back.minor > 0 or each.paid.minor == 0


@given(histories())
def test_the_value_is_the_kept_share_of_the_basis(history: list[Payment]) -> None:
    whole = {each.id: each for each in fold(each for each in history if each.kind in GIVES)}
    for each in fold(history):
        if each.status is Status.PARKED or each.paid.minor == 0:
            continue
        kept = each.paid.minor - each.taken_back.minor
        base = whole[each.id].value.minor
        assert each.value.minor == divide_half_even(base * kept, each.paid.minor)


# ── links ────────────────────────────────────────────────────────────────────────────────────────


@given(st.data(), histories())
def test_a_link_changes_no_amount_but_by_joining(
    data: st.DataObject, history: list[Payment]
) -> None:
    """One that stays within an order changes nothing at all about its only sale."""
    for order in connect(history):
        before = fold(order)
        names = sorted(frozenset().union(*(each.references for each in order)))
        chosen = data.draw(st.lists(st.sampled_from(names), max_size=3))
        inner = replace(payment("link", PaymentKind.LINK, 0), references=frozenset(chosen))
        if len(before) == 1:
            assert fold([*order, inner]) == before
        outer = payment("link", PaymentKind.LINK, 0, "elsewhere")
        assert fold([*order, outer]) == before


@given(histories())
def test_orders_do_not_touch_each_other(history: list[Payment]) -> None:
    apart = [each for order in connect(history) for each in fold(order)]
    assert tuple(sorted(apart, key=lambda each: each.id)) == fold(history)


@given(
    st.lists(st.frozensets(st.sampled_from("abcdefghij"), max_size=3), max_size=12).map(
        lambda sets: [
            replace(payment(f"p{at}", PaymentKind.LINK, 0), references=each)
            for at, each in enumerate(sets)
        ]
    )
)
def test_connect_is_the_transitive_closure(payments: list[Payment]) -> None:
    closure: list[set[str]] = []
    for each in payments:
        touching = [names for names in closure if names & each.references]
        closure = [names for names in closure if not names & each.references]
        closure.append(set(each.references).union(*touching))
    expected = {
        frozenset(each.id for each in payments if each.references & names)
        for names in closure
        if names
    }
    assert {frozenset(each.id for each in order) for order in connect(payments)} == expected


# ── against slow and simple models ───────────────────────────────────────────────────────────────


def went_back(order: Sequence[Payment]) -> int:
    """Add up, over refund, dispute and credit ids, those whose last state counts."""
    last: dict[tuple[PaymentKind, str], Payment] = {}
    for kind in (PaymentKind.REFUND, PaymentKind.DISPUTE, PaymentKind.CREDIT):
        for id in {each.id for each in order if each.kind is kind}:
            reports = [each for each in order if each.kind is kind and each.id == id]
            moved = [each for each in reports if each.state is not OPEN] or reports
            # In one second, what was undone was undone last: the names sort that way.
            last[kind, id] = max(
                moved, key=lambda each: (each.final, each.occurred_at, str(each.state))
            )
    units = {key: each.amount.minor if each.amount else 0 for key, each in last.items()}
    return sum(
        max(units[key] - sum(units.get((PaymentKind.REFUND, one), 0) for one in each.contains), 0)
        for key, each in last.items()
        if each.state is COUNTS
    )


@given(histories(with_totals=False))
def test_agrees_with_a_sum_over_ids(history: list[Payment]) -> None:
    for order in connect(history):
        voided = any(each.kind is PaymentKind.CANCELLATION for each in order)
        conversions, back = fold(order, TOTAL), went_back(order)
        if len(conversions) == 1 and not voided:
            (one,) = conversions
            parked = one.status is Status.PARKED
            assert one.taken_back.minor == (back if parked else min(back, one.paid.minor))
        if not conversions:
            assert back == 0 or voided


@given(
    st.lists(st.integers(1, 5_000), min_size=1, max_size=5),
    st.data(),
)
def test_a_refund_is_split_over_all_that_its_source_paid(
    paid: list[int], data: st.DataObject
) -> None:
    history = []
    for number, units in enumerate(paid):
        history += [
            payment(f"in_{number}", PaymentKind.SALE, 0, amount=units),
            payment(f"ip_{number}", PaymentKind.LINK, 0, "pi", f"in_{number}", amount=units),
        ]
    parts = data.draw(st.lists(st.integers(1, sum(paid)), max_size=4))
    history += [
        payment(f"re_{number}", PaymentKind.REFUND, 1, "pi", amount=units)
        for number, units in enumerate(parts)
    ]
    conversions = fold(history)
    back = min(sum(parts), sum(paid))
    assert sum(each.taken_back.minor for each in conversions) == back
    for each in conversions:
        share = each.paid.minor * back / sum(paid)
        assert abs(each.taken_back.minor - share) < 1


@given(st.data())
def test_a_cumulative_total_makes_up_for_every_refund_that_was_not_reported(
    data: st.DataObject,
) -> None:
    """Refunds happen, fail, happen again; what a total saw may be lost, what came after may not."""
    moments = data.draw(st.permutations(range(1, 13)))
    seen_at = data.draw(st.sampled_from(range(3, 13))) - 0.5
    told, truth, total = [], 0, 0
    for number in range(data.draw(st.integers(2, 4))):
        started, failed = sorted(moments[3 * number : 3 * number + 2])
        fails, units = data.draw(st.booleans()), data.draw(st.integers(1, 900))
        lost = not fails and started < seen_at and data.draw(st.booleans())
        id = f"re_{number}"
        names = data.draw(st.sampled_from((("ch", "pi"), ("pi",))))
        made = payment(
            id, PaymentKind.REFUND, started, *names, amount=units, started_at=at(started)
        )
        reports = [made]
        if fails:
            reports.append(replace(made, occurred_at=at(failed), state=REVERSED, final=True))
        told += [] if lost else reports
        truth += 0 if fails else units
        total += units if started < seen_at and not (fails and failed < seen_at) else 0
    whole = payment("ch", PaymentKind.REFUNDED_SO_FAR, 0, "pi", amount=total)
    told.append(replace(whole, occurred_at=at(0) + (at(1) - at(0)) * seen_at))
    sale = payment("pi", PaymentKind.SALE, 0, amount=10_000, rank=2)
    (conversion,) = fold([sale, *told])
    assert conversion.taken_back.minor == truth


def _units(payment: Payment) -> int:
    return payment.amount.minor if payment.amount else 0
