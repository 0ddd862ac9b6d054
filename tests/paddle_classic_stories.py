"""Random lives of a Paddle Classic subscription, told as the alerts that Paddle would send."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from urllib.parse import urlencode

from cases import unsigned
from hypothesis import strategies as st
from kit import Sent
from story import left

from bridge.money import Money

START = datetime(2026, 11, 1, 12)  # noqa: DTZ001 - as Classic writes it: in UTC, without saying so
USER = "19400001"
FORM = "application/x-www-form-urlencoded"


@dataclass
class Order:
    """Hold one payment of the subscription, and what went back of it."""

    number: int
    paid: int
    tax: int
    vat_back: int = 0
    refunded: int = 0
    net_back: int = 0
    charged_back: bool = False

    @property
    def names(self) -> dict[str, str]:
        return {
            "order_id": f"2000{self.number}",
            "subscription_payment_id": f"3000{self.number}",
        }

    @property
    def rest(self) -> int:
        return self.paid - self.vat_back - self.refunded

    @property
    def due(self) -> int:
        """Return what is left of the net: tax that went back alone was no part of it.

        Nothing is where all of the net went back by Paddle's own account, each part rounded.
        """
        net = self.paid - self.tax
        gone = self.charged_back or self.rest == 0 or self.net_back >= net
        return 0 if gone else left(net, self.paid, self.refunded)


@dataclass
class Story:
    """Collect the alerts about a subscription, in the order in which things happened."""

    currency: str
    customer: str = f"paddle_classic:{USER}"
    orders: list[Order] = field(default_factory=list)
    requests: list[Sent] = field(default_factory=list)

    @property
    def due(self) -> dict[str, int]:
        """Return what is left of the net of each payment."""
        return {
            f"subscription_payment_{each.names['subscription_payment_id']}": each.due
            for each in self.orders
        }

    def tell(self, kind: str, order: Order, **fields: object) -> None:
        """Add an alert about an order."""
        at = START + timedelta(minutes=len(self.requests))
        alert = {
            "alert_id": 900_000 + len(self.requests),
            "alert_name": kind,
            "currency": self.currency,
            "event_time": f"{at:%Y-%m-%d %H:%M:%S}",
            "passthrough": "",
            "order_id": order.names["order_id"],
            **fields,
        }
        request = unsigned(urlencode(alert), content_type=FORM)
        self.requests.append(("paddle_classic", request))

    def sale(self, paid: int, tax: int) -> Order:
        """Pay for one more month."""
        order = Order(len(self.orders), paid, tax)
        self.orders.append(order)
        self.tell(
            "subscription_payment_succeeded",
            order,
            **self._subscription(order),
            sale_gross=self._amount(paid),
            payment_tax=self._amount(tax),
        )
        return order

    def refund(self, order: Order, units: int) -> None:
        """Refund a part, with its share of the tax; after a refund of the tax there is none."""
        net = round(Fraction((order.paid - order.tax) * units, order.paid))
        order.refunded += units
        order.net_back += net
        kind = "partial" if order.rest else "full"
        self._refund(order, units, 0 if order.vat_back else units - net, kind)

    def refund_tax(self, order: Order) -> None:
        """Refund the tax alone."""
        order.vat_back = order.tax
        self._refund(order, order.tax, order.tax, "vat")

    def dispute(self, order: Order, *, won: bool, fee: int) -> None:
        """Have the bank charge back all that is left, and Paddle win it or not."""
        amount = self._amount(order.rest + fee)
        self.tell("payment_dispute_created", order, amount=amount, status="open")
        if won:
            self.tell("payment_dispute_closed", order, amount=amount, status="closed")
        order.charged_back = not won

    def _refund(self, order: Order, units: int, tax: int, kind: str) -> None:
        self.tell(
            "subscription_payment_refunded",
            order,
            **self._subscription(order),
            amount=self._amount(units),
            gross_refund=self._amount(units),
            tax_refund=self._amount(tax),
            refund_type=kind,
        )

    def _subscription(self, order: Order) -> dict[str, object]:
        initial = int(order.number == 0)
        return {**order.names, "subscription_id": 5000, "user_id": USER, "initial_payment": initial}

    def _amount(self, units: int) -> str:
        return Money(units, self.currency).format()


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Draw a subscription: paid, renewed or not, refunded in parts, perhaps charged back."""
    story = Story(draw(st.sampled_from(["EUR", "GBP", "JPY"])))
    for _ in range(draw(st.integers(1, 2))):
        paid = draw(st.integers(100, 10_000))
        order = story.sale(paid, draw(st.integers(0, paid // 3)))
        _give_back(draw, story, order)
    return story


def _give_back(draw: st.DrawFn, story: Story, order: Order) -> None:
    if order.tax and draw(st.booleans()):
        story.refund_tax(order)
        if draw(st.booleans()):
            story.refund(order, order.rest)
    else:
        for _ in range(draw(st.integers(0, 3))):
            if order.rest:
                story.refund(order, draw(st.just(order.rest) | st.integers(1, order.rest)))
    if order.rest and draw(st.booleans()):
        story.dispute(order, won=draw(st.booleans()), fee=draw(st.sampled_from([0, 1500])))
