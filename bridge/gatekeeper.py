"""The gatekeeper: says when each vendor may be called, and keeps in mind how it does.

What it knows lies in the store, so that all workers act on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bridge import logs
from bridge.config import Config
from bridge.forgetting import forget_words
from bridge.gate import Breaker, Gate
from bridge.outcomes import Outcome
from bridge.store import Store
from bridge.store.rows import DeliveryRow

log = logs.get()


class Gatekeeper:
    """Keep the gates of all vendors; a dry run calls nobody, so that nobody has to wait."""

    def __init__(self, store: Store, config: Config, clock: Callable[[], datetime]) -> None:
        self._gates = store.gates
        self._vendors = config.vendors
        self._dry_run = config.settings.dry_run
        self._clock = clock
        self._redact = logs.Redactor(config.secrets())

    def room(self, vendor: str, most: int) -> int:
        """Return how many calls of a vendor may go now, at most so many."""
        if self._dry_run:
            return most
        return self._gates.get(vendor).room(self._clock(), self._rate(vendor), most)

    def gate(self, vendor: str) -> Gate:
        """Return the gate of a vendor as it stands; it stays so while a transaction lasts."""
        return self._gates.get(vendor)

    def free_at(self, vendor: str, gate: Gate | None = None) -> datetime | None:
        """Return when the next call of a vendor may go; None for at once."""
        if self._dry_run:
            return None
        return (gate or self.gate(vendor)).free_at(self._clock(), self._rate(vendor))

    def enter(self, vendor: str, before: Gate) -> None:
        """Count a call that is about to be sent, in the transaction in which the gate was read."""
        after = before.entered(self._clock(), self._rate(vendor))
        if after != before:
            self._gates.put(vendor, after)

    def learn(self, vendor: str, outcome: Outcome) -> None:
        """Keep in mind what came of a call; pause a vendor that does not do its work."""
        if outcome.well is None:
            return
        before, now = self._gates.get(vendor), self._clock()
        if outcome.well:
            after = before.after_success()
        else:
            reason = self._redact(forget_words(outcome.reason))  # the words may name a person
            after = before.after_failure(now, reason, outcome.retry_after)
        if after == before:
            return
        self._gates.put(vendor, after)
        if (stands := after.breaker(now)) is not before.breaker(now):
            write = log.warning if stands is Breaker.OPEN else log.info
            write("breaker", vendor=vendor, state=str(stands), reason=after.reason)

    def _rate(self, vendor: str) -> Decimal | None:
        rate: Decimal | None = self._vendors[vendor].settings.rate
        return rate


def with_pauses(store: Store, rows: Iterable[DeliveryRow], now: datetime) -> list[DeliveryRow]:
    """Return deliveries as a person sees them: what is due also says what its vendor waits for."""
    rows = list(rows)
    gates = {row.vendor: store.gates.get(row.vendor) for row in rows}
    return [_with_pause(row, gates[row.vendor], now) for row in rows]


def _with_pause(row: DeliveryRow, gate: Gate, now: datetime) -> DeliveryRow:
    paused_until = gate.paused_until
    if row.next_attempt_at is None or paused_until is None or paused_until < now:
        return row
    if row.next_attempt_at >= paused_until:
        return row
    reason = f"{row.vendor} is not called for now: {gate.reason}"
    return replace(row, next_attempt_at=paused_until, reason=reason)
