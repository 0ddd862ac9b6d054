"""What any store keeps of deliveries: who may send, what was told, and every attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from stores import (
    FACTORIES,
    LATER,
    NOW,
    VENDOR,
    a_call,
    a_told,
    an_attempt,
    lease_one,
    opened,
    put_order,
    row_of,
    together,
)

from bridge.model import Told
from bridge.store import Store
from bridge.store.rows import DeliveryRow, DeliveryState

CONVERSION = "stripe:in_1"
DELIVERY = "stripe:in_1@acme"
ENDS = [DeliveryState.SETTLED, DeliveryState.SKIPPED, DeliveryState.PLANNED, DeliveryState.DEAD]


@pytest.fixture(params=FACTORIES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with opened(FACTORIES[request.param](tmp_path)) as store:
        put_order(store)
        yield store


def change(store: Store) -> None:
    """Mark the delivery due, as happens when its conversion changes."""
    store.deliveries.make_due(CONVERSION, [VENDOR], LATER)


# ── due ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_delivery_is_due(store: Store) -> None:
    row = row_of(store)
    assert row == DeliveryRow(
        id=DELIVERY, conversion=CONVERSION, vendor=VENDOR, state=DeliveryState.DUE, reason="",
        told=Told(), in_flight=None, attempts=0, failures=0, failing_since=None,
        next_attempt_at=NOW, lease="", updated_at=NOW,
    )  # fmt: skip
    assert store.deliveries.of_conversion(CONVERSION) == [row]
    assert store.deliveries.get("stripe:in_1@other") is None


def test_a_due_delivery_keeps_its_time(store: Store) -> None:
    change(store)
    assert row_of(store).next_attempt_at == NOW


@pytest.mark.parametrize("state", ENDS)
def test_a_change_makes_an_ended_delivery_due(store: Store, state: DeliveryState) -> None:
    store.deliveries.release(lease_one(store), state, NOW, told=a_told(), failed=True)
    assert row_of(store).state is state
    assert row_of(store).next_attempt_at is None
    change(store)
    row = row_of(store)
    assert (row.state, row.next_attempt_at, row.told) == (DeliveryState.DUE, LATER, a_told())
    if state is DeliveryState.DEAD:  # retries are counted afresh
        assert (row.failures, row.failing_since) == (0, None)
    assert row.attempts == 1


def test_a_delivery_that_waits_for_its_retry_keeps_waiting(store: Store) -> None:
    hence = NOW + timedelta(hours=1)
    store.deliveries.release(lease_one(store), DeliveryState.DUE, NOW, failed=True, next_at=hence)
    change(store)
    row = row_of(store)
    assert (row.next_attempt_at, row.failures, row.failing_since) == (hence, 1, NOW)


@pytest.mark.parametrize("state", ENDS)
def test_a_change_while_sending_comes_due_once_more(store: Store, state: DeliveryState) -> None:
    row = lease_one(store)
    change(store)
    assert row_of(store).state is DeliveryState.SENDING
    assert store.deliveries.release(row, state, LATER)
    assert (row_of(store).state, row_of(store).next_attempt_at) == (DeliveryState.DUE, LATER)
    assert store.deliveries.release(lease_one(store, LATER), state, LATER)
    assert row_of(store).state is state


def test_a_change_while_sending_does_not_hurry_a_retry(store: Store) -> None:
    row, hence = lease_one(store), NOW + timedelta(hours=1)
    change(store)
    store.deliveries.release(row, DeliveryState.DUE, LATER, failed=True, next_at=hence)
    assert row_of(store).next_attempt_at == hence


def test_what_is_unknown_stays_so_until_a_person_decides(store: Store) -> None:
    row = lease_one(store)
    store.deliveries.start(row, a_call(), LATER)
    change(store)
    store.deliveries.release(row, DeliveryState.UNKNOWN, NOW, failed=True, keep_call=True)
    change(store)
    assert (row_of(store).state, row_of(store).in_flight) == (DeliveryState.UNKNOWN, a_call())
    assert store.deliveries.lease(VENDOR, LATER, LATER, "other", 9) == []
    assert not store.deliveries.revive(DELIVERY, LATER)
    assert store.deliveries.resolve(row_of(store), LATER, a_told())
    row = lease_one(store, LATER)
    assert (row.told, row.in_flight, row.failures) == (a_told(), None, 0)
    store.deliveries.release(row, DeliveryState.SETTLED, LATER)
    assert row_of(store).state is DeliveryState.SETTLED


@pytest.mark.parametrize("state", ENDS)
def test_a_revived_delivery_starts_afresh(store: Store, state: DeliveryState) -> None:
    row = lease_one(store)
    store.deliveries.tell(row, a_told(), NOW)
    store.deliveries.release(row, state, NOW, reason="why", failed=True)
    assert store.deliveries.revive(DELIVERY, LATER)
    row = row_of(store)
    assert (row.state, row.next_attempt_at, row.reason) == (DeliveryState.DUE, LATER, "")
    assert (row.failures, row.failing_since, row.told) == (0, None, a_told())


def test_what_is_being_sent_cannot_be_revived(store: Store) -> None:
    lease_one(store)
    assert not store.deliveries.revive(DELIVERY, LATER)
    assert not store.deliveries.revive("stripe:in_2@acme", LATER)
    assert row_of(store).state is DeliveryState.SENDING


def test_tells_when_the_next_one_comes_due(store: Store) -> None:
    assert store.deliveries.next_at([VENDOR, "other"]) == NOW
    assert store.deliveries.next_at(["other"]) is None
    assert store.deliveries.next_at([]) is None
    row = lease_one(store)
    assert store.deliveries.next_at([VENDOR]) == LATER  # when the lease runs out
    store.deliveries.start(row, a_call(), LATER + timedelta(minutes=5))
    assert store.deliveries.next_at([VENDOR]) == LATER + timedelta(minutes=5)
    put_order(store, "in_2", "other")
    assert store.deliveries.next_at([VENDOR, "other"]) == NOW
    store.deliveries.release(row, DeliveryState.SETTLED, NOW)
    assert store.deliveries.next_at([VENDOR]) is None


# ── leases ───────────────────────────────────────────────────────────────────────────────────────


def test_a_leased_delivery_is_its_holders_alone(store: Store) -> None:
    row = lease_one(store)
    assert (row.state, row.lease) == (DeliveryState.SENDING, "mine")
    assert store.deliveries.lease(VENDOR, NOW, LATER, "other", 9) == []


def test_only_what_is_due_at_this_vendor_is_leased_oldest_first(store: Store) -> None:
    for order, minutes in (("in_4", 0), ("in_3", -3), ("in_2", -2), ("in_5", 1)):
        put_order(store, order, "other")
        at = NOW + timedelta(minutes=minutes)
        store.deliveries.make_due(f"stripe:{order}", [VENDOR], at)
    leased = store.deliveries.lease(VENDOR, NOW, LATER, "mine", 3)
    assert [row.conversion for row in leased] == ["stripe:in_3", "stripe:in_2", CONVERSION]
    leased = store.deliveries.lease(VENDOR, NOW, LATER, "mine", 3)
    assert [row.conversion for row in leased] == ["stripe:in_4"]


def test_many_threads_lease_each_delivery_once(store: Store) -> None:
    with store.atomic():
        for number in range(2, 101):
            put_order(store, f"in_{number}")

    def take(thread: int) -> list[str]:
        taken: list[str] = []
        while rows := store.deliveries.lease(VENDOR, NOW, LATER, f"thread {thread}", 3):
            taken += [row.id for row in rows]
        return taken

    taken = [id for ids in together(8, take) for id in ids]
    assert sorted(taken) == sorted(f"stripe:in_{number}@acme" for number in range(1, 101))


def test_a_lease_that_ran_out_is_taken_up_with_its_call(store: Store) -> None:
    row = lease_one(store)
    assert store.deliveries.start(row, a_call(), LATER)
    assert store.deliveries.lease(VENDOR, LATER - timedelta(seconds=1), LATER, "other", 1) == []
    (taken,) = store.deliveries.lease(VENDOR, LATER, LATER, "other", 1)
    assert (taken.lease, taken.in_flight) == ("other", a_call())


def use_start(store: Store, row: DeliveryRow) -> bool:
    return store.deliveries.start(row, a_call(), LATER)


def use_tell(store: Store, row: DeliveryRow) -> bool:
    return store.deliveries.tell(row, a_told(), NOW)


def use_release(store: Store, row: DeliveryRow) -> bool:
    return store.deliveries.release(row, DeliveryState.DEAD, NOW, told=a_told(), failed=True)


@pytest.mark.parametrize("use", [use_start, use_tell, use_release])
def test_who_lost_the_lease_changes_nothing(
    store: Store, use: Callable[[Store, DeliveryRow], bool]
) -> None:
    never_held = row_of(store)
    assert not use(store, never_held)
    lost = lease_one(store)
    taken = lease_one(store, LATER, "other")
    assert not use(store, lost)
    assert row_of(store) == taken
    assert use(store, taken)
    store.deliveries.release(taken, DeliveryState.SETTLED, NOW)
    assert not use(store, taken)


def test_a_told_delivery_stays_its_holders(store: Store) -> None:
    row = lease_one(store)
    store.deliveries.start(row, a_call(), LATER)
    assert store.deliveries.tell(row, a_told(), LATER)
    now = row_of(store)
    assert (now.told, now.in_flight, now.attempts) == (a_told(), None, 1)
    assert (now.state, now.lease) == (DeliveryState.SENDING, "mine")


def test_failures_are_counted_until_something_goes_well(store: Store) -> None:
    for failures in (1, 2):
        at = NOW + timedelta(minutes=failures)
        store.deliveries.release(
            lease_one(store, at), DeliveryState.DUE, at, failed=True, reason="busy", next_at=at
        )
        row = row_of(store)
        assert (row.failures, row.attempts, row.reason) == (failures, failures, "busy")
        assert row.failing_since == NOW + timedelta(minutes=1)
    store.deliveries.release(lease_one(store, at), DeliveryState.SETTLED, at)
    row = row_of(store)
    assert (row.failures, row.failing_since, row.attempts, row.reason) == (0, None, 2, "")


# ── attempts ─────────────────────────────────────────────────────────────────────────────────────


def test_attempts_are_numbered_and_never_changed(store: Store) -> None:
    store.deliveries.record(an_attempt(DELIVERY))
    first = store.deliveries.attempts(DELIVERY)
    assert [(each.number, each.call, each.status) for each in first] == [(1, a_call(), 503)]
    store.deliveries.record(an_attempt(DELIVERY, "accepted", LATER))
    change(store)
    after = store.deliveries.attempts(DELIVERY)
    assert after[:1] == first
    assert [(each.number, each.outcome) for each in after] == [(1, "retry"), (2, "accepted")]


def test_many_threads_number_attempts(store: Store) -> None:
    put_order(store, "in_2")

    def record(_: int) -> None:
        for _ in range(5):
            with store.atomic("acme"):
                store.deliveries.record(an_attempt(DELIVERY))

    together(8, record)
    store.deliveries.record(an_attempt("stripe:in_2@acme"))
    numbers = [each.number for each in store.deliveries.attempts(DELIVERY)]
    assert numbers == list(range(1, 41))
    assert [each.number for each in store.deliveries.attempts("stripe:in_2@acme")] == [1]


def test_an_attempt_at_what_is_gone_is_let_go(store: Store) -> None:
    store.orders.remove(CONVERSION)
    store.deliveries.record(an_attempt(DELIVERY))
    assert store.deliveries.attempts(DELIVERY) == []


# ── merging ──────────────────────────────────────────────────────────────────────────────────────

HEIR = "stripe:in_2@acme"


def told_once(store: Store) -> DeliveryRow:
    """Tell the vendor of the order after one failure, and make a second order."""
    row = lease_one(store)
    for attempt in (an_attempt(DELIVERY), an_attempt(DELIVERY, "accepted", LATER)):
        store.deliveries.record(attempt)
        store.deliveries.tell(row, a_told(), NOW)
    put_order(store, "in_2")
    return row_of(store)


def test_an_heir_takes_over_what_was_told(store: Store) -> None:
    row = told_once(store)
    store.deliveries.record(an_attempt(HEIR, "dead", NOW + timedelta(seconds=1)))
    store.deliveries.hand_over(row, HEIR, row.told, LATER)
    heir = row_of(store, HEIR)
    assert (heir.told, heir.state, heir.next_attempt_at) == (a_told(), DeliveryState.DUE, LATER)
    assert (heir.reason, heir.attempts) == (f"taken over from {DELIVERY}", 2)
    attempts = store.deliveries.attempts(HEIR)
    assert [each.outcome for each in attempts] == ["retry", "dead", "accepted"]
    assert sorted(each.number for each in attempts) == [1, 2, 3]
    gone = row_of(store)
    assert (gone.told, gone.state, gone.attempts) == (Told(), DeliveryState.SKIPPED, 0)
    assert store.deliveries.attempts(DELIVERY) == []


def test_who_holds_what_is_handed_over_loses_it(store: Store) -> None:
    row = told_once(store)
    (held,) = store.deliveries.lease(VENDOR, NOW, LATER, "other", 9)
    store.deliveries.hand_over(row, HEIR, row.told, NOW)
    assert (held.id, held.told) == (HEIR, Told())
    assert not store.deliveries.start(held, a_call("in_2"), LATER)
    assert not store.deliveries.start(row, a_call(), LATER)
    assert lease_one(store).told == a_told()


def test_an_heir_of_nothing_is_left_alone(store: Store) -> None:
    put_order(store, "in_2")
    leased = store.deliveries.lease(VENDOR, NOW, LATER, "mine", 9)
    heir = row_of(store, HEIR)
    store.deliveries.hand_over(row_of(store), HEIR, Told(), NOW)
    assert row_of(store, HEIR) == heir
    assert [store.deliveries.start(row, a_call(), LATER) for row in leased] == [False, True]


def test_an_unknown_outcome_is_handed_over_as_such(store: Store) -> None:
    row = lease_one(store)
    put_order(store, "in_2")
    store.deliveries.start(row, a_call(), LATER)
    store.deliveries.release(row, DeliveryState.UNKNOWN, NOW, reason="timed out", keep_call=True)
    store.deliveries.hand_over(row_of(store), HEIR, Told(), NOW)
    heir = row_of(store, HEIR)
    assert (heir.state, heir.in_flight) == (DeliveryState.UNKNOWN, a_call())
    assert heir.reason == "timed out"
    assert row_of(store).in_flight is None


# ── listings ─────────────────────────────────────────────────────────────────────────────────────


def test_lists_and_counts(store: Store) -> None:
    put_order(store, "in_2", VENDOR, "other")
    store.deliveries.release(lease_one(store), DeliveryState.DEAD, LATER, reason="no such click")
    newest = store.deliveries.newest()
    assert (newest[0].id, len(newest)) == (DELIVERY, 3)
    assert [row.reason for row in store.deliveries.newest("dead")] == ["no such click"]
    assert len(store.deliveries.newest(DeliveryState.DUE, 1)) == 1
    assert store.deliveries.count() == {"acme": {"dead": 1, "due": 1}, "other": {"due": 1}}
