"""Real processes whose disk is full, or may only be read: answered 503, and mended by itself."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from crowd import Answer, a_sale, api, crowd, webhook
from running import CLICK, SETTINGS, Running, is_alive, kill, running, serving, until, vendors_at

from bridge import config
from bridge.intake import Intake
from bridge.outbox import utc_now
from bridge.sandbox import RunningSandbox, serve_sandbox
from bridge.sandbox.faults import Fault
from bridge.store import open_store

REFUSAL = {
    "code": "store_unavailable",
    "message": "the store cannot take this now; send it again later",
}
CONNECTIONS = 16
# Nothing at all can be written, or only the short files: not the database, but the log.
NO_ROOM, LITTLE_ROOM = 0, 24 * 1024


@pytest.fixture
def vendors() -> Iterator[RunningSandbox]:
    with serve_sandbox() as sandbox:
        yield sandbox


@contextmanager
def full(pids: Iterable[int], room: int = NO_ROOM) -> Iterator[None]:
    """Let processes write no file beyond a size, as if the disk ended there."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    try:
        for pid, (_, hard) in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, hard))
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def rows(folder: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "bridge.db")) as other:
        return other.execute(sql).fetchall()


def send(server: Running, numbers: Iterable[int]) -> list[Answer]:
    """Send sales over several connections; return all answers."""
    all_of_them = [webhook(a_sale(number)) for number in numbers]
    shares = [all_of_them[at::CONNECTIONS] for at in range(CONNECTIONS)]
    return [each for share in crowd(server.url, shares) for each in share]


def assert_refused(answers: list[Answer], folder: Path) -> None:
    assert {each.status for each in answers} == {503}
    assert all(each.json() == {"error": REFUSAL} for each in answers)
    assert str(folder) not in str(answers)


def status_of(server: Running, page: str) -> int:
    return requests.get(f"{server.url}/{page}", timeout=30).status_code


def settle(folder: Path) -> None:
    """Wait until everything is processed, and every vendor is told or somebody is asked."""
    busy = (
        "SELECT 1 FROM events WHERE state = 'received'",
        "SELECT 1 FROM deliveries WHERE state IN ('due', 'sending')",
    )
    until(lambda: not any(rows(folder, sql) for sql in busy), "everything to be told")


def start_log_anew(folder: Path) -> None:
    """Have SQLite write its log from the beginning, to know how far it has come."""
    with closing(sqlite3.connect(folder / "bridge.db", isolation_level=None)) as other:
        until(lambda: empties_log(other), "the log to be written into the database")


def empties_log(other: sqlite3.Connection) -> bool:
    busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


# ── full ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_is_answered_503_until_there_is_room(
    tmp_path: Path, vendors: RunningSandbox
) -> None:
    with serving(tmp_path, vendors_at(vendors.url)) as server:
        until(lambda: "working" in server.said(), "the worker to work")
        parts = [server.web(), server.worker(), server.processor()]
        assert {each.status for each in send(server, range(4))} == {200}
        settle(tmp_path)
        before = vendors.ledger.as_json()

        with full([server.pid, *(each.pid for each in parts)]):
            for _ in range(2):
                assert_refused(send(server, range(100, 132)), tmp_path)
                assert status_of(server, "readyz") == 503
                assert status_of(server, "healthz") == 200
        assert status_of(server, "readyz") == 200
        assert vendors.ledger.as_json() == before
        answers = send(server, range(100, 132)) + send(server, range(100, 132))
        said = Counter((each.status, each.json()["status"]) for each in answers)
        assert said == {(200, "stored"): 32, (200, "duplicate"): 32}

        settle(tmp_path)
        assert sorted(rows(tmp_path, "SELECT id, state FROM events")) == sorted(
            (f"evt_{number}", "processed") for number in [*range(4), *range(100, 132)]
        )
        assert [server.web(), server.worker(), server.processor()] == parts
        assert "transaction" not in server.said()
        assert server.end() == 0


@contextmanager
def apart(folder: Path, vendors: RunningSandbox) -> Iterator[tuple[Running, Running]]:
    """Run a web, and a worker that has nothing to do, on settings that this process has, too."""
    settings = vendors_at(vendors.url) | {"DATABASE_URL": f"sqlite:///{folder / 'bridge.db'}"}
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(folder, settings, command="web") as web,
        running("work", settings=settings, folder=folder) as worker,
    ):
        for name, value in settings.items():
            patch.setenv(name, value)
        until(lambda: "working" in worker.said(), "the worker to work")
        until(lambda: "processing" in worker.said(), "its processor to do so, too")
        start_log_anew(folder)
        yield web, worker


def test_a_worker_on_a_full_disk_sends_nothing_and_says_so_now_and_then(
    tmp_path: Path, vendors: RunningSandbox
) -> None:
    with apart(tmp_path, vendors) as (web, worker):
        until(lambda: stands_still(worker, tmp_path), "the worker to stand still")
        crowd(web.url, [[api("/clicks", CLICK), webhook(a_sale(1001))]])
        process_all()
        with full([worker.pid], LITTLE_ROOM):
            os.kill(worker.pid, signal.SIGCONT)
            until(lambda: worker.said().count("store failed") >= 2, "the worker to look twice")
            assert sales(vendors) == dict.fromkeys(vendors.ledger.vendors, 0)
        settle(tmp_path)
        assert sales(vendors) == dict.fromkeys(vendors.ledger.vendors, 1)
        assert worker.said().count("store failed") < 10
        assert worker.end() == 0


