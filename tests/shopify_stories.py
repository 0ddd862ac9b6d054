"""Random lives of a customer's orders, told as the webhooks that Shopify would send."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from cases import unsigned
from hypothesis import strategies as st
from kit import Sent
from story import left

from bridge.money import Money

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
SHOP = "acme.myshopify.com"
CUSTOMER = 7012345678901


@dataclass
class Order:
    """Hold one order: what was placed and paid for what, and what went back of it.

    `added` is what an edit added and the buyer paid, `removed` what an edit took out once it was
    paid, both with the tax on it; `owed` is what is still to be paid of what was added.
    """

    id: int
    currency: str
    net: int
    tax: int
    shipping: int
    included: bool
    buyers: int  # what the buyer paid, in the buyer's currency
    buyers_currency: str
    added: int = 0
    owed: int = 0
    removed: int = 0
    placed_at: str = ""
    refunds: dict[int, dict[str, Any]] = field(default_factory=dict)
    charged_back: bool = False

    @property
    def placed(self) -> int:
        return self.net + self.tax + self.shipping

    @property
    def paid(self) -> int:
        return self.placed + self.added - self.owed

    @property
    def goods(self) -> int:
        """Return what of the money paid was net: of what was added, as much as of the goods."""
        added = self.added - self.owed
        return self.net + round(Fraction(added * self.net, self.net + self.tax))

    @property
    def refunded(self) -> int:
        """Return what went back, in the buyer's currency."""
        return self.units("success")

    @property
    def rest(self) -> int:
        """Return what can still go back: not what is on its way already."""
        return self.buyers - self.units("success") - self.units("pending")

    @property
    def due(self) -> int:
        """Return what is left of the net, in the shop's currency."""
        if self.charged_back:
            return 0
        taken = round(Fraction(self.refunded * self.paid, self.buyers))
        return left(self.goods, self.paid, taken)

    def units(self, status: str, *reasons: str) -> int:
        """Return what refunds come to, of all reasons or of some."""
        found = (
            each
            for each in self.refunds.values()
            if each["status"] == status and (not reasons or each["reason"] in reasons)
        )
        return sum(int(each["units"]) for each in found)


@dataclass
class Story:
    """Collect the webhooks about a customer's orders, in the order in which things happened."""

    currency: str
    customer: str = f"shopify:{CUSTOMER}"
    orders: list[Order] = field(default_factory=list)
    requests: list[Sent] = field(default_factory=list)

    @property
    def due(self) -> dict[str, int]:
        """Return what must be credited of each order."""
        return {f"{SHOP}/{each.id}": each.due for each in self.orders}

    @property
    def now(self) -> str:
        """Return when the next thing happens."""
        return (START + timedelta(minutes=len(self.requests))).isoformat()

    def tell(self, topic: str, body: dict[str, Any]) -> None:
        """Add a webhook."""
        request = unsigned(
            json.dumps(body),
            x_shopify_topic=topic,
            x_shopify_shop_domain=SHOP,
            x_shopify_webhook_id=f"webhook_{len(self.requests)}",
            x_shopify_triggered_at=self.now,
        )
        self.requests.append(("shopify", request))

    def sale(self, order: Order) -> None:
        """Have an order placed and paid."""
        order.placed_at = self.now
        self.orders.append(order)
        sale = {"id": order.id + 1, "kind": "sale", "units": order.buyers, "status": "success"}
        self.tell("order_transactions/create", self._transaction(order, sale))
        self._order("orders/paid", order)

    def edit_up(self, order: Order, units: int) -> None:
        """Add goods to an order that was paid, and have the buyer pay for them later."""
        order.added = order.owed = units
        self._edit(order)
        order.owed = 0
        order.buyers += units
        self._order("orders/paid", order)

    def edit_down(self, order: Order, units: int) -> None:
        """Take goods out of an order that was paid, and give back what they cost."""
        order.removed = units
        self._edit(order)
        self.refund(order, units, ends="at once", reason="edit")

    def refund(self, order: Order, units: int, *, ends: str, reason: str = "return") -> None:
        """Refund a part: at once, or pending until it succeeds or fails.

        Only a return lists lines; neither goodwill nor the money for goods that an edit took out
        makes the current total shrink (once more).
        """
        id = order.id + 100 + len(order.refunds)
        refund = {"id": id, "kind": "refund", "units": units, "reason": reason}
        refund["status"] = "success" if ends == "at once" else "pending"
        order.refunds[id] = refund
        transactions = [self._transaction(order, refund)]
        self.tell("refunds/create", {**self._refund(order, id), "transactions": transactions})
        self._order("orders/updated", order)
        if ends in {"success", "failure"}:
            refund["status"] = ends
            self.tell("order_transactions/create", self._transaction(order, refund))
            self._order("orders/updated", order)

    def return_goods(self, order: Order) -> None:
        """Put goods back on the shelf without giving money back."""
        self.tell("refunds/create", {**self._refund(order, order.id + 99), "transactions": []})

    def dispute(self, order: Order, *, won: bool) -> None:
        """Have the bank ask about all that is left, charge it back, and decide."""
        dispute = {
            "id": order.id + 9,
            "order_id": order.id,
            "amount": Money(order.rest, order.buyers_currency).format(),
            "currency": order.buyers_currency,
            "reason": "fraudulent",
            "initiated_at": self.now,
            "finalized_on": None,
        }
        asked = {**dispute, "type": "inquiry", "status": "needs_response"}
        self.tell("disputes/create", asked)
        charged = {**dispute, "type": "chargeback", "status": "needs_response"}
        self.tell("disputes/update", charged)
        self.tell("disputes/update", {**charged, "status": "under_review"})
        decided = {"status": "won" if won else "lost", "finalized_on": "2026-11-20"}
        self.tell("disputes/update", {**charged, **decided})
        order.charged_back = not won

    def _edit(self, order: Order) -> None:
        edit = {"id": order.id + 7, "order_id": order.id, "committed_at": self.now}
        self.tell("orders/edited", {"order_edit": edit})
        self._order("orders/updated", order)

    def _order(self, topic: str, order: Order) -> None:
        returned = order.units("success", "return")
        back = round(Fraction(returned * order.paid, order.buyers)) + order.removed
        owed = order.owed - order.removed + order.units("success", "edit")
        goods = order.net + order.tax if order.included else order.net
        body = {
            "id": order.id,
            "updated_at": self.now,
            "processed_at": order.placed_at,
            "financial_status": _status(order),
            "currency": order.currency,
            "presentment_currency": order.buyers_currency,
            "taxes_included": order.included,
            "customer": {"id": CUSTOMER},
            "total_outstanding": self._amount(owed),
            "subtotal_price": self._amount(goods),
            "total_tax": self._amount(order.tax),
            "total_price": self._amount(order.placed),
            "total_price_set": {
                "shop_money": self._money(order.placed, order.currency),
                "presentment_money": self._money(
                    order.buyers - order.added + order.owed, order.buyers_currency
                ),
            },
            "current_total_price": self._amount(order.paid + order.owed - back),
            "line_items": [{"name": "Goods", "price": self._amount(goods), "quantity": 1}],
            "shipping_lines": [{"price": self._amount(order.shipping), "tax_lines": []}],
            "refunds": [
                {
                    **self._refund(order, id),
                    "transactions": [self._transaction(order, each)],
                }
                for id, each in order.refunds.items()
            ],
        }
        self.tell(topic, body)

    def _refund(self, order: Order, id: int) -> dict[str, Any]:
        told = {"id": id + 5000, "order_id": order.id, "processed_at": self.now}
        of_lines = order.refunds.get(id, {}).get("reason", "return") == "return"
        return {**told, "refund_line_items": [{"id": id + 6000}] if of_lines else []}

    def _transaction(self, order: Order, what: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": what["id"],
            "order_id": order.id,
            "kind": what["kind"],
            "status": what["status"],
            "amount": Money(what["units"], order.buyers_currency).format(),
            "currency": order.buyers_currency,
            "processed_at": self.now,
        }

    def _amount(self, units: int) -> str:
        return Money(units, self.currency).format()

    def _money(self, units: int, currency: str) -> dict[str, str]:
        return {"amount": Money(units, currency).format(), "currency_code": currency}


