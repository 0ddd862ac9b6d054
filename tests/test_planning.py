"""What holds a conversion back, whoever the vendor is."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
from histories import START, euro

from bridge.model import Call, Conversion, ConversionKind, Plan, Skip, Status, Told
from bridge.planning import Rules, plan
from bridge.vendors.base import Capabilities, Vendor, VendorSettings

RULES = Rules()
FIRST_ONLY = Rules(first_payment_only=True)
TOLD = Told(steps=("sale",), amount=euro(800), status=Status.APPROVED)
SALE = Conversion(
    id="stripe:in_1",
    kind=ConversionKind.SALE,
    provider="stripe",
    order="in_1",
    customer="u1",
    paid=euro(1000),
    taken_back=euro(0),
    value=euro(800),
    status=Status.APPROVED,
    occurred_at=START,
)
NOTHING = replace(SALE, paid=euro(0), value=euro(0))
PARKED = replace(NOTHING, status=Status.PARKED, taken_back=euro(300), reason="no sale yet")
RENEWAL = replace(SALE, renewal=True)
TEST = replace(SALE, test=True)
REDACTED = replace(SALE, customer="in_1", redacted=True)
LEAD = replace(NOTHING, kind=ConversionKind.LEAD)


class Echo(Vendor[VendorSettings]):
    """Tell of a conversion exactly as it was handed over."""

    name: ClassVar[str] = "echo"
    title = "Echo"
    capabilities = Capabilities(lead=True)
    settings_type = VendorSettings
    default_url = "https://echo.example"

    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        tells = Told(steps=("sale",), amount=conversion.value, status=conversion.status)
        back = str(conversion.taken_back.minor)
        return Call(step="sale", url=self.base_url, query={"back": back}, tells=tells)


ECHO = Echo(VendorSettings(base_url=""))


def planned(conversion: Conversion, told: Told, rules: Rules) -> Call:
    call = plan(ECHO, conversion, told, rules)
    assert isinstance(call, Call)
    return call


@pytest.mark.parametrize(
    ("conversion", "rules", "reason"),
    [
        (PARKED, RULES, "no sale yet"),
        (TEST, RULES, "test mode (BRIDGE_TEST_EVENTS=deliver sends it)"),
        (replace(LEAD, test=True), RULES, "test mode (BRIDGE_TEST_EVENTS=deliver sends it)"),
        (REDACTED, RULES, "the customer's data was removed"),
        (replace(LEAD, redacted=True), RULES, "the customer's data was removed"),
        (NOTHING, RULES, "nothing was paid"),
        (
            replace(NOTHING, reason="subscription_create"),
            RULES,
            "nothing was paid (subscription create)",
        ),
        (
            replace(SALE, value=euro(0)),
            RULES,
            "all that was paid is tax and shipping (BRIDGE_AMOUNT_BASIS=total counts them)",
        ),
        (
            RENEWAL,
            FIRST_ONLY,
            "a renewal (BRIDGE_RECURRING=first credits only the first payment)",
        ),
        (
            replace(RENEWAL, status=Status.DISAPPROVED),
            FIRST_ONLY,
            "a renewal (BRIDGE_RECURRING=first credits only the first payment)",
        ),
    ],
)
def test_is_held_back_with_a_reason(conversion: Conversion, rules: Rules, reason: str) -> None:
    assert plan(ECHO, conversion, Told(), rules) == Skip(reason)


@pytest.mark.parametrize(
    ("conversion", "rules"),
    [
        (SALE, RULES),
        (SALE, FIRST_ONLY),
        (RENEWAL, RULES),
        (LEAD, RULES),
        (LEAD, FIRST_ONLY),
        (TEST, Rules(deliver_tests=True)),
        (replace(SALE, status=Status.DISAPPROVED, value=euro(0)), RULES),
    ],
)
def test_is_handed_to_the_vendor_as_it_is(conversion: Conversion, rules: Rules) -> None:
    call = planned(conversion, Told(), rules)
    assert call.tells == Told(steps=("sale",), amount=conversion.value, status=conversion.status)


def test_delivering_tests_lifts_no_other_rule() -> None:
    rules = Rules(first_payment_only=True, deliver_tests=True)
    assert isinstance(plan(ECHO, replace(RENEWAL, test=True), Told(), rules), Skip)
    assert isinstance(plan(ECHO, replace(PARKED, test=True), Told(), rules), Skip)


@pytest.mark.parametrize("told", [TOLD, Told(doubt="sale")])
def test_a_renewal_that_was_told_too_early_is_taken_back(told: Told) -> None:
    call = planned(RENEWAL, told, FIRST_ONLY)
    assert (call.tells.status, call.tells.amount) == (Status.DISAPPROVED, euro(0))
    assert call.query == {"back": "1000"}


@pytest.mark.parametrize(
    "conversion", [TEST, REDACTED, replace(SALE, value=euro(0), taken_back=euro(999))]
)
def test_what_was_told_is_kept_true(conversion: Conversion) -> None:
    """A setting changed afterwards must not freeze what the vendor holds already."""
    assert planned(conversion, TOLD, RULES).tells.amount == conversion.value
