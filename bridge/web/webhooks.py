"""POST /webhooks/<provider>: verify, put on disk, say so. Everything else happens later.

Webhooks are taken before Flask sees them: Flask alone takes as long as all of that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request

from bridge import logs, providers
from bridge.errors import WebhookError
from bridge.inbox import receive
from bridge.model import WebhookRequest
from bridge.store.events import key_of
from bridge.web.refusals import JSON, answer_to
from bridge.web.state import WEBHOOKS, State, read_body, state

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

area = Blueprint("webhooks", __name__)
log = logs.get()


@area.post(f"{WEBHOOKS}<route>")
def answer(route: str) -> Response:
    """Take a webhook whose address is written in another way: //webhooks/stripe."""
    return Response(take(state(), route, request.environ), mimetype=JSON)


class Webhooks:
    """Take webhooks before they come to Flask."""

    def __init__(self, app: WSGIApplication, state: State) -> None:
        self._app = app
        self._state = state

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "POST" or not path.startswith(WEBHOOKS):
            return self._app(environ, start_response)
        try:
            said = take(self._state, path.removeprefix(WEBHOOKS).removesuffix("/"), environ)
        except Exception as error:
            return answer_to(error, path)(environ, start_response)
        start_response("200 OK", [("Content-Type", JSON), ("Content-Length", str(len(said)))])
        return [said]


def take(state: State, route: str, environ: Mapping[str, Any]) -> bytes:
    """Put a webhook on disk; return the answer: a duplicate or an unused type is 200, too."""
    provider = state.routes.get(route)
    if provider is None:
        raise _not_here(route.encode("latin-1", "replace").decode("utf-8", "replace"))
    # The signature is over these very bytes; nothing else may touch the body before.
    raw = read_body(environ)
    now = datetime.now(UTC)
    event = provider.verify(WebhookRequest(_headers(environ), raw), now)
    new = receive(state.store, event, now)
    status = "duplicate" if not new else "ignored" if event.ignored else "stored"
    log.info("webhook", event_id=key_of(event), type=event.type, status=status)
    said = json.dumps({"status": status, "id": event.id}, separators=(",", ":"))
    return logs.InUse.redact(said).encode() + b"\n"


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a request, by their names in lower case."""
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    return headers


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
