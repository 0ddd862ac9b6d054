"""The whole why: every id that somebody may ask about leads to the same story."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from intakes import NAMES, Desk, body_of, changed, desk, thing_of
from stores import NOW, a_payment, an_event

from bridge import history
from bridge.errors import NotFoundError
from bridge.history import Story
from bridge.model import PaymentKind
from bridge.store.events import key_of

DEFAULT = [name for name in NAMES if "@" not in name and not name.startswith("checkout")]
INVOICE = thing_of("invoice.paid")
RENEWAL = thing_of("invoice.paid@renewal")
EMAIL = INVOICE["customer_email"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


def tell(bench: Desk, id: str) -> list[Story]:
    return history.tell(bench.store, bench.config, id)


def orders(stories: list[Story]) -> list[list[str]]:
    return [[each.order for each in story.conversions] for story in stories]


ONE_ORDER = {
    "an event": "evt_of_the_sale",
    "a conversion": f"stripe:{INVOICE['id']}",
    "a delivery": f"stripe:{INVOICE['id']}@acme",
    "an invoice": INVOICE["id"],
    "a refund": thing_of("refund.created")["id"],
    "a charge": thing_of("charge.succeeded")["id"],
    "a payment intent": thing_of("payment_intent.succeeded")["id"],
    "a dispute": thing_of("charge.dispute.created")["id"],
    "a credit note": thing_of("credit_note.created")["id"],
}


@pytest.mark.parametrize("id", ONE_ORDER.values(), ids=ONE_ORDER)
def test_every_id_of_an_order_tells_its_story(bench: Desk, id: str) -> None:
    bench.take(
        *DEFAULT, "invoice.paid@renewal", bodies=[changed("invoice.paid", "evt_of_the_sale")]
    )
    (story,) = tell(bench, id)
    (conversion,) = story.conversions
    assert conversion == bench.conversion(INVOICE["id"])
    told_by = {row.event.type for row in story.events}
    assert {"invoice.paid", "charge.refunded", "charge.dispute.closed"} <= told_by
    assert {"customer.created", "product.updated"}.isdisjoint(told_by)
    assert {each.kind for each in story.payments} >= {PaymentKind.SALE, PaymentKind.REFUND}
    assert [row.vendor for row in story.deliveries] == ["acme", "zeta"]
    assert set(story.customer) == {
        f"stripe:{INVOICE['customer']}", "external_id:user_1001", bench.email(EMAIL)
    }  # fmt: skip


@pytest.mark.parametrize(
    "id",
    [INVOICE["customer"], f"stripe:{INVOICE['customer']}", "user_1001", EMAIL, EMAIL.upper()],
)
def test_a_customer_is_told_by_all_their_orders_oldest_first(bench: Desk, id: str) -> None:
    bench.take("invoice.paid@renewal", "invoice.paid", "invoice.paid@one-off")
    bench.click(f"stripe:{INVOICE['customer']}")
    stories = tell(bench, id)
    assert orders(stories) == [[INVOICE["id"]], [RENEWAL["id"]]]
    assert [[each.value for each in story.clicks] for story in stories] == [["click_1"]] * 2


def test_the_history_holds_every_attempt(bench: Desk) -> None:
    bench.take("invoice.paid")
    bench.tell(INVOICE["id"])
    (story,) = tell(bench, INVOICE["id"])
    assert [(row.vendor, len(story.attempts[row.id])) for row in story.deliveries] == [
        ("acme", 1),
        ("zeta", 0),
    ]


def test_a_conversion_that_was_merged_is_found_where_it_went(tmp_path: Path) -> None:
    with desk(tmp_path, count_payment_intents=True) as bench:
        bench.take("payment_intent.succeeded", "invoice_payment.paid", "invoice.paid")
        intent = thing_of("payment_intent.succeeded")["id"]
        assert orders(tell(bench, f"stripe:{intent}")) == [[INVOICE["id"]]]


def test_an_event_without_money_is_told_alone(bench: Desk) -> None:
    bench.take("product.updated")
    (story,) = tell(bench, bench.row("product.updated").event.id)
    assert [row.reason for row in story.events] == ["product.updated says nothing about money"]
    assert (story.payments, story.conversions, story.customer) == ([], [], [])


def test_an_event_about_a_customer_tells_all_of_them(bench: Desk) -> None:
    bench.take("customer.created", "invoice.paid", "invoice.paid@renewal", "product.updated")
    bench.click("external_id:user_1001")
    told = tell(bench, bench.row("customer.created").event.id)
    assert orders(told) == [[INVOICE["id"]], [RENEWAL["id"]], []]
    assert [row.event.type for row in told[-1].events] == ["customer.created"]
    assert [each.customer for each in told[-1].payments] == [INVOICE["customer"]]
    assert all("external_id:user_1001" in story.customer for story in told)
    assert [[each.value for each in story.clicks] for story in told] == [["click_1"]] * 3
    assert tell(bench, INVOICE["customer"]) == told


def test_an_order_is_found_by_its_id_within_an_account(bench: Desk) -> None:
    order = "acme.myshopify.com/820982911946154508"
    event = an_event("evt_shop")
    bench.store.events.add(event, NOW)
    bench.store.orders.add(key_of(event), [a_payment(order, id="6512345678901")])
    for id in (order, f"stripe:{order}", "820982911946154508", "6512345678901"):
        (story,) = tell(bench, id)
        assert [row.event.id for row in story.events] == ["evt_shop"]
    for id in ("154508", "acme.myshopify.com", "/820982911946154508"):
        with pytest.raises(NotFoundError):
            tell(bench, id)


def test_a_failed_event_says_why(bench: Desk) -> None:
    bench.take(bodies=[changed("refund.created", "evt_bad", amount="a lot")])
    (story,) = tell(bench, "evt_bad")
    assert "no whole amount" in story.events[0].reason


def test_what_was_asked_is_part_of_the_story(tmp_path: Path) -> None:
    with desk(tmp_path, askable=["stripe"]) as bench:
        bench.take("refund.created@before-sale", "v1.invoice.paid@snapshot")
        (parked,) = tell(bench, thing_of("refund.created@before-sale")["id"])
        assert [each.subject for each in parked.asks] == [
            thing_of("refund.created@before-sale")["payment_intent"]
        ]
        thin = bench.read(body_of("v1.invoice.paid@snapshot"))
        (waiting,) = tell(bench, thin.id)
        assert [each.subject for each in waiting.asks] == [f"stripe:{thin.id}"]


def test_a_customer_who_bought_nothing_yet(bench: Desk) -> None:
    bench.click("external_id:visitor", bench.email("early@example.com"))
    for id in ("visitor", "external_id:visitor", "Early@Example.com"):
        (story,) = tell(bench, id)
        assert (len(story.customer), len(story.clicks), story.events) == (2, 1, [])


@pytest.mark.parametrize(
    "id",
    ["in_nothing", "", "@", "nobody@example.com", f"stripe:{INVOICE['id']}@nobody", "%", "ü\x00"],
)
def test_an_unknown_id_is_repeated(bench: Desk, id: str) -> None:
    bench.take("invoice.paid")
    with pytest.raises(NotFoundError) as caught:
        tell(bench, id)
    assert repr(id) in str(caught.value)
