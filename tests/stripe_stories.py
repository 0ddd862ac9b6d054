"""Random lives of a subscription, told as the events that Stripe would send."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from cases import unsigned
from hypothesis import strategies as st
from kit import Sent
from story import left

START = 1_794_000_000  # in November 2026
CUSTOMER = "cus_story"
# Stripe counts dinars in thousands of which the last digit is 0.
STEPS = {"EUR": 1, "JPY": 1, "KWD": 10}


@dataclass
class Order:
    """Hold one invoice, and what went back of it by refunds that came through."""

    number: int
    paid: int
    tax: int
    refunds: dict[str, int] = field(default_factory=dict)
    lost: bool = False

    @property
    def rest(self) -> int:
        """Return what can still go back."""
        return self.paid - sum(self.refunds.values())

    @property
    def source(self) -> dict[str, str]:
        """Return what its refunds and disputes name."""
        return {"charge": f"ch_{self.number}", "payment_intent": f"pi_{self.number}"}

    @property
    def due(self) -> int:
        """Return what is left of the net."""
        taken = self.paid if self.lost else sum(self.refunds.values())
        return left(self.paid - self.tax, self.paid, taken)


@dataclass
class Story:
    """Collect the events of a subscription's invoices, in the order in which they happened."""

    currency: str = "EUR"
    customer: str = f"stripe:{CUSTOMER}"
    orders: list[Order] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    @property
    def requests(self) -> list[Sent]:
        """Return the events as Stripe sends them."""
        return [("stripe", unsigned(event)) for event in self.events]

    @property
    def due(self) -> dict[str, int]:
        """Return what is left of each order."""
        return {f"in_{each.number}": each.due for each in self.orders}

    def tell(self, kind: str, thing: dict[str, Any]) -> None:
        """Add an event about an object."""
        at = START + 60 * len(self.events)
        currency = self.currency.lower()
        event = {
            "id": f"evt_{len(self.events)}",
            "object": "event",
            "type": kind,
            "created": at,
            "livemode": True,
            "data": {"object": {"currency": currency, "created": at, **thing}},
        }
        self.events.append(json.dumps(event))

    def sale(self, paid: int, tax: int) -> Order:
        """Pay an invoice: the link, the sale, and the sale by its other name."""
        order = Order(len(self.orders), paid, tax)
        self.orders.append(order)
        invoice = {
            "id": f"in_{order.number}",
            "object": "invoice",
            "status": "paid",
            "customer": CUSTOMER,
            "amount_paid": paid,
            "total": paid,
            "total_excluding_tax": paid - tax,
            "parent": {"subscription_details": {"subscription": "sub_story"}},
        }
        intent = order.source["payment_intent"]
        link = {
            "id": f"inpay_{order.number}",
            "object": "invoice_payment",
            "invoice": invoice["id"],
            "amount_paid": paid,
            "payment": {"type": "payment_intent", "payment_intent": intent},
        }
        charge = {"id": order.source["charge"], "object": "charge", "payment_intent": intent}
        self.tell("charge.succeeded", charge)
        self.tell("invoice_payment.paid", link)
        self.tell("invoice.paid", invoice)
        self.tell("invoice.payment_succeeded", invoice)
        return order

    def refund(self, order: Order, amount: int) -> None:
        """Refund a part: pending, then succeeded, with the charge's running total."""
        id = f"re_{order.number}_{len(order.refunds)}"
        order.refunds[id] = amount
        self._refund(order, id, "refund.created", "pending")
        total = {
            "id": order.source["charge"],
            "object": "charge",
            "payment_intent": order.source["payment_intent"],
            "amount_refunded": sum(order.refunds.values()),
        }
        self.tell("charge.refunded", total)
        self._refund(order, id, "refund.updated", "succeeded")

    def fail(self, order: Order) -> None:
        """Have the last refund fail after all."""
        if order.refunds:
            id = list(order.refunds)[-1]
            self._refund(order, id, "refund.failed", "failed")
            del order.refunds[id]

    def dispute(self, order: Order, *, won: bool) -> None:
        """Have the bank dispute everything, and decide it."""
        order.lost = not won
        for kind, status in (
            ("charge.dispute.created", "needs_response"),
            ("charge.dispute.funds_withdrawn", "needs_response"),
            *((("charge.dispute.funds_reinstated", "won"),) if won else ()),
            ("charge.dispute.closed", "won" if won else "lost"),
        ):
            thing = {
                "id": f"du_{order.number}",
                "object": "dispute",
                "amount": order.paid,
                "status": status,
                **order.source,
            }
            self.tell(kind, thing)

    def _refund(self, order: Order, id: str, kind: str, status: str) -> None:
        thing = {
            "id": id,
            "object": "refund",
            "amount": order.refunds[id],
            "status": status,
            **order.source,
        }
        self.tell(kind, thing | {"created": START + int(id.rpartition("_")[2])})


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Draw a subscription of a payment or two, in a currency with 2, 0 or 3 decimals."""
    story = Story(draw(st.sampled_from(sorted(STEPS))))
    step = STEPS[story.currency]
    for _ in range(draw(st.integers(1, 2))):
        paid = draw(st.integers(100, 10_000)) * step
        order = story.sale(paid, tax=draw(st.integers(0, paid // step // 3)) * step)
        _give_back(draw, story, order, step)
    return story


def _give_back(draw: st.DrawFn, story: Story, order: Order, step: int) -> None:
    """Draw what goes back: refunds in parts, some of which fail, perhaps a dispute."""
    for _ in range(draw(st.integers(0, 3))):
        if order.rest > 0:
            parts = st.just(order.rest) | st.integers(1, order.rest // step).map(step.__mul__)
            story.refund(order, draw(parts))
        if draw(st.booleans()):
            story.fail(order)
    if draw(st.booleans()):
        story.dispute(order, won=draw(st.booleans()))
