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
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    RequestEntityTooLarge,
    ServiceUnavailable,
)
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
# Anybody may send a body, before it is known whether it is signed: not for ever, nor many large
# ones at once. Small ones, as nearly all are, are never refused for those.
BODY_SECONDS = 30.0
SMALL, MOST_HELD = 64 * 1024, 16 * MAX_BODY

_Answer = tuple[int, Iterable[tuple[str, str]], bytes]


class Front:
    """Answer HTTP requests, as ASGI has it."""

    def __init__(self, app: WSGIApplication, state: State) -> None:
        self._state = state
        self._arrivals = Arrivals(state.store)
        self._flask = WSGIMiddleware(cast("WSGIApp", app), workers=THREADS)
        self._held = 0

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        data = bytearray()
        try:
            if answer := await self._answer(scope, data, receive):
                await _send(send, *answer)
            else:
                # A thread is lent to no one who sends slowly: all of the body is here.
                await self._flask(_for_flask(scope), partial(_again, bytes(data)), send)
        finally:
            self._held -= len(data)

    async def _answer(self, scope: HTTPScope, data: bytearray, receive: Receive) -> _Answer | None:
        """Receive a request and return its answer; None where Flask has it."""
        path, headers = scope["path"], _headers(scope["headers"])
        length = get_content_length(headers.get("content-length"), headers.get("transfer-encoding"))
        try:
            await self._receive(data, length, receive)
            if scope["method"] != "POST" or not path.startswith(WEBHOOKS):
                _require_ascii(scope["query_string"])
                return None
            said = await self._take(path, headers, _whole(data, length))
        except Exception as error:
            answer = answer_to(error, path)
            return answer.status_code, answer.headers.items(), answer.get_data()
        return 200, [("Content-Type", JSON), ("Content-Length", str(len(said)))], said

    async def _receive(self, data: bytearray, length: int | None, receive: Receive) -> None:
        """Receive the body of a request; not all of it, or none, if it is too large."""
        more = length is None or 0 < length <= MAX_BODY
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more and len(data) <= MAX_BODY:
                    message: Any = await receive()
                    self._hold(data, message.get("body", b""))
                    more = message.get("more_body", False)
        except TimeoutError:
            raise ClientDisconnected from None

    def _hold(self, data: bytearray, piece: bytes) -> None:
        """Add a piece to a body; refuse a large one where there are many."""
        data += piece
        self._held += len(piece)
        if len(data) > SMALL and self._held > MOST_HELD:
            raise ServiceUnavailable("too many large bodies at once; send it again later")

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


def _require_ascii(query: bytes) -> None:
    if not query.isascii():
        raise BadRequest("the query holds what is no ASCII")


def _for_flask(scope: HTTPScope) -> HTTPScope:
    """Return a request as Flask may have it.

    There X_Forwarded_For would be as good as X-Forwarded-For, though no proxy has looked at it.
    """
    headers = [each for each in scope["headers"] if b"_" not in each[0]]
    return cast("HTTPScope", {**scope, "headers": headers})


def _whole(data: bytearray, length: int | None) -> bytes:
    """Return a body; refuse one that is too large, or was broken off."""
    if max(len(data), length or 0) > MAX_BODY:
        raise RequestEntityTooLarge
    if len(data) < (length or 0):
        raise ClientDisconnected
    return bytes(data)


async def _again(raw: bytes) -> Any:
    """Return a body as it would be received."""
    return {"type": "http.request", "body": raw, "more_body": False}


async def _send(send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    raw = [(name.lower().encode("latin-1"), each.encode("latin-1")) for name, each in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
