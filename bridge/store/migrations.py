"""The schema, as numbered steps; each runs once, in one transaction with the record that it ran.

The first four moved what SQLite held before them; PostgreSQL, which came later, takes only what
they make (`bridge.store.schema`). A later step is `shared`: written once, for both.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import chain, groupby
from operator import itemgetter

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from bridge import identity
from bridge.codec import dumps, loads
from bridge.identity import Bond
from bridge.ledger.orders import Sets
from bridge.store import database
from bridge.store.bonds import MOST_BONDS
from bridge.store.dialect import SQLITE
from bridge.store.rows import Row

migrations = Migrations("bridge")
Step = Callable[[database.Database], None]
# The steps that run on every database, by their names.
SHARED: dict[str, Step] = {}


def shared(step: Step) -> Step:
    """Add a step for every database: its statements are written for SQLite, and translated."""
    return share(step, migrations, SHARED)


def share(step: Step, on_sqlite: Migrations, on_all: dict[str, Step]) -> Step:
    """Add a step to those of SQLite and to those of all databases."""

    @wraps(step)
    def run(db: Database) -> None:
        step(Handle(db))

    on_sqlite()(run)
    on_all[step.__name__] = step
    return step


class Handle:
    """Give a step SQLite as `bridge.store.database` describes it."""

    dialect = SQLITE

    def __init__(self, db: Database) -> None:
        self._db = db

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """Return the rows that a statement gives."""
        return list(self._db.query(sql, dict(params or {})))

    def execute(self, sql: str, params: Mapping[str, object] | None = None) -> int:
        """Run a statement and return how many rows it changed."""
        return self._db.execute(sql, dict(params or {})).rowcount

    def append(
        self, table: str, rows: Sequence[Row], unique: str, *, rings: bool = False
    ) -> list[bool]:
        """Add rows; while a step runs nobody works who could be woken."""
        run = self._db.execute
        return database.appended(lambda *of: run(*of).fetchall(), "?", table, rows, unique)

    @contextmanager
    def atomic(self, vendor: str = "") -> Iterator[None]:
        """Run a block within the transaction of all steps."""
        with self._db.atomic():
            yield


@migrations()
def m001_the_spine(db: Database) -> None:
    """Create events, the ledger, customers, deliveries."""
    for statement in filter(str.strip, SPINE.split(";")):
        db.execute(statement)
    db.execute("INSERT INTO facts VALUES ('email_key', ?)", [secrets.token_hex(32)])


@migrations()
def m002_persons(db: Database) -> None:
    """Let everything that speaks of a person be found, and drop bodies that serve no purpose."""
    for statement in filter(str.strip, PERSONS.split(";")):
        db.execute(statement)
    payments = db.execute("SELECT event, body FROM payments").fetchall()
    known = {(event, key) for event, body in payments for key in loads(body).get("keys", ())}
    db.conn.executemany("INSERT INTO event_keys VALUES (?, ?)", sorted(known))
    tests = [[id] for id, body in db.execute("SELECT id, body FROM conversions") if _is_test(body)]
    db.conn.executemany("UPDATE conversions SET test = 1 WHERE id = ?", tests)
    emptied = db.execute("UPDATE events SET body = '' WHERE ignored != '' AND body != ''").rowcount
    if emptied:
        db.execute("INSERT INTO facts VALUES ('unscrubbed', 'm002')")


@migrations()
def m003_identity(db: Database) -> None:
    """Keep what was said of who is who, and find clicks by all of their keys."""
    for statement in filter(str.strip, IDENTITY.split(";")):
        db.execute(statement)
    if db.execute("SELECT 1 FROM aliases WHERE key LIKE 'email:%' LIMIT 1").fetchone():
        db.execute("INSERT INTO facts VALUES ('email_key_unsettled', '1')")
    clicks = db.execute("SELECT id, keys FROM clicks").fetchall()
    under = [(id, tuple(sorted(set(loads(keys))))) for id, keys in clicks]
    _insert(db, "click_keys", [(key, id) for id, keys in under for key in keys])
    said = _sets_of(db, "SELECT event, key FROM event_keys")
    _bind(db, said.union(keys for _, keys in under))
    db.execute(BONDS_INDEX)


@migrations()
def m004_gates(db: Database) -> None:
    """Keep how each vendor's last calls went, and when it may be called again."""
    db.execute(GATES)


