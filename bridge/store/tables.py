"""The tables as a database itself tells of them: none is listed by hand, so none is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from bridge.errors import StoreError
from bridge.store.database import Database
from bridge.store.dialect import POSTGRES
from bridge.store.rows import Row

# Each database's own record of the steps that ran.
RECORDS = {"_sqlite_migrations", "migrations"}

SQLITE_TABLES = """SELECT name FROM sqlite_master
    WHERE type = 'table' AND substr(name, 1, 7) != 'sqlite_'"""
SQLITE_COLUMNS = """SELECT name, pk AS place, type = 'TEXT' AS text, 0 AS counts
    FROM pragma_table_info(:name)"""
SQLITE_REFERENCES = """SELECT DISTINCT "table" AS name FROM pragma_foreign_key_list(:name)"""

# What an extension brought is none of ours.
POSTGRES_TABLES = """SELECT relname AS name FROM pg_class
    WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
      AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')"""
POSTGRES_COLUMNS = """SELECT attname AS name,
        coalesce(array_position(indkey, attnum) + 1, 0) AS place,
        atttypid = 'text'::regtype AS text,
        pg_get_serial_sequence(quote_ident(:name), attname) IS NOT NULL AS counts
    FROM pg_attribute LEFT JOIN pg_index ON indrelid = attrelid AND indisprimary
    WHERE attrelid = quote_ident(:name)::regclass AND attnum > 0
      AND NOT attisdropped AND attgenerated = ''"""
POSTGRES_REFERENCES = """SELECT DISTINCT relname AS name
    FROM pg_constraint JOIN pg_class ON pg_class.oid = confrelid
    WHERE contype = 'f' AND conrelid = quote_ident(:name)::regclass"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Describe a table; `key` names its rows, in `counted` the database numbers them itself."""

    name: str
    columns: tuple[str, ...]
    texts: frozenset[str]
    key: tuple[str, ...]
    counted: tuple[str, ...]
    refers_to: frozenset[str]


def tables_of(db: Database) -> list[Table]:
    """Return all tables, those that others refer to before them; raise StoreError."""
    listed = db.query(POSTGRES_TABLES if db.dialect is POSTGRES else SQLITE_TABLES)
    names = sorted({row["name"] for row in listed} - RECORDS)
    found = {name: _table(db, name) for name in names}
    sorter = TopologicalSorter({name: sorted(each.refers_to) for name, each in found.items()})
    try:
        return [found[name] for name in sorter.static_order()]
    except CycleError as error:
        raise StoreError(f"tables refer to each other: {', '.join(error.args[1])}") from error


def _table(db: Database, name: str) -> Table:
    on_postgres = db.dialect is POSTGRES
    rows = db.query(POSTGRES_COLUMNS if on_postgres else SQLITE_COLUMNS, {"name": name})
    others = db.query(POSTGRES_REFERENCES if on_postgres else SQLITE_REFERENCES, {"name": name})
    key = _named(sorted((row for row in rows if row["place"]), key=lambda row: int(row["place"])))
    if not key:
        raise StoreError(f"table {name} has no primary key: its rows cannot be told apart")
    return Table(
        name=name,
        columns=tuple(sorted(_named(rows))),
        texts=frozenset(_named([row for row in rows if row["text"]])),
        key=key,
        counted=_named([row for row in rows if row["counts"]]),
        refers_to=frozenset(_named(others)),
    )


def _named(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(row["name"] for row in rows)
