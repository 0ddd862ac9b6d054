"""PostgreSQL, through psycopg: any number of machines and processes.

Transactions are READ COMMITTED, and who may write at the same time is settled by advisory locks
that end with their transaction, so that they hold behind a pooler, too. There is one for all that
is kept, and one for each vendor:

    atomic()         takes the lock of all alone: no other writer is at work, as on SQLite
    atomic(vendor)   shares the lock of all, and takes the vendor's alone: deliveries to different
                     vendors go on side by side, but none while the ledger changes
    one statement    outside of a transaction shares the lock of all while it runs
    append()         takes none: what adds a row that only others will read waits for nobody,
                     which is how a webhook is acknowledged while the ledger is busy; nor does who
                     reads

So whatever is read in `atomic()` stays true until it ends, but for events that are added. The lock
of all is always taken first, and each transaction takes at most one other: nobody can wait for
somebody who waits for him. Nothing else is left on a connection, but LISTEN on one of its own.

Where the end of a transaction is not heard of, as the connection broke, the server is asked what
became of it, so that nothing is written twice. A row of append() is found when it is added again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from bridge.codec import iso
from bridge.errors import StoreError
from bridge.store import schema
from bridge.store.addresses import Addresses
from bridge.store.asks import Asks
from bridge.store.connections import (
    ASK_AGAIN_SECONDS,
    SILENT_FOR,
    Connection,
    Connections,
    limit_for,
)
from bridge.store.customers import Customers
from bridge.store.database import appended
from bridge.store.deliveries import Deliveries
from bridge.store.dialect import POSTGRES, as_postgres, numbered
from bridge.store.events import Events
from bridge.store.facts import Facts
from bridge.store.gates import Gates
from bridge.store.orders import Orders
from bridge.store.persons import UNSCRUBBED, Persons
from bridge.store.postgres_bell import PostgresBell
from bridge.store.requests import Requests
from bridge.store.rows import Row

# Who starts while another makes the schema anew waits for it.
MIGRATION_PATIENCE = 600.0
# So many times its patience may somebody be silent in the middle of a transaction.
IDLE_FOR = 3
# Who waited for a connection all its patience waits for a table so long, at least.
LEAST_WAIT = 0.1
# To go through all tables may take long.
SCRUBBING_SECONDS = 6 * 3600.0
# Any number will do that nobody else takes for a lock in the same database.
LOCK_OF_ALL = int.from_bytes(b"bridge")
ALONE = f"SELECT pg_advisory_xact_lock({LOCK_OF_ALL})"
BESIDE = f"SELECT pg_advisory_xact_lock_shared({LOCK_OF_ALL})"
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
NUMBER = "SELECT txid_current() AS number"
# What holds until the end of a transaction: it waits no longer for others, and is on disk when it
# is said to be, whatever the role or database is told. Who wants more than `on` keeps it.
LIMITS = """SELECT set_config('lock_timeout', '{}', true), set_config('synchronous_commit',
    replace(current_setting('synchronous_commit'), 'off', 'on'), true)"""
# A machine that is cut off in the middle of one would hold its locks until somebody notices.
IDLE = "SET LOCAL idle_in_transaction_session_timeout = {}"
# Where persons are written of, and taken out.
SCRUBBED = (
    "events, event_keys, payments, conversions, conversion_keys, aliases, clicks, click_keys, "
    "bonds, bond_keys, addresses, deliveries, attempts, asks, facts"
)

WRITTEN = """INSERT INTO facts (name, value) VALUES ('written_at', :now)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value"""


@dataclass
class _Transaction:
    """Hold the transaction that a thread is in: of one vendor, or of all."""

    connection: Connection
    vendor: str
    depth: int = 0
    rings: bool = False


class PostgresStore:
    """Keep everything in a PostgreSQL database."""

    dialect = POSTGRES

    def __init__(self, url: str, patience: float, *, pool: int, listen: bool) -> None:
        self._connections = Connections(url, patience, pool)
        self.where = self._connections.where
        self._patience = patience
        self._local = threading.local()
        self._bell = PostgresBell(self._connections, listen=listen)
        self.events = Events(self)
        self.orders = Orders(self)
        self.customers = Customers(self)
        self.deliveries = Deliveries(self)
        self.gates = Gates(self)
        self.asks = Asks(self)
        self.persons = Persons(self)
        self.addresses = Addresses(self)
        self.requests = Requests(self)
        self.facts = Facts(self)

    # ── the store ──

    def migrate(self) -> list[str]:
        """Bring the schema up to date; return the names of the steps that ran."""
        with self._transaction(ALONE, patience=MIGRATION_PATIENCE):
            self._require_utf8()
            for statement in schema.RECORD:
                self.execute(as_postgres(statement))
            pending = self._pending()
            for name in pending:
                schema.STEPS[name](_Making(self))
                self.execute(
                    "INSERT INTO migrations (name, applied_at) VALUES (:name, :now)",
                    {"name": name, "now": iso(datetime.now(UTC))},
                )
        return pending

    def check(self, *, writable: bool = False) -> None:
        """Raise StoreError unless the schema is up to date and, if asked, a write succeeds."""
        if self._pending():
            raise StoreError(f"{self._connections.where} is not migrated (run `bridge migrate`)")
        if writable:
            self._sent(*_with_values(WRITTEN, {"now": iso(datetime.now(UTC))}), quick=True)

    def ring(self) -> None:
        """Wake the workers: something is to be done, once it is committed and can be seen."""
        if within := self._within:
            within.rings = True
        else:
            self._bell.ring()

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody rings, at most so long."""
        return self._bell.wait(seconds)

    def scrub(self) -> bool:
        """Have the space of what was redacted since the last time used again.

        PostgreSQL leaves the old row where it was until then. Copies stay in its log, its replicas
        and its backups, for as long as those are kept.
        """
        due = self.facts.get(UNSCRUBBED)
        if not due:
            return True
        lent = self._connections.lend(SCRUBBING_SECONDS)
        with self._connections.explained(), lent as connection:
            connection.execute(f"VACUUM {SCRUBBED}")
        # What was redacted meanwhile has given it another value.
        return self.facts.remove(UNSCRUBBED, due)

    def close(self) -> None:
        """Give back every connection."""
        self._bell.close()
        self._connections.close()

    # ── the database ──

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """Return the rows that a statement gives."""
        if self._within or sql.lstrip().startswith("SELECT"):
            return self._run(sql, params).fetchall()
        with self._transaction(BESIDE):
            return self._run(sql, params).fetchall()

    def execute(self, sql: str, params: Mapping[str, object] | None = None) -> int:
        """Run a statement and return how many rows it changed."""
        if self._within:
            return self._run(sql, params).rowcount
        with self._transaction(BESIDE):
            return self._run(sql, params).rowcount

    def append(
        self, table: str, rows: Sequence[Row], unique: str, *, rings: bool = False
    ) -> list[bool]:
        """Add rows that nobody has read before; waits for no other writer."""
        # In one order, as two who add the same rows would otherwise wait for each other.
        order = sorted(range(len(rows)), key=lambda at: str(rows[at][unique]))
        added = appended(self._returned, "$", table, [rows[at] for at in order], unique)
        new = dict(zip(order, added, strict=True))
        if rings and any(new.values()):
            self.ring()
        return [new[at] for at in range(len(rows))]

    def atomic(self, vendor: str = "") -> AbstractContextManager[None]:
        """Run a block in one transaction; a nested block joins as a savepoint."""
        if within := self._within:
            if within.vendor not in ("", vendor):
                raise RuntimeError(f"a transaction of {within.vendor!r} alone cannot become wider")
            return self._savepoint(within)
        if not vendor:
            return self._transaction(ALONE)
        return self._transaction(f"{BESIDE}; {_lock_of(vendor)}", vendor)

    @property
    def _within(self) -> _Transaction | None:
        return getattr(self._local, "transaction", None)

    def _run(self, sql: str, params: Mapping[str, object] | None) -> psycopg.RawCursor[Row]:
        return self._sent(*_with_values(sql, params))

    def _returned(self, statement: str, values: list[object]) -> list[tuple[object, ...]]:
        rows = self._sent(statement, values, quick=True).fetchall()
        return [tuple(row.values()) for row in rows]

    def _sent(
        self, statement: str, values: list[object] | None, *, quick: bool = False
    ) -> psycopg.RawCursor[Row]:
        if within := self._within:
            return self._send(within.connection, statement, values)
        deadline = time.monotonic() + self._patience
        lend = self._connections.lend if quick else self._connections.lend_patiently
        with lend() as connection:
            left = max(deadline - time.monotonic(), LEAST_WAIT)
            if quick:
                connection.limit = limit_for(left)
            return self._send_alone(connection, _limits(left), statement, values)

    def _send_alone(
        self, connection: Connection, limits: str, statement: str, values: list[object] | None
    ) -> psycopg.RawCursor[Row]:
        """Send a statement as a transaction of its own, with its limits, in one journey.

        PostgreSQL takes what it is sent together as one transaction, and commits it at the end.
        """
        cursor = psycopg.RawCursor(connection)
        try:
            with self._connections.explained(), connection.pipeline():
                connection.execute(limits)
                cursor.execute(statement, values)
        finally:
            if connection.pgconn.pipeline_status:  # the end itself failed
                connection.close()
        return cursor

    def _send(
        self, connection: Connection, statement: str, values: list[object] | None = None
    ) -> psycopg.RawCursor[Row]:
        cursor = psycopg.RawCursor(connection)
        with self._connections.explained():
            return cursor.execute(statement, values)

    @contextmanager
    def _transaction(self, lock: str, vendor: str = "", patience: float = 0) -> Iterator[None]:
        """Run a block in a transaction that begins with taking a lock."""
        limit = limit_for(patience * SILENT_FOR) if patience else None
        with self._connections.lend_patiently(limit) as connection:
            within = self._local.transaction = _Transaction(connection, vendor)
            try:
                number = self._begin(connection, patience or self._patience, lock)
                yield
                self._commit(connection, number)
            except BaseException:
                _roll_back(connection)
                raise
            finally:
                self._local.transaction = None
        if within.rings:
            self._bell.ring()

    def _begin(self, connection: Connection, patience: float, lock: str) -> int:
        """Begin a transaction, and return the number by which the server knows it."""
        begun = self._send(connection, _begin(patience, lock))
        while begun.nextset():
            pass
        return int(begun.fetchall()[0]["number"])

    def _commit(self, connection: Connection, number: int) -> None:
        try:
            done = self._send(connection, "COMMIT").statusmessage
        except StoreError as error:
            if not (connection.closed and self._was_committed(number, error)):
                raise
            return
        if done != "COMMIT":  # a statement failed, and somebody went on as if it had not
            raise RuntimeError(f"a transaction with a failed statement ended in {done}")

    def _was_committed(self, number: int, cut_off: StoreError) -> bool:
        """Ask what became of a transaction whose end was not heard of; raise where nobody knows.

        What was written may not be written again, so it is asked for as long as anybody would try.
        """
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            with suppress(StoreError), closing(self._connections.connect()) as other:
                answer = self._send(other, f"SELECT txid_status({number}) AS status").fetchall()
                if (status := answer[0]["status"]) != "in progress":
                    return bool(status == "committed")
            time.sleep(ASK_AGAIN_SECONDS)
        raise cut_off

    @contextmanager
    def _savepoint(self, within: _Transaction) -> Iterator[None]:
        within.depth += 1
        name = f"inner_{within.depth}"
        self._send(within.connection, f"SAVEPOINT {name}")
        try:
            yield
            self._send(within.connection, f"RELEASE {name}")
        except BaseException:
            with suppress(psycopg.Error):
                within.connection.execute(f"ROLLBACK TO {name}; RELEASE {name}")
            raise
        finally:
            within.depth -= 1

    # ── the schema ──

    def _pending(self) -> list[str]:
        done = {row["name"] for row in self.query("SELECT name FROM migrations")}
        return [name for name in schema.STEPS if name not in done]

    def _require_utf8(self) -> None:
        encoding = self.query("SELECT current_setting('server_encoding') AS value")[0]["value"]
        if encoding != "UTF8":
            raise StoreError(
                f"{self._connections.where} keeps texts as {encoding}, which cannot hold all of "
                "them (create the database with ENCODING 'UTF8' TEMPLATE template0)"
            )


