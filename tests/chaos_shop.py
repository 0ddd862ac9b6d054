"""A random shop: what Stripe sends of its orders, the clicks of its customers, and what is due.

The reference model of the fault harness: it knows Stripe's objects and the promise, and nothing of
the code under test. The same seed makes the same shop.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from story import left

START = 1_793_700_000  # in November 2026
CLICKED_AT = "2026-11-02T12:00:00Z"
DECIMALS = {"EUR": 2, "USD": 2, "JPY": 0}
SECRET = "whsec_made_up_for_tests"

# What may become of an order, and how often of a hundred.
KINDS = {"plain": 46, "part": 18, "parts": 9, "whole": 9, "failed": 7, "won": 6, "lost": 5}
RARE = {"free": 2, "orphan": 2}
CLICKLESS = 0.05
REPEATED = 0.08


@dataclass(frozen=True)
class Webhook:
    """Hold an event of Stripe's: sent once or more often, always under the same id."""

    id: str
    body: bytes

    def headers(self) -> dict[str, str]:
        """Sign it, now, as Stripe does."""
        at = int(time.time())
        signed = hmac.new(SECRET.encode(), f"{at}.".encode() + self.body, hashlib.sha256)
        return {
            "Stripe-Signature": f"t={at},v1={signed.hexdigest()}",
            "Content-Type": "application/json",
        }


@dataclass(frozen=True)
class Visitor:
    """Hold a customer, and what the merchant's server tells of how they came."""

    number: int
    clicked: bool = True

    @property
    def id(self) -> str:
        return f"cus_{self.number:04}"

    @property
    def clicks(self) -> dict[str, str]:
        """Return the click at each vendor that has ids of them."""
        return {
            "taapit": f"tid_{self.number:04}",
            "codeqr": f"clk_{self.number:04}",
            "trackdesk": f"cid-{self.number:04}",
            "tapfiliate": f"click_{self.number:04}",
        }

    @property
    def body(self) -> dict[str, Any]:
        """Return the body of POST /clicks."""
        return {
            "customer": {"stripe": self.id},
            "clicks": self.clicks,
            "context": {
                "ip": f"203.0.113.{self.number % 250 + 1}",
                "user_agent": f"Mozilla/5.0 (visitor {self.number})",
                "url": "https://shop.example/",
            },
            "occurred_at": CLICKED_AT,
        }


@dataclass
class Order:
    """Hold one invoice, and all that ever went back of it."""

    number: int
    visitor: Visitor
    currency: str
    paid: int
    tax: int
    sold: bool = True
    refunds: dict[str, int] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    disputed: bool = False
    lost: bool = False

    @property
    def id(self) -> str:
        return f"in_{self.number:04}"

    @property
    def source(self) -> dict[str, str]:
        """Return what its refunds and disputes name."""
        return {"charge": f"ch_{self.number:04}", "payment_intent": f"pi_{self.number:04}"}

    @property
    def due(self) -> int:
        """Return what is to be credited in the end, in minor units."""
        back = sum(amount for id, amount in self.refunds.items() if id not in self.failed)
        return self._left(self.paid if self.lost else back) if self.sold else 0

    @property
    def credited(self) -> int:
        """Return what the vendors are to credit: nothing where nobody sent the customer."""
        return self.due if self.visitor.clicked else 0

    @property
    def readings(self) -> set[int]:
        """Return every amount it may have been worth at some moment, however its events came."""
        if not (self.sold and self.visitor.clicked):
            return set()
        amounts = list(self.refunds.values())
        backs = {sum(some) for n in range(len(amounts) + 1) for some in combinations(amounts, n)}
        return {self._left(back) for back in backs} - {0}

    def _left(self, back: int) -> int:
        return left(self.paid - self.tax, self.paid, back) if self.paid else 0


@dataclass
class Shop:
    """Collect what happens, in the order in which it reaches us."""

    orders: list[Order] = field(default_factory=list)
    visitors: list[Visitor] = field(default_factory=list)
    arrivals: list[Webhook | Visitor] = field(default_factory=list)

    @property
    def webhooks(self) -> int:
        """Return how many webhooks are sent, those sent again included."""
        return sum(isinstance(each, Webhook) for each in self.arrivals)


