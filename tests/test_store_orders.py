"""What any store keeps of orders, customers and questions to providers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import pytest
from stores import (
    FACTORIES,
    LATER,
    NOW,
    a_conversion,
    a_payment,
    an_attempt,
    an_event,
    opened,
    put_order,
    together,
)

from bridge.attribution import StoredClick
from bridge.model import Conversion, Item, Payment, Status
from bridge.money import Money
from bridge.store import Store
from bridge.store.rows import AskState


@pytest.fixture(params=FACTORIES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with opened(FACTORIES[request.param](tmp_path)) as store:
        yield store


# ── orders ───────────────────────────────────────────────────────────────────────────────────────


def add(store: Store, event: str, *payments: Payment) -> set[str]:
    store.events.add(an_event(event), NOW)
    return store.orders.add(f"stripe:{event}", payments)


def test_payments_are_kept_as_they_are(store: Store) -> None:
    payment = a_payment(
        "in_1",
        "pi_1",
        amount=Money(5831, "EUR"),
        net=Money(4900, "EUR"),
        contains=frozenset({"re_2", "re_1"}),
        items=(Item("A ü", Money(5831, "EUR"), 2),),
        keys=("stripe:cus_1", "email:1"),
        clicks={"acme": {"click_id": "abc"}},
        started_at=NOW - timedelta(microseconds=1),
    )
    assert add(store, "evt_1", payment) == {"stripe:in_1"}
    assert store.orders.payments("stripe:in_1") == [payment]
    assert store.orders.of_event("stripe:evt_1") == [payment]
    assert store.orders.refs("stripe:in_1") == ["stripe:in_1", "stripe:pi_1"]


LINKS = [("in_1", "pi_1"), ("pi_1", "ch_1"), ("ch_1", "re_1"), ("in_2", "ch_2"), ("ch_2", "re_1")]


@pytest.mark.parametrize("order", list(permutations(range(len(LINKS))))[::7])
def test_orders_join_in_any_order(store: Store, order: tuple[int, ...]) -> None:
    for number in order:
        add(store, f"evt_{number}", a_payment(*LINKS[number]))
    names = {each for link in LINKS for each in link}
    (joined,) = {store.orders.order_of(f"stripe:{each}") for each in names}
    assert store.orders.refs(joined) == sorted(f"stripe:{each}" for each in names)
    payments = [a_payment(*link) for link in LINKS]
    assert sorted(store.orders.payments(joined), key=payments.index) == payments


def test_orders_join_from_many_threads(store: Store) -> None:
    def link(thread: int) -> None:
        for number in range(thread, 96, 8):
            with store.atomic():
                add(store, f"evt_{number}", a_payment(f"ch_{number}", f"ch_{(number + 1) % 97}"))

    together(8, link)
    assert len({store.orders.order_of(f"stripe:ch_{number}") for number in range(97)}) == 1


def test_an_event_tells_of_several_orders(store: Store) -> None:
    payments = [a_payment("in_1", "pi_1"), a_payment("in_2"), a_payment(), a_payment("pi_1")]
    assert add(store, "evt_1", *payments) == {"stripe:in_1", "stripe:in_2"}
    assert store.orders.payments("stripe:in_1") == [payments[0], payments[3]]
    assert store.orders.of_event("stripe:evt_1") == payments
    assert store.orders.order_of("stripe:cus_1") == ""


def test_orders_are_one_providers_own(store: Store) -> None:
    add(store, "evt_1", a_payment("1"))
    add(store, "evt_2", a_payment("1", "2", provider="paddle"))
    assert store.orders.refs(store.orders.order_of("stripe:1")) == ["stripe:1"]


def test_an_event_that_is_read_anew_says_what_it_says_now(store: Store) -> None:
    add(store, "evt_1", a_payment("in_1"), a_payment("in_1", reason="first"))
    add(store, "evt_1", a_payment("in_1", reason="second"))
    assert store.orders.payments("stripe:in_1") == [a_payment("in_1", reason="second")]


# ── conversions ──────────────────────────────────────────────────────────────────────────────────


def test_a_conversion_is_new_only_when_something_about_it_is(store: Store) -> None:
    conversion = put_order(store)
    assert not store.orders.put(conversion, LATER)
    assert store.orders.put(a_conversion(status=Status.DISAPPROVED), LATER)
    assert store.orders.conversion(conversion.id) == a_conversion(status=Status.DISAPPROVED)
    assert store.orders.conversion("stripe:in_2") is None
    assert store.orders.count() == {"disapproved": 1}


def test_conversions_go_with_their_order(store: Store) -> None:
    one, two = put_order(store, "in_1"), put_order(store, "in_2")
    assert store.orders.conversions_of("stripe:in_1") == [one]
    add(store, "evt_3", a_payment("in_1", "in_2"))
    assert store.orders.conversions_of(store.orders.order_of("stripe:in_2")) == [one, two]


def test_conversions_are_found_by_every_key_they_have(store: Store) -> None:
    put_order(store, "in_1", keys=("stripe:cus_1", "email:1"))
    put_order(store, "in_2", keys=("email:1",))
    assert store.orders.of_keys(["stripe:cus_1"]) == {"stripe:in_1"}
    assert store.orders.of_keys(["email:1", "email:2"]) == {"stripe:in_1", "stripe:in_2"}
    store.orders.put(a_conversion("in_1", keys=("stripe:cus_1",)), NOW)
    assert store.orders.of_keys(["email:1"]) == {"stripe:in_2"}
    assert store.orders.of_keys([]) == set()


def test_conversions_are_found_by_subscription(store: Store) -> None:
    conversion = put_order(store, "in_1", subscription="sub_1")
    put_order(store, "in_2")
    assert store.orders.subscription("stripe", "sub_1") == [conversion]
    assert store.orders.subscription("paddle", "sub_1") == []


def test_orders_are_found_by_reference_or_customer(store: Store) -> None:
    put_order(store, "in_1", customer="user_1")
    put_order(store, "in_2", customer="user_1", occurred_at=NOW - timedelta(days=1))
    assert store.orders.find(["in_1", "stripe:in_1"], "in_1") == ["stripe:in_1"]
    assert store.orders.find(["user_1"], "user_1") == ["stripe:in_2", "stripe:in_1"]
    assert store.orders.find(["nobody"], "nobody") == []


def test_the_newest_conversions_come_first(store: Store) -> None:
    def put(order: str, hours: int, status: Status) -> Conversion:
        occurred_at = NOW - timedelta(hours=hours)
        return put_order(store, order, occurred_at=occurred_at, status=status)

    old, middle = put("in_1", 3, Status.APPROVED), put("in_2", 2, Status.PARKED)
    new = put("in_3", 1, Status.APPROVED)
    assert store.orders.newest() == [new, middle, old]
    assert store.orders.newest(Status.APPROVED, 1) == [new]
    assert store.orders.newest("parked") == [middle]


def test_a_removed_conversion_leaves_nothing(store: Store) -> None:
    put_order(store, "in_1", keys=("email:1",))
    other = put_order(store, "in_2", keys=("email:1",))
    store.deliveries.record(an_attempt("stripe:in_1@acme"))
    store.orders.remove("stripe:in_1")
    assert store.orders.newest() == [other]
    assert store.orders.of_keys(["email:1"]) == {"stripe:in_2"}
    assert [row.id for row in store.deliveries.newest()] == ["stripe:in_2@acme"]
    assert store.deliveries.attempts("stripe:in_1@acme") == []


# ── customers ────────────────────────────────────────────────────────────────────────────────────

KEYS = [("stripe:cus_1", "email:1"), ("email:2", "external_id:u"), ("email:1", "external_id:u")]


@pytest.mark.parametrize("order", list(permutations(KEYS)))
def test_customers_join_in_any_order(store: Store, order: tuple[tuple[str, str], ...]) -> None:
    everything = sorted({key for keys in KEYS for key in keys})
    for keys in order:
        assert store.customers.join(keys)
    for key in everything:
        assert store.customers.aliases([key]) == everything
        assert not store.customers.join([key, everything[0]])
    assert store.customers.count() == {"customers": 1, "clicks": 0}


def test_joining_customers_tells_whom_it_changes(store: Store) -> None:
    assert store.customers.join(["a", "b"]) == {"a", "b"}
    assert store.customers.join(["b", "a", "b"]) == set()
    assert store.customers.join(["c"]) == {"c"}
    assert store.customers.join(["c", "b"]) == {"a", "b", "c"}
    assert store.customers.join(["c", "a"]) == set()


def test_strangers_have_only_the_keys_they_come_with(store: Store) -> None:
    assert store.customers.aliases(["b", "a", "b"]) == ["a", "b"]
    assert store.customers.find(["a", "b"]) == []
    store.customers.join(["a", "c"])
    assert store.customers.find(["a", "b"]) == ["a", "c"]
    assert store.customers.aliases(["a", "b"]) == ["a", "b", "c"]


def click(store: Store, value: object = "c1", keys: tuple[str, ...] = ("a", "b")) -> bool:
    return store.customers.add_click("acme", value, keys, NOW, exact=True, source="api")


def test_a_click_is_kept_once(store: Store) -> None:
    assert click(store)
    assert not click(store)
    assert not click(store, keys=("b", "a"))
    assert click(store, keys=("a",))
    assert store.customers.add_click("acme", "c1", ["a"], LATER, exact=True, source="api")
    assert store.customers.count() == {"customers": 0, "clicks": 3}


def test_a_click_of_unknown_time_counts_from_when_it_was_first_heard_of(store: Store) -> None:
    for at in (NOW, LATER):
        store.customers.add_click("acme", "c1", ["a"], at, exact=False, source="api")
    (stored,) = store.customers.clicks(["a"])
    assert stored == StoredClick(
        vendor="acme", value="c1", captured_at=NOW, keys=frozenset({"a"}), exact=False
    )


def test_a_click_of_several_ids_has_no_order_in_it(store: Store) -> None:
    assert click(store, {"asset_id": "1", "source_id": "2"})
    assert not click(store, {"source_id": "2", "asset_id": "1"})
    (stored,) = store.customers.clicks(["a"])
    assert stored.value == {"asset_id": "1", "source_id": "2"}


def test_clicks_of_all_aliases_come_oldest_first(store: Store) -> None:
    for hours, key in ((1, "a"), (3, "b"), (2, "a"), (9, "other")):
        at = NOW - timedelta(hours=hours)
        store.customers.add_click("acme", f"c{hours}", [key], at, exact=True, source="api")
    assert [each.value for each in store.customers.clicks(["a", "b"])] == ["c3", "c2", "c1"]


def test_many_threads_store_one_click(store: Store) -> None:
    assert together(16, lambda _: click(store)).count(True) == 1


# ── questions to providers ───────────────────────────────────────────────────────────────────────


def test_a_question_is_asked_until_it_is_answered(store: Store) -> None:
    assert store.asks.next_at() is None
    store.asks.add("stripe", "", "pi_1", NOW)
    store.asks.add("stripe", "", "pi_1", LATER)
    (ask,) = store.asks.due(NOW, 10)
    assert (ask.subject, ask.asked, ask.first_at, store.asks.next_at()) == ("pi_1", 0, NOW, NOW)
    store.asks.record(ask, AskState.DUE, LATER, "not yet")
    assert store.asks.due(NOW, 10) == []
    assert store.asks.next_at() == LATER
    (ask,) = store.asks.due(LATER, 10)
    assert (ask.asked, ask.reason, ask.first_at) == (1, "not yet", NOW)
    store.asks.record(ask, AskState.ANSWERED, LATER, "1 found")
    store.asks.add("stripe", "", "pi_1", LATER)
    assert store.asks.due(LATER, 10) == []
    assert store.asks.next_at() is None
    assert [each.state for each in store.asks.about("pi_1")] == [AskState.ANSWERED]


def test_questions_are_of_one_provider_and_account(store: Store) -> None:
    for provider, account in (("stripe", ""), ("stripe", "acct_1"), ("paddle", "")):
        store.asks.add(provider, account, "pi_1", NOW)
    first, *others = store.asks.due(NOW, 10)
    store.asks.record(first, AskState.GIVEN_UP, NOW, "no key")
    assert store.asks.due(NOW, 10) == others
    assert len(store.asks.due(NOW, 1)) == 1
    assert len(store.asks.about("pi_1")) == 3
