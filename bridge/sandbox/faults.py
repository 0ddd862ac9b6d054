"""Faults on demand: what a vendor's next calls meet instead of, before or after being handled."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable
from threading import Event, Lock
from typing import Annotated, TypeAlias, cast

from flask import Blueprint, Response, current_app, g, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.sandbox.ledger import JsonObject, current_sandbox
from bridge.sandbox.reading import explain, mark_refused
from bridge.sandbox.strict import loads

Seconds: TypeAlias = Annotated[float, Field(ge=0, le=600)]


class Fault(BaseModel):
    """Describe what happens to one call; `delay` may come before any of the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    delay: Seconds = 0
    commit_then_hang: Seconds = 0
    reset: bool = False
    commit_then_reset: bool = False

    @model_validator(mode="after")
    def _is_one_fault(self) -> Fault:
        kinds = (self.status, self.commit_then_hang, self.reset, self.commit_then_reset)
        given = sum(bool(kind) for kind in kinds)
        if given > 1:
            raise ValueError("give one of status, commit_then_hang, reset, commit_then_reset")
        if not given and not self.delay:
            raise ValueError("give status, delay, commit_then_hang, reset or commit_then_reset")
        if (self.body or self.headers) and self.status is None:
            raise ValueError("body and headers need a status")
        return self


class Faults:
    """Queue one-shot faults per vendor, first in, first out."""

    def __init__(self, vendors: Iterable[str]) -> None:
        self._lock = Lock()
        self._queues: dict[str, deque[Fault]] = {vendor: deque() for vendor in vendors}
        self._closed = Event()

    def add(self, vendor: str, faults: Iterable[Fault]) -> None:
        """Queue faults for a vendor's next calls."""
        with self._lock:
            self._queues[vendor].extend(faults)

    def take(self, vendor: str) -> Fault | None:
        """Return the fault that this call meets, if any, and forget it."""
        with self._lock:
            queue = self._queues[vendor]
            return queue.popleft() if queue else None

    def clear(self) -> None:
        """Forget every fault that has not been met yet."""
        with self._lock:
            for queue in self._queues.values():
                queue.clear()

    def waiting(self) -> dict[str, int]:
        """Return how many faults each vendor's calls have still to meet."""
        with self._lock:
            return {vendor: len(queue) for vendor, queue in self._queues.items()}

    def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than the sandbox is open."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Wake every call that sleeps."""
        self._closed.set()


def current_faults() -> Faults:
    """Return the faults of the app that handles this request."""
    return cast(Faults, current_app.extensions["sandbox_faults"])


def meet_before() -> Response | None:
    """Take the fault of this call and let it happen as far as it comes before the handling."""
    fault = g.fault = current_faults().take(g.vendor)
    if fault is None:
        return None
    if fault.delay:
        current_faults().sleep(fault.delay)
    if fault.reset:
        mark_refused("the connection was dropped")
        return Response(status=503)
    return _answer(fault) if fault.status else None


def _answer(fault: Fault) -> Response:
    kind = "application/json" if fault.body.startswith(("{", "[")) else "text/html"
    answer = Response(fault.body, fault.status, content_type=kind)
    answer.headers.update(fault.headers)
    return answer


def drops_the_connection() -> bool:
    """Tell whether the fault of this call leaves it without an answer."""
    fault: Fault | None = g.get("fault")
    return fault is not None and (fault.reset or fault.commit_then_reset)


def meet_after() -> None:
    """Let the fault of this call happen as far as it comes after the handling."""
    fault: Fault | None = g.get("fault")
    if fault is not None and fault.commit_then_hang:
        current_faults().sleep(fault.commit_then_hang)
    if drops_the_connection():
        # The server goes on and writes its answer into a closed pipe, which it takes for a client
        # that left; the client reads the end of a connection that never answered.
        connection: socket.socket = request.environ["werkzeug.socket"]
        connection.shutdown(socket.SHUT_RDWR)


# ── asking for faults ────────────────────────────────────────────────────────────────────────────


class Order(BaseModel):
    """Describe the body of POST /faults."""

    model_config = ConfigDict(extra="forbid")

    vendor: str
    answers: list[Fault]


pages = Blueprint("faults", __name__)


@pages.post("/faults")
def add_faults() -> tuple[JsonObject, int]:
    """Queue faults for one vendor."""
    try:
        order = Order.model_validate(loads(request.get_data()))
    except ValidationError as error:
        return {"error": explain(error)}, 422
    except ValueError:
        return {"error": "the body is not valid JSON"}, 400
    if order.vendor not in current_sandbox().vendors:
        return {"error": f"no stand-in is called {order.vendor!r}"}, 404
    current_faults().add(order.vendor, order.answers)
    return {"waiting": current_faults().waiting()}, 201


@pages.get("/faults")
def count_faults() -> JsonObject:
    """Tell how many faults are still to be met."""
    return {"waiting": current_faults().waiting()}


@pages.delete("/faults")
def clear_faults() -> tuple[str, int]:
    """Forget all faults."""
    current_faults().clear()
    return "", 204
