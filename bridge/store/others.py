"""Others who have a database open at this moment: a bridge that still runs there, or a move.

Who moves an SQLite file has it open, which is noticed as with a bridge. At PostgreSQL he holds a
lock, in a transaction of its own that lasts as long: so it holds behind a pooler, too, and goes
with him.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

from bridge.errors import StoreError
from bridge.store import POSTGRES, SQLITE
from bridge.store.database import Database

# Who has just been stopped may take a moment to be gone.
PATIENCE, PAUSE = 2.0, 0.05
BRIDGE = "bridge"
CONNECTED = """SELECT count(*) AS n FROM pg_stat_activity
    WHERE datname = current_database() AND application_name IN (:bridge, :name)"""
# Any number will do that nobody else takes for a lock in the same database.
LOCK_OF_MOVE = int.from_bytes(b"bridge m")
BEGIN = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0"
TRY = f"SELECT pg_try_advisory_xact_lock({LOCK_OF_MOVE}) AS had"


def with_own_name(url: str) -> tuple[str, str]:
    """Return an address under which we are not taken for a bridge, and the name of those who are.

    On PostgreSQL a connection says what program it is of; an address may give it another name.
    """
    base, _, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    name = dict(options).get("application_name", BRIDGE)
    ours = [(key, value) for key, value in options if key != "application_name"]
    ours.append(("application_name", f"{name} migrate"))
    renamed = f"{base}?{urlencode(ours, quote_via=quote)}"
    return (renamed if url.startswith(POSTGRES) else url), name


def has_file_open(url: str) -> bool:
    """Tell whether somebody has the file of an SQLite database open; best asked before we have."""
    path = url.removeprefix(SQLITE)
    return url.startswith(SQLITE) and Path(path).exists() and _lasting(lambda: _is_locked(path))


def is_connected(db: Database, name: str) -> bool:
    """Tell whether somebody of a name, or a bridge, is connected to a PostgreSQL database."""
    params = {"bridge": BRIDGE, "name": name}
    return _lasting(lambda: bool(db.query(CONNECTED, params)[0]["n"]))


@contextmanager
def moving_alone(url: str) -> Iterator[None]:
    """Hold, while a block runs, what only one can who moves from a database, or gives that up."""
    if not url.startswith(POSTGRES):
        yield
        return
    connections = import_module("bridge.store.connections").Connections(url, PATIENCE, 1)
    with closing(connections.connect()) as connection:
        with connections.explained():
            connection.execute(BEGIN)
            taken = _lasting(lambda: not connection.execute(TRY).fetchone()["had"])
        if taken:
            raise StoreError(
                f"another `bridge migrate` moves {connections.where} at this moment: let it end, "
                "or stop it"
            )
        yield


def _lasting(asked: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while there := asked():
        if time.monotonic() > deadline:
            break
        time.sleep(PAUSE)
    return there


def _is_locked(path: str) -> bool:
    """Tell whether a file cannot be had alone; what else is wrong with it is said elsewhere."""
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw", uri=True, isolation_level=None, timeout=0
    )
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_BUSY
    finally:
        connection.close()
    return False
