"""Facts: the few values that a database keeps about itself."""

from __future__ import annotations

from bridge.store.database import Database

# The name of the fact that tells for which providers and vendors the worker works.
WORKED_FOR = "worked_for"


class Facts:
    """Keep values by name."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self, name: str) -> str:
        """Return a value, or "" where there is none."""
        rows = self._db.query("SELECT value FROM facts WHERE name = :name", {"name": name})
        return str(rows[0]["value"]) if rows else ""

    def put(self, name: str, value: str) -> None:
        """Keep a value in place of the one before."""
        self._db.execute(
            """INSERT INTO facts (name, value) VALUES (:name, :value)
               ON CONFLICT (name) DO UPDATE SET value = excluded.value""",
            {"name": name, "value": value},
        )

    def remove(self, name: str, value: str) -> bool:
        """Forget a value; return False where it is another by now."""
        sql = "DELETE FROM facts WHERE name = :name AND value = :value"
        return self._db.execute(sql, {"name": name, "value": value}) == 1
