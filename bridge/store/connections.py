"""Connections to PostgreSQL: a pool of them, each good when it is lent, and errors in words.

A server that went away is asked for directly, and the reason why it does not answer is told at
once: the pool by itself would let everybody wait for it, and then know no reason.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.string import StrDumper
from psycopg_pool import ConnectionPool, PoolTimeout

from bridge.errors import ConfigError, StoreError
from bridge.store.dialect import SHUT

Connection = psycopg.Connection[DictRow]

LONGEST_REASON = 300
# Nobody asks a server that does not answer more often than that.
ASK_AGAIN_SECONDS = 0.25
# Whoever waits for a connection finds out now and then whether there are any to come.
LOOK_UP_SECONDS = 2.0
UNMIGRATED = {"42P01", "42703", "3F000"}  # no such table, column, schema
HINTS = {
    "25P03": "this process stood still in the middle of a transaction, which others waited for",
    "25006": "it is read-only: DATABASE_URL must name the primary server",
    "40P01": "two writers waited for each other: it is tried again",
    "42501": "the user of DATABASE_URL may not do that: make it the owner of the tables",
    "53100": "its disk is full",
    "53300": "it has no connection left: lower BRIDGE_DATABASE_POOL, or run fewer processes",
    "55P03": "other writers took too long",
}
# What is said of a server that cannot be reached as it is asked to, and what to look at.
CHECKS = {
    "certificate": "check sslmode and sslrootcert in DATABASE_URL",
    "SSL": "check sslmode in DATABASE_URL",
    "authentication": "check the user and the password in DATABASE_URL",
}
# What is wrong with a statement or its values is a mistake of ours, not of the database: data,
# integrity, a limit of the program, a transaction that goes on after a failure, a wrong statement.
OURS = {"22", "23", "54", "25", "42", "0A", "34"}

# What it warns of is said by us, in the words of this file.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


class _Text(StrDumper):
    """Write texts: PostgreSQL keeps no NUL, nor half a surrogate pair."""

    def dump(self, obj: str) -> bytes:
        return str(obj).replace("\0", "\ufffd").encode("utf-8", "replace")


class Connections:
    """Lend connections to the database at a URL."""

    def __init__(self, url: str, patience: float, size: int) -> None:
        given = _parsed(url)
        self.where = _where(given)
        self._password = str(given.get("password") or "")
        self._patience = patience
        self._size = size
        self._address = make_conninfo("", **(_usual(patience) | given))
        self._pool: ConnectionPool[Connection] | None = None
        # Writers may wait long for each other: one connection is for those who wait for nobody.
        self._writers = threading.BoundedSemaphore(max(size - 1, 1))
        self._lock = threading.Lock()
        self._answers = False
        self._asked_at, self._refusal = 0.0, ""

    def connect(self) -> Connection:
        """Open a connection of its own, which is closed by whoever asked for it."""
        with self.explained():
            connection = psycopg.connect(self._address, **_KEPT)
        _prepare(connection)
        return connection

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """Lend a connection for a block."""
        pool, connection = self._take()
        try:
            yield connection
        finally:
            if connection.closed or connection.pgconn.transaction_status is _UNKNOWN:
                self._answers = False
            pool.putconn(connection)

    @contextmanager
    def lend_to_writer(self) -> Iterator[Connection]:
        """Lend a connection for a block that may wait for other writers."""
        if not self._writers.acquire(timeout=self._patience):
            raise self._taken()
        try:
            with self.lend() as connection:
                yield connection
        finally:
            self._writers.release()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say in our words what is wrong with the database."""
        try:
            yield
        except psycopg.Error as error:
            self._explain(error)

    def close(self) -> None:
        """Close every connection; whoever borrows one later opens them again."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._answers = False
        if pool:
            pool.close()

    # ──

    def _reach(self) -> ConnectionPool[Connection]:
        """Return the pool, once the server is known to answer."""
        pool = self._pool
        if pool and self._answers:
            return pool
        with self._lock:
            if not self._answers:
                self._ask()
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._address,
                    connection_class=psycopg.Connection[DictRow],
                    kwargs=_KEPT,
                    configure=_prepare,
                    min_size=0,
                    max_size=self._size,
                    timeout=self._patience,
                    reconnect_timeout=0,
                    num_workers=1,
                    open=True,
                )
            return self._pool

    def _ask(self) -> None:
        """Find out whether the server answers; raise StoreError with the reason where not."""
        if self._refusal and time.monotonic() < self._asked_at + ASK_AGAIN_SECONDS:
            raise StoreError(self._refusal)
        try:
            self.connect().close()
        except StoreError as error:
            self._asked_at, self._refusal = time.monotonic(), str(error)
            raise
        self._answers, self._refusal = True, ""

    def _take(self) -> tuple[ConnectionPool[Connection], Connection]:
        """Take a connection from the pool; those that the server has closed are thrown away."""
        deadline = time.monotonic() + self._patience
        while (left := deadline - time.monotonic()) > 0:
            pool = self._reach()
            try:
                connection = pool.getconn(min(left, LOOK_UP_SECONDS))
            except PoolTimeout:
                self._answers = False  # or all are in use: it is asked
                continue
            if _is_quiet(connection):
                return pool, connection
            self._answers = False
            connection.close()
            pool.putconn(connection)
        raise self._taken()

    def _taken(self) -> StoreError:
        return StoreError(
            f"{self.where}: none of {self._size} connections was free for "
            f"{self._patience:g} s (set BRIDGE_DATABASE_POOL higher)"
        )

    def _explain(self, error: psycopg.Error) -> NoReturn:
        state = error.sqlstate or ""
        if state in UNMIGRATED:
            raise StoreError(f"{self.where} is not migrated (run `bridge migrate`)") from error
        if state == SHUT:
            raise StoreError(f"{self.where}: {error.diag.message_primary}") from error
        if state and state not in HINTS and state[:2] in OURS:
            # Without its details, which hold values.
            raise type(error)(error.diag.message_primary or state) from None
        if not state and not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            raise error
        reason = self._words_of(error)
        if state in HINTS:
            raise StoreError(f"{self.where}: {reason} ({HINTS[state]})") from error
        known = (check for word, check in CHECKS.items() if word in reason)
        check = next(known, "is it running? check DATABASE_URL")
        raise StoreError(f"no connection to {self.where}: {reason} ({check})") from error

    def _words_of(self, error: psycopg.Error) -> str:
        said = error.diag.message_primary or str(error) or type(error).__name__
        words = " ".join(said.split())
        if self._password:
            words = words.replace(self._password, "…")
        return words[:LONGEST_REASON]


_UNKNOWN = TransactionStatus.UNKNOWN
# Behind a pooler the next transaction may be on another connection, which knows nothing of the
# statements that were prepared on this one.
_KEPT: dict[str, Any] = {
    "autocommit": True,
    "prepare_threshold": None,
    "cursor_factory": psycopg.RawCursor,
    "row_factory": dict_row,
}


def _prepare(connection: Connection) -> None:
    connection.adapters.register_dumper(str, _Text)


def _parsed(url: str) -> dict[str, Any]:
    try:
        return conninfo_to_dict(url)
    except psycopg.Error:  # its words may hold a part of the password
        raise ConfigError(
            "DATABASE_URL cannot be read: write it as postgres://user:password@host:5432/database "
            "(and what is special in a password as %40 for @, %2F for /)"
        ) from None


def _where(given: Mapping[str, Any]) -> str:
    """Say where a database is: its server and its name."""
    host = str(given.get("host") or given.get("hostaddr") or "localhost")
    port = str(given.get("port") or "5432")
    server = host if port == "5432" else f"{host}:{port}"
    return f"{server}/{given.get('dbname') or given.get('user') or ''}"


def _usual(patience: float) -> dict[str, Any]:
    """Return what holds unless the URL says something else; a network that is cut is noticed."""
    return {
        "fallback_application_name": "bridge",
        "client_encoding": "utf8",
        "connect_timeout": max(round(patience), 2),
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": round(max(patience, 2) * 1000),
    }


def _is_quiet(connection: Connection) -> bool:
    """Tell whether nothing came on an idle connection: what comes is that it has been closed."""
    try:
        return not heard_from(0, connection)
    except (psycopg.Error, OSError, ValueError):
        return False


def heard_from(seconds: float, *sources: Connection | socket.socket) -> set[int]:
    """Wait until something came on any of these, at most so long; return their descriptors.

    select() cannot wait for a descriptor above 1023, and a process may have many.
    """
    poll = select.poll()
    for each in sources:
        poll.register(each.fileno(), select.POLLIN)
    return {number for number, _ in poll.poll(math.ceil(seconds * 1000))}
