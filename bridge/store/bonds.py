"""Bonds: what was said of keys that belong together, and the customers worked out of it.

Every bond is kept. `aliases` holds who is who by now: it changes only where a bond brings news, and
then for all keys that bonds connect with it, by `bridge.identity`. Claims change nothing there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from bridge import identity
from bridge.codec import dumps, from_iso, iso, loads
from bridge.identity import ANONYMOUS, Bond, is_hard, is_own, kind_of
from bridge.store.database import Database, insert_all, query_for
from bridge.store.rows import BondRow, Row, Said
from bridge.store.sets import ALIASES, companions, find_all, groups

# A soft key in more bonds than that is of nobody: the address of an office, a test's id. Claims do
# not count, or anybody could part an address from its owner.
MOST_BONDS = 100
# Nobody needs to hear more claims of one key; what was stored under it is found all the same.
MOST_CLAIMS = 500
EVERY = 2**31
# Nobody shares a browser with others who have so many ids.
MOST_SHARING = 30


class Bonds:
    """Keep who is who."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def join(self, keys: Sequence[str], said: Said) -> set[str]:
        """Keep that these keys were said to be of one customer.

        Returns all keys of the customers that have changed by it, before and after, and of those
        who share a browser.
        """
        keys = sorted(set(keys))
        names = find_all(self._db, ALIASES, keys)
        strangers = [key for key in keys if key not in names]
        if len(keys) == 1 and not strangers:
            return set()
        browsers = [key for key in keys if kind_of(key) == ANONYMOUS]
        sharing = set[str]().union(*map(self._sharing, browsers))  # one more may be one too many
        if len(keys) > 1 and not self._keep(keys, said):
            return self._add_apart(strangers)
        news = sharing.union(keys if browsers else ())
        if said.claimed:
            return news | self._add_apart(strangers)
        members = companions(self._db, ALIASES, set(names.values()))
        if self._is_plain(names, members, strangers):
            self._put(dict.fromkeys(strangers, min(names.values(), default=keys[0])))
            return news.union(members, strangers) if strangers else news
        return news | self._work_out(keys)

    def aliases(self, keys: Iterable[str]) -> set[str]:
        """Return all keys of the customers that have one of these keys; none for strangers."""
        return companions(self._db, ALIASES, set(keys))

    def of_keys(self, keys: Collection[str]) -> dict[str, str]:
        """Return all keys of the customers that have one of these keys, each with its customer."""
        return groups(self._db, ALIASES, keys)

    def sharers(self, keys: Collection[str]) -> set[str]:
        """Return the browsers that these keys share with others, or who shares these browsers.

        Such a browser is of no customer, but brought each of them what it was clicked with.
        """
        browsers = {key for key in keys if kind_of(key) == ANONYMOUS}
        found = set[str]().union(*map(self._sharing, sorted(browsers)))
        return (found | self._used_by_few(self._came_with(set(keys) - browsers))) - set(keys)

    def browsers(self, keys: Collection[str]) -> set[str]:
        """Return the browsers that came with these keys and with nobody else."""
        met = self._came_with(keys) - set(keys)
        return {each for each in met if self._met(each) <= set(keys)}

    def of_nobody(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that are of no customer, as they were said to be of several."""
        soft = {key for key in keys if not is_hard(key)}
        if not soft:
            return soft
        rows = query_for(
            self._db,
            """SELECT DISTINCT mine.key, mine.customer FROM aliases AS mine
               JOIN bond_keys AS said ON said.key = mine.key
               JOIN bonds ON bonds.id = said.bond AND bonds.claimed = 0
               JOIN bond_keys AS theirs ON theirs.bond = said.bond
               JOIN aliases AS others ON others.key = theirs.key
               WHERE mine.key IN (:keys) AND others.customer != mine.customer""",
            soft,
        )
        return {
            row["key"]
            for row in rows
            if not any(map(is_hard, companions(self._db, ALIASES, [row["customer"]])))
        }

    def said_of(self, keys: Iterable[str]) -> list[BondRow]:
        """Return what was said of these keys, oldest first."""
        rows = {row["id"]: row for key in sorted(keys) for row in self._of(key, MOST_CLAIMS)}
        oldest = sorted(rows.values(), key=lambda row: (row["said_at"], row["keys"]))
        return [_bond_row(row) for row in oldest]

    def forget(self, keys: Collection[str]) -> None:
        """Forget what was said of these keys."""
        for row in {row["id"]: row for key in keys for row in self._of(key)}.values():
            bond = _bond_row(row)
            self._db.execute("DELETE FROM bond_keys WHERE bond = :id", {"id": row["id"]})
            self._db.execute("DELETE FROM bonds WHERE id = :id", {"id": row["id"]})
            if len(left := sorted(bond.keys - set(keys))) > 1:
                self._keep(left, bond)

    # ──

    def _keep(self, keys: Sequence[str], said: Said) -> bool:
        """Keep a bond; return False for one that is known, or that nobody needs."""
        if said.claimed and any(self._count(key) >= MOST_CLAIMS for key in keys):
            return False
        id = hashlib.sha256(dumps([list(keys), said.claimed]).encode()).hexdigest()[:32]
        added = self._db.execute(
            """INSERT INTO bonds (id, keys, claimed, source, said_at)
               VALUES (:id, :keys, :claimed, :source, :said_at) ON CONFLICT (id) DO NOTHING""",
            {
                "id": id,
                "keys": dumps(list(keys)),
                "claimed": int(said.claimed),
                "source": said.source,
                "said_at": iso(said.at) if said.at else "",
            },
        )
        if added:
            named = [(key, id) for key in keys]
            insert_all(self._db, "INSERT INTO bond_keys (key, bond) VALUES :pairs", named)
        return bool(added)

    def _count(self, key: str) -> int:
        """Return how many bonds a key is in."""
        sql = "SELECT count(*) AS n FROM bond_keys WHERE key = :key"
        return int(self._db.query(sql, {"key": key})[0]["n"])

    def _is_plain(
        self, names: Mapping[str, str], members: Collection[str], strangers: Collection[str]
    ) -> bool:
        """Tell whether strangers simply join the members of one customer: nothing else changes.

        It may where the customer has bonds with others that did not join them, or is of several.
        """
        groups = set(names.values())
        if len(groups) > 1 or self._have_crowded(names):
            return False
        own = sum(is_own(key) for key in (*members, *strangers))
        return own <= 1 and not any(map(self._has_others, groups))

    def _has_others(self, customer: str) -> bool:
        """Tell whether a key of a customer was said to belong with one that is another's."""
        rows = self._db.query(
            """SELECT 1 FROM aliases AS mine
               JOIN bond_keys AS said ON said.key = mine.key
               JOIN bonds ON bonds.id = said.bond AND bonds.claimed = 0
               JOIN bond_keys AS theirs ON theirs.bond = said.bond
               JOIN aliases AS others ON others.key = theirs.key
               WHERE mine.customer = :customer AND others.customer != :customer LIMIT 1""",
            {"customer": customer},
        )
        return bool(rows)

    def _have_crowded(self, keys: Iterable[str]) -> bool:
        """Tell whether one of these keys is of nobody, perhaps only now."""
        rows = query_for(
            self._db,
            """SELECT 1 FROM bond_keys JOIN bonds ON bonds.id = bond_keys.bond
               WHERE bond_keys.key IN (:keys) AND bonds.claimed = 0
               GROUP BY bond_keys.key HAVING count(*) > :most LIMIT 1""",
            [key for key in keys if not is_hard(key)],
            {"most": MOST_BONDS},
        )
        return bool(rows)

    def _add_apart(self, strangers: Sequence[str]) -> set[str]:
        """Keep strangers each alone: what was said of them is not kept."""
        self._put({key: key for key in strangers})
        return set(strangers)

    def _work_out(self, keys: Sequence[str]) -> set[str]:
        """Work out anew who is who of all that bonds connect with these keys."""
        bonds, public = self._connected(keys)
        after = {key: key for key in keys} | identity.customers(bonds, public)
        before = dict.fromkeys(after, "") | find_all(self._db, ALIASES, after)
        changed = {key for key in after if before[key] != after[key]}
        self._put({key: after[key] for key in sorted(changed)})
        names = {before[key] for key in changed} | {after[key] for key in changed}
        return {key for key in after if {before[key], after[key]} & names}

    def _put(self, customers: dict[str, str]) -> None:
        insert_all(
            self._db,
            """INSERT INTO aliases (key, customer) VALUES :pairs
               ON CONFLICT (key) DO UPDATE SET customer = excluded.customer""",
            list(customers.items()),
        )

    def _connected(self, keys: Iterable[str]) -> tuple[list[Bond], set[str]]:
        """Return all bonds that connect with these keys, and the keys that are of nobody."""
        waiting, seen, public = set(keys), set[str](), set[str]()
        bonds: dict[str, Bond] = {}
        while waiting:
            key = waiting.pop()
            seen.add(key)
            rows = self._trusted(key, EVERY if is_hard(key) else MOST_BONDS + 2)
            if not is_hard(key) and len(rows) > MOST_BONDS:
                public.add(key)
                if len(rows) > MOST_BONDS + 1:
                    continue  # it was parted from the others when it got one too many
            for row in rows:
                bonds[row["id"]] = Bond(frozenset(loads(row["keys"])))
                waiting |= bonds[row["id"]].keys - seen
        return list(bonds.values()), public

    def _of(self, key: str, most: int = EVERY) -> list[Row]:
        return self._db.query(
            """SELECT bonds.* FROM bond_keys JOIN bonds ON bonds.id = bond_keys.bond
               WHERE bond_keys.key = :key ORDER BY bonds.said_at LIMIT :most""",
            {"key": key, "most": most},
        )

    def _trusted(self, key: str, most: int) -> list[Row]:
        return self._db.query(
            """SELECT bonds.* FROM bond_keys JOIN bonds ON bonds.id = bond_keys.bond
               WHERE bond_keys.key = :key AND bonds.claimed = 0 LIMIT :most""",
            {"key": key, "most": most},
        )

    def _came_with(self, keys: Collection[str]) -> set[str]:
        """Return the browsers that came with these keys."""
        rows = query_for(
            self._db,
            """SELECT DISTINCT them.key FROM bond_keys AS me
               JOIN bond_keys AS them ON them.bond = me.bond
               WHERE me.key IN (:keys) AND them.key LIKE 'anonymous:%' LIMIT :most""",
            keys,
            {"most": MOST_CLAIMS},
        )
        return {row["key"] for row in rows}

    def _used_by_few(self, browsers: Collection[str]) -> set[str]:
        """Return those of the browsers that are not of everybody."""
        rows = query_for(
            self._db,
            """SELECT me.key FROM bond_keys AS me JOIN bond_keys AS them ON them.bond = me.bond
               WHERE me.key IN (:keys) AND them.key != me.key
               GROUP BY me.key HAVING count(DISTINCT them.key) <= :most""",
            browsers,
            {"most": MOST_SHARING},
        )
        return {row["key"] for row in rows}

    def _sharing(self, browser: str) -> set[str]:
        """Return who came with a browser; nobody where it is one that everybody uses."""
        met = self._met(browser)
        return met if len(met) <= MOST_SHARING else set()

    def _met(self, browser: str) -> set[str]:
        """Return what came with a browser."""
        rows = self._db.query(
            """SELECT DISTINCT them.key FROM bond_keys AS me
               JOIN bond_keys AS them ON them.bond = me.bond
               WHERE me.key = :key AND them.key != :key LIMIT :most""",
            {"key": browser, "most": MOST_CLAIMS},
        )
        return {row["key"] for row in rows}


def _bond_row(row: Row) -> BondRow:
    return BondRow(
        source=row["source"],
        at=from_iso(row["said_at"]) if row["said_at"] else None,
        claimed=bool(row["claimed"]),
        keys=frozenset(loads(row["keys"])),
    )