def _bind(db: Database, said: set[tuple[str, ...]]) -> None:
    """Keep what was said together as bonds, and work out anew who is who.

    The customers so far may be joined wrongly, by an address that two share.
    """
    connected = Sets()
    for keys in said:
        connected.join(keys)
    groups = _sets_of(db, "SELECT customer, key FROM aliases")
    # Ids that came without a click have left no other trace. A group of two accounts is never kept.
    said |= {
        keys
        for keys in groups
        if len(set(map(connected.find, keys))) > 1 and sum(map(identity.is_own, keys)) <= 1
    }
    bonds = {_bond_id(keys): keys for keys in said if len(keys) > 1}
    _insert(db, "bonds", [(id, dumps(keys), 0, "", "") for id, keys in bonds.items()])
    _insert(db, "bond_keys", [(key, id) for id, keys in bonds.items() for key in keys])
    before = dict(db.execute("SELECT key, customer FROM aliases"))
    after = {key: key for key in before} | _customers(bonds.values())
    changed = [(key, after[key]) for key in after if after[key] != before.get(key)]
    _insert(db, "aliases", changed, "OR REPLACE")


def _customers(bonds: Collection[tuple[str, ...]]) -> dict[str, str]:
    times = Counter(chain.from_iterable(bonds))
    public = {key for key in times if times[key] > MOST_BONDS and not identity.is_hard(key)}
    return identity.customers((Bond(frozenset(keys)) for keys in bonds), public)


def _insert(db: Database, table: str, rows: Sequence[tuple[object, ...]], how: str = "") -> None:
    """Insert rows in order, which is many times faster than to jump about in a large table."""
    if rows:
        places = ", ".join("?" * len(rows[0]))
        sql = f"INSERT {how} INTO {table} VALUES ({places})"  # noqa: S608
        db.conn.executemany(sql, sorted(rows))


def _sets_of(db: Database, pairs: str) -> set[tuple[str, ...]]:
    """Return the sets of keys that a statement gives, each beside the name of its set."""
    rows = db.execute(f"{pairs} ORDER BY 1, 2")
    return {tuple(key for _, key in some) for _, some in groupby(rows, itemgetter(0))}


def _bond_id(keys: tuple[str, ...]) -> str:
    """Name a bond as the store does, so that a repetition is known."""
    return hashlib.sha256(dumps([list(keys), False]).encode()).hexdigest()[:32]


def _is_test(body: str) -> bool:
    return bool(loads(body).get("test"))


BONDS_INDEX = "CREATE INDEX bond_keys_by_bond ON bond_keys (bond)"

