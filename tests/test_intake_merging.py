"""Conversions that turn out to be part of others: nothing that was told is lost, or told twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from intakes import Desk, changed, desk, thing_of
from stores import LATER, NOW, a_call

from bridge.model import Cause, Status, Told
from bridge.money import Money
from bridge.store.rows import DeliveryState

INTENT = thing_of("payment_intent.succeeded")["id"]
INVOICE = thing_of("invoice.paid")["id"]
BARE, PAID, CLAIM = "payment_intent.succeeded", "invoice.paid", "invoice_payment.paid"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Desk]:
    """Set up a desk that counts bare payment intents, one of which an invoice claims later."""
    with desk(tmp_path, count_payment_intents=True) as made:
        yield made


def test_a_bare_payment_intent_waits_for_an_invoice_to_claim_it(bench: Desk) -> None:
    event = bench.read(changed(BARE, "evt_1"))
    bench.take(bodies=[event.body], now=event.occurred_at)
    due = bench.delivery(INTENT).next_attempt_at
    assert due == bench.conversion(INTENT).due_at
    assert due is not None
    assert due > event.occurred_at


def test_one_that_nobody_was_told_of_just_goes(bench: Desk) -> None:
    bench.take(BARE)
    assert bench.ids() == {f"stripe:{INTENT}"}
    bench.take(CLAIM, PAID)
    assert bench.ids() == {f"stripe:{INVOICE}"}
    assert bench.states() == {INVOICE: "due"}
    assert bench.delivery(INVOICE).told.nothing


def test_what_was_told_passes_to_the_invoice_that_claims_it(bench: Desk) -> None:
    bench.take(BARE)
    told = bench.tell(INTENT)
    assert told.amount == Money(5831, "EUR")
    bench.take(PAID)
    assert bench.ids() == {f"stripe:{INVOICE}", f"stripe:{INTENT}"}
    bench.take(CLAIM)
    assert bench.ids() == {f"stripe:{INVOICE}"}
    heir = bench.delivery(INVOICE)
    assert (heir.told.amount, heir.told.known_as) == (told.amount, INTENT)
    assert (heir.state, heir.reason) == ("due", f"taken over from stripe:{INTENT}@acme")
    assert heir.attempts == 1
    assert [each.outcome for each in bench.store.deliveries.attempts(heir.id)] == ["accepted"]
    assert bench.delivery(INVOICE, "zeta").told.nothing


def test_the_name_that_a_vendor_knows_stays(bench: Desk) -> None:
    bench.take(BARE)
    row = bench.lease(INTENT)
    bench.store.deliveries.tell(
        row, Told(steps=("sale",), status=Status.APPROVED, known_as="older"), NOW
    )
    bench.take(CLAIM, PAID)
    assert bench.delivery(INVOICE).told.known_as == "older"


def test_where_both_were_told_the_old_one_is_taken_back(bench: Desk) -> None:
    bench.take(BARE, PAID)
    told = bench.tell(INTENT), bench.tell(INVOICE)
    bench.tell(INTENT, "zeta")
    bench.take(CLAIM)
    gone = bench.conversion(INTENT)
    assert (gone.status, gone.cause) == (Status.DISAPPROVED, Cause.CANCELLATION)
    assert (gone.taken_back, gone.value) == (gone.paid, Money(0, "EUR"))
    assert gone.reason == f"it is part of stripe:{INVOICE}"
    assert bench.conversion(INVOICE).status is Status.APPROVED
    assert (bench.delivery(INTENT).told, bench.delivery(INVOICE).told) == told
    assert bench.states() == {INTENT: "due", INVOICE: "settled"}
    # Zeta was told of the old one only, and so knows the new one by it.
    assert bench.delivery(INTENT, "zeta").told.nothing
    assert bench.delivery(INVOICE, "zeta").told.known_as == INTENT


def test_one_that_was_taken_back_stays_so(bench: Desk) -> None:
    bench.take(BARE, PAID)
    bench.tell(INTENT)
    bench.tell(INVOICE)
    bench.take(CLAIM)
    bench.tell(INTENT, status=Status.DISAPPROVED)
    bench.settle()
    before = bench.written()
    bench.replay(BARE, PAID, CLAIM)
    bench.take("charge.succeeded")
    assert bench.written() == before
    assert set(bench.states().values()) == {"settled"}
    bench.take("refund.created")
    assert bench.states() == {INTENT: "settled", INVOICE: "due"}


def test_what_was_taken_back_already_is_not_passed_on(bench: Desk) -> None:
    bench.take(BARE)
    bench.tell(INTENT, status=Status.DISAPPROVED)
    bench.take(CLAIM, PAID)
    assert bench.delivery(INVOICE).told.nothing
    assert bench.delivery(INTENT).told.status is Status.DISAPPROVED
    assert bench.conversion(INTENT).status is Status.DISAPPROVED


def test_a_call_that_is_being_sent_is_taken_back_when_it_was_accepted(bench: Desk) -> None:
    bench.take(BARE)
    row = bench.lease(INTENT)
    bench.store.deliveries.start(row, a_call(INTENT), LATER)
    bench.take(CLAIM, PAID)
    assert bench.conversion(INTENT).status is Status.DISAPPROVED
    assert bench.delivery(INTENT).state is DeliveryState.SENDING
    assert bench.store.deliveries.tell(row, Told(steps=("sale",)), LATER)
    bench.store.deliveries.release(row, DeliveryState.SETTLED, LATER)
    assert bench.delivery(INTENT).state is DeliveryState.DUE


@pytest.mark.parametrize("told", [True, False])
def test_what_a_worker_planned_before_is_not_sent(bench: Desk, told: bool) -> None:
    bench.take(BARE, PAID)
    if told:
        bench.tell(INTENT)
        bench.store.deliveries.make_due(f"stripe:{INTENT}", ["acme"], NOW)
    rows = bench.store.deliveries.lease("acme", LATER, LATER, "worker", 9)
    assert {row.conversion for row in rows} == bench.ids()
    bench.take(CLAIM)
    started = {row.conversion: bench.store.deliveries.start(row, a_call(), LATER) for row in rows}
    # An invoice that inherits nothing is still to be told, as planned.
    assert started == {f"stripe:{INTENT}": False, f"stripe:{INVOICE}": not told}


def test_an_unknown_outcome_waits_for_a_person_at_its_heir(bench: Desk) -> None:
    bench.take(BARE)
    row = bench.lease(INTENT)
    bench.store.deliveries.start(row, a_call(INTENT), LATER)
    bench.store.deliveries.release(
        row, DeliveryState.UNKNOWN, NOW, reason="timed out", failed=True, keep_call=True
    )
    bench.take(CLAIM, PAID)
    assert bench.ids() == {f"stripe:{INVOICE}"}
    heir = bench.delivery(INVOICE)
    assert (heir.state, heir.reason) == (DeliveryState.UNKNOWN, "timed out")
    assert heir.in_flight == a_call(INTENT)
    assert bench.states() == {INVOICE: "unknown"}


def test_failed_attempts_stay_in_sight(bench: Desk) -> None:
    bench.take(BARE)
    row = bench.lease(INTENT)
    bench.store.deliveries.release(row, DeliveryState.DEAD, NOW, reason="refused", failed=True)
    bench.take(CLAIM, PAID)
    assert bench.delivery(INVOICE).attempts == 1


def test_a_sale_that_is_none_any_more_is_taken_back(bench: Desk) -> None:
    bench.take(BARE)
    bench.tell(INTENT)
    bench.settle()
    other = bench.with_settings(count_payment_intents=False)
    other.replay(BARE)
    gone = bench.conversion(INTENT)
    assert (gone.status, gone.reason) == (Status.DISAPPROVED, "it is no sale any more")
    bench.settle()
    bench.replay(BARE)
    assert bench.conversion(INTENT).status is Status.APPROVED
    assert bench.states() == {INTENT: "due"}
