"""Stopping, and locks held by others, while sixty-four connections and more wait for answers."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from crowd import Answer, a_sale, api, crowd, webhook
from running import CLICK, SETTINGS, running, serving, until, vendors_at

from bridge.sandbox import serve_sandbox
from bridge.sandbox.faults import Fault
from bridge.web.arrivals import MOST_AT_ONCE

# More than are stored together.
CONNECTIONS = MOST_AT_ONCE + 32
GRACE = 30.0  # after which a platform kills


@contextmanager
def held(folder: Path) -> Iterator[sqlite3.Connection]:
    """Hold a connection of somebody else's in a write transaction, which the block may end."""
    other = sqlite3.connect(folder / "bridge.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with closing(other):
        yield other


def kept(folder: Path) -> list[str]:
    """Return the events that somebody else finds in the database."""
    with closing(sqlite3.connect(folder / "bridge.db")) as other:
        return [id for (id,) in other.execute("SELECT id FROM events ORDER BY id")]


def stored(answers: list[list[Answer]]) -> list[str]:
    """Return the events that were answered 200."""
    return sorted(each.json()["id"] for share in answers for each in share if each.status == 200)


def statuses(answers: list[list[Answer]]) -> Counter[int]:
    return Counter(each.status for share in answers for each in share)


def are_read(port: int, count: int) -> bool:
    """Tell whether so many connections are open at a port, and all that was sent is read."""
    wanted = f":{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = [line for line in lines if line[1].endswith(wanted) and line[3] == "01"]
    return len(ours) >= count and all(line[4].endswith(":00000000") for line in ours)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what was read of a connection")
def test_all_that_was_accepted_is_answered_before_it_ends(tmp_path: Path) -> None:
    with serving(tmp_path, SETTINGS) as server, held(tmp_path) as other:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        ended: list[float] = []

        def stop() -> None:
            until(lambda: are_read(address[1], CONNECTIONS), "all requests to be read")
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not is_open(address), "no more requests to be taken")
            other.execute("COMMIT")
            assert server.wait() == 0
            ended.append(time.monotonic() - began)

        answers = crowd(server.url, [[webhook(a_sale(n))] for n in range(CONNECTIONS)], stop)
        # On a busy machine some may have lost patience before the lock was given back.
        assert set(statuses(answers)) <= {200, 503}
        assert stored(answers) == kept(tmp_path)
        assert ended[0] < GRACE


def test_a_stop_in_full_flight_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with serving(tmp_path, SETTINGS) as server:
        numbers = iter(range(10**6))

        def share() -> Iterator[bytes]:
            while True:  # until the connection is closed
                yield webhook(a_sale(next(numbers)))

        def stop() -> None:
            until(lambda: len(kept(tmp_path)) > CONNECTIONS, "some events to be stored")
            assert server.end() == 0

        answers = crowd(server.url, [share() for _ in range(CONNECTIONS)], stop)
        assert set(statuses(answers)) == {200, 0}
        assert all(each.status == 200 for share in answers for each in share[:-1])
        assert {each.body for share in answers for each in share if each.status == 0} == {b""}
        assert set(stored(answers)) <= set(kept(tmp_path))


def is_open(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def test_a_worker_records_the_calls_in_flight_before_it_ends(tmp_path: Path) -> None:
    with serve_sandbox() as vendors:
        settings = vendors_at(vendors.url)
        with serving(tmp_path, settings, command="web") as web:
            crowd(web.url, [[api("/clicks", CLICK)], [webhook(a_sale(1001))]])
        for name in vendors.ledger.vendors:
            vendors.faults.add(name, [Fault(delay=1.5)])
        with running("work", settings=settings, folder=tmp_path) as worker:
            until(lambda: not any(vendors.faults.waiting().values()), "all calls to be in flight")
            assert worker.end() == 0
        with closing(sqlite3.connect(tmp_path / "bridge.db")) as other:
            found = other.execute(
                "SELECT vendor, in_flight, (SELECT count(*) FROM attempts"
                " WHERE delivery = deliveries.id AND outcome = 'accepted')"
                " FROM deliveries WHERE state != 'sending'"
            ).fetchall()
        told = vendors.ledger.as_json()
        assert sorted(found) == [(name, "", 1) for name in sorted(told)]
        assert {len(account["sales"]) for account in told.values()} == {1}


# ── locks of others ──────────────────────────────────────────────────────────────────────────────


def test_a_writer_who_does_not_end_is_answered_503_in_time_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, SETTINGS) as server:
        shares = [[webhook(a_sale(n))] for n in range(MOST_AT_ONCE)]
        with held(tmp_path):
            answers = crowd(server.url, shares)
            assert requests.get(f"{server.url}/healthz", timeout=30).status_code == 200
        assert statuses(answers) == {503: MOST_AT_ONCE}
        assert {each.json()["error"]["code"] for share in answers for each in share} == {
            "store_unavailable"
        }
        assert max(each.seconds for share in answers for each in share) < GRACE
        assert statuses(crowd(server.url, shares)) == {200: MOST_AT_ONCE}
        until(lambda: not waiting(tmp_path), "the worker to go on")
        assert len(kept(tmp_path)) == MOST_AT_ONCE
        assert server.end() == 0


def waiting(folder: Path) -> list[Any]:
    with closing(sqlite3.connect(folder / "bridge.db")) as other:
        return other.execute("SELECT 1 FROM events WHERE state = 'received'").fetchall()


def test_readers_and_backups_hold_up_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, SETTINGS) as server:
        reader = sqlite3.connect(tmp_path / "bridge.db", isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (0,)

        def back_up() -> None:
            code = (
                "import sqlite3; sqlite3.connect('bridge.db').backup(sqlite3.connect('copy.db'),"
                " pages=5, sleep=0.01)"
            )
            subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)

        shares = [[webhook(a_sale(n)), webhook(a_sale(n + 100))] for n in range(CONNECTIONS)]
        answers = crowd(server.url, shares, back_up)
        assert statuses(answers) == {200: 2 * CONNECTIONS}
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (0,)
        reader.close()
        assert set(stored(answers)) == set(kept(tmp_path))
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            found = {id for (id,) in copy.execute("SELECT id FROM events")}
        assert found <= set(kept(tmp_path))
        assert "locked" not in server.said()
