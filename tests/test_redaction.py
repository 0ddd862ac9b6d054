"""Redaction: a person goes everywhere, down to the bytes on the disk; the money stays."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cases import case_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit import (
    CLICKS,
    CUSTOMER,
    EVERYTHING,
    IDENTITY,
    REFUND,
    SALE,
    Bench,
    Make,
    benches,
    body_of,
    sent_as,
    state,
    thing_of,
)
from stripe_stories import stories
from test_logs import configured
from typing_in import ORDER, printed

from bridge import attribution, codec
from bridge.forgetting import REDACTED, REMOVED, UNREPEATABLE
from bridge.http import Sender
from bridge.intake import Intake
from bridge.model import Erasure, Event, NoAnswer, Response, WebhookRequest
from bridge.outbox import LEASE, Outbox
from bridge.redaction import Erased
from bridge.store import open_store
from bridge.store.events import key_of
from bridge.store.rows import AskState, DeliveryState, EventState
from bridge.vendors.tracify import tracify_hash

EMAIL = thing_of("invoice.paid")["customer_email"]
SHOPIFY_CUSTOMER = "7012345678901"
USER = "user_1001"
# Who it is, how vendors know them, and what was stored of them.
PERSON = {
    EMAIL, EMAIL.partition("@")[0], "Jana", "Muster", "Berlin", CUSTOMER, USER, SHOPIFY_CUSTOMER,
    tracify_hash(EMAIL), *CLICKS.values(), *IDENTITY.values(),
}  # fmt: skip
STRIPES = Erasure(provider="stripe", customer=CUSTOMER)
TAKES_BACK = {"tapfiliate", "trackdesk"}
LIFE = (
    *("customer.created", "charge.succeeded", "payment_intent.succeeded", *SALE),
    *("invoice.paid@renewal", "customer.deleted", "refund.created"),
)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a function that sets up a bridge with some of the vendors."""
    with benches(tmp_path / "bridge.db", monkeypatch) as set_up:
        yield set_up


@pytest.fixture
def sold(make: Make) -> Bench:
    made = make()
    made.click(CUSTOMER)
    made.play(*LIFE)
    return made


def redact(made: Bench, erasure: Erasure = STRIPES) -> Erased:
    intake = Intake(made.store, made.config)
    return intake.redact(intake.redaction.wanted(erasure), made.clock())


def on_disk(made: Bench, person: Iterable[str] = PERSON) -> set[str]:
    """Return what of a person is found in the bytes of the database's files."""
    path = Path(made.config.database_url.removeprefix("sqlite:///"))
    files = [each.read_bytes() for each in path.parent.glob(f"{path.name}*")]
    key = attribution.email_key(EMAIL, Intake(made.store, made.config).rules.email_key)
    names = {*person, key.partition(":")[2]}
    return {name for name in names if any(name.encode() in each for each in files)}


def money(made: Bench) -> list[tuple[object, ...]]:
    return [
        (each.id, each.paid, each.taken_back, each.value, each.status, each.occurred_at)
        for each in made.store.orders.newest()
    ]


# ── everywhere ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "erasure",
    [
        STRIPES,
        Erasure(provider="stripe", email=EMAIL.upper()),
        Erasure(provider="shopify", customer="999", email=EMAIL),
        Erasure(provider="stripe", references=frozenset({ORDER})),
    ],
    ids=["customer", "e-mail", "e-mail at another provider", "order"],
)
def test_nothing_of_a_person_is_left_and_all_of_the_money(sold: Bench, erasure: Erasure) -> None:
    sold.clock.advance(hours=1)
    before = money(sold)
    assert {EMAIL, "Jana", CUSTOMER, USER, *CLICKS.values()} <= on_disk(sold)
    clicks = sold.store.customers.count()["clicks"]
    erased = redact(sold, erasure)
    assert (len(erased.orders), erased.clicks) == (2, clicks)
    sold.worker.drain()
    assert on_disk(sold) == set()
    assert money(sold) == before
    assert all(each.redacted and each.customer == each.order for each in sold.store.orders.newest())
    assert {row.reason for row in sold.store.events.newest() if row.redacted} == {REDACTED}
    for told in (*_listings(), printed("show", ORDER), printed("show", ORDER, "--json")):
        assert [name for name in PERSON if name in told] == []
    again = redact(sold, erasure)
    assert (again.events, again.clicks, again.keys) == (0, 0, 0)


