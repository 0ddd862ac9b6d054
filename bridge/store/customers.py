"""Customers: the keys that belong together, and the clicks stored under them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache

from bridge.attribution import StoredClick
from bridge.codec import dumps, from_iso, iso, loads
from bridge.identity import ANONYMOUS, is_hard, kind_of
from bridge.store.bonds import Bonds
from bridge.store.database import Database, insert_all, query_for
from bridge.store.rows import BondRow, Said
from bridge.store.sets import ALIASES, find_all

UNKNOWN = Said()
# What is known of a click's time: nothing, its own, that we heard of it as it happened.
UNTIMED, EXACT, LIVE = 0, 1, 2


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

    def of_keys(self, keys: Iterable[str]) -> dict[str, str]:
        """Return all keys of the customers that have one of these keys, each with whose it is."""
        return self._bonds.of_keys(set(keys))

    def find(self, keys: Iterable[str]) -> list[str]:
        """Return all keys of the customers who have one of these keys, or nothing for strangers."""
        return sorted(self._bonds.aliases(keys))

    def sharers(self, keys: Iterable[str]) -> list[str]:
        """Return all keys of the customers that have these keys, and of those who share a browser.

        A key of nobody leads to others only where nothing better is among them.
        """
        keys = set(keys)
        if any(map(is_hard, keys)):
            keys -= self._bonds.of_nobody(keys)
        return self.aliases(keys | self._bonds.sharers(keys))

    def browsers(self, keys: Collection[str]) -> set[str]:
        """Return the browsers that only the person with these keys was seen with."""
        return self._bonds.browsers(keys)

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
        live: bool = False,
        landed: bool = False,
    ) -> bool:
        """Store clicks, one a vendor, under a customer's keys; return False where all are known."""
        if not clicks:
            return False
        at, owner = iso(captured_at), dumps(sorted(keys))
        params: dict[str, object] = {"key": keys[0], "keys": dumps(list(keys)), "at": at}
        timed = EXACT if exact else LIVE if live else UNTIMED
        params |= {"source": source, "exact": timed, "landed": int(landed)}
        for number, (vendor, click) in enumerate(clicks.items()):
            text = dumps(dict(sorted(click.items())) if isinstance(click, Mapping) else click)
            named = (vendor, at if timed else "", str(landed), text, source)
            params |= {f"vendor{number}": vendor, f"value{number}": text}
            params[f"id{number}"] = _click_id(owner, named)
        added = self._db.query(_inserting(len(clicks)), params)
        pairs = [(key, row["id"]) for key in sorted(set(keys)) for row in added]
        insert_all(self._db, "INSERT INTO click_keys (key, click) VALUES :pairs", pairs)
        return bool(added)

    def clicks(self, aliases: Iterable[str]) -> list[StoredClick]:
        """Return the clicks under these keys, or in a browser that they share, oldest first.

        Of what is shared, none that was stored for somebody else by an id given for good.
        """
        keys = set(aliases)
        shared = self._bonds.of_nobody(keys)
        own = keys - shared
        shared |= {each for each in self._bonds.sharers(own) if kind_of(each) == ANONYMOUS}
        found = self._under(own)
        for id, click in self._under(shared).items():
            hard = {key for key in click.keys if is_hard(key)}
            if not hard or hard & keys:
                found[id] = click
        clicks = found.values()
        return sorted(clicks, key=lambda each: (each.captured_at, each.vendor, repr(each.value)))

    def _under(self, keys: Collection[str]) -> dict[str, StoredClick]:
        rows = query_for(
            self._db,
            """SELECT clicks.* FROM click_keys JOIN clicks ON clicks.id = click_keys.click
               WHERE click_keys.key IN (:keys)""",
            keys,
        )
        return {row["id"]: _click(row) for row in rows}

    def drop_strangers(self, before: datetime, most: int) -> int:
        """Drop clicks from before a time of browsers that never said whose they are.

        At most so many; returns how many. A visit says nothing of whose a browser is.
        """
        held = self._db.dialect.elements.format("clicks.keys")
        rows = self._db.query(
            f"""SELECT DISTINCT clicks.id, clicks.keys FROM click_keys
               JOIN clicks ON clicks.id = click_keys.click
               WHERE click_keys.key >= 'anonymous:' AND click_keys.key < 'anonymous;'
                   AND clicks.captured_at < :before
                   AND NOT EXISTS (
                       SELECT 1 FROM {held} AS held
                       WHERE held.value NOT LIKE 'anonymous:%'
                           OR EXISTS (SELECT 1 FROM bond_keys WHERE key = held.value)
                           OR EXISTS (
                               SELECT 1 FROM conversion_keys
                               JOIN conversions ON conversions.id = conversion_keys.conversion
                               WHERE conversion_keys.key = held.value
                                   AND conversions.kind != 'pageview'))
               LIMIT :most""",  # noqa: S608
            {"before": iso(before), "most": most},
        )
        for row in rows:
            for key in loads(row["keys"]):
                self._db.execute(
                    "DELETE FROM click_keys WHERE key = :key AND click = :id",
                    {"key": key, "id": row["id"]},
                )
                self._db.execute(
                    """DELETE FROM aliases WHERE key = :key
                       AND NOT EXISTS (SELECT 1 FROM click_keys WHERE key = :key)""",
                    {"key": key},
                )
            self._db.execute("DELETE FROM clicks WHERE id = :id", {"id": row["id"]})
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
        exact=row["exact"] == EXACT,
        live=row["exact"] == LIVE,
        landed=bool(row["landed"]),
    )
