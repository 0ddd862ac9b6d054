"""Several web processes, and one on SQLite: started, killed, replaced, and ended in order."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import postgres
import pytest
import requests
from crowd import a_sale
from psutil import Process
from running import (
    CLICK,
    SETTINGS,
    Running,
    is_alive,
    kill,
    serving,
    until,
)
from signed import ROUTE, v1
from typing_in import bridge, complaint

NUMBERS = count()
# One connection a process: as many connections as processes that have answered.
COUNT = 3
EACH = {"WEB_CONCURRENCY": str(COUNT), "BRIDGE_DATABASE_POOL": "1"}


@pytest.fixture
def settings() -> Mapping[str, str]:
    return SETTINGS | EACH | {"DATABASE_URL": postgres.empty()}


@pytest.fixture
def handlers() -> Iterator[None]:
    """Have this process listen to signals afterwards as it did before."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def webs(server: Running, beside: Process | None = None) -> set[Process]:
    """Return the processes that answer requests, once all are there."""

    def found() -> set[Process]:
        children = set(server.children()) - {beside}
        return children if len(children) == COUNT else set()

    all_of_them: set[Process] = until(found, f"{COUNT} web processes")
    return all_of_them


def sell(server: Running) -> int:
    """Send a webhook over a connection of its own; return what it is answered."""
    body = a_sale(next(NUMBERS)).encode()
    headers = {"Content-Type": "application/json", "Stripe-Signature": v1(body)}
    return requests.post(f"{server.url}{ROUTE}", body, headers=headers, timeout=30).status_code


def connected(settings: Mapping[str, str]) -> int:
    """Return how many connections to the bridge's database there are."""
    name = postgres.name_of(settings["DATABASE_URL"])
    sql = "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'bridge'"
    return len(postgres.run(sql.format(name)))


# ── several, on PostgreSQL ───────────────────────────────────────────────────────────────────────


def test_each_answers_over_connections_of_its_own_and_is_replaced_when_killed(
    tmp_path: Path, settings: Mapping[str, str]
) -> None:
    with serving(tmp_path, settings, command="web") as web:
        before = webs(web)
        until(lambda: sell(web) == 200 and connected(settings) == COUNT, "each to have answered")

        killed = min(before, key=lambda each: each.pid)
        kill(killed)
        until(lambda: not is_alive(killed), "one to be killed")
        after = webs(web)
        assert before - after == {killed}
        assert {sell(web) for _ in range(10)} == {200}

        assert web.end() == 0
        assert "error" not in web.said()
        assert not any(map(is_alive, after))
        until(lambda: connected(settings) == 0, "all connections to be given back")


def test_all_may_be_told_to_end_at_once(tmp_path: Path, settings: Mapping[str, str]) -> None:
    with serving(tmp_path, settings) as server:
        until(lambda: "working" in server.said(), "the worker to work")
        worker = server.worker()
        told = [*webs(server, beside=worker), worker, Process(server.pid)]
        for each in told:
            each.terminate()
        assert server.wait() == 0, server.said()
        assert "error" not in server.said()
        assert not any(map(is_alive, told))


def test_they_die_with_the_first(tmp_path: Path, settings: Mapping[str, str]) -> None:
    with serving(tmp_path, settings, command="web") as web:
        children = webs(web)
        web.end(signal.SIGKILL)
        until(lambda: not any(map(is_alive, children)), "all to end")


# ── one, on SQLite ───────────────────────────────────────────────────────────────────────────────

ONE = (
    "! WEB_CONCURRENCY=3, but on SQLite there is one web process: for more, "
    "set DATABASE_URL to a PostgreSQL\n"
)


def test_on_sqlite_there_is_one_and_the_worker_ends_while_it_still_answers(tmp_path: Path) -> None:
    """Else a worker that takes its time would be killed: a platform gives both 30 seconds."""
    with serving(tmp_path, SETTINGS | EACH) as server:
        assert ONE in server.said()
        until(lambda: "working" in server.said(), "the worker to work")
        worker = server.worker()
        assert set(server.children()) == {worker, server.web()}
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        body = json.dumps(CLICK).encode()
        head = (
            "POST /clicks HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            f"Authorization: Bearer {SETTINGS['BRIDGE_API_KEY']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(address, 30) as request:
            request.sendall(head.encode())
            assert request.recv(1024).startswith(b"HTTP/1.1 100 ")  # it waits for the body
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not is_alive(worker), "the worker to end")
            assert server.process.poll() is None
            request.sendall(body)
            assert request.recv(1024).startswith(b"HTTP/1.1 201 ")
        assert server.wait() == 0


@pytest.mark.parametrize("given", ["0", "-1", "auto", "1.5"])
def test_what_is_no_number_of_processes_is_refused(
    given: str, handlers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", given)
    assert complaint(1, "web").startswith("Error: WEB_CONCURRENCY: ")


# ── on Heroku ────────────────────────────────────────────────────────────────────────────────────

LOST = (
    "Error: SQLite cannot be kept on Heroku, which wipes a dyno's disk at every restart: run "
    "`heroku addons:create heroku-postgresql:essential-0`, which sets DATABASE_URL\n"
)


@pytest.mark.parametrize("command", ["serve", "web", "work", "migrate", "events"])
@pytest.mark.parametrize("url", ["", "sqlite:///bridge.db"])
def test_a_ledger_that_would_be_lost_is_refused(
    command: str, url: str, tmp_path: Path, handlers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNO", f"{command}.1")
    monkeypatch.setenv("DATABASE_URL", url)
    assert complaint(1, command) == LOST
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNO", "run.1")
    told = bridge("doctor", "--json")
    assert told.exit_code == 1
    assert [f"Error: {each}\n" for each in json.loads(told.stdout)["errors"]] == [LOST]
    assert list(tmp_path.iterdir()) == []