def _listings() -> list[str]:
    names = ("events", "conversions", "deliveries")
    return [printed(name, *more) for name in names for more in ((), ("--json",))]


def test_what_a_vendor_holds_is_known_as_before(sold: Bench) -> None:
    told = {row.id: row.told for row in sold.store.deliveries.newest()}
    redact(sold)
    assert {row.id: row.told for row in sold.store.deliveries.newest()} == told
    sold.worker.drain()
    assert {row.id: row.told for row in sold.store.deliveries.newest()} == told


@pytest.mark.parametrize("body", [None, EVERYTHING], ids=["a part", "all"])
def test_a_later_refund_still_reaches_the_vendors_that_can(make: Make, body: str | None) -> None:
    made = make()
    made.click(CUSTOMER)
    made.play(*SALE)
    redact(made)
    made.play(bodies=[body or body_of("refund.created")])
    for vendor in made.config.vendors:
        (sale,) = made.sales(vendor)
        if body is not None and vendor in TAKES_BACK:
            assert sale["status"] == "disapproved"
            assert state(made, vendor) == (DeliveryState.SETTLED, "")
        elif vendor == "tapfiliate":
            assert str(sale["amount"]) == "32.19"
        else:
            assert sale["status"] == "approved"
            assert state(made, vendor)[0] is DeliveryState.SKIPPED
            assert "stays credited" in state(made, vendor)[1]
    (last,) = made.attempts("tapfiliate")[1:]
    assert last.call.json is not None
    assert last.call.json["external_id"] == ORDER
    assert on_disk(made) == set()


def test_what_no_vendor_was_told_is_told_no_more(make: Make) -> None:
    made = make()
    made.receive(*SALE)
    made.click(CUSTOMER)
    redact(made)
    made.worker.drain()
    states = {state(made, vendor) for vendor in made.config.vendors}
    assert states == {(DeliveryState.SKIPPED, REMOVED)}
    assert made.vendors.ledger.calls() == []


# ── what comes later ─────────────────────────────────────────────────────────────────────────────


def test_what_comes_later_of_an_order_is_redacted_too(sold: Bench) -> None:
    redact(sold)
    before = [each.id for each in sold.store.orders.newest()]
    sold.play("charge.refunded", "refund.updated", bodies=[_again("invoice.paid")])
    assert [each.id for each in sold.store.orders.newest()] == before
    assert on_disk(sold) == set()
    assert sold.store.customers.count() == {"customers": 0, "clicks": 0}
    (late,) = sold.store.events.find("evt_again")
    assert (late.redacted, late.state, late.reason) == (True, EventState.PROCESSED, REDACTED)


def test_an_order_that_turns_out_to_be_part_of_a_redacted_one(make: Make) -> None:
    made = make("tapfiliate", "codeqr", STRIPE_COUNT_PAYMENT_INTENTS="1")
    made.click(CUSTOMER)
    made.play("invoice.paid")
    redact(made)
    made.click(CUSTOMER)
    made.receive("payment_intent.succeeded")
    assert CUSTOMER in on_disk(made)
    made.play("invoice_payment.paid")
    (conversion,) = [each for each in made.store.orders.newest() if each.order == ORDER]
    assert conversion.redacted
    assert all(each.redacted for each in made.store.orders.newest())


def test_an_event_without_its_body_destroys_nothing_when_it_is_replayed(sold: Bench) -> None:
    redact(sold)
    before = money(sold)
    with sold.store.atomic():
        for row in sold.store.events.newest():
            if row.state is not EventState.IGNORED:
                sold.store.events.mark(row.key, EventState.RECEIVED)
    sold.worker.drain()
    assert money(sold) == before
    states = {(row.state, row.reason) for row in sold.store.events.newest() if row.redacted}
    assert states == {(EventState.PROCESSED, REDACTED)}


