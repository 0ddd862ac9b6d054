"""The story of the demo: what happens, one scene after the other, and who takes part in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from bridge import providers
from bridge.cli.fixture_changes import change, parse_value
from bridge.cli.fixture_files import FixtureFile, collect
from bridge.config import Config


@dataclass(frozen=True, slots=True)
class Scene:
    """Hold one thing that happens in the demo: what it is, and the fixtures that tell of it.

    `clicked` tells whether its customer came by a click that the merchant's pages stored;
    `changes` are values to be set in the fixtures first.
    """

    provider: str
    title: str
    events: tuple[str, ...]
    clicked: bool = True
    changes: tuple[str, ...] = ()

    @property
    def fixtures(self) -> tuple[str, ...]:
        """Return the names of its fixtures among those of all providers."""
        return tuple(f"{self.provider}/{name}" for name in self.events)


STORY = (
    Scene("stripe", "A customer pays for a subscription", ("invoice_payment.paid", "invoice.paid")),
    Scene(
        "stripe",
        "Stripe sends it again, and once more by another name",
        ("invoice.paid", "invoice.payment_succeeded"),
    ),
    Scene(
        "stripe", "Part of it is refunded", ("refund.created", "refund.updated", "charge.refunded")
    ),
    Scene(
        "stripe",
        "The customer's bank disputes it",
        ("charge.dispute.created", "charge.dispute.funds_withdrawn"),
    ),
    Scene(
        "stripe",
        "The dispute is won",
        ("charge.dispute.funds_reinstated", "charge.dispute.closed"),
    ),
    Scene(
        "stripe",
        "The subscription renews, and the renewal is refunded in full",
        ("invoice_payment.paid@renewal", "invoice.paid@renewal", "refund.created@renewal-full"),
    ),
    Scene(
        "stripe",
        "Somebody pays who never clicked anything",
        ("invoice.paid@one-off",),
        clicked=False,
    ),
    Scene(
        "paddle",
        "A customer pays for a subscription",
        ("customer.created", "transaction.paid", "transaction.completed"),
    ),
    Scene("paddle", "A refund waits for Paddle's approval", ("adjustment.created",)),
    Scene("paddle", "Paddle approves it", ("adjustment.updated",)),
    Scene(
        "paddle",
        "The customer's bank takes back all the rest",
        ("adjustment.created@chargeback",),
    ),
    Scene(
        "paddle",
        "Paddle wins it back",
        ("adjustment.created@chargeback-reverse", "adjustment.updated@chargeback-reversed"),
    ),
    Scene("paddle", "The subscription renews", ("transaction.completed@renewal",)),
    Scene("paddle", "Somebody tries Paddle's simulator", ("transaction.completed@simulation",)),
    Scene("shopify", "A customer pays for an order", ("orders/paid",)),
    Scene("shopify", "One of its items comes back", ("refunds/create", "orders/updated")),
    Scene("shopify", "A second refund is on its way to the bank", ("refunds/create@pending",)),
    Scene("shopify", "… and arrives there", ("order_transactions/create",)),
    Scene("shopify", "The bank disputes the order", ("disputes/create",)),
    Scene("shopify", "The dispute is won", ("disputes/update@won",)),
    Scene(
        "shopify",
        "An order brings its clicks along, as attributes of the cart",
        ("orders/paid@note-attributes",),
    ),
    Scene("shopify", "Another order: its refund arrives first", ("refunds/create@before-sale",)),
    Scene("shopify", "… and then the sale", ("orders/paid@before-sale",)),
    Scene(
        "shopify",
        "Somebody pays at the till, and never clicked",
        ("orders/paid@pos",),
        clicked=False,
    ),
    Scene(
        "shopify",
        "The customer whose refund came first asks to be forgotten",
        ("customers/redact",),
        clicked=False,
        changes=(
            "customer.id=7012345678902",
            "customer.email=max.beispiel@example.com",
            "orders_to_redact=[551234567890123457]",
        ),
    ),
)


def fixtures() -> dict[str, FixtureFile]:
    """Return the fixtures of the story, by provider and name."""
    known = providers.discover()
    found: dict[str, FixtureFile] = {}
    for scene in STORY:
        files = collect([f"providers/{name}" for name in scene.fixtures], known)
        changed = change(files, map(parse_value, scene.changes))
        found |= dict(zip(scene.fixtures, changed, strict=True))
    return found


def customers(
    config: Config, files: Mapping[str, FixtureFile], scenes: Iterable[Scene] = STORY
) -> dict[tuple[str, str], datetime]:
    """Return who came by a click, by provider and its id, with the time of the first payment."""
    first: dict[tuple[str, str], datetime] = {}
    for name in (name for scene in scenes if scene.clicked for name in scene.fixtures):
        provider = config.providers[files[name].provider]
        event = provider.read(files[name].request)
        for payment in [] if event.ignored else provider.normalise(event):
            at = payment.started_at or payment.occurred_at
            who = provider.name, payment.customer
            first[who] = min(at, first.get(who, at))
    return {who: at for who, at in first.items() if who[1]}
