"""What only SQLite has: files that cannot be opened, settings of a connection, query plans."""

from __future__ import annotations

import os
import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from stores import (
    LATER,
    NOW,
    VENDOR,
    a_call,
    a_conversion,
    a_payment,
    a_told,
    an_attempt,
    an_event,
    ended,
    lease_one,
    process,
    put_order,
    row_of,
)

from bridge.errors import StoreError
from bridge.model import Told
from bridge.store.rows import AskState, DeliveryState, EventState
from bridge.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(path))
    store.migrate()
    yield store
    store.close()


# ── files that cannot be used ────────────────────────────────────────────────────────────────────


def refused(path: Path) -> str:
    """Return what a store says when it is checked, used and migrated, all of which must fail."""
    store = SqliteStore(str(path))
    try:
        for use in (
            store.migrate,
            lambda: store.events.add(an_event(), NOW),
            lambda: store.check(writable=True),
        ):
            with pytest.raises(StoreError) as caught:
                use()
    finally:
        store.close()
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_not_there_is_not_made_by_looking(path: Path) -> None:
    store = SqliteStore(str(path))
    with pytest.raises(StoreError, match=r"no such file.*DATABASE_URL.*bridge migrate"):
        store.check()
    store.close()
    assert not path.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "its folder does not exist: check DATABASE_URL" in refused(tmp_path / "none" / "b.db")


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    assert "check DATABASE_URL and who may write there" in refused(tmp_path)


def test_a_file_that_is_something_else(path: Path) -> None:
    path.write_text("a letter to the tax office, of more than a hundred bytes" * 3)
    assert "DATABASE_URL names a file that is something else" in refused(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="whoever is root may write everywhere")
def test_a_file_that_may_only_be_read_is_read_and_written_once_it_may_be(
    store: SqliteStore, path: Path
) -> None:
    store.close()
    path.chmod(0o400)
    assert store.events.newest() == []
    store.check()
    for use in (
        lambda: store.events.add(an_event(), NOW),
        lambda: store.check(writable=True),
    ):
        with pytest.raises(StoreError, match="check DATABASE_URL and who may write there"):
            use()
    path.chmod(0o600)
    assert store.events.add(an_event(), NOW)


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=memory#b%20 ü.db"
    store = SqliteStore(str(path))
    store.migrate()
    store.close()
    assert path.is_file()


def test_what_is_wrong_with_a_row_is_no_failure_of_the_store(store: SqliteStore) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        store.deliveries.make_due("stripe:nothing", [VENDOR], NOW)
    with pytest.raises(sqlite3.IntegrityError, match="TEXT"):
        store.execute("UPDATE facts SET value = x'00'")


def test_a_commit_that_fails_is_undone(store: SqliteStore) -> None:
    def half() -> None:
        with store.atomic():
            store.execute("PRAGMA defer_foreign_keys = ON")
            store.deliveries.make_due("stripe:nothing", [VENDOR], NOW)

    with pytest.raises(sqlite3.IntegrityError):
        half()
    with store.atomic():
        assert store.deliveries.newest() == []


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("secure_delete", 1)],
)
def test_every_connection_is_safe(store: SqliteStore, pragma: str, value: object) -> None:
    found: list[object] = []

    def look() -> None:
        found.extend(store.query(f"PRAGMA {pragma}")[0].values())

    thread = Thread(target=look)
    thread.start()
    thread.join()
    look()
    assert found == [value, value]


def test_every_table_is_strict(store: SqliteStore) -> None:
    tables = store.query("PRAGMA table_list")
    loose = {row["name"] for row in tables if not row["strict"]}
    assert loose == {"_sqlite_migrations", "sqlite_schema", "sqlite_temp_schema"}


def test_a_connection_ends_with_its_thread(store: SqliteStore) -> None:
    before = len(store._opened)
    for _ in range(5):
        thread = Thread(target=store.events.count)
        thread.start()
        thread.join()
    assert len(store._opened) == before == 1


