"""Leads: a sign-up told to every vendor once, and the sales that come after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from cases import case_of, unsigned
from kit import CLICKS, CUSTOMER, EVERYTHING, REFUND, SALE, Bench, Make, state
from merchant import (
    LONG_AGO,
    SOON,
    USER,
    WHO,
    conversions,
    counted,
    delivery,
    post,
    sign_up,
    told,
    visit,
)
from redactions import EMAIL

from bridge.model import ConversionKind
from bridge.store.rows import DeliveryState
from bridge.vendors.base import NO_CLICK

AFFILIATES = sorted(CLICKS)
BUSY = {"status": 503, "body": "busy"}


def leads(made: Bench, vendor: str) -> list[tuple[str, str]]:
    """Return the leads that a sandbox vendor holds: customer and click of each."""
    held = made.vendors.ledger.as_json()[vendor]["leads"]
    return [(each["customer"], each["click"]) for each in held if each["type"] != "external-cid"]


# ── one lead ─────────────────────────────────────────────────────────────────────────────────────


def test_every_vendor_that_takes_leads_is_told_of_one(make: Make) -> None:
    made = make()
    sign_up(made)
    assert {name: leads(made, name) for name in made.config.vendors} == {
        **{name: [(USER, click)] for name, click in CLICKS.items()},
        "tracify": [],
    }
    assert state(made, "tracify") == (DeliveryState.SKIPPED, "Tracify takes no leads")
    assert state(made, "taapit") == (DeliveryState.SETTLED, "")


AGAIN: dict[str, dict[str, object]] = {
    "the same": {},
    "with another id": {"customer": {**WHO, "stripe": CUSTOMER, "email": EMAIL}},
    "by another id, later": {
        "customer": {"stripe": CUSTOMER},
        "occurred_at": "2026-11-02T00:00:00Z",
    },
    "without a click": {"clicks": {}, "occurred_at": "2026-11-02T00:00:00Z"},
    "without a time": {"occurred_at": None},
}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
def test_a_customer_has_one_lead(make: Make, again: dict[str, object]) -> None:
    made = make()
    sign_up(made, customer={**WHO, "stripe": CUSTOMER})
    before = counted(made)
    sign_up(made, **again)
    sign_up(made, **again)
    assert len(conversions(made)) == 1
    assert counted(made) == before
    assert {name: leads(made, name) for name in AFFILIATES} == {
        name: [(USER, click)] for name, click in CLICKS.items()
    }


def test_the_leads_of_who_turns_out_to_be_one_customer_are_one(make: Make) -> None:
    made = make()
    sign_up(made)
    sign_up(made, customer={"stripe": CUSTOMER}, clicks={}, occurred_at="2026-11-02T00:00:00Z")
    assert len(conversions(made)) == 2
    before = counted(made)
    visit(made, customer={**WHO, "stripe": CUSTOMER})
    (one,) = conversions(made)
    assert set(one.keys) == {f"stripe:{CUSTOMER}", f"external_id:{USER}"}
    assert counted(made) == before
    for name in AFFILIATES:
        row = made.store.deliveries.get(f"{one.id}@{name}")
        assert row is not None
        assert (row.state, row.told.known_as) == (DeliveryState.SETTLED, USER)


@pytest.mark.parametrize("first", ["external_id", "stripe"])
def test_what_was_told_of_the_later_lead_passes_to_the_earlier(make: Make, first: str) -> None:
    made = make()
    who = {"external_id": USER, "stripe": CUSTOMER}
    (other,) = who.keys() - {first}
    sign_up(made, customer={first: who[first]}, occurred_at="2026-11-02T00:00:00Z")
    before = counted(made)
    earlier = {"customer": {other: who[other]}, "occurred_at": "2026-11-01T00:00:00Z"}
    post(made, "/leads", earlier)
    visit(made, customer=who)
    (one,) = conversions(made)
    assert counted(made) == before
    for name in AFFILIATES:
        row = made.store.deliveries.get(f"{one.id}@{name}")
        assert row is not None
        assert (row.state, row.told.known_as) == (DeliveryState.SETTLED, who[first])
        assert row.attempts == len(made.store.deliveries.attempts(row.id)) > 0


def test_where_both_were_told_nothing_is_told_again(make: Make) -> None:
    made = make()
    sign_up(made)
    sign_up(made, customer={"stripe": CUSTOMER}, occurred_at="2026-11-02T00:00:00Z")
    before = counted(made)
    visit(made, customer={**WHO, "stripe": CUSTOMER})
    first, second = sorted(conversions(made), key=lambda each: each.occurred_at)
    assert second.reason == f"it is part of {first.id}"
    assert (first.status, second.status) == ("approved", "disapproved")
    assert counted(made) == before
    states = {row.state for row in made.store.deliveries.newest()}
    assert states <= {DeliveryState.SETTLED, DeliveryState.SKIPPED}


def test_a_lead_without_a_click_waits_for_one(make: Make) -> None:
    made = make("taapit")
    sign_up(made, clicks={})
    assert state(made, "taapit") == (DeliveryState.SKIPPED, NO_CLICK)
    visit(made, clicks={"taapit": "tid_1"})
    assert state(made, "taapit") == (DeliveryState.SETTLED, "")
    assert leads(made, "taapit") == [(USER, "tid_1")]


def test_two_accounts_with_one_address_are_two_leads(make: Make) -> None:
    made = make("taapit")
    people = [{"external_id": f"user_{at}", "email": EMAIL, "anonymous_id": "a"} for at in (1, 2)]
    for number, who in enumerate(people):
        sign_up(made, customer=who, clicks={"taapit": f"tid_{number}"})
    assert leads(made, "taapit") == [("user_1", "tid_0"), ("user_2", "tid_1")]


def test_new_metadata_changes_the_customer(make: Make) -> None:
    made = make("tapfiliate")
    for at, meta in (
        (SOON, {"tm_plan": "basic", "tm_from": "blog"}),
        ("2026-11-02T00:00:00Z", {"tm_plan": "pro"}),
        ("2026-11-02T00:00:00Z", {"tm_plan": "pro"}),
        (None, {"tm_plan": "gold"}),
    ):
        click = {"tapfiliate": {"click_id": "click_1", **meta}}
        sign_up(made, clicks=click, occurred_at=at)
    paths = [call["path"].split("/1.7/pb/")[-1] for call in made.vendors.ledger.calls("tapfiliate")]
    assert paths == ["cus/c/", "cus/u/", "cus/u/"]
    (lead,) = made.vendors.ledger.as_json()["tapfiliate"]["leads"]
    assert lead["meta"] == {"plan": "gold", "from": "blog"}
    # A click of somebody else's link changes nothing: the customer is credited already.
    sign_up(made, clicks={"tapfiliate": {"click_id": "click_2", "tm_plan": "free"}})
    assert leads(made, "tapfiliate") == [(USER, "click_1")]
    assert len(made.vendors.ledger.calls("tapfiliate")) == 3


# ── the sales after it ───────────────────────────────────────────────────────────────────────────


def sale_of(made: Bench, vendor: str) -> dict[str, Any]:
    (sale,) = made.sales(vendor)
    return sale


@pytest.mark.parametrize("part", [True, False])
@pytest.mark.parametrize("vendor", AFFILIATES)
def test_a_sale_long_after_its_click_is_credited_by_the_lead(
    make: Make, vendor: str, part: bool
) -> None:
    made = make(vendor)
    sign_up(made, occurred_at=LONG_AGO)
    made.play(*SALE)
    sale = sale_of(made, vendor)
    assert (sale["customer"], sale["click"]) == (USER, CLICKS[vendor])
    assert (sale["amount"], sale["status"]) == ("49.00", "approved")
    body = str(told(made, vendor)[-1])
    assert CLICKS[vendor] not in body
    assert USER in body
    made.play(*(REFUND if part else ()), bodies=[] if part else [EVERYTHING])
    can, sale = made.config.vendors[vendor].capabilities, sale_of(made, vendor)
    assert sale["amount"] == ("32.19" if part and can.partial else "49.00")
    assert sale["status"] == ("disapproved" if can.disapprove and not part else "approved")


def test_trackdesk_finds_the_sale_by_the_id_that_was_linked(make: Make) -> None:
    made = make("trackdesk")
    sign_up(made, occurred_at=LONG_AGO)
    made.play(*SALE)
    assert told(made, "trackdesk")[-1]["externalCid"] == USER
    assert "cid" not in told(made, "trackdesk")[-1]


def test_tapfiliate_is_told_such_a_sale_at_rest_by_its_customer(make: Make) -> None:
    made = make("tapfiliate")
    sign_up(made, occurred_at=LONG_AGO)
    made.play(*SALE)
    call = made.vendors.ledger.calls("tapfiliate")[-1]
    assert call["path"].endswith("/1.6/conversions/")
    assert call["body"]["customer_id"] == USER


@pytest.mark.parametrize("vendor", AFFILIATES)
def test_such_a_sale_waits_until_the_lead_is_accepted(make: Make, vendor: str) -> None:
    made = make(vendor)
    made.play(*SALE)
    assert delivery(made, vendor, ConversionKind.SALE) == ("skipped", NO_CLICK)
    made.fault(vendor, BUSY)
    sign_up(made, occurred_at=LONG_AGO)
    assert delivery(made, vendor, ConversionKind.LEAD)[0] == "due"
    assert delivery(made, vendor, ConversionKind.SALE) == ("skipped", NO_CLICK)
    assert made.sales(vendor) == []
    made.clock.advance(hours=1)
    made.worker.drain()
    assert delivery(made, vendor, ConversionKind.LEAD) == ("settled", "")
    assert delivery(made, vendor, ConversionKind.SALE) == ("settled", "")
    assert sale_of(made, vendor)["click"] == CLICKS[vendor]
    before = counted(made)
    made.play(*SALE)
    assert counted(made) == before


@pytest.mark.parametrize("vendor", AFFILIATES)
def test_a_lead_that_was_refused_credits_nothing(make: Make, vendor: str) -> None:
    made = make(vendor)
    made.fault(vendor, {"status": 403, "body": "no"})
    sign_up(made, occurred_at=LONG_AGO)
    made.play(*SALE)
    assert delivery(made, vendor, ConversionKind.LEAD)[0] == "dead"
    assert delivery(made, vendor, ConversionKind.SALE) == ("skipped", NO_CLICK)


@pytest.mark.parametrize("vendor", AFFILIATES)
def test_the_customer_is_called_as_in_the_lead(make: Make, vendor: str) -> None:
    """A sign-up by an e-mail alone; who pays has an id of the merchant's by then."""
    made = make(vendor)
    sign_up(made, customer={"email": EMAIL}, occurred_at=LONG_AGO)
    ((called, _),) = leads(made, vendor)
    assert called.startswith("email:")
    made.play(*SALE)
    assert sale_of(made, vendor)["customer"] == called


