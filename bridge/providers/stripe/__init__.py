"""Stripe: https://docs.stripe.com/webhooks

Layouts before and after version 2025-03-31.basil are read by their shape, never by the version they
claim: an endpoint's version is pinned when it is made, and events fetched later come in another.

`settings` are its settings, `meanings` says what each event means, `objects` reads the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from stripe import SignatureVerificationError, WebhookSignature

from bridge.errors import PayloadError, SignatureError
from bridge.model import Event, Payment, WebhookRequest
from bridge.providers.base import (
    Provider,
    body_text,
    dig,
    moment,
    parse_json,
    secrets_in,
    text,
)
from bridge.providers.stripe.meanings import MEANINGS
from bridge.providers.stripe.settings import StripeSettings

__all__ = ["Stripe", "StripeSettings"]

TOLERANCE_SECONDS = 300


@dataclass
class _Envelope:
    """Hold what an event says of itself, beside the object that it is about."""

    id: str
    type: str
    created: int
    object: str = ""
    livemode: bool = True
    account: str | None = None
    context: str | None = None


_ENVELOPE = TypeAdapter(_Envelope)


class Stripe(Provider[StripeSettings]):
    """Verify and normalise what Stripe sends."""

    name = "stripe"
    title = "Stripe"
    settings_type = StripeSettings
    key_field = "api_key"

    def verify(self, request: WebhookRequest, now: datetime) -> Event:
        """Check the signature against every secret, and its age 300 s either way."""
        header = request.headers.get("stripe-signature", "")
        if not header:
            raise SignatureError(
                "Stripe-Signature is missing: every webhook must be signed with "
                "STRIPE_WEBHOOK_SECRET",
                code="missing_signature",
            )
        body = body_text(request)
        if not any(
            _is_signed(body, header, key) for key in secrets_in(self.settings.webhook_secret)
        ):
            raise SignatureError("Stripe-Signature does not match (check STRIPE_WEBHOOK_SECRET)")
        _check_age(header, now)
        return self._read(body)

    def read(self, request: WebhookRequest) -> Event:
        """Read a snapshot event, or a thin one that waits for its object to be fetched."""
        return self._read(body_text(request))

    def _read(self, body: str) -> Event:
        data = _envelope(body)
        id, kind = data.get("id"), data.get("type")
        if not (isinstance(id, str) and isinstance(kind, str) and id and kind):
            raise PayloadError("the body is no Stripe event: it has no id or no type")
        thin = data.get("object") == "v2.core.event"
        snapshot_type = kind.removeprefix("v1.") if thin else kind
        return Event(
            id=text(id),
            provider=self.name,
            type=text(kind),
            occurred_at=moment(data.get("created")),
            body=body,
            account=text(data.get("account") or (data.get("context") if thin else "")),
            test=data.get("livemode") is False,
            waits_for="STRIPE_API_KEY" if thin and snapshot_type in MEANINGS else "",
            ignored="" if snapshot_type in MEANINGS else f"{text(kind)} says nothing about money",
        )

    def normalise(self, event: Event) -> list[Payment]:
        """Say what an event means; the table MEANINGS tells by which function."""
        meaning = MEANINGS.get(event.type)
        if meaning is None or event.ignored:
            return []
        thing = dig(parse_json(event.body, "Stripe"), "data", "object")
        if not isinstance(thing, Mapping):
            raise PayloadError(f"{event.type} {event.id} has no data.object")
        return meaning(event, thing, self.settings)

    def sign(self, request: WebhookRequest, now: datetime) -> WebhookRequest:
        """Sign as Stripe does, with the first of the secrets."""
        secret = secrets_in(self.settings.webhook_secret)[0]
        header = WebhookSignature.generate_signature_header(
            body_text(request), secret, int(now.timestamp())
        )
        return replace(request, headers={**request.headers, "stripe-signature": header})

    def question(self, references: Iterable[str]) -> str:
        """Ask by payment intent: the only key that InvoicePayment.list takes."""
        return min((each for each in references if each.startswith("pi_")), default="")


def _envelope(body: str) -> Mapping[str, Any]:
    """Read what an event says of itself; the whole of it only where that is not as expected.

    Whoever waits for an answer need not wait until the object has been taken apart.
    """
    try:
        return vars(_ENVELOPE.validate_json(body, strict=True))
    except ValidationError:
        return parse_json(body, "Stripe")


def _is_signed(body: str, header: str, secret: str) -> bool:
    # No tolerance here: the age is checked against the caller's clock, in both directions.
    try:
        return bool(WebhookSignature.verify_header(body, header, secret))
    except (SignatureVerificationError, TypeError):  # TypeError: the header is not ASCII
        return False


def _check_age(header: str, now: datetime) -> None:
    signed_at, _ = WebhookSignature._get_timestamp_and_signatures(header, "v1")
    age = int(now.timestamp()) - signed_at
    if abs(age) > TOLERANCE_SECONDS:
        when = f"{age} s old" if age > 0 else f"{-age} s in the future"
        raise SignatureError(
            f"Stripe-Signature is {when}, more than {TOLERANCE_SECONDS} s "
            "(check this machine's clock)",
            code="stale_signature",
        )
