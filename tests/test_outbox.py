"""Delivering, with real HTTP to the sandbox vendors: answers good and bad, and no answer at all."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from kit import CUSTOMER, EVERYTHING, REFUND, SALE, Bench, Make, state

from bridge import retry
from bridge.http import Sender
from bridge.model import Call, NoAnswer, Told
from bridge.store.rows import DeliveryState
from bridge.worker import Worker


def statuses(made: Bench) -> set[str]:
    return {made.sales(vendor)[0]["status"] for vendor in made.config.vendors}


# ── what goes well ───────────────────────────────────────────────────────────────────────────────


def test_a_sale_reaches_every_vendor_once(make: Make) -> None:
    made = make()
    made.click(CUSTOMER)
    made.play(*SALE, *SALE, "invoice.payment_succeeded", "charge.succeeded")
    for vendor in made.config.vendors:
        (sale,) = made.sales(vendor)
        assert (sale["amount"], sale["currency"], sale["status"]) == ("49.00", "EUR", "approved")
        assert state(made, vendor) == (DeliveryState.SETTLED, "")


def test_a_partial_refund_reaches_those_that_can_express_it(make: Make) -> None:
    made = make()
    made.click(CUSTOMER)
    made.play(*SALE)
    made.play(*REFUND)
    held = {vendor: made.sales(vendor)[0]["amount"] for vendor in made.config.vendors}
    assert held.pop("tapfiliate") == "32.19"
    assert set(held.values()) == {"49.00"}
    assert state(made, "tapfiliate")[0] is DeliveryState.SETTLED
    for vendor in held:
        where, why = state(made, vendor)
        assert where is DeliveryState.SKIPPED
        assert "49.00 EUR" in why or "partial" in why.lower()


def test_a_full_refund_and_a_won_dispute(make: Make) -> None:
    made = make("tapfiliate", "trackdesk")
    made.click(CUSTOMER)
    made.play(*SALE)
    made.play(bodies=[EVERYTHING])
    assert statuses(made) == {"disapproved"}
    failed = EVERYTHING.replace('"pending"', '"failed"').replace("refund.created", "refund.failed")
    again = json.loads(failed) | {"id": "evt_refund_failed_afterwards"}
    again["created"] += 60
    made.play(bodies=[json.dumps(again)])
    assert statuses(made) == {"approved"}


def test_without_a_click_nothing_is_sent_and_a_late_click_makes_it_due(make: Make) -> None:
    made = make("tapfiliate")
    made.play(*SALE)
    assert state(made, "tapfiliate") == (
        DeliveryState.SKIPPED,
        "no click stored for this customer",
    )
    made.click(CUSTOMER)
    made.worker.drain()
    assert len(made.sales("tapfiliate")) == 1


def test_a_change_while_a_call_is_in_flight_is_told_next(make: Make) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    made.receive(*SALE)
    (row,) = made.worker._outbox.lease("tapfiliate", 1)
    made.receive(*REFUND)
    assert made.worker._outbox.lease("tapfiliate", 1) == []
    made.worker._outbox.deliver(row)
    made.worker.drain()
    assert made.sales("tapfiliate")[0]["amount"] == "32.19"
    assert state(made, "tapfiliate") == (DeliveryState.SETTLED, "")


# ── what is refused, or comes later ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_not_now_is_tried_again(make: Make, status: int) -> None:
    made = make("tracify")
    made.click(CUSTOMER)
    made.fault("tracify", {"status": status, "headers": {"Retry-After": "90"}})
    made.play(*SALE)
    row = made.delivery("tracify")
    assert row.state is DeliveryState.DUE
    assert row.failures == 1
    assert row.next_attempt_at is not None
    assert row.next_attempt_at >= made.clock() + timedelta(seconds=90)
    assert made.sales("tracify") == []
    made.clock.advance(minutes=2)
    made.worker.drain()
    assert len(made.sales("tracify")) == 1
    assert [each.outcome for each in made.attempts("tracify")] == ["retry", "accepted"]


@pytest.mark.parametrize("vendor", ["taapit", "codeqr", "trackdesk", "tapfiliate"])
def test_a_refusal_is_a_dead_letter_in_the_vendors_words(make: Make, vendor: str) -> None:
    made = make(vendor)
    made.click(CUSTOMER)
    made.fault(vendor, {"status": 422, "body": '{"message": "the moon is in the wrong house"}'})
    made.play(*SALE)
    where, why = state(made, vendor)
    assert where is DeliveryState.DEAD
    assert "422" in why
    assert "the moon is in the wrong house" in why
    made.store.deliveries.revive(made.delivery(vendor).id, made.clock())
    made.worker.drain()
    assert len(made.sales(vendor)) == 1


def test_retries_end_after_three_days(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.receive(*SALE)
    for _ in range(200):
        made.fault("codeqr", {"status": 503})
        made.worker.drain()
        row = made.delivery("codeqr")
        if row.next_attempt_at is None:
            break
        # It comes due while the breaker is open at times: then it waits for that.
        made.clock.now = made.worker._outbox.next_at(["codeqr"]) or made.clock.now
    assert row.state is DeliveryState.DEAD
    assert row.reason.startswith("given up after 3 days")
    assert row.failing_since is not None
    assert made.clock() - row.failing_since >= retry.GIVE_UP_AFTER
    assert row.attempts == len(made.attempts("codeqr"))


def test_a_redirect_is_not_followed(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    elsewhere = f"{made.vendors.url}/codeqr/track/sale"
    made.fault("codeqr", {"status": 307, "headers": {"Location": elsewhere}})
    made.play(*SALE)
    assert state(made, "codeqr")[0] is DeliveryState.DEAD
    assert made.sales("codeqr") == []


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_plans_and_sends_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make("tapfiliate", BRIDGE_DRY_RUN="1")
    made.click(CUSTOMER)
    made.play(*SALE)
    assert made.delivery("tapfiliate").state is DeliveryState.PLANNED
    (attempt,) = made.attempts("tapfiliate")
    assert attempt.outcome == "planned"
    assert made.vendors.ledger.as_json()["tapfiliate"]["calls"] == 0


def test_no_secret_is_kept_even_if_a_vendor_repeats_it(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.fault("codeqr", {"status": 401, "body": "bad key codeqr-test-key"})
    made.play(*SALE)
    assert "codeqr-test-key" not in repr((made.delivery("codeqr"), made.attempts("codeqr")))
    assert "***" in made.delivery("codeqr").reason


def test_a_stopped_worker_leaves_nothing_behind(make: Make) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    made.receive(*SALE)
    worker = Worker(made.store, made.config, sender=Sender(), clock=made.clock)
    worker.step()
    worker.close()
    assert made.delivery("tapfiliate").state is DeliveryState.SETTLED


@pytest.mark.parametrize(
    ("url", "words", "sent"),
    [
        ("http://127.0.0.1:9/", "no connection", False),
        ("http://[::1", "", False),
        ("nonsense", "", False),
    ],
)
def test_what_never_left_is_known_not_to_be_sent(url: str, words: str, sent: bool) -> None:
    sender = Sender()
    answer = sender.send(Call(step="sale", url=url, tells=Told(), repeatable=False), {})
    sender.close()
    assert isinstance(answer, NoAnswer)
    assert words in answer.reason
    assert answer.sent is sent
