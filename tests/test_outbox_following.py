"""One after the other: the next delivery is taken in the transaction that ends the one before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from kit import CUSTOMER, Bench, Make
from logged import logged
from test_gatekeeper import sale
from test_outbox_mistakes import failing

from bridge.errors import StoreError
from bridge.http import Sender
from bridge.outbox import LEASE, Begun, Outbox
from bridge.store.rows import DeliveryRow

VENDOR = "codeqr"


@pytest.fixture
def sold(make: Make) -> Bench:
    """Return a bridge with three sales that are due, none of them told."""
    made = make(VENDOR)
    made.click(CUSTOMER)
    made.receive(bodies=[sale(number) for number in range(3)])
    return made


@contextmanager
def outbox_of(made: Bench, *, follows: bool = True) -> Iterator[Outbox]:
    sender = Sender(read_seconds=5)
    yield Outbox(made.store, made.config, sender, clock=made.clock, follows=lambda: follows)
    sender.close()


def deliver(outbox: Outbox, begun: Begun | None) -> None:
    """Deliver one, and all that follow."""
    while begun:
        begun = outbox.deliver(begun.row, begun.ready)


def states(made: Bench) -> list[str]:
    return sorted(str(row.state) for row in made.store.deliveries.newest())


def lease(outbox: Outbox) -> DeliveryRow:
    (row,) = outbox.lease(VENDOR, 1)
    return row


def planned(made: Bench, outbox: Outbox, row: DeliveryRow) -> Begun:
    """Plan a delivery, and write down that its call is being sent."""
    with made.store.atomic(VENDOR):
        return Begun(row, outbox._plan(row))


def test_the_next_one_is_on_record_as_being_sent_when_the_one_before_is_over(sold: Bench) -> None:
    with outbox_of(sold) as outbox:
        following = outbox.deliver(lease(outbox))
        assert following is not None
        assert states(sold) == ["due", "sending", "settled"]
        stored = sold.store.deliveries.get(following.row.id)
        assert stored is not None
        assert stored.in_flight is not None
        assert len(sold.sales(VENDOR)) == 1


def test_it_takes_no_transaction_of_its_own(sold: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    inside: list[str] = []

    @contextmanager
    def counting(vendor: str = "") -> Iterator[None]:
        if not inside:
            begun.append(vendor)
        inside.append(vendor)
        with atomic(vendor):
            yield
        inside.pop()

    atomic = sold.store.atomic
    monkeypatch.setattr(sold.store, "atomic", counting)
    with outbox_of(sold) as outbox:
        row = lease(outbox)
        begun.clear()
        deliver(outbox, Begun(row))
    assert states(sold) == ["settled"] * 3
    # The first is planned by itself; each ends in one, within which the next is planned.
    assert begun == [VENDOR] * 4
    assert len(sold.sales(VENDOR)) == 3


def test_none_is_taken_where_none_is_to_follow(sold: Bench) -> None:
    with outbox_of(sold, follows=False) as outbox:
        assert outbox.deliver(lease(outbox)) is None
    assert states(sold) == ["due", "due", "settled"]


def test_one_that_we_fail_on_does_not_undo_the_one_before(sold: Bench) -> None:
    with outbox_of(sold) as outbox:
        begun = planned(sold, outbox, lease(outbox))
        broken = failing(sold, VENDOR, where="authorize")
        with logged() as log:
            assert broken._outbox.deliver(begun.row, begun.ready) is None
        assert 'event="left alone"' in log.getvalue()
        assert "error=KeyError" in log.getvalue()
        assert states(sold) == ["due", "due", "settled"]
        broken.drain()
        broken.close()
    assert states(sold) == ["dead", "dead", "settled"]
    assert len(sold.sales(VENDOR)) == 1


@pytest.mark.parametrize("error", [StoreError("canceling statement"), OSError("a mistake")])
def test_what_was_accepted_does_not_hang_on_whether_another_can_be_taken(
    sold: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> list[DeliveryRow]:
        raise error

    with outbox_of(sold) as outbox:
        begun = planned(sold, outbox, lease(outbox))
        monkeypatch.setattr("bridge.outbox.RECORD_AGAIN_SECONDS", 0)
        monkeypatch.setattr(sold.store.deliveries, "lease", refuse)
        assert outbox.deliver(begun.row, begun.ready) is None
    assert states(sold) == ["due", "due", "settled"]
    assert len(sold.sales(VENDOR)) == 1


def test_one_is_not_left_where_nobody_heard_that_it_was_taken(
    sold: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    atomic, unheard = sold.store.atomic, [True]

    @contextmanager
    def losing_an_answer(vendor: str = "") -> Iterator[None]:
        with atomic(vendor):
            yield
        if vendor and inside == [VENDOR] and unheard:
            unheard.clear()
            raise StoreError("the answer to COMMIT was lost")

    inside: list[str] = []

    @contextmanager
    def counting(vendor: str = "") -> Iterator[None]:
        inside.append(vendor)
        try:
            with losing_an_answer(vendor):
                yield
        finally:
            inside.pop()

    monkeypatch.setattr("bridge.outbox.RECORD_AGAIN_SECONDS", 0)
    with outbox_of(sold) as outbox:
        begun = planned(sold, outbox, lease(outbox))
        monkeypatch.setattr(sold.store, "atomic", counting)
        again = Outbox(
            sold.store, sold.config, outbox._sender, clock=sold.clock, follows=lambda: True
        )
        following = again.deliver(begun.row, begun.ready)
        assert not unheard
        assert following is not None
        assert states(sold) == ["due", "sending", "settled"]
        deliver(again, following)
    assert states(sold) == ["settled"] * 3
    assert len(sold.sales(VENDOR)) == 3


def test_one_whose_call_may_have_been_counted_is_cleared_up_by_itself(sold: Bench) -> None:
    with outbox_of(sold) as outbox:
        lost = lease(outbox)
        planned(sold, outbox, lost)
        # Nobody gives that lease back: it runs out, and comes first.
        sold.clock.now += LEASE
        row = lease(outbox)
        assert row.id == lost.id
        deliver(outbox, Begun(row))
    assert states(sold) == ["settled"] * 3
    assert len(sold.sales(VENDOR)) == 3


def test_one_that_is_in_doubt_is_taken_as_such(sold: Bench) -> None:
    with outbox_of(sold) as outbox:
        first, second = (lease(outbox) for _ in range(2))
        planned(sold, outbox, second)
        sold.clock.now += LEASE
        following = outbox.deliver(first)
        assert following is not None
        assert (following.row.id, following.ready) == (second.id, None)
        assert following.row.in_flight is not None
        deliver(outbox, following)
    assert states(sold) == ["settled"] * 3
    assert len(sold.sales(VENDOR)) == 3


# ── the worker ───────────────────────────────────────────────────────────────────────────────────


def test_a_worker_does_not_take_what_it_holds_when_the_clock_has_moved(
    sold: Bench,
) -> None:
    worker = sold.worker
    assert worker._follows()
    sold.clock.now += LEASE
    assert not worker._follows()
    worker._keep_leases()
    assert worker._follows()
    worker.stop()
    assert not worker._follows()


def test_one_that_is_held_twice_is_given_back_once_each(sold: Bench) -> None:
    worker = sold.worker
    with outbox_of(sold) as outbox:
        row = lease(outbox)
    worker._hold(row)
    worker._hold(replace(row, lease="another"))
    worker._deliver(row)
    assert [key for _, key in worker._held] == ["another"]
    assert states(sold) == ["settled"] * 3
