"""Others who have a database open at this moment: a bridge that still runs there."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

from bridge.store import POSTGRES, SQLITE
from bridge.store.database import Database

# Who has just been stopped may take a moment to be gone.
PATIENCE, PAUSE = 2.0, 0.05
BRIDGE = "bridge"
CONNECTED = """SELECT count(*) AS n FROM pg_stat_activity
    WHERE datname = current_database() AND application_name IN (:bridge, :name)"""


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
