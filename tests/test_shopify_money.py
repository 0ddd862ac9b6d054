"""Shopify: what its bodies mean in money."""

from __future__ import annotations

from typing import Any

import pytest
from test_shopify import PLAIN, SHOP, meaning, request_of, sale

from bridge import ledger
from bridge.errors import PayloadError
from bridge.model import PaymentKind, PaymentState, Status
from bridge.money import Money

ORDER = f"{SHOP}/5570123456789"

# ── the money of an order ────────────────────────────────────────────────────────────────────────


def euros(amount: str) -> Money:
    return Money.parse(amount, "EUR")


LINE = {"name": "Goods", "price": "100.00", "quantity": 1, "tax_lines": [{"price": "19.00"}]}
GIFT = {"name": "Gift", "price": "50.00", "quantity": 1, "gift_card": True, "tax_lines": []}
# 100.00 of goods, 10.00 of shipping, 19 % on both: 130.90.
PLACED = {
    "total_price_set": None,
    "current_total_price_set": None,
    "subtotal_price_set": None,
    "total_tax_set": None,
    "total_shipping_price_set": {"shop_money": {"amount": "10.00", "currency_code": "EUR"}},
    "total_tip_received_set": None,
    "subtotal_price": "100.00",
    "total_tax": "20.90",
    "total_price": "130.90",
    "current_total_price": None,
    "total_tip_received": "0.00",
    "line_items": [LINE],
    "shipping_lines": [{"price": "10.00", "tax_lines": [{"price": "1.90"}]}],
}
FREE: dict[str, Any] = {
    "subtotal_price": "0.00",
    "total_price": "0.00",
    "total_tax": "0.00",
    "total_shipping_price_set": None,
    "shipping_lines": [],
}
MORE = {"subtotal_price": "150.00", "total_price": "180.90"}
TIPPED = {"total_tip_received": "5.00", "total_price": "135.90"}
CARD_OUT = {"subtotal_price": "150.00", "total_price": "180.90", "current_total_price": "130.90"}
LESS = {"current_total_price": "119.00"}
UP = {"current_total_price": "142.80"}
GONE = {"financial_status": "refunded", "current_total_price": "0.00"}
INCLUDED = {"taxes_included": True, "subtotal_price": "119.00", "total_price": "130.90"}


def refunded(
    *amounts: str, status: str = "success", currency: str | None = "EUR", **more: Any
) -> Any:
    """Return the refunds of an order, one for each amount."""
    return [
        {
            **more,
            "id": 1000 + at,
            "transactions": [
                {
                    "id": 2000 + at,
                    "kind": "refund",
                    "status": status,
                    "amount": amount,
                    "currency": currency,
                }
            ],
        }
        for at, amount in enumerate(amounts)
    ]


