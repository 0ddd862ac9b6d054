"""Calls that may have been counted: repeated, looked up, or left to a person; never forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from kit import CUSTOMER, EVERYTHING, REFUND, SALE, Bench, Make, state

from bridge.http import Sender
from bridge.model import Call, Told
from bridge.money import Money
from bridge.outbox import LEASE
from bridge.planning import plan
from bridge.store.rows import DeliveryState

# ── no answer ────────────────────────────────────────────────────────────────────────────────────

NO_ANSWER = [{"commit_then_hang": 2}, {"commit_then_reset": True}]


@pytest.mark.parametrize("fault", NO_ANSWER, ids=["hang", "reset"])
def test_taapit_is_never_told_twice_blindly(make: Make, fault: dict[str, object]) -> None:
    made = make("taapit")
    made.click(CUSTOMER)
    made.fault("taapit", fault)
    made.play(*SALE)
    made.clock.advance(days=2)
    made.play(*SALE, *REFUND)
    row = made.delivery("taapit")
    assert row.state is DeliveryState.UNKNOWN
    assert row.in_flight is not None
    assert len(made.sales("taapit")) == 1
    assert not made.store.deliveries.revive(row.id, made.clock())
    assert made.store.deliveries.resolve(row, made.clock(), row.in_flight.tells)
    made.worker.drain()
    assert len(made.sales("taapit")) == 1
    assert state(made, "taapit")[0] is DeliveryState.SKIPPED


@pytest.mark.parametrize("fault", NO_ANSWER, ids=["hang", "reset"])
def test_tapfiliate_is_asked_before_it_is_told_again(make: Make, fault: dict[str, object]) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    made.fault("tapfiliate", fault)
    made.play(*SALE)
    assert made.delivery("tapfiliate").told.doubt
    made.clock.advance(hours=1)
    made.worker.drain()
    assert state(made, "tapfiliate") == (DeliveryState.SETTLED, "")
    assert len(made.sales("tapfiliate")) == 1
    methods = [each.call.method for each in made.attempts("tapfiliate")]
    assert methods == ["POST", "GET"]


def test_tapfiliate_is_told_again_when_it_knows_nothing(make: Make) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    made.fault("tapfiliate", {"reset": True})
    made.play(*SALE)
    made.clock.advance(hours=1)
    made.worker.drain()
    assert [each.call.method for each in made.attempts("tapfiliate")] == ["POST", "GET", "POST"]
    assert len(made.sales("tapfiliate")) == 1


@pytest.mark.parametrize("vendor", ["codeqr", "trackdesk", "tracify"])
@pytest.mark.parametrize("fault", NO_ANSWER, ids=["hang", "reset"])
def test_repeatable_vendors_are_told_again(
    make: Make, vendor: str, fault: dict[str, object]
) -> None:
    made = make(vendor)
    made.click(CUSTOMER)
    made.fault(vendor, fault)
    made.play(*SALE)
    assert made.delivery(vendor).state is DeliveryState.DUE
    made.clock.advance(hours=1)
    made.worker.drain()
    assert len(made.sales(vendor)) == 1
    assert state(made, vendor) == (DeliveryState.SETTLED, "")


REFUND_FAILED = (
    EVERYTHING.replace('"evt_', '"evt_later')
    .replace("refund.created", "refund.failed")
    .replace('"status": "pending"', '"status": "failed"')
    .replace('"created": 1793872800', '"created": 1793959200')
)


COUNTED_ALL_THE_SAME = [
    {"commit_then_reset": True},
    *({"status": status, "commit": True} for status in (500, 502, 503)),
]


def refunded_in_doubt(made: Bench, vendor: str, fault: dict[str, Any]) -> None:
    """Sell, have the vendor count it and not say so, and give all of it back."""
    made.click(CUSTOMER)
    made.fault(vendor, fault)
    made.play(*SALE)
    made.play(bodies=[EVERYTHING])
    made.clock.advance(hours=1)
    made.worker.drain()


@pytest.mark.parametrize("vendor", ["trackdesk", "tapfiliate"])
@pytest.mark.parametrize("fault", COUNTED_ALL_THE_SAME, ids=str)
def test_a_refund_before_the_outcome_is_known_takes_the_sale_back(
    make: Make, vendor: str, fault: dict[str, Any]
) -> None:
    made = make(vendor)
    refunded_in_doubt(made, vendor, fault)
    (sale,) = made.sales(vendor)
    assert (sale["amount"], sale["status"]) == ("49.00", "disapproved")
    assert state(made, vendor) == (DeliveryState.SETTLED, "")


@pytest.mark.parametrize("vendor", ["codeqr", "tracify"])
def test_a_doubt_is_cleared_up_where_the_money_comes_back(make: Make, vendor: str) -> None:
    made = make(vendor)
    refunded_in_doubt(made, vendor, {"commit_then_reset": True})
    assert made.delivery(vendor).state is DeliveryState.UNKNOWN
    made.play(bodies=[REFUND_FAILED])
    made.clock.advance(hours=1)
    made.worker.drain()
    assert made.delivery(vendor).state is DeliveryState.SETTLED
    assert len(made.sales(vendor)) == 1


@pytest.mark.parametrize("vendor", ["codeqr", "tracify"])
def test_a_person_decides_where_a_refund_came_before_the_outcome_is_known(
    make: Make, vendor: str
) -> None:
    made = make(vendor)
    refunded_in_doubt(made, vendor, {"commit_then_reset": True})
    where, why = state(made, vendor)
    assert where is DeliveryState.UNKNOWN
    assert "may have been counted" in why


def test_a_sale_repeated_after_a_doubt_is_repeated_as_it_was(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.fault("codeqr", {"commit_then_reset": True})
    made.play(*SALE)
    made.play(*REFUND)
    made.clock.advance(hours=1)
    made.worker.drain()
    assert made.delivery("codeqr").told.amount == Money(4900, "EUR")
    assert "49.00 EUR stays credited instead of 32.19 EUR" in made.delivery("codeqr").reason


@pytest.mark.parametrize("then", [503, 429, 401, 422])
def test_a_doubt_outlives_a_plain_failure(make: Make, then: int) -> None:
    made = make("trackdesk")
    made.click(CUSTOMER)
    made.fault("trackdesk", {"commit_then_reset": True}, {"status": then})
    made.play(*SALE)
    made.clock.advance(hours=1)
    made.worker.drain()
    assert made.delivery("trackdesk").in_flight is not None
    made.play(bodies=[EVERYTHING])
    made.clock.advance(days=1)
    made.worker.drain()
    assert [sale["status"] for sale in made.sales("trackdesk")] == ["disapproved"]
    assert state(made, "trackdesk") == (DeliveryState.SETTLED, "")


def test_an_encoding_that_nobody_knows_is_read_all_the_same(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    strange = {"Content-Type": "application/json; charset=utf8mb4"}
    made.fault("codeqr", {"status": 200, "body": '{"invoiceId": "in_1"}', "headers": strange})
    made.play(*SALE)
    assert state(made, "codeqr") == (DeliveryState.SETTLED, "")


def test_a_secret_across_a_cut_is_not_kept(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.fault("codeqr", {"status": 422, "body": "x" * 490 + "codeqr-test-key"})
    made.play(*SALE)
    assert "codeqr-te" not in repr((made.delivery("codeqr"), made.attempts("codeqr")))


def test_a_credential_that_cannot_be_sent_is_said(make: Make) -> None:
    made = make("codeqr", CODEQR_API_KEY="codeqr\u200bkey")
    made.click(CUSTOMER)
    made.play(*SALE)
    where, why = state(made, "codeqr")
    assert where is DeliveryState.DUE
    assert "credential" in why


def test_looking_up_in_vain_ends_after_three_days_too(make: Make) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    made.receive(*SALE)
    for _ in range(300):
        made.fault("tapfiliate", {"reset": True})
        made.worker.drain()
        row = made.delivery("tapfiliate")
        if row.next_attempt_at is None:
            break
        made.clock.now = row.next_attempt_at
        if row.told.doubt:
            made.vendors.faults.clear()
            (row,) = made.worker._outbox.lease("tapfiliate", 1)
            made.fault("tapfiliate", {"delay": 0.001}, {"reset": True})
            made.worker._outbox.deliver(row)
    assert row.state is DeliveryState.DEAD
    assert row.reason.startswith("given up after 3 days")


def test_a_vendor_that_is_not_there_was_not_told(make: Make) -> None:
    made = make("taapit", TAAPIT_BASE_URL="http://127.0.0.1:9")
    made.click(CUSTOMER)
    made.play(*SALE)
    where, why = state(made, "taapit")
    assert where is DeliveryState.DUE
    assert "no connection" in why


@pytest.mark.parametrize(
    ("vendor", "expected"),
    [
        ("taapit", DeliveryState.UNKNOWN),
        ("tapfiliate", DeliveryState.SETTLED),
        ("codeqr", DeliveryState.SETTLED),
        ("trackdesk", DeliveryState.SETTLED),
        ("tracify", DeliveryState.SETTLED),
    ],
)
@pytest.mark.parametrize("arrived", [True, False], ids=["arrived", "lost"])
def test_a_worker_killed_while_sending(
    make: Make, vendor: str, expected: DeliveryState, arrived: bool
) -> None:
    made = make(vendor)
    made.click(CUSTOMER)
    made.receive(*SALE)
    (row,) = made.worker._outbox.lease(vendor, 1)
    conversion = made.store.orders.conversion(row.conversion)
    assert conversion is not None
    call = plan(made.config.vendors[vendor], conversion, Told(), made.worker._outbox._rules)
    assert isinstance(call, Call)
    assert made.store.deliveries.start(row, call, made.clock() + LEASE)
    if arrived:
        sender = Sender()
        sender.send(call, made.config.vendors[vendor].authorize())
        sender.close()
    # Nobody gives the lease back: it runs out.
    made.worker.drain()
    assert made.delivery(vendor).state is DeliveryState.SENDING
    for _ in range(3):
        made.clock.advance(hours=1)
        made.worker.drain()
    assert made.delivery(vendor).state is expected
    assert len(made.sales(vendor)) == (1 if arrived or vendor != "taapit" else 0)


@pytest.mark.parametrize("vendor", ["codeqr", "trackdesk", "tracify"])
@pytest.mark.parametrize("commit", [True, False], ids=["counted", "lost"])
def test_a_web_page_instead_of_an_answer_is_not_the_end(
    make: Make, vendor: str, commit: bool
) -> None:
    made = make(vendor)
    made.click(CUSTOMER)
    made.fault(vendor, {"status": 200, "body": "<html>Back soon</html>", "commit": commit})
    made.play(*SALE)
    row = made.delivery(vendor)
    assert (row.state, bool(row.in_flight)) == (DeliveryState.DUE, True)
    made.clock.advance(hours=1)
    made.worker.drain()
    assert state(made, vendor) == (DeliveryState.SETTLED, "")
    assert len(made.sales(vendor)) == 1


def test_a_sale_that_a_web_page_hid_is_taken_back(make: Make) -> None:
    made = make("trackdesk")
    made.click(CUSTOMER)
    made.fault("trackdesk", {"status": 200, "body": "<html>Back soon</html>", "commit": True})
    made.play(*SALE)
    made.play(bodies=[EVERYTHING])
    made.clock.advance(hours=1)
    made.worker.drain()
    assert [sale["status"] for sale in made.sales("trackdesk")] == ["disapproved"]


def test_a_secret_that_is_part_of_an_id_does_not_hide_what_a_vendor_holds(make: Make) -> None:
    made = make("tapfiliate", BRIDGE_API_KEY="QNjVgZk4", TAPFILIATE_API_KEY="in")
    made.click(CUSTOMER)
    made.fault("tapfiliate", {"commit_then_reset": True})
    made.play(*SALE)
    made.clock.advance(hours=1)
    made.worker.drain()
    assert [each.call.step for each in made.attempts("tapfiliate")] == ["sale", "look_up"]
    assert state(made, "tapfiliate") == (DeliveryState.SETTLED, "")
    assert len(made.sales("tapfiliate")) == 1
