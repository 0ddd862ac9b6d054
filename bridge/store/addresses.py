"""Addresses: e-mail addresses that a vendor is to be told, encrypted, by their keyed hash."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bridge.codec import iso
from bridge.store.database import Database


class Addresses:
    """Keep encrypted addresses."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(self, key: str, token: str, now: datetime) -> None:
        """Keep an address, as seen now."""
        self._db.execute(
            """INSERT INTO addresses (key, token, stored_at) VALUES (:key, :token, :now)
               ON CONFLICT (key) DO UPDATE
               SET token = excluded.token, stored_at = excluded.stored_at""",
            {"key": key, "token": token, "now": iso(now)},
        )

    def get(self, keys: Iterable[str]) -> list[str]:
        """Return the addresses kept under these keys."""
        return [
            row["token"]
            for key in keys
            for row in self._db.query("SELECT token FROM addresses WHERE key = :key", {"key": key})
        ]

    def all(self) -> dict[str, str]:
        """Return every address, by its key."""
        rows = self._db.query("SELECT key, token FROM addresses")
        return {row["key"]: row["token"] for row in rows}

    def replace(self, key: str, old: str, new: str) -> None:
        """Keep an address in another encryption, unless it has changed meanwhile."""
        self._db.execute(
            "UPDATE addresses SET token = :new WHERE key = :key AND token = :old",
            {"key": key, "old": old, "new": new},
        )

    def drop(self, before: datetime) -> int:
        """Drop what was last seen before a time; return how many."""
        sql = "DELETE FROM addresses WHERE stored_at < :before"
        return self._db.execute(sql, {"before": iso(before)})
