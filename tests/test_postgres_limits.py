"""Nobody waits for PostgreSQL for ever, what it says is told as it is, and 200 means on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import postgres
import psycopg
import pytest
from postgres_relay import relayed
from running import until
from stores import NOW, an_event
from test_postgres import SHORT, is_taken, opened_at, refuses

from bridge.errors import StoreError
from bridge.store.postgres import PostgresStore

TOOK_LONG = "other writers took too long"
SILENT = r"no connection to .*it did not answer for"


@pytest.fixture
def url() -> str:
    return postgres.fresh()


@pytest.fixture
def impatient(url: str) -> Iterator[PostgresStore]:
    store = opened_at(url, SHORT)
    store.check()
    yield store
    store.close()


def add(store: PostgresStore) -> bool:
    return store.events.add(an_event(), NOW)


def write(store: PostgresStore) -> None:
    with store.atomic():
        store.facts.put("name", "value")


# ── a table that somebody holds ──────────────────────────────────────────────────────────────────


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    with psycopg.connect(url) as other:
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


@pytest.mark.parametrize(
    ("table", "work", "said"),
    [
        pytest.param("events", add, TOOK_LONG, id="a webhook"),
        pytest.param("facts", write, TOOK_LONG, id="a transaction"),
        pytest.param("facts", lambda store: store.check(writable=True), TOOK_LONG, id="readyz"),
        pytest.param("events", lambda store: store.events.count(), TOOK_LONG, id="who reads"),
    ],
)
def test_nobody_waits_longer_for_a_table_than_the_patience(
    url: str, impatient: PostgresStore, table: str, work: Callable[[PostgresStore], None], said: str
) -> None:
    with locked(url, table):
        refuses(partial(work, impatient), said)
    assert is_taken(impatient, "evt_2")
    assert impatient.events.count() == {"received": 1}


def test_what_ended_a_wait_is_left_on_no_connection(url: str) -> None:
    store = opened_at(url, SHORT, pool=1, listen=False)
    with locked(url, "events"):
        refuses(partial(add, store), "took too long")
    assert add(store)
    assert not add(store)
    with store._connections.lend() as connection:
        left = connection.execute("SELECT name FROM pg_settings WHERE source = 'session'")
        assert left.fetchall() == []
    store.close()


# ── a server that stands still ───────────────────────────────────────────────────────────────────


def test_a_server_that_is_silent_is_an_error_and_what_it_did_is_found(url: str) -> None:
    with relayed(url) as relay:
        store = opened_at(relay.url, SHORT)
        store.check()
        relay.hush_at("INSERT INTO events")
        refuses(partial(add, store), SILENT)
        relay.hush_at("INSERT INTO facts")
        refuses(partial(write, store), "no connection to")
        relay.hush_at("SELECT")
        refuses(store.events.count, SILENT)
        # What was asked for last has come, though nobody heard the answer.
        until(lambda: store.events.count() == {"received": 1}, "the webhook that was stored")
        assert not add(store)
        assert not store.facts.get("name")
        store.close()


def test_a_silent_end_of_a_transaction_is_asked_for(url: str) -> None:
    with relayed(url) as relay:
        store = opened_at(relay.url, SHORT)

        def late() -> None:
            with store.atomic():
                store.facts.put("name", "value")
                relay.hush_at("COMMIT\0")

        late()
        assert store.facts.get("name") == "value"
        store.close()


# ── what the server says ─────────────────────────────────────────────────────────────────────────


@contextmanager
def told_to(url: str, setting: str, value: str) -> Iterator[None]:
    """Have a database use a setting for who connects while a block runs."""
    alter = f'ALTER DATABASE "{postgres.name_of(url)}"'
    postgres.run(f"{alter} SET {setting} = '{value}'")
    try:
        yield
    finally:
        postgres.run(f"{alter} RESET {setting}")


def test_a_timeout_of_the_role_is_not_called_a_lost_connection(url: str) -> None:
    with told_to(url, "statement_timeout", "300"), locked(url, "events"):
        store = opened_at(url)
        with pytest.raises(StoreError, match=r"statement timeout \(raise statement_timeout") as at:
            store.events.count()
        assert "no connection" not in str(at.value)
        store.close()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("53100", r": said \(its disk is full: make room"),
        ("53200", r": said \(it has no memory left"),
        ("58030", r": said$"),
        ("57P01", r"^no connection to .*: said \(is it running\?"),
        ("08006", r"^no connection to .*: said \(is it running\?"),
    ],
)
def test_what_fails_is_said_with_what_helps(
    impatient: PostgresStore, state: str, said: str
) -> None:
    raising = f"DO $$ BEGIN RAISE 'said' USING ERRCODE = '{state}'; END $$"
    refuses(partial(impatient.execute, raising), said)


# ── on disk ──────────────────────────────────────────────────────────────────────────────────────

SEEN = ("events", "facts")
NOTING, THEN = "CREATE TRIGGER note AFTER INSERT ON", "EXECUTE FUNCTION note()"
NOTED = "CREATE TABLE seen (value text)"
NOTE = """CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$"""


@pytest.mark.parametrize(
    ("given", "used"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")]
)
def test_what_is_acknowledged_is_on_disk_whatever_the_database_is_told(
    given: str, used: str
) -> None:
    url = postgres.lasting()
    with psycopg.connect(url) as own:
        for statement in (NOTED, NOTE, *(f"{NOTING} {table} {THEN}" for table in SEEN)):
            own.execute(statement.encode())
    with told_to(url, "synchronous_commit", given):
        store = opened_at(url, listen=False)
        assert add(store)
        write(store)
        store.facts.put("name", "another")
        assert [row["value"] for row in store.query("SELECT value FROM seen")] == [used] * 3
        with store._connections.lend() as connection:
            left = connection.execute("SELECT current_setting('synchronous_commit') AS value")
            assert left.fetchall() == [{"value": given}]
        store.close()


# ── the end of what is sent together ─────────────────────────────────────────────────────────────

LATE = """CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE 'late'; END $$"""
AT_THE_END = """CREATE CONSTRAINT TRIGGER late AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION late()"""


def test_a_webhook_whose_commit_fails_is_not_stored() -> None:
    url = postgres.lasting()
    store = opened_at(url, pool=1, listen=False)
    with psycopg.connect(url) as own:
        own.execute(LATE)
        own.execute(AT_THE_END)
    with pytest.raises(StoreError):
        add(store)
    assert store.events.count() == {}
    with psycopg.connect(url) as own:
        own.execute("DROP TRIGGER late ON events")
    assert add(store)
    store.close()