@pytest.mark.parametrize(
    ("changes", "paid", "net"),
    [
        ({}, "130.90", "100.00"),
        (INCLUDED, "130.90", "100.00"),
        # Without shipping lines the lines themselves tell their tax.
        ({**INCLUDED, "shipping_lines": None}, "130.90", "100.00"),
        ({**MORE, "line_items": [LINE, GIFT]}, "180.90", "100.00"),
        ({"line_items": [GIFT], "subtotal_price": "45.00"}, "130.90", "0.00"),
        # Gift cards that are no longer in it: taken out before it was paid, or given back.
        ({**CARD_OUT, "line_items": [LINE, {**GIFT, "current_quantity": 0}]}, "130.90", "100.00"),
        (
            {**MORE, "line_items": [LINE, {**GIFT, "current_quantity": 0}]},
            "180.90",
            "100.00",
        ),
        # A tip is beside the subtotal, whatever the sum.
        (TIPPED, "135.90", "100.00"),
        ({**TIPPED, "subtotal_price": None}, "135.90", "100.00"),
        ({**TIPPED, "subtotal_price": "105.00"}, "135.90", "105.00"),
        # Edits: goods were added, and paid or not yet; taken out before all or some was paid.
        (UP, "142.80", "110.00"),
        ({**UP, "total_outstanding": "11.90"}, "130.90", "100.00"),
        ({**UP, "total_outstanding": "5.95"}, "136.85", "105.00"),
        (LESS, "119.00", "90.00"),
        ({**LESS, "total_outstanding": "59.50"}, "59.50", "40.00"),
        ({**LESS, "refunds": [{"id": 1, "transactions": []}]}, "119.00", "90.00"),
        # Taken out afterwards: the buyer is to get it back, and gets it.
        ({**LESS, "total_outstanding": "-11.90"}, "130.90", "100.00"),
        ({**LESS, "refunds": refunded("11.90")}, "130.90", "100.00"),
        ({**LESS, "refunds": refunded("11.90", status="failure")}, "119.00", "90.00"),
        # Added and paid, and a line of it given back: that is more than any total says.
        ({"refunds": refunded("11.90", refund_line_items=[{"id": 1}])}, "142.80", "110.00"),
        # A goodwill refund, whether it makes the current total shrink or not.
        ({"refunds": refunded("11.90")}, "130.90", "100.00"),
        ({**UP, "refunds": refunded("11.90")}, "142.80", "110.00"),
        ({"refunds": refunded("130.90"), "financial_status": "refunded"}, "130.90", "100.00"),
        # Cut down before it was paid, then a goodwill refund of part of it.
        ({**LESS, "total_outstanding": "10.00", "refunds": refunded("10.00")}, "119.00", "90.00"),
        # Goods came back, and less money than they were worth went: the rest of it was paid, too.
        (
            {**LESS, "refunds": [{"id": 1, "order_adjustments": [{"amount": "11.90"}]}]},
            "130.90",
            "100.00",
        ),
        (
            {**LESS, "refunds": refunded("9.90", order_adjustments=[{"amount": 2}])},
            "130.90",
            "100.00",
        ),
        # All that was paid went back: as placed, after an edit, or when less was left to pay.
        ({**GONE, "refunds": refunded("130.90")}, "130.90", "100.00"),
        ({**GONE, "refunds": refunded("142.80", refund_line_items=[{}])}, "142.80", "110.00"),
        ({**GONE, "refunds": refunded("19.00", "100.00")}, "119.00", "90.00"),
        # A look-up tells what was paid.
        ({**LESS, "total_received": "125.00"}, "125.00", "95.04"),
        ({"total_outstanding": "999.00"}, "0.00", "0.00"),
        ({"subtotal_price": "-5.00"}, "130.90", "0.00"),
        ({"subtotal_price": None}, "130.90", "100.00"),
        (FREE, "0.00", "0.00"),
        ({**FREE, "current_total_price": "9.00"}, "9.00", "9.00"),
    ],
)
def test_what_was_paid_and_what_of_it_was_goods(
    changes: dict[str, Any], paid: str, net: str
) -> None:
    told = sale(**{**PLACED, **changes})
    assert (told.amount, told.net) == (euros(paid), euros(net))


@pytest.mark.parametrize(
    ("status", "cancelled", "kind"),
    [
        ("paid", None, PaymentKind.SALE),
        ("PARTIALLY_REFUNDED", None, PaymentKind.SALE),
        ("refunded", "2026-11-05T10:00:00Z", PaymentKind.SALE),
        ("pending", None, PaymentKind.LINK),
        ("authorized", None, PaymentKind.LINK),
        ("voided", None, PaymentKind.LINK),
        ("partially_paid", "2026-11-05T10:00:00Z", PaymentKind.LINK),
        ("pending", "2026-11-05T10:00:00Z", PaymentKind.CANCELLATION),
        ("voided", "2026-11-05T10:00:00Z", PaymentKind.CANCELLATION),
        (None, "2026-11-05T10:00:00Z", PaymentKind.CANCELLATION),
        ("something_new", "2026-11-05T10:00:00Z", PaymentKind.LINK),
    ],
)
def test_only_a_paid_order_is_a_sale(status: str, cancelled: str | None, kind: PaymentKind) -> None:
    assert sale(financial_status=status, cancelled_at=cancelled).kind is kind


