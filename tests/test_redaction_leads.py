"""Redaction of sign-ups and visits while a call is being sent, or in doubt: it names the person."""

from __future__ import annotations

import pytest
from kit import CLICKS, CUSTOMER, Bench, Make
from merchant import USER, WHO, conversions, counted, post, sign_up, visit
from redactions import EMAIL, written
from test_redaction_sending import Interrupted
from typing_in import printed

from bridge.forgetting import UNREPEATABLE
from bridge.http import Sender
from bridge.intake import Intake
from bridge.model import ConversionKind
from bridge.outbox import LEASE, Outbox
from bridge.store.rows import DeliveryRow, DeliveryState, Said
from bridge.vendors.tracify import tracify_hash

AFFILIATES = sorted(CLICKS)
NEWS = "jane-doe-plan"
PERSON = {USER, CUSTOMER, EMAIL, NEWS, *CLICKS.values()}
IN_DOUBT = {"status": 504, "body": "x"}


def redact(made: Bench) -> None:
    intake = Intake(made.store, made.config)
    intake.redact(intake.redaction.find([f"external_id:{USER}"]), made.clock())


def signs_up(made: Bench, plan: str, day: int) -> None:
    """Take in a sign-up by a link with metadata of its own; have nothing delivered yet."""
    clicks = {"tapfiliate": {"click_id": CLICKS["tapfiliate"], "tm_plan": plan}}
    post(made, "/leads", {"clicks": clicks, "occurred_at": f"2026-11-0{day}T00:00:00Z"})
    made.worker.process_events()
    made.clock.advance(minutes=1)


@pytest.fixture
def told(make: Make) -> Bench:
    """A lead that Tapfiliate holds, of which there is news."""
    made = make("tapfiliate")
    signs_up(made, "basic", 1)
    made.worker.drain()
    signs_up(made, NEWS, 2)
    return made


def settles(made: Bench, row: DeliveryRow, *, delivered: bool) -> None:
    """Have a person say what became of the call; nobody is told anything after that."""
    before = counted(made)
    assert (row.state, row.reason) == (DeliveryState.UNKNOWN, UNREPEATABLE)
    printed("resolve", row.id, "--delivered" if delivered else "--resend")
    made.clock.catch_up()
    made.clock.advance(hours=2)
    made.worker.drain()
    assert made.delivery(row.vendor).state in {DeliveryState.SETTLED, DeliveryState.SKIPPED}
    assert counted(made) == before
    assert written(made, *PERSON) == set()


# ── what a lead is told of later ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("delivered", [True, False])
def test_news_of_a_lead_in_doubt_are_forgotten(told: Bench, delivered: bool) -> None:
    told.fault("tapfiliate", IN_DOUBT)
    told.worker.drain()
    row = told.delivery("tapfiliate")
    assert row.in_flight is not None
    assert (row.in_flight.step, row.told.nothing) == ("update_lead", False)
    assert written(told, USER, NEWS) == {USER, NEWS}
    before = counted(told)
    printed("redact", USER, "--yes")
    assert written(told, *PERSON) == set()
    told.clock.advance(hours=2)
    told.worker.drain()
    assert counted(told) == before
    settles(told, told.delivery("tapfiliate"), delivered=delivered)


@pytest.mark.parametrize("answer", [None, {"commit_then_reset": True}, IN_DOUBT])
def test_news_of_a_lead_may_be_on_their_way(told: Bench, answer: dict[str, object] | None) -> None:
    if answer:
        told.fault("tapfiliate", answer)
    sender = Interrupted(lambda: redact(told))
    outbox = Outbox(told.store, told.config, sender, clock=told.clock)
    (row,) = outbox.lease("tapfiliate", 1)
    outbox.deliver(row)
    sender.close()
    before = counted(told)
    for _ in range(2):
        told.clock.advance(hours=2)
        told.worker.drain()
    assert counted(told) == before
    assert written(told, *PERSON) == set()
    assert told.delivery("tapfiliate").state is DeliveryState.SETTLED


