"""SQLite, through sqlite-utils: one file, one machine, one writer at a time.

Every thread has a connection of its own. Write transactions begin with BEGIN IMMEDIATE: the
`atomic()` of sqlite-utils opens a plain BEGIN, and a transaction that reads first and writes later
then fails at once with "database is locked" when somebody else wrote meanwhile. Whoever writes
waits for its turn (`turns.py`), for as long as its patience lasts.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import sqlite_utils

from bridge.codec import iso
from bridge.errors import StoreError
from bridge.store.addresses import Addresses
from bridge.store.asks import Asks
from bridge.store.bell import Bell
from bridge.store.customers import Customers
from bridge.store.database import appended
from bridge.store.deliveries import Deliveries
from bridge.store.dialect import SQLITE
from bridge.store.events import Events
from bridge.store.facts import Facts
from bridge.store.gates import Gates
from bridge.store.migrations import migrations
from bridge.store.orders import Orders
from bridge.store.persons import UNSCRUBBED, Persons
from bridge.store.requests import Requests
from bridge.store.rows import Row
from bridge.store.sqlite_file import (
    BUSY_TIMEOUT,
    begun,
    connect,
    hint,
    identity,
    is_busy,
    is_mistake,
    make,
)
from bridge.store.turns import PAUSE, NoTurnError, Turns

# Nobody is to wait for long while somebody else's old view of the database is in use.
SCRUB_PATIENCE = 0.25
# Anybody may ask whether the database can be written, as often as they like.
CHECK_EVERY = timedelta(seconds=1)
NEVER = datetime.min.replace(tzinfo=UTC)
# What a statement begins with that changes nothing, and need not wait for those who write.
READS = ("SELECT", "WITH", "EXPLAIN", "PRAGMA")

AT_ONCE = "PRAGMA busy_timeout = 0"

Params = Mapping[str, object] | Sequence[object]
_Opened = weakref.WeakKeyDictionary[sqlite_utils.Database, threading.RLock]


class _Local(threading.local):
    """Hold what each thread has of its own."""

    def __init__(self) -> None:
        self.using = threading.RLock()  # held while its connection is in use

    db: sqlite_utils.Database | None = None
    file: tuple[int, int] | None = None
    closed = 0  # how often the store had been closed when it was opened
    inside = False  # it is in a transaction, or was until the disk failed
    rings = False  # once that is committed
    doubtful = False  # something is wrong with the connection, or was


class SqliteStore:
    """Keep everything in one SQLite file."""

    dialect = SQLITE

    def __init__(self, path: str, patience: float = BUSY_TIMEOUT, *, bulk: bool = False) -> None:
        self.path = path
        self.where = os.path.abspath(path)
        self._bulk = bulk
        self._patience = patience
        self._local = _Local()
        self._lock = threading.Lock()
        self._opened: _Opened = weakref.WeakKeyDictionary()
        self._bell = Bell(path)
        self._closed = 0
        self._written = NEVER
        self._turns = Turns(Path(path).parent)
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
        with self._explained():
            make(self.path, self._patience)
            with self.atomic():
                pending = [each.name for each in migrations.pending(self._db)]
                migrations.apply(self._db)
            return pending

    def check(self, *, writable: bool = False) -> None:
        """Raise StoreError unless the schema is up to date, and if asked unless a write succeeds.

        Only something that is really written tells whether the disk has room for it.
        """
        with self._explained():
            missing = migrations.pending(self._db)
        if missing:
            raise StoreError(f"{self.path} is not migrated (run `bridge migrate`)")
        now = datetime.now(UTC)
        if writable and now - self._written > CHECK_EVERY:
            self.facts.put("written_at", iso(now))
            self._written = now

    def ring(self) -> None:
        """Wake the workers: something is to be done, once it is committed and can be seen."""
        if self._local.inside:
            self._local.rings = True
        else:
            self._bell.ring()

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody rings, at most so long."""
        return self._bell.wait(seconds)

    def scrub(self) -> bool:
        """Overwrite what was redacted since the last time; return False to be called again.

        `secure_delete` zeroes what is deleted where it lies, but copies of it stay where SQLite
        balanced pages before: only VACUUM leaves all of them behind. Then the log must go, too.
        """
        due = self.facts.get(UNSCRUBBED)
        if not due or not self._rewrite():
            return not due
        # What was redacted meanwhile has given it another value.
        return self.facts.remove(UNSCRUBBED, due)

    def _rewrite(self) -> bool:
        """Write the whole file anew and empty its log; return False where others are in the way."""
        deadline = time.monotonic() + SCRUB_PATIENCE
        try:
            with self._turns.mine(deadline), self._turns.ahead(deadline), self._explained():
                return self._vacuum()
        except NoTurnError:
            return False

    def _vacuum(self) -> bool:
        connection = self._db.conn
        connection.execute(f"PRAGMA busy_timeout = {round(SCRUB_PATIENCE * 1000)}")
        try:
            connection.execute("VACUUM")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            return False
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(self._patience * 1000)}")
        return not busy

    def close(self) -> None:
        """Close every connection, once its thread does not use it any more.

        One that is closed while it is in use takes the whole process with it.
        """
        self._bell.close()
        with self._lock:
            self._closed += 1
            opened = list(self._opened.items())
            self._opened.clear()
        for db, using in opened:
            if using.acquire(timeout=self._patience):
                db.conn.close()
                using.release()

    # ── the database ──

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """Return the rows that a statement gives."""
        cursor, rows = self._run(sql, params or {})
        names = [column[0] for column in cursor.description] if rows else []
        return [dict(zip(names, row, strict=True)) for row in rows]

    def execute(self, sql: str, params: Mapping[str, object] | None = None) -> int:
        """Run a statement and return how many rows it changed."""
        return self._run(sql, params or {})[0].rowcount

    def append(
        self, table: str, rows: Sequence[Row], unique: str, *, rings: bool = False
    ) -> list[bool]:
        """Add rows in one transaction."""
        if not self._local.inside:
            with self.atomic():
                return self.append(table, rows, unique, rings=rings)
        added = appended(lambda *of: self._run(*of)[1], "?", table, rows, unique)
        self._local.rings |= rings and any(added)
        return added

    @contextmanager
    def atomic(self, vendor: str = "") -> Iterator[None]:
        """Run a block in one write transaction; a nested block joins as a savepoint."""
        if self._local.inside:
            with self._explained(), self._db.atomic():
                yield
            return
        with self._transaction(time.monotonic() + self._patience):
            yield

    @contextmanager
    def _transaction(self, deadline: float) -> Iterator[None]:
        with (
            self._explained(),
            self._impatient(),
            self._turns.mine(deadline),
            self._local.using,
        ):
            connection = self._begin(deadline)
            self._local.inside, self._local.rings = True, False
            try:
                yield
                self._require_open()
                connection.execute("COMMIT")
            except BaseException:
                self._undo()
                raise
            finally:
                self._local.inside = False
                if self._local.doubtful:
                    self._discard()
        if self._local.rings:
            self._bell.ring()

    def _run(self, sql: str, params: Params) -> tuple[sqlite3.Cursor, list[Any]]:
        """Run a statement; one that writes does so in a transaction, so that it waits its turn."""
        if not self._local.inside and not sql.lstrip().startswith(READS):
            with self.atomic():
                return self._run(sql, params)
        try:
            with self._local.using:
                if self._local.inside:
                    self._require_open()
                cursor = self._db.conn.execute(sql, params)
                return cursor, cursor.fetchall()
        except sqlite3.Error as error:
            self._explain(error)

    def _begin(self, deadline: float) -> sqlite3.Connection:
        """Begin a transaction, which nobody else can then have; raise where others do not end."""
        if self._was_moved():
            self._discard()
            self._db.conn.execute(AT_ONCE)
        connection = self._db.conn
        with self._turns.ahead(deadline):
            closed = self._closed
            while not begun(connection, deadline):
                if closed != self._closed:
                    raise StoreError(f"{self.path}: the store was closed")
                time.sleep(PAUSE)
        return connection

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        """Let SQLite wait for nobody while this thread writes: whoever waits here does so in turn.

        It is told so before the turn has come, while nobody is kept waiting.
        """
        with self._local.using:
            self._db.conn.execute(AT_ONCE)
        try:
            yield
        finally:
            with self._local.using, suppress(sqlite3.Error):  # one that was closed waits for nobody
                if self._local.db is not None:
                    patience = f"PRAGMA busy_timeout = {round(self._patience * 1000)}"
                    self._local.db.conn.execute(patience)

    def _require_open(self) -> None:
        """Raise where SQLite has undone the transaction: the rest must not be written alone."""
        if not self._db.conn.in_transaction:
            raise StoreError(f"{self.path}: the transaction was undone after an error before")

    def _undo(self) -> None:
        """Undo the transaction; a connection that cannot is given up, for it would stay in it."""
        self._written = NEVER
        try:
            self._db.rollback()
        except sqlite3.Error:
            self._discard()

    def _doubt(self) -> None:
        """Give up the connection as soon as can be.

        What could only be opened to be read stays so, for the whole process, as long as it is open.
        """
        self._local.doubtful = True
        if not self._local.inside:
            self._discard()

    def _was_moved(self) -> bool:
        """Tell whether the file of this thread's connection is no longer where it was."""
        return self._local.db is not None and self._local.file != identity(self.path)

    def _discard(self) -> None:
        """Close this thread's connection: the next use opens another."""
        db, self._local.db, self._local.doubtful = self._local.db, None, False
        if db is not None:
            with self._lock:
                self._opened.pop(db, None)
            with suppress(sqlite3.Error):
                db.conn.close()

    @property
    def _db(self) -> sqlite_utils.Database:
        local = self._local
        if local.db is None or (local.closed != self._closed and not local.inside):
            local.closed = self._closed
            local.db, local.file = self._connect(), identity(self.path)
        return local.db

    def _connect(self) -> sqlite_utils.Database:
        with self._explained():
            connection = connect(self.path, self._patience, bulk=self._bulk)
        db = sqlite_utils.Database(connection)
        with self._lock:
            self._opened[db] = self._local.using
        weakref.finalize(db, connection.close)  # when its thread has ended
        return db

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._explain(error)
        except NoTurnError as error:
            raise StoreError(f"{self.path}: database is locked ({error})") from error

    def _explain(self, error: sqlite3.Error) -> NoReturn:
        if is_mistake(error):
            raise error
        if not is_busy(error):
            self._doubt()
        raise StoreError(f"{self.path}: {error}{hint(error, Path(self.path))}") from error
