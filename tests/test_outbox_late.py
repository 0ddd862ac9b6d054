"""Calls that outlive what was thought of them: a lease, a clock, three days, a merge, a stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from kit import CUSTOMER, EVERYTHING, SALE, Bench, Make, body_of, thing_of
from running import until
from test_gatekeeper import sale

from bridge.http import Sender
from bridge.model import Call, NoAnswer, Response
from bridge.outbox import LEASE, Outbox
from bridge.store.rows import DeliveryState
from bridge.worker import Worker


class Held(Sender):
    """Hold the first call up just before it leaves, until it is let go."""

    def __init__(self) -> None:
        super().__init__(read_seconds=5)
        self.reached, self.let_go = threading.Event(), threading.Event()

    def send(self, call: Call, *rest: Any) -> Response | NoAnswer:
        if not self.reached.is_set():
            self.reached.set()
            assert self.let_go.wait(30)
        return super().send(call, *rest)


@contextmanager
def held_up(made: Bench) -> Iterator[Worker]:
    """Have a worker's first call held up until the block ends, and answered then."""
    sender = Held()
    worker = Worker(made.store, made.config, sender=sender, clock=made.clock)
    worker.step()
    assert sender.reached.wait(30)
    try:
        yield worker
    finally:
        sender.let_go.set()
        until(lambda: not worker._held, "the call to be answered")
        worker.close()


@pytest.mark.parametrize("vendor", ["taapit", "tapfiliate", "codeqr"])
def test_a_worker_does_not_take_its_own_call_for_lost(make: Make, vendor: str) -> None:
    made = make(vendor)
    made.click(CUSTOMER)
    made.receive(*SALE)
    with held_up(made) as worker:
        for _ in range(3):  # the machine was suspended, or its clock set
            made.clock.advance(seconds=LEASE.total_seconds() + 1)
            worker.step()
            assert made.delivery(vendor).state is DeliveryState.SENDING
            assert made.attempts(vendor) == []
    assert made.delivery(vendor).state is DeliveryState.SETTLED
    assert [each.outcome for each in made.attempts(vendor)] == ["accepted"]
    assert len(made.sales(vendor)) == 1


def test_an_answer_that_comes_after_all_ends_the_doubt(make: Make) -> None:
    made = make("taapit")
    made.click(CUSTOMER)
    made.receive(*SALE)
    with held_up(made):
        made.clock.advance(seconds=LEASE.total_seconds() + 1)
        made.worker.drain()  # another worker: it cannot know that the first still lives
        assert made.delivery("taapit").state is DeliveryState.UNKNOWN
    made.worker.drain()
    assert made.delivery("taapit").state is DeliveryState.SETTLED
    assert len(made.sales("taapit")) == 1


@pytest.mark.parametrize("last", [{"commit_then_reset": True}, {"status": 500, "commit": True}])
def test_giving_up_forgets_no_doubt(make: Make, last: dict[str, object]) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    made.fault("tapfiliate", {"status": 429}, last)
    made.play(*SALE)
    made.clock.advance(days=3, hours=1)
    made.worker.drain()
    assert made.delivery("tapfiliate").state is DeliveryState.DEAD
    made.play(bodies=[EVERYTHING])
    made.clock.advance(hours=1)
    made.worker.drain()
    assert [each["status"] for each in made.sales("tapfiliate")] == ["disapproved"]


@pytest.mark.parametrize("vendor", ["codeqr", "trackdesk", "tapfiliate"])
def test_a_doubt_that_is_passed_on_clears_up_all_the_same(make: Make, vendor: str) -> None:
    made = make(vendor, STRIPE_COUNT_PAYMENT_INTENTS="1")
    intent = thing_of("payment_intent.succeeded")["id"]
    claimed = thing_of("invoice_payment.paid")["payment"]["payment_intent"]
    made.click(CUSTOMER)
    made.fault(vendor, {"commit_then_reset": True})
    made.receive("payment_intent.succeeded")
    made.clock.advance(hours=1)
    made.worker.drain()
    link = body_of("invoice_payment.paid").replace(claimed, intent)
    made.receive("invoice.paid", bodies=[link])
    for _ in range(3):
        made.clock.advance(hours=1)
        made.worker.drain()
    states = {row.state for row in made.store.deliveries.newest()}
    assert states <= {DeliveryState.SETTLED, DeliveryState.SKIPPED}
    assert len([each for each in made.sales(vendor) if each["status"] == "approved"]) == 1


def test_a_delivery_that_cannot_be_read_holds_up_no_other(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.receive(bodies=[sale(number) for number in range(3)])
    unreadable = min(row.id for row in made.store.deliveries.newest())
    made.store.execute(  # type: ignore[attr-defined]
        """UPDATE deliveries SET told = '{"status": "of a later version"}' WHERE id = :id""",
        {"id": unreadable},
    )
    made.worker.drain()
    assert len(made.sales("codeqr")) == 2
    made.store.execute(  # type: ignore[attr-defined]
        "UPDATE deliveries SET told = '{}' WHERE id = :id", {"id": unreadable}
    )
    row = made.store.deliveries.get(unreadable)
    assert row is not None
    assert row.state is DeliveryState.DEAD
    assert "upgrade" in row.reason
    made.store.deliveries.revive(unreadable, made.clock())
    made.worker.drain()
    assert len(made.sales("codeqr")) == 3


@pytest.mark.parametrize("charset", ["idna", "undefined", "klingon", "utf-16"])
def test_a_yes_in_an_odd_encoding_is_a_yes(make: Make, charset: str) -> None:
    made = make("trackdesk")
    made.click(CUSTOMER)
    kind = {"Content-Type": f"application/json; charset={charset}"}
    made.fault("trackdesk", {"status": 200, "body": "{}", "headers": kind, "commit": True})
    made.play(*SALE)
    assert made.delivery("trackdesk").state is DeliveryState.SETTLED


def test_after_a_stop_no_further_call_begins(make: Make) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    made.fault("tapfiliate", {"reset": True})
    made.play(*SALE)  # now it is in doubt, and looked up before it is sent again
    made.clock.advance(hours=1)
    sender = Sender()
    outbox = Outbox(made.store, made.config, sender, clock=made.clock, stopping=lambda: True)
    (row,) = outbox.lease("tapfiliate", 1)
    outbox.deliver(row)
    sender.close()
    assert [each.call.step for each in made.attempts("tapfiliate")] == ["sale", "look_up"]
    assert made.delivery("tapfiliate").state is DeliveryState.DUE
    made.worker.drain()
    assert made.delivery("tapfiliate").state is DeliveryState.SETTLED
    assert len(made.sales("tapfiliate")) == 1


def test_who_is_turned_away_keeps_its_place(make: Make) -> None:
    made = make("codeqr", CODEQR_RATE="4")
    made.click(CUSTOMER)
    for number in range(6):
        made.receive(bodies=[sale(number)])
        made.clock.advance(seconds=1)
    told = []
    for _ in range(6):
        until_then = made.clock() + LEASE
        # More than may be called for, as happens when several workers look at the same moment.
        leased = made.store.deliveries.lease("codeqr", made.clock(), until_then, "mine", 3)
        for row in leased:
            made.worker._outbox.deliver(row)
        told += [row.id for row in leased if made.store.deliveries.attempts(row.id)]
        made.clock.now += timedelta(seconds=0.25)
    assert told == sorted(told)
    assert len(told) == 6
