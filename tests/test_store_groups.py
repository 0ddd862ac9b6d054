"""Rows that are appended at once are committed together, and each is told what became of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest
from running import until
from signed import migrated
from stores import NOW, an_event, ended, process, together

from bridge.errors import StoreError
from bridge.store.sqlite import SqliteStore

WAITING = 12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with migrated(tmp_path / "bridge.db") as store:
        yield store


def waiting(store: SqliteStore, count: int) -> bool:
    """Tell whether so many rows wait to be appended."""
    return len(store._groups._waiting) == count


def adding(store: SqliteStore, ids: list[str], answers: dict[int, object]) -> list[Thread]:
    """Add events in a thread each, which wait for whoever writes now; keep what each was told."""

    def add(at: int, id: str) -> None:
        try:
            kind = None if id == "evt_bad" else "invoice.paid"
            answers[at] = store.events.add(an_event(id, type=kind), NOW)
        except (StoreError, sqlite3.Error) as error:
            answers[at] = error

    threads = [Thread(target=add, args=(at, id)) for at, id in enumerate(ids)]
    for at, each in enumerate(threads):
        each.start()
        until(partial(waiting, store, at + 1), "it to queue")
    return threads


def test_rows_that_wait_are_all_kept_and_of_the_same_event_one(store: SqliteStore) -> None:
    answers: dict[int, object] = {}
    ids = [f"evt_{at % (WAITING - 2)}" for at in range(WAITING)]
    with store.atomic():
        threads = adding(store, ids, answers)
        assert answers == {}
    for each in threads:
        each.join()
    assert [answers[at] for at in range(WAITING)] == [True] * (WAITING - 2) + [False] * 2
    assert sorted(store.events.received(100)) == sorted({f"stripe:{id}" for id in ids})


def test_a_group_is_one_transaction(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    begin = store._begin

    def counted(deadline: float) -> sqlite3.Connection:
        begun.append(deadline)
        return begin(deadline)

    monkeypatch.setattr(store, "_begin", counted)
    answers: dict[int, object] = {}
    with store.atomic():
        threads = adding(store, [f"evt_{at}" for at in range(WAITING)], answers)
    for each in threads:
        each.join()
    assert set(answers.values()) == {True}
    # One of the caller's, one of the first who queued, who had its turn before the rest.
    assert len(begun) <= 3


def test_one_that_is_wrong_does_not_fail_the_others(store: SqliteStore) -> None:
    answers: dict[int, object] = {}
    with store.atomic():
        threads = adding(store, ["evt_0", "evt_1", "evt_bad", "evt_2"], answers)
    for each in threads:
        each.join()
    assert [answers[at] for at in (0, 1, 3)] == [True] * 3
    assert isinstance(answers[2], sqlite3.IntegrityError)
    assert len(store.events.received(10)) == 3


def test_where_the_disk_fails_all_of_a_group_are_refused_and_nothing_is_kept(
    store: SqliteStore,
) -> None:
    answers: dict[int, object] = {}
    store.execute("""CREATE TRIGGER full BEFORE INSERT ON events WHEN new.id = 'evt_2'
                     BEGIN INSERT INTO nowhere VALUES (1); END""")
    with store.atomic():
        threads = adding(store, ["evt_0", "evt_1", "evt_2", "evt_3"], answers)
    for each in threads:
        each.join()
    refused = [answers[at] for at in (1, 2, 3)]
    assert all(isinstance(each, StoreError) for each in refused), refused
    assert len({id(each) for each in refused}) == 3
    store.execute("DROP TRIGGER full")
    assert store.events.add(an_event("evt_2"), NOW)


def test_who_waits_in_vain_is_refused_and_the_rest_go_on(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "bridge.db"), 0.1)
    store.migrate()
    answers: dict[int, object] = {}
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        barrier = Barrier(WAITING)

        def add(at: int) -> None:
            barrier.wait()
            with pytest.raises(StoreError, match="database is locked") as caught:
                store.events.add(an_event(f"evt_{at}"), NOW)
            answers[at] = str(caught.value)

        together(WAITING, add)
        other.execute("ROLLBACK")
    assert len(answers) == WAITING
    assert store.events.add(an_event(), NOW)
    assert store._groups._waiting == []
    assert not store._groups._led
    store.close()


def test_a_row_within_a_transaction_lives_and_dies_with_it(store: SqliteStore) -> None:
    def add_and_fail() -> None:
        with store.atomic():
            assert store.events.add(an_event(), NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        add_and_fail()
    assert store.events.received(10) == []


def test_workers_are_woken_once_the_rows_can_be_seen(store: SqliteStore) -> None:
    other = SqliteStore(store.path)
    other.wait(0)
    over = Event()
    answers: dict[int, object] = {}
    with store.atomic():
        threads = adding(store, ["evt_1", "evt_2"], answers)
        assert not other.wait(0)
    for each in threads:
        each.join()
    over.set()
    assert other.wait(5)
    assert len(other.events.received(10)) == 2
    store.events.add(an_event("evt_1"), NOW)
    store.events.add(an_event("evt_3", ignored="it means nothing"), NOW)
    other.wait(0)
    assert not other.wait(0)
    other.close()


def test_who_is_killed_has_answered_nothing_that_is_not_kept(tmp_path: Path) -> None:
    """A row is printed once it is acknowledged; whatever was printed is there afterwards."""
    path = tmp_path / "bridge.db"
    made = SqliteStore(str(path))
    made.migrate()
    code = (
        "import os, sys, signal, threading\n"
        "from stores import NOW, an_event\n"
        "def add(at):\n"
        "    for n in range(10**6):\n"
        "        store.events.add(an_event(f'evt_{at}_{n}'), NOW)\n"
        "        os.write(1, f'\"evt_{at}_{n}\"\\n'.encode())\n"
        "        if n == 20: os.kill(os.getpid(), signal.SIGKILL)\n"
        "for at in range(8): threading.Thread(target=add, args=(at,)).start()\n"
    )
    code_of, printed = ended(process(code, f"sqlite:///{path}"))
    assert code_of == -9
    told = {json.loads(line) for line in printed.splitlines()}
    kept = {key.partition(":")[2] for key in made.events.received(10_000)}
    assert len(told) > 20
    assert told <= kept
    made.close()


def test_a_store_that_is_closed_while_threads_write_ends_none_of_them_badly(
    tmp_path: Path,
) -> None:
    store = SqliteStore(str(tmp_path / "bridge.db"))
    store.migrate()
    over = Event()
    kept: list[str] = []

    def write(at: int) -> None:
        for n in range(10**6):
            if over.is_set():
                return
            if store.events.add(an_event(f"evt_{at}_{n}"), NOW):
                kept.append(f"stripe:evt_{at}_{n}")
            store.events.received(3)

    threads = [Thread(target=write, args=(at,)) for at in range(4)]
    for each in threads:
        each.start()
    for count in range(1, 20):
        until(lambda wanted=5 * count: len(kept) > wanted, "rows")  # type: ignore[misc]
        store.close()
    over.set()
    for each in threads:
        each.join()
    assert sorted(store.events.received(10**6)) == sorted(kept)
    store.close()
