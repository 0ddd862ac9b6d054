"""Shutting a database: nobody writes to it any more, also who has had it open for long.

A trigger on each table refuses every write, whatever version of bridge it comes from, with a
message that says what to do. A worker writes down each call before it sends it, so from a database
that is shut no vendor is told anything. Reading goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bridge.store.database import Database
from bridge.store.dialect import POSTGRES, SHUT
from bridge.store.tables import tables_of

TRIGGER = "bridge_shut"
WRITES = ("INSERT", "UPDATE", "DELETE")
LET_IN = "SET LOCAL bridge.let_in = 'yes'"
REFUSE = f"""CREATE OR REPLACE FUNCTION {TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('bridge.let_in', true), '') != 'yes' THEN
        RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = '{SHUT}';
    END IF;
    RETURN NULL;
END $$"""
OURS = """SELECT name, sql FROM sqlite_master
    WHERE type = 'trigger' AND substr(name, 1, length(:trigger)) = :trigger"""


def shut(db: Database, message: str) -> None:
    """Refuse all writes from the end of this transaction on; best called in `atomic()`."""
    unshut(db)
    said = message.replace("'", "''")
    if db.dialect is POSTGRES:
        db.execute(REFUSE)
    for table in tables_of(db):
        for statement in _triggers(db, table.name, said):
            db.execute(statement)


def unshut(db: Database) -> None:
    """Allow writes again."""
    if db.dialect is POSTGRES:
        for table in tables_of(db):
            db.execute(f'DROP TRIGGER IF EXISTS {TRIGGER} ON "{table.name}"')
    else:
        _drop(db)


@contextmanager
def let_in(db: Database) -> Iterator[None]:
    """Run a block in a transaction that may write, also to a database that is shut."""
    with db.atomic():
        if db.dialect is POSTGRES:
            db.execute(LET_IN)
            yield
            return
        dropped = _drop(db)
        yield
        for statement in dropped:
            db.execute(statement)


def _triggers(db: Database, table: str, said: str) -> Iterator[str]:
    if db.dialect is POSTGRES:
        yield f"""CREATE TRIGGER {TRIGGER} BEFORE {" OR ".join(WRITES)} OR TRUNCATE ON "{table}"
                  FOR EACH STATEMENT EXECUTE FUNCTION {TRIGGER}('{said}')"""
        return
    for write in WRITES:
        yield f"""CREATE TRIGGER "{TRIGGER}_{table}_{write}" BEFORE {write} ON "{table}"
                  BEGIN SELECT RAISE(ABORT, '{said}'); END"""


def _drop(db: Database) -> Sequence[str]:
    """Drop what refuses writes in SQLite; return what makes it again."""
    rows = db.query(OURS, {"trigger": TRIGGER})
    for row in rows:
        db.execute(f'DROP TRIGGER "{row["name"]}"')
    return [row["sql"] for row in rows]
