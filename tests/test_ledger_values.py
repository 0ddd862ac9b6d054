"""What a conversion is worth, in which currency, and whether it is a renewal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from histories import euro, refund, sale

from bridge.errors import MoneyError
from bridge.ledger import NET, TOTAL, fold, mark_renewals
from bridge.model import Payment, PaymentState, Status
from bridge.money import Money

APPROVED, DISAPPROVED = Status.APPROVED, Status.DISAPPROVED


@pytest.mark.parametrize(
    ("basis", "net", "back", "value", "status"),
    [
        (NET, 800, 0, 800, APPROVED),
        (TOTAL, 800, 0, 1000, APPROVED),
        (NET, None, 0, 1000, APPROVED),
        (NET, 800, 250, 600, APPROVED),
        (NET, 5, 500, 2, APPROVED),  # 2.5, half to even
        (NET, 15, 500, 8, APPROVED),  # 7.5, half to even
        (NET, 333, 1, 333, APPROVED),  # 332.667
        (NET, 800, 1000, 0, DISAPPROVED),
        (NET, 800, 1200, 0, DISAPPROVED),
        (NET, 100, 999, 0, DISAPPROVED),  # what is left is less than half a cent
        (TOTAL, 100, 999, 1, APPROVED),
        (NET, 0, 0, 0, APPROVED),  # all tax and shipping
        (NET, 0, 500, 0, APPROVED),
        (NET, 0, 1000, 0, DISAPPROVED),
        (NET, -500, 0, 0, APPROVED),
        (NET, 2000, 0, 1000, APPROVED),  # never more than was paid
    ],
)
def test_the_value_falls_in_proportion(
    basis: str, net: int | None, back: int, value: int, status: Status
) -> None:
    (conversion,) = fold([sale(net=net), refund("re_1", 1, back, "in_1")], basis)
    assert (conversion.value, conversion.status) == (euro(value), status)


@pytest.mark.parametrize("back", [0, 500])
def test_a_sale_of_nothing_stays_approved(back: int) -> None:
    (conversion,) = fold([sale(amount=0, net=0), refund("re_1", 1, back, "in_1")])
    assert (conversion.value, conversion.taken_back) == (euro(0), euro(0))
    assert conversion.status is APPROVED


@pytest.mark.parametrize(
    "other",
    [
        replace(refund("re_1", 1, 300, "in_1"), amount=Money(300, "USD")),
        replace(sale("pi_1", rank=2), references=frozenset({"in_1"}), amount=Money(1, "USD")),
        replace(sale(minute=1), net=Money(800, "USD")),
    ],
)
def test_one_order_has_one_currency(other: Payment) -> None:
    with pytest.raises(MoneyError, match=r"several currencies \(EUR, USD\): .*in_1"):
        fold([sale(), other])


# ── what goes back in another proportion than it came ────────────────────────────────────────────

TAXED = sale(amount=11_900, net=10_000)


@pytest.mark.parametrize(
    ("parts", "net", "total"),
    [
        pytest.param([(1900, 0)], 10_000, 10_000, id="all of the tax"),
        pytest.param([(1, 0)], 10_000, 11_899, id="a cent of tax"),
        pytest.param([(1900, 0), (5000, 5000)], 5000, 5000, id="the tax, then half of the rest"),
        pytest.param([(1900, 0), (10_000, 10_000)], 0, 0, id="the tax, then the rest"),
        pytest.param([(5950, 5000), (950, 0)], 5000, 5000, id="half, then the tax of the rest"),
        pytest.param([(5950, 5000), (5950, 5000)], 0, 0, id="half and half"),
        pytest.param([(5950, None), (5950, None)], 0, 0, id="half and half, nothing said of tax"),
        pytest.param([(11_900, 10_000), (-11_900, -10_000)], 10_000, 11_900, id="there and back"),
        pytest.param([(1000, 840)], 9160, 10_900, id="in proportion: the rule, to the cent"),
        pytest.param([(1000, 841)], 9160, 10_900, id="in proportion but for a cent's rounding"),
        pytest.param([(11_899, 10_000)], 0, 1, id="all of the net, and all but a cent of tax"),
        pytest.param([(1000, 1000)], 9000, 10_900, id="without tax"),
        pytest.param([(3000, 20_000)], 0, 8900, id="nonsense does not go below nothing"),
    ],
)
def test_what_the_provider_says_was_net_is_taken_from_the_net(
    parts: list[tuple[int, int | None]], net: int, total: int
) -> None:
    refunds = [
        replace(refund(f"re_{i}", 1, amount, "in_1"), net=None if part is None else euro(part))
        for i, (amount, part) in enumerate(parts)
    ]
    for order in ([TAXED, *refunds], [*reversed(refunds), TAXED]):
        (under_net,), (under_total,) = fold(order, NET), fold(order, TOTAL)
        assert (under_net.value, under_total.value) == (euro(net), euro(total))
        assert under_net.taken_back == euro(max(sum(amount for amount, _ in parts), 0))
        assert (under_net.status is DISAPPROVED) is (net == 0)


# ── what moved in the buyer's currency ───────────────────────────────────────────────────────────


def dollars(id: str, minor: int, state: PaymentState = PaymentState.COUNTS) -> Payment:
    return replace(refund(id, 1, 0, "in_1"), amount=Money(minor, "USD"), state=state)


PRESENTED = replace(sale(amount=10_000, net=8000), presentment=Money(11_001, "USD"))


@pytest.mark.parametrize(
    ("refunds", "back", "value"),
    [
        ([dollars("re_1", 11_001)], 10_000, 0),
        ([dollars(f"re_{i}", 3667) for i in range(3)], 10_000, 0),  # 33.33 + 33.34 + 33.33
        ([dollars("re_1", 3667)], 3333, 5334),
        ([dollars("re_1", 3667), refund("re_2", 1, 1000, "in_1")], 4333, 4534),
        ([dollars("re_1", 3667), dollars("re_2", 3667, PaymentState.REVERSED)], 3333, 5334),
        ([dollars("re_1", 3667), dollars("re_2", 3667, PaymentState.OPEN)], 3333, 5334),
    ],
)
def test_the_buyers_currency_is_converted_at_the_orders_own_rate(
    refunds: list[Payment], back: int, value: int
) -> None:
    (conversion,) = fold([*refunds, PRESENTED])
    assert (conversion.taken_back, conversion.value) == (euro(back), euro(value))
    assert fold([PRESENTED, *reversed(refunds)]) == (conversion,)
    assert (conversion.status is DISAPPROVED) is (value == 0)


@pytest.mark.parametrize("presentment", [None, Money(11_001, "CHF"), Money(0, "USD")])
def test_a_currency_that_is_neither_cannot_be_converted(presentment: Money | None) -> None:
    with pytest.raises(MoneyError, match=r"several currencies \(EUR, USD\)"):
        fold([replace(PRESENTED, presentment=presentment), dollars("re_1", 100)])


def test_refunds_in_two_currencies_wait_together_for_their_sale() -> None:
    waiting = [dollars("re_2", 3667), refund("re_1", 1, 1000, "in_1")]
    (parked,) = fold(waiting)
    assert (parked.status, parked.order, parked.taken_back) == (Status.PARKED, "re_1", euro(1000))
    (conversion,) = fold([*waiting, PRESENTED])
    assert (conversion.status, conversion.taken_back) == (APPROVED, euro(4333))


# ── renewals ─────────────────────────────────────────────────────────────────────────────────────


def test_all_but_the_first_paid_order_are_renewals() -> None:
    orders = {"in_trial": (0, 0), "in_b": (2, 1000), "in_a": (2, 1000), "in_late": (5, 1000)}
    conversions = fold(sale(id, minute, units) for id, (minute, units) in orders.items())
    marked = {each.order: each.renewal for each in mark_renewals(conversions)}
    assert marked == {"in_trial": False, "in_a": False, "in_b": True, "in_late": True}


def test_a_test_is_never_the_first_order_of_a_live_subscription() -> None:
    sales = [replace(sale(f"in_{i}", i), test=i % 2 == 1) for i in range(1, 5)]
    marked = {each.order: each.renewal for each in mark_renewals(fold(sales))}
    assert marked == {"in_1": False, "in_2": False, "in_3": True, "in_4": True}


def test_a_mark_goes_when_an_order_turns_out_to_be_the_first() -> None:
    first, second = fold([sale("in_1", 1), sale("in_2", 2)])
    assert mark_renewals([replace(first, renewal=True), second])[0].renewal is False
    assert mark_renewals([]) == []
