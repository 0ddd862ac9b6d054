"""POST /webhooks/<provider>: verify, put on disk, say so. Everything else happens later."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify, request

from bridge import logs, providers
from bridge.errors import WebhookError
from bridge.inbox import receive
from bridge.model import WebhookRequest
from bridge.providers.base import AnyProvider
from bridge.store.events import key_of
from bridge.web.state import body, state

area = Blueprint("webhooks", __name__)
log = logs.get()


@area.post("/webhooks/<route>")
def take(route: str) -> Response:
    """Answer 200 once the event is on disk; a duplicate or an unused type is 200 too."""
    provider = _provider(route)
    # The signature is over these very bytes; nothing else may touch the body before.
    raw = body()
    headers = {name.lower(): value for name, value in request.headers.items()}
    now = datetime.now(UTC)
    event = provider.verify(WebhookRequest(headers, raw), now)
    new = receive(state().store, event, now)
    status = "duplicate" if not new else "ignored" if event.ignored else "stored"
    log.info("webhook", event_id=key_of(event), type=event.type, status=status)
    return jsonify(status=status, id=event.id)


def _provider(route: str) -> AnyProvider:
    for provider in state().config.providers.values():
        if provider.route == route:
            return provider
    raise _not_here(route)


def _not_here(route: str) -> WebhookError:
    known = {name.replace("_", "-"): kind for name, kind in providers.discover().items()}
    if route not in known:
        there_are = ", ".join(f"/webhooks/{each}" for each in known)
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
