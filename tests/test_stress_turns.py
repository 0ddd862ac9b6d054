"""Whoever writes waits for its turn: in order, in vain for no longer than it will, never stuck."""

from __future__ import annotations

import fcntl
import io
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
import structlog
from running import until
from signed import migrated
from stores import NOW, an_event, ended, process, together

from bridge import logs
from bridge.errors import StoreError
from bridge.store.sqlite import SqliteStore

WAITING = 12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with migrated(tmp_path / "bridge.db") as store:
        yield store


def queue(store: SqliteStore, count: int) -> bool:
    """Tell whether so many threads wait for their turn."""
    return len(store._turns._queue) == count


def order_of(store: SqliteStore) -> list[str]:
    return [row["id"] for row in store.query("SELECT id FROM events ORDER BY position")]


def test_first_come_is_first_served(store: SqliteStore) -> None:
    threads: list[Thread] = []
    with store.atomic():
        for number in range(WAITING):
            each = Thread(target=store.facts.put, args=(f"fact_{number:02}", ""))
            each.start()
            threads.append(each)
            until(partial(queue, store, number + 1), "it to queue")
    for each in threads:
        each.join()
    facts = store.query("SELECT name FROM facts WHERE name LIKE 'fact%' ORDER BY rowid")
    assert [row["name"] for row in facts] == [f"fact_{number:02}" for number in range(WAITING)]


def test_who_waited_in_vain_holds_up_nobody(store: SqliteStore) -> None:
    impatient = SqliteStore(store.path, 0.01)

    def wait_in_vain(number: int) -> str:
        with pytest.raises(StoreError, match="database is locked") as caught:
            impatient.events.add(an_event(f"evt_{number}"), NOW)
        return str(caught.value)

    with store.atomic():
        assert len(together(WAITING, wait_in_vain)) == WAITING
    assert all(impatient.events.add(an_event(f"evt_{at}"), NOW) for at in range(WAITING))
    assert len(order_of(store)) == WAITING
    impatient.close()


def test_who_writes_in_a_row_does_not_keep_others_from_writing(store: SqliteStore) -> None:
    """SQLite alone has the others sleep longer and longer, until their patience is over."""
    greedy = (
        "for count in range(10**6):\n"
        "    if store.facts.get('over'): break\n"
        "    with store.atomic():\n"
        "        store.facts.put('count', str(count))\n"
        "        sum(range(200_000))\n"
    )
    writers = [process(greedy, f"sqlite:///{store.path}") for _ in range(2)]
    until(lambda: store.facts.get("count"), "the others to write")
    patient = SqliteStore(store.path, 4.0)
    counts = together(
        WAITING,
        lambda at: [patient.events.add(an_event(f"evt_{at}_{n}"), NOW) for n in range(5)],
    )
    store.facts.put("over", "1")
    assert [ended(each)[0] for each in writers] == [0, 0]
    assert all(map(all, counts))
    patient.close()


def test_a_process_that_is_frozen_while_it_waits_stops_nobody(store: SqliteStore) -> None:
    folder = os.open(Path(store.path).parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # as whoever is next has it, and here never goes on
    added = together(WAITING, lambda at: store.events.add(an_event(f"evt_{at}"), NOW))
    os.close(folder)
    assert all(added)


def test_closing_ends_the_waiting_and_the_store_opens_again(store: SqliteStore) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused: list[str] = []

        def wait() -> None:
            with pytest.raises(StoreError) as caught:
                store.events.add(an_event("evt_1"), NOW)
            refused.append(str(caught.value))

        thread = Thread(target=wait)
        thread.start()
        until(lambda: len(store._opened) == 2, "it to wait")
        store.close()
        thread.join()
        other.execute("ROLLBACK")
    assert len(refused) == 1
    assert store.events.add(an_event("evt_1"), NOW)


class Full(io.StringIO):
    """Be a file on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_what_cannot_be_logged_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    before = structlog.get_config()
    logs.configure(logs.Redactor())
    logs.get().error("store failed", reason="the disk is full")
    structlog.configure(**before)
