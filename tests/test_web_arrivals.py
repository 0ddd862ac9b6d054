"""Webhooks that come at once are committed together, and each is told what became of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from threading import Thread

import pytest
from signed import migrated
from stores import NOW, an_event

from bridge.errors import StoreError
from bridge.model import Event
from bridge.store.events import _row_of
from bridge.store.sqlite import SqliteStore
from bridge.web.arrivals import MOST_AT_ONCE, Arrivals

WAITING = 12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with migrated(tmp_path / "bridge.db") as store:
        yield store


def told(store: SqliteStore, events: list[Event]) -> list[bool | BaseException]:
    """Have events come at once; return what each was told."""

    async def come() -> list[bool | BaseException]:
        arrivals = Arrivals(store)
        return await asyncio.gather(
            *(arrivals.add(each, NOW) for each in events), return_exceptions=True
        )

    return asyncio.run(come())


def some(count: int) -> list[Event]:
    return [an_event(f"evt_{at}") for at in range(count)]


def commits(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list in which there will be one entry for each transaction."""
    begun: list[float] = []
    begin = store._begin

    def counted(deadline: float) -> sqlite3.Connection:
        begun.append(deadline)
        return begin(deadline)

    monkeypatch.setattr(store, "_begin", counted)
    return begun


def test_all_are_kept_and_of_the_same_event_one(store: SqliteStore) -> None:
    twice = [*some(WAITING), *some(2)]
    assert told(store, twice) == [True] * WAITING + [False] * 2
    assert sorted(store.events.received(100)) == sorted(
        f"stripe:{each.id}" for each in some(WAITING)
    )


@pytest.mark.parametrize(("count", "transactions"), [(1, 1), (WAITING, 2), (MOST_AT_ONCE + 2, 3)])
def test_those_who_wait_share_a_transaction(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, count: int, transactions: int
) -> None:
    begun = commits(store, monkeypatch)
    assert told(store, some(count)) == [True] * count
    assert len(begun) == transactions  # the first is waited for by nobody


def test_one_that_is_wrong_does_not_fail_the_others(store: SqliteStore) -> None:
    wrong = an_event("evt_bad", provider=None)
    answers = told(store, [*some(3), wrong, an_event("evt_9")])
    assert isinstance(answers.pop(3), sqlite3.IntegrityError)
    assert answers == [True] * 4
    assert len(store.events.received(10)) == 4


def test_where_the_disk_fails_all_of_a_group_are_refused_and_nothing_is_kept(
    store: SqliteStore,
) -> None:
    store.execute("""CREATE TRIGGER full BEFORE INSERT ON events WHEN new.id = 'evt_2'
                     BEGIN INSERT INTO nowhere VALUES (1); END""")
    refused = told(store, some(4))
    assert all(isinstance(each, StoreError) for each in refused), refused
    assert len({id(each) for each in refused}) == 4  # each is raised in a request of its own
    assert store.events.received(10) == []
    store.execute("DROP TRIGGER full")
    assert told(store, some(4)) == [True] * 4


def test_nobody_waits_longer_than_for_one_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(str(tmp_path / "bridge.db"), 0.1)
    store.migrate()
    begun = commits(store, monkeypatch)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answers = told(store, some(MOST_AT_ONCE * 2))
        other.execute("ROLLBACK")
    assert all("database is locked" in str(each) for each in answers)
    assert len(begun) == 1
    assert told(store, some(2)) == [True, True]
    store.close()


def test_where_the_store_fails_after_one_that_is_wrong_nobody_waits_for_each_attempt(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = an_event("evt_bad", provider=None)
    add_all, attempts = store.events.add_all, []

    def fail_later(arrived: list[tuple[Event, datetime]]) -> list[bool]:
        attempts.append(len(arrived))
        if len(attempts) > 3:
            raise StoreError("database is locked")
        return add_all(arrived)

    monkeypatch.setattr(store.events, "add_all", fail_later)
    answers = told(store, [*some(2), wrong, an_event("evt_8"), an_event("evt_9")])
    assert attempts == [1, 4, 1, 1]  # the first; the others; of these, each, up to the failure
    assert answers[:2] == [True, True]
    assert all(isinstance(each, StoreError) for each in answers[2:])


def test_where_no_thread_can_be_started_nobody_waits_for_ever(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def come() -> list[bool | BaseException]:
        arrivals = Arrivals(store)
        with monkeypatch.context() as patch:
            patch.setattr(Thread, "start", refuse)
            refused = await asyncio.gather(
                *(arrivals.add(each, NOW) for each in some(2)), return_exceptions=True
            )
        return [*refused, await arrivals.add(an_event("evt_9"), NOW)]

    *refused, taken = asyncio.run(come())
    assert all(isinstance(each, StoreError) for each in refused)
    assert taken is True


def test_a_writer_that_is_broken_off_leaves_nobody_waiting(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(store.events, "add_all", break_off)
        assert all(isinstance(each, StoreError) for each in told(store, some(3)))
    assert told(store, some(3)) == [True] * 3


def test_a_group_has_no_more_values_than_an_old_sqlite_takes() -> None:
    assert MOST_AT_ONCE * len(_row_of(an_event(), NOW)) <= 999


def test_who_is_gone_holds_up_nobody(store: SqliteStore) -> None:
    async def come() -> list[bool]:
        arrivals = Arrivals(store)
        adding = [asyncio.create_task(arrivals.add(each, NOW)) for each in some(3)]
        await asyncio.sleep(0)
        adding[1].cancel()
        return [await adding[0], await adding[2], await arrivals.add(an_event("evt_9"), NOW)]

    assert asyncio.run(come()) == [True] * 3


def test_workers_are_woken_for_what_is_to_be_processed(store: SqliteStore) -> None:
    other = SqliteStore(store.path)
    other.wait(0)
    ignored = an_event("evt_ignored", ignored="it means nothing")
    assert told(store, [ignored, ignored]) == [True, False]
    assert not other.wait(0)
    told(store, [an_event("evt_1")])
    assert other.wait(5)
    assert told(store, [an_event("evt_1")]) == [False]
    assert not other.wait(0)
    other.close()