def test_a_new_order_of_somebody_who_was_removed_is_a_new_customer(sold: Bench) -> None:
    redact(sold)
    sold.click(CUSTOMER)
    sold.play("invoice.paid@one-off")
    (new,) = [each for each in sold.store.orders.newest() if not each.redacted]
    assert new.id == f"stripe:{thing_of('invoice.paid@one-off')['id']}"


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_redaction_changes_no_amount_whenever_it_comes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    story = data.draw(stories())
    at = data.draw(st.integers(0, len(story.requests)))
    customer = story.customer.partition(":")[2]
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("redaction")
        with benches(folder / "bridge.db", patch) as set_up:
            made = set_up("tapfiliate")
            made.click(story.customer)
            made.receive(requests=story.requests[:at])
            redact(made, Erasure(provider="stripe", customer=customer))
            made.play(requests=story.requests[at:])
            values = {each.order: each.value.minor for each in made.store.orders.newest()}
    assert values == dict(story.due)


# ── what was not understood ──────────────────────────────────────────────────────────────────────


def _again(name: str, event: str = "evt_again", /, **fields: object) -> str:
    """Return the body of a fixture as another event, with fields of its object changed."""
    body = json.loads(body_of(name))
    body["id"] = event
    body["data"]["object"] |= fields
    return json.dumps(body)


def test_events_that_failed_lose_their_body_and_are_not_run_again(sold: Bench) -> None:
    sold.play(bodies=[_again("invoice.paid", currency="xyz", customer=None)])
    (failed,) = sold.store.events.newest("failed")
    assert EMAIL in failed.event.body
    redact(sold)
    sold.worker.drain()
    assert on_disk(sold) == set()
    (row,) = sold.store.events.find("evt_again")
    assert (row.state, row.reason, row.event.body) == (EventState.IGNORED, REDACTED, "")


def test_events_that_wait_are_asked_about_no_more(make: Make) -> None:
    made = make("tapfiliate", STRIPE_API_KEY="sk_test_1", STRIPE_API_BASE="http://127.0.0.1:9")
    made.click(CUSTOMER)
    thin = json.loads(body_of("v1.invoice.paid@snapshot"))
    thin["id"], thin["related_object"] = "evt_thin", {"id": CUSTOMER, "type": "customer"}
    made.receive("v1.invoice.paid@snapshot", bodies=[json.dumps(thin)])
    assert len(made.store.asks.due(made.clock(), 10)) == 2
    redact(made)
    (ask,) = made.store.asks.due(made.clock(), 10)
    assert "evt_thin" not in ask.subject
    assert CUSTOMER not in on_disk(made) or made.store.scrub()
    assert on_disk(made) == set()


def test_an_order_of_nobody_known_that_names_the_person_is_theirs(sold: Bench) -> None:
    refund = {"id": "re_2", "charge": "ch_2", "payment_intent": "pi_2", "customer": None}
    sold.play(bodies=[_again("refund.created", **refund, metadata={"who": EMAIL.title()})])
    redact(sold)
    sold.play(bodies=[_again("refund.updated", "evt_later", **refund, metadata={"who": EMAIL})])
    assert on_disk(sold, {*PERSON, EMAIL.title()}) == set()
    assert sold.store.orders.is_redacted(sold.store.orders.order_of("stripe:re_2"))


def test_somebody_else_who_names_the_person_stays_who_they_are(sold: Bench) -> None:
    other = {"customer": "cus_other", "customer_email": "other@example.com"}
    order = {"id": "in_other", "parent": None, "metadata": {"gift_for": EMAIL}}
    also = json.loads(_again("invoice.paid@one-off", **other, **order))
    also["data"]["object"]["lines"]["data"] = []
    sold.play(bodies=[json.dumps(also)])
    redact(sold)
    sold.worker.drain()
    assert on_disk(sold) == set()
    kept = sold.store.orders.conversion("stripe:in_other")
    assert kept is not None
    assert (kept.customer, kept.redacted) == ("cus_other", False)
    assert sold.store.events.find("evt_again")[0].redacted


