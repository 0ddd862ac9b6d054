"""One after the other: the next delivery is taken in the transaction that ends the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from kit import CUSTOMER, Bench, Make
from test_gatekeeper import sale
from test_outbox_mistakes import failing

from bridge.http import Sender
from bridge.outbox import LEASE, Begun, Outbox
from bridge.store.rows import DeliveryRow, DeliveryState

VENDOR = "codeqr"


@pytest.fixture
def sold(make: Make) -> Bench:
    """Return a bridge with three sales that are due, none of them told."""
    made = make(VENDOR)
    made.click(CUSTOMER)
    made.receive(bodies=[sale(number) for number in range(3)])
    return made


@contextmanager
def outbox_of(made: Bench, stopping: Callable[[], bool] = bool) -> Iterator[Outbox]:
    sender = Sender(read_seconds=5)
    yield Outbox(made.store, made.config, sender, clock=made.clock, stopping=stopping)
    sender.close()


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
        following = outbox.deliver_on(Begun(lease(outbox)))
        assert following is not None
        assert states(sold) == ["due", "sending", "settled"]
        stored = sold.store.deliveries.get(following.row.id)
        assert stored is not None
        assert stored.in_flight is not None
        assert len(sold.sales(VENDOR)) == 1


def test_it_takes_no_transaction_of_its_own(sold: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    @contextmanager
    def counting(vendor: str = "") -> Iterator[None]:
        with atomic(vendor):
            yield
        written.append(vendor)

    atomic = sold.store.atomic
    monkeypatch.setattr(sold.store, "atomic", counting)
    with outbox_of(sold) as outbox:
        begun: Begun | None = Begun(lease(outbox))
        written.clear()
        while begun:
            begun = outbox.deliver_on(begun)
    assert states(sold) == ["settled"] * 3
    # The first is planned by itself; each ends in one, within which the next is planned.
    assert [vendor for vendor in written if vendor] == [VENDOR] * 4
    assert len(sold.sales(VENDOR)) == 3


def test_after_a_stop_none_is_taken(sold: Bench) -> None:
    with outbox_of(sold, stopping=lambda: True) as outbox:
        assert outbox.deliver_on(Begun(lease(outbox))) is None
    assert states(sold) == ["due", "due", "settled"]


def test_one_by_itself_takes_no_other(sold: Bench) -> None:
    with outbox_of(sold) as outbox:
        outbox.deliver(lease(outbox))
    assert states(sold) == ["due", "due", "settled"]


def test_one_that_we_fail_on_does_not_undo_the_one_before(sold: Bench) -> None:
    with outbox_of(sold) as outbox:
        row = lease(outbox)
        broken = failing(sold, VENDOR, where="authorize")._outbox
        following = broken.deliver_on(planned(sold, outbox, row))
        assert following is not None
        assert following.ready is None
        assert states(sold) == ["due", "sending", "settled"]
        assert broken.deliver_on(following) is None
    assert states(sold) == ["dead", "due", "settled"]
    assert len(sold.sales(VENDOR)) == 1


def test_one_whose_call_may_have_been_counted_is_cleared_up_by_itself(sold: Bench) -> None:
    with outbox_of(sold) as outbox:
        lost = lease(outbox)
        planned(sold, outbox, lost)
        # Nobody gives that lease back: it runs out, and comes first.
        sold.clock.now += LEASE
        begun = Begun(lease(outbox))
        assert begun.row.id == lost.id
        while begun_next := outbox.deliver_on(begun):
            begun = begun_next
    assert states(sold) == ["settled"] * 3
    assert len(sold.sales(VENDOR)) == 3


def test_one_that_is_taken_later_is_found_in_doubt_by_the_one_before(sold: Bench) -> None:
    with outbox_of(sold) as outbox:
        first, second = (lease(outbox) for _ in range(2))
        planned(sold, outbox, second)
        sold.clock.now += LEASE
        following = outbox.deliver_on(Begun(first))
        assert following is not None
        assert following.row.id == second.id
        assert following.row.in_flight is not None
        while following:
            following = outbox.deliver_on(following)
    assert states(sold) == [DeliveryState.SETTLED] * 3
    assert len(sold.sales(VENDOR)) == 3
