"""A connection that breaks in the very moment in which something is committed.

what is written          where the answer is lost
─────────────────────    ─────────────────────────────────────────────────────────────────────
a webhook (append)       503; it is sent again, and found to be there, or not
events processed         asked for; else they are processed again where they still wait
a lease                  asked for; else it runs out, and nothing was sent
a call about to be sent  asked for; else nothing is sent: its lease runs out, and as nobody knows
                         that by then, it is in doubt like any other that was cut off
what came of a call      asked for, for as long as it would be tried again; else the lease runs
                         out, and what is found in the row holds
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import postgres
import pytest
from intakes import body_of, config_of, desk_of
from kit import CUSTOMER, SALE, Bench, Make
from postgres_relay import Relay, relayed
from stores import NOW, an_event, on_postgres

from bridge.errors import StoreError
from bridge.http import Sender
from bridge.inbox import receive
from bridge.model import NoAnswer, Response
from bridge.outbox import LEASE
from bridge.store import Store, open_store
from bridge.store.events import key_of
from bridge.store.rows import DeliveryState, EventState
from bridge.vendors import discover
from bridge.worker import Worker

__all__ = ["on_postgres"]
COMMIT = "COMMIT\0"
SYNC = "S\0\0\0\4"  # what ends, in PostgreSQL's protocol, statements that are sent together
SHORT = 0.2  # seconds
CUT = r"no connection to 127\.0\.0\.1"
heard_or_not = pytest.mark.parametrize("heard", [True, False], ids=["heard", "not heard"])


@pytest.fixture
def relay() -> Iterator[Relay]:
    with relayed(postgres.fresh("relayed")) as made:
        yield made


@pytest.fixture
def store(relay: Relay) -> Iterator[Store]:
    store = open_store(relay.url)
    yield store
    store.close()


# ── the store ────────────────────────────────────────────────────────────────────────────────────


@heard_or_not
def test_what_was_committed_is_known_and_what_was_not_is_an_error(
    relay: Relay, store: Store, heard: bool
) -> None:
    def write() -> None:
        with store.atomic():
            store.facts.put("name", "value")
            relay.cut_at(COMMIT, heard=heard)

    if heard:
        write()
    else:
        with pytest.raises(StoreError, match=CUT):
            write()
    assert relay.cuts == 1
    assert store.facts.get("name") == ("value" if heard else "")


def test_what_nobody_can_say_is_an_error_after_a_while(relay: Relay) -> None:
    store = open_store(relay.url, patience=SHORT)

    def write() -> None:
        with store.atomic():
            store.facts.put("name", "value")
            relay.close()

    with pytest.raises(StoreError, match=CUT):
        write()
    store.close()


def test_nobody_waits_for_ever_for_who_stands_still(relay: Relay, store: Store) -> None:
    impatient = open_store(relay.url, patience=SHORT)

    def stand_still() -> None:
        with impatient.atomic():
            impatient.facts.put("name", "wrong")
            store.facts.put("name", "value")  # it waits for the other's end
            impatient.facts.get("name")

    with pytest.raises(StoreError, match="stood still in the middle of a transaction"):
        stand_still()
    assert store.facts.get("name") == "value"
    impatient.facts.put("name", "again")
    impatient.close()


# ── the inbox ────────────────────────────────────────────────────────────────────────────────────


@heard_or_not
def test_a_webhook_is_stored_once(relay: Relay, store: Store, heard: bool) -> None:
    store.check()
    relay.cut_at(SYNC, heard=heard)
    with pytest.raises(StoreError, match=CUT):
        store.events.add(an_event(), NOW)
    assert store.events.add(an_event(), NOW) is not heard
    assert store.events.count() == {"received": 1}


@heard_or_not
def test_an_event_is_processed_once(relay: Relay, store: Store, heard: bool) -> None:
    bench = desk_of(store, config_of())
    event = bench.read(body_of("invoice.paid"))
    receive(store, event, NOW)
    relay.cut_at(COMMIT, heard=heard)
    if heard:
        assert bench.intake.process_some(NOW) == 1
    else:
        with pytest.raises(StoreError, match=CUT):
            bench.intake.process_some(NOW)
        assert store.events.count() == {"received": 1}
    assert bench.intake.process(key_of(event), NOW) is EventState.PROCESSED
    assert len(bench.written()) == 1


# ── the outbox ───────────────────────────────────────────────────────────────────────────────────


class Cutting(Sender):
    """Cut the connection to the database at the first commit after a call."""

    def __init__(self, relay: Relay, *, heard: bool) -> None:
        super().__init__(read_seconds=5)
        self._relay, self._heard, self.sent = relay, heard, 0

    def send(self, *args: Any, **kwargs: Any) -> Response | NoAnswer:
        answer = super().send(*args, **kwargs)
        self.sent += 1
        if self.sent == 1:
            self._relay.cut_at(COMMIT, heard=self._heard)
        return answer


def sold(make: Make, vendor: str) -> Bench:
    """Have a sale wait for a vendor, in the database that is found over the relay, too."""
    made = make(vendor)
    made.click(CUSTOMER)
    made.receive(*SALE)
    while made.worker.process_events():
        pass
    made.clock.advance(minutes=1)
    return made


@pytest.fixture
def deliver(make: Make) -> Callable[..., Bench]:
    """Return a function that delivers, and is cut off as the first call is recorded."""

    def run(vendor: str, *faults: dict[str, Any], heard: bool) -> Bench:
        made = sold(make, vendor)
        made.fault(vendor, *faults)
        with relayed(made.config.database_url) as relay:
            store = open_store(relay.url)
            worker = Worker(
                store, made.config, sender=Cutting(relay, heard=heard), clock=made.clock
            )
            worker.drain()
            assert relay.cuts == 1
            worker.close()
            store.close()
        return made

    return run


@heard_or_not
@pytest.mark.parametrize("vendor", ["taapit", "tapfiliate"])
def test_an_accepted_call_is_recorded_once(
    deliver: Callable[..., Bench], vendor: str, heard: bool
) -> None:
    made = deliver(vendor, heard=heard)
    row = made.delivery(vendor)
    assert row.state is DeliveryState.SETTLED
    assert (len(made.attempts(vendor)), row.attempts) == (
        len(made.vendors.ledger.calls(vendor)),
    ) * 2
    assert len(made.sales(vendor)) == 1


@heard_or_not
def test_a_failure_is_counted_once(deliver: Callable[..., Bench], heard: bool) -> None:
    made = deliver("codeqr", {"status": 503, "body": "{}"}, heard=heard)
    row = made.delivery("codeqr")
    assert (row.state, row.attempts, row.failures) == (DeliveryState.DUE, 1, 1)
    assert [each.status for each in made.attempts("codeqr")] == [503]
    assert made.store.gates.get("codeqr").recent == "-"


@heard_or_not
def test_a_call_is_sent_once_it_is_written_down(make: Make, heard: bool) -> None:
    made = sold(make, "taapit")
    with relayed(made.config.database_url) as relay:

        class Cut(discover()["taapit"]):  # type: ignore[misc]
            def authorize(self) -> Mapping[str, str]:
                if not relay.cuts:
                    relay.cut_at(COMMIT, heard=heard)
                return super().authorize()  # type: ignore[no-any-return]

        vendors = {"taapit": Cut(made.config.vendors["taapit"].settings)}
        store = open_store(relay.url)
        worker = Worker(store, replace(made.config, vendors=vendors), clock=made.clock)
        if not heard:
            with pytest.raises(StoreError, match=CUT):
                worker.drain()
            assert made.vendors.ledger.calls() == []
            made.clock.advance(seconds=LEASE.total_seconds() + 1)
        worker.drain()
        worker.close()
        store.close()
    assert relay.cuts == 1
    assert made.delivery("taapit").state is DeliveryState.SETTLED
    assert len(made.vendors.ledger.calls("taapit")) == 1
    assert len(made.attempts("taapit")) == 1


@heard_or_not
def test_a_lease_that_nobody_heard_of_is_known(make: Make, heard: bool) -> None:
    made = sold(make, "taapit")
    with relayed(made.config.database_url) as relay:
        store = open_store(relay.url)
        store.check()
        now = made.clock()
        relay.cut_at(COMMIT, heard=heard)
        if heard:
            (row,) = store.deliveries.lease("taapit", now, now + LEASE, "mine", 1)
            assert row.lease == "mine"
        else:
            with pytest.raises(StoreError, match=CUT):
                store.deliveries.lease("taapit", now, now + LEASE, "mine", 1)
            assert made.delivery("taapit").state is DeliveryState.DUE
        store.close()
