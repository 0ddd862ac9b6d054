"""What a database must be able to do for the tables of this folder; one file implements it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import chain
from typing import Protocol

from bridge.store.dialect import Dialect
from bridge.store.rows import Row

# Databases limit how many parameters a statement may have.
MOST_AT_ONCE = 400


class Database(Protocol):
    """Run SQL with `:named` parameters, in transactions that may nest.

    What only one of the databases understands is in `dialect`.
    """

    dialect: Dialect

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """Return the rows that a statement gives; raise StoreError."""

    def execute(self, sql: str, params: Mapping[str, object] | None = None) -> int:
        """Run a statement and return how many rows it changed; raise StoreError."""

    def append(self, table: str, row: Row, unique: str, *, rings: bool = False) -> bool:
        """Add a row, whatever others write meanwhile; return False where one like it is there.

        Two rows are alike where the column `unique` is. Where it `rings`, the workers are woken
        once the row is there.
        """

    def atomic(self, vendor: str = "") -> AbstractContextManager[None]:
        """Run a block in one transaction, which other writers wait for; nested blocks join it.

        One that only touches a vendor's gate, deliveries and attempts may name the vendor: then
        writers for other vendors need not wait.
        """


def query_for(
    db: Database, sql: str, keys: Collection[str], params: Mapping[str, object] | None = None
) -> list[Row]:
    """Return the rows that a statement gives for any of several keys: `… IN (:keys)`."""
    rows: list[Row] = []
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), MOST_AT_ONCE):
        some = wanted[start : start + MOST_AT_ONCE]
        placed, names = _with_keys(sql, len(some))
        rows += db.query(placed, dict(params or {}) | dict(zip(names, some, strict=True)))
    return rows


def insert_all(db: Database, sql: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Run an INSERT for pairs of values: `… VALUES :pairs`."""
    for start in range(0, len(pairs), MOST_AT_ONCE):
        some = pairs[start : start + MOST_AT_ONCE]
        placed, names = _with_pairs(sql, len(some))
        db.execute(placed, dict(zip(names, chain.from_iterable(some), strict=True)))


# Statements are few, and mostly for few keys; to write them anew each time takes as long as to run.


@cache
def _with_keys(sql: str, count: int) -> tuple[str, Sequence[str]]:
    """Return a statement with a place for each of so many keys, and the names of the places."""
    names = [f"key{at}" for at in range(count)]
    return sql.replace(":keys", ", ".join(f":{name}" for name in names)), names


@cache
def _with_pairs(sql: str, count: int) -> tuple[str, Sequence[str]]:
    names = [f"{side}{at}" for at in range(count) for side in ("one", "other")]
    places = ", ".join(f"(:one{at}, :other{at})" for at in range(count))
    return sql.replace(":pairs", places), names


@cache
def appending(table: str, columns: tuple[str, ...], unique: str, rows: int = 0) -> str:
    """Return an INSERT of one row with `:named` values, or of several with nameless ones.

    It returns what is `unique` of those rows that are new.
    """
    places = ["?"] * len(columns) if rows else [f":{each}" for each in columns]
    values = ", ".join([f"({', '.join(places)})"] * (rows or 1))
    # The names are those of our own tables; every value is a parameter.
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values} "  # noqa: S608
        f"ON CONFLICT ({unique}) DO NOTHING RETURNING {unique}"
    )
