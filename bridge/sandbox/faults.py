"""Faults on demand: what a vendor's calls meet instead of, before or after being handled.

The next calls meet the faults that are queued, each once. In a spell, a vendor misbehaves for a
while: of all its calls a share meets one of some faults, whichever comes up.
"""

from __future__ import annotations

import random
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from threading import Event, Lock
from typing import Annotated, TypeAlias, cast

from flask import Blueprint, Response, current_app, g, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.sandbox.ledger import JsonObject, current_sandbox
from bridge.sandbox.reading import explain, mark_refused
from bridge.sandbox.strict import loads

Seconds: TypeAlias = Annotated[float, Field(ge=0, le=600)]


class Fault(BaseModel):
    """Describe what happens to one call; `delay` may come before any of the others.

    Where it has a `status`, the call is not handled, unless it says `commit`: then it is, and what
    is answered to it is lost on the way.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    delay: Seconds = 0
    commit: bool = False
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
        if self.commit and self.status is None:
            raise ValueError("commit needs a status (or give commit_then_hang, commit_then_reset)")
        return self

    @property
    def name(self) -> str:
        """Return what counts it: "500", "200 committed", "reset"."""
        if self.status is not None:
            return f"{self.status} committed" if self.commit else str(self.status)
        return next((each for each in HAPPENINGS if getattr(self, each)), "delay")


HAPPENINGS = ("commit_then_hang", "reset", "commit_then_reset")


class Spell:
    """Let a share of a vendor's calls meet one of some faults, for so many seconds or for good."""

    def __init__(
        self, faults: Sequence[Fault], share: float, seed: int | None, until: float | None
    ) -> None:
        self.faults = tuple(faults)
        self.share = share
        self.until = until
        self._dice = random.Random(seed)  # noqa: S311 - nothing here is to be kept secret

    def draw(self) -> Fault | None:
        """Return the fault that a call meets, if it meets one."""
        return self._dice.choice(self.faults) if self._dice.random() < self.share else None


class Faults:
    """Hold what each vendor's calls are to meet: one-shot faults, first in, first out; or a spell.

    A call meets a queued fault rather than one of the spell.
    """

    def __init__(self, vendors: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = Lock()
        self._clock = clock
        self._queues: dict[str, deque[Fault]] = {vendor: deque() for vendor in vendors}
        self._spells: dict[str, Spell] = {}
        self._met: dict[str, Counter[str]] = {vendor: Counter() for vendor in self._queues}
        self._closed = Event()

    def add(self, vendor: str, faults: Iterable[Fault]) -> None:
        """Queue faults for a vendor's next calls."""
        with self._lock:
            self._queues[vendor].extend(faults)

    def begin(
        self,
        vendor: str,
        faults: Sequence[Fault],
        share: float = 1.0,
        *,
        seconds: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Begin a spell, which ends the one before: until it is taken away, or for some seconds."""
        until = None if seconds is None else self._clock() + seconds
        with self._lock:
            self._spells[vendor] = Spell(faults, share, seed, until)

    def take(self, vendor: str) -> Fault | None:
        """Return the fault that this call meets, if any; a queued one is forgotten."""
        with self._lock:
            queue, spell = self._queues[vendor], self._spell(vendor)
            fault = queue.popleft() if queue else spell.draw() if spell else None
            if fault:
                self._met[vendor][fault.name] += 1
            return fault

    def clear(self) -> None:
        """Forget every fault that has not been met yet, and end every spell."""
        with self._lock:
            self._spells.clear()
            for queue in self._queues.values():
                queue.clear()

    def waiting(self) -> dict[str, int]:
        """Return how many queued faults each vendor's calls have still to meet."""
        with self._lock:
            return {vendor: len(queue) for vendor, queue in self._queues.items()}

    def spells(self) -> dict[str, JsonObject]:
        """Return the spell of each vendor that has one, and how long it will last."""
        with self._lock:
            found = {vendor: self._spell(vendor) for vendor in self._queues}
            return {vendor: self._describe(spell) for vendor, spell in found.items() if spell}

    def met(self) -> dict[str, dict[str, int]]:
        """Return how often each vendor's calls have met which fault so far."""
        with self._lock:
            return {vendor: dict(counter) for vendor, counter in self._met.items()}

    def _spell(self, vendor: str) -> Spell | None:
        spell = self._spells.get(vendor)
        over = spell is not None and spell.until is not None and self._clock() >= spell.until
        return None if over else spell

    def _describe(self, spell: Spell) -> JsonObject:
        left = None if spell.until is None else round(spell.until - self._clock(), 3)
        return {"answers": len(spell.faults), "share": spell.share, "seconds_left": left}

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
    return _answer(fault) if fault.status and not fault.commit else None


def _answer(fault: Fault) -> Response:
    kind = "application/json" if fault.body.startswith(("{", "[")) else "text/html"
    answer = Response(fault.body, fault.status, content_type=kind)
    answer.headers.update(fault.headers)
    return answer


def drops_the_connection() -> bool:
    """Tell whether the fault of this call leaves it without an answer."""
    fault: Fault | None = g.get("fault")
    return fault is not None and (fault.reset or fault.commit_then_reset)


def meet_after(response: Response) -> Response:
    """Let the fault of this call happen, as far as it comes after the handling, to the answer."""
    fault: Fault | None = g.get("fault")
    if fault is not None and fault.commit_then_hang:
        current_faults().sleep(fault.commit_then_hang)
    if fault is not None and fault.commit:
        return _answer(fault)
    if drops_the_connection():
        # The server goes on and writes its answer into a closed pipe, which it takes for a client
        # that left; the client reads the end of a connection that never answered.
        connection: socket.socket = request.environ["werkzeug.socket"]
        connection.shutdown(socket.SHUT_RDWR)
    return response


# ── asking for faults ────────────────────────────────────────────────────────────────────────────


class Order(BaseModel):
    """Describe the body of POST /faults: faults to be queued or, with a `share`, a spell.

    The `seed` makes the same calls meet the same faults again.
    """

    model_config = ConfigDict(extra="forbid")

    vendor: str
    answers: list[Fault]
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> Order:
        if self.share is None and (self.seconds is not None or self.seed is not None):
            raise ValueError("seconds and seed need a share: how many of the calls meet a fault")
        if self.share is not None and not self.answers:
            raise ValueError("a share needs answers to choose from")
        return self


pages = Blueprint("faults", __name__)


@pages.post("/faults")
def add_faults() -> tuple[JsonObject, int]:
    """Queue faults for one vendor, or begin a spell of it."""
    try:
        order = Order.model_validate(loads(request.get_data()))
    except ValidationError as error:
        return {"error": explain(error)}, 422
    except ValueError:
        return {"error": "the body is not valid JSON"}, 400
    if order.vendor not in current_sandbox().vendors:
        return {"error": f"no stand-in is called {order.vendor!r}"}, 404
    if order.share is None:
        current_faults().add(order.vendor, order.answers)
    else:
        current_faults().begin(
            order.vendor, order.answers, order.share, seconds=order.seconds, seed=order.seed
        )
    return show_faults(), 201


@pages.get("/faults")
def show_faults() -> JsonObject:
    """Tell how many queued faults are still to be met, which spells last, and what was met."""
    faults = current_faults()
    return {"waiting": faults.waiting(), "spells": faults.spells(), "met": faults.met()}


@pages.delete("/faults")
def clear_faults() -> tuple[str, int]:
    """Forget all faults and spells."""
    current_faults().clear()
    return "", 204