SPINE = """
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    account TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    received_at TEXT NOT NULL,
    test INTEGER NOT NULL,
    fetched INTEGER NOT NULL,
    waits_for TEXT NOT NULL,
    ignored TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_state ON events (state, position);
CREATE INDEX events_by_id ON events (id);

CREATE TABLE refs (
    ref TEXT PRIMARY KEY,
    grp TEXT NOT NULL
) STRICT;
CREATE INDEX refs_by_group ON refs (grp);

CREATE TABLE payments (
    event TEXT NOT NULL REFERENCES events (key),
    position INTEGER NOT NULL,
    id TEXT NOT NULL,
    ref TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (event, position)
) STRICT;
CREATE INDEX payments_by_ref ON payments (ref);

CREATE TABLE conversions (
    id TEXT PRIMARY KEY,
    ref TEXT NOT NULL,
    customer TEXT NOT NULL,
    provider TEXT NOT NULL,
    subscription TEXT NOT NULL,
    paid INTEGER NOT NULL,
    status TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX conversions_by_ref ON conversions (ref);
CREATE INDEX conversions_by_subscription ON conversions (provider, subscription, occurred_at, id);
CREATE INDEX conversions_by_time ON conversions (occurred_at, id);
CREATE INDEX conversions_by_customer ON conversions (customer);
CREATE INDEX conversions_by_status ON conversions (status, occurred_at, id);

CREATE TABLE conversion_keys (
    conversion TEXT NOT NULL REFERENCES conversions (id),
    key TEXT NOT NULL,
    PRIMARY KEY (conversion, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX conversion_keys_by_key ON conversion_keys (key);

CREATE TABLE aliases (
    key TEXT PRIMARY KEY,
    customer TEXT NOT NULL
) STRICT;
CREATE INDEX aliases_by_customer ON aliases (customer);

CREATE TABLE clicks (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    vendor TEXT NOT NULL,
    value TEXT NOT NULL,
    keys TEXT NOT NULL,
    captured_at TEXT NOT NULL,
    exact INTEGER NOT NULL,
    source TEXT NOT NULL
) STRICT;
CREATE INDEX clicks_by_key ON clicks (key);

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    conversion TEXT NOT NULL REFERENCES conversions (id),
    vendor TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    told TEXT NOT NULL DEFAULT '{}',
    in_flight TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since TEXT,
    next_attempt_at TEXT,
    lease TEXT NOT NULL DEFAULT '',
    leased_until TEXT,
    again INTEGER NOT NULL DEFAULT 0,
    updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX deliveries_by_conversion ON deliveries (conversion);
CREATE INDEX deliveries_due ON deliveries (vendor, state, next_attempt_at);
CREATE INDEX deliveries_by_state ON deliveries (state, updated_at, id);
CREATE INDEX deliveries_by_time ON deliveries (updated_at, id);

CREATE TABLE attempts (
    delivery TEXT NOT NULL REFERENCES deliveries (id),
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    call TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    status INTEGER,
    answer TEXT NOT NULL,
    took_ms INTEGER NOT NULL,
    PRIMARY KEY (delivery, number)
) STRICT;

CREATE TABLE asks (
    provider TEXT NOT NULL,
    subject TEXT NOT NULL,
    account TEXT NOT NULL,
    state TEXT NOT NULL,
    asked INTEGER NOT NULL,
    first_at TEXT NOT NULL,
    next_at TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (provider, account, subject)
) STRICT;
CREATE INDEX asks_due ON asks (state, next_at);
CREATE INDEX asks_by_subject ON asks (subject);
"""

PERSONS = """
CREATE TABLE event_keys (
    event TEXT NOT NULL REFERENCES events (key),
    key TEXT NOT NULL,
    PRIMARY KEY (event, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_keys_by_key ON event_keys (key);

ALTER TABLE payments ADD COLUMN redacted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversions ADD COLUMN test INTEGER NOT NULL DEFAULT 0;
ALTER TABLE clicks ADD COLUMN landed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX payments_by_id ON payments (id);
CREATE INDEX events_by_account ON events (provider, account);
"""

IDENTITY = """
CREATE TABLE bonds (
    id TEXT PRIMARY KEY,
    keys TEXT NOT NULL,
    claimed INTEGER NOT NULL,
    source TEXT NOT NULL,
    said_at TEXT NOT NULL
) STRICT;

CREATE TABLE bond_keys (
    key TEXT NOT NULL,
    bond TEXT NOT NULL REFERENCES bonds (id),
    PRIMARY KEY (key, bond)
) STRICT, WITHOUT ROWID;

CREATE TABLE click_keys (
    key TEXT NOT NULL,
    click TEXT NOT NULL,
    PRIMARY KEY (key, click)
) STRICT, WITHOUT ROWID;
DROP INDEX clicks_by_key;

CREATE TABLE addresses (
    key TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    stored_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_by_time ON addresses (stored_at);

CREATE TABLE requests (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    answered_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_time ON requests (answered_at);

ALTER TABLE conversions ADD COLUMN kind TEXT NOT NULL DEFAULT 'sale'
"""

GATES = """
CREATE TABLE gates (
    vendor TEXT PRIMARY KEY,
    recent TEXT NOT NULL,
    pauses INTEGER NOT NULL,
    paused_until TEXT,
    trying INTEGER NOT NULL,
    reason TEXT NOT NULL,
    paced_until TEXT
) STRICT, WITHOUT ROWID
"""
