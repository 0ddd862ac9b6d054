"""From an event on disk to conversions and due deliveries: Stripe's fixtures, on a real store."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from intakes import NAMES, Desk, body_of, changed, desk, desk_of, thing_of
from stores import NOW, together

from bridge.errors import StoreError
from bridge.inbox import receive
from bridge.model import Cause, Status
from bridge.money import Money
from bridge.store.events import key_of
from bridge.store.rows import AskState, EventState

# One order and what became of it, and a session that was paid later.
DEFAULT = [name for name in NAMES if "@" not in name]
OTHER = thing_of("checkout.session.async_payment_succeeded")["id"]
INVOICE = thing_of("invoice.paid")["id"]
CUSTOMER = f"stripe:{thing_of('invoice.paid')['customer']}"
RENEWAL = thing_of("invoice.paid@renewal")["id"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


# ── one event ────────────────────────────────────────────────────────────────────────────────────


def test_an_event_becomes_a_conversion_and_due_deliveries(bench: Desk) -> None:
    assert bench.take("invoice.paid") == [EventState.PROCESSED]
    conversion = bench.conversion(INVOICE)
    assert (conversion.paid, conversion.value) == (Money(5831, "EUR"), Money(4900, "EUR"))
    assert conversion.customer == "user_1001"
    rows = bench.store.deliveries.of_conversion(conversion.id)
    assert [(row.vendor, row.state, row.next_attempt_at) for row in rows] == [
        ("acme", "due", NOW),
        ("zeta", "due", NOW),
    ]


def test_a_duplicate_changes_nothing(bench: Desk) -> None:
    bench.take("invoice.paid")
    bench.settle()
    before = bench.written()
    event = bench.read(body_of("invoice.paid"))
    assert not receive(bench.store, event, NOW)
    assert bench.intake.process(key_of(event), NOW) is EventState.PROCESSED
    assert (bench.written(), bench.states()) == (before, {INVOICE: "settled"})


def test_only_what_is_to_be_processed_wakes_the_workers(bench: Desk) -> None:
    assert not bench.store.wait(0)
    assert receive(bench.store, bench.read(body_of("product.updated")), NOW)
    assert not bench.store.wait(0)
    assert receive(bench.store, bench.read(body_of("invoice.paid")), NOW)
    assert bench.store.wait(0)
    assert not receive(bench.store, bench.read(body_of("invoice.paid")), NOW)
    assert not bench.store.wait(0)


def test_what_means_nothing_is_kept_and_left_alone(bench: Desk) -> None:
    assert bench.take("product.updated") == [EventState.IGNORED]
    assert bench.row("product.updated").reason == "product.updated says nothing about money"
    assert bench.intake.process("stripe:evt_unheard_of", NOW) is EventState.IGNORED
    assert bench.ids() == set()


def test_an_event_of_a_provider_that_is_off_fails(bench: Desk) -> None:
    event = bench.read(body_of("invoice.paid"))
    receive(bench.store, event, NOW)
    off = desk_of(bench.store, type(bench.config)(settings=bench.config.settings))
    assert off.intake.process(key_of(event), NOW) is EventState.FAILED
    assert bench.row("invoice.paid").reason == "stripe is not configured any more"
    assert bench.replay("invoice.paid") == [EventState.PROCESSED]


REFUND = partial(changed, "refund.created")
POISON = {
    "another currency": (REFUND(id="evt_p", currency="usd"), "several currencies"),
    "no currency": (REFUND(id="evt_p", currency=None), "currency"),
    "an amount of text": (REFUND(id="evt_p", amount="20.00"), "no whole amount"),
    "no object": (json.dumps(json.loads(REFUND(id="evt_p")) | {"data": []}), "no data.object"),
    "half a character that is quoted": (REFUND(id="evt_p", status="\ud800"), "unknown status"),
    "an endless number": (REFUND(id="evt_p", amount=10**40), ""),
    "a time of the far future": (REFUND(id="evt_p", created=10**18), "is not a time"),
    "what nobody thought of": (
        changed("checkout.session.completed@payment", "evt_p", total_details={"amount_tax": "2"}),
        "",
    ),
    "a refund without an id": (
        changed("charge.refunded@2020", "evt_p", refunds={"data": [{"id": None}]}),
        "",
    ),
}


@pytest.mark.parametrize(("body", "reason"), POISON.values(), ids=POISON)
def test_poison_is_kept_with_its_reason_and_holds_up_nobody(
    bench: Desk, body: str, reason: str
) -> None:
    bench.take("invoice.paid", "invoice_payment.paid")
    before = bench.written()
    states = bench.take(bodies=[body]) + bench.take("invoice.paid@renewal")
    assert states == [EventState.FAILED, EventState.PROCESSED]
    (row,) = bench.store.events.newest(EventState.FAILED)
    assert reason in row.reason
    assert bench.store.orders.of_event(row.key) == []
    assert bench.written().items() >= before.items()
    assert bench.intake.process(row.key, NOW) is EventState.FAILED


def test_what_one_worker_could_not_process_another_may_have(bench: Desk) -> None:
    poison = bench.read(REFUND(id="evt_p", amount="20.00"))
    receive(bench.store, poison, NOW)
    states = together(8, lambda _: bench.intake.process(key_of(poison), NOW))
    assert set(states) == {EventState.FAILED}
    bench.store.events.mark(key_of(poison), EventState.PROCESSED)
    assert bench.intake.process(key_of(poison), NOW) is EventState.PROCESSED


def test_a_thin_event_without_a_key_says_which_setting_it_needs(bench: Desk) -> None:
    assert bench.take("v1.invoice.paid@snapshot") == [EventState.WAITING]
    row = bench.row("v1.invoice.paid@snapshot")
    assert row.reason == "it leaves out its object, which STRIPE_API_KEY would fetch"
    assert bench.store.asks.next_at() is None


def test_a_thin_event_is_fetched_where_that_is_possible(tmp_path: Path) -> None:
    with desk(tmp_path, askable=["stripe"]) as bench:
        assert bench.take("v1.invoice.paid@snapshot") == [EventState.WAITING]
        (ask,) = bench.store.asks.due(NOW, 10)
        assert ask.subject == bench.row("v1.invoice.paid@snapshot").key
        assert ask.state is AskState.DUE


# ── one order ────────────────────────────────────────────────────────────────────────────────────


def test_a_refund_before_its_sale_waits_for_the_link(bench: Desk) -> None:
    refund = thing_of("refund.created@before-sale")["id"]
    invoice = thing_of("invoice.paid@before-sale")["id"]
    bench.take("refund.created@before-sale")
    assert bench.conversion(refund).status is Status.PARKED
    bench.take("invoice.paid@before-sale")
    assert bench.conversion(invoice).taken_back == Money(0, "EUR")
    bench.settle()
    bench.take("invoice_payment.paid@before-sale")
    assert bench.conversion(invoice).taken_back == Money(2000, "EUR")
    assert bench.ids() == {f"stripe:{invoice}"}
    assert bench.states() == {invoice: "due"}


def test_a_parked_refund_is_asked_about(tmp_path: Path) -> None:
    with desk(tmp_path, askable=["stripe"]) as bench:
        bench.take("refund.created@before-sale")
        (ask,) = bench.store.asks.due(NOW, 10)
        assert ask.subject == thing_of("refund.created@before-sale")["payment_intent"]


def test_all_but_the_first_payment_of_a_subscription_are_renewals(bench: Desk) -> None:
    bench.take("invoice.paid", "invoice.paid@renewal")
    assert not bench.conversion(INVOICE).renewal
    assert bench.conversion(RENEWAL).renewal


def test_an_earlier_payment_makes_a_renewal_of_a_later_one(bench: Desk) -> None:
    bench.take("invoice.paid@renewal")
    assert not bench.conversion(RENEWAL).renewal
    bench.settle()
    bench.take("invoice.paid")
    assert bench.conversion(RENEWAL).renewal
    assert bench.states() == {INVOICE: "due", RENEWAL: "due"}


def test_deliveries_are_due_only_where_something_changed(bench: Desk) -> None:
    bench.take("invoice.paid", "invoice_payment.paid", "refund.created", "invoice.paid@renewal")
    bench.settle()
    bench.take("invoice.payment_succeeded", "refund.updated", "charge.refunded")
    bench.take("invoice.finalized", "customer.created", "charge.dispute.created")
    assert set(bench.states().values()) == {"settled"}
    bench.take("charge.dispute.funds_withdrawn")
    assert bench.states() == {INVOICE: "due", RENEWAL: "settled"}
    assert bench.conversion(INVOICE).cause is Cause.DISPUTE


# ── clicks ───────────────────────────────────────────────────────────────────────────────────────


def test_a_click_that_comes_late_is_credited(bench: Desk) -> None:
    bench.take("invoice.paid", "invoice.paid@renewal", "invoice.paid@one-off")
    bench.settle()
    bench.click(CUSTOMER, at=bench.conversion(INVOICE).occurred_at - timedelta(days=1))
    for order in (INVOICE, RENEWAL):
        assert bench.conversion(order).clicks == {"acme": {"click_id": "click_1"}}
        assert bench.states()[order] == "due"
    assert sorted(bench.states().values()) == ["due", "due", "settled"]


def test_a_click_that_changes_nothing_makes_nothing_due(bench: Desk) -> None:
    bench.take("invoice.paid")
    sold_at = bench.conversion(INVOICE).occurred_at
    bench.click(CUSTOMER, at=sold_at)
    bench.settle()
    bench.click(CUSTOMER, at=sold_at)
    bench.click(CUSTOMER, at=sold_at - timedelta(days=200), acme="too old")
    bench.click(CUSTOMER, at=sold_at - timedelta(hours=1), acme="not the last")
    bench.click("stripe:cus_somebody_else", at=sold_at)
    assert bench.states() == {INVOICE: "settled"}


def test_an_alias_that_comes_late_brings_its_clicks(bench: Desk) -> None:
    bench.take("invoice.paid@one-off")
    invoice = thing_of("invoice.paid@one-off")
    sold_at = bench.conversion(invoice["id"]).occurred_at
    bench.click("external_id:visitor", at=sold_at)
    bench.settle()
    bench.click("external_id:visitor", f"stripe:{invoice['customer']}", acme=None)
    assert bench.conversion(invoice["id"]).clicks == {"acme": {"click_id": "click_1"}}
    assert bench.states() == {invoice["id"]: "due"}


def test_a_click_counts_by_whichever_payment_of_the_order_knows_the_customer(bench: Desk) -> None:
    nobody: dict[str, Any] = {"customer": None, "customer_email": None, "metadata": {}}
    payer = {"email": "payer@example.com"}
    bench.take(
        "invoice_payment.paid",
        bodies=[
            changed("invoice.paid", "evt_1", parent=None, **nobody | {"customer": "cus_1"}),
            changed("charge.succeeded", "evt_2", billing_details=payer, **nobody),
        ],
    )
    assert bench.conversion(INVOICE).keys == ("stripe:cus_1", bench.email("payer@example.com"))
    bench.settle()
    bench.click(bench.email("payer@example.com"), at=bench.conversion(INVOICE).occurred_at)
    assert bench.conversion(INVOICE).clicks == {"acme": {"click_id": "click_1"}}
    assert bench.states() == {INVOICE: "due"}


def test_a_click_that_a_payment_carries_is_kept_for_the_customer(bench: Desk) -> None:
    carried = changed("invoice.paid", "evt_1", metadata={"acme_click_id": "carried"})
    bench.take(bodies=[carried])
    bench.take("invoice.paid@renewal")
    for order in (INVOICE, RENEWAL):
        assert bench.conversion(order).clicks == {"acme": {"click_id": "carried"}}


# ── any order, any number of times ───────────────────────────────────────────────────────────────


def played(folder: Path, names: list[str], seed: int, **stripe: Any) -> dict[str, str]:
    """Take everything in, in an order of chance, clicks in between; return what it comes to."""
    chance = random.Random(seed)  # noqa: S311
    steps = [*names, *names[::3], "click", "alias", "email"]
    chance.shuffle(steps)
    folder.mkdir()
    with desk(folder, **stripe) as bench:
        early = NOW - timedelta(days=30)
        others = {
            "click": partial(bench.click, "external_id:visitor", at=early),
            "alias": partial(bench.click, "external_id:visitor", CUSTOMER, acme=None),
            "email": partial(bench.click, bench.email("kim.muster@example.net"), at=early),
        }
        for step in steps:
            others.get(step, partial(bench.take, step))()
        assert EventState.FAILED not in bench.store.events.count()
        before = bench.written()
        bench.settle()
        bench.replay(*chance.sample(names, 20))
        assert bench.written() == before
        assert set(bench.states().values()) == {"settled"}
        return before


@pytest.mark.parametrize("count_payment_intents", [False, True])
def test_all_fixtures_come_to_the_same_in_any_order(
    tmp_path: Path, count_payment_intents: bool
) -> None:
    first, *others = [
        played(tmp_path / str(seed), NAMES, seed, count_payment_intents=count_payment_intents)
        for seed in range(6)
    ]
    assert len(first) > 30
    assert all(each == first for each in others)


@pytest.mark.parametrize("seed", range(12))
def test_the_order_of_the_fixtures_ends_the_same(bench: Desk, seed: int) -> None:
    bench.take(*random.Random(seed).sample(DEFAULT * 2, len(DEFAULT) * 2))  # noqa: S311
    conversion = bench.conversion(INVOICE)
    assert bench.ids() == {f"stripe:{INVOICE}", f"stripe:{OTHER}"}
    assert (str(conversion.paid), str(conversion.taken_back)) == ("58.31 EUR", "20.00 EUR")
    assert (conversion.status, conversion.cause) == (Status.APPROVED, Cause.REFUND)


def test_many_workers_come_to_the_same(tmp_path: Path) -> None:
    expected = played(tmp_path / "one", DEFAULT * 2, 0)
    with desk(tmp_path) as bench:
        events = [bench.read(body_of(name)) for name in DEFAULT]

        def work(worker: int) -> None:
            mixed = random.Random(worker).sample(events, len(events))  # noqa: S311
            for event in mixed:
                receive(bench.store, event, NOW)
                bench.intake.process(key_of(event), NOW)

        together(6, work)
        early = NOW - timedelta(days=30)
        bench.click("external_id:visitor", at=early)
        bench.click("external_id:visitor", CUSTOMER, acme=None)
        assert bench.written() == expected


def test_a_store_that_fails_is_no_fault_of_the_event(bench: Desk) -> None:
    event = bench.read(body_of("invoice.paid"))
    receive(bench.store, event, NOW)
    database: Any = bench.store
    database.execute("ALTER TABLE deliveries RENAME TO elsewhere")
    with pytest.raises(StoreError, match=r"no such table|not migrated"):
        bench.intake.process(key_of(event), NOW)
    assert bench.row("invoice.paid").state is EventState.RECEIVED
    database.execute("ALTER TABLE elsewhere RENAME TO deliveries")
    assert bench.intake.process(key_of(event), NOW) is EventState.PROCESSED
