"""What the sandbox can be asked: its ledger, the calls it saw, and which addresses to set."""

from __future__ import annotations

import re

from flask import Blueprint, Flask, Response, abort, g, request
from werkzeug.routing import RequestRedirect

from bridge.sandbox import faults
from bridge.sandbox.ledger import JsonObject, current_sandbox
from bridge.sandbox.strict import loads

_SECRET = re.compile("auth|key|token|secret|password|cookie", re.IGNORECASE)

pages = Blueprint("asking", __name__)


@pages.get("/")
def index() -> JsonObject:
    """Tell which settings point bridge at the stand-ins, and what can be asked."""
    base = request.host_url
    settings = {f"{name.upper()}_BASE_URL": base + name for name in current_sandbox().vendors}
    return {
        "settings": settings,
        "ask": {
            "GET /ledger": "what every vendor was told",
            "GET /ledger/<vendor>": "what one vendor was told",
            "DELETE /ledger": "forget all of it",
            "GET /calls?vendor=": "every request that was seen, newest last",
            "POST /faults": "let a vendor's next calls fail, or a share of them for a while",
            "GET /faults": "what is still to be met, and what was met",
            "DELETE /faults": "let nothing fail any more",
        },
    }


@pages.get("/ledger")
def show_ledger() -> JsonObject:
    """Return what every vendor was told."""
    return current_sandbox().as_json()


@pages.get("/ledger/<vendor>")
def show_account(vendor: str) -> tuple[JsonObject, int]:
    """Return what one vendor was told."""
    sandbox = current_sandbox()
    if vendor not in sandbox.vendors:
        return {"error": f"no stand-in is called {vendor!r}"}, 404
    return sandbox.as_json()[vendor], 200


@pages.delete("/ledger")
def clear_ledger() -> tuple[str, int]:
    """Forget every entry and every call."""
    current_sandbox().clear()
    return "", 204


@pages.get("/calls")
def show_calls() -> list[JsonObject]:
    """Return the calls that were seen, with their credentials masked."""
    return current_sandbox().calls(request.args.get("vendor", ""))


# ── watching every call ──────────────────────────────────────────────────────────────────────────


def watch(app: Flask) -> None:
    """Record every call to a stand-in, and let it meet its fault."""
    app.before_request(_before)
    app.after_request(_after)


def _before() -> Response | None:
    g.vendor = request.path.split("/")[1]
    if g.vendor not in current_sandbox().vendors:
        g.vendor = ""
        return None
    answer = faults.meet_before()
    # Flask would send a caller who forgot the last slash to the right path; vendors do not.
    if answer is None and isinstance(request.routing_exception, RequestRedirect):
        abort(404)
    return answer


def _after(response: Response) -> Response:
    if g.get("vendor"):
        current_sandbox().record(_describe(response))
        return faults.meet_after(response)
    return response


def _describe(response: Response) -> JsonObject:
    answered = not faults.drops_the_connection()
    failed = response.status if response.status_code >= 400 else ""
    return {
        "vendor": g.vendor,
        "method": request.method,
        "path": request.full_path.rstrip("?"),
        "headers": {
            name: "***" if _SECRET.search(name) else value for name, value in request.headers
        },
        "body": _body(),
        "status": response.status_code if answered else None,
        "error": g.get("refused", "") or failed,
    }


def _body() -> object:
    text = request.get_data(as_text=True)
    try:
        return loads(text) if text else None
    except ValueError:
        return text
