"""Random lives of a Paddle subscription, told as the events that Paddle would send."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from cases import unsigned
from hypothesis import strategies as st
from kit import Sent

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
CUSTOMER = "ctm_story"
SUBSCRIPTION = "sub_story"


@dataclass
class Order:
    """Hold what was paid of one transaction, and what of its net and its tax is left."""

    id: str
    paid: int
    net: int
    net_left: int = field(init=False)
    tax_left: int = field(init=False)
    due: Fraction = field(init=False)

    def __post_init__(self) -> None:
        self.net_left, self.tax_left = self.net, self.paid - self.net
        self.due = Fraction(self.net)

    @property
    def left(self) -> int:
        """Return what could still go back."""
        return self.net_left + self.tax_left

    def take(self, net: int, tax: int, worth: Fraction) -> None:
        """Take back a part: `worth` is what it takes of what is due (a negative one returns it)."""
        self.net_left, self.tax_left = self.net_left - net, self.tax_left - tax
        self.due -= worth


@dataclass
class Story:
    """Collect the events of one subscription's orders, in the order in which they happened."""

    currency: str
    customer: str = f"paddle:{CUSTOMER}"
    events: list[str] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    adjustments: int = 0

    @property
    def requests(self) -> list[Sent]:
        """Return the events as Paddle sends them."""
        return [("paddle", unsigned(event)) for event in self.events]

    @property
    def due(self) -> dict[str, int]:
        """Return what is left of each net: nothing where all went back."""
        return {each.id: round(each.due) if each.left else 0 for each in self.orders}

    def tell(self, kind: str, thing: dict[str, Any]) -> None:
        """Add an event about an entity."""
        event = {
            "event_id": f"evt_{len(self.events)}",
            "event_type": kind,
            "occurred_at": self._now(),
            "notification_id": f"ntf_{len(self.events)}",
            "data": {"customer_id": CUSTOMER, "currency_code": self.currency, **thing},
        }
        self.events.append(json.dumps(event))

    def sale(self, total: int, tax: int, origin: str, credit: int = 0) -> Order:
        """Pay a transaction: billed, paid, completed; in money, or from the customer's credit."""
        paid = max(total, 0)
        order = Order(f"txn_{len(self.orders)}", paid, paid - tax if paid else 0)
        self.orders.append(order)
        totals = {
            "subtotal": str(total - tax),
            "discount": "0",
            "tax": str(tax),
            "total": str(total),
            "credit": str(credit),
            "credit_to_balance": str(max(-total, 0)),
            "grand_total": str(paid - credit),
        }
        thing = {
            "id": order.id,
            "origin": origin,
            "subscription_id": SUBSCRIPTION,
            "details": {"totals": totals},
            "payments": [{"status": "captured", "captured_at": self._now()}],
        }
        for status in ("billed", "paid", "completed"):
            self.tell(f"transaction.{status}", thing | {"status": status})
        return order

    def refund(self, order: Order, net: int, tax: int, *statuses: str, action: str) -> str:
        """Adjust a transaction: created in the first status, then updated to the others."""
        self.adjustments += 1
        id = f"adj_{self.adjustments}"
        for number, status in enumerate(statuses):
            kind = "adjustment.updated" if number else "adjustment.created"
            self.tell(kind, adjustment(order, id, net, tax, status=status, action=action))
        return id

    def dispute(self, order: Order, *, won: bool) -> None:
        """Have the bank take back the rest; if won, an adjustment of its own returns it."""
        net, tax, rest = order.net_left, order.tax_left, order.due
        self.refund(order, net, tax, "approved", action="chargeback_warning")
        id = self.refund(order, net, tax, "approved", action="chargeback")
        if won:
            lost = adjustment(order, id, net, tax, status="reversed", action="chargeback")
            self.tell("adjustment.updated", lost)
            self.refund(order, net, tax, "approved", action="chargeback_reverse")
        else:
            order.take(net, tax, rest)

    def _now(self) -> str:
        return (START + timedelta(minutes=len(self.events))).isoformat().replace("+00:00", "Z")


def adjustment(order: Order, id: str, net: int, tax: int, **facts: str) -> dict[str, Any]:
    """Return an adjustment of a transaction."""
    totals = {"subtotal": str(net), "tax": str(tax), "total": str(net + tax)}
    return {"id": id, "transaction_id": order.id, "totals": totals, "items": [], **facts}


# What becomes of an adjustment, and whether it takes its amount back in the end.
ENDS = [
    ("refund", ("pending_approval", "approved"), True),
    ("refund", ("approved",), True),
    ("credit", ("approved",), True),
    ("refund", ("pending_approval",), False),
    ("refund", ("pending_approval", "rejected"), False),
    ("refund", ("pending_approval", "approved", "reversed"), False),
    ("gift", ("approved",), False),
]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Draw a subscription: paid, changed for nothing or less, renewed; orders go back in parts."""
    story = Story(draw(st.sampled_from(["EUR", "JPY"])))
    story.tell("customer.created", {"id": CUSTOMER, "email": "story@example.com"})
    first = _sale(draw, story, "web")
    _take_back(draw, story, first)
    if draw(st.booleans()):
        story.sale(0, 0, "subscription_payment_method_change")
    if draw(st.booleans()):
        story.sale(-draw(st.integers(1, 5000)), 0, "subscription_update")
    if draw(st.booleans()):
        _take_back(draw, story, _sale(draw, story, "subscription_recurring"))
    return story


def _sale(draw: st.DrawFn, story: Story, origin: str) -> Order:
    total = draw(st.integers(100, 10_000))
    credit = draw(st.just(0) | st.just(total) | st.integers(1, total))
    return story.sale(total, draw(st.integers(0, total // 3)), origin, credit)


def _take_back(draw: st.DrawFn, story: Story, order: Order) -> None:
    for _ in range(draw(st.integers(0, 3)) if order.paid else 0):
        _take_part(draw, story, order)
    if draw(st.booleans()) and order.tax_left:
        tax = order.tax_left
        story.refund(order, 0, tax, "approved", action="refund")
        order.take(0, tax, Fraction(0))
    if draw(st.booleans()) and order.left:
        story.dispute(order, won=draw(st.booleans()))
    if draw(st.booleans()) and order.left:
        net, tax = order.net_left, order.tax_left
        story.refund(order, net, tax, "approved", action="refund")
        order.take(net, tax, order.due)


def _take_part(draw: st.DrawFn, story: Story, order: Order) -> None:
    """Take back a part, its tax in proportion: as much of what is due as of what was paid."""
    amount = draw(st.integers(1, order.paid))
    net = round(Fraction(amount * order.net, order.paid))
    if net > order.net_left or amount - net > order.tax_left or amount == order.left:
        return
    action, statuses, takes = draw(st.sampled_from(ENDS))
    id = story.refund(order, net, amount - net, *statuses, action=action)
    worth = Fraction(amount * order.net, order.paid)
    if takes:
        order.take(net, amount - net, worth)
    if action == "credit" and draw(st.booleans()):
        undone = adjustment(order, id, net, amount - net, status="reversed", action="credit")
        story.tell("adjustment.updated", undone)
        story.refund(order, net, amount - net, "approved", action="credit_reverse")
        order.take(-net, net - amount, -worth)
