"""Who is removed in the tests of redaction, how, and what of them is still found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import postgres
from kit import (
    CLICKS,
    CUSTOMER,
    IDENTITY,
    SALE,
    Bench,
    thing_of,
)

from bridge import attribution
from bridge.intake import Intake
from bridge.model import Erasure
from bridge.redaction import Erased
from bridge.vendors.tracify import tracify_hash

EMAIL = thing_of("invoice.paid")["customer_email"]
SHOPIFY_CUSTOMER = "7012345678901"
USER = "user_1001"
# Who it is, how vendors know them, and what was stored of them.
PERSON = {
    EMAIL, EMAIL.partition("@")[0], "Jana", "Muster", "Berlin", CUSTOMER, USER, SHOPIFY_CUSTOMER,
    tracify_hash(EMAIL), *CLICKS.values(), *IDENTITY.values(),
}  # fmt: skip
STRIPES = Erasure(provider="stripe", customer=CUSTOMER)
TAKES_BACK = {"tapfiliate", "trackdesk"}
LIFE = (
    *("customer.created", "charge.succeeded", "payment_intent.succeeded", *SALE),
    *("invoice.paid@renewal", "customer.deleted", "refund.created"),
)


def redact(made: Bench, erasure: Erasure = STRIPES) -> Erased:
    intake = Intake(made.store, made.config)
    return intake.redact(intake.redaction.wanted(erasure), made.clock())


def written(made: Bench, *names: str) -> set[str]:
    """Return which of these texts are found in the bytes of the database's files, or its rows."""
    url = made.config.database_url
    if url.startswith("postgres"):
        files = [postgres.rows(url)]
    else:
        path = Path(url.removeprefix("sqlite:///"))
        files = [each.read_bytes() for each in path.parent.glob(f"{path.name}*")]
    return {name for name in names if any(name.encode() in each for each in files)}


def on_disk(made: Bench, person: Iterable[str] = PERSON) -> set[str]:
    """Return what of a person, and of the e-mail's key, is found on the disk."""
    key = attribution.email_key(EMAIL, Intake(made.store, made.config).rules.email_key)
    return written(made, *person, key.partition(":")[2])


def money(made: Bench) -> list[tuple[object, ...]]:
    return [
        (each.id, each.paid, each.taken_back, each.value, each.status, each.occurred_at)
        for each in made.store.orders.newest()
    ]
