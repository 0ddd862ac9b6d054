"""What every request needs: the settings and the store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

from flask import current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from bridge.config import Config
from bridge.intake import Intake
from bridge.store import Store
from bridge.web.browsers import RateLimit

MAX_BODY = 5 * 1024 * 1024


@dataclass(frozen=True)
class State:
    """Hold what the application was built with."""

    config: Config
    store: Store
    rate_limit: RateLimit

    @cached_property
    def intake(self) -> Intake:
        """Return what takes clicks in; made when first needed, as the store may not be there."""
        return Intake(self.store, self.config)


def body(most: int = MAX_BODY) -> bytes:
    """Return the raw body of this request; refuse one that is too large, however it is sent.

    Werkzeug looks at the Content-Length, and silently cuts a body that is sent in chunks without.
    """
    if (request.content_length or 0) > most:
        raise RequestEntityTooLarge
    if request.content_length is not None:
        return request.get_data(cache=False)
    data: bytes = request.environ["wsgi.input"].read(most + 1)
    if len(data) > most:
        raise RequestEntityTooLarge
    return data


def state() -> State:
    """Return the state of the application that serves this request."""
    return cast(State, current_app.extensions["bridge"])