def _status(order: Order) -> str:
    if order.owed:
        return "partially_paid"
    if not order.refunded:
        return "paid"
    return "refunded" if order.refunded == order.buyers else "partially_refunded"


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Draw a customer with an order or two: paid, refunded in parts, perhaps charged back."""
    story = Story(draw(st.sampled_from(["EUR", "JPY", "KWD"])))
    for number in range(draw(st.integers(1, 2))):
        order = draw(_orders(story.currency, number))
        story.sale(order)
        _edit(draw, story, order)
        _give_back(draw, story, order)
    return story


@st.composite
def _orders(draw: st.DrawFn, currency: str, number: int) -> Order:
    net = draw(st.integers(100, 10_000))
    tax, shipping = draw(st.integers(0, net // 3)), draw(st.integers(0, net // 5))
    abroad = draw(st.booleans())
    return Order(
        id=5570123450000 + 10_000 * number,
        currency=currency,
        net=net,
        tax=tax,
        shipping=shipping,
        included=draw(st.booleans()),
        buyers=draw(st.integers(100, 10_000)) if abroad else net + tax + shipping,
        buyers_currency="USD" if abroad else currency,
    )


def _edit(draw: st.DrawFn, story: Story, order: Order) -> None:
    """Edit an order, or not; one paid in another currency is not edited."""
    if order.buyers_currency != order.currency:
        return
    what = draw(st.sampled_from(["nothing", "up", "down"]))
    if what == "up":
        story.edit_up(order, draw(st.integers(1, 5_000)))
    if what == "down":
        story.edit_down(order, draw(st.integers(1, order.net + order.tax)))


def _give_back(draw: st.DrawFn, story: Story, order: Order) -> None:
    if draw(st.booleans()):
        story.return_goods(order)
    for _ in range(draw(st.integers(0, 3))):
        if order.rest > 0:
            units = draw(st.just(order.rest) | st.integers(1, order.rest))
            ends = draw(st.sampled_from(["at once", "success", "failure", "never"]))
            reason = draw(st.sampled_from(["return", "return", "goodwill"]))
            story.refund(order, units, ends=ends, reason=reason)
    settled = order.rest == order.buyers - order.refunded
    if order.rest > 0 and settled and draw(st.booleans()):
        story.dispute(order, won=draw(st.booleans()))
