"""The outbox: tell every vendor what it is still to be told, and record what it answered.

One step of a delivery is: plan the next call from (conversion, told); write it down; send it; judge
the answer; write down what the vendor has now been told; plan again. It ends when there is nothing
left to tell (settled), nothing that may be told (skipped), or no telling now (due again, dead,
unknown).
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

from bridge import logs, retry
from bridge.attribution import strongest_first
from bridge.config import Config
from bridge.forgetting import forget_call, forget_told, forget_words, names_told
from bridge.http import Sender
from bridge.identity import EMAIL, kind_of
from bridge.intake import Intake
from bridge.model import (
    Call,
    Conversion,
    ConversionKind,
    Dead,
    Done,
    NoAnswer,
    Response,
    Retry,
    Skip,
    Status,
    Told,
    Unknown,
    Verdict,
)
from bridge.planning import Rules, plan
from bridge.store import Store
from bridge.store.rows import Attempt, DeliveryRow, DeliveryState
from bridge.vault import spellings_of
from bridge.vendors.base import AnyVendor

# Longer than any one call can take (connect and read time-outs together).
LEASE = timedelta(seconds=60)
# More calls than any vendor needs in a row: a plan that never ends is a mistake of ours.
MOST_CALLS = 10
LONGEST_RECORDED = 2000
DRY_RUN = "BRIDGE_DRY_RUN: planned, not sent"

log = logs.get()


def utc_now() -> datetime:
    """Return the time: the one clock that deliveries are timed by."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold what came of a call: what was judged, and what was answered.

    It is `ambiguous` where the call may have been counted although no success was answered.
    """

    verdict: Verdict
    status: int | None = None
    answer: str = ""
    took_ms: int = 0
    ambiguous: bool = False


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
    ) -> None:
        self._store = store
        self._vendors: Mapping[str, AnyVendor] = config.vendors
        self._rules = delivery_rules(config)
        self._dry_run = config.settings.dry_run
        self._sender = sender
        self._clock = clock
        self._jitter = jitter
        self._redact = logs.Redactor(config.secrets())
        self._intake = Intake(store, config)

    def lease(self, vendor: str, limit: int) -> list[DeliveryRow]:
        """Take up to `limit` due deliveries of a vendor."""
        now = self._clock()
        token = f"{random.getrandbits(64):016x}"
        return self._store.deliveries.lease(vendor, now, now + LEASE, token, limit)

    def deliver(self, row: DeliveryRow) -> None:
        """Bring one leased delivery as far as it can be brought now."""
        if row.in_flight is not None:
            if not (carried_on := self._clear_up(row, row.in_flight)):
                return
            row = carried_on
        for _ in range(MOST_CALLS):
            conversion = self._store.orders.conversion(row.conversion)
            if conversion is None:
                return  # it was merged into another meanwhile, and this row with it
            step = plan(self._vendors[row.vendor], conversion, row.told, self._rules)
            if not isinstance(step, Call):
                self._finish(row, step)
                return
            if self._dry_run:
                self._only_plan(row, step)
                return
            if not (carried_on := self._send(row, step)):
                return
            row = carried_on
        self._release(row, DeliveryState.DEAD, f"planned more than {MOST_CALLS} calls in a row")

    def _clear_up(self, row: DeliveryRow, call: Call) -> DeliveryRow | None:
        """Find out about a call that may have been counted, before anything else is told.

        One that may be repeated is repeated just as it was: only then do we know what is told, even
        if the conversion has changed meanwhile. Not so where it has since become unwanted and the
        vendor could not take it back.
        """
        if not call.repeatable:
            return self._conclude(row, call, _interrupted())
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
        if not self._start(row, call):
            log.warning("lease lost", delivery=row.id)
            return None
        address = self._address(row) if call.address else ""
        started = time.monotonic()
        answer = self._sender.send(
            addressed(call, address), vendor.authorize(), self._without(address)
        )
        took_ms = round((time.monotonic() - started) * 1000)
        return self._conclude(row, call, _judge(vendor, call, answer, took_ms))

    def _address(self, row: DeliveryRow) -> str:
        """Return the e-mail address of a delivery's customer, if it is known and may be told."""
        conversion = self._store.orders.conversion(row.conversion)
        keys = conversion.keys if conversion else ()
        aliases = self._store.customers.aliases(strongest_first(keys)[:1])
        theirs = [key for key in aliases if kind_of(key) == EMAIL]
        # Of several addresses of a customer, only the order itself says which one is meant.
        known = [*(key for key in keys if kind_of(key) == EMAIL), *theirs[: len(theirs) == 1]]
        address = next(filter(None, map(self._intake.vault.address, ([key] for key in known))), "")
        return address if self._vendors[row.vendor].takes_email(address) else ""

    def _without(self, address: str) -> Callable[[str], str]:
        """Return what keeps secrets, and an address, out of the record of an answer."""
        if not address:
            return self._redact
        spellings = spellings_of(address)
        return lambda text: spellings.sub(logs.HIDDEN, self._redact(text))

    def _start(self, row: DeliveryRow, call: Call) -> bool:
        """Write down what is about to be sent; not a call that was redacted since it was leased."""
        with self._store.atomic():
            if row.in_flight is not None and self._in_flight(row) != row.in_flight:
                return False
            return self._store.deliveries.start(row, call, self._clock() + LEASE)

    def _in_flight(self, row: DeliveryRow) -> Call | None:
        stored = self._store.deliveries.get(row.id)
        return stored.in_flight if stored else None

    def _conclude(self, row: DeliveryRow, call: Call, outcome: Outcome) -> DeliveryRow | None:
        """Record what came of a call; return the row to go on with, or None if given back."""
        with self._store.atomic():
            if removed := self._redacted(row):
                outcome = _without_person(outcome, removed)
            verdict = outcome.verdict
            self._record(row, call, outcome)
            # What may have been counted stays in doubt until it is accepted, or a person says.
            doubtful = call.repeatable and (outcome.ambiguous or row.in_flight is not None)
            match verdict:
                case Told():
                    return self._accepted(row, call, verdict)
                case Retry():
                    self._try_again(row, verdict, keep_call=doubtful)
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
        if not self._store.deliveries.tell(row, told, now, asked=call.asks):
            log.warning("lease lost", delivery=row.id)
            return None
        conversion = self._store.orders.conversion(row.conversion)
        if conversion and conversion.kind is ConversionKind.LEAD and told.status:
            self._intake.refresh_customer(conversion.keys, now)  # sales may have waited for it
        if call.asks:
            return replace(row, told=told, in_flight=None)
        return replace(row, told=told, in_flight=None, failures=0, failing_since=None)

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
        if next_at is None:
            reason = f"given up after {retry.GIVE_UP_AFTER.days} days: {verdict.reason}"
            self._release(row, DeliveryState.DEAD, reason, failed=True, keep_call=keep_call)
        else:
            self._release(
                row,
                DeliveryState.DUE,
                verdict.reason,
                failed=True,
                next_at=next_at,
                told=told,
                keep_call=keep_call,
            )

    def _doubt(self, row: DeliveryRow, call: Call, verdict: Unknown) -> None:
        """Deal with a call that may have been counted: repeat it, look it up, or ask a person."""
        if call.repeatable:
            self._try_again(row, Retry(verdict.reason), keep_call=True)
        elif self._vendors[row.vendor].capabilities.askable:
            doubted = replace(row.told, doubt=call.step, known_as=call.tells.known_as)
            self._try_again(row, Retry(verdict.reason), doubted)
        else:
            self._release(row, DeliveryState.UNKNOWN, verdict.reason, failed=True, keep_call=True)

    def _finish(self, row: DeliveryRow, step: Done | Skip) -> None:
        match step:
            case Done():
                self._release(row, DeliveryState.SETTLED)
            case Skip():
                self._release(row, DeliveryState.SKIPPED, step.reason)
            case _:
                assert_never(step)

    def _only_plan(self, row: DeliveryRow, call: Call) -> None:
        with self._store.atomic():
            self._record(row, call, Outcome(Retry(DRY_RUN)), "planned")
            self._release(row, DeliveryState.PLANNED, f"{DRY_RUN}: {call.step}")

    # ── records ──

    def _record(self, row: DeliveryRow, call: Call, outcome: Outcome, name: str = "") -> None:
        verdict = outcome.verdict
        reason = "" if isinstance(verdict, Told) else verdict.reason
        if (removed := self._redacted(row)) and self._in_flight(row) != call:
            call = forget_call(call, names_told(call.tells, removed))
        name = name or ("accepted" if isinstance(verdict, Told) else type(verdict).__name__.lower())
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
        write = log.error if isinstance(verdict, (Dead, Unknown)) else log.info
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


