"""What only PostgreSQL has: addresses with passwords, a server that goes away, locks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event as Signal
from threading import Thread
from typing import Any

import postgres
import psycopg
import pytest
from running import free_port, until
from stores import LATER, NOW, a_payment, an_event, opened, put_order, together

from bridge.errors import ConfigError, StoreError
from bridge.gate import Gate
from bridge.logs import told
from bridge.store import open_store
from bridge.store.persons import UNSCRUBBED
from bridge.store.postgres import PostgresStore
from bridge.store.rows import EventState

PASSWORD = "s3cret/of@mine"
QUOTED = "s3cret%2Fof%40mine"
NO_CONNECTION = r"no connection to .*is it running"
SHORT = 0.2  # seconds of patience, where it is to end


def opened_at(url: str, patience: float = 20.0, **settings: Any) -> PostgresStore:
    store = open_store(url, patience, **settings)
    assert isinstance(store, PostgresStore)
    return store


def refuses(work: Callable[[], object], said: str) -> None:
    with pytest.raises(StoreError, match=said):
        work()


@pytest.fixture
def url() -> str:
    return postgres.fresh()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = opened_at(url)
    yield store
    store.close()


@pytest.fixture
def impatient(url: str) -> Iterator[PostgresStore]:
    store = opened_at(url, SHORT)
    yield store
    store.close()


# ── addresses ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_either_scheme_opens_a_database(scheme: str, url: str) -> None:
    with opened(url.replace("postgresql", scheme, 1), migrated=False) as store:
        store.check(writable=True)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgres://bob:{}@127.0.0.1:{port}/shop", "no connection to 127.0.0.1:{port}/shop: "),
        ("postgresql://bob:{}@[::1]:{port}/shop", "no connection to ::1:{port}/shop: "),
        ("postgresql:///shop?host=/nowhere&password={}", "no connection to /nowhere/shop: "),
    ],
)
def test_where_nobody_answers_is_said_without_the_password(address: str, said: str) -> None:
    port = free_port()
    store = open_store(address.format(QUOTED, port=port))
    for use in (store.migrate, store.check, lambda: store.events.add(an_event(), NOW)):
        with pytest.raises(StoreError) as caught:
            use()
        assert str(caught.value).startswith(said.format(port=port))
        assert str(caught.value).endswith("(is it running? check DATABASE_URL)")
        whole = told(caught.value) + repr(store) + repr(vars(store))
        assert PASSWORD not in whole
        assert QUOTED not in whole
    assert not store.wait(0)
    store.ring()
    store.close()


@pytest.mark.parametrize("address", ["postgres://bob:50%of@host/db", "postgres://h/db?such=thing"])
def test_an_address_that_cannot_be_read_is_a_wrong_setting(address: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL cannot be read: write it as") as caught:
        open_store(address)
    assert "50%" not in told(caught.value)


@pytest.mark.skipif(bool(postgres.GIVEN), reason="the server is somebody else's")
def test_a_database_that_is_not_there_says_so() -> None:
    said = r'/nothing: .*database "nothing" does not exist'
    with opened(postgres.address("nothing"), migrated=False) as store:
        refuses(store.check, said)


@contextmanager
def asked_for_tls(says: bytes) -> Iterator[int]:
    """Run a server that says whether it has TLS, and is gone; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as asked:
                asked.recv(8)
                asked.sendall(says)

        thread = Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("says", "wanted", "said"),
    [
        (b"N", "require", "does not support SSL, but SSL was required .check sslmode"),
        (b"S", "verify-full&sslrootcert=/nowhere/ca.crt", "nowhere/ca.crt.*check sslmode"),
    ],
)
def test_tls_is_asked_for_as_the_address_says(says: bytes, wanted: str, said: str) -> None:
    with asked_for_tls(says) as port:
        store = open_store(f"postgres://bob@127.0.0.1:{port}/shop?sslmode={wanted}")
        with pytest.raises(StoreError, match=said):
            store.check()
        store.close()


