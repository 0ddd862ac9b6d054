"""POST /clicks and POST /leads: what brought a visitor, from the merchant's server or pages."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from bridge.capture import Capture, Reader, UnfitError, parse, parse_leniently
from bridge.errors import WebhookError
from bridge.store.rows import Said
from bridge.vendors.base import MAX_ID_LENGTH
from bridge.web import browsers
from bridge.web.state import body as raw_body
from bridge.web.state import state

area = Blueprint("clicks", __name__)

MAX_BODY = 32 * 1024
SERVER, BROWSER = "your server", "a browser"


@dataclass(frozen=True, slots=True)
class Sender:
    """Hold who sends: the merchant's server, or a page of the merchant's."""

    source: str

    @property
    def is_browser(self) -> bool:
        """Tell whether anybody may have made up what is sent."""
        return self.source == BROWSER


# Flask would answer OPTIONS itself, and let no page send headers.
@area.post("/clicks", provide_automatic_options=False)
def take_clicks() -> tuple[Response, int]:
    """Store clicks for a customer, and credit the orders that waited for them."""
    return _take(_sender(), lead=False)


@area.post("/leads")
def take_lead() -> tuple[Response, int]:
    """Store the clicks given, and credit the sign-up of their customer."""
    _authorize_server()
    return _take(Sender(SERVER), lead=True)


@area.route("/clicks", methods=["OPTIONS"])
def preflight() -> Response:
    """Answer a browser that asks whether a page may post clicks."""
    return browsers.preflight(state().config.settings)


@area.after_request
def add_cors(response: Response) -> Response:
    """Let the merchant's pages read the answer."""
    if request.path == "/clicks":
        return browsers.add_cors(response, state().config.settings)
    return response


@area.errorhandler(UnfitError)
def refuse(error: UnfitError) -> tuple[Response, int]:
    """Answer with a message per field."""
    described = {"code": error.code, "message": str(error), "fields": dict(error.fields)}
    return jsonify(error=described), error.status


# ── who ──────────────────────────────────────────────────────────────────────────────────────────


def _sender() -> Sender:
    if "Authorization" in request.headers or not browsers.is_page():
        _authorize_server()
        return Sender(SERVER)
    browsers.authorize(state().config.settings)
    state().rate_limit.check()
    return Sender(BROWSER)


def _authorize_server() -> None:
    expected = state().config.settings.api_key
    if expected is None:
        raise WebhookError(
            "the click API is off (set BRIDGE_API_KEY)", code="not_configured", status=404
        )
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    key = expected.get_secret_value()
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key.encode()):
        raise WebhookError(
            f"the API key is missing or wrong (send Authorization: Bearer $BRIDGE_API_KEY"
            f"{'; from your server, not from a page' if browsers.is_page() else ''})",
            code="unauthorized",
            status=401,
        )


# ── what ─────────────────────────────────────────────────────────────────────────────────────────


def _take(sender: Sender, *, lead: bool) -> tuple[Response, int]:
    here, now = state(), datetime.now(UTC)
    raw = _raw()
    body, left_out = parse_leniently(raw) if sender.is_browser else (parse(raw), {})
    if sender.is_browser:
        body = browsers.with_visitor(body)
    secret = here.intake.vault.hash_key
    keep_out = here.intake.keep_out
    reader = Reader(vendors=here.config.vendors, email_secret=secret, keep_out=keep_out)
    capture = reader.read(body, now, lenient=sender.is_browser)
    capture = replace(capture, left_out=left_out | dict(capture.left_out))
    with here.store.atomic():
        if not _is_repeated(sender, raw, secret, now):
            said = Said(source=sender.source, at=now, claimed=sender.is_browser)
            here.intake.take_within(capture, said, now, lead=lead)
    here.store.ring()
    return _answer(capture), 201


def _raw() -> bytes:
    try:
        return raw_body(MAX_BODY)
    except RequestEntityTooLarge:
        raise UnfitError({"body": f"is larger than {MAX_BODY // 1024} KiB"}) from None


def _is_repeated(sender: Sender, raw: bytes, secret: bytes, now: datetime) -> bool:
    """Tell whether a request with this Idempotency-Key was answered before."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return False
    if not key.strip() or len(key) > MAX_ID_LENGTH:
        raise UnfitError({"Idempotency-Key": f"must have 1 to {MAX_ID_LENGTH} characters"})
    name = f"{sender.source}\n{request.path}\n{key}"
    digest = hmac.new(secret, raw, hashlib.sha256).hexdigest()
    id = hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()
    before = state().store.requests.take(id, digest, now)
    if before and not hmac.compare_digest(before, digest):
        raise UnfitError({"Idempotency-Key": "was used with another body before"})
    return bool(before)


def _answer(capture: Capture) -> Response:
    answer: dict[str, object] = {"customer": capture.given, "clicks": capture.clicks_given}
    if capture.left_out:
        answer["left_out"] = capture.left_out
    return jsonify(answer)
