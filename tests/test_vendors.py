"""Every vendor's fixtures: conversion in, call out; answer in, verdict out. No vendor is named."""

from __future__ import annotations

from dataclasses import asdict, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from bridge import codec, vendors
from bridge.model import (
    Call,
    Cause,
    Click,
    Context,
    Conversion,
    ConversionKind,
    Dead,
    Done,
    Item,
    Plan,
    Response,
    Retry,
    Skip,
    Status,
    Told,
    Unknown,
    Verdict,
)
from bridge.money import Money
from bridge.planning import Rules, plan
from bridge.vendors.base import AnyVendor

FIXTURES = REPOSITORY / "fixtures" / "vendors"
CALLS = sorted(FIXTURES.glob("*/calls/*.json"))
ANSWERS = sorted(FIXTURES.glob("*/answers/*.json"))
NAMES = sorted(vendors.discover())
# The step of the call that proves a capability.
STEPS = {
    "sale": "sale",
    "lead": "lead",
    "pageview": "pageview",
    "partial": "amount",
    "disapprove": "disapprove",
    "reapprove": "reapprove",
}
MOST_CALLS = 6


def name_of(path: Path) -> str:
    return path.parent.parent.name


def id_of(path: Path) -> str:
    return f"{name_of(path)}/{path.stem}"


@cache
def read(path: Path) -> Any:
    return codec.loads(path.read_text("utf-8"))


def made(name: str, **settings: object) -> AnyVendor:
    """Return a vendor with its fixtures' settings and those of one case."""
    kind = vendors.discover()[name]
    folder = FIXTURES / name
    assert folder.is_dir(), f"{name} has no fixture folder fixtures/vendors/{name}"
    return kind(kind.settings_type(**(read(folder / "settings.json") | settings)))


def conversion_of(case: dict[str, Any]) -> Conversion:
    plain = read(FIXTURES / "conversion.json") | case["conversion"]
    return codec.from_plain(Conversion, plain)


def cases_of(name: str) -> list[Any]:
    return [read(path) for path in CALLS if name_of(path) == name]


def clicks_of(name: str) -> list[Click]:
    """Return the clicks of a vendor that its cases have, without repetition."""
    found: list[Click] = []
    for case in cases_of(name):
        click = case["conversion"].get("clicks", {}).get(name)
        found += [click] if click and click not in found else []
    return found


