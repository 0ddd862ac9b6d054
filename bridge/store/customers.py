"""Customers: the keys that belong together, and the clicks stored under them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from bridge.attribution import StoredClick
from bridge.codec import dumps, from_iso, iso, loads
from bridge.store.database import Database
from bridge.store.sets import ALIASES, companions, join


class Customers:
    """Keep who is who, and which clicks brought them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def join(self, keys: Sequence[str]) -> tuple[str, bool]:
        """Make keys aliases of one customer; return it, and whether anything about it is new."""
        return join(self._db, ALIASES, keys)

    def aliases(self, keys: Sequence[str]) -> list[str]:
        """Return all keys of the customers that have one of these keys."""
        found = set(keys)
        for key in keys:
            found |= companions(self._db, ALIASES, key)
        return sorted(found)

    def add_click(
        self,
        vendor: str,
        value: object,
        keys: Sequence[str],
        captured_at: datetime,
        *,
        exact: bool,
        source: str,
        landed: bool = False,
    ) -> bool:
        """Store a click under a customer's keys; return False for one that is stored already."""
        text = dumps(dict(sorted(value.items())) if isinstance(value, Mapping) else value)
        named: list[object] = [
            vendor,
            text,
            sorted(keys),
            source,
            iso(captured_at) if exact else "",
        ]
        named += [True] if landed else []
        added = self._db.execute(
            """INSERT INTO clicks (id, key, vendor, value, keys, captured_at, exact, source,
                   landed)
               VALUES (:id, :key, :vendor, :value, :keys, :captured_at, :exact, :source,
                   :landed)
               ON CONFLICT (id) DO NOTHING""",
            {
                "id": hashlib.sha256(dumps(named).encode()).hexdigest()[:32],
                "key": keys[0],
                "vendor": vendor,
                "value": text,
                "keys": dumps(list(keys)),
                "captured_at": iso(captured_at),
                "exact": int(exact),
                "source": source,
                "landed": int(landed),
            },
        )
        return added == 1

    def clicks(self, aliases: Sequence[str]) -> list[StoredClick]:
        """Return the clicks stored under any of these keys, oldest first."""
        found: list[StoredClick] = []
        for key in aliases:
            rows = self._db.query(
                "SELECT * FROM clicks WHERE key = :key ORDER BY captured_at, id", {"key": key}
            )
            found += [_click(row) for row in rows]
        return sorted(found, key=lambda each: (each.captured_at, each.vendor, repr(each.value)))

    def find(self, names: Sequence[str]) -> list[str]:
        """Return all keys of the customers who have one of these keys, or nothing for strangers."""
        found: set[str] = set()
        for name in names:
            found |= companions(self._db, ALIASES, name)
        return sorted(found)

    def count(self) -> dict[str, int]:
        """Return how many customers and clicks there are."""
        rows = self._db.query(
            """SELECT (SELECT count(DISTINCT customer) FROM aliases) AS customers,
                      (SELECT count(*) FROM clicks) AS clicks"""
        )
        return dict(rows[0])


def _click(row: Mapping[str, object]) -> StoredClick:
    return StoredClick(
        vendor=str(row["vendor"]),
        value=loads(str(row["value"])),
        captured_at=from_iso(str(row["captured_at"])),
        keys=frozenset(loads(str(row["keys"]))),
        exact=bool(row["exact"]),
        landed=bool(row["landed"]),
    )