def test_a_lean_order_without_a_person_is_a_sale() -> None:
    body = {
        "id": 1,
        "financial_status": "paid",
        "total_price": "10.00",
        "currency": "EUR",
        "customer": None,
        "checkout_token": None,
        "client_details": None,
        "updated_at": "2026-11-03T10:00:00Z",
    }
    told = meaning("orders/paid", body)[0]
    assert (told.customer, told.context, str(told.amount)) == ("", None, "10.00 EUR")


def test_an_id_of_18_digits_stays_exact() -> None:
    told = meaning("orders/paid@before-sale") + meaning("refunds/create@before-sale")
    names = {name for each in told for name in each.references}
    assert f"{SHOP}/551234567890123457" in names
    (parked,) = ledger.fold(meaning("refunds/create@before-sale"))
    assert parked.status is Status.PARKED
    assert PLAIN.question(names) == f"{SHOP}/551234567890123457"
    assert PLAIN.question({"6512345678901"}) == ""


# ── refunds and disputes ─────────────────────────────────────────────────────────────────────────


SCARF = ["refunds/create@pending", "order_transactions/create"]
DISPUTE = ["disputes/create", "disputes/update"]


@pytest.mark.parametrize(
    ("names", "left", "status"),
    [
        (["orders/paid"], 5400, Status.APPROVED),
        (["refunds/create@restock-only"], 5400, Status.APPROVED),
        (["refunds/create"], 4368, Status.APPROVED),
        (["refunds/create", "orders/updated"], 4368, Status.APPROVED),
        (["refunds/create", "refunds/create@pending"], 4368, Status.APPROVED),
        (["refunds/create", *SCARF], 1480, Status.APPROVED),
        (["orders/updated@refunded"], 0, Status.DISAPPROVED),
        (["refunds/create", *SCARF, "disputes/create"], 0, Status.DISAPPROVED),
        (["refunds/create", *SCARF, *DISPUTE, "disputes/update@won"], 1480, Status.APPROVED),
    ],
)
def test_the_story_of_one_order(names: list[str], left: int, status: Status) -> None:
    payments = [each for name in ["orders/paid", *names] for each in meaning(name)]
    for told in (payments, payments[::-1]):
        (conversion,) = ledger.fold(told + told)
        assert (conversion.order, conversion.value.minor) == (ORDER, left)
        assert conversion.status is status


def both(shop: str, buyers: str) -> dict[str, Any]:
    """Return an amount in euros and in the dollars that the buyer paid."""
    return {
        "shop_money": {"amount": shop, "currency_code": "EUR"},
        "presentment_money": {"amount": buyers, "currency_code": "USD"},
    }


@pytest.mark.parametrize(
    ("current", "outstanding", "parts", "paid"),
    [
        (both("92.00", "99.70"), "0.00", [], ("92.00", "99.70")),
        # An edit up, paid and not.
        (both("101.20", "109.67"), "0.00", [], ("101.20", "109.67")),
        (both("101.20", "109.67"), "9.20", [], ("92.00", "99.70")),
        # A cent is lost where Shopify turns each refund into the shop's currency.
        (both("61.23", "66.36"), "0.00", ["33.34"], ("92.00", "99.70")),
        (both("61.24", "66.36"), "0.00", ["33.34"], ("92.00", "99.70")),
        # Cut down before it was paid.
        (both("82.80", "89.73"), "0.00", [], ("82.80", "89.73")),
        (both("0.00", "0.00"), "0.00", ["89.73"], ("82.80", "89.73")),
        # The buyer's side may be missing.
        ({"shop_money": both("82.80", "")["shop_money"]}, "0.00", [], ("82.80", "89.73")),
    ],
)
def test_both_currencies_tell_the_same(
    current: dict[str, Any], outstanding: str, parts: list[str], paid: tuple[str, str]
) -> None:
    told = sale(
        "orders/paid@multi-currency",
        current_total_price_set=current,
        total_outstanding=outstanding,
        refunds=refunded(*parts, currency="USD"),
    )
    assert told.presentment
    assert (told.amount, told.presentment) == (euros(paid[0]), Money.parse(paid[1], "USD"))


