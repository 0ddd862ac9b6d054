"""Paddle Billing: https://developer.paddle.com/webhooks/overview

Its own SDK's verifier keeps to 5 seconds, trips over schemes it does not know and takes one secret
in one way and several in another; so the signature is checked here.

`settings` are its settings, `meanings` says what each event means.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from bridge.errors import PayloadError, SignatureError
from bridge.model import Event, Payment, WebhookRequest
from bridge.providers.base import Json, Provider, body_text, moment, parse_json, secrets_in, text
from bridge.providers.paddle.meanings import MEANINGS
from bridge.providers.paddle.settings import PaddleSettings

__all__ = ["Paddle", "PaddleSettings"]

HEADER = "paddle-signature"
STAMP = re.compile(r"[0-9]{1,12}")
# What its simulator sends: https://developer.paddle.com/webhooks/test-webhooks
SIMULATED_EVENT, SIMULATED_NOTIFICATION = "ntfsimevt_", "ntfsimntf_"


class Paddle(Provider[PaddleSettings]):
    """Verify and normalise what Paddle Billing sends."""

    name = "paddle"
    title = "Paddle"
    settings_type = PaddleSettings
    key_field = "api_key"

    def verify(self, request: WebhookRequest, now: datetime) -> Event:
        """Check every signature in the header against every secret, and its age either way."""
        header = request.headers.get(HEADER, "")
        if not header:
            raise SignatureError(
                "Paddle-Signature is missing: every webhook must be signed with "
                "PADDLE_WEBHOOK_SECRET",
                code="missing_signature",
            )
        stamp, given = _read_header(header)
        keys = secrets_in(self.settings.webhook_secret)
        expected = [_signature(stamp, request.body, key) for key in keys]
        if not any(hmac.compare_digest(one, other) for one in expected for other in given):
            raise SignatureError("Paddle-Signature does not match (check PADDLE_WEBHOOK_SECRET)")
        self._check_age(int(now.timestamp()) - int(stamp))
        return self._event(request, now)

    def read(self, request: WebhookRequest) -> Event:
        """Read an event; what is simulated, or comes from the sandbox, is a test."""
        return self._event(request, None)

    def _event(self, request: WebhookRequest, now: datetime | None) -> Event:
        """Read an event; a lean one without a time happened when it came."""
        body = body_text(request)
        data = parse_json(body, "Paddle")
        id, kind = data.get("event_id"), data.get("event_type")
        if not (isinstance(id, str) and isinstance(kind, str) and id and kind):
            raise PayloadError("the body is no Paddle event: it has no event_id or no event_type")
        return Event(
            id=text(id),
            provider=self.name,
            type=text(kind),
            occurred_at=moment(data.get("occurred_at") or (now and now.isoformat()), "occurred_at"),
            body=body,
            test=self.settings.environment == "sandbox" or _is_simulated(data),
            ignored="" if kind in MEANINGS else f"{text(kind)} says nothing about money",
        )

    def normalise(self, event: Event) -> list[Payment]:
        """Say what an event means; the table MEANINGS tells by which function."""
        meaning = MEANINGS.get(event.type)
        if meaning is None or event.ignored:
            return []
        thing = parse_json(event.body, "Paddle").get("data")
        if not isinstance(thing, Mapping):
            raise PayloadError(f"{event.type} {event.id} has no data")
        return [meaning(event, thing, self.settings)]

    def sign(self, request: WebhookRequest, now: datetime) -> WebhookRequest:
        """Sign as Paddle does, with the first of the secrets."""
        stamp = str(int(now.timestamp()))
        signature = _signature(stamp, request.body, secrets_in(self.settings.webhook_secret)[0])
        header = f"ts={stamp};h1={signature.decode()}"
        return replace(request, headers={**request.headers, HEADER: header})

    def question(self, references: Iterable[str]) -> str:
        """Ask for the transaction."""
        return min((each for each in references if each.startswith("txn_")), default="")

    def _check_age(self, age: int) -> None:
        if abs(age) > self.settings.tolerance_seconds:
            when = f"{age} s old" if age > 0 else f"{-age} s in the future"
            raise SignatureError(
                f"Paddle-Signature is {when}, more than {self.settings.tolerance_seconds} s "
                "(check this machine's clock, or set PADDLE_TOLERANCE_SECONDS)",
                code="stale_signature",
            )


def _read_header(header: str) -> tuple[str, list[bytes]]:
    """Return the time stamp of a header and its signatures, without those of other schemes."""
    pairs = [part.strip().partition("=") for part in header.split(";")]
    stamps = [value for name, _, value in pairs if name == "ts"]
    signatures = [value.encode("utf-8", "replace") for name, _, value in pairs if name == "h1"]
    if len(stamps) != 1 or not STAMP.fullmatch(stamps[0]) or not signatures:
        raise SignatureError("Paddle-Signature is malformed: it must be ts=<seconds>;h1=<hex>")
    return stamps[0], signatures


def _signature(stamp: str, body: bytes, secret: str) -> bytes:
    signed = stamp.encode() + b":" + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()


def _is_simulated(data: Json) -> bool:
    by_event = text(data.get("event_id")).startswith(SIMULATED_EVENT)
    return by_event or text(data.get("notification_id")).startswith(SIMULATED_NOTIFICATION)