def typed(value: object) -> object:
    """Return a value so that equality tells numbers, strings, booleans and nulls apart."""
    if isinstance(value, dict):
        return {key: typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [typed(each) for each in value]
    return type(value).__name__, value


def on_the_wire(call: Call) -> object:
    """Return a call as it is read back from what is sent and stored."""
    return typed(codec.loads(codec.dump(call)))


def plain_plan(plan: Plan) -> dict[str, object]:
    match plan:
        case Call():
            return {"call": on_the_wire(plan)}
        case Skip():
            return {"skip": plan.reason}
        case Done():
            return {"done": True}


def expected_plan(expect: dict[str, Any]) -> dict[str, object]:
    if "call" in expect:
        return {"call": on_the_wire(codec.from_plain(Call, expect["call"]))}
    return expect


# ── one test per case ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", CALLS, ids=id_of)
def test_next_call(path: Path) -> None:
    case = read(path)
    vendor = made(name_of(path), **case.get("settings", {}))
    told = codec.from_plain(Told, case.get("told", {}))
    assert case["description"]

    plan = vendor.next_call(conversion_of(case), told)

    assert plain_plan(plan) == expected_plan(case["expect"])


@pytest.mark.parametrize("path", ANSWERS, ids=id_of)
def test_judge(path: Path) -> None:
    case = read(path)
    vendor = made(name_of(path), **case.get("settings", {}))
    call = codec.from_plain(Call, case["call"])
    answer = case["response"]
    body = answer.get("body", "")
    text = body if isinstance(body, str) else codec.dumps(body)
    assert case["description"]

    verdict = vendor.judge(
        call, Response(status=answer["status"], headers=answer.get("headers", {}), body=text)
    )

    check_verdict(verdict, case["expect"])


def check_verdict(verdict: Verdict, expect: dict[str, Any]) -> None:
    match verdict:
        case Told():
            assert {"told": verdict} == {"told": codec.from_plain(Told, expect.get("told"))}
        case Retry():
            assert expect.get("retry", {}).get("reason", "no retry") in verdict.reason
            assert verdict.after == expect["retry"].get("after", "")
        case Dead():
            assert expect.get("dead", "not dead") in verdict.reason
        case Unknown():
            assert expect.get("unknown", "not unknown") in verdict.reason


# ── fixtures and vendors belong together ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_every_vendor_has_fixtures(name: str) -> None:
    for part, paths in (("calls", CALLS), ("answers", ANSWERS)):
        assert name in map(name_of, paths), f"{name} has no case in fixtures/vendors/{name}/{part}"


def test_every_fixture_folder_has_a_vendor() -> None:
    folders = {path.name for path in FIXTURES.iterdir() if path.is_dir()}
    assert folders - set(NAMES) == set()


@pytest.mark.parametrize("name", NAMES)
def test_fixtures_prove_what_the_vendor_can(name: str) -> None:
    """Hold the calls that a vendor's fixtures show against its capabilities."""
    cases = cases_of(name)
    calls = [case["expect"]["call"] for case in cases if "call" in case["expect"]]
    if not calls:
        pytest.skip(f"the fixtures of {name} show no call; it is driven below all the same")
    can = asdict(made(name).capabilities)
    steps = {call["step"] for call in calls}
    shown = {capability for capability, step in STEPS.items() if step in steps}
    assert shown == {capability for capability in STEPS if can[capability]}
    assert any(call.get("asks", False) for call in calls) is can["askable"]
    sales = [call for call in calls if call["step"] == "sale"]
    assert {call.get("repeatable", True) for call in sales} == {can["repeatable"]}


@pytest.mark.parametrize("name", NAMES)
def test_fixtures_show_what_the_vendor_cannot(name: str) -> None:
    """Find a skip with its reason for everything that cannot be expressed."""
    cases = cases_of(name)
    if not any("call" in case["expect"] for case in cases):
        pytest.skip(f"the fixtures of {name} show no call")
    can = made(name).capabilities
    skipped = [
        (conversion_of(case), codec.from_plain(Told, case.get("told", {})))
        for case in cases
        if "skip" in case["expect"]
    ]
    leads = [each for each, _ in skipped if each.kind is ConversionKind.LEAD and each.clicks]
    told = [(each, was.amount) for each, was in skipped if was.amount]
    approved = [each for each, had in told if each.status is Status.APPROVED and each.value != had]
    gone = [each for each, _ in told if each.status is Status.DISAPPROVED]
    visits = [each for each, _ in skipped if each.kind is ConversionKind.PAGEVIEW and each.clicks]
    assert can.lead or leads
    assert can.pageview or visits
    assert can.partial or approved
    assert can.disapprove or gone


# ── what holds for every vendor, whatever happens ────────────────────────────────────────────────


def drive(vendor: AnyVendor, conversion: Conversion, told: Told) -> tuple[Told, list[Call]]:
    """Accept every call until there is none left; fail where that never comes."""
    calls: list[Call] = []
    for _ in range(MOST_CALLS):
        plan = vendor.next_call(conversion, told)
        if not isinstance(plan, Call):
            return told, calls
        calls.append(plan)
        told = plan.tells
    pytest.fail(f"{vendor.name} never comes to an end: {[call.step for call in calls]}")


def sold(name: str) -> Conversion:
    """Return a sale that a vendor can be told of."""
    base = codec.from_plain(Conversion, read(FIXTURES / "conversion.json"))
    return replace(base, clicks={name: clicks_of(name)[0]})


def signed_up(name: str) -> Conversion:
    """Return a sign-up that a vendor can be told of, if it takes any."""
    return of_no_money(sold(name), ConversionKind.LEAD)


def of_no_money(sale: Conversion, kind: ConversionKind) -> Conversion:
    nothing = Money(0, sale.value.currency)
    return replace(sale, id="bridge:1", order="1", kind=kind, value=nothing, paid=nothing)


@pytest.mark.parametrize("name", NAMES)
def test_does_what_its_capabilities_say(name: str) -> None:
    vendor, sale = made(name), sold(name)
    can = vendor.capabilities
    value, nothing = sale.value, Money(0, sale.value.currency)
    visit = replace(of_no_money(sale, ConversionKind.PAGEVIEW), customer="")
    part = replace(sale, value=value.scale(1, 2))
    gone = replace(sale, value=nothing, taken_back=sale.paid, status=Status.DISAPPROVED)

    told, calls = drive(vendor, sale, Told())
    assert bool(calls) is can.sale
    assert all(call.repeatable for call in calls) is can.repeatable
    assert (told.amount, told.status) == (value, Status.APPROVED)
    assert isinstance(plan(vendor, signed_up(name), Told(), Rules()), Call) is can.lead
    assert isinstance(plan(vendor, visit, Told(), Rules()), Call) is can.pageview
    reduced, _ = drive(vendor, part, told)
    assert reduced.amount == (part.value if can.partial else value)
    back, _ = drive(vendor, gone, told)
    assert (back.status is Status.DISAPPROVED) is can.disapprove
    again, _ = drive(vendor, sale, back)
    assert (again.status is Status.APPROVED) is (can.reapprove or not can.disapprove)


CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD", "ISK", "MGA", "UGX", "CLF"])


def states(currency: str) -> st.SearchStrategy[Conversion]:
    """Make conversions of one order, in any state."""
    base = codec.from_plain(Conversion, read(FIXTURES / "conversion.json"))
    amount = st.integers(0, 10**15).map(lambda minor: Money(minor, currency))
    item = st.builds(Item, st.text(max_size=300), amount, st.integers(-1, 5))
    return st.builds(
        replace,
        st.just(base),
        order=st.sampled_from(["in_1", "pi_2"]) | st.text(min_size=1, max_size=300),
        customer=st.text(max_size=300),
        paid=amount,
        taken_back=amount,
        value=amount | st.just(Money(0, currency)),
        status=st.sampled_from(Status),
        cause=st.none() | st.sampled_from(Cause),
        items=st.lists(item, max_size=3).map(tuple),
    )


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_every_story_comes_to_an_end(name: str, data: st.DataObject) -> None:
    vendor = made(name)
    kind = data.draw(st.sampled_from(ConversionKind))
    clicks = data.draw(st.sampled_from([{}, *({name: each} for each in clicks_of(name))]))
    leads = data.draw(st.sampled_from([{}, {name: "user_1"}]))
    told = Told()
    for state in data.draw(CURRENCIES.flatmap(lambda each: st.lists(states(each), max_size=6))):
        told, calls = drive(vendor, replace(state, kind=kind, clicks=clicks, leads=leads), told)
        for call in calls:
            assert codec.load(Call, codec.dump(call)).url == call.url
            assert_no_secret(vendor, call)
        if calls and not calls[-1].repeatable and vendor.capabilities.askable:
            told = data.draw(st.sampled_from([told, replace(told, doubt=calls[-1].step)]))


def assert_no_secret(vendor: AnyVendor, call: Call) -> None:
    shown = repr(call)
    for value in vars(vendor.settings).values():
        if isinstance(value, SecretStr):
            assert value.get_secret_value() not in shown


ODD_BODIES = (
    "[" * 20_000,
    '{"a":' * 20_000,
    '{"amount": 1e99999999999999999999}',
    '[{"amount": 1e999999999, "external_id": "in_1"}]',
    '[{"amount": NaN}]',
    '[{"amount": {}, "external_id": null}, 1]',
    '{"status": null, "ok": [], "id": {}, "sale": {}}',
    "\x00\ufeff{}",
)
BODIES = st.text() | st.sampled_from(ODD_BODIES) | st.sampled_from(["", "null", "[]", "{}", "[{}]"])


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), status=st.integers(100, 599), body=BODIES, after=st.text())
def test_judge_never_raises(
    name: str, data: st.DataObject, status: int, body: str, after: str
) -> None:
    vendor = made(name)
    shown = [read(path)["call"] for path in ANSWERS if name_of(path) == name]
    call = codec.from_plain(Call, data.draw(st.sampled_from(shown)))
    verdict = vendor.judge(call, Response(status=status, headers={"retry-after": after}, body=body))
    assert isinstance(verdict, Told | Retry | Dead | Unknown)
    if status >= 500 and not isinstance(verdict, Told):
        assert not isinstance(verdict, Dead)


