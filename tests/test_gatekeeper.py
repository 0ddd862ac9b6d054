"""Vendors that fail are paused for all workers, and no attempt is spent meanwhile."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from kit import CUSTOMER, Bench, Make, body_of

from bridge.gate import FAILURES_IN_A_ROW, FIRST_PAUSE, LONGEST_TRIAL, Breaker, Gate
from bridge.http import Sender
from bridge.store.rows import DeliveryState
from bridge.worker import Worker

ORDERS = 12
DOWN = {"status": 503, "body": "down for maintenance"}


def sell(made: Bench, count: int = ORDERS, first: int = 0) -> None:
    """Take in sales of one customer, and deliver nothing yet."""
    made.click(CUSTOMER)
    made.receive(bodies=[sale(number) for number in range(first, first + count)])


def sale(number: int) -> str:
    body = body_of("invoice.paid")
    return body.replace('"in_', f'"in_{number:03}').replace('"evt_', f'"evt_{number:03}')


def attempts(made: Bench) -> list[int]:
    """Return how many attempts were made at each delivery, most first."""
    return sorted((row.attempts for row in made.store.deliveries.newest()), reverse=True)


def states(made: Bench, vendor: str) -> set[DeliveryState]:
    return {row.state for row in made.store.deliveries.newest() if row.vendor == vendor}


def another_worker(made: Bench) -> Worker:
    return Worker(made.store, made.config, sender=Sender(read_seconds=0.5), clock=made.clock)


def breaker(made: Bench, vendor: str) -> Breaker:
    return made.store.gates.get(vendor).breaker(made.clock())


# ── the breaker ──────────────────────────────────────────────────────────────────────────────────


def test_what_is_due_at_a_vendor_that_is_down_waits_without_burning_attempts(make: Make) -> None:
    made = make("codeqr")
    sell(made)
    made.fault("codeqr", *[DOWN] * 100)
    made.worker.drain()
    # As many as are called for at once, until five have failed; the others are not touched.
    burned = attempts(made)
    assert FAILURES_IN_A_ROW <= sum(burned) < FAILURES_IN_A_ROW + 4
    assert burned.count(0) == ORDERS - sum(burned)
    assert breaker(made, "codeqr") is Breaker.OPEN
    assert states(made, "codeqr") == {DeliveryState.DUE}

    made.clock.advance(seconds=FIRST_PAUSE.total_seconds() - 1)
    made.worker.drain()
    assert attempts(made) == burned


def test_after_the_pause_one_call_tries(make: Make) -> None:
    made = make("codeqr")
    sell(made)
    made.fault("codeqr", *[DOWN] * 100)
    made.worker.drain()
    before = sum(attempts(made))
    for pause in (15, 30, 60):
        made.clock.advance(seconds=pause)
        made.worker.drain()
        assert sum(attempts(made)) == before + 1
        before += 1

    made.vendors.faults.clear()
    made.clock.advance(minutes=10)
    made.worker.drain()
    assert len(made.sales("codeqr")) == ORDERS
    assert made.store.gates.get("codeqr") == Gate()
    assert states(made, "codeqr") == {DeliveryState.SETTLED}


def test_all_workers_know_of_it(make: Make) -> None:
    made = make("codeqr")
    sell(made)
    made.fault("codeqr", *[DOWN] * 100)
    made.worker.drain()
    before = sum(attempts(made))
    other = another_worker(made)
    other.drain()
    assert sum(attempts(made)) == before
    made.clock.advance(seconds=FIRST_PAUSE.total_seconds())
    # Both take a delivery before either has tried; one of them waits for what the other learns.
    assert len(made.worker._outbox.lease("codeqr", 4)) == 1
    (theirs,) = other._outbox.lease("codeqr", 4)
    made.store.gates.put("codeqr", made.store.gates.get("codeqr").entered(made.clock(), None))
    other._outbox.deliver(theirs)
    waiting = made.store.deliveries.get(theirs.id)
    assert waiting is not None
    assert (waiting.state, waiting.attempts) == (DeliveryState.DUE, theirs.attempts)
    assert waiting.failures == theirs.failures
    assert waiting.next_attempt_at == theirs.updated_at  # it keeps its place
    assert other._outbox.next_at(["codeqr"]) == made.clock() + LONGEST_TRIAL
    assert sum(attempts(made)) == before
    other.close()


def test_a_restart_tries_at_once(make: Make) -> None:
    made = make("codeqr")
    sell(made)
    made.fault("codeqr", *[DOWN] * 100)
    made.worker.drain()
    made.vendors.faults.clear()
    made.clock.advance(seconds=1)
    made.worker.drain()
    assert made.sales("codeqr") == []
    made.worker.take_up()
    made.worker.drain()
    assert made.sales("codeqr")
    assert breaker(made, "codeqr") is Breaker.CLOSED


def test_a_vendor_that_says_no_is_well(make: Make) -> None:
    made = make("codeqr")
    sell(made)
    made.fault("codeqr", *[{"status": 422, "body": "no such click"}] * ORDERS)
    made.worker.drain()
    assert states(made, "codeqr") == {DeliveryState.DEAD}
    assert breaker(made, "codeqr") is Breaker.CLOSED


def test_answers_that_are_no_answers_open_it_before_every_sale_is_in_doubt(make: Make) -> None:
    made = make("taapit")
    sell(made)
    made.fault("taapit", *[{"status": 200, "body": "<html>Log in to the Wi-Fi</html>"}] * 100)
    made.worker.drain()
    assert breaker(made, "taapit") is Breaker.OPEN
    found = [row.state for row in made.store.deliveries.newest()]
    assert found.count(DeliveryState.UNKNOWN) < FAILURES_IN_A_ROW + 4
    assert found.count(DeliveryState.DUE) > ORDERS - FAILURES_IN_A_ROW - 4


def test_a_retry_after_is_honoured_for_all_that_is_due(make: Make) -> None:
    made = make("codeqr")
    sell(made)
    made.fault("codeqr", *[{"status": 429, "headers": {"Retry-After": "120"}}] * 6)
    made.worker.drain()
    assert made.store.gates.get("codeqr").paused_until == made.clock() + timedelta(seconds=120)


def test_one_vendor_that_is_down_holds_up_no_other(make: Make) -> None:
    made = make("codeqr", "tapfiliate")
    sell(made)
    made.fault("codeqr", *[DOWN] * 100)
    made.worker.drain()
    assert len(made.sales("tapfiliate")) == ORDERS
    assert breaker(made, "tapfiliate") is Breaker.CLOSED


def test_a_dry_run_waits_for_nobody(make: Make) -> None:
    made = make("codeqr", BRIDGE_DRY_RUN="1")
    for _ in range(FAILURES_IN_A_ROW):
        gate = made.store.gates.get("codeqr")
        made.store.gates.put("codeqr", gate.after_failure(made.clock(), "down"))
    sell(made, 1)
    made.worker.drain()
    assert states(made, "codeqr") == {DeliveryState.PLANNED}


def test_a_worker_sleeps_until_the_pause_is_over(make: Make) -> None:
    made = make("codeqr")
    sell(made)
    made.fault("codeqr", *[DOWN] * 100)
    made.worker.drain()
    made.clock.advance(seconds=10)
    due = [row.next_attempt_at for row in made.store.deliveries.newest()]
    assert min(each for each in due if each) <= made.clock()
    assert made.worker._outbox.next_at(["codeqr"]) == made.clock() + timedelta(seconds=5)
    assert made.worker._pause() == pytest.approx(5)


# ── the rate ─────────────────────────────────────────────────────────────────────────────────────


def test_a_rate_spaces_calls_out(make: Make) -> None:
    made = make("codeqr", "tapfiliate", CODEQR_RATE="2")
    assert made.config.vendors["codeqr"].settings.rate == Decimal(2)
    sell(made)
    told = []
    for _ in range(4):
        made.worker.drain()
        told.append(len(made.sales("codeqr")))
        made.clock.advance(seconds=0.5)
    assert told == [1, 2, 3, 4]
    assert len(made.sales("tapfiliate")) == ORDERS


def test_the_calls_of_one_delivery_keep_to_the_rate_too(make: Make) -> None:
    made = make("trackdesk", TRACKDESK_RATE="0.1")
    sell(made, 1)
    steps = []
    for _ in range(3):
        made.worker.drain()
        row = made.delivery("trackdesk")
        steps.append((row.state, row.attempts, row.failures))
        made.clock.advance(seconds=10)
    calls = made.vendors.ledger.as_json()["trackdesk"]["calls"]
    assert steps[-1] == (DeliveryState.SETTLED, calls, 0)
    assert steps[0][1] == 1


@pytest.mark.parametrize("wrong", ["0", "-1", "fast", "20000"])
def test_a_rate_that_is_none_is_refused(make: Make, wrong: str) -> None:
    with pytest.raises(Exception, match="CODEQR_RATE"):
        make("codeqr", CODEQR_RATE=wrong)


@pytest.mark.parametrize("wrong", ["0", "257", "many"])
def test_a_concurrency_that_is_none_is_refused(make: Make, wrong: str) -> None:
    with pytest.raises(Exception, match="CODEQR_CONCURRENCY"):
        make("codeqr", CODEQR_CONCURRENCY=wrong)