def test_a_database_that_cannot_hold_every_text_is_refused() -> None:
    name = postgres.named("ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with opened(postgres.address(name), migrated=False) as store:
        refuses(store.migrate, r"SQL_ASCII.*ENCODING 'UTF8'")


# ── a server that goes away ──────────────────────────────────────────────────────────────────────

needs_own_server = pytest.mark.skipif(
    bool(postgres.GIVEN), reason="a server that is not ours is not stopped"
)


@contextmanager
def stopped() -> Iterator[None]:
    postgres.server().stop()
    try:
        yield
    finally:
        postgres.server().start()


def is_taken(store: PostgresStore, id: str) -> bool:
    """Send a webhook, as providers do until it is taken; tell whether it was."""
    try:
        return store.events.add(an_event(id), NOW)
    except StoreError:
        return False


@needs_own_server
def test_a_server_that_was_away_is_found_again(store: PostgresStore, url: str) -> None:
    assert together(4, lambda n: store.events.add(an_event(f"evt_{n}"), NOW)) == [True] * 4
    assert not store.wait(0)
    with stopped():
        for n in range(4, 8):
            refuses(partial(store.events.add, an_event(f"evt_{n}"), NOW), NO_CONNECTION)
        store.ring()
        until(lambda: not store.wait(0), "the end of the rings")
    together(4, lambda n: until(lambda: is_taken(store, f"evt_{n + 4}"), "the server"))
    assert store.events.count() == {"received": 8}
    assert store.wait(0)  # something may have been missed
    until(lambda: not store.wait(0), "all that may have been missed")
    with opened(url, migrated=False) as other:
        other.ring()
        assert store.wait(20)


@needs_own_server
def test_a_transaction_that_is_cut_off_has_changed_nothing(store: PostgresStore) -> None:
    def half() -> None:
        with store.atomic():
            store.events.add(an_event(), NOW)
            with stopped():
                refuses(
                    partial(store.events.mark, "stripe:evt_1", EventState.FAILED), NO_CONNECTION
                )
            store.events.mark("stripe:evt_1", EventState.FAILED)

    refuses(half, NO_CONNECTION)
    assert store.events.count() == {}
    assert store.events.add(an_event(), NOW)


def ended_by_an_admin(name: str) -> None:
    running = "SELECT pid FROM pg_stat_activity WHERE datname"
    postgres.run(f"SELECT pg_terminate_backend(pid, 20000) FROM ({running} = '{name}') AS theirs")  # noqa: S608


def test_connections_that_were_closed_are_replaced_unseen(store: PostgresStore, url: str) -> None:
    together(4, lambda n: store.events.add(an_event(f"evt_{n}"), NOW))
    ended_by_an_admin(postgres.name_of(url))
    assert together(4, lambda n: store.events.add(an_event(f"evt_{n + 4}"), NOW)) == [True] * 4


def test_a_listener_that_was_closed_listens_again(store: PostgresStore, url: str) -> None:
    assert not store.wait(0)
    ended_by_an_admin(postgres.name_of(url))
    assert store.wait(20)  # something may have been missed
    until(lambda: not store.wait(0), "all that may have been missed")
    with opened(url, migrated=False) as other:
        other.ring()
        assert store.wait(20)


# ── who waits for whom ───────────────────────────────────────────────────────────────────────────


@contextmanager
def busy(store: PostgresStore, vendor: str = "") -> Iterator[None]:
    """Be in a transaction, in a thread of its own, while the block runs."""
    begun, over = Signal(), Signal()

    def hold() -> None:
        with store.atomic(vendor):
            begun.set()
            assert over.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert begun.wait(60)
        try:
            yield
        finally:
            over.set()
        holding.result()


def write(store: PostgresStore) -> None:
    store.facts.put("name", "value")


def begin(vendor: str = "") -> Callable[[PostgresStore], None]:
    def run(store: PostgresStore) -> None:
        with store.atomic(vendor):
            pass

    return run


def lease(store: PostgresStore) -> None:
    put_order(store)
    assert store.deliveries.lease("acme", NOW, LATER, "mine", 1)


@pytest.mark.parametrize(
    ("holder", "work"),
    [
        pytest.param("", begin(), id="two of all"),
        pytest.param("", begin("acme"), id="a vendor after all"),
        pytest.param("", write, id="a statement after all"),
        pytest.param("acme", begin(), id="all after a vendor"),
        pytest.param("acme", begin("acme"), id="two of one vendor"),
    ],
)
def test_one_waits_for_another(
    store: PostgresStore, impatient: PostgresStore, holder: str, work: Callable[[Any], None]
) -> None:
    with busy(store, holder):
        refuses(partial(work, impatient), r"lock timeout.*other writers took too long")
    work(impatient)


@pytest.mark.parametrize(
    ("holder", "work"),
    [
        pytest.param("", lambda each: each.events.add(an_event(), NOW), id="a webhook"),
        pytest.param("", lambda each: each.events.count(), id="who reads"),
        pytest.param("", lambda each: each.check(writable=True), id="readyz"),
        pytest.param("acme", begin("zeta"), id="another vendor"),
        pytest.param("acme", write, id="a statement beside a vendor"),
    ],
)
def test_nobody_waits_needlessly(
    store: PostgresStore, impatient: PostgresStore, holder: str, work: Callable[[Any], None]
) -> None:
    with busy(store, holder):
        work(impatient)


def test_a_webhook_finds_a_connection_while_all_writers_wait(store: PostgresStore) -> None:
    with ThreadPoolExecutor(8) as pool, busy(store):
        waiting = [pool.submit(write, store) for _ in range(8)]
        assert store.events.add(an_event(), NOW)
        assert not any(each.done() for each in waiting)


def test_a_vendors_transaction_cannot_become_one_of_all(store: PostgresStore) -> None:
    with store.atomic("acme"), pytest.raises(RuntimeError, match="cannot become wider"):
        store.atomic()
    with store.atomic(), store.atomic("acme"), store.atomic("acme"):
        store.gates.put("acme", Gate(pauses=1))
    assert store.gates.get("acme").pauses == 1


def test_gates_of_all_vendors_count_every_call(store: PostgresStore) -> None:
    def call(thread: int) -> None:
        vendor = f"vendor_{thread % 3}"
        for _ in range(5):
            with store.atomic(vendor):
                store.gates.put(vendor, Gate(pauses=store.gates.get(vendor).pauses + 1))

    together(9, call)
    assert [store.gates.get(f"vendor_{each}").pauses for each in range(3)] == [15] * 3


def test_a_failed_statement_that_somebody_passes_over_is_not_forgotten(
    store: PostgresStore,
) -> None:
    def half() -> None:
        with store.atomic():
            store.events.add(an_event(), NOW)
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                store.orders.add("stripe:unheard", [a_payment("in_1")])

    with pytest.raises(RuntimeError, match="ended in ROLLBACK"):
        half()
    assert store.events.count() == {}


def test_nothing_of_a_session_is_left_on_a_connection(url: str) -> None:
    store = opened_at(url, pool=1)
    lease(store)
    for n in range(10):
        with store.atomic("acme"):
            store.gates.put("acme", Gate(pauses=n))
        store.facts.get("name")
    left = """SELECT (SELECT count(*) FROM pg_prepared_statements) AS statements,
        (SELECT count(*) FROM pg_listening_channels()) AS channels,
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks,
        (SELECT count(*) FROM pg_settings WHERE source = 'session') AS settings"""
    with store._connections.lend() as connection:  # a query has limits of its own while it runs
        found = connection.execute(left).fetchall()
    assert found == [{"statements": 0, "channels": 0, "locks": 0, "settings": 0}]
    store.close()


# ── what was redacted ────────────────────────────────────────────────────────────────────────────


def test_what_was_redacted_is_vacuumed(store: PostgresStore) -> None:
    put_order(store)
    store.persons.empty_event("stripe:evt_in_1", "redacted")
    store.persons.mark_unscrubbed()
    assert store.scrub()
    assert not store.facts.get(UNSCRUBBED)
    vacuumed = "SELECT n_dead_tup AS dead FROM pg_stat_user_tables WHERE relname = 'events'"
    until(lambda: store.query(vacuumed) == [{"dead": 0}], "the statistics of a vacuum")


# ── without being woken ──────────────────────────────────────────────────────────────────────────


def test_without_listening_nobody_sleeps_long(url: str) -> None:
    store = opened_at(url, listen=False)
    assert not store.wait(0)
    assert not store.wait(3600)
    store.ring()
    assert store.wait(3600)
    assert not [each for each in threading.enumerate() if each.name == "bell"]
    store.close()


def test_rings_are_sent_before_a_process_ends(store: PostgresStore, url: str) -> None:
    assert not store.wait(0)
    with opened(url, migrated=False) as other:
        other.ring()
    assert store.wait(20)
