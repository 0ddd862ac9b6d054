"""The outbox: tell every vendor what it is still to be told, and record what it answered.

One step of a delivery is: plan the next call from (conversion, told); write it down; send it; judge
the answer; write down what the vendor has now been told; plan again. It ends when there is nothing
left to tell (settled), nothing that may be told (skipped), or no telling now (due again, dead,
unknown).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar, assert_never

from bridge import logs
from bridge.config import Config
from bridge.errors import StoreError
from bridge.gatekeeper import Gatekeeper
from bridge.http import Sender
from bridge.intake import Intake
from bridge.model import (
    Call,
    Conversion,
    ConversionKind,
    Dead,
    Done,
    Retry,
    Skip,
    Status,
    Told,
    Unknown,
)
from bridge.outcomes import INTERRUPTED, Outcome, judge, without_person
from bridge.planning import MOST_CALLS, Rules, addressed, plan
from bridge.records import Records
from bridge.store import Store
from bridge.store.rows import DeliveryRow, DeliveryState
from bridge.together import Together
from bridge.vault import spellings_of
from bridge.vendors.base import AnyVendor

# Longer than any one call can take: finding and reaching the vendor, and its time to answer.
LEASE = timedelta(seconds=90)
# A database that cannot be written for a moment must not make an answer unknown.
RECORD_SECONDS = 20.0
RECORD_AGAIN_SECONDS = 0.5
DRY_RUN = "BRIDGE_DRY_RUN: planned, not sent"

T = TypeVar("T")
log = logs.get()


def utc_now() -> datetime:
    """Return the time: the one clock that deliveries are timed by."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Ready:
    """Hold a call that is on record as being sent, and all that sending it takes.

    `without` keeps out of the record of its answer what must not be in it.
    """

    call: Call
    addressed: Call
    credentials: Mapping[str, str]
    without: Callable[[str], str]
    conversion: Conversion | None


@dataclass(frozen=True, slots=True)
class Begun:
    """Hold a leased delivery, and its next call where that is on record as being sent."""

    row: DeliveryRow
    ready: _Ready | None = None