def test_a_worker_that_died_is_rung_no_more(store: SqliteStore, path: Path) -> None:
    store.wait(0)
    dying = process("store.wait(0); print(store._bell._address, flush=True)\n"
                    "import os; os._exit(1)", f"sqlite:///{path}")  # fmt: skip
    _, address = ended(dying)
    assert Path(address).exists()
    store.ring()
    assert not Path(address).exists()
    assert store.wait(0)


# ── what was deleted ──


@pytest.mark.parametrize("seed", range(4))
def test_what_moved_within_the_file_leaves_no_copies(
    store: SqliteStore, path: Path, seed: int
) -> None:
    """Where SQLite balances its pages it leaves copies, which no deletion overwrites."""
    chance = random.Random(seed)  # noqa: S311
    people = [(f"external_id:{chance.random()}", chance.random() < 0.2) for _ in range(300)]
    for key, leaves in people:
        store.customers.join([key])
        click = ("leaving " if leaves else "staying ") * chance.randint(1, 60)
        store.customers.add_click(VENDOR, click, [key], NOW, exact=True, source=f"for:{key}")
        for longer in chance.choices(people, k=1):
            store.execute(
                "UPDATE clicks SET value = value || substr(value, 1, :more) WHERE key = :key",
                {"key": longer[0], "more": chance.randint(1, 800)},
            )
    with store.atomic():
        for key, leaves in people:
            if leaves:
                store.persons.forget([key], [], set())
        store.persons.mark_unscrubbed()
    assert store.scrub()
    left = path.read_bytes() + path.with_name(f"{path.name}-wal").read_bytes()
    assert b"staying" in left
    assert b"leaving" not in left


# ── query plans ──────────────────────────────────────────────────────────────────────────────────

# A subquery that gives a few rows may be scanned; a table only along an index.
SCAN = re.compile(r"SCAN (?!CONSTANT|\d+ CONSTANT|\(|lost\b|due\b|soonest\b)\w+(?! USING)\b")


def events(store: SqliteStore) -> None:
    store.events.add(an_event("evt_new"), NOW)
    store.events.get("stripe:evt_1")
    store.events.find("evt_1")
    store.events.received(100)
    store.events.newest(EventState.FAILED)
    store.events.mark("stripe:evt_1", EventState.PROCESSED)
    store.events.of_payments(["stripe:in_1"])
    store.events.of_keys(["stripe:cus_1"])


def orders(store: SqliteStore) -> None:
    store.orders.add("stripe:evt_in_1", [a_payment("in_1", "pi_1"), a_payment("ch_1", "pi_1")])
    store.orders.refs("stripe:in_1")
    store.orders.payments("stripe:in_1")
    store.orders.of_event("stripe:evt_1")
    store.orders.is_redacted("stripe:in_1")
    store.orders.of_keys(["stripe:cus_1"])
    store.orders.conversions_of("stripe:in_1")
    store.orders.subscription("stripe", "sub_1")
    store.orders.put(a_conversion(customer="cus_2", keys=("stripe:cus_2",)), NOW)
    store.orders.newest()
    store.orders.newest("parked")
    store.orders.find(["stripe:in_1"], "cus_1")
    store.orders.remove("stripe:in_1")


def customers(store: SqliteStore) -> None:
    store.customers.join(["stripe:cus_1", "email:1"])
    store.customers.join(["stripe:cus_2", "email:2"])
    store.customers.join(["stripe:cus_1", "stripe:cus_2"])
    store.customers.aliases(["stripe:cus_1"])
    store.customers.find(["stripe:cus_1"])
    store.customers.add_click(VENDOR, "c", ["stripe:cus_1"], NOW, exact=True, source="api")
    store.customers.clicks(["stripe:cus_1"])


