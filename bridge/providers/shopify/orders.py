"""The money of an order: what was paid, and what of it was neither tax nor shipping.

https://shopify.dev/docs/api/admin-rest/latest/resources/order: the plain totals are of the order
as placed, in the shop's currency; the `current_` ones move with edits, returns and refunds.
"""

from __future__ import annotations

from collections.abc import Iterable
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
REFUND_LINES = ("refund_line_items", "refund_shipping_lines")


def paid_of(order: Json) -> tuple[Money, Money | None]:
    """Return what was paid, in the shop's currency and in the buyer's where that is another."""
    shop, buyers = _paid(order, SHOP), _find_total(order, "total_price", BUYER)
    if buyers is None or buyers.currency == shop.currency:
        return shop, None
    return shop, buyers if shop == _total(order, "total_price", SHOP) else _paid(order, BUYER)


def net_of(order: Json, paid: Money) -> Money:
    """Return what of the money paid was neither tax nor shipping, gift card nor tip.

    What an edit added to the order as placed, or took from it, is goods and the tax on them, or
    gift cards that it took out.
    """
    placed = _total(order, "total_price", SHOP)
    goods, tax = _goods(order, placed), _goods_tax(order, placed.currency)
    priced = goods.minor + tax.minor > 0
    edited = paid - placed
    if edited.minor < 0:
        cards = _cards(order, placed.currency, gone=True)
        edited = replace(edited, minor=min(edited.minor + cards.minor, 0))
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

    A look-up tells it. Of a webhook it is worked out: what the order comes to by now, less what is
    still owed (below zero: what the buyer is to get back), and what already went back.
    """
    placed = _total(order, "total_price", side)
    received = _find_total(order, "total_received", side)
    paid = received or _worked_out(order, placed, side)
    if abs(paid.minor - placed.minor) <= _rounded_away(order):
        return placed
    return replace(paid, minor=max(paid.minor, 0))


def _worked_out(order: Json, placed: Money, side: str) -> Money:
    now, refunds = _now(order, side), objects(order.get("refunds"))
    paid = now - _outstanding(order, side) + _given_back(order, refunds, side)
    paid += _kept(order, refunds, side)
    # Whether a refund of no line makes the current total shrink is not documented.
    of_lines = [each for each in refunds if any(objects(each.get(name)) for name in REFUND_LINES)]
    most = max(placed.minor, (now + _given_back(order, of_lines, side)).minor)
    return replace(paid, minor=min(paid.minor, most))


def _now(order: Json, side: str) -> Money:
    """Return what an order comes to after edits, returns and refunds."""
    own = _find_total(order, "current_total_price", side)
    in_shop = _find_total(order, "current_total_price", SHOP)
    if own is None and in_shop is not None:
        return _converted(order, in_shop, side)
    return own or _total(order, "total_price", side)


def _rounded_away(order: Json) -> int:
    """Return how many minor units rounding may come to: each refund is converted by itself."""
    shop, buyers = (_find_total(order, "total_price", side) for side in (SHOP, BUYER))
    if buyers is None or shop is None or buyers.currency == shop.currency:
        return 0
    return sum(len(objects(each.get("transactions"))) for each in objects(order.get("refunds")))


def _outstanding(order: Json, side: str) -> Money:
    """Return what is still to be paid; below zero, what the buyer is to get back."""
    in_shop = _find_total(order, "total_outstanding", SHOP)
    if in_shop is None:
        return replace(_total(order, "total_price", side), minor=0)
    return in_shop if side == SHOP else _converted(order, in_shop, BUYER)


def _given_back(order: Json, refunds: Iterable[Json], side: str) -> Money:
    """Return what went back by refunds that came through."""
    nothing = replace(_total(order, "total_price", side), minor=0)
    currencies = [order.get("presentment_currency") or order.get("currency")]
    back: dict[str, Money] = {}
    for refund in refunds:
        for each in in_currency(refund.get("transactions"), currencies):
            came_through = REFUND_STATES.get(text(each.get("status"))) is PaymentState.COUNTS
            if each.get("kind") == "refund" and came_through:
                amount = transaction_money(each)
                back[amount.currency] = amount + back.get(amount.currency, replace(amount, minor=0))
    # The sum is converted, not each part: parts that make up the whole must amount to the whole.
    own = (_converted(order, each, side) for each in back.values())
    return sum(own, nothing)


def _kept(order: Json, refunds: Iterable[Json], side: str) -> Money:
    """Return what goods that came back were worth beyond the money that was given for them."""
    nothing = replace(_total(order, "total_price", SHOP), minor=0)
    gaps = (
        _rough(gap.get("amount"), nothing.currency)
        for refund in refunds
        for gap in objects(refund.get("order_adjustments"))
    )
    return _converted(order, sum((each for each in gaps if each.minor > 0), nothing), side)


def _converted(order: Json, amount: Money, side: str) -> Money:
    """Turn an amount into one of the order's currencies, at the order's own rate."""
    wanted = _total(order, "total_price", side)
    if amount.currency == wanted.currency:
        return amount
    if not amount.minor:
        return replace(wanted, minor=0)
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
    goods = _find_total(order, "subtotal_price", SHOP)
    if goods is None:
        tip = _find_total(order, "total_tip_received", SHOP) or nothing
        goods = placed - shipping - tip - (nothing if included else tax)
    goods -= _cards(order, currency)
    return goods - (_goods_tax(order, currency) if included else nothing)


def _cards(order: Json, currency: str, *, gone: bool = False) -> Money:
    """Return what the gift cards of an order cost, or those that are no longer in it."""
    found = Money(0, currency)
    for each in objects(order.get("line_items")):
        if each.get("gift_card") is True:
            amount, pieces = _line_amount(each, currency), _pieces(each)
            left = _pieces(each, "current_quantity", pieces)
            found += amount.scale(max(pieces - left, 0), max(pieces, 1)) if gone else amount
    return found


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


def _pieces(line: Json, field: str = "quantity", otherwise: int = 1) -> int:
    pieces = line.get(field)
    if isinstance(pieces, bool) or not isinstance(pieces, int):
        return otherwise
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
