"""Connections to PostgreSQL: a pool of them, each good when it is lent, and errors in words.

The pool opens connections by itself, and never more than its size. Why it got none is remembered
here: it would let everybody wait for the server, and then know no reason. Who waits looks up now
and then, and goes on waiting only where there are connections that may come free.
"""

from __future__ import annotations

import logging
import math
import re
import select
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.types.string import StrDumper
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from bridge.errors import ConfigError, StoreError
from bridge.store.dialect import SHUT

T = TypeVar("T")

LONGEST_REASON = 300
# Nobody asks a server that refuses more often than that, and who waits looks up as often.
ASK_AGAIN_SECONDS = 0.25
# So many times its patience may a server be silent: it waits for others that long at each lock.
SILENT_FOR = 3
UNMIGRATED = {"42P01", "42703", "3F000"}  # no such table, column, schema
HINTS = {
    "25P03": "this process stood still in the middle of a transaction, which others waited for",
    "25006": "it is read-only: DATABASE_URL must name the primary server",
    "40P01": "two writers waited for each other: it is tried again",
    "42501": "the user of DATABASE_URL may not do that: make it the owner of the tables",
    "53100": "its disk is full: make room, or it takes no webhook",
    "53200": "it has no memory left: give it more, or run fewer processes",
    "53300": "it has no connection left: lower BRIDGE_DATABASE_POOL, or run fewer processes",
    "55P03": "other writers took too long",
    "57014": "raise statement_timeout of its role or database, or look for what keeps it busy",
}
# Classes of a connection that broke, and of a server that ends or starts.
GONE = ("08", "57P")
# Whoever is refused while connecting is told no SQLSTATE, but these words.
FULL = re.compile("too many (connections|clients)|connection slots|no more connections", re.I)
# What is said of a server that cannot be reached as it is asked to, and what to look at.
CHECKS = {
    "certificate": "check sslmode and sslrootcert in DATABASE_URL",
    "SSL": "check sslmode in DATABASE_URL",
    "authentication": "check the user and the password in DATABASE_URL",
}
# What is wrong with a statement or its values is a mistake of ours, not of the database: data,
# integrity, a limit of the program, a transaction that goes on after a failure, a wrong statement.
OURS = {"22", "23", "54", "25", "42", "0A", "34"}

# What it and its pool warn of is said by us, in the words of this file.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)