WORDS = st.text(max_size=300)
FIELDS = st.sampled_from(["click_id", "cid", "tenantId", "external_cid", "coupon", "email_hash"])
RAW_CLICKS = (
    WORDS
    | st.dictionaries(FIELDS | WORDS, WORDS, max_size=3)
    | st.recursive(st.none() | st.booleans() | st.integers() | WORDS, st.lists, max_leaves=3)
)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_read_click_reads_its_own_output(name: str, data: st.DataObject) -> None:
    vendor = made(name)
    raw = data.draw(RAW_CLICKS | st.sampled_from([*clicks_of(name), "%7B", "{" * 20_000]))
    try:
        click = vendor.read_click(raw)
    except ValueError:
        return
    assert vendor.read_click(click) == click


@pytest.mark.parametrize("name", NAMES)
@given(context=st.builds(Context, email=WORDS, ip=WORDS, user_agent=WORDS, url=WORDS))
def test_what_is_captured_can_be_read(name: str, context: Context) -> None:
    vendor = made(name)
    for click in (vendor.capture(context), vendor.read_reference(context.email)):
        assert click is None or vendor.read_click(click) == click


def test_a_number_is_no_string() -> None:
    assert len({typed(each) for each in (1, "1", True, Decimal("1.0"), "1.0", None)}) == 6
    assert typed({"amount": [Decimal("14.30")]}) == typed({"amount": [Decimal("14.3")]})
