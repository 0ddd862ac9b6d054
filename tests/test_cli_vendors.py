"""What a person sees, and does, when a vendor is down or an outcome is unknown."""

from __future__ import annotations

import json

import pytest
from kit import SALE as EVENTS
from kit import Bench, Make
from typing_in import CUSTOMER, SALE, bridge, listed, printed

DELIVERY = f"{SALE}@codeqr"


@pytest.fixture
def down(make: Make) -> Bench:
    """Return a bridge whose CodeQR is down and paused, with a sale due there; Taapit is well."""
    made = make("codeqr", "taapit")
    made.clock.catch_up()
    made.click(CUSTOMER)
    made.fault("codeqr", *[{"status": 503, "body": "down for maintenance"}] * 9)
    made.play(*EVENTS)
    for _ in range(4):
        made.store.deliveries.revive(DELIVERY, made.clock())
        made.worker.drain()
    return made


def test_doctor_says_who_is_not_called(down: Bench) -> None:
    told = printed("doctor")
    assert "breakers: codeqr open, taapit closed" in told
    advice = " ".join(json.loads(printed("doctor", "--json"))["advice"])
    assert "codeqr is not called until" in advice
    assert "CodeQR answered 503" in advice
    assert "bridge retry --state due --vendor codeqr" in advice


def test_what_waits_says_what_for(down: Bench) -> None:
    down.store.deliveries.revive(DELIVERY, down.clock())
    (row,) = [each for each in listed("deliveries") if each["id"] == DELIVERY]
    assert row["reason"] == "codeqr is not called for now: CodeQR answered 503"
    assert row["attempts"] == 5
    gate = down.store.gates.get("codeqr")
    assert gate.paused_until is not None
    assert row["next_attempt_at"] == gate.paused_until.isoformat().replace("+00:00", "Z")
    assert "is not called for now" in printed("show", SALE)
    (other,) = [each for each in listed("deliveries") if each["vendor"] == "taapit"]
    assert (other["state"], other["reason"]) == ("settled", "")


@pytest.mark.parametrize(
    "arguments", [(DELIVERY,), ("--state", "due"), ("--state", "due", "--vendor", "codeqr")]
)
def test_a_retry_tries_a_paused_vendor_at_once(down: Bench, arguments: tuple[str, ...]) -> None:
    down.vendors.faults.clear()
    down.worker.drain()
    assert down.sales("codeqr") == []
    assert "0 deliveries are due now" in printed("retry", "--state", "due", "--vendor", "taapit")
    printed("retry", *arguments)
    down.clock.catch_up()
    down.worker.drain()
    assert len(down.sales("codeqr")) == 1
    assert "breakers: codeqr closed" in printed("doctor")
    assert "not called" not in printed("doctor")


def test_an_unknown_outcome_is_found_understood_and_resolved(make: Make) -> None:
    made = make("taapit")
    made.click(CUSTOMER)
    made.fault("taapit", {"commit_then_reset": True})
    made.play(*EVENTS)
    delivery = f"{SALE}@taapit"
    (row,) = listed("deliveries", "--state", "unknown")
    assert row["id"] == delivery
    assert "the connection broke" in row["reason"]
    report = json.loads(printed("doctor", "--json"))
    assert report["counts"]["deliveries"]["taapit"] == {"unknown": 1}
    assert any("bridge deliveries --state unknown" in each for each in report["advice"])
    assert "bridge resolve" in printed("explain", SALE)
    assert f"look it up there, then `bridge resolve {delivery} --delivered`" in printed(
        "show", SALE
    )
    # A retry would be a guess, and is refused with what to do instead.
    refused = bridge("retry", delivery)
    assert refused.exit_code == 1
    assert f"bridge resolve {delivery} --delivered" in refused.stderr
    printed("resolve", delivery, "--delivered")
    made.clock.catch_up()
    made.worker.drain()
    assert len(made.sales("taapit")) == 1
    assert listed("deliveries", "--state", "unknown") == []