@pytest.mark.parametrize("parts", [["99.70"], ["33.33", "66.37"], ["33.23", "33.23", "33.24"]])
def test_parts_in_the_buyers_currency_make_up_the_whole(parts: list[str]) -> None:
    """Every part is rounded on the way; all of them together leave nothing."""
    refunds = refunded(*parts, currency="USD")
    told = meaning("orders/paid@multi-currency", refunds=refunds, financial_status="refunded")
    first = meaning("orders/paid@multi-currency")
    for payments in (told, [*first, *told[1:]], told[::-1]):
        (conversion,) = ledger.fold(payments)
        assert conversion.status is Status.DISAPPROVED
        assert conversion.taken_back == conversion.paid


def test_a_refund_takes_its_currency_from_its_order_only_where_it_is_plain() -> None:
    nameless = refunded("10.00", currency=None)
    _, in_order = meaning("orders/paid", refunds=nameless)
    assert str(in_order.amount) == "10.00 EUR"
    (alone,) = meaning("refunds/create", transactions=nameless[0]["transactions"])
    assert str(alone.amount) == "10.00 EUR"
    with pytest.raises(PayloadError, match="names no currency"):
        meaning("refunds/create@multi-currency", transactions=nameless[0]["transactions"])


@pytest.mark.parametrize(
    ("status", "state", "final"),
    [
        ("success", PaymentState.COUNTS, False),
        ("pending", PaymentState.OPEN, False),
        ("failure", PaymentState.REVERSED, True),
        ("error", PaymentState.REVERSED, True),
        ("unheard_of", PaymentState.OPEN, False),
    ],
)
def test_a_refund_counts_when_its_money_moved(
    status: str, state: PaymentState, final: bool
) -> None:
    (told,) = meaning("order_transactions/create", status=status)
    assert (told.state, told.final) == (state, final)
    assert bool(told.reason) is (state is PaymentState.OPEN)


@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        ("chargeback", "needs_response", PaymentState.COUNTS),
        ("chargeback", "accepted", PaymentState.COUNTS),
        ("chargeback", "charge_refunded", PaymentState.REVERSED),
        ("chargeback", "prevented", PaymentState.OPEN),
        ("chargeback", "unheard_of", PaymentState.OPEN),
        ("inquiry", "lost", PaymentState.OPEN),
        (None, "lost", PaymentState.OPEN),
    ],
)
def test_a_chargeback_takes_at_once_and_an_inquiry_never(
    kind: str | None, status: str, state: PaymentState
) -> None:
    (told,) = meaning("disputes/create", type=kind, status=status)
    assert told.state is state


def test_a_dispute_without_an_order_stands_alone() -> None:
    (told,) = meaning("disputes/create", order_id=None)
    assert told.references == {told.id} == {f"{SHOP}/dispute/8521234501"}


@pytest.mark.parametrize("name", ["refunds/create", "order_transactions/create", *DISPUTE])
def test_what_comes_under_another_shops_name_joins_no_order_of_ours(name: str) -> None:
    """The header that names the shop is not signed."""
    request = request_of(name, x_shopify_shop_domain="other.myshopify.com")
    relabelled = PLAIN.normalise(PLAIN.read(request))
    ours = [*meaning("orders/paid"), *meaning(name)]
    assert not {id for each in ours for id in each.references} & relabelled[0].references
    assert len(ledger.connect([*ours, *relabelled])) == 2


@pytest.mark.parametrize("name", ["refunds/create", "refunds/create@restock-only", *DISPUTE])
def test_only_an_order_is_asked_for(name: str) -> None:
    names = {id for each in meaning(name) for id in each.references}
    assert PLAIN.question(names) == ORDER
    assert PLAIN.question(names - {ORDER}) == ""


@pytest.mark.parametrize(
    ("source", "reason"),
    [("web", ""), ("1830279", ""), (None, ""), ("pos", "pos"), ("shopify_draft_order",) * 2],
)
def test_a_sale_says_only_why_no_click_is_to_be_expected(source: str | None, reason: str) -> None:
    assert sale(source_name=source).reason == reason