class Outbox:
    """Deliver what is due, one call at a time per conversion and vendor."""

    def __init__(
        self,
        store: Store,
        config: Config,
        sender: Sender,
        *,
        clock: Callable[[], datetime] = utc_now,
        jitter: Callable[[], float] = random.random,
        stopping: Callable[[], bool] = bool,
        follows: Callable[[], bool] = bool,
    ) -> None:
        self._store = store
        self._vendors: Mapping[str, AnyVendor] = config.vendors
        self._rules = delivery_rules(config)
        self._dry_run = config.settings.dry_run
        self._sender = sender
        self._clock = clock
        self._stopping = stopping
        self._follows = follows
        self._redact = logs.Redactor(config.secrets())
        self._intake = Intake(store, config)
        self._gatekeeper = Gatekeeper(store, config, clock)
        self._records = Records(store, config, clock, jitter)
        self._together = Together(store.atomic)

    def lease(self, vendor: str, limit: int) -> list[DeliveryRow]:
        """Take up to `limit` due deliveries of a vendor, as many as may be called for now."""
        room = self._gatekeeper.room(vendor, limit)
        if not room:
            return []
        now = self._clock()
        token = f"{random.getrandbits(64):016x}"
        return self._store.deliveries.lease(vendor, now, now + LEASE, token, room)

    def next_at(self, vendors: Iterable[str]) -> datetime | None:
        """Return when there is next something to take of any of these vendors."""
        moments = []
        for vendor in vendors:
            due_at = self._store.deliveries.next_at([vendor])
            if due_at:
                moments.append(max(due_at, self._gatekeeper.free_at(vendor) or due_at))
        return min(moments, default=None)

    def deliver(self, row: DeliveryRow, ready: _Ready | None = None) -> Begun | None:
        """Bring one leased delivery as far as it can be brought now.

        Returns another of the vendor's that was taken in the transaction that recorded its last
        call, for the caller to go on with, if `follows` says so: to lease each by itself would take
        a transaction more. Where our own code fails on one, it ends as a dead letter that says so.
        """
        try:
            return self._deliver(row, ready)
        except StoreError:
            raise  # its lease runs out, and it is taken up again
        except Exception as error:
            log.exception("delivery failed", delivery=row.id)
            self._write(row, partial(self._records.break_off, row, error))
            return None

    def _deliver(self, row: DeliveryRow, ready: _Ready | None) -> Begun | None:
        for _ in range(MOST_CALLS):
            next_one = self._go_on(row, ready)
            if not isinstance(next_one, DeliveryRow):
                return next_one
            row, ready = next_one, None
            if self._stopping():
                self._write(row, partial(self._store.deliveries.defer, row, self._clock()))
                return None
        reason = f"planned more than {MOST_CALLS} calls in a row"
        self._write(row, partial(self._records.release, row, DeliveryState.DEAD, reason))
        return None

    def _go_on(self, row: DeliveryRow, ready: _Ready | None) -> DeliveryRow | Begun | None:
        """Send the next call; return what to go on with: the same row, another, or nothing."""
        call = row.in_flight
        if not ready and call and not call.repeatable:
            return self._conclude(row, call, INTERRUPTED)
        ready = ready or self._write(
            row, partial(self._clear_up, row, call) if call else partial(self._plan, row)
        )
        return self._send(row, ready) if ready else None

    # ── before a call: in one transaction ──

    def _plan(self, row: DeliveryRow) -> _Ready | None:
        """Write down the next call to be sent; None where there is none now."""
        conversion = self._store.orders.conversion(row.conversion)
        if conversion is None:
            return None  # it was merged into another meanwhile, and this row with it
        step = plan(self._vendors[row.vendor], conversion, row.told, self._rules)
        if not isinstance(step, Call):
            self._records.release(row, *_ends(step))
        elif self._dry_run:
            self._records.attempt(row, step, Outcome(Retry(DRY_RUN)), name="planned")
            self._records.release(row, DeliveryState.PLANNED, f"{DRY_RUN}: {step.step}")
        else:
            return self._start(row, step, conversion)
        return None

    def _clear_up(self, row: DeliveryRow, call: Call) -> _Ready | None:
        """Find out about a call that may have been counted, before anything else is told.

        One that may be repeated is repeated just as it was: only then do we know what is told, even
        if the conversion has changed meanwhile. Not so where it has since become unwanted and the
        vendor could not take it back.
        """
        conversion = self._store.orders.conversion(row.conversion)
        vendor = self._vendors[row.vendor]
        gone = conversion is None or conversion.status is Status.DISAPPROVED
        if gone and not call.asks and not vendor.capabilities.disapprove:
            reason = f"it may have been counted, and all of it went back since: {row.reason}"
            self._records.release(row, DeliveryState.UNKNOWN, reason, keep_call=True)
            return None
        if self._dry_run:
            self._records.release(row, DeliveryState.PLANNED, DRY_RUN, keep_call=True)
            return None
        return self._start(row, call, conversion)

    def _start(self, row: DeliveryRow, call: Call, conversion: Conversion | None) -> _Ready | None:
        """Write down what is about to be sent; not a call that was redacted since it was leased.

        Where the vendor may not be called by now the delivery is given back, to wait.
        """
        # Whatever can fail on our side does so before the call counts as being sent.
        credentials = self._vendors[row.vendor].authorize()
        address = self._address(row, conversion) if call.address else ""
        ready = _Ready(
            call, addressed(call, address), credentials, self._without(address), conversion
        )
        now, gate = self._clock(), self._gatekeeper.gate(row.vendor)
        if (free_at := self._gatekeeper.free_at(row.vendor, gate)) and free_at > now:
            self._store.deliveries.defer(row, now)
            return None
        redacted = row.in_flight is not None and self._records.in_flight(row) != row.in_flight
        if redacted or not self._store.deliveries.start(row, call, now + LEASE):
            log.warning("lease lost", delivery=row.id)
            return None
        self._gatekeeper.enter(row.vendor, gate)
        return ready

    def _address(self, row: DeliveryRow, conversion: Conversion | None) -> str:
        """Return the e-mail address of a delivery's customer, if it is known and may be told."""
        address = self._intake.vault.address_of(conversion.keys) if conversion else ""
        return address if self._vendors[row.vendor].takes_email(address) else ""

    def _without(self, address: str) -> Callable[[str], str]:
        """Return what keeps secrets, and an address, out of the record of an answer."""
        if not address:
            return self._redact
        spellings = spellings_of(address)
        return lambda text: spellings.sub(logs.HIDDEN, self._redact(text))

    # ── the call ──

    def _send(self, row: DeliveryRow, ready: _Ready) -> DeliveryRow | Begun | None:
        """Send one call; return what to go on with."""
        started = time.monotonic()
        answer = self._sender.send(ready.addressed, ready.credentials)
        took_ms = round((time.monotonic() - started) * 1000)
        vendor, call = self._vendors[row.vendor], ready.call
        outcome = judge(vendor, call, answer, took_ms, ready.without)
        lead = ready.conversion is not None and ready.conversion.kind is ConversionKind.LEAD
        return self._conclude(row, call, outcome, lead=lead)

    # ── after a call: in one transaction ──

    def _conclude(
        self, row: DeliveryRow, call: Call, outcome: Outcome, *, lead: bool = False
    ) -> DeliveryRow | Begun | None:
        """Record what came of a call, also where the database fails for a moment.

        Returns what to go on with: the row, or another if that was given back.
        """
        work = partial(self._conclude_within, row, call, outcome, [])
        deadline = time.monotonic() + RECORD_SECONDS
        while True:
            try:
                # Sales may have waited for a lead: then more is written than the delivery.
                return self._write(row, work, lead=lead)
            except StoreError as error:
                if time.monotonic() > deadline:
                    raise
                log.error("store failed", delivery=row.id, reason=str(error), action="trying again")
                time.sleep(RECORD_AGAIN_SECONDS)

    def _conclude_within(
        self, row: DeliveryRow, call: Call, outcome: Outcome, taken: list[Begun | None]
    ) -> DeliveryRow | Begun | None:
        """Record what came of a call; take another if that was all. `taken` is of earlier tries.

        Those failed, perhaps on just that, or nobody heard that they did not.
        """
        if carried_on := self._judged(row, call, outcome):
            return carried_on
        if taken:
            return next((each for each in taken if each and self._is_held(each.row)), None)
        taken.append(None)
        taken.append(self._begin_another(row.vendor) if self._follows() else None)
        return taken[-1]

    def _begin_another(self, vendor: str) -> Begun | None:
        """Lease the next delivery of a vendor, and plan it; undo both where our own code fails.

        What was accepted before must not hang on it: by itself it fails again, and is shown.
        """
        try:
            with self._store.atomic(vendor):
                row = next(iter(self.lease(vendor, 1)), None)
                if row is None or row.in_flight:
                    return Begun(row) if row else None
                ready = self._plan(row)
                return Begun(row, ready) if ready else None
        except StoreError:
            raise
        except Exception as error:
            log.warning("left alone", vendor=vendor, error=type(error).__name__)
            return None

    def _is_held(self, row: DeliveryRow) -> bool:
        stored = self._store.deliveries.get(row.id)
        return stored is not None and stored.lease == row.lease

    def _judged(self, row: DeliveryRow, call: Call, outcome: Outcome) -> DeliveryRow | None:
        conversion = self._store.orders.conversion(row.conversion)
        removed = conversion if conversion and conversion.redacted else None
        if removed:
            outcome = without_person(outcome, removed)
        verdict, records = outcome.verdict, self._records
        records.attempt(row, call, outcome, removed)
        self._gatekeeper.learn(row.vendor, outcome)
        # What may have been counted stays in doubt until it is accepted, or a person says.
        doubtful = call.repeatable and (outcome.ambiguous or row.in_flight is not None)
        match verdict:
            case Told():
                return self._accepted(row, call, verdict, conversion)
            case Retry():
                told = records.doubted(row, call) if outcome.ambiguous else None
                records.try_again(row, verdict, told, keep_call=doubtful)
            case Dead():
                records.release(
                    row, DeliveryState.DEAD, verdict.reason, failed=True, keep_call=doubtful
                )
            case Unknown():
                records.doubt(row, call, verdict)
            case _:
                assert_never(verdict)
        return None

    def _accepted(
        self, row: DeliveryRow, call: Call, told: Told, conversion: Conversion | None
    ) -> DeliveryRow | None:
        told = self._records.accepted(told)
        lead = conversion is not None and conversion.kind is ConversionKind.LEAD
        ended = None if conversion is None or lead else self._ended(row, conversion, told)
        state, reason = _ends(ended) if ended else (None, "")
        if not self._records.accept(row, call, told, state, reason) or ended:
            return None
        if conversion and lead and told.status:
            self._intake.refresh_customer(conversion.keys, self._clock())  # sales may have waited
        row = replace(row, told=told, in_flight=None)
        return row if call.asks else replace(row, failures=0, failing_since=None)

    def _ended(self, row: DeliveryRow, conversion: Conversion, told: Told) -> Done | Skip | None:
        """Return how a delivery ends that needs no further call."""
        try:
            step = plan(self._vendors[row.vendor], conversion, told, self._rules)
        except Exception:
            return None  # what was accepted is kept first: then it fails once more, and is shown
        return None if isinstance(step, Call) else step

    def _write(self, row: DeliveryRow, work: Callable[[], T], *, lead: bool = False) -> T:
        """Run what writes of a delivery in a transaction, with what others write of theirs."""
        return self._together.run("" if lead else row.vendor, work)


def _ends(step: Done | Skip) -> tuple[DeliveryState, str]:
    match step:
        case Done():
            return DeliveryState.SETTLED, ""
        case Skip():
            return DeliveryState.SKIPPED, step.reason
        case _:
            assert_never(step)


def delivery_rules(config: Config) -> Rules:
    """Return the merchant's rules of delivery."""
    return Rules(
        deliver_tests=config.settings.test_events == "deliver",
        first_payment_only=config.settings.recurring == "first",
    )
