"""Redaction as Shopify asks for it, down to the bytes on the disk and the logs."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cases import case_of
from http_stand_in import HttpStandIn, as_json, served
from kit import (
    CLICKS,
    CUSTOMER,
    REFUND,
    SALE,
    Bench,
    Make,
    sent_as,
    thing_of,
)
from redactions import EMAIL, LIFE, PERSON, SHOPIFY_CUSTOMER, USER, money, on_disk, redact
from stores import sqlite_alone
from test_logs import configured
from werkzeug.wrappers import Request, Response

from bridge import codec
from bridge.forgetting import REMOVED
from bridge.model import Erasure, Event, WebhookRequest
from bridge.store import open_store
from bridge.store.events import key_of
from bridge.store.rows import AskState, EventState
from bridge.vendors.tracify import tracify_hash


@pytest.fixture
def sold(make: Make) -> Bench:
    made = make()
    made.click(CUSTOMER)
    made.play(*LIFE)
    return made


# ── Shopify asks ─────────────────────────────────────────────────────────────────────────────────


def event_of(name: str, bench: Bench) -> Event:
    return bench.config.providers["shopify"].read(case_of(f"shopify/{name}").request)


def seen_by_shopify() -> set[str]:
    """Return what Shopify's webhooks say of the buyer, and what vendors make of it."""
    order = json.loads(case_of("shopify/orders/paid").body)
    ip, browser = order["browser_ip"], order["client_details"]["user_agent"]
    address, customer = order["billing_address"], order["customer"]
    names = {address[each] for each in ("first_name", "last_name", "address1", "city")}
    ids = {str(customer["id"]), str(customer["default_address"]["id"]), order["checkout_token"]}
    hashes = {tracify_hash(each) for each in (ip, browser, f"{ip}|{browser}", order["email"])}
    return {ip, browser, order["email"]} | names | ids | hashes


def test_shopify_asks_for_a_customer_to_be_removed(make: Make) -> None:
    made = make()
    person = PERSON | seen_by_shopify()
    made.click(f"shopify:{SHOPIFY_CUSTOMER}")
    made.play(
        *("shopify/customers/create", "shopify/orders/paid", "shopify/refunds/create"),
        *("shopify/customers/data_request", "shopify/orders/updated"),
    )
    before = money(made)
    assert seen_by_shopify() | {SHOPIFY_CUSTOMER} <= on_disk(made, person)
    made.play("shopify/customers/redact")
    row = made.store.events.get(key_of(event_of("customers/redact", made)))
    assert row is not None
    assert row.reason.startswith(f"{REMOVED} (orders: 1, events: ")
    assert (row.state, row.redacted) == (EventState.PROCESSED, True)
    assert on_disk(made, person) == set()
    provider, request = sent_as("shopify/orders/updated")
    late = WebhookRequest({**request.headers, "x-shopify-webhook-id": "late"}, request.body)
    made.play("shopify/refunds/create@second", requests=[(provider, late)])
    assert [each[0] for each in money(made)] == [each[0] for each in before]
    assert on_disk(made, person) == set()


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

alone = sqlite_alone("its file is rewritten, for which it must be still; PostgreSQL is vacuumed")


@alone
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


@alone
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


@dataclass
class Meanwhile(HttpStandIn):
    """Refuse a question in words that name somebody, who is removed before they are read."""

    who: str = ""
    asking: list[Bench] = field(default_factory=list)

    def reply(self, request: Request) -> Response:
        for each in self.asking:
            redact(each, Erasure(provider="stripe", customer=self.who))
        return as_json({"error": {"message": f"no such thing of {self.who}"}}, 400)


@pytest.mark.parametrize("removed", [True, False])
def test_what_is_answered_after_the_redaction_names_nobody(make: Make, *, removed: bool) -> None:
    who = thing_of("refund.created@before-sale")["customer"]
    with served(Meanwhile(who=who)) as stand_in:
        made = make("tapfiliate", STRIPE_API_KEY="sk_test_1", STRIPE_API_BASE=stand_in.url)
        stand_in.asking += [made] if removed else []
        made.play("refund.created@before-sale")
        assert stand_in.asked
    (ask,) = made.store.asks.troubled()
    assert (ask.reason == REMOVED) is removed
    assert (on_disk(made, {who}) == set()) is removed


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
    from bridge.store.sqlite_file import make  # noqa: PLC0415

    store = SqliteStore(str(tmp_path / "old.db"))
    make(store.path, 1.0)
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
    assert store.migrate()[0] == "m002_persons"
    assert store.persons.keys_of_events(["stripe:evt_1"]) == {"stripe:cus_1", "email:1"}
    assert store.query("SELECT body FROM events ORDER BY id") == [{"body": "{}"}, {"body": ""}]
    assert store.scrub()
    store.close()
