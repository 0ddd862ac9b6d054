"""When to try again, for whatever a vendor answers."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.retry import (
    AMBIGUOUS,
    GIVE_UP_AFTER,
    LONGEST_DELAY,
    LONGEST_RETRY_AFTER,
    SHORTEST_DELAY,
    backoff,
    is_retriable,
    next_attempt_at,
    parse_retry_after,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)  # 1795176000 seconds of the epoch
EPOCH = 1_795_176_000
DAY = timedelta(days=1)
NOTHING = timedelta(0)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 520, 524, 599])
def test_not_now(status: int) -> None:
    assert is_retriable(status)


@pytest.mark.parametrize("status", [100, 200, 204, 301, 307, 400, 401, 403, 404, 409, 410, 422])
def test_no(status: int) -> None:
    assert not is_retriable(status)


def test_only_a_gateway_leaves_open_whether_a_call_was_counted() -> None:
    assert {502, 504, 520, 524} <= AMBIGUOUS
    assert AMBIGUOUS.isdisjoint({425, 429, 500, 503})
    assert all(map(is_retriable, AMBIGUOUS))


# ── backoff ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("attempt", "jitter", "seconds"),
    [
        (1, 1.0, 5),
        (2, 1.0, 10),
        (3, 1.0, 20),
        (3, 0.5, 10),
        (12, 1.0, 10_240),
        (13, 1.0, 20_480),
        (14, 1.0, 21_600),  # six hours
        (10_000, 1.0, 21_600),
        (1, 0.0, 1),
        (14, 0.0, 1),
        (0, 1.0, 5),
        (-3, 1.0, 5),
    ],
)
def test_backoff(attempt: int, jitter: float, seconds: int) -> None:
    assert backoff(attempt, jitter) == timedelta(seconds=seconds)


@given(attempt=st.integers(-5, 10**9), jitter=st.floats(0, 1))
def test_backoff_stays_within_its_bounds(attempt: int, jitter: float) -> None:
    assert SHORTEST_DELAY <= backoff(attempt, jitter) <= LONGEST_DELAY
    assert backoff(attempt, jitter) <= backoff(attempt + 1, jitter)


# ── Retry-After ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        # seconds
        ("120", timedelta(seconds=120)),
        (" 120 ", timedelta(seconds=120)),
        ("1.5", timedelta(seconds=1.5)),
        ("0", NOTHING),
        ("-5", NOTHING),
        ("-inf", NOTHING),
        ("86400", DAY),
        ("86401", DAY),
        ("999999999", DAY),
        ("inf", DAY),
        ("1e400", DAY),
        ("9" * 500, DAY),
        # epoch seconds and milliseconds
        (f"{EPOCH + 90}", timedelta(seconds=90)),
        (f"{EPOCH - 90}", NOTHING),
        (f"{EPOCH + 10**8}", DAY),
        (f"{EPOCH + 90}000", timedelta(seconds=90)),
        (f"{EPOCH + 90}500", timedelta(seconds=90.5)),
        (f"{EPOCH - 90}000", NOTHING),
        # HTTP dates
        ("Fri, 20 Nov 2026 12:02:00 GMT", timedelta(minutes=2)),
        ("Fri, 20 Nov 2026 13:02:00 +0100", timedelta(minutes=2)),
        ("Fri, 20 Nov 2026 12:02:00 -0000", timedelta(minutes=2)),
        ("Fri, 20 Nov 2026 12:02:00", timedelta(minutes=2)),
        ("Fri Nov 20 12:02:00 2026", timedelta(minutes=2)),
        ("Fri, 20 Nov 2026 11:00:00 GMT", NOTHING),
        ("Thu, 01 Jan 1970 00:00:00 GMT", NOTHING),
        ("Mon, 01 Jan 0001 00:00:00 +2300", NOTHING),
        ("Sat, 20 Nov 2027 12:00:00 GMT", DAY),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
        ("Fri, 31 Dec 9999 23:59:59 -2300", DAY),
    ],
)
def test_retry_after(value: str, wait: timedelta) -> None:
    assert parse_retry_after(value, NOW) == wait


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "soon", "nan", "-nan", "12 seconds", "0x10", "2m", "2026-11-20T12:02:00Z",
        "Fri, 20 Nov", "Fri, 99 Nov 2026 12:00:00 GMT", "Fri, 20 Nov 99999 12:00:00 GMT",
        "Fri, 20 Nov 2026 99:99:99 GMT", "Fri, 20 Nov 2026 12:00:00 +9999",
        "Fri, 20 Nov 2026 12:00:00 +999999999999999999", "\x00", "\ufeff1\ufeff",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_as_if_it_were_not_there(value: str) -> None:
    assert parse_retry_after(value, NOW) is None


# A year below 100 is taken for one of the last century or of this.
@given(moment=st.datetimes(datetime(1000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_every_http_date_is_read(moment: datetime) -> None:
    expected = min(max(moment.replace(microsecond=0) - NOW, NOTHING), LONGEST_RETRY_AFTER)
    assert parse_retry_after(format_datetime(moment, usegmt=True), NOW) == expected


@given(seconds=st.integers(0, 86_400), hours=st.integers(-12, 14))
def test_every_form_means_the_same(seconds: int, hours: int) -> None:
    then = NOW + timedelta(seconds=seconds)
    date = format_datetime(then.astimezone(timezone(timedelta(hours=hours))))
    for form in (str(seconds), f"{EPOCH + seconds}", f"{EPOCH + seconds}000", date):
        assert parse_retry_after(form, NOW) == timedelta(seconds=seconds)


@given(seconds=st.floats() | st.integers().map(float))
def test_every_number_is_read(seconds: float) -> None:
    assert (parse_retry_after(repr(seconds), NOW) is None) is math.isnan(seconds)


DATE_LIKE = st.from_regex(
    r"(Fri, )?[0-9]{1,3} Nov [0-9]{1,6} [0-9:]{0,9} ?([+-][0-9]{0,30}|GMT)?", fullmatch=True
)


@given(value=st.text() | DATE_LIKE | st.integers().map(str))
def test_retry_after_never_raises(value: str) -> None:
    wait = parse_retry_after(value, NOW)
    assert wait is None or NOTHING <= wait <= LONGEST_RETRY_AFTER


# ── the next attempt ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("attempt", "jitter", "after", "wait"),
    [
        (1, 1.0, "", timedelta(seconds=5)),
        (1, 1.0, "120", timedelta(seconds=120)),
        (1, 1.0, "2", timedelta(seconds=5)),  # a lower bound: asked for less than we wait anyway
        (14, 1.0, "120", timedelta(hours=6)),
        (1, 0.0, "", timedelta(seconds=1)),
        (1, 0.0, "0", timedelta(seconds=1)),
        (1, 1.0, "rubbish", timedelta(seconds=5)),
        (1, 1.0, "999999999", DAY),
        (1, 1.0, f"{EPOCH + 90}000", timedelta(seconds=90)),
    ],
)
def test_next_attempt(attempt: int, jitter: float, after: str, wait: timedelta) -> None:
    assert next_attempt_at(attempt, NOW, NOW, jitter, after) == NOW + wait


@pytest.mark.parametrize(
    ("since", "gives_up"),
    [
        (NOTHING, False),
        (timedelta(days=2, hours=23, minutes=59, seconds=59), False),
        (timedelta(days=3), True),
        (timedelta(days=30), True),
        (timedelta(seconds=-1), False),  # the clock went back
    ],
)
def test_gives_up_after_three_days(since: timedelta, gives_up: bool) -> None:
    assert (next_attempt_at(9, NOW - since, NOW, 0.5) is None) is gives_up
    assert (next_attempt_at(9, NOW - since, NOW, 0.5, "60") is None) is gives_up


@given(
    attempt=st.integers(1, 10**6),
    jitter=st.floats(0, 1),
    since=st.timedeltas(NOTHING, timedelta(days=7)),
    after=st.text() | DATE_LIKE | st.floats().map(repr),
)
def test_next_attempt_is_later_or_never(
    attempt: int, jitter: float, since: timedelta, after: str
) -> None:
    at = next_attempt_at(attempt, NOW - since, NOW, jitter, after)
    if since >= GIVE_UP_AFTER:
        assert at is None
    else:
        assert at is not None
        assert NOW + SHORTEST_DELAY <= at <= NOW + max(LONGEST_DELAY, LONGEST_RETRY_AFTER)


@pytest.mark.parametrize("jitter", [0.3, 0.5, 1.0])
def test_there_are_many_tries_in_three_days(jitter: float) -> None:
    at: datetime | None = NOW
    waits: list[timedelta] = []
    last = NOW
    while (at := next_attempt_at(len(waits) + 1, NOW, last, jitter)) is not None:
        waits.append(at - last)
        last = at
    assert 15 < len(waits) < 60
    assert waits == sorted(waits)
    assert GIVE_UP_AFTER <= last - NOW < GIVE_UP_AFTER + LONGEST_DELAY
