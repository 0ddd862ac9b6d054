"""What a conversion is worth, in which currency, and whether it is a renewal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from histories import euro, refund, sale

from bridge.errors import MoneyError
from bridge.ledger import NET, TOTAL, fold, mark_renewals
from bridge.model import Payment, Status
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


# ── renewals ─────────────────────────────────────────────────────────────────────────────────────


def test_all_but_the_first_paid_order_are_renewals() -> None:
    orders = {"in_trial": (0, 0), "in_b": (2, 1000), "in_a": (2, 1000), "in_late": (5, 1000)}
    conversions = fold(sale(id, minute, units) for id, (minute, units) in orders.items())
    marked = {each.order: each.renewal for each in mark_renewals(conversions)}
    assert marked == {"in_trial": False, "in_a": False, "in_b": True, "in_late": True}


def test_a_mark_goes_when_an_order_turns_out_to_be_the_first() -> None:
    first, second = fold([sale("in_1", 1), sale("in_2", 2)])
    assert mark_renewals([replace(first, renewal=True), second])[0].renewal is False
    assert mark_renewals([]) == []
