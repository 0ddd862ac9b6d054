"""The rows of the store, as the rest of bridge sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from bridge.codec import from_iso, load
from bridge.model import Call, Event, Told


class EventState(StrEnum):
    """Name how far an event has come."""

    RECEIVED = "received"  # on disk, not yet understood
    PROCESSED = "processed"  # its payments are in the ledger
    IGNORED = "ignored"  # it says nothing about money
    FAILED = "failed"  # our code could not process it: kept, and run again by `bridge replay`
    WAITING = "waiting"  # something that it leaves out must be fetched first


class DeliveryState(StrEnum):
    """Name how a delivery stands."""

    DUE = "due"  # the vendor is to be told, now or at next_attempt_at
    SENDING = "sending"  # a worker holds it
    SETTLED = "settled"  # the vendor is up to date
    SKIPPED = "skipped"  # the vendor is not told, for a reason
    PLANNED = "planned"  # BRIDGE_DRY_RUN: it would be told
    DEAD = "dead"  # the vendor refused it, or three days of retries ended: a dead letter
    UNKNOWN = "unknown"  # it may or may not have been counted: a person decides


class AskState(StrEnum):
    """Name how a question to a provider stands."""

    DUE = "due"
    ANSWERED = "answered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Hold an event with what became of it; `key` names it over all providers and accounts.

    `fresh` marks one of which it is known that nothing it tells was stored before.
    """

    key: str
    event: Event
    state: EventState
    reason: str
    received_at: datetime
    fresh: bool = False

    @property
    def redacted(self) -> bool:
        """Tell whether its body was removed with a customer's data: it cannot be processed again.

        An event that says nothing about money never had one here.
        """
        return not self.event.body and not self.event.ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """Hold a delivery: one conversion at one vendor.

    `failures` counts the failed attempts since `failing_since`; `in_flight` is the call that was
    about to be sent when this was written; `lease` is the token of the worker that holds it.
    """

    id: str
    conversion: str
    vendor: str
    state: DeliveryState
    reason: str
    told: Told
    in_flight: Call | None
    attempts: int
    failures: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    lease: str
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Hold one try at a delivery: what was sent, what came back, and how it was judged.

    `outcome` is "accepted", "retry", "dead", "unknown" or "planned"; `status` is None where no
    answer came. Attempts are never changed, but for a person's data that is to be removed.
    """

    delivery: str
    number: int
    at: datetime
    call: Call
    outcome: str
    reason: str
    status: int | None = None
    answer: str = ""
    took_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Hold a question to a provider: a reference without a sale, or an event to be fetched."""

    provider: str
    subject: str
    account: str
    state: AskState
    asked: int
    next_at: datetime
    first_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Hold who says that keys belong together, and when; `claimed` where only a browser does."""

    source: str = ""
    at: datetime | None = None
    claimed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BondRow(Said):
    """Hold keys that were said to belong together."""

    keys: frozenset[str]


Row = dict[str, Any]


def delivery_row(row: Row) -> DeliveryRow:
    """Return a delivery as the database holds it; raise ValueError where it cannot be read."""
    return DeliveryRow(
        id=row["id"],
        conversion=row["conversion"],
        vendor=row["vendor"],
        state=DeliveryState(row["state"]),
        reason=row["reason"],
        told=load(Told, row["told"]),
        in_flight=load(Call, row["in_flight"]) if row["in_flight"] else None,
        attempts=row["attempts"],
        failures=row["failures"],
        failing_since=_time(row["failing_since"]),
        next_attempt_at=_time(row["next_attempt_at"]) if row["state"] == "due" else None,
        lease=row["lease"],
        updated_at=from_iso(row["updated_at"]),
    )


def attempt_row(row: Row) -> Attempt:
    """Return an attempt as the database holds it."""
    return Attempt(
        delivery=row["delivery"],
        number=row["number"],
        at=from_iso(row["at"]),
        call=load(Call, row["call"]),
        outcome=row["outcome"],
        reason=row["reason"],
        status=row["status"],
        answer=row["answer"],
        took_ms=row["took_ms"],
    )


def _time(text: str | None) -> datetime | None:
    return from_iso(text) if text else None
