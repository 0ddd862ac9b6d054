"""Late clicks: a sale that waits for its click is told once the click comes to light."""

from __future__ import annotations

import json

import pytest
from kit import CLICKS, CUSTOMER, SALE, Bench, Make, body_of, state
from merchant import USER, counted, post, visit
from redactions import EMAIL

from bridge.intake import Intake
from bridge.store.rows import DeliveryState, Said
from bridge.vendors.base import NO_CLICK

VENDORS = sorted(CLICKS)
WAITS = (DeliveryState.SKIPPED, NO_CLICK)
TOLD = (DeliveryState.SETTLED, "")
# The sale is of 2026-11-03 09:00, the look-back window has 90 days.
BEFORE, TOO_OLD, AFTER = "2026-10-20T12:00:00Z", "2026-08-01T12:00:00Z", "2026-11-04T12:00:00Z"
IN_PAYMENT = {"stripe": CUSTOMER}
BROWSER = {"anonymous_id": "b_1"}


def click_of(vendor: str) -> dict[str, object]:
    return {vendor: CLICKS[vendor]}


def sold(make: Make, vendor: str, **settings: str) -> Bench:
    """Set up a bridge that told nobody of a sale: no click is stored for its customer."""
    made = make(vendor, BRIDGE_EXTERNAL_ID_KEYS="nothing", **settings)
    made.play(*SALE)
    assert state(made, vendor) == WAITS
    assert counted(made) == {vendor: 0}
    return made


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_sale_is_told_once_its_click_arrives(make: Make, vendor: str) -> None:
    made = sold(make, vendor)
    for _ in range(2):
        visit(made, customer=IN_PAYMENT, clicks=click_of(vendor), occurred_at=BEFORE)
        assert state(made, vendor) == TOLD
        assert counted(made) == {vendor: 1}
    (sale,) = made.sales(vendor)
    assert (sale["amount"], sale["currency"]) == ("49.00", "EUR")


# What is heard, one after the other, of whose click came before the sale.
WAYS: dict[str, list[dict[str, object]]] = {
    "by the address": [{"customer": {"email": EMAIL}}],
    "by the address, in capitals": [{"customer": {"email": EMAIL.upper()}}],
    "by an alias": [
        {"customer": {"external_id": USER}},
        {"customer": {"external_id": USER, **IN_PAYMENT}, "clicks": {}},
    ],
    "by an alias of an alias": [
        {"customer": BROWSER},
        {"customer": {"external_id": USER, **IN_PAYMENT}, "clicks": {}},
        {"customer": {"external_id": USER, **BROWSER}, "clicks": {}},
    ],
    "by the browser, at identify": [
        {"customer": BROWSER},
        {"customer": {**BROWSER, "email": EMAIL}, "clicks": {}},
    ],
    "by a browser that is shared": [
        {"customer": BROWSER},
        {"customer": {**BROWSER, "external_id": "somebody"}, "clicks": {}},
        {"customer": {"external_id": USER, **IN_PAYMENT}, "clicks": {}},
        {"customer": {**BROWSER, "external_id": USER}, "clicks": {}},
    ],
}


@pytest.mark.parametrize("steps", WAYS.values(), ids=WAYS)
def test_a_sale_is_told_once_its_customer_is_known(
    make: Make, steps: list[dict[str, object]]
) -> None:
    made = sold(make, "tapfiliate")
    *first, last = [
        {"clicks": click_of("tapfiliate"), "occurred_at": BEFORE, **each} for each in steps
    ]
    for step in first:
        visit(made, **step)
        assert state(made, "tapfiliate") == WAITS
    for _ in range(2):
        visit(made, **last)
        assert state(made, "tapfiliate") == TOLD
        assert counted(made) == {"tapfiliate": 1}


def test_a_browser_may_claim_the_sale_of_whom_it_names(make: Make) -> None:
    made = sold(make, "taapit")
    visit(made, customer=BROWSER, clicks=click_of("taapit"), occurred_at=BEFORE)
    now = made.clock()
    keys = ["anonymous:b_1", f"stripe:{CUSTOMER}"]
    said = Said(source="a browser", at=now, claimed=True)
    Intake(made.store, made.config).add_clicks(keys, {}, now, now, exact=False, said=said)
    made.worker.drain()
    assert state(made, "taapit") == TOLD


def test_an_event_of_the_provider_may_be_the_alias(make: Make) -> None:
    made = make("taapit")
    body = json.loads(body_of("invoice.paid"))
    body["data"]["object"] |= {"customer_email": None, "parent": None, "metadata": {}}
    made.play(bodies=[json.dumps(body)])
    visit(made, customer={"external_id": USER}, clicks=click_of("taapit"), occurred_at=BEFORE)
    assert state(made, "taapit") == WAITS
    made.play("customer.created")
    assert state(made, "taapit") == TOLD


NEVER = {
    "a click before the window": {"occurred_at": TOO_OLD},
    "a click after the sale": {"occurred_at": AFTER},
    "a click of somebody else's": {"customer": {"stripe": "cus_else"}, "occurred_at": BEFORE},
}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("body", NEVER.values(), ids=NEVER)
def test_a_sale_stays_skipped_by(make: Make, vendor: str, body: dict[str, object]) -> None:
    made = sold(make, vendor)
    visit(made, **{"customer": IN_PAYMENT, "clicks": click_of(vendor), **body})
    assert state(made, vendor) == WAITS
    assert counted(made) == {vendor: 0}


@pytest.mark.parametrize(("days", "expected"), [("95", TOLD), ("93", WAITS)])
def test_the_window_is_the_merchants(
    make: Make, days: str, expected: tuple[DeliveryState, str]
) -> None:
    made = sold(make, "taapit", BRIDGE_ATTRIBUTION_DAYS=days)
    visit(made, customer=IN_PAYMENT, clicks=click_of("taapit"), occurred_at=TOO_OLD)
    assert state(made, "taapit") == expected


def test_a_click_of_unknown_time_counts_within_the_window(make: Make) -> None:
    made = sold(make, "taapit")
    visit(made, customer=IN_PAYMENT, clicks=click_of("taapit"), occurred_at=None)
    assert state(made, "taapit") == TOLD


def test_what_was_told_stays_with_its_click(make: Make) -> None:
    made = sold(make, "taapit")
    visit(made, customer=IN_PAYMENT, clicks=click_of("taapit"), occurred_at=BEFORE)
    later = {"taapit": "tid_later"}
    visit(made, customer=IN_PAYMENT, clicks=later, occurred_at="2026-11-02T12:00:00Z")
    assert [sale["click"] for sale in made.sales("taapit")] == ["tid_1"]
    assert counted(made) == {"taapit": 1}


def test_a_refund_that_came_meanwhile_is_told_with_it(make: Make) -> None:
    made = sold(make, "tapfiliate")
    made.play("refund.created")
    visit(made, customer=IN_PAYMENT, clicks=click_of("tapfiliate"), occurred_at=BEFORE)
    assert [sale["amount"] for sale in made.sales("tapfiliate")] == ["32.19"]
    assert counted(made) == {"tapfiliate": 1}


def test_nothing_is_told_before_the_worker_looks(make: Make) -> None:
    made = sold(make, "taapit")
    body = {"customer": IN_PAYMENT, "clicks": click_of("taapit"), "occurred_at": BEFORE}
    assert not made.store.wait(0)
    post(made, "/clicks", body)
    assert made.delivery("taapit").state is DeliveryState.DUE
    assert made.store.wait(0)  # somebody rang
    assert counted(made) == {"taapit": 0}
