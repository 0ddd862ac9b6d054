"""The file of a SQLite database: how it is made and opened, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

BUSY_TIMEOUT = 20.0
# Who writes much writes the same pages again and again: with room for them, less often to the disk.
BULK_CACHE_KIB, BULK_LOG_PAGES = 64 * 1024, 16 * 1024
# Each time that the log is written back, the pages of the indexes are, too: the less often, the
# better. 16 MiB, where SQLite's own 4 takes a webhook half as long again.
LOG_PAGES = 4_000
HINTS = {
    "no such table": "run `bridge migrate`",
    "not a database": "DATABASE_URL names a file that is something else",
    "malformed": "the file is damaged: restore a backup",
    "disk I/O": "check the disk, and the room on it",
    "disk is full": "check the room on the disk",
    "unable to open": "check DATABASE_URL and who may write there",
    "readonly": "check DATABASE_URL and who may write there",
}
# Tried again, they come again: whoever waits for the database to mend would wait for ever.
OUR_MISTAKES = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
)


def connect(path: str, patience: float, *, bulk: bool = False) -> sqlite3.Connection:
    """Open a file that is there, so that what is committed is on the disk."""
    connection = _open(path, "rw", patience)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {BULK_LOG_PAGES if bulk else LOG_PAGES}")
        if bulk:
            connection.execute(f"PRAGMA cache_size = -{BULK_CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def make(path: str, patience: float) -> None:
    """Make the file where there is none, and switch it to WAL, which it remembers."""
    connection = _open(path, "rwc", patience)
    try:
        _use_wal(connection)
    finally:
        connection.close()


def begun(connection: sqlite3.Connection, deadline: float) -> bool:
    """Begin a transaction; return False where somebody else is in one, and there is time."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if not is_busy(error) or time.monotonic() > deadline:
            raise
        return False
    return True


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether an error says that somebody else is in the way."""
    code: int = getattr(error, "sqlite_errorcode", 0)  # Python's own errors have none
    return code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_mistake(error: sqlite3.Error) -> bool:
    """Tell whether an error says that what was to be written is wrong, not the database."""
    shut = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_TRIGGER
    return isinstance(error, OUR_MISTAKES) and not shut and "closed" not in str(error)


def identity(path: str) -> tuple[int, int] | None:
    """Return what names the file at a path, whatever it is called; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def hint(error: sqlite3.Error, path: Path) -> str:
    """Return what to do about an error, in brackets, or "" where nobody knows."""
    text = str(error)
    if "unable to open" in text and not path.parent.is_dir():
        return " (its folder does not exist: check DATABASE_URL)"
    if "unable to open" in text and not path.exists():
        return " (there is no such file: check DATABASE_URL, or run `bridge migrate` to make it)"
    return next((f" ({hint})" for words, hint in HINTS.items() if words in text), "")


def _open(path: str, mode: str, patience: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(path)}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=patience,
    )


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a database to WAL; here SQLite does not wait for others, so it is tried again."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
