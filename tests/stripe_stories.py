"""Random lives of a Stripe order, told as the events that Stripe would send."""

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


@dataclass
class Story:
    """Collect the events of one invoice, in the order in which they happened."""

    paid: int
    tax: int
    customer: str = f"stripe:{CUSTOMER}"
    currency: str = "EUR"
    lost: bool = False
    events: list[str] = field(default_factory=list)
    refunds: dict[str, int] = field(default_factory=dict)

    @property
    def requests(self) -> list[Sent]:
        """Return the events as Stripe sends them."""
        return [("stripe", unsigned(event)) for event in self.events]

    @property
    def due(self) -> dict[str, int]:
        """Return what is left of the net."""
        taken = self.paid if self.lost else sum(self.refunds.values())
        return {"in_story": left(self.paid - self.tax, self.paid, taken)}

    def tell(self, kind: str, thing: dict[str, Any]) -> None:
        """Add an event about an object."""
        at = START + 60 * len(self.events)
        event = {
            "id": f"evt_{len(self.events)}",
            "object": "event",
            "type": kind,
            "created": at,
            "livemode": True,
            "data": {"object": {"currency": "eur", "created": at, **thing}},
        }
        self.events.append(json.dumps(event))

    def sale(self) -> None:
        """Pay the invoice: the link, the sale, and the sale by its other name."""
        invoice = {
            "id": "in_story",
            "object": "invoice",
            "status": "paid",
            "customer": CUSTOMER,
            "amount_paid": self.paid,
            "total": self.paid,
            "total_excluding_tax": self.paid - self.tax,
        }
        link = {
            "id": "inpay_story",
            "object": "invoice_payment",
            "invoice": "in_story",
            "amount_paid": self.paid,
            "payment": {"type": "payment_intent", "payment_intent": "pi_story"},
        }
        charge = {"id": "ch_story", "object": "charge", "payment_intent": "pi_story"}
        self.tell("charge.succeeded", charge)
        self.tell("invoice_payment.paid", link)
        self.tell("invoice.paid", invoice)
        self.tell("invoice.payment_succeeded", invoice)

    def refund(self, amount: int) -> None:
        """Refund a part: pending, then succeeded, with the charge's running total."""
        id = f"re_{len(self.refunds)}"
        self.refunds[id] = amount
        self._refund(id, "refund.created", "pending")
        total = {
            "id": "ch_story",
            "object": "charge",
            "payment_intent": "pi_story",
            "amount_refunded": sum(self.refunds.values()),
        }
        self.tell("charge.refunded", total)
        self._refund(id, "refund.updated", "succeeded")

    def fail(self) -> None:
        """Have the last refund fail after all."""
        if self.refunds:
            id = list(self.refunds)[-1]
            self._refund(id, "refund.failed", "failed")
            del self.refunds[id]

    def dispute(self, *, won: bool) -> None:
        """Have the bank dispute everything, and decide it."""
        self.lost = not won
        for kind, status in (
            ("charge.dispute.created", "needs_response"),
            ("charge.dispute.funds_withdrawn", "needs_response"),
            *((("charge.dispute.funds_reinstated", "won"),) if won else ()),
            ("charge.dispute.closed", "won" if won else "lost"),
        ):
            thing = {
                "id": "du_story",
                "object": "dispute",
                "amount": self.paid,
                "status": status,
                "charge": "ch_story",
                "payment_intent": "pi_story",
            }
            self.tell(kind, thing)

    def _refund(self, id: str, kind: str, status: str) -> None:
        thing = {
            "id": id,
            "object": "refund",
            "amount": self.refunds[id],
            "status": status,
            "charge": "ch_story",
            "payment_intent": "pi_story",
        }
        self.tell(kind, thing | {"created": START + int(id.partition("_")[2])})


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Draw the life of an order: paid, refunded in parts, some failing, perhaps disputed."""
    paid = draw(st.integers(100, 10_000))
    story = Story(paid, tax=draw(st.integers(0, paid // 3)))
    story.sale()
    for _ in range(draw(st.integers(0, 3))):
        left = story.paid - sum(story.refunds.values())
        if left > 0:
            story.refund(draw(st.one_of(st.just(left), st.integers(1, left))))
        if draw(st.booleans()):
            story.fail()
    if draw(st.booleans()):
        story.dispute(won=draw(st.booleans()))
    return story
