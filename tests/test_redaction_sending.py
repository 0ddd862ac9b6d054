"""Redaction while a call is being sent, or in doubt: nothing is told twice, and of nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from kit import (
    CLICKS,
    CUSTOMER,
    EVERYTHING,
    SALE,
    Bench,
    Make,
    state,
)
from redactions import on_disk, redact
from typing_in import ORDER

from bridge.forgetting import REMOVED, UNREPEATABLE
from bridge.http import Sender
from bridge.model import NoAnswer, Response
from bridge.outbox import LEASE, Outbox
from bridge.store.rows import DeliveryState
from bridge.vendors import discover

# ── while a call is being sent ───────────────────────────────────────────────────────────────────


class Interrupted(Sender):
    """Send, but have something happen to the store before the answer comes."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(read_seconds=0.5)
        self._act = act

    def send(self, *args: Any, **kwargs: Any) -> Response | NoAnswer:
        answer = super().send(*args, **kwargs)
        self._act()
        return answer


def _sold_while_redacted(made: Bench, vendor: str) -> None:
    made.click(CUSTOMER)
    made.receive(*SALE)
    made.clock.advance(minutes=1)
    sender = Interrupted(lambda: redact(made))
    outbox = Outbox(made.store, made.config, sender, clock=made.clock)
    (row,) = outbox.lease(vendor, 5)
    outbox.deliver(row)
    sender.close()


@pytest.mark.parametrize("vendor", sorted({*CLICKS, "tracify"}))
def test_a_call_that_is_answered_after_the_redaction_counts(make: Make, vendor: str) -> None:
    made = make(vendor)
    _sold_while_redacted(made, vendor)
    made.worker.drain()
    assert state(made, vendor) == (DeliveryState.SETTLED, "")
    (attempt,) = made.attempts(vendor)
    assert (attempt.outcome, attempt.call.json, attempt.answer) == ("accepted", None, "")
    assert made.delivery(vendor).told.known_as == ORDER
    assert on_disk(made) == set()


@pytest.mark.parametrize("vendor", sorted({*CLICKS, "tracify"}))
def test_a_call_in_doubt_is_not_sent_again_after_the_redaction(make: Make, vendor: str) -> None:
    made = make(vendor)
    made.fault(vendor, {"commit_then_reset": True})
    _sold_while_redacted(made, vendor)
    made.clock.advance(hours=2)
    made.worker.drain()
    row = made.delivery(vendor)
    assert len(made.sales(vendor)) == 1
    if vendor == "tapfiliate":  # can be asked, by the order's id
        assert (row.state, row.told.doubt) == (DeliveryState.SETTLED, "")
    else:
        assert row.state is DeliveryState.UNKNOWN
        assert row.in_flight is not None
        assert made.store.deliveries.resolve(row, made.clock(), row.in_flight.tells)
        made.worker.drain()
        assert state(made, vendor) == (DeliveryState.SETTLED, "")
    assert on_disk(made) == set()


@pytest.mark.parametrize("vendor", ["codeqr", "trackdesk", "tracify"])
def test_a_call_that_waits_to_be_repeated_is_for_a_person_to_judge(make: Make, vendor: str) -> None:
    made = make(vendor)
    made.click(CUSTOMER)
    made.fault(vendor, {"reset": True})
    made.play(*SALE)
    assert made.delivery(vendor).in_flight is not None
    redact(made)
    made.worker.drain()
    assert state(made, vendor) == (DeliveryState.UNKNOWN, UNREPEATABLE)
    assert on_disk(made) == set()
    row = made.delivery(vendor)
    assert made.store.deliveries.resolve(row, made.clock(), None)
    made.worker.drain()
    assert state(made, vendor) == (DeliveryState.SKIPPED, REMOVED)


def test_what_was_leased_before_the_redaction_is_not_sent_as_it_was(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.fault("codeqr", {"reset": True})
    made.play(*SALE)
    made.clock.advance(hours=1)
    outbox = Outbox(made.store, made.config, Sender(), clock=made.clock)
    (row,) = outbox.lease("codeqr", 1)
    redact(made)
    outbox.deliver(row)
    made.clock.advance(seconds=LEASE.total_seconds() + 1)
    made.worker.drain()
    assert made.sales("codeqr") == []
    assert state(made, "codeqr")[0] is DeliveryState.UNKNOWN
    assert on_disk(made) == set()


def test_a_plan_made_before_the_redaction_is_given_up(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.receive(*SALE)
    made.clock.advance(minutes=1)

    class Meanwhile(discover()["codeqr"]):  # type: ignore[misc]
        def authorize(self) -> Mapping[str, str]:
            redact(made)  # when the call is about to be written down
            return super().authorize()  # type: ignore[no-any-return]

    vendors = {"codeqr": Meanwhile(made.config.vendors["codeqr"].settings)}
    outbox = Outbox(made.store, replace(made.config, vendors=vendors), Sender(), clock=made.clock)
    (row,) = outbox.lease("codeqr", 1)
    outbox.deliver(row)
    stored = made.delivery("codeqr")
    assert (stored.state, stored.in_flight, stored.lease) == (DeliveryState.DUE, None, "")
    assert made.vendors.ledger.calls() == []
    made.worker.drain()
    assert state(made, "codeqr") == (DeliveryState.SKIPPED, REMOVED)
    assert on_disk(made) == set()


def test_a_change_in_doubt_names_nobody_and_is_repeated(make: Make) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    made.play(*SALE)
    made.fault("tapfiliate", {"commit_then_reset": True})
    made.play(bodies=[EVERYTHING])
    assert made.delivery("tapfiliate").in_flight is not None
    redact(made)
    made.clock.advance(hours=1)
    made.worker.drain()
    assert state(made, "tapfiliate") == (DeliveryState.SETTLED, "")
    assert made.sales("tapfiliate")[0]["status"] == "disapproved"
    assert on_disk(made) == set()