def test_a_sale_before_its_lead_is_not_credited_by_it(make: Make) -> None:
    made = make("taapit")
    made.play(*SALE)
    sign_up(made, occurred_at="2026-11-10T00:00:00Z")
    assert delivery(made, "taapit", ConversionKind.SALE) == ("skipped", NO_CLICK)
    assert leads(made, "taapit") == [(USER, "tid_1")]


# ── leads of providers ───────────────────────────────────────────────────────────────────────────


def joined(provider: str, metadata: Mapping[str, str], *, test: bool = False) -> tuple[str, Any]:
    """Return what a provider sends of a new customer with metadata."""
    body = json.loads(case_of(f"{provider}/customer.created").body)
    if provider == "stripe":
        body["livemode"] = body["data"]["object"]["livemode"] = not test
        body["data"]["object"]["metadata"] = dict(metadata)
    else:
        body["data"]["custom_data"] = dict(metadata)
    return provider, unsigned(json.dumps(body))


METADATA = {"user_id": USER, **{f"{name}_click_id": click for name, click in CLICKS.items()}}


@pytest.mark.parametrize("provider", ["stripe", "paddle"])
def test_a_customer_made_at_a_provider_is_a_lead_where_that_is_asked_for(
    make: Make, provider: str
) -> None:
    made = make(BRIDGE_LEADS="provider")
    made.play(requests=[joined(provider, METADATA)])
    assert {name: leads(made, name) for name in AFFILIATES} == {
        name: [(USER, click)] for name, click in CLICKS.items()
    }
    before = counted(made)
    sign_up(made)
    assert len(conversions(made)) == 1
    assert counted(made) == before