class _Making:
    """Run the statements of a step, which are written for SQLite."""

    def __init__(self, store: PostgresStore) -> None:
        self.dialect = store.dialect
        self.query = store.query
        self.atomic = store.atomic
        self.append = store.append
        self._store = store

    def execute(self, sql: str, params: Mapping[str, object] | None = None) -> int:
        """Run a statement, which may make a table."""
        return self._store.execute(as_postgres(sql), params)


def _limits(patience: float) -> str:
    return LIMITS.format(_milliseconds(patience))


def _begin(patience: float, lock: str) -> str:
    idle = IDLE.format(_milliseconds(patience) * IDLE_FOR)
    return f"{BEGIN}; {_limits(patience)}; {idle}; {lock}; {NUMBER}"


def _milliseconds(seconds: float) -> int:
    return round(max(seconds, 0.001) * 1000)


def _with_values(sql: str, params: Mapping[str, object] | None) -> tuple[str, list[object] | None]:
    statement, names = numbered(sql)
    return statement, [params[name] for name in names] if params else None


def _roll_back(connection: Connection) -> None:
    with suppress(psycopg.Error):
        connection.execute("ROLLBACK")


def _lock_of(vendor: str) -> str:
    number = int.from_bytes(hashlib.sha256(vendor.encode()).digest()[:8], signed=True)
    return f"SELECT pg_advisory_xact_lock({number})"