def addressed(call: Call, address: str) -> Call:
    """Return a call with an e-mail address where it says that one goes, if there is one."""
    if not (call.address and address and call.json is not None):
        return call
    body = copy.deepcopy(dict(call.json))
    *path, last = call.address.split(".")
    inner: Any = body
    for name in path:
        inner = inner.setdefault(name, {})
    inner[last] = address
    return replace(call, json=body)


def delivery_rules(config: Config) -> Rules:
    """Return the merchant's rules of delivery."""
    return Rules(
        deliver_tests=config.settings.test_events == "deliver",
        first_payment_only=config.settings.recurring == "first",
    )


def explain(
    vendor: AnyVendor, conversion: Conversion, told: Told, rules: Rules
) -> list[Call | Done | Skip]:
    """Return the calls that would be made now if each were accepted, and how it would end."""
    steps: list[Call | Done | Skip] = []
    for _ in range(MOST_CALLS):
        step = plan(vendor, conversion, told, rules)
        steps.append(step)
        if not isinstance(step, Call):
            break
        told = step.tells
    return steps


def _judge(vendor: AnyVendor, call: Call, answer: Response | NoAnswer, took_ms: int) -> Outcome:
    if isinstance(answer, Response):
        verdict = vendor.judge(call, answer)
        ambiguous = answer.status in retry.AMBIGUOUS
        return Outcome(verdict, answer.status, answer.body, took_ms, ambiguous)
    verdict = Unknown(answer.reason) if answer.sent else Retry(answer.reason)
    return Outcome(verdict, took_ms=took_ms, ambiguous=answer.sent)


def _without_person(outcome: Outcome, removed: Conversion) -> Outcome:
    """Leave out what a vendor answered, and by what it knows somebody, who was removed."""
    verdict = outcome.verdict
    if isinstance(verdict, Told):
        verdict = forget_told(verdict, names_told(verdict, removed))
    else:
        verdict = replace(verdict, reason=forget_words(verdict.reason))
    return replace(outcome, verdict=verdict, answer="")


def _interrupted() -> Outcome:
    """Judge a call that was about to be sent when its worker stopped."""
    return Outcome(Unknown("the worker stopped while it was sending"), ambiguous=True)