@pytest.mark.parametrize("provider", ["stripe", "paddle"])
@pytest.mark.parametrize(
    ("asked", "metadata"), [("api", METADATA), ("provider", {"user_id": USER}), ("provider", {})]
)
def test_it_is_none_otherwise(
    make: Make, provider: str, asked: str, metadata: dict[str, str]
) -> None:
    made = make(BRIDGE_LEADS=asked)
    made.play(requests=[joined(provider, metadata)])
    assert conversions(made) == []
    assert set(counted(made).values()) == {0}


def test_a_lead_of_test_mode_is_skipped(make: Make) -> None:
    made = make("taapit", BRIDGE_LEADS="provider")
    made.play(requests=[joined("stripe", METADATA, test=True)])
    why = "test mode (BRIDGE_TEST_EVENTS=deliver sends it)"
    assert state(made, "taapit") == (DeliveryState.SKIPPED, why)


def test_a_lead_of_test_mode_is_delivered_on_request(make: Make) -> None:
    made = make("taapit", BRIDGE_LEADS="provider", BRIDGE_TEST_EVENTS="deliver")
    made.play(requests=[joined("stripe", METADATA, test=True)])
    assert leads(made, "taapit") == [(USER, "tid_1")]


def test_a_live_lead_is_live_whatever_was_tried_before(make: Make) -> None:
    made = make("taapit", BRIDGE_LEADS="provider")
    made.play(requests=[joined("stripe", METADATA, test=True)])
    sign_up(made)
    assert state(made, "taapit") == (DeliveryState.SETTLED, "")