def deliveries(store: SqliteStore) -> None:
    row, _ = store.deliveries.lease(VENDOR, NOW, LATER, "mine", 4)
    store.deliveries.start(row, a_call(), LATER)
    store.deliveries.record(an_attempt(row.id))
    store.deliveries.tell(row, a_told(), NOW)
    store.deliveries.release(row, DeliveryState.SETTLED, NOW)
    store.deliveries.revive(row.id, NOW)
    store.deliveries.hand_over(row, "stripe:in_2@acme", Told(), NOW)
    store.deliveries.of_conversion("stripe:in_1")
    store.deliveries.attempts(row.id)
    store.deliveries.newest()
    store.deliveries.newest("dead")
    store.deliveries.next_at([VENDOR])


def asks(store: SqliteStore) -> None:
    store.asks.add("stripe", "", "pi_1", NOW)
    (ask,) = store.asks.due(NOW, 10)
    store.asks.next_at()
    store.asks.record(ask, AskState.ANSWERED, LATER, "")
    store.asks.about("pi_1")


def persons(store: SqliteStore) -> None:
    store.persons.events_of_keys(["stripe:cus_1"])
    store.persons.events_of_orders(["stripe:in_1"])
    store.persons.events_of_account("stripe", "acct_1")
    store.persons.orders_of_events(["stripe:evt_in_1"])
    store.persons.keys_of_events(["stripe:evt_in_1"])
    store.persons.keys_of_orders(["stripe:in_1"])
    store.persons.conversions_of_keys(["stripe:cus_1"])
    store.persons.used(["stripe:cus_1"])
    store.persons.rewrite_payments("stripe:evt_in_1", lambda payment: payment)
    store.persons.empty_event("stripe:evt_in_1", "redacted")
    store.persons.rewrite_delivery(row_of(store), NOW)
    store.persons.forget(["stripe:cus_1"], [], set())


@pytest.mark.parametrize("use", [events, orders, customers, deliveries, asks, persons])
def test_nothing_reads_a_whole_table(
    store: SqliteStore, use: Callable[[SqliteStore], None]
) -> None:
    put_order(store)
    put_order(store, "in_2")
    scans = {sql: plan for sql, plan in plans(store, use) if SCAN.search(plan)}
    assert scans == {}


def test_what_workers_do_all_the_time_sorts_nothing(store: SqliteStore) -> None:
    def work(store: SqliteStore) -> None:
        store.deliveries.lease(VENDOR, NOW, LATER, "mine", 4)
        store.deliveries.next_at([VENDOR])
        store.events.received(100)
        store.asks.due(NOW, 10)
        store.asks.next_at()
        for state in ("", "waiting"):
            store.events.newest(state)
            store.orders.newest(state)
            store.deliveries.newest(state)

    put_order(store)
    sorts = {sql: plan for sql, plan in plans(store, work) if "TEMP B-TREE" in plan}
    # The leases that ran out are few: those that a vendor's threads hold are the most there can be.
    assert [sql for sql in sorts if "leased_until <=" not in sql] == []
    assert all(plan.count("TEMP B-TREE") == 1 for plan in sorts.values())


def plans(store: SqliteStore, use: Callable[[SqliteStore], None]) -> Iterator[tuple[str, str]]:
    """Return the statements that are run, each with its query plan."""
    statements: list[str] = []
    store._db.conn.set_trace_callback(statements.append)
    use(store)
    store._db.conn.set_trace_callback(None)
    assert statements
    for sql in dict.fromkeys(statements):
        if sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}:
            plan = store.query(f"EXPLAIN QUERY PLAN {sql}")
            yield sql, "\n".join(row["detail"] for row in plan)


def test_nobody_waits_for_a_look_at_an_empty_queue(store: SqliteStore, path: Path) -> None:
    put_order(store)
    lease_one(store)
    other = SqliteStore(str(path))
    with other.atomic():  # would have to be waited for by anybody who writes
        assert store.deliveries.lease(VENDOR, NOW, LATER, "mine", 4) == []
        assert store.deliveries.next_at([VENDOR]) == NOW + timedelta(minutes=1)
        assert row_of(store).state is DeliveryState.SENDING
    other.close()
