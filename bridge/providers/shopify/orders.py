"""The money of an order: what was paid, and what of it was neither tax nor shipping.

https://shopify.dev/docs/api/admin-rest/latest/resources/order: the plain totals are of the order
as placed, in the shop's currency; the `current_` ones move with edits, returns and refunds.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, InvalidOperation

from bridge.errors import MoneyError
from bridge.model import Item, PaymentState
from bridge.money import Money
from bridge.providers.base import Json, dig, objects, text
from bridge.providers.shopify.objects import REFUND_STATES, in_currency, money, transaction_money

SHOP, BUYER = "shop_money", "presentment_money"
# Lines may be written with more decimals than their currency has.
LINE_DECIMALS, MOST_DIGITS = 10, 15
MOST_PIECES = 1_000_000


def paid_of(order: Json) -> tuple[Money, Money | None]:
    """Return what was paid, in the shop's currency and in the buyer's where that is another."""
    shop, buyers = _paid(order, SHOP), _find_total(order, "total_price", BUYER)
    if buyers is None or buyers.currency == shop.currency:
        return shop, None
    return shop, _paid(order, BUYER)


def net_of(order: Json, paid: Money) -> Money:
    """Return what of the money paid was neither tax nor shipping, gift card nor tip.

    What an edit added to the order as placed, or took from it, is goods and the tax on them.
    """
    placed = _total(order, "total_price", SHOP)
    goods, tax = _goods(order, placed), _goods_tax(order, placed.currency)
    priced = goods.minor + tax.minor > 0
    edited = paid - placed
    goods += edited.scale(goods.minor, goods.minor + tax.minor) if priced else edited
    return replace(goods, minor=min(max(goods.minor, 0), paid.minor))


def items_of(order: Json) -> tuple[Item, ...]:
    """Return the lines of an order, less their discounts."""
    currency = text(order.get("currency"))
    return tuple(
        Item(
            name=text(line.get("name") or line.get("title")),
            amount=_line_amount(line, currency),
            quantity=_pieces(line),
        )
        for line in objects(order.get("line_items"))
    )


# ── what was paid ────────────────────────────────────────────────────────────────────────────────


def _paid(order: Json, side: str) -> Money:
    """Return what was paid, in one of the two currencies of an order.

    That is its larger total: an edit makes the current one grow, a refund makes it shrink. Of two
    kinds of order the larger total was never paid: one that was cut down before anything was paid,
    and one of which all was given back, where it is what was given back.
    """
    placed = _total(order, "total_price", side)
    now = _find_total(order, "current_total_price", side) or placed
    outstanding = _outstanding(order, side)
    owed = replace(outstanding, minor=max(outstanding.minor, 0))
    most = max(placed, now, key=lambda each: each.minor) - owed
    given_back = _given_back(order, side)
    if text(order.get("financial_status")).lower() == "refunded" and given_back.minor > 0:
        most = min(most, given_back, key=lambda each: each.minor)
    elif _cut_down(order, placed, now, outstanding):
        most = now - owed
    return replace(most, minor=max(most.minor, 0))


def _cut_down(order: Json, placed: Money, now: Money, outstanding: Money) -> bool:
    """Tell whether an order was made smaller before it was paid: nothing is owed to the buyer."""
    touched = objects(order.get("refunds")) or objects(order.get("returns"))
    return not touched and 0 < now.minor < placed.minor and outstanding.minor >= 0


def _outstanding(order: Json, side: str) -> Money:
    """Return what is still to be paid; below zero, what the buyer is to get back."""
    in_shop = _find_total(order, "total_outstanding", SHOP)
    if in_shop is None:
        return replace(_total(order, "total_price", side), minor=0)
    return in_shop if side == SHOP else _converted(order, in_shop, BUYER)


def _given_back(order: Json, side: str) -> Money:
    """Return what went back by refunds that came through."""
    nothing = replace(_total(order, "total_price", side), minor=0)
    currencies = [order.get("presentment_currency") or order.get("currency")]
    back: dict[str, Money] = {}
    for refund in objects(order.get("refunds")):
        for each in in_currency(refund.get("transactions"), currencies):
            came_through = REFUND_STATES.get(text(each.get("status"))) is PaymentState.COUNTS
            if each.get("kind") == "refund" and came_through:
                amount = transaction_money(each)
                back[amount.currency] = amount + back.get(amount.currency, replace(amount, minor=0))
    # The sum is converted, not each part: parts that make up the whole must amount to the whole.
    own = (_converted(order, each, side) for each in back.values())
    return sum(own, nothing)


def _converted(order: Json, amount: Money, side: str) -> Money:
    """Turn an amount into one of the order's currencies, at the order's own rate."""
    wanted = _total(order, "total_price", side)
    if amount.currency == wanted.currency:
        return amount
    other = _total(order, "total_price", BUYER if side == SHOP else SHOP)
    if not other.minor or other.currency != amount.currency:
        raise MoneyError(
            f"an order in {other.currency} and {wanted.currency} holds {amount.currency}"
        )
    return wanted.scale(amount.minor, other.minor)


# ── what of it was goods ─────────────────────────────────────────────────────────────────────────


def _goods(order: Json, placed: Money) -> Money:
    """Return what the goods of the order as placed cost, without tax."""
    currency, included = placed.currency, order.get("taxes_included") is True
    nothing = replace(placed, minor=0)
    tax = _find_total(order, "total_tax", SHOP) or nothing
    shipping = _find_total(order, "total_shipping_price", SHOP) or nothing
    rest = placed - shipping - (nothing if included else tax)
    goods = _find_total(order, "subtotal_price", SHOP) or rest
    if goods == rest:
        # Nothing is left for the tip beside the subtotal, so it is inside.
        goods -= _find_total(order, "total_tip_received", SHOP) or nothing
    cards = (each for each in objects(order.get("line_items")) if each.get("gift_card") is True)
    goods -= sum((_line_amount(each, currency) for each in cards), nothing)
    return goods - (_goods_tax(order, currency) if included else nothing)


def _goods_tax(order: Json, currency: str) -> Money:
    """Return the tax on goods: all but that on shipping, or else that on the lines.

    The lines of an order that was edited hold what the edit added, its totals as placed do not.
    """
    nothing = Money(0, currency)
    total = _find_total(order, "total_tax", SHOP)
    if total is None or not isinstance(order.get("shipping_lines"), list):
        return _taxes(order.get("line_items"), nothing)
    return total - _taxes(order.get("shipping_lines"), nothing)


def _taxes(lines: object, nothing: Money) -> Money:
    taxes = (each for line in objects(lines) for each in objects(line.get("tax_lines")))
    return sum((_rough(each.get("price"), nothing.currency) for each in taxes), nothing)


def _line_amount(line: Json, currency: str) -> Money:
    amount = _rough(line.get("price"), currency).scale(_pieces(line), 1)
    allocations = objects(line.get("discount_allocations"))
    return amount - sum(
        (_rough(each.get("amount"), currency) for each in allocations), Money(0, currency)
    )


def _pieces(line: Json) -> int:
    pieces = line.get("quantity")
    if isinstance(pieces, bool) or not isinstance(pieces, int):
        return 1
    return min(max(pieces, 0), MOST_PIECES)


# ── amounts ──────────────────────────────────────────────────────────────────────────────────────


def _total(order: Json, field: str, side: str) -> Money:
    """Return a total that must be there."""
    found = _find_total(order, field, side)
    if found is None:
        raise MoneyError(f"order {text(order.get('id'))[:20]} has no {field}")
    return found


def _find_total(order: Json, field: str, side: str) -> Money | None:
    """Return a total of an order, in the shop's currency or the buyer's, if it is told."""
    both = dig(order, f"{field}_set", side)
    if dig(both, "amount") is not None:
        return money(both["amount"], both.get("currency_code"))
    if side == SHOP and order.get(field) is not None:
        return money(order[field], order.get("currency"))
    return None


def _rough(amount: object, currency: str) -> Money:
    """Read an amount of a line, rounded to what its currency has."""
    try:
        value = Decimal(text(amount) or "0")
    except InvalidOperation:
        raise MoneyError(f"{text(amount)[:40]!r} is not an amount") from None
    if not value.is_finite() or value.adjusted() >= MOST_DIGITS:
        raise MoneyError(f"{text(amount)[:40]!r} is not a plausible amount")
    return Money.from_minor(int(value.scaleb(LINE_DECIMALS)), currency, LINE_DECIMALS, exact=False)
