"""What any store keeps: its schema, its events and its transactions, and it wakes who waits."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import (
    EMPTY,
    FACTORIES,
    LATER,
    NOW,
    a_payment,
    an_event,
    ended,
    opened,
    process,
    together,
)

from bridge.errors import ConfigError, StoreError
from bridge.model import Event
from bridge.store import Store, open_store
from bridge.store.events import key_of
from bridge.store.rows import EventState

PROMPTLY = 20  # seconds, which only a machine in trouble needs


@pytest.fixture(params=FACTORIES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return FACTORIES[request.param](tmp_path)


@pytest.fixture(params=EMPTY)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return EMPTY[request.param](tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with opened(url) as store:
        yield store


# ── the schema ───────────────────────────────────────────────────────────────────────────────────


def test_migrates_once(empty: str) -> None:
    with opened(empty, migrated=False) as store:
        assert store.migrate()
        assert store.migrate() == []
        store.check()


def test_many_threads_migrate_at_once(empty: str) -> None:
    with opened(empty, migrated=False) as store:
        ran = together(12, lambda _: store.migrate())
        assert sum(map(bool, ran)) == 1
        store.check()


def test_many_processes_migrate_at_once(empty: str) -> None:
    running = [process("print(bool(store.migrate())); store.close()", empty) for _ in range(4)]
    assert sorted(map(ended, running)) == [(0, "False")] * 3 + [(0, "True")]


def test_a_store_that_is_not_migrated_says_so(empty: str) -> None:
    with opened(empty, migrated=False) as store:
        with pytest.raises(StoreError, match="bridge migrate"):
            store.check()
        with pytest.raises(StoreError, match="bridge migrate"):
            store.events.get("stripe:evt_1")


def test_what_was_made_up_stays(url: str) -> None:
    with opened(url) as store:
        key = store.facts.get("email_key")
        assert len(key) == 64
    with opened(url) as again:
        assert again.facts.get("email_key") == key


def test_can_be_closed_twice(url: str) -> None:
    with opened(url) as store:
        store.close()


@pytest.mark.parametrize("address", ["mysql://localhost/bridge", "bridge.db", "sqlite:///", ""])
def test_an_address_that_nothing_opens_is_a_wrong_setting(address: str) -> None:
    with pytest.raises(ConfigError, match=r"DATABASE_URL .* sqlite:///"):
        open_store(address)


# ── events ───────────────────────────────────────────────────────────────────────────────────────


def test_an_event_is_kept_as_it_came(store: Store) -> None:
    event = an_event(body='{"a":"ü😀"}', account="acct_1", test=True, waits_for="KEY", fetched=True)
    assert store.events.add(event, LATER)
    row = store.events.get("stripe:acct_1/evt_1")
    assert row is not None
    assert (row.event, row.received_at, row.state) == (event, LATER, EventState.RECEIVED)


def test_an_event_is_stored_once(store: Store) -> None:
    assert store.events.add(an_event(body="first"), NOW)
    store.events.mark("stripe:evt_1", EventState.FAILED, "broken")
    assert not store.events.add(an_event(body="second"), LATER)
    (row,) = store.events.find("evt_1")
    assert (row.event.body, row.state, row.reason) == ("first", EventState.FAILED, "broken")


def test_providers_and_accounts_name_their_events_themselves(store: Store) -> None:
    events = [an_event(), an_event(account="acct_1"), an_event(provider="paddle")]
    assert all(store.events.add(each, NOW) for each in events)
    assert [row.event for row in store.events.find("evt_1")] == events
    assert [row.event for row in store.events.find("stripe:acct_1/evt_1")] == [events[1]]
    assert store.events.find("evt_2") == []


def test_many_threads_add_one_event(store: Store) -> None:
    assert together(16, lambda _: store.events.add(an_event(), NOW)).count(True) == 1


def test_many_threads_add_events_of_their_own(store: Store) -> None:
    def add(thread: int) -> bool:
        return all(store.events.add(an_event(f"evt_{thread}_{n}"), NOW) for n in range(10))

    assert all(together(16, add))
    assert store.events.count() == {"received": 160}
    assert len(set(store.events.received(1000))) == 160


def test_of_events_stored_together_each_is_told_whether_it_is_new(store: Store) -> None:
    store.events.add(an_event("evt_2"), NOW)
    ids = ["evt_3", "evt_2", "evt_1", "evt_3", "evt_1"]
    added = store.events.add_all([(an_event(id), NOW) for id in ids])
    assert added == [True, False, True, False, False]
    with store.atomic():
        assert store.events.add_all([(an_event("evt_0"), NOW), (an_event("evt_1"), NOW)]) == [
            True,
            False,
        ]
    assert store.events.count() == {"received": 4}


def test_received_events_come_oldest_first(store: Store) -> None:
    ignored = an_event("evt_3", ignored="says nothing", body="")
    events = [an_event("evt_2"), an_event("evt_1"), ignored, an_event("evt_0")]
    for event in events:
        store.events.add(event, NOW)
    assert store.events.received(2) == ["stripe:evt_2", "stripe:evt_1"]
    store.events.mark("stripe:evt_1", EventState.PROCESSED)
    assert store.events.received(10) == ["stripe:evt_2", "stripe:evt_0"]
    assert [row.event for row in store.events.newest()] == events[::-1]
    assert [row.reason for row in store.events.newest(EventState.IGNORED)] == ["says nothing"]
    assert [row.event.id for row in store.events.newest("received", 1)] == ["evt_0"]
    assert store.events.count() == {"received": 2, "processed": 1, "ignored": 1}


def test_events_are_found_by_the_references_they_tell_of(store: Store) -> None:
    def tell(id: str, *references: str) -> Event:
        event = an_event(id)
        store.events.add(event, NOW)
        store.orders.add(key_of(event), [a_payment(*references), a_payment(*references)])
        return event

    first, second, _ = tell("evt_1", "in_1"), tell("evt_2", "pi_1"), tell("evt_3", "in_2")
    found = store.events.of_payments(["stripe:in_1", "stripe:pi_1", "stripe:nothing"])
    assert [row.event for row in found] == [first, second]


# ── transactions ─────────────────────────────────────────────────────────────────────────────────


class OopsError(Exception):
    """Be raised in the middle of something."""


def test_what_belongs_together_is_written_together(store: Store) -> None:
    def half() -> None:
        with store.atomic():
            store.events.add(an_event("evt_1"), NOW)
            assert store.events.get("stripe:evt_1")
            raise OopsError

    with pytest.raises(OopsError):
        half()
    assert store.events.count() == {}
    with store.atomic():
        store.events.add(an_event("evt_2"), NOW)
    assert store.events.count() == {"received": 1}


def test_nobody_sees_what_is_not_finished(store: Store) -> None:
    with store.atomic():
        store.events.add(an_event(), NOW)
        assert together(1, lambda _: store.events.count()) == [{}]
    assert together(1, lambda _: store.events.count()) == [{"received": 1}]


def test_an_inner_block_is_undone_alone(store: Store) -> None:
    def inner() -> None:
        with store.atomic():
            store.events.add(an_event("evt_2"), NOW)
            raise OopsError

    with store.atomic():
        store.events.add(an_event("evt_1"), NOW)
        with pytest.raises(OopsError):
            inner()
        with store.atomic():
            store.events.add(an_event("evt_3"), NOW)
    assert store.events.received(10) == ["stripe:evt_1", "stripe:evt_3"]


def test_an_inner_block_is_undone_with_the_outer_one(store: Store) -> None:
    def outer() -> None:
        with store.atomic():
            with store.atomic():
                store.events.add(an_event("evt_1"), NOW)
            raise OopsError

    with pytest.raises(OopsError):
        outer()
    assert store.events.count() == {}


def test_who_reads_and_then_writes_is_never_refused(store: Store) -> None:
    def number_events(_: int) -> bool:
        return all(number_one() for _ in range(15))

    def number_one() -> bool:
        with store.atomic():
            count = sum(store.events.count().values())
            return store.events.add(an_event(f"evt_{count}"), NOW)

    assert all(together(8, number_events))
    assert store.events.count() == {"received": 120}


# ── durability ───────────────────────────────────────────────────────────────────────────────────

KILLED = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


def test_what_was_acknowledged_survives_a_kill(url: str, store: Store) -> None:
    code = "print(store.events.add(an_event(), NOW), flush=True)\n" + KILLED
    assert ended(process(code, url)) == (-signal.SIGKILL, "True")
    assert store.events.received(10) == ["stripe:evt_1"]


def test_what_was_half_done_does_not_survive_a_kill(url: str, store: Store) -> None:
    code = "with store.atomic():\n store.events.add(an_event(), NOW)\n "
    code += KILLED.replace("\n", "\n ")
    assert ended(process(code, url)) == (-signal.SIGKILL, "")
    assert store.events.count() == {}
    assert store.events.add(an_event(), NOW)


# ── the bell ─────────────────────────────────────────────────────────────────────────────────────


def was_rung(store: Store) -> bool:
    began = time.monotonic()
    return store.wait(60) and time.monotonic() - began < PROMPTLY


def test_wakes_another_thread(store: Store) -> None:
    assert not store.wait(0)
    together(1, lambda _: store.ring())
    assert was_rung(store)
    assert not store.wait(0)


def test_wakes_who_sleeps_already(store: Store) -> None:
    assert not store.wait(0)
    assert together(2, lambda n: was_rung(store) if n else store.ring()) == [None, True]


def test_wakes_another_process(url: str, store: Store) -> None:
    assert not store.wait(0)
    ringing = process("store.ring(); store.close()", url)
    assert was_rung(store)
    assert ended(ringing) == (0, "")


def test_wakes_all_who_wait(url: str, store: Store) -> None:
    with opened(url) as other:
        assert not other.wait(0)
        assert not store.wait(0)
        store.ring()
        assert was_rung(other)
        assert was_rung(store)


def test_many_rings_wake_once(store: Store) -> None:
    store.ring()  # nobody listens yet
    assert not store.wait(0)
    for _ in range(2000):
        store.ring()
    assert was_rung(store)
    assert not store.wait(0)


@pytest.mark.parametrize("other", FACTORIES)
def test_wakes_only_who_waits_for_this_database(store: Store, tmp_path: Path, other: str) -> None:
    (folder := tmp_path / "other").mkdir()
    with opened(FACTORIES[other](folder)) as elsewhere:
        assert not elsewhere.wait(0)
        store.ring()
        assert not elsewhere.wait(0)