# ── the events of one order ──────────────────────────────────────────────────────────────────────


class Teller:
    """Tell an order's life as Stripe does: one event after another, each a minute later."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.webhooks: list[Webhook] = []

    def sale(self, *, more: int = 0) -> None:
        """Pay the invoice: the link and the sale, and up to two events that say it again."""
        order = self.order
        invoice = {
            "id": order.id,
            "object": "invoice",
            "status": "paid",
            "customer": order.visitor.id,
            "amount_paid": order.paid,
            "total": order.paid,
            "total_excluding_tax": order.paid - order.tax,
        }
        intent = {"type": "payment_intent", "payment_intent": order.source["payment_intent"]}
        link = {
            "id": f"inpay_{order.number:04}",
            "object": "invoice_payment",
            "invoice": order.id,
            "amount_paid": order.paid,
            "payment": intent,
        }
        self._tell("invoice_payment.paid", link)
        self._tell("invoice.paid", invoice)
        if more > 0:
            self._tell("invoice.payment_succeeded", invoice)
        if more > 1:
            self._tell("charge.succeeded", self._charge())

    def refund(self, amount: int, *, more: int = 0) -> str:
        """Give a part back; up to two further events say so, too."""
        id = f"re_{self.order.number:04}_{len(self.order.refunds)}"
        self.order.refunds[id] = amount
        self._refund(id, "refund.created", "pending" if more else "succeeded")
        if more > 0:
            self._refund(id, "refund.updated", "succeeded")
        if more > 1:
            back = sum(n for each, n in self.order.refunds.items() if each not in self.order.failed)
            self._tell("charge.refunded", {**self._charge(), "amount_refunded": back})
        return id

    def fail(self, id: str) -> None:
        """Have a refund fail after all."""
        self.order.failed.add(id)
        self._refund(id, "refund.failed", "failed")

    def withdraw(self, *, more: int = 0) -> None:
        """Have the bank dispute everything, and take it."""
        self.order.disputed = self.order.lost = True
        if more:
            self._dispute("charge.dispute.created", "needs_response")
        self._dispute("charge.dispute.funds_withdrawn", "needs_response")

    def decide(self, *, won: bool, more: int = 0) -> None:
        """Have the bank decide the dispute."""
        self.order.lost = not won
        if won and more:
            self._dispute("charge.dispute.funds_reinstated", "won")
        self._dispute("charge.dispute.closed", "won" if won else "lost")

    def _charge(self) -> dict[str, Any]:
        source = self.order.source
        return {
            "id": source["charge"],
            "object": "charge",
            "payment_intent": source["payment_intent"],
        }

    def _refund(self, id: str, kind: str, status: str) -> None:
        made = {"created": START + int(id.rpartition("_")[2])}
        thing = {"id": id, "object": "refund", "amount": self.order.refunds[id], "status": status}
        self._tell(kind, {**thing, **self.order.source, **made})

    def _dispute(self, kind: str, status: str) -> None:
        thing = {"id": f"du_{self.order.number:04}", "object": "dispute", "status": status}
        self._tell(kind, {**thing, "amount": self.order.paid, **self.order.source})

    def _tell(self, kind: str, thing: dict[str, Any]) -> None:
        step = len(self.webhooks)
        at = START + 60 * (step + 1)
        event = {
            "id": f"evt_{self.order.number:04}_{step}",
            "object": "event",
            "type": kind,
            "created": at,
            "livemode": True,
            "data": {"object": {"currency": self.order.currency.lower(), "created": at, **thing}},
        }
        self.webhooks.append(Webhook(str(event["id"]), json.dumps(event).encode()))


# ── the shop ─────────────────────────────────────────────────────────────────────────────────────


def open_shop(seed: int, orders: int, webhooks: int) -> Shop:
    """Make up a shop of so many orders, of which exactly so many webhooks tell."""
    dice = random.Random(seed)  # noqa: S311 - the same shop again is what is wanted
    visitors = [Visitor(n, dice.random() >= CLICKLESS) for n in range(max(orders * 4 // 5, 1))]
    shop = Shop(visitors=visitors)
    told: list[list[Webhook]] = []
    for number in range(orders):
        left_over = webhooks - sum(map(len, told))
        teller = Teller(_order(number, dice.choice(visitors), dice))
        _live(teller, left_over / (orders - number) * (1 - REPEATED), dice)
        shop.orders.append(teller.order)
        told.append(teller.webhooks)
    again = webhooks - sum(map(len, told))
    if again < 0:
        raise ValueError(f"{orders} orders cannot be told in {webhooks} webhooks: give more")
    shop.arrivals = _arrivals(told, again, visitors, dice)
    return shop


def _order(number: int, visitor: Visitor, dice: random.Random) -> Order:
    currency = dice.choice(list(DECIMALS))
    paid = dice.randint(100, 50_000)
    return Order(number, visitor, currency, paid, tax=dice.randint(0, paid // 3))


def _live(teller: Teller, budget: float, dice: random.Random) -> None:
    """Draw a life that is told in about so many webhooks."""
    kinds = KINDS | RARE
    kind = dice.choices(list(kinds), list(kinds.values()))[0]
    if kind == "free":
        teller.order.paid = teller.order.tax = 0
    if kind == "orphan":
        teller.order.sold = False
    else:
        teller.sale(more=_more(dice, budget - 3))
    LIVES.get(kind, _stay)(teller, dice, _more(dice, budget - 4))


def _more(dice: random.Random, budget: float) -> int:
    return min(dice.choice((0, 1, 1, 2)), max(round(budget), 0))


def _stay(teller: Teller, dice: random.Random, more: int) -> None:
    """Let nothing happen to an order."""


def _parts(teller: Teller, dice: random.Random, more: int, count: int) -> None:
    for _ in range(count):
        teller.refund(dice.randint(1, teller.order.paid // (count + 1)), more=more)


def _part(teller: Teller, dice: random.Random, more: int) -> None:
    _parts(teller, dice, more, 1)


def _some_parts(teller: Teller, dice: random.Random, more: int) -> None:
    _parts(teller, dice, more, dice.randint(2, 3))


def _whole(teller: Teller, dice: random.Random, more: int) -> None:
    if dice.random() < 0.3:
        _part(teller, dice, 0)
    teller.refund(teller.order.paid - sum(teller.order.refunds.values()), more=more)


def _failed(teller: Teller, dice: random.Random, more: int) -> None:
    whole = dice.random() < 0.5
    teller.fail(teller.refund(teller.order.paid if whole else teller.order.paid // 2, more=more))
    if dice.random() < 0.3:
        _part(teller, dice, more)


def _won(teller: Teller, dice: random.Random, more: int) -> None:
    teller.withdraw(more=more)
    teller.decide(won=True, more=more)


def _lost(teller: Teller, dice: random.Random, more: int) -> None:
    teller.withdraw(more=more)
    if more:
        teller.decide(won=False)


LIVES: dict[str, Callable[[Teller, random.Random, int], None]] = {
    "part": _part,
    "parts": _some_parts,
    "whole": _whole,
    "failed": _failed,
    "won": _won,
    "lost": _lost,
    "orphan": _part,
}


def _arrivals(
    told: Iterable[list[Webhook]], again: int, visitors: Iterable[Visitor], dice: random.Random
) -> list[Webhook | Visitor]:
    """Put all in a row: orders side by side, each a little out of order, clicks mostly first."""
    timed: list[tuple[float, Webhook | Visitor]] = []
    for webhooks in told:
        timed += _spread(webhooks, dice.uniform(0, 100), dice)
    for _ in range(again):
        at, webhook = dice.choice(timed)
        timed.append((at + dice.expovariate(0.2), webhook))
    for visitor in visitors:
        late = dice.random() < 0.1
        if visitor.clicked:
            timed.append((dice.uniform(0, 100) if late else -1.0, visitor))
    return [each for _, each in sorted(timed, key=lambda pair: pair[0])]


def _spread(
    webhooks: Iterable[Webhook], start: float, dice: random.Random
) -> Iterator[tuple[float, Webhook]]:
    pace = dice.choice((0.1, 1.0, 8.0))
    for step, webhook in enumerate(webhooks):
        yield start + step * pace + dice.expovariate(1 / pace), webhook
