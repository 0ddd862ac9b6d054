"""A store with many conversions: the rows of one sale, as the bridge made them, many times over."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

from benchmarks import sales, stage
from benchmarks.crowd import Crowd, Vendor
from benchmarks.delivering import told

# What the ids of a sale are told apart by: the name it has here, and the hashes of the bridge.
HASH = re.compile(r"[0-9a-f]{24,}")
DIGITS = 12
# What belongs to no sale.
COMMON = frozenset({"facts", "gates", "_sqlite_migrations"})
FAST = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA cache_size = -1000000",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA threads = 2",
)
Rows = list[sqlite3.Row]


def fill(bridge: stage.Bridge, count: int, many: Crowd, taapit: Vendor) -> None:
    """Have a bridge sell and tell its vendor once, and copy the rows of that sale."""
    bridge.do("migrate")
    bridge.know_clicks(sales.names("template", 1))
    with bridge.serve() as url:
        told(url, "template", 1, many, taapit)
        stage.wait(lambda: bridge.count("deliveries", "settled") == 1, "the delivery to settle")
    with closing(sqlite3.connect(bridge.path, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        multiply(db, count)


def forget_waiting(bridge: stage.Bridge) -> None:
    """Drop what was acknowledged and not processed in a store that is kept."""
    with closing(sqlite3.connect(bridge.path)) as db, db:
        db.execute("DELETE FROM events WHERE state = 'received'")


def multiply(db: sqlite3.Connection, count: int) -> None:
    """Copy all rows that belong to the one sale in a database, so often."""
    for each in FAST:
        db.execute(each)
    rows = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in _tables(db)}  # noqa: S608
    indexes = db.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    db.execute("CREATE TEMP TABLE numbers (hex TEXT NOT NULL)")
    numbers = ((f"{number:0{DIGITS}x}",) for number in range(1, count))
    db.execute("BEGIN")
    db.executemany("INSERT INTO numbers VALUES (?)", numbers)
    for name, _ in indexes:
        db.execute(f"DROP INDEX {name}")
    for table, some in rows.items():
        for row in some:
            _copy(db, table, row)
    for _, sql in indexes:
        db.execute(sql)
    db.execute("COMMIT")
    db.execute("PRAGMA journal_mode = WAL")


def _tables(db: sqlite3.Connection) -> list[str]:
    found = db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return [name for (name,) in found if name not in COMMON]


def _copy(db: sqlite3.Connection, table: str, row: sqlite3.Row) -> None:
    """Insert a row for every number; in the order of its key, which is many times faster."""
    parameters: list[object] = []
    columns, values = [], []
    for name in _columns(db, table):
        columns.append(name)
        values.append(_value(row[name], parameters))
    db.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM numbers",  # noqa: S608
        parameters,
    )


def _columns(db: sqlite3.Connection, table: str) -> Iterator[str]:
    """Name the columns of a table, but for one that numbers its rows."""
    columns = db.execute(f"PRAGMA table_info({table})").fetchall()
    alone = sum(each["pk"] > 0 for each in columns) == 1
    for each in columns:
        if not (alone and each["pk"] and each["type"] == "INTEGER"):
            yield each["name"]


def _value(value: object, parameters: list[object]) -> str:
    """Write a value as SQL: with the number in every hash."""
    written = "?"
    parameters.append(value)
    for each in sorted(set(HASH.findall(value))) if isinstance(value, str) else ():
        written = f"replace({written}, ?, hex || ?)"
        parameters += [each, each[DIGITS:]]
    return written
