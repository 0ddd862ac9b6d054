"""The connections of a process to PostgreSQL: how many, and what becomes of those that fail."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import postgres
import pytest
from running import until
from stores import NOW, an_event, opened

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


# ── the bell's thread ────────────────────────────────────────────────────────────────────────────


class Surprising(Connections):
    """Fail once as nobody expects."""

    surprises = 1

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        if self.surprises:
            self.surprises -= 1
            raise RuntimeError("surprise")
        with super().lend() as connection:
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
