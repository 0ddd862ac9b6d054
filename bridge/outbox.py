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
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import assert_never

from bridge import __version__, logs, retry
from bridge.config import Config
from bridge.errors import StoreError
from bridge.forgetting import forget_call, forget_words, names_told
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
from bridge.store import Store
from bridge.store.rows import Attempt, DeliveryRow, DeliveryState
from bridge.vault import spellings_of
from bridge.vendors.base import AnyVendor

# Longer than any one call can take: finding and reaching the vendor, and its time to answer.
LEASE = timedelta(seconds=90)
# A database that cannot be written for a moment must not make an answer unknown.
RECORD_SECONDS = 20.0
RECORD_AGAIN_SECONDS = 0.5
LONGEST_RECORDED = 2000
DRY_RUN = "BRIDGE_DRY_RUN: planned, not sent"

log = logs.get()


def utc_now() -> datetime:
    """Return the time: the one clock that deliveries are timed by."""
    return datetime.now(UTC)


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
    ) -> None:
        self._store = store
        self._vendors: Mapping[str, AnyVendor] = config.vendors
        self._rules = delivery_rules(config)
        self._dry_run = config.settings.dry_run
        self._sender = sender
        self._clock = clock
        self._jitter = jitter
        self._stopping = stopping
        self._redact = logs.Redactor(config.secrets())
        self._intake = Intake(store, config)
        self._gatekeeper = Gatekeeper(store, config, clock)

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

    def deliver(self, row: DeliveryRow) -> None:
        """Bring one leased delivery as far as it can be brought now.

        Where our own code fails on it, it ends as a dead letter that says so.
        """
        try:
            self._deliver(row)
        except StoreError:
            raise  # its lease runs out, and it is taken up again
        except Exception as error:
            log.exception("delivery failed", delivery=row.id)
            self._break_off(row, error)

    def _deliver(self, row: DeliveryRow) -> None:
        if row.in_flight is not None:
            if not (carried_on := self._clear_up(row, row.in_flight)):
                return
            row = carried_on
        for _ in range(MOST_CALLS):
            if not (carried_on := self._go_on(row)):
                return
            row = carried_on
            if self._stopping():
                self._store.deliveries.defer(row, self._clock())
                return
        self._release(row, DeliveryState.DEAD, f"planned more than {MOST_CALLS} calls in a row")

    def _go_on(self, row: DeliveryRow) -> DeliveryRow | None:
        """Send the next call; return the row to go on with, or None where that was all for now."""
        conversion = self._store.orders.conversion(row.conversion)
        if conversion is None:
            return None  # it was merged into another meanwhile, and this row with it
        step = plan(self._vendors[row.vendor], conversion, row.told, self._rules)
        if not isinstance(step, Call):
            self._finish(row, step)
        elif self._dry_run:
            self._only_plan(row, step)
        else:
            return self._send(row, step)
        return None

    def _clear_up(self, row: DeliveryRow, call: Call) -> DeliveryRow | None:
        """Find out about a call that may have been counted, before anything else is told.

        One that may be repeated is repeated just as it was: only then do we know what is told, even
        if the conversion has changed meanwhile. Not so where it has since become unwanted and the
        vendor could not take it back.
        """
        if not call.repeatable:
            return self._conclude(row, call, INTERRUPTED)
        conversion = self._store.orders.conversion(row.conversion)
        vendor = self._vendors[row.vendor]
        gone = conversion is None or conversion.status is Status.DISAPPROVED
        if gone and not call.asks and not vendor.capabilities.disapprove:
            reason = f"it may have been counted, and all of it went back since: {row.reason}"
            self._release(row, DeliveryState.UNKNOWN, reason, keep_call=True)
            return None
        if self._dry_run:
            self._release(row, DeliveryState.PLANNED, DRY_RUN, keep_call=True)
            return None
        return self._send(row, call)

    # ── one call ──

    def _send(self, row: DeliveryRow, call: Call) -> DeliveryRow | None:
        """Send one call; return the row to go on with, or None when it was given back."""
        vendor = self._vendors[row.vendor]
        # Whatever can fail on our side does so before the call counts as being sent.
        credentials = vendor.authorize()
        with self._store.atomic(row.vendor):
            address = self._address(row) if call.address else ""
            ready, without = addressed(call, address), self._without(address)
            if not self._start(row, call):
                return None
        started = time.monotonic()
        answer = self._sender.send(ready, credentials)
        took_ms = round((time.monotonic() - started) * 1000)
        return self._conclude_in_the_end(row, call, judge(vendor, call, answer, took_ms, without))

    def _address(self, row: DeliveryRow) -> str:
        """Return the e-mail address of a delivery's customer, if it is known and may be told."""
        conversion = self._store.orders.conversion(row.conversion)
        address = self._intake.vault.address_of(conversion.keys) if conversion else ""
        return address if self._vendors[row.vendor].takes_email(address) else ""

    def _without(self, address: str) -> Callable[[str], str]:
        """Return what keeps secrets, and an address, out of the record of an answer."""
        if not address:
            return self._redact
        spellings = spellings_of(address)
        return lambda text: spellings.sub(logs.HIDDEN, self._redact(text))

    def _start(self, row: DeliveryRow, call: Call) -> bool:
        """Write down what is about to be sent; not a call that was redacted since it was leased.

        Where the vendor may not be called by now the delivery is given back, to wait.
        """
        now = self._clock()
        if (free_at := self._gatekeeper.free_at(row.vendor)) and free_at > now:
            self._store.deliveries.defer(row, now)
            return False
        redacted = row.in_flight is not None and self._in_flight(row) != row.in_flight
        if redacted or not self._store.deliveries.start(row, call, now + LEASE):
            log.warning("lease lost", delivery=row.id)
            return False
        self._gatekeeper.enter(row.vendor)
        return True

    def _in_flight(self, row: DeliveryRow) -> Call | None:
        stored = self._store.deliveries.get(row.id)
        return stored.in_flight if stored else None

    def _conclude_in_the_end(
        self, row: DeliveryRow, call: Call, outcome: Outcome
    ) -> DeliveryRow | None:
        """Record what came of a call, also where the database fails for a moment."""
        deadline = time.monotonic() + RECORD_SECONDS
        while True:
            try:
                return self._conclude(row, call, outcome)
            except StoreError as error:
                if time.monotonic() > deadline:
                    raise
                log.error("store failed", delivery=row.id, reason=str(error), action="trying again")
                time.sleep(RECORD_AGAIN_SECONDS)

    def _conclude(self, row: DeliveryRow, call: Call, outcome: Outcome) -> DeliveryRow | None:
        """Record what came of a call; return the row to go on with, or None if given back."""
        with self._store.atomic("" if self._store.orders.is_lead(row.conversion) else row.vendor):
            if removed := self._redacted(row):
                outcome = without_person(outcome, removed)
            verdict = outcome.verdict
            self._record(row, call, outcome)
            self._gatekeeper.learn(row.vendor, outcome)
            # What may have been counted stays in doubt until it is accepted, or a person says.
            doubtful = call.repeatable and (outcome.ambiguous or row.in_flight is not None)
            match verdict:
                case Told():
                    return self._accepted(row, call, verdict)
                case Retry():
                    told = self._doubted(row, call) if outcome.ambiguous else None
                    self._try_again(row, verdict, told, keep_call=doubtful)
                case Dead():
                    self._release(
                        row, DeliveryState.DEAD, verdict.reason, failed=True, keep_call=doubtful
                    )
                case Unknown():
                    self._doubt(row, call, verdict)
                case _:
                    assert_never(verdict)
        return None

    def _accepted(self, row: DeliveryRow, call: Call, told: Told) -> DeliveryRow | None:
        now = self._clock()
        told = replace(told, reference=self._redact.for_ids()(told.reference))
        if not self._store.deliveries.tell(row, told, now, asked=call.asks):
            log.warning("lease lost", delivery=row.id)
            self._settle_late(row, call, told)
            return None
        conversion = self._store.orders.conversion(row.conversion)
        if conversion and conversion.kind is ConversionKind.LEAD and told.status:
            self._intake.refresh_customer(conversion.keys, now)  # sales may have waited for it
        row = replace(row, told=told, in_flight=None)
        return row if call.asks else replace(row, failures=0, failing_since=None)

    def _settle_late(self, row: DeliveryRow, call: Call, told: Told) -> None:
        """End the doubt about a call that was taken for lost when its answer came after all."""
        stored = self._store.deliveries.get(row.id)
        if stored and stored.state is DeliveryState.UNKNOWN and stored.in_flight == call:
            self._store.deliveries.resolve(stored, self._clock(), told)

    def _try_again(
        self,
        row: DeliveryRow,
        verdict: Retry,
        told: Told | None = None,
        *,
        keep_call: bool = False,
    ) -> None:
        now = self._clock()
        failing_since = row.failing_since or now
        next_at = retry.next_attempt_at(
            row.failures + 1, failing_since, now, self._jitter(), verdict.after
        )
        state, reason = DeliveryState.DUE, verdict.reason
        if next_at is None:
            state = DeliveryState.DEAD
            reason = f"given up after {retry.GIVE_UP_AFTER.days} days: {reason}"
        self._release(
            row, state, reason, failed=True, next_at=next_at, told=told, keep_call=keep_call
        )

    def _doubt(self, row: DeliveryRow, call: Call, verdict: Unknown) -> None:
        """Deal with a call that may have been counted: repeat it, look it up, or ask a person."""
        if call.repeatable:
            self._try_again(row, Retry(verdict.reason), keep_call=True)
        elif doubted := self._doubted(row, call):
            self._try_again(row, Retry(verdict.reason), doubted)
        else:
            self._release(row, DeliveryState.UNKNOWN, verdict.reason, failed=True, keep_call=True)

    def _doubted(self, row: DeliveryRow, call: Call) -> Told | None:
        """Return what a vendor was told with a doubt that it clears up when it is asked."""
        if call.repeatable or not self._vendors[row.vendor].capabilities.askable:
            return None
        return replace(row.told, doubt=call.step, known_as=call.tells.known_as)

    def _finish(self, row: DeliveryRow, step: Done | Skip) -> None:
        match step:
            case Done():
                self._release(row, DeliveryState.SETTLED)
            case Skip():
                self._release(row, DeliveryState.SKIPPED, step.reason)
            case _:
                assert_never(step)

    def _break_off(self, row: DeliveryRow, error: Exception) -> None:
        """End a delivery that our own code fails on; what may have been counted stays in doubt."""
        held, capable = self._in_flight(row), self._vendors[row.vendor].capabilities
        blind = held is not None and not (held.repeatable or capable.askable)
        state = DeliveryState.UNKNOWN if blind else DeliveryState.DEAD
        reason = (
            f"bridge {__version__} failed on it ({type(error).__name__}; the log says where): "
            f"a mistake of ours, so upgrade, then `bridge {'resolve' if blind else 'retry'}`"
        )
        self._release(row, state, reason, failed=True, keep_call=True)

    def _only_plan(self, row: DeliveryRow, call: Call) -> None:
        with self._store.atomic(row.vendor):
            self._record(row, call, Outcome(Retry(DRY_RUN)), "planned")
            self._release(row, DeliveryState.PLANNED, f"{DRY_RUN}: {call.step}")

    # ── records ──

    def _record(self, row: DeliveryRow, call: Call, outcome: Outcome, name: str = "") -> None:
        reason = outcome.reason
        if (removed := self._redacted(row)) and self._in_flight(row) != call:
            call = forget_call(call, names_told(call.tells, removed))
        name = name or outcome.name
        attempt = Attempt(
            delivery=row.id,
            number=0,
            at=self._clock(),
            call=call,
            outcome=name,
            reason=self._redact(reason),
            status=outcome.status,
            answer=self._redact(outcome.answer[:LONGEST_RECORDED]),
            took_ms=outcome.took_ms,
        )
        self._store.deliveries.record(attempt)
        write = log.error if isinstance(outcome.verdict, (Dead, Unknown)) else log.info
        write(
            "attempt",
            delivery=row.id,
            step=call.step,
            outcome=name,
            status=outcome.status,
            took_ms=outcome.took_ms,
            reason=self._redact(forget_words(reason)),  # those may name a person
        )

    def _redacted(self, row: DeliveryRow) -> Conversion | None:
        """Return what is told, if its customer was removed, perhaps while a call was being sent."""
        conversion = self._store.orders.conversion(row.conversion)
        return conversion if conversion and conversion.redacted else None

    def _release(
        self,
        row: DeliveryRow,
        state: DeliveryState,
        reason: str = "",
        *,
        failed: bool = False,
        keep_call: bool = False,
        next_at: datetime | None = None,
        told: Told | None = None,
    ) -> None:
        held = self._store.deliveries.release(
            row,
            state,
            self._clock(),
            reason=self._redact(reason),
            failed=failed,
            keep_call=keep_call,
            next_at=next_at,
            told=told,
        )
        if not held:
            log.warning("lease lost", delivery=row.id)


def delivery_rules(config: Config) -> Rules:
    """Return the merchant's rules of delivery."""
    return Rules(
        deliver_tests=config.settings.test_events == "deliver",
        first_payment_only=config.settings.recurring == "first",
    )
