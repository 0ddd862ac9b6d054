"""What a database must be able to do for the tables of this folder; one file implements it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import chain
from typing import Any, Protocol

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

    def append(
        self, table: str, rows: Sequence[Row], unique: str, *, rings: bool = False
    ) -> list[bool]:
        """Add rows, whatever others write meanwhile; return of each whether it is new.

        Two rows are alike where the column `unique` is, and the first of them stays. Where one is
        new and they are to be heard (`rings`), the workers are woken once it can be seen.
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


def appended(
    run: Callable[[str, list[object]], list[Any]],
    mark: str,
    table: str,
    rows: Sequence[Row],
    unique: str,
) -> list[bool]:
    """Add rows in one statement; return of each whether it is new: of two alike, the first.

    `run` gives what it returns as tuples. Places are numbered after the mark of the database:
    names take SQLite longer to find, the more there are.
    """
    statement = _appending(mark, table, tuple(rows[0]), unique, len(rows))
    new = {name for (name,) in run(statement, [value for row in rows for value in row.values()])}
    added = []
    for row in rows:
        added.append(row[unique] in new)
        new.discard(row[unique])
    return added


@cache
def _appending(mark: str, table: str, columns: tuple[str, ...], unique: str, count: int) -> str:
    """Return an INSERT of rows, which returns what is `unique` of those that are new."""
    places = iter(range(1, count * len(columns) + 1))
    rows = [", ".join(f"{mark}{next(places)}" for _ in columns) for _ in range(count)]
    # The names are those of our own tables; every value is a parameter.
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({'), ('.join(rows)}) "  # noqa: S608
        f"ON CONFLICT ({unique}) DO NOTHING RETURNING {unique}"
    )
