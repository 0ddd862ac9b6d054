"""What a database must be able to do for the tables of this folder; one file implements it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from bridge.store.rows import Row


class Database(Protocol):
    """Run SQL with `:named` parameters, in transactions that may nest."""

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """Return the rows that a statement gives; raise StoreError."""

    def execute(self, sql: str, params: Mapping[str, object] | None = None) -> int:
        """Run a statement and return how many rows it changed; raise StoreError."""

    def atomic(self) -> AbstractContextManager[None]:
        """Run a block in one transaction, which other writers wait for; nested blocks join it."""
