"""What every request needs: the settings and the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from bridge.config import Config
from bridge.store import Store

MAX_BODY = 5 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class State:
    """Hold what the application was built with."""

    config: Config
    store: Store


def state() -> State:
    """Return the state of the application that serves this request."""
    return cast(State, current_app.extensions["bridge"])
