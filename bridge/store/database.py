"""What a database must be able to do for the tables of this folder; one file implements it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from bridge.store.rows import Row

# Databases limit how many parameters a statement may have.
MOST_AT_ONCE = 400


class Database(Protocol):
    """Run SQL with `:named` parameters, in transactions that may nest."""

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """Return the rows that a statement gives; raise StoreError."""

    def execute(self, sql: str, params: Mapping[str, object] | None = None) -> int:
        """Run a statement and return how many rows it changed; raise StoreError."""

    def atomic(self) -> AbstractContextManager[None]:
        """Run a block in one transaction, which other writers wait for; nested blocks join it."""


def query_for(
    db: Database, sql: str, keys: Collection[str], params: Mapping[str, object] | None = None
) -> list[Row]:
    """Return the rows that a statement gives for any of several keys: `… IN (:keys)`."""
    rows: list[Row] = []
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), MOST_AT_ONCE):
        named = {f"key{at}": key for at, key in enumerate(wanted[start : start + MOST_AT_ONCE])}
        placed = sql.replace(":keys", ", ".join(f":{name}" for name in named))
        rows += db.query(placed, {**(params or {}), **named})
    return rows


def insert_all(db: Database, sql: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Run an INSERT for pairs of values: `… VALUES :pairs`."""
    for start in range(0, len(pairs), MOST_AT_ONCE):
        placed, named = list[str](), dict[str, str]()
        for at, (one, other) in enumerate(pairs[start : start + MOST_AT_ONCE]):
            placed.append(f"(:one{at}, :other{at})")
            named |= {f"one{at}": one, f"other{at}": other}
        db.execute(sql.replace(":pairs", ", ".join(placed)), named)
