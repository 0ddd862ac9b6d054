"""Who paid, and which click each vendor gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

import pytest
from histories import START, euro, sale

from bridge import codec
from bridge.attribution import CLOCK_SKEW, Rules, StoredClick, email_key, identify, resolve
from bridge.model import (
    Click,
    Context,
    Conversion,
    ConversionKind,
    Done,
    Payment,
    Plan,
    Status,
    Told,
)
from bridge.vendors.base import Capabilities, Vendor, VendorSettings

KEY = b"a key"
RULES = Rules(email_key=KEY)
JANE = "Jane.Doe@Example.com"


# ── vendors of these tests ───────────────────────────────────────────────────────────────────────


class Acme(Vendor[VendorSettings]):
    """Credit one opaque id; a reference may carry it."""

    name: ClassVar[str] = "acme"
    title = "Acme"
    capabilities = Capabilities()
    settings_type = VendorSettings
    default_url = "https://acme.example"
    click_names: ClassVar[tuple[str, ...]] = ("acme_click", "acmeClickId")

    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        return Done()

    def read_reference(self, reference: str) -> Click | None:
        click = reference.removeprefix("acme_")
        return {"click_id": click} if click != reference else None


class Hasher(Acme):
    """Know no ids: make clicks of what is seen, and put them together."""

    name = "hasher"
    merges_clicks = True
    click_names = ()

    def read_click(self, value: object) -> Click:
        if not isinstance(value, Mapping):
            raise ValueError("must be an object")
        return {str(kind): str(each) for kind, each in value.items()}

    def read_reference(self, reference: str) -> Click | None:
        return None

    def capture(self, context: Context) -> Click | None:
        return {"seen": f"#{len(context.email)}"} if context.email else None


VENDORS = {each.name: each(VendorSettings(base_url="")) for each in (Acme, Hasher)}


def paid_by(customer: str = "", **context: object) -> Payment:
    seen = Context(**context)  # type: ignore[arg-type]
    return identify(replace(sale(), customer=customer, context=seen), VENDORS, RULES)


# ── who paid ─────────────────────────────────────────────────────────────────────────────────────


def test_keys_come_strongest_first() -> None:
    payment = paid_by("cus_1", email=JANE, metadata={"user_id": "u1"}, reference="r1")
    hashed = email_key(JANE, KEY)
    assert payment.keys == ("stripe:cus_1", "external_id:u1", "external_id:r1", hashed)


@pytest.mark.parametrize(
    ("names", "metadata", "expected"),
    [
        (RULES.external_id_names, {"user_id": "u1"}, ["u1"]),
        (RULES.external_id_names, {"external_id": "e1", "user_id": "u1"}, ["u1", "e1"]),
        (RULES.external_id_names, {"external_id": "u1", "user_id": "u1"}, ["u1"]),
        (RULES.external_id_names, {"member": "m1"}, []),
        (("member",), {"member": "m1", "user_id": "u1"}, ["m1"]),
        ((), {"taapitCustomerExternalId": "t1"}, ["t1"]),
        ((), {"codeqrCustomerId": "q1"}, ["q1"]),
        (RULES.external_id_names, {"user_id": " u1 "}, ["u1"]),
        (RULES.external_id_names, {"user_id": "a:b"}, ["a:b"]),
    ],
)
def test_the_merchants_own_id_is_found_under_the_names_it_set(
    names: tuple[str, ...], metadata: dict[str, str], expected: list[str]
) -> None:
    payment = replace(sale(), context=Context(metadata=metadata))
    keys = identify(payment, VENDORS, replace(RULES, external_id_names=names)).keys
    assert keys == tuple(f"external_id:{each}" for each in expected)


@pytest.mark.parametrize("nobody", ["", " ", "0", "null", "None", "undefined", "NaN"])
def test_what_stands_for_no_one_is_no_id(nobody: str) -> None:
    """Else all guests of a shop would be aliases of one customer."""
    assert paid_by(metadata={"user_id": nobody}, reference=nobody).keys == ()


def test_a_blank_email_is_none() -> None:
    assert paid_by(email="  ").keys == ()


def test_a_reference_is_an_external_id_unless_it_is_a_vendors_click() -> None:
    assert paid_by(reference="user_1").keys == ("external_id:user_1",)
    click = paid_by(reference="acme_c1")
    assert (click.keys, click.clicks) == ((), {"acme": {"click_id": "c1"}})


@pytest.mark.parametrize("spelling", ["JANE.DOE@EXAMPLE.COM", " jane.doe@example.com\n", JANE])
def test_an_email_is_known_however_it_is_written(spelling: str) -> None:
    assert email_key(spelling, KEY) == email_key("jane.doe@example.com", KEY)


def test_an_email_is_not_known_without_the_key() -> None:
    assert email_key(JANE, b"another key") != email_key(JANE, KEY)
    assert email_key("joe@example.com", KEY) != email_key(JANE, KEY)
    assert "a key" not in repr(RULES)


def test_no_personal_data_is_left_in_a_payment() -> None:
    seen = {"ip": "203.0.113.7", "user_agent": "Mozilla/5.0", "url": "https://shop.example/x"}
    payment = paid_by("cus_1", email=JANE, referrer="https://r.example", **seen)
    assert payment.context is None
    stored = codec.dump(payment).lower()
    assert not any(each.lower() in stored for each in (*seen.values(), "jane", "r.example"))
    assert codec.load(Payment, codec.dump(payment)) == payment


def test_a_payment_without_context_has_its_customer() -> None:
    assert identify(replace(sale(), customer="cus_1"), VENDORS, RULES).keys == ("stripe:cus_1",)
    assert identify(sale(), VENDORS, RULES).keys == ()


# ── what a payment carries ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("metadata", "reference", "expected"),
    [
        ({"acme_click": "c1"}, "", "c1"),
        ({"acmeClickId": "c2", "acme_click": "c1"}, "", "c1"),
        ({"acme_click": " ", "acmeClickId": "c2"}, "", "c2"),
        ({"acme_click": "x" * 256}, "", None),
        ({"acme_click": "c1"}, "acme_c3", "c1"),
        ({"other": "c1"}, "acme_c3", "c3"),
        ({}, "", None),
    ],
)
def test_metadata_comes_before_the_reference(
    metadata: dict[str, str], reference: str, expected: str | None
) -> None:
    clicks = paid_by(metadata=metadata, reference=reference).clicks
    assert clicks == ({"acme": {"click_id": expected}} if expected else {})


def test_a_vendor_without_ids_makes_a_click_of_what_is_seen() -> None:
    assert paid_by(email=JANE).clicks == {"hasher": {"seen": "#20"}}


# ── which click is credited ──────────────────────────────────────────────────────────────────────

KEYS = ("email:h", "external_id:u1", "stripe:cus_1")


def conversion(**facts: object) -> Conversion:
    made = Conversion(
        id="stripe:in_1",
        kind=ConversionKind.SALE,
        provider="stripe",
        order="in_1",
        customer="",
        paid=euro(1000),
        taken_back=euro(0),
        value=euro(1000),
        status=Status.APPROVED,
        occurred_at=START,
        keys=KEYS,
    )
    return replace(made, **facts)  # type: ignore[arg-type]


def click(value: object, days: float = -1, *keys: str, exact: bool = True) -> StoredClick:
    return StoredClick(
        vendor="hasher" if isinstance(value, dict) else "acme",
        value=value,
        captured_at=START + timedelta(days=days),
        keys=frozenset(keys or ("stripe:cus_1",)),
        exact=exact,
    )


def credited(
    *stored: StoredClick, rules: Rules = RULES, carried: str = "", **facts: object
) -> str | None:
    clicks = {"acme": {"click_id": carried}} if carried else {}
    made = conversion(clicks=clicks, **facts)
    results = [
        resolve(made, each, [], VENDORS, rules).clicks.get("acme")
        for each in (stored, stored[::-1])
    ]
    assert results[0] == results[1], "the order in which clicks are stored must not matter"
    return results[0]["click_id"] if results[0] else None


OF_ALL_KEYS = [
    click("by customer", -50, "stripe:cus_1", "email:h"),
    click("by external id", -40, "external_id:u1", "email:h"),
    click("by email", -30, "email:h"),
    click("by alias", -20, "external_id:another"),
]


@pytest.mark.parametrize("strongest", range(4))
def test_the_strongest_key_wins_whatever_the_times(strongest: int) -> None:
    expected = OF_ALL_KEYS[strongest].value
    assert credited(*OF_ALL_KEYS[strongest:]) == expected


def test_a_click_that_the_payment_carries_wins_over_all_stored_ones() -> None:
    assert credited(*OF_ALL_KEYS, carried="own") == "own"
    assert credited(carried="own") == "own"


def test_no_click_is_no_click() -> None:
    assert credited() is None
    assert resolve(conversion(), [], [], VENDORS, RULES).clicks == {}


LAST, FIRST = RULES, replace(RULES, first=True)


@pytest.mark.parametrize(
    ("rules", "stored", "expected"),
    [
        (LAST, [click("old", -9), click("new", -2)], "new"),
        (FIRST, [click("old", -9), click("new", -2)], "old"),
        (LAST, [click("in", -90), click("too old", -90.01)], "in"),
        (FIRST, [click("in", -90), click("too old", -90.01)], "in"),
        (LAST, [click("too old", -91)], None),
        (replace(LAST, days=7), [click("too old", -8)], None),
        (replace(LAST, days=120), [click("in", -91)], "in"),
        (LAST, [click("at once", 0)], "at once"),
        (LAST, [click("skewed", CLOCK_SKEW / timedelta(days=1))], "skewed"),
        (LAST, [click("after", 0.1)], None),
        (LAST, [click("heard of late", 0.1, exact=False)], "heard of late"),
        (LAST, [click("heard of late", 89, exact=False)], "heard of late"),
        (LAST, [click("heard of too late", 91, exact=False)], None),
        (LAST, [click("before", -30), click("late", 1, exact=False)], "before"),
        (FIRST, [click("before", -30), click("late", 1, exact=False)], "before"),
        (LAST, [click("later", 9, exact=False), click("late", 1, exact=False)], "late"),
        (FIRST, [click("later", 9, exact=False), click("late", 1, exact=False)], "late"),
        (LAST, [click("b"), click("a")], "a"),
    ],
)
def test_times_choose_among_clicks_of_one_key(
    rules: Rules, stored: list[StoredClick], expected: str | None
) -> None:
    assert credited(*stored, rules=rules) == expected


def test_a_stored_value_that_is_no_click_is_passed_over() -> None:
    assert credited(click("", -1), click(["x"], -2), click("good", -3)) == "good"
    assert credited(click("x" * 256)) is None


def test_clicks_of_other_vendors_are_none_of_its_business() -> None:
    assert credited(replace(click("theirs"), vendor="gone")) is None


# ── a vendor that merges clicks ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("carried", "stored", "expected"),
    [
        ({"seen": "own"}, [], {"seen": "own"}),
        ({"seen": "own"}, [click({"seen": "x", "ip": "a"})], {"seen": "own", "ip": "a"}),
        ({}, [click({"ip": "a"})], {"ip": "a"}),
        # The payment's own words were stored with it, and are nearest in time.
        (
            {"seen": "own"},
            [click({"seen": "own"}, 0), click({"ip": "a"}, -5)],
            {"seen": "own", "ip": "a"},
        ),
        (
            {},
            [click({"ip": "new"}, -1), click({"ip": "old", "url": "u"}, -5)],
            {"ip": "new", "url": "u"},
        ),
        ({}, [click({}), click({"ip": "a"}, -5)], {"ip": "a"}),
        ({}, [click({"ip": "too old"}, -91)], None),
        ({}, [click({})], None),
    ],
)
def test_what_is_carried_is_completed_by_what_is_stored(
    carried: Click, stored: list[StoredClick], expected: Click | None
) -> None:
    clicks = {"hasher": carried} if carried else {}
    resolved = resolve(conversion(clicks=clicks), stored, [], VENDORS, RULES)
    assert resolved.clicks.get("hasher") == expected


# ── what the customer is called ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("keys", "aliases", "expected"),
    [
        (KEYS, [], "u1"),
        (("stripe:cus_1",), ["external_id:late"], "late"),
        (("stripe:cus_1", "external_id:u1"), ["external_id:a"], "u1"),
        (("stripe:cus_1",), ["external_id:b", "external_id:a"], "a"),
        (("stripe:cus_1",), ["paddle:ctm_1"], "cus_1"),
        (("email:h",), ["stripe:cus_1"], "cus_1"),
        (("email:h",), ["paddle:ctm_1"], "ctm_1"),
        (("anonymous:b",), ["email:h"], "email:h"),
        (("external_id:a:b",), [], "a:b"),
        ((), [], "in_1"),
    ],
)
def test_the_customer_is_called_as_the_merchant_does(
    keys: tuple[str, ...], aliases: list[str], expected: str
) -> None:
    assert resolve(conversion(keys=keys), [], aliases, VENDORS, RULES).customer == expected
    assert resolve(conversion(keys=keys), [], aliases[::-1], VENDORS, RULES).customer == expected


def test_a_renewal_is_credited_as_the_order_that_its_subscription_began_with() -> None:
    began_at = START - timedelta(days=400)
    first, newer = click("first", -401), click("newer", -1)

    def credit(*stored: StoredClick, began: bool = True) -> Click | None:
        at = began_at if began else None
        return resolve(conversion(), stored, [], VENDORS, RULES, began_at=at).clicks.get("acme")

    assert credit(first, newer) == {"click_id": "first"}
    assert credit(newer) == {"click_id": "newer"}
    assert credit(first, began=False) is None


def test_a_click_of_unknown_time_may_be_later_than_a_sale_heard_of_late() -> None:
    heard_at = START + timedelta(days=200)
    before, later = click("before", -1), click("later", 1)
    known, unknown = click("known", 199, exact=False), click("unknown", 201, exact=False)

    def credit(*stored: StoredClick) -> Click | None:
        made = resolve(conversion(), stored, [], VENDORS, RULES, heard_at=heard_at)
        return made.clicks.get("acme")

    assert credit(known, unknown) == {"click_id": "known"}
    assert credit(before, known) == {"click_id": "before"}
    assert credit(unknown) is None
    assert credit(later) is None, "it did not lead to what was bought before"


LANDED = {"acme": {"click_id": "landed"}}


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([], "landed"),
        ([click("stored", -30)], "stored"),
        ([replace(click("landed before", -1), landed=True)], "landed before"),
        ([replace(click("landed before", -1), landed=True), click("stored", -30)], "stored"),
        ([click("too old", -91)], "landed"),
    ],
)
def test_where_a_buyer_landed_counts_where_nothing_else_is_known(
    stored: list[StoredClick], expected: str
) -> None:
    assert credited(*stored, landed=LANDED) == expected
    assert credited(*stored, landed=LANDED, carried="carried") == "carried"
