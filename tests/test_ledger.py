"""The rules of the fold, one table for each: what a set of payments amounts to."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from histories import OPEN, REVERSED, START, at, euro, link, payment, refund, sale

from bridge.ledger import CLAIM_TIME, NET, connect, fold
from bridge.model import Cause, Conversion, Item, Payment, PaymentKind, Status

PARKED, APPROVED, DISAPPROVED = Status.PARKED, Status.APPROVED, Status.DISAPPROVED


# ── how payments are written here ────────────────────────────────────────────────────────────────


def failed(id: str, minute: int, amount: int, started: int) -> Payment:
    return refund(id, minute, amount, state=REVERSED, final=True, started_at=at(started))


def so_far(minute: int, amount: int, id: str = "ch_1", *references: str) -> Payment:
    references = references or ("pi_1",)
    return payment(id, PaymentKind.REFUNDED_SO_FAR, minute, *references, amount=amount)


def dispute(minute: int, amount: int = 1000, id: str = "dp_1", **facts: Any) -> Payment:
    return payment(id, PaymentKind.DISPUTE, minute, "ch_1", "pi_1", amount=amount, **facts)


def credit(minute: int, amount: int, *contains: str, **facts: Any) -> Payment:
    facts["contains"] = frozenset(contains)
    return payment("cn_1", PaymentKind.CREDIT, minute, "in_1", *contains, amount=amount, **facts)


def cancellation(minute: int, id: str = "in_1") -> Payment:
    return payment(id, PaymentKind.CANCELLATION, minute)


WAITS = "the sale that this money went back for has not arrived"
LINKS = [link("in_1", "pi_1"), link("ch_1", "pi_1")]


def folded(*payments: Payment, basis: str = NET) -> Conversion:
    """Fold payments of one order, in every order where there are few, else in two."""
    few = permutations(payments) if len(payments) <= 5 else (payments, payments[::-1])
    results = {repr(fold(order, basis)) for order in few}
    assert len(results) == 1
    (conversion,) = fold(payments, basis)
    return conversion


# ── what was taken back ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([refund("re_1", 1, 300)], 300, id="a refund"),
        pytest.param([refund("re_1", 1, 300), refund("re_1", 2, 300)], 300, id="told twice"),
        pytest.param([refund("re_1", 1, 300), refund("re_2", 1, 200)], 500, id="two refunds"),
        pytest.param([refund("re_1", 1, 700), refund("re_2", 1, 700)], 1000, id="more than paid"),
        pytest.param([refund("re_1", 1, 300, state=OPEN)], 0, id="a refund only announced"),
        pytest.param(
            [refund("re_1", 1, 300), refund("re_1", 2, 300, state=OPEN)], 300, id="announced late"
        ),
        pytest.param([refund("re_1", 1, 300), failed("re_1", 2, 300, 1)], 0, id="it failed"),
        pytest.param([refund("re_1", 3, 300), failed("re_1", 2, 300, 1)], 0, id="failed is final"),
        pytest.param([refund("re_1", 1, 300), failed("re_1", 1, 300, 1)], 0, id="in one second"),
        pytest.param([so_far(2, 300)], 300, id="a total alone"),
        pytest.param([so_far(2, 300), so_far(3, 500)], 500, id="the latest total"),
        pytest.param([so_far(2, 300), so_far(2, 500)], 500, id="two totals in one second"),
        pytest.param([so_far(2, 300), refund("re_1", 2, 300)], 300, id="its refund is no second"),
        pytest.param(
            [so_far(2, 300), refund("re_1", 5, 300, started_at=at(2))], 300, id="told of later"
        ),
        pytest.param(
            [so_far(2, 300), refund("re_1", 5, 300)], 300, id="perhaps of it, nobody says when made"
        ),
        pytest.param([so_far(2, 500), refund("re_1", 1, 300)], 500, id="one refund never told of"),
        pytest.param(
            [so_far(2, 300), refund("re_1", 4, 200, started_at=at(4))],
            500,
            id="one never told of, one made after the total",
        ),
        pytest.param([so_far(2, 300), failed("re_1", 3, 300, 1)], 0, id="total, then failed"),
        pytest.param([so_far(2, 500), failed("re_1", 3, 300, 1)], 200, id="one of two failed"),
        pytest.param([so_far(4, 200), failed("re_1", 3, 300, 1)], 200, id="failed, then total"),
        pytest.param([so_far(2, 0)], 0, id="a total of nothing"),
        pytest.param(
            [so_far(2, 300), refund("re_1", 2, 300, "pi_1")], 300, id="a refund without its charge"
        ),
        pytest.param([dispute(1, state=OPEN)], 0, id="an inquiry"),
        pytest.param([dispute(1, state=OPEN), dispute(1)], 1000, id="withdrawn"),
        pytest.param([dispute(1), dispute(2, state=OPEN)], 1000, id="withdrawn, under review"),
        pytest.param([dispute(1), dispute(3)], 1000, id="withdrawn, lost"),
        pytest.param([dispute(1), dispute(3, state=REVERSED)], 0, id="withdrawn, reinstated"),
        pytest.param(
            [dispute(1), dispute(3, state=REVERSED), dispute(4, state=OPEN)], 0, id="won, updated"
        ),
        pytest.param(
            [dispute(1), dispute(3, state=REVERSED), dispute(5)],
            1000,
            id="won, then lost on appeal",
        ),
        pytest.param([dispute(1), dispute(2, -1000, "dp_2")], 0, id="given back under its own id"),
        pytest.param([dispute(2, -1000, "dp_2")], 0, id="given back before it was taken"),
        pytest.param([refund("re_1", 1, 300), dispute(2, 500)], 800, id="refund and dispute"),
        pytest.param([refund("re_1", 1, 300), dispute(2)], 1000, id="never more than was paid"),
        pytest.param([credit(1, 300)], 300, id="a credit note"),
        pytest.param([credit(1, 300), credit(2, 300)], 300, id="a credit note told twice"),
        pytest.param(
            [credit(1, 300), credit(2, 300, state=REVERSED, final=True)], 0, id="a void credit note"
        ),
        pytest.param(
            [credit(1, 300, "re_1"), refund("re_1", 1, 300)], 300, id="a credit note for a refund"
        ),
        pytest.param(
            [credit(1, 300, "re_1"), refund("re_1", 1, 200)], 300, id="partly for a refund"
        ),
        pytest.param([credit(1, 300, "re_1")], 300, id="for a refund not told of yet"),
        pytest.param(
            [credit(1, 300, "re_1"), so_far(1, 300, "ch_1", "pi_1", "in_1")],
            300,
            id="for a refund that only a total knows",
        ),
        pytest.param(
            [credit(1, 300, "re_1"), refund("re_1", 1, 300), failed("re_1", 2, 300, 1)],
            0,
            id="for a refund that failed",
        ),
        pytest.param(
            [
                credit(1, 300, "re_1"),
                credit(3, 300, "re_1", state=REVERSED, final=True),
                so_far(2, 300, "ch_1", "pi_1", "in_1"),
            ],
            300,
            id="void, but the refund in it was made",
        ),
        pytest.param([credit(1, 300), refund("re_1", 1, 200)], 500, id="credit note and refund"),
        pytest.param([cancellation(1)], 1000, id="cancelled"),
        pytest.param([cancellation(0)], 0, id="cancelled and paid in the same second"),
        pytest.param([replace(cancellation(1), state=OPEN)], 0, id="to be cancelled"),
        pytest.param([cancellation(1), refund("re_1", 2, 300)], 1000, id="cancelled and refunded"),
        pytest.param([cancellation(1, "in_9")], 0, id="another order was cancelled"),
    ],
)
def test_taken_back(back: list[Payment], expected: int) -> None:
    conversion = (
        folded(sale(), *LINKS, *back) if len(back) < 3 else fold([sale(), *LINKS, *back])[0]
    )
    assert conversion.taken_back == euro(expected)
    assert conversion.value == euro(1000 - expected)
    assert conversion.status is (DISAPPROVED if expected == 1000 else APPROVED)
    assert (conversion.cause is None) is (expected == 0)


def test_a_cancellation_does_not_undo_what_came_after_it() -> None:
    assert folded(cancellation(1), sale(minute=2)).status is APPROVED


@pytest.mark.parametrize(
    ("back", "cause"),
    [
        ([refund("re_1", 1, 600), dispute(1, 400)], Cause.REFUND),
        ([refund("re_1", 1, 400), dispute(1, 600)], Cause.DISPUTE),
        ([refund("re_1", 1, 500), dispute(1, 500)], Cause.REFUND),
        ([refund("re_1", 1, 400), cancellation(2)], Cause.CANCELLATION),
        ([dispute(1, 400), dispute(2, 400, state=REVERSED)], None),
    ],
)
def test_the_cause_is_what_took_most(back: list[Payment], cause: Cause | None) -> None:
    assert folded(sale(), *LINKS, *back).cause is cause


def test_totals_of_two_charges_do_not_hide_each_others_refunds() -> None:
    links = [link("in_1", "pi_1"), link("in_1", "pi_2")]
    back = [so_far(1, 100), refund("re_2", 1, 200, "ch_2", "pi_2")]
    assert folded(sale(), *links, *back).taken_back == euro(300)
    assert folded(*links, *back).taken_back == euro(300)


@pytest.mark.parametrize("of_refund", [("ch_1", "pi_1"), ("pi_1",)])
def test_a_bare_payment_intent_counts_a_refund_and_its_total_once(
    of_refund: tuple[str, ...],
) -> None:
    bare = sale("pi_1", rank=2)
    assert folded(bare, so_far(1, 300), refund("re_1", 1, 300, *of_refund)).taken_back == euro(300)


# ── parked ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payments", "id", "back"),
    [
        ([refund("re_2", 1, 300), refund("re_1", 2, 200)], "stripe:re_1", 500),
        ([so_far(1, 300)], "stripe:ch_1", 300),
        ([so_far(1, 300), refund("re_1", 1, 300)], "stripe:re_1", 300),
        ([dispute(1), link("ch_1", "in_1")], "stripe:dp_1", 1000),
        ([credit(1, 300, "re_1")], "stripe:cn_1", 300),
        ([credit(1, 300, "re_1"), refund("re_1", 1, 200)], "stripe:cn_1", 300),
    ],
)
def test_what_went_back_before_its_sale_is_parked(
    payments: list[Payment], id: str, back: int
) -> None:
    conversion = folded(*payments)
    assert (conversion.id, conversion.status) == (id, PARKED)
    assert (conversion.paid, conversion.value) == (euro(0), euro(0))
    assert conversion.taken_back == euro(back)
    own = id.removeprefix("stripe:")
    others = sorted(set().union(*(each.references for each in payments)) - {own})
    assert conversion.reason == f"{WAITS} (it belongs to {', '.join(others[:3])})"


def test_what_is_parked_names_what_it_belongs_to() -> None:
    assert folded(refund("re_1", 1, 300, "pi_1", "ch_1")).reason.endswith("belongs to ch_1, pi_1)")
    assert folded(credit(1, 300)).reason.endswith("(it belongs to in_1)")
    assert folded(payment("re_1", PaymentKind.REFUND, 1, amount=300)).reason == WAITS


@pytest.mark.parametrize(
    "payments",
    [
        [],
        LINKS,
        [cancellation(1)],
        [dispute(1, state=OPEN)],
        [refund("re_1", 1, 300), failed("re_1", 2, 300, 1)],
        [so_far(1, 300), failed("re_1", 2, 300, 1)],
        [replace(sale(), state=OPEN)],
    ],
)
def test_there_is_nothing_to_show_where_no_money_moved(payments: list[Payment]) -> None:
    assert fold(payments) == ()


def test_a_link_brings_a_parked_refund_to_its_sale() -> None:
    apart = [sale(), refund("re_1", 1, 300)]
    assert [each.status for each in fold(apart)] == [APPROVED, PARKED]
    joined = folded(*apart, link("in_1", "pi_1"))
    assert (joined.id, joined.value) == ("stripe:in_1", euro(700))


# ── one order, one sale ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ranks", "order"),
    [
        ({"in_1": 0, "cs_1": 1, "pi_1": 2}, "in_1"),
        ({"cs_1": 1, "pi_1": 2}, "cs_1"),
        ({"pi_1": 2}, "pi_1"),
        ({"in_1": 0, "pi_1": 2}, "in_1"),
    ],
)
def test_the_best_description_names_the_order(ranks: dict[str, int], order: str) -> None:
    joined = payment("link", PaymentKind.LINK, 0, *ranks)
    sales = [sale(id, rank=rank, amount=1000 + rank) for id, rank in ranks.items()]
    conversion = folded(*sales, joined, refund("re_1", 1, 100, *ranks))
    assert (conversion.order, conversion.taken_back) == (order, euro(100))


def test_only_a_bare_payment_intent_waits_to_be_claimed() -> None:
    assert folded(sale("pi_1", minute=3, rank=2)).due_at == at(3) + CLAIM_TIME
    assert folded(sale("cs_1", rank=1)).due_at is None


def test_a_sale_is_told_by_its_latest_report() -> None:
    early, late = sale(minute=1, reason="early"), sale(minute=2, amount=900, reason="late")
    conversion = folded(early, late)
    assert (conversion.reason, conversion.paid) == ("late", euro(900))


def test_references_of_an_older_report_are_kept() -> None:
    """A newer layout leaves out which payment intent paid; the other invoice must not suffer."""
    old = replace(sale(), references=frozenset({"in_1", "pi_1"}))
    others = [sale("in_2", amount=1000), link("in_2", "pi_1", "pi_2")]
    both = fold([old, sale(minute=2), *others, refund("re_1", 3, 500, "pi_1")])
    assert [each.taken_back.minor for each in both] == [250, 250]


def test_a_conversion_says_what_its_sale_says() -> None:
    item = Item("A thing", euro(1000))
    facts: dict[str, Any] = {
        "subscription": "sub_1",
        "account": "acct_1",
        "items": (item,),
        "started_at": START,
    }
    conversion = folded(sale(minute=4, reason="manual", **facts))
    assert conversion.occurred_at == START
    assert (conversion.subscription, conversion.account) == ("sub_1", "acct_1")
    assert (conversion.items, conversion.reason, conversion.test) == ((item,), "manual", False)
    assert folded(replace(sale(), test=True), link("in_1", "pi_1")).test


def test_test_traffic_moves_nothing_of_a_live_order() -> None:
    tests = [replace(each, test=True) for each in (refund("re_1", 1, 1000), sale(minute=9))]
    assert folded(sale(), LINKS[0], *tests) == folded(sale(), LINKS[0])
    assert folded(*tests, LINKS[0]).status is DISAPPROVED


def test_what_comes_back_gives_back_only_what_went_for_the_same_cause() -> None:
    reverse = dispute(2, -400)
    assert folded(sale(), *LINKS, refund("re_1", 1, 300), reverse).taken_back == euro(300)
    taken = folded(sale(), *LINKS, refund("re_1", 1, 300), reverse, dispute(1, 400, "dp_2"))
    assert taken.taken_back == euro(300)


def test_its_own_report_speaks_first_for_a_sale_then_the_older_ones() -> None:
    own = sale(minute=5, keys=("stripe:own",), clicks={"a": {"click_id": "own"}})
    older = replace(link("in_1", "x"), keys=("stripe:older", "stripe:own"))
    clicks = {"a": {"click_id": "newer"}, "b": {"click_id": "newer"}}
    newer = payment("n", PaymentKind.LINK, 1, "in_1", keys=("email:newer",), clicks=clicks)
    conversion = folded(own, newer, older)
    assert conversion.keys == ("stripe:own", "stripe:older", "email:newer")
    assert conversion.clicks == {"a": {"click_id": "own"}, "b": {"click_id": "newer"}}


# ── several sales, several sources ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("back", "parts"),
    [
        (100, [14, 29, 57]),
        (1, [0, 0, 1]),
        (350, [50, 100, 200]),
        (700, [100, 200, 400]),
        (900, [100, 200, 400]),
    ],
)
def test_a_refund_is_split_by_what_its_source_paid(back: int, parts: list[int]) -> None:
    paid = {"in_1": 100, "in_2": 200, "in_3": 400}
    sales = [sale(id, amount=units) for id, units in paid.items()]
    links = [link(id, "pi_1", amount=units) for id, units in paid.items()]
    conversions = fold([*links, refund("re_1", 1, back), *sales])
    assert [each.taken_back.minor for each in conversions] == parts


def test_what_a_link_says_was_paid_weighs_more_than_the_sale() -> None:
    links = [link("in_1", "pi_1", amount=100), link("in_2", "pi_1", amount=300)]
    conversions = fold([sale("in_1"), sale("in_2"), *links, refund("re_1", 1, 40)])
    assert [each.taken_back.minor for each in conversions] == [10, 30]


def test_each_source_of_one_invoice_gives_back_its_own() -> None:
    links = [link("in_1", "pi_1", amount=400), link("in_1", "pi_2", amount=600)]
    back = [refund("re_1", 1, 400), refund("re_2", 1, 100, "pi_2")]
    assert folded(sale(), *links, *back).taken_back == euro(500)


def test_a_credit_note_is_of_its_own_invoice_only() -> None:
    links = [link("in_1", "pi_1"), link("in_2", "pi_1")]
    conversions = fold([sale("in_1"), sale("in_2"), *links, credit(1, 300)])
    assert [each.taken_back.minor for each in conversions] == [300, 0]


def test_payments_without_references_are_of_no_order() -> None:
    customer = replace(payment("cus_1", PaymentKind.LINK, 0), references=frozenset())
    assert connect([customer]) == []
    assert fold([customer]) == ()


def test_providers_do_not_share_references() -> None:
    other = replace(sale(), provider="paddle")
    assert [each.id for each in fold([sale(), other])] == ["paddle:in_1", "stripe:in_1"]
