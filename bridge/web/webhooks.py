"""POST /webhooks/<provider>: verify, put on disk, say so. Everything else happens later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from flask import Blueprint, Response, request

from bridge import logs, providers
from bridge.errors import WebhookError
from bridge.inbox import receive
from bridge.model import Event, WebhookRequest
from bridge.providers.base import AnyProvider
from bridge.store.events import key_of
from bridge.web.refusals import JSON
from bridge.web.state import WEBHOOKS, State, body, state

area = Blueprint("webhooks", __name__)
log = logs.get()
_compact = json.JSONEncoder(separators=(",", ":")).encode


@area.post(f"{WEBHOOKS}<route>")
def answer(route: str) -> Response:
    """Take a webhook whose address is written in another way: //webhooks/stripe."""
    provider = provider_at(state(), route)
    now = datetime.now(UTC)
    headers = {name.lower(): value for name, value in request.headers.items()}
    event = verified(provider, headers, body(), now)
    return Response(answer_for(event, new=receive(state().store, event, now)), mimetype=JSON)


def provider_at(state: State, route: str) -> AnyProvider:
    """Return the provider whose webhooks come to an address; raise WebhookError."""
    if (provider := state.routes.get(route)) is None:
        raise _not_here(route)
    return provider


def verified(provider: AnyProvider, headers: Mapping[str, str], raw: bytes, now: datetime) -> Event:
    """Return what a webhook says, if its provider has signed it; raise WebhookError.

    The signature is over these very bytes; nothing else may touch the body before.
    """
    return provider.verify(WebhookRequest(headers, raw), now)


def answer_for(event: Event, *, new: bool) -> bytes:
    """Return what a webhook is answered with: a duplicate or an unused type is 200, too."""
    status = "duplicate" if not new else "ignored" if event.ignored else "stored"
    log.info("webhook", event_id=key_of(event), type=event.type, status=status)
    said = _compact({"status": status, "id": event.id})
    return logs.InUse.redact(said).encode() + b"\n"


def _not_here(route: str) -> WebhookError:
    known = {name.replace("_", "-"): kind for name, kind in providers.discover().items()}
    if route not in known:
        there_are = ", ".join(f"{WEBHOOKS}{each}" for each in known)
        return WebhookError(
            f"there is no provider {route[:40]!r} (there are {there_are})",
            code="not_found",
            status=404,
        )
    kind = known[route]
    needed = [
        f"{kind.name}_{field}".upper()
        for field, info in kind.settings_type.model_fields.items()
        if info.is_required()
    ]
    return WebhookError(
        f"{kind.title} is not configured (set {', '.join(needed)})",
        code="not_configured",
        status=404,
    )
