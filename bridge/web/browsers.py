"""Browsers: who may send from a page, how often, and what their requests say of a visitor.

A publishable key stands in the page, so it proves nothing: it is the origin, set by the browser
itself, that says whose page it is. https://developer.mozilla.org/docs/Web/HTTP/CORS
"""

from __future__ import annotations

import hmac
import math
import re
import time
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from flask import Response, request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

from bridge.capture import LONGEST_TEXT, ClickBody
from bridge.config import BridgeSettings
from bridge.errors import WebhookError

KEY_HEADER, KEY_PARAMETER = "X-Publishable-Key", "key"
ALLOWED_HEADERS = f"Content-Type, {KEY_HEADER}, Idempotency-Key"
A_DAY = 86_400
WITH_PORT = re.compile(r"\[(.+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
HOUSEHOLD = 64  # bits of an IPv6 address that its owner did not choose


class RateLimit:
    """Count what each address sends; every process counts for itself."""

    def __init__(self, per_minute: int) -> None:
        self._limit = RateLimitItemPerMinute(per_minute)
        # The library's moving window would keep every address that was ever seen.
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def check(self) -> None:
        """Count this request; raise TooManyRequests where there were too many."""
        sender = _sender()
        if not self._limiter.hit(self._limit, sender):
            again = self._limiter.get_window_stats(self._limit, sender).reset_time - time.time()
            raise TooManyRequests(
                f"too many requests from this address (BRIDGE_CLICKS_PER_MINUTE is "
                f"{self._limit.amount})",
                retry_after=max(1, math.ceil(again)),
            )


def given_key() -> str | None:
    """Return the publishable key of a request; a beacon can set no header."""
    return request.headers.get(KEY_HEADER) or request.args.get(KEY_PARAMETER)


def is_page() -> bool:
    """Tell whether a request looks like that of a page."""
    return bool(given_key() or _origin())


def authorize(settings: BridgeSettings) -> None:
    """Raise WebhookError unless this is a page of the merchant's."""
    key = settings.publishable_key
    if key is None:
        raise WebhookError(
            "no browser may send clicks (set BRIDGE_PUBLISHABLE_KEY and BRIDGE_ALLOWED_ORIGINS)",
            code="not_configured",
            status=404,
        )
    if not hmac.compare_digest((given_key() or "").encode(), key.encode()):
        raise WebhookError(
            "the publishable key is missing or wrong (check data-key against "
            "BRIDGE_PUBLISHABLE_KEY)",
            code="unauthorized",
            status=401,
        )
    _demand_own_page(settings)


def is_allowed(settings: BridgeSettings) -> bool:
    """Tell whether a request comes from a page of the merchant's."""
    return _origin().lower() in settings.origins()


def add_cors(response: Response, settings: BridgeSettings) -> Response:
    """Let the page that asked read the answer, if it is the merchant's."""
    response.vary.add("Origin")
    if is_allowed(settings):
        response.headers["Access-Control-Allow-Origin"] = _origin()
        response.headers["Access-Control-Expose-Headers"] = "Retry-After"
    return response


def preflight(settings: BridgeSettings) -> Response:
    """Answer whether a page may send a click with headers of its own."""
    _demand_own_page(settings)
    answer = Response(status=204)
    answer.headers["Access-Control-Allow-Methods"] = "POST"
    answer.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
    answer.headers["Access-Control-Max-Age"] = str(A_DAY)
    return answer


def with_visitor(body: ClickBody) -> ClickBody:
    """Return what a browser sent with the address and browser that it was sent from.

    What the page says of them is not believed. An address of this machine or network is a proxy's:
    it would make one visitor of all.
    """
    agent = "".join(filter(str.isprintable, request.user_agent.string))[:LONGEST_TEXT]
    seen = body.context.model_copy(update={"ip": _address(), "user_agent": agent or None})
    return body.model_copy(update={"context": seen})


def _demand_own_page(settings: BridgeSettings) -> None:
    if not is_allowed(settings):
        raise WebhookError(
            f"pages of {_origin()[:200] or 'no known origin'} may not send clicks "
            "(check BRIDGE_ALLOWED_ORIGINS)",
            code="foreign_origin",
            status=403,
        )


def _address() -> str | None:
    address = _visitor()
    return str(address) if address and address.is_global else None


def _sender() -> str:
    """Return whose requests are counted together: one person may have a whole IPv6 network."""
    address = _visitor()
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), HOUSEHOLD), strict=False))
    return str(address or request.remote_addr)


def _visitor() -> IPv4Address | IPv6Address | None:
    """Return where a request comes from; some proxies say it with the port."""
    text = request.remote_addr or ""
    with_port = WITH_PORT.fullmatch(text)
    try:
        address = ip_address((with_port[1] or with_port[2]) if with_port else text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _origin() -> str:
    return request.headers.get("Origin", "")