def stands_still(worker: Running, folder: Path) -> bool:
    """Stop a worker, but not in the middle of a transaction: nobody else could write."""
    os.kill(worker.pid, signal.SIGSTOP)
    with closing(sqlite3.connect(folder / "bridge.db", timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            os.kill(worker.pid, signal.SIGCONT)
            return False
        return True


def process_all() -> None:
    """Process what waits, as another worker would; deliver nothing."""
    loaded = config.load()
    with closing(open_store(loaded.database_url)) as store:
        for key in store.events.received(10):
            Intake(store, loaded).process(key, utc_now())


def sales(vendors: RunningSandbox) -> dict[str, int]:
    """Return how many sales each vendor holds."""
    return {name: len(held["sales"]) for name, held in vendors.ledger.as_json().items()}


def test_what_a_vendor_accepted_is_recorded_once_there_is_room_again(
    tmp_path: Path, vendors: RunningSandbox
) -> None:
    once = dict.fromkeys(vendors.ledger.vendors, 1)
    for name in once:
        vendors.faults.add(name, [Fault(commit_then_hang=1.0)])
    with apart(tmp_path, vendors) as (web, worker):
        crowd(web.url, [[api("/clicks", CLICK), webhook(a_sale(1001))]])
        until(lambda: sales(vendors) == once, "every vendor to have the sale, and to say nothing")
        with full([worker.pid], LITTLE_ROOM):
            until(lambda: worker.said().count("store failed") >= len(once), "all records to fail")
            assert rows(tmp_path, "SELECT DISTINCT state FROM deliveries") == [("sending",)]
            assert rows(tmp_path, "SELECT 1 FROM attempts") == []
        settle(tmp_path)
        assert sales(vendors) == once
        states = dict(rows(tmp_path, "SELECT vendor, state FROM deliveries"))
        assert states == dict.fromkeys(once, "settled")
        assert worker.end() == 0


# ── only to be read, and gone ────────────────────────────────────────────────────────────────────

# Root may write what nobody may, unless it gives that up: it is what CAP_DAC_OVERRIDE allows.
AS_ANYBODY = """
import ctypes, os, sys
if os.geteuid() == 0:
    assert ctypes.CDLL(None, use_errno=True).prctl(24, 1, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-m", "bridge", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="root gives up its rights by Linux's prctl")
def test_a_database_that_may_only_be_read_is_answered_503_until_it_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("running.BRIDGE", [sys.executable, "-c", AS_ANYBODY])
    with serving(tmp_path) as server:
        assert {each.status for each in send(server, range(8))} == {200}
        workers, before = [server.worker(), server.processor()], server.web()
        files = [tmp_path / f"bridge.db{end}" for end in ("", "-wal", "-shm")]
        for file in files:
            file.chmod(0o444)
        kill(before)  # what is open already may be written for ever
        until(lambda: not is_alive(before) and answers(server), "another web")
        for _ in range(2):
            assert_refused(send(server, range(100, 132)), tmp_path)
            assert status_of(server, "readyz") == 503
        for file in files:
            file.chmod(0o644)
        sent = send(server, range(100, 132))
        assert {each.status for each in sent} == {200}
        assert status_of(server, "readyz") == 200
        until(lambda: not rows(tmp_path, "SELECT 1 FROM events WHERE state = 'received'"), "work")
        assert len(rows(tmp_path, "SELECT 1 FROM events WHERE state = 'processed'")) == 40
        assert [server.worker(), server.processor()] == workers
        assert server.end() == 0


def answers(server: Running) -> bool:
    try:
        return status_of(server, "healthz") == 200
    except requests.RequestException:
        return False


def test_a_disk_that_is_gone_for_a_while_is_answered_503(tmp_path: Path) -> None:
    disk, unplugged = tmp_path / "disk", tmp_path / "unplugged"
    disk.mkdir()
    settings = SETTINGS | {"DATABASE_URL": f"sqlite:///{disk / 'bridge.db'}"}
    with serving(tmp_path, settings) as server:
        parts = [server.web(), server.worker(), server.processor()]
        assert {each.status for each in send(server, range(8))} == {200}
        until(lambda: not rows(disk, "SELECT 1 FROM events WHERE state = 'received'"), "the worker")
        disk.rename(unplugged)
        assert_refused(send(server, range(100, 132)), tmp_path)
        until(lambda: status_of(server, "readyz") == 503, "it to say that it is not ready")
        assert status_of(server, "healthz") == 200
        unplugged.rename(disk)
        assert {each.status for each in send(server, range(100, 132))} == {200}
        assert status_of(server, "readyz") == 200
        until(lambda: not rows(disk, "SELECT 1 FROM events WHERE state = 'received'"), "the worker")
        assert len(rows(disk, "SELECT 1 FROM events")) == 40
        assert [server.web(), server.worker(), server.processor()] == parts
        assert server.end() == 0