# ── while a call is being sent ───────────────────────────────────────────────────────────────────


class Interrupted(Sender):
    """Send, but have something happen to the store before the answer comes."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(read_seconds=0.5)
        self._act = act

    def send(self, *args: Any, **kwargs: Any) -> Response | NoAnswer:
        answer = super().send(*args, **kwargs)
        self._act()
        return answer


def _sold_while_redacted(made: Bench, vendor: str) -> None:
    made.click(CUSTOMER)
    made.receive(*SALE)
    made.clock.advance(minutes=1)
    sender = Interrupted(lambda: redact(made))
    outbox = Outbox(made.store, made.config, sender, clock=made.clock)
    (row,) = outbox.lease(vendor, 5)
    outbox.deliver(row)
    sender.close()


@pytest.mark.parametrize("vendor", sorted({*CLICKS, "tracify"}))
def test_a_call_that_is_answered_after_the_redaction_counts(make: Make, vendor: str) -> None:
    made = make(vendor)
    _sold_while_redacted(made, vendor)
    made.worker.drain()
    assert state(made, vendor) == (DeliveryState.SETTLED, "")
    (attempt,) = made.attempts(vendor)
    assert (attempt.outcome, attempt.call.json, attempt.answer) == ("accepted", None, "")
    assert made.delivery(vendor).told.known_as == ORDER
    assert on_disk(made) == set()


@pytest.mark.parametrize("vendor", sorted({*CLICKS, "tracify"}))
def test_a_call_in_doubt_is_not_sent_again_after_the_redaction(make: Make, vendor: str) -> None:
    made = make(vendor)
    made.fault(vendor, {"commit_then_reset": True})
    _sold_while_redacted(made, vendor)
    made.clock.advance(hours=2)
    made.worker.drain()
    row = made.delivery(vendor)
    assert len(made.sales(vendor)) == 1
    if vendor == "tapfiliate":  # can be asked, by the order's id
        assert (row.state, row.told.doubt) == (DeliveryState.SETTLED, "")
    else:
        assert row.state is DeliveryState.UNKNOWN
        assert row.in_flight is not None
        assert made.store.deliveries.resolve(row, made.clock(), row.in_flight.tells)
        made.worker.drain()
        assert state(made, vendor) == (DeliveryState.SETTLED, "")
    assert on_disk(made) == set()


@pytest.mark.parametrize("vendor", ["codeqr", "trackdesk", "tracify"])
def test_a_call_that_waits_to_be_repeated_is_for_a_person_to_judge(make: Make, vendor: str) -> None:
    made = make(vendor)
    made.click(CUSTOMER)
    made.fault(vendor, {"reset": True})
    made.play(*SALE)
    assert made.delivery(vendor).in_flight is not None
    redact(made)
    made.worker.drain()
    assert state(made, vendor) == (DeliveryState.UNKNOWN, UNREPEATABLE)
    assert on_disk(made) == set()
    row = made.delivery(vendor)
    assert made.store.deliveries.resolve(row, made.clock(), None)
    made.worker.drain()
    assert state(made, vendor) == (DeliveryState.SKIPPED, REMOVED)


def test_what_was_leased_before_the_redaction_is_not_sent_as_it_was(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.fault("codeqr", {"reset": True})
    made.play(*SALE)
    made.clock.advance(hours=1)
    outbox = Outbox(made.store, made.config, Sender(), clock=made.clock)
    (row,) = outbox.lease("codeqr", 1)
    redact(made)
    outbox.deliver(row)
    made.clock.advance(seconds=LEASE.total_seconds() + 1)
    made.worker.drain()
    assert made.sales("codeqr") == []
    assert state(made, "codeqr")[0] is DeliveryState.UNKNOWN
    assert on_disk(made) == set()


def test_a_plan_made_before_the_redaction_is_given_up(make: Make) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.receive(*SALE)
    made.clock.advance(minutes=1)
    looks: list[int] = []

    def clock() -> datetime:
        looks.append(0)
        if len(looks) == 2:  # when the call is about to be written down
            redact(made)
        return made.clock()

    outbox = Outbox(made.store, made.config, Sender(), clock=clock)
    (row,) = outbox.lease("codeqr", 1)
    outbox.deliver(row)
    stored = made.delivery("codeqr")
    assert (stored.state, stored.in_flight, stored.lease) == (DeliveryState.DUE, None, "")
    assert made.vendors.ledger.calls() == []
    made.worker.drain()
    assert state(made, "codeqr") == (DeliveryState.SKIPPED, REMOVED)
    assert on_disk(made) == set()


def test_a_change_in_doubt_names_nobody_and_is_repeated(make: Make) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    made.play(*SALE)
    made.fault("tapfiliate", {"commit_then_reset": True})
    made.play(bodies=[EVERYTHING])
    assert made.delivery("tapfiliate").in_flight is not None
    redact(made)
    made.clock.advance(hours=1)
    made.worker.drain()
    assert state(made, "tapfiliate") == (DeliveryState.SETTLED, "")
    assert made.sales("tapfiliate")[0]["status"] == "disapproved"
    assert on_disk(made) == set()


# ── Shopify asks ─────────────────────────────────────────────────────────────────────────────────


def event_of(name: str, bench: Bench) -> Event:
    return bench.config.providers["shopify"].read(case_of(f"shopify/{name}").request)


def test_shopify_asks_for_a_customer_to_be_removed(make: Make) -> None:
    made = make()
    made.click(f"shopify:{SHOPIFY_CUSTOMER}")
    made.play(
        *("shopify/customers/create", "shopify/orders/paid", "shopify/refunds/create"),
        *("shopify/customers/data_request", "shopify/orders/updated"),
    )
    before = money(made)
    assert {EMAIL, "Jana", SHOPIFY_CUSTOMER} <= on_disk(made)
    made.play("shopify/customers/redact")
    row = made.store.events.get(key_of(event_of("customers/redact", made)))
    assert row is not None
    assert row.reason.startswith(f"{REMOVED} (orders: 1, events: ")
    assert (row.state, row.redacted) == (EventState.PROCESSED, True)
    assert on_disk(made) == set()
    provider, request = sent_as("shopify/orders/updated")
    late = WebhookRequest({**request.headers, "x-shopify-webhook-id": "late"}, request.body)
    made.play("shopify/refunds/create@second", requests=[(provider, late)])
    assert [each[0] for each in money(made)] == [each[0] for each in before]
    assert on_disk(made) == set()


def test_shopify_asks_for_a_shop_to_be_removed(make: Make) -> None:
    made = make()
    made.click(f"shopify:{SHOPIFY_CUSTOMER}")
    made.play("shopify/orders/paid", "shopify/customers/create", "shopify/orders/paid@pos", *SALE)
    paid = {each.id: each.paid for each in made.store.orders.newest()}
    made.play("shopify/shop/redact")
    made.store.scrub()
    kept = {each.id: each for each in made.store.orders.newest()}
    assert {id: each.paid for id, each in kept.items()} == paid
    assert {each.provider for each in kept.values() if each.redacted} == {"shopify"}
    (stripes,) = [each for each in kept.values() if each.provider == "stripe"]
    assert (stripes.customer, stripes.keys[0]) == (USER, f"stripe:{CUSTOMER}")
    assert {f"stripe:{CUSTOMER}"} <= set(made.store.customers.aliases([f"stripe:{CUSTOMER}"]))
    assert made.store.customers.find([f"shopify:{SHOPIFY_CUSTOMER}"]) == []
    assert SHOPIFY_CUSTOMER not in on_disk(made)
    assert redact(made).clicks == 1  # Tracify's, which came with the invoice


# ── on the disk ──────────────────────────────────────────────────────────────────────────────────


def test_who_still_reads_the_database_is_waited_for(sold: Bench) -> None:
    path = sold.config.database_url.removeprefix("sqlite:///")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM events").fetchone() == (len(LIFE),)
    redact(sold)
    assert not sold.store.scrub()
    assert on_disk(sold)
    reader.execute("COMMIT")
    other = open_store(sold.config.database_url)
    assert other.scrub()  # whoever comes first
    assert sold.store.scrub()
    assert on_disk(sold) == set()
    other.close()
    reader.close()


def test_who_is_writing_is_not_disturbed(sold: Bench) -> None:
    redact(sold)
    other = open_store(sold.config.database_url)
    with other.atomic():
        assert not sold.store.scrub()
    assert sold.store.query("PRAGMA busy_timeout") != [{"timeout": 250}]  # type: ignore[attr-defined]
    assert sold.store.scrub()
    other.close()


def test_nothing_is_scrubbed_where_nothing_was_redacted(sold: Bench) -> None:
    other = open_store(sold.config.database_url)
    with other.atomic():
        assert sold.store.scrub()
    other.close()


def test_what_a_provider_answered_names_nobody_any_more(make: Make) -> None:
    made = make("tapfiliate", STRIPE_API_KEY="sk_test_1", STRIPE_API_BASE="http://127.0.0.1:9")
    made.receive("refund.created@before-sale")
    who = thing_of("refund.created@before-sale")["customer"]
    (ask,) = made.store.asks.due(made.clock(), 1)
    made.store.asks.record(ask, AskState.DUE, made.clock(), f"no invoice of {who} (yet)")
    redact(made, Erasure(provider="stripe", customer=who))
    assert [each.reason for each in made.store.asks.about(ask.subject)] == ["no invoice of … (yet)"]
    assert made.store.scrub()
    assert on_disk(made, {who}) == set()


# ── the logs ─────────────────────────────────────────────────────────────────────────────────────


def test_nothing_personal_is_logged(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make()
    output = configured(monkeypatch)
    said = json.dumps({"errors": [f"{CLICKS['tapfiliate']} of {EMAIL} is unknown, {CUSTOMER}"]})
    for vendor in made.config.vendors:
        made.fault(vendor, {"status": 503, "body": said}, {"status": 422, "body": said})
    made.click(CUSTOMER)
    made.play(*LIFE)
    made.clock.advance(hours=3)
    made.worker.drain()
    assert EMAIL in " ".join(row.reason for row in made.store.deliveries.newest())
    redact(made)
    made.play(*REFUND, "shopify/orders/paid", "shopify/customers/redact")
    logged = output.getvalue()
    assert "tapfiliate" in logged
    assert "answered 422" in logged
    assert [name for name in PERSON if name in logged] == []
    assert on_disk(made) == set()


def test_every_value_of_an_old_database_is_found(tmp_path: Path) -> None:
    """The step from the first schema fills in which events speak of whom."""
    from bridge.store.migrations import migrations  # noqa: PLC0415
    from bridge.store.sqlite import SqliteStore  # noqa: PLC0415

    store = SqliteStore(str(tmp_path / "old.db"))
    store._make_file()
    with store.atomic():
        migrations.apply(store._db, stop_before="m002_persons")
    for id, ignored in (("evt_1", ""), ("evt_2", "means nothing")):
        columns = {
            "key": f"stripe:{id}",
            "id": id,
            "ignored": ignored,
            "body": "{}",
            "position": None,
        }
        store.execute(
            """INSERT INTO events VALUES (NULL, :key, 'stripe', :id, 't', '', 'processed', '',
               '2026-11-21T12:00:00Z', '2026-11-21T12:00:00Z', 0, 0, '', :ignored, '{}')""",
            columns,
        )
    body = codec.dumps({"keys": ["stripe:cus_1", "email:1"]})
    store.execute(
        "INSERT INTO payments VALUES ('stripe:evt_1', 0, 'in_1', 'stripe:in_1', :body)",
        {"body": body},
    )
    assert store.migrate() == ["m002_persons"]
    assert store.persons.keys_of_events(["stripe:evt_1"]) == {"stripe:cus_1", "email:1"}
    assert store.query("SELECT body FROM events ORDER BY id") == [{"body": "{}"}, {"body": ""}]
    assert store.scrub()
    store.close()