def test_news_of_a_lead_leased_before_are_not_sent(told: Bench) -> None:
    told.fault("tapfiliate", IN_DOUBT)
    told.worker.drain()
    told.clock.advance(hours=2)
    sender = Sender(read_seconds=0.5)
    outbox = Outbox(told.store, told.config, sender, clock=told.clock)
    (row,) = outbox.lease("tapfiliate", 1)
    redact(told)
    before = counted(told)
    outbox.deliver(row)
    sender.close()
    told.clock.advance(seconds=LEASE.total_seconds() + 1)
    told.worker.drain()
    assert counted(told) == before
    assert written(told, *PERSON) == set()


# ── the lead itself, and visits ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answer", [None, {"commit_then_reset": True}])
@pytest.mark.parametrize("vendor", AFFILIATES)
def test_a_lead_may_be_on_its_way(
    make: Make, vendor: str, answer: dict[str, object] | None
) -> None:
    made = make(vendor)
    customer = {**WHO, "stripe": CUSTOMER, "email": EMAIL}
    post(made, "/leads", {"customer": customer, "clicks": {vendor: CLICKS[vendor]}})
    made.worker.process_events()
    made.clock.advance(minutes=1)
    if answer:
        made.fault(vendor, answer)
    sender = Interrupted(lambda: redact(made))
    outbox = Outbox(made.store, made.config, sender, clock=made.clock)
    (row,) = outbox.lease(vendor, 1)
    outbox.deliver(row)
    sender.close()
    made.clock.advance(hours=2)
    made.worker.drain()
    assert written(made, *PERSON) == set()
    assert len(made.vendors.ledger.calls(vendor)) == 1


@pytest.mark.parametrize("vendor", AFFILIATES)
def test_a_lead_in_doubt_is_not_sent_again(make: Make, vendor: str) -> None:
    made = make(vendor)
    made.fault(vendor, IN_DOUBT)
    sign_up(made)
    printed("redact", USER, "--yes")
    before = counted(made)
    made.clock.catch_up()
    made.clock.advance(hours=2)
    made.worker.drain()
    assert counted(made) == before
    assert written(made, *PERSON) == set()


@pytest.mark.parametrize("delivered", [True, False])
def test_a_visit_in_doubt_is_not_sent_again(make: Make, delivered: bool) -> None:
    made = make("tracify", TRACIFY_PAGEVIEWS="1")
    made.fault("tracify", IN_DOUBT)
    url, agent = "https://shop.example/landing?utm_source=x", "Mozilla/5.0 (made up for tests)"
    context = {"ip": "203.0.113.77", "user_agent": agent, "url": url}
    visit(made, customer={**WHO, "anonymous_id": "browser_1"}, context=context)
    assert made.delivery("tracify").in_flight is not None
    person = (url, agent, tracify_hash(agent), "browser_1")
    assert written(made, url)
    printed("redact", USER, "--yes")
    assert written(made, *PERSON, *person) == set()
    (seen,) = conversions(made, ConversionKind.PAGEVIEW)
    assert seen.redacted
    settles(made, made.delivery("tracify"), delivered=delivered)


def test_the_browsers_of_a_person_go_too(make: Make) -> None:
    made = make("taapit")
    customers = made.store.customers
    claimed = Said(source="a browser", at=made.clock(), claimed=True)
    customers.join(["external_id:u1", "anonymous:mine"], claimed)
    customers.join(["external_id:u1", "anonymous:ours"], claimed)
    customers.join(["external_id:u2", "anonymous:ours"], claimed)
    for key in ("external_id:u1", "anonymous:mine", "anonymous:ours"):
        customers.add_click("taapit", key, [key], made.clock(), exact=False, source="api")
    intake = Intake(made.store, made.config)
    intake.redact(intake.redaction.find(["external_id:u1"]), made.clock())
    assert customers.clicks(["external_id:u1", "anonymous:mine"]) == []
    assert [each.value for each in customers.clicks(["external_id:u2"])] == ["anonymous:ours"]
    assert {key for each in customers.said_of(["anonymous:ours"]) for key in each.keys} == {
        "external_id:u2",
        "anonymous:ours",
    }
