"""The bridge's database as an auditor reads it: by itself, without the bridge, in either kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from bridge.codec import iso

Row = dict[str, Any]
# A file of SQLite's, or a URL of PostgreSQL's.
Address = Path | str

RECEIVED = "events WHERE state = 'received'"
DUE = "deliveries WHERE state = 'due'"
SENDING = "deliveries WHERE state = 'sending'"
DUE_NOW = """deliveries WHERE state = 'due' AND next_attempt_at <= '{now}'
    AND vendor NOT IN (SELECT vendor FROM gates WHERE paused_until > '{now}')"""
OLD_GATES = "UPDATE gates SET paused_until = '{now}' WHERE paused_until != ''"
OLD_LEASES = "UPDATE deliveries SET leased_until = '{now}' WHERE state = 'sending'"


def read(database: Address, sql: str) -> list[Row]:
    """Return the rows of a query."""
    with _connected(database) as connection:
        return [dict(row) for row in connection.execute(sql)]


def count(database: Address, what: str) -> int:
    """Return how many rows of a table there are now: `events WHERE …`."""
    (found,) = read(database, f"SELECT count(*) AS n FROM {what}".format(now=_now()))  # noqa: S608
    return int(found["n"])


def is_idle(database: Address) -> bool:
    """Tell whether there is nothing that a worker could do now."""
    return not count(database, RECEIVED) and not count(database, DUE_NOW)


def age(database: Address) -> int:
    """Let the time pass of what nobody sees to any more: the workers that did were killed."""
    with _connected(database) as connection:
        connection.execute(OLD_GATES.format(now=_now()))
        leases: int = connection.execute(OLD_LEASES.format(now=_now())).rowcount
        connection.commit()
    return leases


@contextmanager
def _connected(database: Address) -> Iterator[Any]:
    if isinstance(database, Path):
        with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True)) as file:
            file.row_factory = sqlite3.Row
            yield file
    else:
        with psycopg.connect(database, row_factory=dict_row) as server:
            yield server


def _now() -> str:
    return iso(datetime.now(UTC))
