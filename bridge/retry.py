"""When to try again: pure functions of (attempt, answer, now, jitter).

A delivery is tried for about three days, first after seconds and in the end every few hours. What a
vendor asks for in Retry-After is honoured, in whatever form it is written, within bounds.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(hours=6)
SHORTEST_DELAY = timedelta(seconds=1)
GIVE_UP_AFTER = timedelta(days=3)
LONGEST_RETRY_AFTER = timedelta(hours=24)

RETRIABLE = frozenset({408, 425, 429})
# What a gateway says when the vendor behind it did not answer in time, or not intelligibly: it may
# have been counted. 520 and 524 are Cloudflare's.
AMBIGUOUS = frozenset({408, 502, 504, 520, 524})

_EPOCH_SECONDS = 1_000_000_000
_EPOCH_MILLISECONDS = 1_000_000_000_000


def is_retriable(status: int) -> bool:
    """Tell whether an HTTP status says "not now" rather than "no": 408, 425, 429 and 5xx."""
    return status in RETRIABLE or 500 <= status <= 599


def backoff(attempt: int, jitter: float) -> timedelta:
    """Return the wait after the nth failed attempt (from 1); `jitter` is uniform in 0..1.

    Doubles from 5 seconds up to 6 hours, with full jitter and never under a second.
    """
    doublings = min(max(attempt - 1, 0), 20)
    longest = min(FIRST_DELAY * (1 << doublings), LONGEST_DELAY)
    return max(SHORTEST_DELAY, longest * jitter)


def parse_retry_after(value: str, now: datetime) -> timedelta | None:
    """Read a Retry-After header: seconds, an HTTP date, epoch seconds or epoch milliseconds.

    CodeQR's parent product sends epoch milliseconds. Returns None for what cannot be read; the
    result is clamped to 0..24 hours.
    """
    text = value.strip()
    try:
        number = float(text)
    except ValueError:
        wait = _until_http_date(text, now)
    else:
        wait = _until_number(number, now)
    return None if wait is None else min(max(wait, timedelta(0)), LONGEST_RETRY_AFTER)


def _until_number(number: float, now: datetime) -> timedelta | None:
    if math.isnan(number):
        return None
    if number > _EPOCH_MILLISECONDS:
        number /= 1000
    if number > _EPOCH_SECONDS:
        number -= now.timestamp()
    longest = LONGEST_RETRY_AFTER.total_seconds()
    return timedelta(seconds=min(max(number, 0.0), longest))


def _until_http_date(text: str, now: datetime) -> timedelta | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a zone of a thousand digits
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now


def next_attempt_at(
    attempt: int, first_at: datetime, now: datetime, jitter: float, after: str = ""
) -> datetime | None:
    """Return when to try again after the nth failed attempt, or None to give up.

    `first_at` is when the first of these attempts was made; three days later it is given up.
    `after` is the vendor's Retry-After, which is a lower bound.
    """
    if now - first_at >= GIVE_UP_AFTER:
        return None
    asked = parse_retry_after(after, now) if after else None
    return now + max(backoff(attempt, jitter), asked or timedelta(0))
