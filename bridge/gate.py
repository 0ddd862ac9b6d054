"""When a vendor may be called: its circuit breaker and its rate, as pure functions of the time.

A vendor that fails is not called for a while: what is due there waits, and no attempt is spent on
it. Then one call is let through to try, and what comes of it decides. A rate spaces calls out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from bridge.retry import parse_retry_after

# A vendor that takes part of its calls is worth calling; one that takes next to none is not.
FAILURES_IN_A_ROW = 5
CALLS_LOOKED_AT, FAILURES_AMONG_THEM = 20, 15
FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=10)
# A trial whose worker was killed says nothing; longer than any one call takes.
LONGEST_TRIAL = timedelta(seconds=90)
# What may go at once of calls that are spaced out closely: nobody wakes up for each of them.
BURST = timedelta(seconds=0.1)

WELL, FAILED = "+", "-"


class Breaker(StrEnum):
    """Name whether a vendor is called; as with any circuit breaker, closed lets calls through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Hold how a vendor's last calls went, and when it may be called again.

    `recent` is one sign a call, newest last, from the first failure on; `pauses` counts how often
    in a row it was paused without a call that went well; `trying` tells that one call is let
    through. `paced_until` is when the next call is due that keeps to the rate.
    """

    recent: str = ""
    pauses: int = 0
    paused_until: datetime | None = None
    trying: bool = False
    reason: str = ""
    paced_until: datetime | None = None

    def breaker(self, now: datetime) -> Breaker:
        """Return how the circuit breaker stands."""
        if self.paused_until is None:
            return Breaker.CLOSED
        waits = not self.trying and (self._paused(now) or now) > now
        return Breaker.OPEN if waits else Breaker.HALF_OPEN

    def free_at(self, now: datetime, rate: Decimal | None) -> datetime | None:
        """Return when the next call may go; None for at once. `rate` is calls a second."""
        paced = self._paced(now, rate)
        moments = (self._paused(now), paced - BURST if paced else None)
        return max(filter(None, moments), default=None)

    def room(self, now: datetime, rate: Decimal | None, most: int) -> int:
        """Return how many calls may go now, at most so many."""
        if (free_at := self.free_at(now, rate)) and free_at > now:
            return 0
        if self.paused_until:
            return min(1, most)
        if rate is None:
            return most
        behind = now + BURST - max(self._paced(now, rate) or now, now)
        return min(1 + int(behind / _spacing(rate)), most)

    def entered(self, now: datetime, rate: Decimal | None) -> Gate:
        """Return the gate after a call went through it."""
        gate = self
        if rate is not None:
            paced = max(self._paced(now, rate) or now, now)
            gate = replace(gate, paced_until=paced + _spacing(rate))
        if self.paused_until:
            gate = replace(gate, trying=True, paused_until=now + LONGEST_TRIAL)
        return gate

    def after_success(self) -> Gate:
        """Return the gate after a call that the vendor answered, with yes or with no."""
        if self.paused_until:
            return Gate(paced_until=self.paced_until)
        recent = (self.recent + WELL)[-CALLS_LOOKED_AT:]
        return replace(self, recent=recent if FAILED in recent else "")

    def after_failure(self, now: datetime, reason: str, retry_after: str = "") -> Gate:
        """Return the gate after a call that failed; it may pause the vendor.

        The pause doubles from 15 seconds to 10 minutes, and is as long as a Retry-After within
        these bounds asks. A call that began before a pause and fails during it changes nothing.
        """
        if self.paused_until and not self.trying:
            return self
        recent = (self.recent + FAILED)[-CALLS_LOOKED_AT:]
        in_a_row = recent.endswith(FAILED * FAILURES_IN_A_ROW)
        if not (self.trying or in_a_row or recent.count(FAILED) >= FAILURES_AMONG_THEM):
            return replace(self, recent=recent)
        asked = parse_retry_after(retry_after, now) if retry_after else None
        pause = max(FIRST_PAUSE * (1 << min(self.pauses, 10)), asked or FIRST_PAUSE)
        return Gate(
            pauses=self.pauses + 1,
            paused_until=now + min(pause, LONGEST_PAUSE),
            reason=reason,
            paced_until=self.paced_until,
        )

    def hurried(self, now: datetime) -> Gate:
        """Return the gate with its pause over: a person says that the vendor is well again."""
        if self.paused_until is None or self.trying:
            return self
        return replace(self, paused_until=min(self.paused_until, now))

    # What lies further ahead than it can was written by a clock that was wrong.

    def _paused(self, now: datetime) -> datetime | None:
        sane = self.paused_until and self.paused_until <= now + LONGEST_PAUSE
        return self.paused_until if sane else None

    def _paced(self, now: datetime, rate: Decimal | None) -> datetime | None:
        sane = self.paced_until and rate and self.paced_until <= now + BURST + _spacing(rate)
        return self.paced_until if sane else None


def _spacing(rate: Decimal) -> timedelta:
    """Return the time from one call to the next at so many calls a second."""
    return timedelta(microseconds=int(1_000_000 / rate))
