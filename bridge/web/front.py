"""The front: what the server calls. It takes webhooks itself, and hands the rest to Flask.

All webhooks are taken in one event loop, without Flask: a thread for each spends more time on being
woken than a webhook takes, and Flask alone takes as long as verifying and storing it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from a2wsgi import WSGIMiddleware
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, ServiceUnavailable
from werkzeug.sansio.utils import get_content_length

from bridge.web import webhooks
from bridge.web.arrivals import Arrivals
from bridge.web.refusals import JSON, answer_to
from bridge.web.state import MAX_BODY, WEBHOOKS, State

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from a2wsgi.asgi_typing import HTTPScope, Receive, Send
    from a2wsgi.wsgi_typing import WSGIApp

# Whoever comes to Flask mostly waits for the disk, not for the processor.
THREADS = 32
# Anybody may send a body, before it is known whether it is signed: not for ever, nor many at once.
BODY_SECONDS = 30.0
MOST_HELD = 16 * MAX_BODY


class Front:
    """Answer HTTP requests, as ASGI has it."""

    def __init__(self, app: WSGIApplication, state: State) -> None:
        self._state = state
        self._arrivals = Arrivals(state.store)
        self._flask = WSGIMiddleware(cast("WSGIApp", app), workers=THREADS)
        self._held = 0

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], _headers(scope["headers"])
        is_webhook = scope["method"] == "POST" and path.startswith(WEBHOOKS)
        length = get_content_length(headers.get("content-length"), headers.get("transfer-encoding"))
        try:
            raw = await self._body(length, receive)
            said = await self._take(path, headers, _whole(raw, length)) if is_webhook else b""
        except Exception as error:
            answer = answer_to(error, path)
            await _send(send, answer.status_code, answer.headers.items(), answer.get_data())
            return
        if is_webhook:
            kind, size = ("Content-Type", JSON), ("Content-Length", str(len(said)))
            await _send(send, 200, (kind, size), said)
        else:
            # A thread is lent to no one who sends slowly: all of the body is here.
            await self._flask(scope, partial(_again, raw), send)

    async def _body(self, length: int | None, receive: Receive) -> bytes:
        """Return the body of a request; not all of it, or none, if it is too large."""
        if (length or 0) > MAX_BODY:
            return b""
        message: Any = await receive()
        data: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return data
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._rest(data, receive)
        except TimeoutError:
            raise ClientDisconnected from None

    async def _rest(self, begun: bytes, receive: Receive) -> bytes:
        data, held, more = bytearray(begun), 0, True
        try:
            while more and len(data) <= MAX_BODY:
                self._held += len(data) - held
                held = len(data)
                if self._held > MOST_HELD:
                    raise ServiceUnavailable("too many large bodies at once; send it again later")
                message: Any = await receive()
                data += message.get("body", b"")
                more = message.get("more_body", False)
            return bytes(data)
        finally:
            self._held -= held

    async def _take(self, path: str, headers: dict[str, str], raw: bytes) -> bytes:
        """Put a webhook on disk; return the answer."""
        route = path.removeprefix(WEBHOOKS).removesuffix("/")
        provider = webhooks.provider_at(self._state, route)
        now = datetime.now(UTC)
        event = webhooks.verified(provider, headers, raw, now)
        return webhooks.answer_for(event, new=await self._arrivals.add(event, now))


def _headers(given: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers of a request, by their names in lower case."""
    headers: dict[str, str] = {}
    for raw_name, raw in given:
        name, value = raw_name.decode("latin-1"), raw.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _whole(raw: bytes, length: int | None) -> bytes:
    """Return a body; refuse one that is too large, or was broken off."""
    if max(len(raw), length or 0) > MAX_BODY:
        raise RequestEntityTooLarge
    if len(raw) < (length or 0):
        raise ClientDisconnected
    return raw


async def _again(raw: bytes) -> Any:
    """Return a body as it would be received."""
    return {"type": "http.request", "body": raw, "more_body": False}


async def _send(send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    raw = [(name.lower().encode("latin-1"), each.encode("latin-1")) for name, each in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
