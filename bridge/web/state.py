"""What every request needs: the settings and the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import IO, cast

from flask import current_app, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.sansio.utils import get_content_length

from bridge.config import Config
from bridge.intake import Intake
from bridge.providers.base import AnyProvider
from bridge.store import Store
from bridge.web.browsers import RateLimit

MAX_BODY = 5 * 1024 * 1024
WEBHOOKS = "/webhooks/"


@dataclass(frozen=True)
class State:
    """Hold what the application was built with."""

    config: Config
    store: Store
    rate_limit: RateLimit

    @cached_property
    def routes(self) -> Mapping[str, AnyProvider]:
        """Return the providers that are switched on, by the last part of their address."""
        return {each.route: each for each in self.config.providers.values()}

    @cached_property
    def intake(self) -> Intake:
        """Return what takes clicks in; made when first needed, as the store may not be there."""
        return Intake(self.store, self.config)


def body(most: int = MAX_BODY) -> bytes:
    """Return the raw body of this request; refuse one that is too large, or was broken off.

    Werkzeug looks at the Content-Length, and silently cuts a body that is sent in chunks without.
    """
    environ = request.environ
    sent = environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")
    length = get_content_length(*sent)
    if (length or 0) > most:
        raise RequestEntityTooLarge
    data = _read(environ["wsgi.input"], most + 1 if length is None else length)
    if len(data) > most:
        raise RequestEntityTooLarge
    if len(data) < (length or 0):
        raise ClientDisconnected
    return data


def _read(source: IO[bytes], length: int) -> bytes:
    data = source.read(length) if length else b""
    while data and len(data) < length and (more := source.read(length - len(data))):
        data += more
    return data


def state() -> State:
    """Return the state of the application that serves this request."""
    return cast(State, current_app.extensions["bridge"])
