"""Texts that PostgreSQL does not take, NUL above all: each webhook is kept whole, or refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import postgres
import psycopg
import pytest
from cases import unsigned
from intakes import changed
from kit import CUSTOMER, Bench, Make
from stores import NOW, an_event, on_postgres, opened
from test_paddle_classic_forms import ALERT, classic

from bridge.logs import told
from bridge.model import WebhookRequest
from bridge.outbox import utc_now
from bridge.store import Store
from bridge.web import create_app

__all__ = ["on_postgres"]
LONG = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(250))
ODD = "a\0b\ud800"
ESCAPED = "a%00b%F0%9F"
CLASSIC, STRIPE = "paddle_classic", "stripe"


def posted(made: Bench, provider: str, request: WebhookRequest) -> tuple[int, str]:
    """Send a webhook as its provider does; return the answer."""
    client = create_app(made.config, made.store).test_client()
    path = f"/webhooks/{provider.replace('_', '-')}"
    answer = client.post(path, data=request.body, headers=dict(request.headers))
    return answer.status_code, answer.get_data(as_text=True)


def test_a_form_keeps_what_is_written_with_escapes(make: Make) -> None:
    made = make("tapfiliate")
    form = f"{urlencode(ALERT)}&passthrough={ESCAPED}&customer_name={ESCAPED}&checkout_id={ESCAPED}"
    signed = classic().sign(unsigned(form), made.clock())
    assert posted(made, CLASSIC, signed)[0] == 200
    made.worker.drain()
    (row,) = made.store.events.newest()
    assert row.event.body == signed.body.decode()
    assert made.store.events.count() == {"processed": 1}
    assert made.store.orders.count() == {"approved": 1}


def test_a_form_with_a_bare_nul_is_none_and_not_acknowledged(make: Make) -> None:
    made = make("tapfiliate")
    status, said = posted(made, CLASSIC, unsigned(urlencode(ALERT) + "&passthrough=a\0b"))
    assert (status, "NUL" in said) == (400, True)
    assert made.store.events.count() == {}


@pytest.mark.parametrize("field", ["customer", "number", "customer_email", "metadata", "id"])
def test_what_json_can_write_is_kept_as_it_came(make: Make, field: str) -> None:
    made = make("tapfiliate")
    made.click(CUSTOMER)
    odd = {"user_id": ODD, ODD: "value"} if field == "metadata" else ODD
    event = json.loads(changed("invoice.paid"))
    event["data"]["object"][field] = odd
    signed = made.config.providers[STRIPE].sign(unsigned(json.dumps(event)), utc_now())
    assert posted(made, STRIPE, signed)[0] == 200
    made.worker.drain()
    (row,) = made.store.events.newest()
    assert row.event.body == signed.body.decode()
    assert made.store.events.count() == {"processed": 1}
    made.clock.advance(days=200)
    made.worker.tidy()


@pytest.mark.parametrize(
    "odd", [{"metadata": {"user_id": LONG, "bridge_id": LONG}}, {"customer": LONG}]
)
def test_a_sale_with_an_id_that_no_index_takes_is_a_sale(make: Make, odd: dict[str, Any]) -> None:
    made = make("tapfiliate")
    event = json.loads(changed("invoice.paid", **odd))
    signed = made.config.providers[STRIPE].sign(unsigned(json.dumps(event)), utc_now())
    assert posted(made, STRIPE, signed)[0] == 200
    made.worker.drain()
    assert made.store.events.count() == {"processed": 1}
    assert made.store.orders.count() == {"approved": 1}


# ── in the store ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def store() -> Iterator[Store]:
    with opened(postgres.fresh()) as made:
        yield made


def test_what_no_text_may_hold_is_replaced(store: Store) -> None:
    assert store.events.add(an_event(body='{"a": "\0 \ud800 ü😀"}'), NOW)
    (row,) = store.events.find("evt_1")
    assert row.event.body == '{"a": "\ufffd ? ü😀"}'


def test_an_id_that_no_index_takes_is_no_fault_of_the_database(store: Store) -> None:
    with pytest.raises(psycopg.errors.ProgramLimitExceeded) as caught:
        store.events.add(an_event(LONG), NOW)
    assert LONG[:50] not in told(caught.value)
    assert store.events.count() == {}
