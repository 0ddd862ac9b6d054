"""The schema as PostgreSQL has it: the steps of SQLite by the same names, translated.

A database there is always younger than the first steps, so that nothing has to be moved by them:
what they make is all that is needed. Later steps are written once, and run on both.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial

from bridge.store import migrations
from bridge.store.database import Database
from bridge.store.migrations import Step

RECORD = (
    """CREATE TABLE IF NOT EXISTS migrations (
           name TEXT PRIMARY KEY,
           applied_at TEXT NOT NULL
       )""",
)


def _make(statements: str, db: Database) -> None:
    for statement in filter(str.strip, statements.split(";")):
        db.execute(statement)


def _make_the_spine(db: Database) -> None:
    _make(migrations.SPINE, db)
    db.execute(
        "INSERT INTO facts (name, value) VALUES ('email_key', :key)",
        {"key": secrets.token_hex(32)},
    )


STEPS: Mapping[str, Step] = {
    "m001_the_spine": _make_the_spine,
    "m002_persons": partial(_make, migrations.PERSONS),
    "m003_identity": partial(_make, f"{migrations.IDENTITY};{migrations.BONDS_INDEX}"),
    "m004_gates": partial(_make, migrations.GATES),
    **migrations.SHARED,
}
