"""Customers: the keys that belong together, and the clicks stored under them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache

from bridge.attribution import StoredClick
from bridge.codec import dumps, from_iso, iso, loads
from bridge.identity import ANONYMOUS, kind_of
from bridge.store.bonds import Bonds
from bridge.store.database import Database, insert_all, query_for
from bridge.store.rows import BondRow, Said
from bridge.store.sets import ALIASES, find_all

UNKNOWN = Said()


class Customers:
    """Keep who is who, and which clicks brought them."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._bonds = Bonds(database)

    def join(self, keys: Sequence[str], said: Said = UNKNOWN) -> set[str]:
        """Keep that keys are of one customer, for all that is known.

        Returns all keys of the customers that have changed by it: nothing where it is no news.
        """
        return self._bonds.join(keys, said)

    def aliases(self, keys: Iterable[str]) -> list[str]:
        """Return all keys of the customers that have one of these keys, and these."""
        keys = set(keys)
        return sorted(keys | self._bonds.aliases(keys))

    def find(self, keys: Iterable[str]) -> list[str]:
        """Return all keys of the customers who have one of these keys, or nothing for strangers."""
        return sorted(self._bonds.aliases(keys))

    def sharers(self, keys: Iterable[str]) -> list[str]:
        """Return these keys, and all keys of those who share a browser that is among them."""
        keys = set(keys)
        return self.aliases(keys | self._bonds.sharers(keys))

    def number(self, keys: Collection[str]) -> int:
        """Return how many customers these keys are of."""
        return len(set(find_all(self._db, ALIASES, keys).values()))

    def said_of(self, keys: Iterable[str]) -> list[BondRow]:
        """Return what was said of these keys, oldest first."""
        return self._bonds.said_of(keys)

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
        clicks = {vendor: value}
        return self.add_clicks(clicks, keys, captured_at, exact=exact, source=source, landed=landed)

    def add_clicks(
        self,
        clicks: Mapping[str, object],
        keys: Sequence[str],
        captured_at: datetime,
        *,
        exact: bool,
        source: str,
        landed: bool = False,
    ) -> bool:
        """Store clicks, one a vendor, under a customer's keys; return False where all are known."""
        if not clicks:
            return False
        at, owner = iso(captured_at), dumps(sorted(keys))
        params: dict[str, object] = {"key": keys[0], "keys": dumps(list(keys)), "at": at}
        params |= {"source": source, "exact": int(exact), "landed": int(landed)}
        for number, (vendor, click) in enumerate(clicks.items()):
            text = dumps(dict(sorted(click.items())) if isinstance(click, Mapping) else click)
            named = (vendor, at if exact else "", str(landed), text, source)
            params |= {f"vendor{number}": vendor, f"value{number}": text}
            params[f"id{number}"] = _click_id(owner, named)
        added = self._db.query(_inserting(len(clicks)), params)
        pairs = [(key, row["id"]) for key in sorted(set(keys)) for row in added]
        insert_all(self._db, "INSERT INTO click_keys (key, click) VALUES :pairs", pairs)
        return bool(added)

    def clicks(self, aliases: Iterable[str]) -> list[StoredClick]:
        """Return the clicks under these keys, or in a browser that they share, oldest first."""
        keys = set(aliases)
        rows = query_for(
            self._db,
            """SELECT clicks.* FROM click_keys JOIN clicks ON clicks.id = click_keys.click
               WHERE click_keys.key IN (:keys)""",
            keys | {each for each in self._bonds.sharers(keys) if kind_of(each) == ANONYMOUS},
        )
        clicks = [_click(row) for row in {row["id"]: row for row in rows}.values()]
        return sorted(clicks, key=lambda each: (each.captured_at, each.vendor, repr(each.value)))

    def drop_strangers(self, before: datetime, most: int) -> int:
        """Drop clicks from before a time of browsers that never said whose they are.

        At most so many; returns how many.
        """
        rows = self._db.query(
            """SELECT click_keys.key, clicks.id, clicks.keys FROM click_keys
               JOIN clicks ON clicks.id = click_keys.click
               WHERE click_keys.key >= 'anonymous:' AND click_keys.key < 'anonymous;'
                   AND clicks.captured_at < :before
                   AND NOT EXISTS (SELECT 1 FROM bond_keys WHERE key = click_keys.key)
                   AND NOT EXISTS (SELECT 1 FROM conversion_keys WHERE key = click_keys.key)
               LIMIT :most""",
            {"before": iso(before), "most": most},
        )
        for row in rows:
            for key in loads(row["keys"]):
                self._db.execute(
                    "DELETE FROM click_keys WHERE key = :key AND click = :id",
                    {"key": key, "id": row["id"]},
                )
            self._db.execute("DELETE FROM clicks WHERE id = :id", {"id": row["id"]})
            self._db.execute(
                """DELETE FROM aliases WHERE key = :key
                   AND NOT EXISTS (SELECT 1 FROM click_keys WHERE key = :key)""",
                {"key": row["key"]},
            )
        return len(rows)

    def count(self) -> dict[str, int]:
        """Return how many customers and clicks there are."""
        rows = self._db.query(
            """SELECT (SELECT count(DISTINCT customer) FROM aliases) AS customers,
                      (SELECT count(*) FROM clicks) AS clicks"""
        )
        return dict(rows[0])


@cache
def _inserting(count: int) -> str:
    """Return the statement that stores so many clicks, unless they are stored."""
    values = ", ".join(
        f"(:id{at}, :key, :vendor{at}, :value{at}, :keys, :at, :exact, :source, :landed)"
        for at in range(count)
    )
    return f"""INSERT INTO clicks (id, key, vendor, value, keys, captured_at, exact, source,
                   landed)
               VALUES {values} ON CONFLICT (id) DO NOTHING RETURNING id"""  # noqa: S608


def _click_id(owner: str, named: Iterable[str]) -> str:
    """Name a click by all that it is; those of a customer begin alike, to lie side by side."""
    whole = "\n".join((owner, *named))
    near, own = (hashlib.sha256(each.encode()).hexdigest() for each in (owner, whole))
    return near[:8] + own[:24]


def _click(row: Mapping[str, object]) -> StoredClick:
    return StoredClick(
        vendor=str(row["vendor"]),
        value=loads(str(row["value"])),
        captured_at=from_iso(str(row["captured_at"])),
        keys=frozenset(loads(str(row["keys"]))),
        exact=bool(row["exact"]),
        landed=bool(row["landed"]),
    )