class Connection(psycopg.Connection[DictRow]):
    """Hold a connection, which is closed when the server is silent for too long.

    A server that stands still, or is cut off behind a pooler, answers no more, and the network
    that still takes what is sent to it never says so.
    """

    limit = 0.0  # seconds it may be silent; 0: for ever

    @classmethod
    def connect(cls, *args: Any, **given: Any) -> Self:
        """Open a connection to a server, unless it has just refused one."""
        server: _Server = given.pop("server")
        connection = server.ask(lambda: super(Connection, cls).connect(*args, **given))
        connection.adapters.register_dumper(str, _Text)
        return connection

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Wait for an answer, at most as long as the limit."""
        if not self.limit:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_within(gen, self.limit), *args, **kwargs)
        except _SilentError:
            self.pgconn.finish()
            raise


class _SilentError(psycopg.OperationalError):
    """The server did not answer in time."""


class _Server:
    """Remember what a server said to those who asked it for a connection."""

    def __init__(self) -> None:
        self._asked_at = self._answered_at = 0.0
        self._refusal = ""

    def ask(self, connect: Callable[[], T]) -> T:
        """Open a connection; one that has just been refused is refused again, without asking."""
        now = time.monotonic()
        if self._refusal and now < self._answered_at + ASK_AGAIN_SECONDS:
            raise psycopg.OperationalError(self._refusal)
        self._asked_at = now
        try:
            connection = connect()
        except psycopg.Error as error:
            self._refusal = str(error) or type(error).__name__
            # Else what was half open stays so until garbage is collected, and the server counts it.
            for each in (error, error.__context__):
                traceback.clear_frames(each.__traceback__ if each else None)
            raise
        else:
            self._refusal = ""
            return connection
        finally:
            self._answered_at = time.monotonic()

    def refused_since(self, at: float) -> str:
        """Return why it gives no connection, if that was since then."""
        return self._refusal if self._answered_at >= at else ""

    @property
    def is_silent(self) -> bool:
        """Tell whether it has yet to answer."""
        return self._asked_at > self._answered_at


class _Text(StrDumper):
    """Write texts: PostgreSQL keeps no NUL, nor half a surrogate pair."""

    def dump(self, obj: str) -> bytes:
        return str(obj).replace("\0", "\ufffd").encode("utf-8", "replace")


class Connections:
    """Lend connections to the database at a URL."""

    def __init__(self, url: str, patience: float, size: int) -> None:
        given = _parsed(url)
        self.where = _where(given)
        self.limit = limit_for(patience * SILENT_FOR)
        self._password = str(given.get("password") or "")
        self._patience = patience
        self._size = size
        self._address = make_conninfo("", **(_usual(patience) | given))
        self._server = _Server()
        self._kept = _KEPT | {"server": self._server}
        # Writers may wait long for each other, and readers read long: one is kept for webhooks.
        self._patient = threading.BoundedSemaphore(max(size - 1, 1))
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None

    def connect(self) -> Connection:
        """Open a connection of its own, which is closed by whoever asked for it."""
        with self.explained():
            connection = Connection.connect(self._address, **self._kept)
        connection.limit = self.limit
        return connection

    @contextmanager
    def lend(self, limit: float | None = None) -> Iterator[Connection]:
        """Lend a connection for a block, on which each answer may take so many seconds."""
        pool, connection = self._take()
        connection.limit = self.limit if limit is None else limit
        try:
            yield connection
        finally:
            pool.putconn(connection)

    @contextmanager
    def lend_patiently(self, limit: float | None = None) -> Iterator[Connection]:
        """Lend a connection for a block that may take long; one is kept back from all of those."""
        began = time.monotonic()
        if not self._patient.acquire(timeout=self._patience):
            self._give_up(began)
        try:
            with self.lend(limit) as connection:
                yield connection
        finally:
            self._patient.release()

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
        if pool:
            pool.close()

    # ── the pool ──

    def _reach(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._address,
                    connection_class=Connection,
                    kwargs=self._kept,
                    min_size=0,
                    max_size=self._size,
                    reconnect_timeout=0,
                    num_workers=1,
                    open=True,
                )
            return self._pool

    def _take(self) -> tuple[ConnectionPool[Connection], Connection]:
        """Take a connection from the pool; those that the server has closed are thrown away."""
        began = time.monotonic()
        deadline = began + self._patience
        while True:
            pool, left = self._reach(), deadline - time.monotonic()
            may_come = pool.get_stats()["pool_size"] or not self._refusal_since(began)
            if left <= 0 or not may_come:
                self._give_up(began)
            try:
                connection = pool.getconn(min(left, ASK_AGAIN_SECONDS))
            except (PoolTimeout, PoolClosed):
                continue
            if _is_quiet(connection):
                return pool, connection
            connection.close()
            pool.putconn(connection)

    def _refusal_since(self, began: float) -> str:
        return self._server.refused_since(began - ASK_AGAIN_SECONDS)

    # ── errors ──

    def _give_up(self, began: float) -> NoReturn:
        """Say why there was no connection for somebody who began to wait then."""
        if refusal := self._refusal_since(began):
            self._explain(psycopg.OperationalError(refusal))
        if self._server.is_silent:
            self._explain(_SilentError(_silent(time.monotonic() - began)))
        raise StoreError(
            f"{self.where}: none of {self._size} connections was free for "
            f"{self._patience:g} s (set BRIDGE_DATABASE_POOL higher)"
        )

    def _explain(self, error: psycopg.Error) -> NoReturn:
        reason = self._words_of(error)
        state = error.sqlstate or ("53300" if FULL.search(reason) else "")
        if state in UNMIGRATED:
            raise StoreError(f"{self.where} is not migrated (run `bridge migrate`)") from error
        if state == SHUT:
            raise StoreError(f"{self.where}: {error.diag.message_primary}") from error
        if state and state not in HINTS and state[:2] in OURS:
            # Without its details, which hold values.
            raise type(error)(error.diag.message_primary or state) from None
        if not state and not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            raise error
        if state in HINTS:
            raise StoreError(f"{self.where}: {reason} ({HINTS[state]})") from error
        if state and not state.startswith(GONE):
            raise StoreError(f"{self.where}: {reason}") from error
        known = (check for word, check in CHECKS.items() if word in reason)
        check = next(known, "is it running? check DATABASE_URL")
        raise StoreError(f"no connection to {self.where}: {reason} ({check})") from error

    def _words_of(self, error: psycopg.Error) -> str:
        said = error.diag.message_primary or str(error) or type(error).__name__
        words = " ".join(said.split())
        if self._password:
            words = words.replace(self._password, "…")
        return words[:LONGEST_REASON]


# Behind a pooler the next transaction may be on another connection, which knows nothing of the
# statements that were prepared on this one.
_KEPT: dict[str, Any] = {
    "autocommit": True,
    "prepare_threshold": None,
    "cursor_factory": psycopg.RawCursor,
    "row_factory": dict_row,
}


def limit_for(patience: float) -> float:
    """Return how long to wait for the answer of a server that itself waits so many seconds."""
    return patience + 1


def _within(gen: PQGen[T], seconds: float) -> PQGen[T]:
    """Go through what psycopg does to get an answer; it looks up ten times a second."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise _SilentError(_silent(seconds))
            wanted = gen.send(ready)
    except StopIteration as done:
        answer: T = done.value
        return answer


def _silent(seconds: float) -> str:
    return f"it did not answer for {seconds:.3g} s"


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
