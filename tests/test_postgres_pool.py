"""The connections of a process to PostgreSQL: how many, and what becomes of those that fail."""

from __future__ import annotations

import gc
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import postgres
import psycopg
import pytest
from running import until
from stores import NOW, an_event, opened, together
from test_postgres import SHORT, is_taken, opened_at

from bridge.errors import StoreError
from bridge.store.connections import Connection, Connections
from bridge.store.postgres import PostgresStore
from bridge.store.postgres_bell import PostgresBell

# select() cannot wait for a descriptor from this number on.
SELECTABLE = 1024


@pytest.fixture
def url() -> str:
    return postgres.fresh()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with opened(url, migrated=False) as store:
        assert isinstance(store, PostgresStore)
        yield store


# ── many descriptors ─────────────────────────────────────────────────────────────────────────────


@contextmanager
def many_files() -> Iterator[None]:
    """Have so many files open that the next has a high number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SELECTABLE + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("this machine does not allow as many open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (number := os.dup(0)) < SELECTABLE:
            stack.callback(os.close, number)
        stack.callback(os.close, number)
        yield


def test_a_process_with_many_open_files_stores_webhooks_and_is_woken(
    url: str, store: PostgresStore
) -> None:
    with many_files():
        # More than there are connections: each is given back.
        assert [store.events.add(an_event(f"evt_{n}"), NOW) for n in range(9)] == [True] * 9
        assert not store.wait(0)
        with opened(url, migrated=False) as other:
            other.ring()
        assert store.wait(20)


# ── a server that is full ────────────────────────────────────────────────────────────────────────

needs_own_server = pytest.mark.skipif(
    bool(postgres.GIVEN), reason="who connects to a server that is not ours is not ours to say"
)
MOST = 2
FULL = r"too many connections.*lower BRIDGE_DATABASE_POOL"


@pytest.fixture(scope="module")
def role() -> str:
    """A user who may have so many connections at once."""
    postgres.run(f"CREATE ROLE limited LOGIN IN ROLE pg_write_all_data CONNECTION LIMIT {MOST}")
    postgres.run("GRANT pg_read_all_data TO limited")
    return "limited"


@pytest.fixture
def limited(url: str, role: str) -> str:
    return url.replace("postgres@", f"{role}@", 1)


@contextmanager
def taken(store: PostgresStore, count: int) -> Iterator[list[Connection]]:
    """Have so many of the connections of a store lent while a block runs."""
    with ExitStack() as stack:
        yield [stack.enter_context(store._connections.lend()) for _ in range(count)]


@needs_own_server
def test_while_a_server_is_full_webhooks_take_the_connections_there_are(limited: str) -> None:
    store = opened_at(limited, pool=MOST + 2)
    with taken(store, MOST) as (_, last):
        pid = last.info.backend_pid
    postgres.run(f"SELECT pg_terminate_backend({pid}, 20000)")
    with psycopg.connect(limited):  # somebody else has its place
        assert [store.events.add(an_event(f"evt_{n}"), NOW) for n in range(3)] == [True] * 3
        added = together(4, lambda n: store.events.add(an_event(f"evt_1{n}"), NOW))
        assert added == [True] * 4
    store.close()


@needs_own_server
def test_who_finds_a_server_full_is_told_what_to_do(limited: str) -> None:
    store = opened_at(limited, pool=MOST + 2)
    with ExitStack() as stack:
        others = [stack.enter_context(psycopg.connect(limited)) for _ in range(MOST)]
        for n in range(3):
            with pytest.raises(StoreError, match=FULL):
                store.events.add(an_event(f"evt_{n}"), NOW)
        others[0].close()
        until(partial(is_taken, store, "evt_1"), "the place that came free")
    store.close()


@needs_own_server
def test_a_busy_pool_asks_for_no_more_than_it_may_have(limited: str) -> None:
    store = opened_at(limited, SHORT, pool=MOST)
    with taken(store, MOST), pytest.raises(StoreError, match="none of 2 connections was free"):
        store.events.add(an_event(), NOW)
    assert store.events.add(an_event(), NOW)
    store.close()


def test_what_was_lent_before_the_end_is_closed_when_it_is_given_back(store: PostgresStore) -> None:
    with taken(store, 2) as (one, other):
        store.close()
        assert store.events.add(an_event(), NOW)
        assert not one.closed
    assert one.closed
    assert other.closed


def test_a_connection_that_nobody_answered_is_closed_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        connections = Connections(f"postgres://bob@127.0.0.1:{port}/shop?connect_timeout=2", 1, 1)
        gc.disable()
        try:
            with pytest.raises(StoreError, match="timeout"):
                connections.connect()
            with silent.accept()[0] as asked:
                asked.settimeout(20)
                while asked.recv(1024):
                    pass
        finally:
            gc.enable()


# ── the bell's thread ────────────────────────────────────────────────────────────────────────────


class Surprising(Connections):
    """Fail once as nobody expects."""

    surprises = 1

    @contextmanager
    def lend(self, limit: float | None = None) -> Iterator[Connection]:
        if self.surprises:
            self.surprises -= 1
            raise RuntimeError("surprise")
        with super().lend(limit) as connection:
            yield connection


def test_rings_go_on_after_an_error_that_nobody_expects(
    url: str, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    assert not store.wait(0)
    connections = Surprising(url, 20, 1)
    bell = PostgresBell(connections, listen=True)

    def is_heard() -> bool:
        bell.ring()
        return store.wait(0)

    until(is_heard, "a ring")
    bell.close()
    connections.close()
    assert [str(each.exc_value) for each in told] == ["surprise"]
