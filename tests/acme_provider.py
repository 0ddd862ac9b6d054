"""AcmePay, a made-up provider: this one file is all the code it needs.

Copied into bridge/providers/ as acmepay.py by test_fifth_provider.py.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import datetime

from pydantic import Field

from bridge.errors import PayloadError, SignatureError
from bridge.model import Event, Payment, PaymentKind, WebhookRequest
from bridge.money import Money
from bridge.plugin import PluginSettings
from bridge.providers.base import (
    Provider,
    RotatingSecret,
    body_text,
    moment,
    parse_json,
    secrets_in,
    text,
)

KINDS = {"paid": PaymentKind.SALE, "refunded": PaymentKind.REFUND}


class AcmePaySettings(PluginSettings):
    """Read ACMEPAY_… settings."""

    webhook_secret: RotatingSecret = Field(description="signing secret")


class AcmePay(Provider[AcmePaySettings]):
    """Verify and normalise what AcmePay sends."""

    name = "acmepay"
    title = "AcmePay"
    settings_type = AcmePaySettings

    def verify(self, request: WebhookRequest, now: datetime) -> Event:
        """Check the one signature."""
        given = request.headers.get("acmepay-signature", "")
        if not hmac.compare_digest(given.encode(), self._signature(request).encode()):
            raise SignatureError("Acmepay-Signature does not match (check ACMEPAY_WEBHOOK_SECRET)")
        return self.read(request)

    def read(self, request: WebhookRequest) -> Event:
        """Read the one kind of event there is."""
        body = body_text(request)
        data = parse_json(body, self.title)
        if not data.get("id"):
            raise PayloadError("the body is no AcmePay event: it has no id")
        return Event(
            id=text(data["id"]),
            provider=self.name,
            type=text(data.get("type")),
            occurred_at=moment(data.get("at")),
            body=body,
        )

    def normalise(self, event: Event) -> list[Payment]:
        """Read what was paid, or went back."""
        data = parse_json(event.body, self.title)
        amount = Money.parse(data["amount"], data["currency"])
        sale = KINDS[event.type] is PaymentKind.SALE
        return [
            Payment(
                id=text(data["order"] if sale else data["id"]),
                provider=self.name,
                kind=KINDS[event.type],
                occurred_at=event.occurred_at,
                references=frozenset({text(data["order"])}),
                amount=amount,
                net=amount if sale else None,
                customer=text(data.get("customer")),
            )
        ]

    def sign(self, request: WebhookRequest, now: datetime) -> WebhookRequest:
        """Sign as AcmePay does."""
        signed = {"acmepay-signature": self._signature(request)}
        return replace(request, headers={**request.headers, **signed})

    def _signature(self, request: WebhookRequest) -> str:
        secret = secrets_in(self.settings.webhook_secret)[0]
        return hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
