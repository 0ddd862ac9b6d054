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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import sqlite_utils

from bridge.codec import iso
from bridge.errors import StoreError
from bridge.store.addresses import Addresses
from bridge.store.asks import Asks
from bridge.store.bell import Bell
from bridge.store.customers import Customers
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
from bridge.store.turns import PAUSE, NoTurnError, Turns

BUSY_TIMEOUT = 20.0
# Who writes much writes the same pages again and again: with room for them, less often to the disk.
BULK_CACHE_KIB, BULK_LOG_PAGES = 64 * 1024, 16 * 1024
# Nobody is to wait for long while somebody else's old view of the database is in use.
SCRUB_PATIENCE = 0.25
# Anybody may ask whether the database can be written, as often as they like.
CHECK_EVERY = timedelta(seconds=1)
HINTS = {
    "no such table": "run `bridge migrate`",
    "not a database": "DATABASE_URL names a file that is something else",
    "malformed": "the file is damaged: restore a backup",
    "disk I/O": "check the disk, and the room on it",
    "disk is full": "check the room on the disk",
    "unable to open": "check DATABASE_URL and who may write there",
    "readonly": "check DATABASE_URL and who may write there",
}
NEVER = datetime.min.replace(tzinfo=UTC)
# What a statement begins with that changes nothing, and need not wait for those who write.
READS = ("SELECT", "WITH", "EXPLAIN", "PRAGMA")


class _Local(threading.local):
    """Hold what each thread has of its own."""

    db: sqlite_utils.Database | None = None
    file: tuple[int, int] | None = None
    inside = False  # it is in a transaction, or was until the disk failed
    rings = False  # once that is committed
    doubtful = False  # something is wrong with the connection, or was


# Tried again, they come again: whoever waits for the database to mend would wait for ever.
OUR_MISTAKES = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
)


class SqliteStore:
    """Keep everything in one SQLite file."""

    dialect = SQLITE

    def __init__(self, path: str, patience: float = BUSY_TIMEOUT, *, bulk: bool = False) -> None:
        self.path = path
        self._bulk = bulk
        self._patience = patience
        self._local = _Local()
        self._lock = threading.Lock()
        self._opened: weakref.WeakSet[sqlite_utils.Database] = weakref.WeakSet()
        self._bell = Bell(path)
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
            self._make_file()
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
            if not _is_busy(error):
                raise
            return False
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(self._patience * 1000)}")
        return not busy

    def close(self) -> None:
        """Close every connection."""
        self._bell.close()
        with self._lock:
            opened = list(self._opened)
            self._opened.clear()
            self._local = _Local()
        for db in opened:
            db.conn.close()

    # ── the database ──

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """Return the rows that a statement gives."""
        with self._may_run(sql):
            cursor = self._db.conn.execute(sql, dict(params or {}))
            rows = cursor.fetchall()
        names = [column[0] for column in cursor.description] if rows else []
        return [dict(zip(names, row, strict=True)) for row in rows]

    def execute(self, sql: str, params: Mapping[str, object] | None = None) -> int:
        """Run a statement and return how many rows it changed."""
        with self._may_run(sql):
            return self._db.conn.execute(sql, dict(params or {})).rowcount

    append = execute

    @contextmanager
    def atomic(self, vendor: str = "") -> Iterator[None]:
        """Run a block in one write transaction; a nested block joins as a savepoint."""
        if self._local.inside:
            with self._may_run(""), self._db.atomic():
                yield
            return
        deadline = time.monotonic() + self._patience
        with self._explained(), self._turns.mine(deadline):
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

    @contextmanager
    def _may_run(self, sql: str) -> Iterator[None]:
        """Run a statement of its own in a transaction if it writes, so that it waits its turn."""
        if not self._local.inside and not sql.lstrip().startswith(READS):
            with self.atomic():
                yield
            return
        with self._explained():
            if self._local.inside:
                self._require_open()
            yield

    def _begin(self, deadline: float) -> sqlite3.Connection:
        """Begin a transaction, which nobody else can then have; raise where others do not end."""
        if self._was_moved():
            self._discard()
        connection = self._db.conn
        with self._turns.ahead(deadline):
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                while not _begun(connection, deadline):
                    time.sleep(PAUSE)
            finally:
                connection.execute(f"PRAGMA busy_timeout = {round(self._patience * 1000)}")
        return connection

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
        return self._local.db is not None and self._local.file != _identity(self.path)

    def _discard(self) -> None:
        """Close this thread's connection: the next use opens another."""
        db, self._local.db, self._local.doubtful = self._local.db, None, False
        if db is not None:
            with self._lock:
                self._opened.discard(db)
            with suppress(sqlite3.Error):
                db.conn.close()

    @property
    def _db(self) -> sqlite_utils.Database:
        if self._local.db is None:
            self._local.db, self._local.file = self._connect(), _identity(self.path)
        return self._local.db

    def _connect(self) -> sqlite_utils.Database:
        with self._explained():
            connection = self._open("rw")
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA secure_delete = ON")
                if self._bulk:
                    connection.execute(f"PRAGMA cache_size = -{BULK_CACHE_KIB}")
                    connection.execute(f"PRAGMA wal_autocheckpoint = {BULK_LOG_PAGES}")
                db = sqlite_utils.Database(connection)
            except BaseException:
                connection.close()
                raise
        with self._lock:
            self._opened.add(db)
        weakref.finalize(db, connection.close)  # when its thread has ended
        return db

    def _make_file(self) -> None:
        """Make the file where there is none, and switch it to WAL, which it remembers."""
        connection = self._open("rwc")
        try:
            _use_wal(connection)
        finally:
            connection.close()

    def _open(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(self.path)}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=self._patience,
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._explain(error)
        except NoTurnError as error:
            raise StoreError(f"{self.path}: database is locked ({error})") from error

    def _explain(self, error: sqlite3.Error) -> NoReturn:
        if isinstance(error, OUR_MISTAKES) and "closed" not in str(error):
            raise error  # what was to be written is wrong, not the database
        if not _is_busy(error):
            self._doubt()
        raise StoreError(f"{self.path}: {error}{_hint(error, Path(self.path))}") from error


def _begun(connection: sqlite3.Connection, deadline: float) -> bool:
    """Begin a transaction; return False where somebody else is in one, and there is time."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if not _is_busy(error) or time.monotonic() > deadline:
            raise
        return False
    return True


def _is_busy(error: sqlite3.Error) -> bool:
    code: int = getattr(error, "sqlite_errorcode", 0)  # Python's own errors have none
    return code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _identity(path: str) -> tuple[int, int] | None:
    """Return what names the file at a path, whatever it is called; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a database to WAL; here SQLite does not wait for others, so it is tried again."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _hint(error: sqlite3.Error, path: Path) -> str:
    text = str(error)
    if "unable to open" in text and not path.parent.is_dir():
        return " (its folder does not exist: check DATABASE_URL)"
    if "unable to open" in text and not path.exists():
        return " (there is no such file: check DATABASE_URL, or run `bridge migrate` to make it)"
    return next((f" ({hint})" for words, hint in HINTS.items() if words in text), "")
