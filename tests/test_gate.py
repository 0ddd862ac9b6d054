"""When a vendor may be called: the circuit breaker and the rate, as functions of the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.gate import (
    BURST,
    CALLS_LOOKED_AT,
    FAILED,
    FAILURES_AMONG_THEM,
    FAILURES_IN_A_ROW,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    LONGEST_TRIAL,
    WELL,
    Breaker,
    Gate,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MANY = 100


def after(calls: str, gate: Gate | None = None, now: datetime = NOW) -> Gate:
    """Return a gate after calls that went well (+) or failed (-), all at one moment."""
    gate = gate or Gate()
    for call in calls:
        gate = gate.after_success() if call == WELL else gate.after_failure(now, "down")
    return gate


def paused(times: int = 1) -> tuple[Gate, datetime]:
    """Return a gate that was paused so often in a row, and the time of the last pause."""
    gate, now = after(FAILED * FAILURES_IN_A_ROW), NOW
    for _ in range(times - 1):
        assert gate.paused_until is not None
        now = gate.paused_until
        gate = gate.entered(now, None).after_failure(now, "down")
    return gate, now


# ── the breaker ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("calls", "breaker"),
    [
        ("", Breaker.CLOSED),
        ("-" * (FAILURES_IN_A_ROW - 1), Breaker.CLOSED),
        ("-" * FAILURES_IN_A_ROW, Breaker.OPEN),
        ("+" * 50 + "-" * FAILURES_IN_A_ROW, Breaker.OPEN),
        ("----+----+----+---", Breaker.OPEN),  # fifteen of eighteen
        ("----+----+----+--", Breaker.CLOSED),
        ("--+" * 50, Breaker.CLOSED),  # two of three fail, and one comes through
        ("-+" * 50, Breaker.CLOSED),
        ("----+" + "+" * CALLS_LOOKED_AT + "----", Breaker.CLOSED),
    ],
)
def test_it_opens_where_next_to_nothing_comes_through(calls: str, breaker: Breaker) -> None:
    assert after(calls).breaker(NOW) is breaker


def test_nothing_is_kept_of_a_vendor_that_is_well() -> None:
    assert after("+" * 100) == Gate()
    assert after("-" + "+" * CALLS_LOOKED_AT) == Gate()


def test_an_open_one_lets_nothing_through_until_its_pause_is_over() -> None:
    gate, _ = paused()
    assert gate.room(NOW, None, MANY) == 0
    assert gate.free_at(NOW, None) == NOW + FIRST_PAUSE
    just_before = NOW + FIRST_PAUSE - timedelta(microseconds=1)
    assert gate.room(just_before, None, MANY) == 0


def test_then_one_call_tries_and_the_others_wait_for_it() -> None:
    gate, _ = paused()
    later = NOW + FIRST_PAUSE
    assert gate.breaker(later) is Breaker.HALF_OPEN
    assert gate.room(later, None, MANY) == 1
    tried = gate.entered(later, None)
    assert tried.breaker(later) is Breaker.HALF_OPEN
    assert tried.room(later, None, MANY) == 0
    # A worker that was killed while it tried does not close the gate for good.
    assert tried.room(later + LONGEST_TRIAL, None, MANY) == 1


def test_a_trial_that_goes_well_closes_it_and_forgets() -> None:
    gate, _ = paused(times=3)
    assert gate.entered(NOW + LONGEST_PAUSE, None).after_success() == Gate()


def test_pauses_double_up_to_ten_minutes() -> None:
    waits = []
    for times in range(1, 12):
        gate, at = paused(times)
        assert gate.paused_until is not None
        waits.append((gate.paused_until - at).total_seconds())
    assert waits == [15, 30, 60, 120, 240, 480, 600, 600, 600, 600, 600]


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        ("", FIRST_PAUSE),
        ("2", FIRST_PAUSE),
        ("100", timedelta(seconds=100)),
        ("86400", LONGEST_PAUSE),
        ("soon", FIRST_PAUSE),
        (str(int(NOW.timestamp() * 1000) + 50_000), timedelta(seconds=50)),
    ],
)
def test_a_pause_is_as_long_as_the_vendor_asks_within_bounds(asked: str, pause: timedelta) -> None:
    gate = after(FAILED * (FAILURES_IN_A_ROW - 1)).after_failure(NOW, "busy", asked)
    assert gate.paused_until == NOW + pause


def test_calls_that_began_before_a_pause_do_not_prolong_it() -> None:
    gate, _ = paused()
    assert after("----", gate, NOW + timedelta(seconds=3)) == gate


def test_a_call_that_began_before_a_pause_and_goes_well_ends_it() -> None:
    gate, _ = paused(times=4)
    assert gate.after_success().breaker(NOW) is Breaker.CLOSED


def test_it_says_why() -> None:
    gate, _ = paused()
    assert gate.reason == "down"


def test_a_person_may_end_a_pause_but_not_a_trial() -> None:
    gate, _ = paused()
    assert gate.hurried(NOW).room(NOW, None, MANY) == 1
    assert Gate().hurried(NOW) == Gate()
    trying = gate.entered(NOW + FIRST_PAUSE, None)
    assert trying.hurried(NOW + FIRST_PAUSE) == trying


@given(
    st.lists(
        st.tuples(st.sampled_from(["call", "well", "failed"]), st.integers(0, 1000)), max_size=80
    )
)
def test_whatever_happens_it_opens_again_in_time(steps: list[tuple[str, int]]) -> None:
    gate, now = Gate(), NOW
    for what, seconds in steps:
        now += timedelta(seconds=seconds)
        if what == "call" and gate.room(now, None, 1):
            gate = gate.entered(now, None)
        elif what == "well":
            gate = gate.after_success()
            assert gate.room(now, None, MANY) == MANY
        else:
            gate = gate.after_failure(now, "down")
        assert len(gate.recent) <= CALLS_LOOKED_AT
        assert gate.recent.count(FAILED) < FAILURES_AMONG_THEM
        free_at = gate.free_at(now, None) or now
        assert free_at <= now + LONGEST_PAUSE
        assert gate.room(free_at, None, 1) == 1


# ── the rate ─────────────────────────────────────────────────────────────────────────────────────

RATES = [Decimal(each) for each in ("0.1", "0.5", "1", "5", "9.99", "10", "50", "333", "10000")]


@pytest.mark.parametrize("rate", RATES)
def test_a_rate_is_kept_and_used_up(rate: Decimal) -> None:
    gate, now, calls = Gate(), NOW, 0
    end = NOW + timedelta(seconds=int(100 / rate) + 1)
    while now < end:
        room = gate.room(now, rate, 10_000)
        for _ in range(room):
            assert (gate.free_at(now, rate) or now) <= now
            gate, calls = gate.entered(now, rate), calls + 1
        assert gate.room(now, rate, 10_000) == 0
        now = gate.free_at(now, rate) or now
    allowed = Decimal((end - NOW).total_seconds()) * rate
    burst = 1 + rate * Decimal(BURST.total_seconds())
    assert int(allowed) <= calls <= allowed + burst + 1


def test_time_that_nobody_used_is_not_saved_up() -> None:
    rate = Decimal(5)
    gate = Gate().entered(NOW, rate)
    assert gate.room(NOW + timedelta(hours=1), rate, MANY) == Gate().room(NOW, rate, MANY)


def test_without_a_rate_nothing_is_kept() -> None:
    assert Gate().entered(NOW, None) == Gate()
    assert Gate().room(NOW, None, MANY) == MANY


def test_a_rate_that_was_taken_away_holds_nobody_up() -> None:
    assert Gate().entered(NOW, Decimal("0.001")).room(NOW, None, MANY) == MANY


@pytest.mark.parametrize("rate", [None, Decimal(5), Decimal("0.01")])
def test_what_a_wrong_clock_wrote_is_ignored(rate: Decimal | None) -> None:
    tomorrow = NOW + timedelta(days=1)
    gate = after("-" * FAILURES_IN_A_ROW, now=tomorrow).entered(tomorrow, rate)
    assert gate.room(NOW, rate, MANY) == 1
    assert gate.entered(NOW, rate).after_success().room(NOW + timedelta(hours=1), rate, 1) == 1


def test_a_rate_outlives_the_breaker() -> None:
    rate = Decimal(1)
    gate = after("-" * FAILURES_IN_A_ROW, Gate().entered(NOW, rate))
    assert gate.after_success().paced_until == NOW + timedelta(seconds=1)
