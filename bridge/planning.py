"""Planning: the merchant's own rules first, then the vendor's.

What holds a conversion back whoever the vendor is (a parked refund, test traffic, nothing paid,
a renewal, a customer who was removed) is decided here, so that a vendor only knows its own rules.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from bridge.forgetting import REMOVED
from bridge.model import Call, Conversion, ConversionKind, Done, Plan, Skip, Status, Told
from bridge.money import Money
from bridge.vendors.base import AnyVendor

# More calls than any vendor needs in a row: a plan that never ends is a mistake of ours.
MOST_CALLS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Hold the merchant's rules of delivery."""

    deliver_tests: bool = False
    first_payment_only: bool = False


def plan(vendor: AnyVendor, conversion: Conversion, told: Told, rules: Rules) -> Plan:
    """Return the next call to a vendor, or why there is none."""
    reason = _held_back(conversion, rules) or _untold(vendor, conversion)
    if reason and told.nothing:
        return Skip(reason)
    if _is_unwanted_renewal(conversion, rules):
        # It was told before an earlier payment of its subscription arrived: take it back.
        nothing = Money(0, conversion.value.currency)
        conversion = replace(
            conversion, status=Status.DISAPPROVED, taken_back=conversion.paid, value=nothing
        )
    return vendor.next_call(conversion, told)


def explain(
    vendor: AnyVendor, conversion: Conversion, told: Told, rules: Rules
) -> list[Call | Done | Skip]:
    """Return the calls that would be made now if each were accepted, and how it would end."""
    steps: list[Call | Done | Skip] = []
    for _ in range(MOST_CALLS):
        step = plan(vendor, conversion, told, rules)
        steps.append(step)
        if not isinstance(step, Call):
            break
        told = step.tells
    return steps


def addressed(call: Call, address: str) -> Call:
    """Return a call with an e-mail address where it says that one goes, if there is one."""
    if not (call.address and address and call.json is not None):
        return call
    body = copy.deepcopy(dict(call.json))
    *path, last = call.address.split(".")
    inner: Any = body
    for name in path:
        inner = inner.setdefault(name, {})
    inner[last] = address
    return replace(call, json=body)


def _held_back(conversion: Conversion, rules: Rules) -> str:
    if conversion.status is Status.PARKED:
        return conversion.reason
    if conversion.test and not rules.deliver_tests:
        return "test mode (BRIDGE_TEST_EVENTS=deliver sends it)"
    if conversion.redacted:
        return REMOVED
    if conversion.kind is not ConversionKind.SALE:
        return ""
    if _is_unwanted_renewal(conversion, rules):
        return "a renewal (BRIDGE_RECURRING=first credits only the first payment)"
    return _nothing_to_credit(conversion)


def _untold(vendor: AnyVendor, conversion: Conversion) -> str:
    if conversion.kind is ConversionKind.LEAD and not vendor.capabilities.lead:
        return f"{vendor.title} takes no leads"
    if conversion.kind is ConversionKind.PAGEVIEW and not vendor.wants_pageviews:
        return f"{vendor.title} is not told of visits"
    return ""


def _nothing_to_credit(conversion: Conversion) -> str:
    if conversion.paid.minor == 0:
        why = f" ({conversion.reason.replace('_', ' ')})" if conversion.reason else ""
        return f"nothing was paid{why}"
    if conversion.value.minor == 0 and conversion.status is Status.APPROVED:
        return "all that was paid is tax and shipping (BRIDGE_AMOUNT_BASIS=total counts them)"
    return ""


def _is_unwanted_renewal(conversion: Conversion, rules: Rules) -> bool:
    return conversion.renewal and rules.first_payment_only
