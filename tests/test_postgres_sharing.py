"""Several workers share the events that wait, on PostgreSQL: each is processed by one of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from intakes import Desk, changed, desk, desk_of
from kit import Make, sent_as
from logged import logged
from redactions import PERSON, on_disk
from stores import NOW, database_at, on_postgres, opened, together
from test_redaction_disk import seen_by_shopify

from bridge.inbox import receive
from bridge.store.events import MOST_AT_ONCE
from bridge.store.rows import EventState

__all__ = ["on_postgres"]
ORDERS, WORKERS = 12, 3
POISON = changed("charge.refunded@2020", "evt_poison", refunds={"data": [{"id": None}]})


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    """A database with orders that wait to be processed, more than fit into one transaction."""
    with desk(tmp_path) as bench:
        for number in range(ORDERS):
            event = json.loads(changed("invoice.paid", customer=f"cus_{number % 5}"))
            event["data"]["object"]["id"] = f"in_{number}"
            for kind in ("invoice.paid", "invoice.payment_succeeded"):
                body = json.dumps(event | {"id": f"evt_{number}_{kind}", "type": kind})
                receive(bench.store, bench.read(body), NOW)
    return tmp_path


def work_off(bench: Desk) -> int:
    done = 0
    while some := bench.intake.process_some(NOW):
        assert some <= MOST_AT_ONCE
        done += some
    return done


def test_each_event_is_processed_by_one_of_several_workers(waiting: Path) -> None:
    url = database_at(waiting / "bridge.db")
    with desk(waiting) as bench, logged() as log:

        def work(_: int) -> int:
            with opened(url) as store:
                return work_off(desk_of(store, bench.config))

        assert sum(together(WORKERS, work)) == ORDERS * 2
        assert bench.store.events.count() == {"processed": ORDERS * 2}
        assert len(bench.written()) == ORDERS
        told = Counter(re.findall(r"event=processed event_id=(\S+)", log.getvalue()))
        assert set(told.values()) == {1}
        assert len(told) == ORDERS * 2


def test_one_that_our_code_fails_on_holds_up_no_other(waiting: Path) -> None:
    with desk(waiting) as bench:
        receive(bench.store, bench.read(POISON), NOW)
        assert work_off(bench) == ORDERS * 2 + 1
        assert Counter(bench.store.events.count()) == {"processed": ORDERS * 2, "failed": 1}
        (row,) = bench.store.events.newest(EventState.FAILED)
        assert row.event.id == "evt_poison"


def test_who_finds_nothing_waits_for_nobody(waiting: Path) -> None:
    with desk(waiting) as bench, opened(database_at(waiting / "bridge.db")) as other:
        second = desk_of(other, bench.config)
        work_off(bench)
        with bench.store.atomic():
            assert second.intake.process_some(NOW) == 0


@pytest.mark.parametrize("at", range(1, 4))
def test_who_is_removed_by_one_is_not_told_of_by_those_that_follow(make: Make, at: int) -> None:
    made = make()
    person = PERSON | seen_by_shopify()
    told = ["customers/create", "orders/paid", "orders/updated"]
    told.insert(at, "customers/redact")
    for each in told:
        provider, request = sent_as(f"shopify/{each}")
        receive(made.store, made.config.providers[provider].read(request), made.clock())
    assert person & on_disk(made, person)
    made.worker.drain()
    assert made.store.events.count() == {"processed": len(told)}
    assert on_disk(made, person) == set()
