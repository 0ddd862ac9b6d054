"""Events of many threads: what is told to be kept is, also where the process dies or closes."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event, Thread

from running import until
from stores import NOW, an_event, ended, process

from bridge.store.sqlite import SqliteStore


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
