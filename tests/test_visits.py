"""Visits: a captured landing told to the vendor that measures them, through the same deliveries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from kit import CUSTOMER, SALE, Bench, Make
from merchant import SOON, USER, conversions, counted, post, sign_up, visit
from redactions import EMAIL, on_disk, written
from typing_in import listed, printed

from bridge.model import ConversionKind
from bridge.store.rows import EventState
from bridge.vendors.tracify import tracify_hash

VISIT = ConversionKind.PAGEVIEW
URL = "https://shop.example/landing?utm_source=x&trc_mcmp_id=c_1&other=7"
SEEN = {
    "ip": "203.0.113.77",
    "user_agent": "Mozilla/5.0 (made up for tests)",
    "url": URL,
    "referrer": "https://search.example/",
}
WHO = {"customer": {"anonymous_id": "b_1"}, "context": SEEN}


def pageviews(made: Bench) -> list[dict[str, object]]:
    """Return the visits that the stand-in for Tracify holds."""
    held: list[dict[str, object]] = made.vendors.ledger.as_json()["tracify"]["pageviews"]
    return held


def test_a_landing_is_told_with_its_parameters(make: Make) -> None:
    made = make(TRACIFY_PAGEVIEWS="1")
    visit(made, **WHO, clicks={"taapit": "tid_1"})
    assert pageviews(made) == [
        {
            "vendor": "tracify",
            "customer": "",
            "click": tracify_hash(f"{SEEN['ip']}|{SEEN['user_agent']}"),
            "url": URL,
            "referrer": SEEN["referrer"],
            "campaign": {"utm_source": "x", "trc_mcmp_id": "c_1"},
            "at": "2026-11-01 12:00:00",
        }
    ]
    assert {name for name, calls in counted(made).items() if calls} == {"tracify"}
    (row,) = made.store.deliveries.newest()  # no other vendor has one to skip
    assert (row.vendor, row.state, row.attempts) == ("tracify", "settled", 1)
    (shown,) = listed("conversions", "--visits")
    assert listed("conversions") == []
    assert (shown["kind"], shown["status"]) == ("pageview", "approved")
    assert "pageview" in printed("show", row.id)


OFF = {
    "the setting": ({}, WHO),
    "the vendor": ({"vendors": ["taapit"]}, WHO),
    "the address": ({"TRACIFY_PAGEVIEWS": "1"}, {**WHO, "context": {**SEEN, "url": None}}),
    "the visitor": ({"TRACIFY_PAGEVIEWS": "1"}, {**WHO, "context": {"url": URL}}),
}


@pytest.mark.parametrize(("settings", "body"), OFF.values(), ids=OFF)
def test_nothing_is_told_without(
    make: Make, settings: dict[str, object], body: dict[str, object]
) -> None:
    vendors = settings.pop("vendors", [])
    made = make(*vendors, **settings)  # type: ignore[misc]
    visit(made, **body, clicks={"taapit": "tid_1"})
    assert conversions(made, VISIT) == []
    assert made.store.deliveries.newest() == []
    assert sum(counted(made).values()) == 0


def test_the_same_visit_is_told_once(make: Make) -> None:
    made = make(TRACIFY_PAGEVIEWS="1")
    for _ in range(3):
        visit(made, **WHO)
    assert len(pageviews(made)) == len(conversions(made, VISIT)) == 1
    visit(made, **WHO, occurred_at="2026-11-01T12:00:01Z")
    assert len(pageviews(made)) == len(conversions(made, VISIT)) == 2


def test_a_sign_up_with_a_landing_is_a_lead_and_a_visit(make: Make) -> None:
    made = make(TRACIFY_PAGEVIEWS="1")
    sign_up(made, context=SEEN)
    sign_up(made, context=SEEN)
    assert len(pageviews(made)) == len(conversions(made, VISIT)) == len(conversions(made)) == 1


def test_what_is_heard_later_changes_no_visit(make: Make) -> None:
    made = make(TRACIFY_PAGEVIEWS="1")
    visit(made, **WHO)
    visit(made, customer={"anonymous_id": "b_1", "external_id": USER, "stripe": CUSTOMER})
    visit(made, **WHO, clicks={"tracify": {"utm_source": "later"}}, occurred_at=SOON)
    made.play(*SALE)
    first, *_ = pageviews(made)
    assert first["campaign"] == {"utm_source": "x", "trc_mcmp_id": "c_1"}
    (sale,) = made.sales("tracify")
    assert sale["click"] == first["click"]


def test_a_visit_that_is_off_by_now_is_not_told(make: Make) -> None:
    made = make(TRACIFY_PAGEVIEWS="1")
    post(made, "/clicks", {**WHO})
    made.worker.process_events()
    (row,) = made.store.deliveries.newest()
    off = make(TRACIFY_PAGEVIEWS="0")
    off.clock.catch_up()
    off.worker.drain()
    row = off.delivery("tracify")
    assert (row.state, row.reason) == ("skipped", "Tracify is not told of visits")


def test_however_often_somebody_came_only_their_orders_are_folded_anew(make: Make) -> None:
    made = make("tracify", TRACIFY_PAGEVIEWS="1")
    start = datetime(2026, 11, 1, tzinfo=UTC)
    who = {"anonymous_id": "b_1", "stripe": CUSTOMER}
    for number in range(40):
        at = (start + timedelta(minutes=number)).isoformat()
        post(made, "/clicks", {**WHO, "customer": who, "occurred_at": at})
    made.worker.drain()
    assert len(pageviews(made)) == 40
    made.play(*SALE)
    keys = made.store.customers.aliases(["anonymous:b_1"])
    (order,) = made.store.orders.of_keys(keys)
    assert [each.kind for each in made.store.orders.conversions_of(order)] == ["sale"]


def test_a_visit_may_be_replayed(make: Make) -> None:
    made = make(TRACIFY_PAGEVIEWS="1")
    visit(made, **WHO)
    (event,) = listed("events")
    assert (event["type"], event["state"]) == ("pageview", EventState.PROCESSED)
    assert "1 event will be processed again" in printed("replay", event["id"])
    made.worker.drain()
    assert counted(made)["tracify"] == 1


@pytest.mark.parametrize("delivered", [True, False])
def test_a_redaction_removes_visits(make: Make, delivered: bool) -> None:
    made = make(TRACIFY_PAGEVIEWS="1")
    customer = {"anonymous_id": "browser_1", "external_id": USER, "email": EMAIL}
    post(made, "/clicks", {**WHO, "customer": customer})
    if delivered:
        made.worker.drain()
    hashes = {tracify_hash(text) for text in (SEEN["ip"], SEEN["user_agent"], EMAIL)}
    person = {USER, EMAIL, "browser_1", URL, *hashes}
    assert on_disk(made, person) >= {USER, "browser_1", URL, *hashes}
    assert "1 event" in printed("redact", USER, "--yes")
    assert on_disk(made, person) == set()
    made.worker.drain()
    assert len(pageviews(made)) == delivered
    (one,) = conversions(made, VISIT)
    assert one.redacted
    assert written(made, USER, "browser_1") == set()
