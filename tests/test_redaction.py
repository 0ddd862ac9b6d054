"""Redaction: a person goes everywhere; the money stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit import (
    CLICKS,
    CUSTOMER,
    EVERYTHING,
    SALE,
    Bench,
    Make,
    benches,
    body_of,
    state,
    thing_of,
)
from redactions import EMAIL, LIFE, PERSON, STRIPES, TAKES_BACK, USER, money, on_disk, redact
from stripe_stories import stories
from typing_in import ORDER, printed

from bridge.forgetting import REDACTED, REMOVED
from bridge.model import Erasure
from bridge.store.rows import DeliveryState, EventState


@pytest.fixture
def sold(make: Make) -> Bench:
    made = make()
    made.click(CUSTOMER)
    made.play(*LIFE)
    return made


# ── everywhere ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "erasure",
    [
        STRIPES,
        Erasure(provider="stripe", email=EMAIL.upper()),
        Erasure(provider="shopify", customer="999", email=EMAIL),
        Erasure(provider="stripe", references=frozenset({ORDER})),
    ],
    ids=["customer", "e-mail", "e-mail at another provider", "order"],
)
def test_nothing_of_a_person_is_left_and_all_of_the_money(sold: Bench, erasure: Erasure) -> None:
    sold.clock.advance(hours=1)
    before = money(sold)
    assert {EMAIL, "Jana", CUSTOMER, USER, *CLICKS.values()} <= on_disk(sold)
    clicks = sold.store.customers.count()["clicks"]
    erased = redact(sold, erasure)
    assert (len(erased.orders), erased.clicks) == (2, clicks)
    sold.worker.drain()
    assert on_disk(sold) == set()
    assert money(sold) == before
    assert all(each.redacted and each.customer == each.order for each in sold.store.orders.newest())
    assert {row.reason for row in sold.store.events.newest() if row.redacted} == {REDACTED}
    for told in (*_listings(), printed("show", ORDER), printed("show", ORDER, "--json")):
        assert [name for name in PERSON if name in told] == []
    again = redact(sold, erasure)
    assert (again.events, again.clicks, again.keys) == (0, 0, 0)


def _listings() -> list[str]:
    names = ("events", "conversions", "deliveries")
    return [printed(name, *more) for name in names for more in ((), ("--json",))]


def test_what_a_vendor_holds_is_known_as_before(sold: Bench) -> None:
    told = {row.id: row.told for row in sold.store.deliveries.newest()}
    redact(sold)
    assert {row.id: row.told for row in sold.store.deliveries.newest()} == told
    sold.worker.drain()
    assert {row.id: row.told for row in sold.store.deliveries.newest()} == told


@pytest.mark.parametrize("body", [None, EVERYTHING], ids=["a part", "all"])
def test_a_later_refund_still_reaches_the_vendors_that_can(make: Make, body: str | None) -> None:
    made = make()
    made.click(CUSTOMER)
    made.play(*SALE)
    redact(made)
    made.play(bodies=[body or body_of("refund.created")])
    for vendor in made.config.vendors:
        (sale,) = made.sales(vendor)
        if body is not None and vendor in TAKES_BACK:
            assert sale["status"] == "disapproved"
            assert state(made, vendor) == (DeliveryState.SETTLED, "")
        elif vendor == "tapfiliate":
            assert str(sale["amount"]) == "32.19"
        else:
            assert sale["status"] == "approved"
            assert state(made, vendor)[0] is DeliveryState.SKIPPED
            assert "stays credited" in state(made, vendor)[1]
    (last,) = made.attempts("tapfiliate")[1:]
    assert last.call.json is not None
    assert last.call.json["external_id"] == ORDER
    assert on_disk(made) == set()


def test_what_no_vendor_was_told_is_told_no_more(make: Make) -> None:
    made = make()
    made.receive(*SALE)
    made.click(CUSTOMER)
    redact(made)
    made.worker.drain()
    states = {state(made, vendor) for vendor in made.config.vendors}
    assert states == {(DeliveryState.SKIPPED, REMOVED)}
    assert made.vendors.ledger.calls() == []


# ── what comes later ─────────────────────────────────────────────────────────────────────────────


def test_what_comes_later_of_an_order_is_redacted_too(sold: Bench) -> None:
    redact(sold)
    before = [each.id for each in sold.store.orders.newest()]
    sold.play("charge.refunded", "refund.updated", bodies=[_again("invoice.paid")])
    assert [each.id for each in sold.store.orders.newest()] == before
    assert on_disk(sold) == set()
    assert sold.store.customers.count() == {"customers": 0, "clicks": 0}
    (late,) = sold.store.events.find("evt_again")
    assert (late.redacted, late.state, late.reason) == (True, EventState.PROCESSED, REDACTED)


def test_an_order_that_turns_out_to_be_part_of_a_redacted_one(make: Make) -> None:
    made = make("tapfiliate", "codeqr", STRIPE_COUNT_PAYMENT_INTENTS="1")
    made.click(CUSTOMER)
    made.play("invoice.paid")
    redact(made)
    made.click(CUSTOMER)
    made.receive("payment_intent.succeeded")
    assert CUSTOMER in on_disk(made)
    made.play("invoice_payment.paid")
    (conversion,) = [each for each in made.store.orders.newest() if each.order == ORDER]
    assert conversion.redacted
    assert all(each.redacted for each in made.store.orders.newest())


def test_an_event_without_its_body_destroys_nothing_when_it_is_replayed(sold: Bench) -> None:
    redact(sold)
    before = money(sold)
    with sold.store.atomic():
        for row in sold.store.events.newest():
            if row.state is not EventState.IGNORED:
                sold.store.events.mark(row.key, EventState.RECEIVED)
    sold.worker.drain()
    assert money(sold) == before
    states = {(row.state, row.reason) for row in sold.store.events.newest() if row.redacted}
    assert states == {(EventState.PROCESSED, REDACTED)}


def test_a_new_order_of_somebody_who_was_removed_is_a_new_customer(sold: Bench) -> None:
    redact(sold)
    sold.click(CUSTOMER)
    sold.play("invoice.paid@one-off")
    (new,) = [each for each in sold.store.orders.newest() if not each.redacted]
    assert new.id == f"stripe:{thing_of('invoice.paid@one-off')['id']}"


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_redaction_changes_no_amount_whenever_it_comes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    story = data.draw(stories())
    at = data.draw(st.integers(0, len(story.requests)))
    customer = story.customer.partition(":")[2]
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("redaction")
        with benches(folder / "bridge.db", patch) as set_up:
            made = set_up("tapfiliate")
            made.click(story.customer)
            made.receive(requests=story.requests[:at])
            redact(made, Erasure(provider="stripe", customer=customer))
            made.play(requests=story.requests[at:])
            values = {each.order: each.value.minor for each in made.store.orders.newest()}
    assert values == dict(story.due)


# ── what was not understood ──────────────────────────────────────────────────────────────────────


def _again(name: str, event: str = "evt_again", /, **fields: object) -> str:
    """Return the body of a fixture as another event, with fields of its object changed."""
    body = json.loads(body_of(name))
    body["id"] = event
    body["data"]["object"] |= fields
    return json.dumps(body)


def test_events_that_failed_lose_their_body_and_are_not_run_again(sold: Bench) -> None:
    sold.play(bodies=[_again("invoice.paid", currency="xyz", customer=None)])
    (failed,) = sold.store.events.newest("failed")
    assert EMAIL in failed.event.body
    redact(sold)
    sold.worker.drain()
    assert on_disk(sold) == set()
    (row,) = sold.store.events.find("evt_again")
    assert (row.state, row.reason, row.event.body) == (EventState.IGNORED, REDACTED, "")


def test_events_that_wait_are_asked_about_no_more(make: Make) -> None:
    made = make("tapfiliate", STRIPE_API_KEY="sk_test_1", STRIPE_API_BASE="http://127.0.0.1:9")
    made.click(CUSTOMER)
    thin = json.loads(body_of("v1.invoice.paid@snapshot"))
    thin["id"], thin["related_object"] = "evt_thin", {"id": CUSTOMER, "type": "customer"}
    made.receive("v1.invoice.paid@snapshot", bodies=[json.dumps(thin)])
    assert len(made.store.asks.due(made.clock(), 10)) == 2
    redact(made)
    (ask,) = made.store.asks.due(made.clock(), 10)
    assert "evt_thin" not in ask.subject
    assert CUSTOMER not in on_disk(made) or made.store.scrub()
    assert on_disk(made) == set()


def test_an_order_of_nobody_known_that_names_the_person_is_theirs(sold: Bench) -> None:
    refund = {"id": "re_2", "charge": "ch_2", "payment_intent": "pi_2", "customer": None}
    sold.play(bodies=[_again("refund.created", **refund, metadata={"who": EMAIL.title()})])
    redact(sold)
    sold.play(bodies=[_again("refund.updated", "evt_later", **refund, metadata={"who": EMAIL})])
    assert on_disk(sold, {*PERSON, EMAIL.title()}) == set()
    assert sold.store.orders.is_redacted(sold.store.orders.order_of("stripe:re_2"))


def test_somebody_else_who_names_the_person_stays_who_they_are(sold: Bench) -> None:
    other = {"customer": "cus_other", "customer_email": "other@example.com"}
    order = {"id": "in_other", "parent": None, "metadata": {"gift_for": EMAIL}}
    also = json.loads(_again("invoice.paid@one-off", **other, **order))
    also["data"]["object"]["lines"]["data"] = []
    sold.play(bodies=[json.dumps(also)])
    redact(sold)
    sold.worker.drain()
    assert on_disk(sold) == set()
    kept = sold.store.orders.conversion("stripe:in_other")
    assert kept is not None
    assert (kept.customer, kept.redacted) == ("cus_other", False)
    assert sold.store.events.find("evt_again")[0].redacted
