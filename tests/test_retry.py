"""When to try again: in all forms of Retry-After, within bounds, and not for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import retry

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EPOCH = 1_795_262_400  # NOW in seconds since 1970
DAY = timedelta(hours=24)

MOMENTS = st.integers(0, 4 * 10**9).map(lambda second: datetime.fromtimestamp(second, UTC))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("1", 1),
        ("120", 120),
        ("120.5", 120.5),
        (" 120 ", 120),
        ("1e2", 100),
        ("86400", 86_400),
        ("86401", 86_400),
        ("999999999", 86_400),
        ("-5", 0),
        ("-0", 0),
        ("-1e300", 0),
        ("1e300", 86_400),
        ("9" * 5000, 86_400),
        ("inf", 86_400),
        ("-inf", 0),
        ("Infinity", 86_400),
        (str(EPOCH + 90), 90),
        (str(EPOCH - 90), 0),
        (str(EPOCH + 10**6), 86_400),
        (f"{EPOCH + 90}.25", 90.25),
        (str((EPOCH + 90) * 1000), 90),
        (str((EPOCH + 90) * 1000 + 500), 90.5),
        (str((EPOCH - 90) * 1000), 0),
        ("Sat, 21 Nov 2026 12:01:30 GMT", 90),
        ("Sat, 21 Nov 2026 12:01:30", 90),
        ("Sat, 21 Nov 2026 12:01:30 -0000", 90),
        ("Sat, 21 Nov 2026 13:01:30 +0100", 90),
        ("Saturday, 21-Nov-26 12:01:30 GMT", 90),
        ("Sat Nov 21 12:01:30 2026", 90),
        ("Fri, 20 Nov 2026 12:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 12:00:00 GMT", 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
    ],
)
def test_reads_retry_after(value: str, seconds: float) -> None:
    assert retry.parse_retry_after(value, NOW) == timedelta(seconds=seconds)


GARBAGE = [
    "",
    "   ",
    "nan",
    "-NaN",
    "soon",
    "in 5 minutes",
    "5s",
    "1,5",
    "0x10",
    "12:00",
    "Sat, 99 Nov 2026 12:00:00 GMT",
    "Sat, 21 Nov 2026 25:61:61 GMT",
    "Sat, 21 Nov 99999999999999999999 12:00:00 GMT",
    f"Sat, 21 Nov 2026 12:00:00 +{'9' * 400}",
    "\x00",
    "🕛",
]


@pytest.mark.parametrize("value", GARBAGE)
def test_does_not_read_garbage(value: str) -> None:
    assert retry.parse_retry_after(value, NOW) is None


DATE_LIKE = st.lists(
    st.sampled_from(["Sat,", "21", "Nov", "2026", "12:00:00", "GMT", "+9999", "-", ":", ".", "0"])
    | st.integers().map(str),
    max_size=8,
).map(" ".join)


@given(value=st.text() | st.floats().map(str) | st.integers().map(str) | DATE_LIKE, now=MOMENTS)
def test_never_raises_and_stays_within_a_day(value: str, now: datetime) -> None:
    wait = retry.parse_retry_after(value, now)
    assert wait is None or timedelta(0) <= wait <= DAY


@given(now=MOMENTS, seconds=st.integers(0, 86_400), hours=st.integers(-12, 14))
def test_every_form_means_the_same(now: datetime, seconds: int, hours: int) -> None:
    then = now + timedelta(seconds=seconds)
    zone = timezone(timedelta(hours=hours))
    forms = [str(seconds), format_datetime(then.astimezone(zone))]
    if then.timestamp() > 1_000_000_000:
        forms += [f"{then.timestamp():.0f}", f"{then.timestamp() * 1000:.0f}"]
    waits = {retry.parse_retry_after(form, now) for form in forms}
    assert waits == {timedelta(seconds=seconds)}


# ── which answers, and how long ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 524, 599])
def test_not_now(status: int) -> None:
    assert retry.is_retriable(status)


@pytest.mark.parametrize("status", [100, 200, 204, 301, 400, 401, 403, 404, 409, 410, 422, 499])
def test_not_ever(status: int) -> None:
    assert not retry.is_retriable(status)


def test_what_may_have_been_counted_is_retriable_where_repeatable() -> None:
    assert all(map(retry.is_retriable, retry.AMBIGUOUS))
    assert {502, 504, 524} <= retry.AMBIGUOUS
    assert {429, 500, 503}.isdisjoint(retry.AMBIGUOUS)


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [(0, 5), (1, 5), (2, 10), (3, 20), (4, 40), (12, 10_240), (13, 20_480), (14, 21_600)],
)
def test_backoff_doubles_up_to_six_hours(attempt: int, seconds: int) -> None:
    assert retry.backoff(attempt, 1.0) == timedelta(seconds=seconds)


@given(attempt=st.integers(-5, 10**9), jitter=st.floats(0, 1))
def test_backoff_stays_within_bounds(attempt: int, jitter: float) -> None:
    wait = retry.backoff(attempt, jitter)
    assert timedelta(seconds=1) <= wait <= timedelta(hours=6)
    assert wait <= max(retry.backoff(attempt, 1.0), timedelta(seconds=1))
    assert retry.backoff(attempt, 1.0) <= retry.backoff(attempt + 1, 1.0)


# ── until when ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("age", "gives_up"),
    [
        (timedelta(0), False),
        (timedelta(days=3, microseconds=-1), False),
        (timedelta(days=3), True),
        (timedelta(days=30), True),
    ],
)
def test_gives_up_after_three_days(age: timedelta, gives_up: bool) -> None:
    next_at = retry.next_attempt_at(5, NOW - age, NOW, 0.5)
    assert (next_at is None) is gives_up


@pytest.mark.parametrize(
    ("after", "seconds"),
    [("", 5), ("2", 5), ("90", 90), ("nonsense", 5), ("nan", 5), ("inf", 86_400), ("-9", 5)],
)
def test_what_the_vendor_asks_for_is_a_lower_bound(after: str, seconds: int) -> None:
    assert retry.next_attempt_at(1, NOW, NOW, 1.0, after) == NOW + timedelta(seconds=seconds)


@given(attempt=st.integers(1, 1000), jitter=st.floats(0, 1), after=st.text(), now=MOMENTS)
def test_next_attempt_is_soon_and_never_now(
    attempt: int, jitter: float, after: str, now: datetime
) -> None:
    next_at = retry.next_attempt_at(attempt, now, now, jitter, after)
    assert next_at is not None
    assert timedelta(seconds=1) <= next_at - now <= DAY


@given(jitters=st.lists(st.floats(0, 1), min_size=300, max_size=300))
def test_all_attempts_fit_in_little_more_than_three_days(jitters: list[float]) -> None:
    now, tries = NOW, 0
    for jitter in jitters:
        tries += 1
        next_at = retry.next_attempt_at(tries, NOW, now, 0.5 + jitter / 2)
        if next_at is None:
            break
        now = next_at
    assert 15 <= tries < 300
    assert timedelta(days=3) <= now - NOW <= timedelta(days=3, hours=6)
