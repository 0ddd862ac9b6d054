"""The worker asks Stripe what its webhooks left out, and goes on from the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import Bench, bench, body_of, thing_of
from stripe_stand_in import StandIn, stripe_stand_in

from bridge import config
from bridge.model import Conversion, Status
from bridge.money import Money
from bridge.store.rows import AskState, EventState
from bridge.worker import Worker

KEY = "sk_test_madeUpForTests0123456789"
WRONG_KEY = {"error": {"type": "invalid_request_error", "message": f"Invalid API Key: {KEY}"}}
LINK = thing_of("invoice_payment.paid@before-sale")
INTENT = LINK["payment"]["payment_intent"]
SALE = ("invoice.paid", "invoice_payment.paid")
THIN = "v1.charge.refunded"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with stripe_stand_in() as running:
        yield running


@pytest.fixture
def asking(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bridge without vendors that may ask the stand-in."""
    keys = {"STRIPE_API_KEY": KEY, "STRIPE_API_BASE": stand_in.url}
    with bench(tmp_path / "bridge.db", monkeypatch, (), **keys) as running:
        yield running


@pytest.fixture
def silent(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bridge without vendors and without a key."""
    base = {"STRIPE_API_BASE": stand_in.url}
    with bench(tmp_path / "bridge.db", monkeypatch, (), **base) as running:
        yield running


def only(running: Bench) -> Conversion:
    (conversion,) = running.store.orders.newest()
    return conversion


def restart(running: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the worker anew, with a key this time."""
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    running.worker.close()
    running.worker = Worker(running.store, config.load(), clock=running.clock)
    running.worker.take_up()
    running.worker.drain()


@pytest.mark.parametrize("sale_first", [True, False])
def test_a_refund_finds_its_sale_by_asking(
    stand_in: StandIn, asking: Bench, sale_first: bool
) -> None:
    stand_in.payments = [LINK]
    names = ["invoice.paid@before-sale", "refund.created@before-sale"]

    asking.play(*(names if sale_first else names[::-1]))

    sale = only(asking)
    assert sale.id == f"stripe:{LINK['invoice']}"
    assert (sale.status, sale.taken_back) == (Status.APPROVED, Money(2000, "EUR"))
    assert len(stand_in.asked) == 1
    (event,) = asking.store.events.find(f"fetched_{LINK['id']}")
    assert (event.event.fetched, event.state) == (True, EventState.PROCESSED)


def test_what_stripe_does_not_know_yet_is_asked_again_later(
    stand_in: StandIn, asking: Bench
) -> None:
    asking.play("refund.created@before-sale", "invoice.paid@before-sale")
    assert asking.store.orders.newest(Status.PARKED)
    stand_in.payments = [LINK]
    asking.worker.drain()
    assert len(stand_in.asked) == 1  # not before its time

    asking.clock.advance(hours=1)
    asking.worker.drain()

    assert only(asking).taken_back == Money(2000, "EUR")
    (ask,) = asking.store.asks.about(INTENT)
    assert (ask.state, ask.asked) == (AskState.ANSWERED, 2)


def test_without_a_key_a_refund_stays_parked(stand_in: StandIn, silent: Bench) -> None:
    silent.play("invoice.paid@before-sale", "refund.created@before-sale")

    statuses = {each.status for each in silent.store.orders.newest()}
    assert statuses == {Status.APPROVED, Status.PARKED}
    assert stand_in.asked == []


def test_a_parked_refund_is_asked_about_once_there_is_a_key(
    stand_in: StandIn, silent: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.payments = [LINK]
    silent.play("invoice.paid@before-sale", "refund.created@before-sale")

    restart(silent, monkeypatch)

    assert only(silent).taken_back == Money(2000, "EUR")


def thin_row(running: Bench) -> tuple[EventState, str]:
    (row,) = running.store.events.find(json.loads(body_of(THIN))["id"])
    return row.state, row.reason


def knows_charge(stand_in: StandIn) -> None:
    charge = thing_of("charge.refunded")
    stand_in.objects[f"/v1/charges/{charge['id']}"] = charge


def test_a_thin_event_is_fetched(stand_in: StandIn, asking: Bench) -> None:
    knows_charge(stand_in)

    asking.play(*SALE, THIN)

    assert only(asking).taken_back == Money(2000, "EUR")
    state, reason = thin_row(asking)
    assert state is EventState.PROCESSED
    assert reason.startswith("fetched as fetched_evt_")


def test_a_thin_event_waits_for_a_key_and_is_fetched_once_there_is_one(
    stand_in: StandIn, silent: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    knows_charge(stand_in)
    silent.play(*SALE, THIN)
    state, reason = thin_row(silent)
    assert state is EventState.WAITING
    assert "STRIPE_API_KEY" in reason
    assert only(silent).taken_back == Money(0, "EUR")

    restart(silent, monkeypatch)

    assert thin_row(silent)[0] is EventState.PROCESSED
    assert only(silent).taken_back == Money(2000, "EUR")


def test_a_wrong_key_is_told_and_asked_again_with(stand_in: StandIn, asking: Bench) -> None:
    stand_in.fault = (401, json.dumps(WRONG_KEY).encode())
    asking.play(*SALE, THIN)
    key = f"stripe:{json.loads(body_of(THIN))['id']}"
    (ask,) = asking.store.asks.about(key)
    assert ask.state is AskState.DUE
    assert "STRIPE_API_KEY" in ask.reason
    assert KEY not in ask.reason

    stand_in.fault = None
    knows_charge(stand_in)
    asking.clock.advance(hours=1)
    asking.worker.drain()

    assert only(asking).taken_back == Money(2000, "EUR")


def test_an_unreadable_answer_does_not_stop_the_worker(stand_in: StandIn, asking: Bench) -> None:
    stand_in.fault = (200, b'{"object": "list", "data": [{}]}')
    asking.play("refund.created@before-sale", "invoice.paid@before-sale")
    (ask,) = asking.store.asks.about(INTENT)
    assert ask.state is AskState.DUE
    assert ask.next_at > asking.clock()


def test_the_key_is_nowhere_in_the_database(
    stand_in: StandIn, asking: Bench, tmp_path: Path
) -> None:
    stand_in.fault = (401, json.dumps(WRONG_KEY).encode())
    asking.play("refund.created@before-sale", THIN)
    raw = b"".join(each.read_bytes() for each in tmp_path.glob("bridge.db*"))
    assert b"STRIPE_API_KEY" in raw
    assert KEY.encode() not in raw
