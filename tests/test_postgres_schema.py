"""Both databases have the same schema, by the same steps; later steps are written once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import postgres
import psycopg
import pytest
import sqlite_utils
from sqlite_utils.migrations import Migrations
from stores import opened
from test_store_sqlite import path, store

from bridge.store import migrations
from bridge.store.database import Database
from bridge.store.dialect import as_postgres, numbered
from bridge.store.migrations import Handle
from bridge.store.postgres import PostgresStore, _Making
from bridge.store.rows import Row
from bridge.store.schema import STEPS
from bridge.store.sqlite import SqliteStore

__all__ = ["path", "store"]  # fixtures

TYPES = {"TEXT": "text", "INTEGER": "bigint"}
COLUMNS = """SELECT table_name, column_name, data_type, is_nullable, collation_name,
                 coalesce(column_default, '') AS value
             FROM information_schema.columns WHERE table_schema = 'public'"""
INDEXES = """SELECT table_of.relname AS name, index.indisunique, index.indisprimary,
                 (SELECT array_agg(attname ORDER BY place)
                  FROM unnest(index.indkey) WITH ORDINALITY AS at (number, place)
                  JOIN pg_attribute ON attrelid = table_of.oid AND attnum = number) AS columns
             FROM pg_index AS index JOIN pg_class AS table_of ON table_of.oid = index.indrelid
             JOIN pg_namespace AS space ON space.oid = relnamespace AND nspname = 'public'"""
FOREIGN = """SELECT conrelid::regclass::text AS name, confrelid::regclass::text AS other
             FROM pg_constraint WHERE contype = 'f'"""
OWN = {"migrations"}  # PostgreSQL's own record; SQLite's is of sqlite-utils


def rows_of(url: str, sql: str) -> list[Row]:
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        found = connection.execute(sql.encode()).fetchall()
    return [row for row in found if row.get("table_name", row.get("name")) not in OWN]


@pytest.fixture(scope="module")
def url() -> str:
    return postgres.lasting()


def told(store: SqliteStore, what: str, of: str) -> list[Row]:
    return store.query(f"SELECT * FROM pragma_{what}('{of}')")  # noqa: S608


def tables(store: SqliteStore) -> list[str]:
    listed = store.query("SELECT name FROM sqlite_master WHERE type = 'table'")
    return [row["name"] for row in listed if not row["name"].startswith(("sqlite_", "_sqlite"))]


def test_the_columns_are_the_same(store: SqliteStore, url: str) -> None:
    ours = {
        (table, row["name"], TYPES[row["type"]], "NO" if row["notnull"] or row["pk"] else "YES")
        for table in tables(store)
        for row in told(store, "table_info", table)
    }
    theirs = {
        (row["table_name"], row["column_name"], row["data_type"], row["is_nullable"])
        for row in rows_of(url, COLUMNS)
    }
    assert theirs == ours


def test_what_is_put_where_nothing_is_said_is_the_same(store: SqliteStore, url: str) -> None:
    ours = {
        (table, row["name"], row["dflt_value"])
        for table in tables(store)
        for row in told(store, "table_info", table)
        if row["dflt_value"] is not None
    }
    theirs = {
        (row["table_name"], row["column_name"], row["value"].removesuffix("::text"))
        for row in rows_of(url, COLUMNS)
        if row["value"]
    }
    assert theirs == ours


def indexes(store: SqliteStore, table: str) -> Iterator[tuple[str, bool, bool, tuple[str, ...]]]:
    """Yield the indexes of a table: whether unique, whether its key, and their columns."""
    key = sorted((row["pk"], row["name"]) for row in told(store, "table_info", table) if row["pk"])
    yield table, True, True, tuple(name for _, name in key)
    for each in told(store, "index_list", table):
        columns = told(store, "index_info", each["name"])
        if each["origin"] != "pk":
            yield table, bool(each["unique"]), False, tuple(row["name"] for row in columns)


def test_the_keys_and_indexes_are_the_same(store: SqliteStore, url: str) -> None:
    ours = sorted(each for table in tables(store) for each in indexes(store, table))
    theirs = sorted(
        (row["name"], row["indisunique"], row["indisprimary"], tuple(row["columns"]))
        for row in rows_of(url, INDEXES)
    )
    assert theirs == ours


def test_what_refers_to_what_is_the_same(store: SqliteStore, url: str) -> None:
    ours = sorted(
        (table, row["table"])
        for table in tables(store)
        for row in told(store, "foreign_key_list", table)
    )
    assert sorted((row["name"], row["other"]) for row in rows_of(url, FOREIGN)) == ours


def test_texts_are_compared_by_their_bytes_whatever_the_language(url: str) -> None:
    """SQLite compares them so: times, ids and keys must come in the same order everywhere."""
    texts = [row for row in rows_of(url, COLUMNS) if row["data_type"] == "text"]
    assert {row["collation_name"] for row in texts} == {"C"}


def test_the_steps_have_the_same_names(store: SqliteStore) -> None:
    assert [each.name for each in migrations.migrations.applied(store._db)] == list(STEPS)


# ── later steps ──────────────────────────────────────────────────────────────────────────────────


def m999_colours(db: Database) -> None:
    """Be a step of some day: a table, a column, and what is in them."""
    db.execute(
        "CREATE TABLE colours (position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT"
    )
    db.execute("ALTER TABLE clicks ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey: :no'")
    with db.atomic():
        assert db.append("colours", [{"name": "red"}, {"name": "red"}], "name") == [True, False]
    for row in db.query("SELECT name FROM colours WHERE name = :name", {"name": "red"}):
        db.execute("INSERT INTO colours (name) VALUES (:name)", {"name": f"dark {row['name']}"})


@contextmanager
def handles(folder: Path) -> Iterator[list[Database]]:
    with opened(f"sqlite:///{folder / 'x.db'}") as one, opened(postgres.lasting()) as other:
        assert isinstance(one, SqliteStore)
        assert isinstance(other, PostgresStore)
        with one.atomic(), other.atomic():
            yield [Handle(one._db), _Making(other)]


def test_a_later_step_is_written_once(tmp_path: Path) -> None:
    with handles(tmp_path) as both:
        for db in both:
            m999_colours(db)
            names = db.query("SELECT name FROM colours ORDER BY position")
            assert names == [{"name": "red"}, {"name": "dark red"}]


def test_a_shared_step_is_one_of_all_databases() -> None:
    mine = Migrations("colours")
    known: dict[str, migrations.Step] = {}
    step = migrations.share(m999_colours, mine, known)
    assert known == {"m999_colours": step}
    assert [each.name for each in mine.pending(sqlite_utils.Database(memory=True))] == [
        "m999_colours"
    ]


@pytest.mark.parametrize(
    ("sql", "placed", "names"),
    [
        ("SELECT 1", "SELECT 1", []),
        ("a = :a AND b = :b_1 OR a > :a", "a = $1 AND b = $2 OR a > $1", ["a", "b_1"]),
        ("a LIKE 'x:y%' AND b = :b", "a LIKE 'x:y%' AND b = $1", ["b"]),
        ("a LIKE '''x:y' AND b = :b", "a LIKE '''x:y' AND b = $1", ["b"]),
        ("json(a::json, :a)", "json(a::json, $1)", ["a"]),
    ],
)
def test_parameters_are_numbered(sql: str, placed: str, names: list[str]) -> None:
    assert numbered(sql) == (placed, names)


def test_a_schema_is_translated() -> None:
    theirs = as_postgres("CREATE TABLE t (p INTEGER PRIMARY KEY, n INTEGER, x TEXT) STRICT")
    key = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
    assert theirs == f'CREATE TABLE t (p {key}, n BIGINT, x TEXT COLLATE "C")'
    assert as_postgres("(x TEXT) STRICT, WITHOUT ROWID;") == '(x TEXT COLLATE "C");'
