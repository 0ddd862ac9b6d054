"""Requests: the Idempotency-Keys that were used, each with a digest of what was asked with it."""

from __future__ import annotations

from datetime import datetime

from bridge.codec import iso
from bridge.store.database import Database


class Requests:
    """Keep which requests were answered."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def take(self, id: str, digest: str, now: datetime) -> str:
        """Keep a request by its id; return the digest of the one answered before, or ""."""
        added = self._db.execute(
            """INSERT INTO requests (id, digest, answered_at) VALUES (:id, :digest, :now)
               ON CONFLICT (id) DO NOTHING""",
            {"id": id, "digest": digest, "now": iso(now)},
        )
        if added:
            return ""
        rows = self._db.query("SELECT digest FROM requests WHERE id = :id", {"id": id})
        return str(rows[0]["digest"])

    def drop(self, before: datetime) -> int:
        """Drop what was answered before a time; return how many."""
        sql = "DELETE FROM requests WHERE answered_at < :before"
        return self._db.execute(sql, {"before": iso(before)})
