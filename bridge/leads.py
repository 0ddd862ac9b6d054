"""Leads and visits: the events that we make ourselves, of what the click API is sent.

They are kept, processed and shown like a provider's, so that a sign-up goes the same way as a sale:
event, payment (of no money), conversion, deliveries. A customer has one lead: those of a customer's
keys are one order, named by a hash, as the ids of persons name nothing here.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from bridge.attribution import strongest_first
from bridge.codec import dumps, from_iso, iso, loads
from bridge.identity import is_hard
from bridge.model import Click, Event, Payment, PaymentKind

PROVIDER = "bridge"
LEAD, PAGEVIEW = PaymentKind.LEAD, PaymentKind.PAGEVIEW


def lead_event(
    keys: Iterable[str], at: datetime, *, exact: bool, secret: bytes, again: int = 0
) -> Event:
    """Return the event of a sign-up; the same for the same customer, and time if it is `exact`.

    `again` tells it from those whose customer was removed.
    """
    body = {"keys": list(keys), "at": iso(at) if exact else ""}
    return _event(LEAD, at, body | ({"again": again} if again else {}), secret)


def pageview_event(
    keys: Iterable[str], clicks: Mapping[str, object], at: datetime, secret: bytes
) -> Event:
    """Return the event of a visit: what each vendor that is told of it makes of the visitor."""
    body = {"keys": list(keys), "clicks": dict(clicks), "at": iso(at)}
    return _event(PAGEVIEW, at, body, secret)


def read(event: Event) -> Payment:
    """Return the payment of an event of ours."""
    body = loads(event.body)
    clicks: Mapping[str, Click] = body.get("clicks", {})
    return Payment(
        id=event.id,
        provider=PROVIDER,
        kind=PaymentKind(event.type),
        occurred_at=from_iso(body["at"]) if body["at"] else event.occurred_at,
        references=frozenset({event.id}),
        keys=tuple(body["keys"]),
        clicks=clicks,
    )


def as_lead(payment: Payment, secret: bytes, again: int = 0) -> Payment:
    """Name a sign-up by its customer, whoever told of it: by ids given for good, if there are any.

    `again` counts how often that customer was removed before.
    """
    keys = strongest_first(payment.keys)
    naming = [key for key in keys if is_hard(key)] or keys[:1]
    labels = [f"{key}\n{again}" if again else key for key in naming]
    names = [f"lead_{_hashed(label, secret)}" for label in labels]
    return replace(payment, provider=PROVIDER, id=names[0], references=frozenset(names))


def as_one(payments: Iterable[Payment]) -> list[Payment]:
    """Let the sign-ups of one customer share their references, however the customer was called."""
    payments = list(payments)
    names = frozenset[str]().union(*(each.references for each in payments if each.kind is LEAD))
    return [replace(each, references=names) if each.kind is LEAD else each for each in payments]


def _event(kind: PaymentKind, at: datetime, body: Mapping[str, object], secret: bytes) -> Event:
    text = dumps(body)
    id = f"{kind}_{_hashed(text, secret)}"
    return Event(id=id, provider=PROVIDER, type=kind, occurred_at=at, body=text)


def _hashed(text: str, secret: bytes) -> str:
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:24]
