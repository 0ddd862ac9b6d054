"""Records: what is written down of a delivery's calls, and of how it stands after each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from bridge import __version__, logs, retry
from bridge.config import Config
from bridge.forgetting import forget_call, forget_words, names_told
from bridge.model import Call, Conversion, Dead, Retry, Told, Unknown
from bridge.outcomes import Outcome
from bridge.store import Store
from bridge.store.rows import Attempt, DeliveryRow, DeliveryState
from bridge.vendors.base import AnyVendor

LONGEST_RECORDED = 2000

log = logs.get()


class Records:
    """Keep attempts, and give deliveries back; each in a transaction of the caller's."""

    def __init__(
        self,
        store: Store,
        config: Config,
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self._deliveries = store.deliveries
        self._vendors: Mapping[str, AnyVendor] = config.vendors
        self._clock = clock
        self._jitter = jitter
        self._redact = logs.Redactor(config.secrets())
        self._redact_ids = self._redact.for_ids()

    def attempt(
        self,
        row: DeliveryRow,
        call: Call,
        outcome: Outcome,
        removed: Conversion | None = None,
        name: str = "",
    ) -> None:
        """Keep an attempt; of a customer who was removed meanwhile, what may be kept."""
        if removed and self.in_flight(row) != call:
            call = forget_call(call, names_told(call.tells, removed))
        name, reason = name or outcome.name, outcome.reason
        self._deliveries.record(
            Attempt(
                delivery=row.id,
                number=0,
                at=self._clock(),
                call=call,
                outcome=name,
                reason=self._redacted(reason),
                status=outcome.status,
                answer=outcome.answer[:LONGEST_RECORDED],
                took_ms=outcome.took_ms,
            )
        )
        write = log.error if isinstance(outcome.verdict, (Dead, Unknown)) else log.info
        write(
            "attempt",
            delivery=row.id,
            step=call.step,
            outcome=name,
            status=outcome.status,
            took_ms=outcome.took_ms,
            reason=self._redacted(forget_words(reason)),  # those may name a person
        )

    def accept(
        self, row: DeliveryRow, call: Call, told: Told, settled: DeliveryState | None, reason: str
    ) -> bool:
        """Keep what a vendor has accepted; where that was all, give the delivery back, too.

        Returns False where the lease was lost. A call that was taken for lost is one no longer.
        """
        now = self._clock()
        if settled is None:
            held = self._deliveries.tell(row, told, now, asked=call.asks)
        else:
            reason = self._redacted(reason)
            held = self._deliveries.release(
                row, settled, now, reason=reason, told=told, accepted=True
            )
        if not held:
            log.warning("lease lost", delivery=row.id)
            stored = self._deliveries.get(row.id)
            if stored and stored.state is DeliveryState.UNKNOWN and stored.in_flight == call:
                self._deliveries.resolve(stored, now, told)
        return held

    def accepted(self, told: Told) -> Told:
        """Return what a vendor has accepted as it may be kept."""
        return replace(told, reference=self._redact_ids(told.reference)) if told.reference else told

    def try_again(
        self,
        row: DeliveryRow,
        verdict: Retry,
        told: Told | None = None,
        *,
        keep_call: bool = False,
    ) -> None:
        """Give a delivery back until its next try, or as a dead letter after the last."""
        now = self._clock()
        failing_since = row.failing_since or now
        next_at = retry.next_attempt_at(
            row.failures + 1, failing_since, now, self._jitter(), verdict.after
        )
        state, reason = DeliveryState.DUE, verdict.reason
        if next_at is None:
            state = DeliveryState.DEAD
            reason = f"given up after {retry.GIVE_UP_AFTER.days} days: {reason}"
        self.release(
            row, state, reason, failed=True, next_at=next_at, told=told, keep_call=keep_call
        )

    def doubt(self, row: DeliveryRow, call: Call, verdict: Unknown) -> None:
        """Deal with a call that may have been counted: repeat it, look it up, or ask a person."""
        if call.repeatable:
            self.try_again(row, Retry(verdict.reason), keep_call=True)
        elif doubted := self.doubted(row, call):
            self.try_again(row, Retry(verdict.reason), doubted)
        else:
            self.release(row, DeliveryState.UNKNOWN, verdict.reason, failed=True, keep_call=True)

    def doubted(self, row: DeliveryRow, call: Call) -> Told | None:
        """Return what a vendor was told with a doubt that it clears up when it is asked."""
        if call.repeatable or not self._vendors[row.vendor].capabilities.askable:
            return None
        return replace(row.told, doubt=call.step, known_as=call.tells.known_as)

    def break_off(self, row: DeliveryRow, error: Exception) -> None:
        """End a delivery that our own code fails on; what may have been counted stays in doubt."""
        held, capable = self.in_flight(row), self._vendors[row.vendor].capabilities
        blind = held is not None and not (held.repeatable or capable.askable)
        state = DeliveryState.UNKNOWN if blind else DeliveryState.DEAD
        reason = (
            f"bridge {__version__} failed on it ({type(error).__name__}; the log says where): "
            f"a mistake of ours, so upgrade, then `bridge {'resolve' if blind else 'retry'}`"
        )
        self.release(row, state, reason, failed=True, keep_call=True)

    def release(
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
        """Give a delivery back in a new state."""
        held = self._deliveries.release(
            row,
            state,
            self._clock(),
            reason=self._redacted(reason),
            failed=failed,
            keep_call=keep_call,
            next_at=next_at,
            told=told,
        )
        if not held:
            log.warning("lease lost", delivery=row.id)

    def in_flight(self, row: DeliveryRow) -> Call | None:
        """Return the call of a delivery that is on record as being sent."""
        stored = self._deliveries.get(row.id)
        return stored.in_flight if stored else None

    def _redacted(self, text: str) -> str:
        return self._redact(text) if text else text
