"""What a move compares, what it cannot keep, and tables that nobody has thought of."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import postgres
import pytest
from migrated import content, moved, quiet, side, sides, source_of, target_of
from stores import NOW, an_event, put_order

from bridge.errors import StoreError
from bridge.store.copy import move
from bridge.store.moves import Stage
from bridge.store.shut import let_in, shut
from bridge.store.tables import tables_of

kinds = pytest.mark.parametrize("kind", ["sqlite", "postgres"])


# ── compared ─────────────────────────────────────────────────────────────────────────────────────

WRONGS = {
    "changed": "UPDATE clicks SET captured_at = 'x' WHERE id = (SELECT max(id) FROM clicks)",
    "swapped": "UPDATE events SET id = type, type = id WHERE key = (SELECT max(key) FROM events)",
    "gone": "DELETE FROM attempts WHERE number = (SELECT max(number) FROM attempts)",
    "doubled": "INSERT INTO aliases (key, customer) SELECT key || 'x', customer FROM aliases",
}


@pytest.mark.parametrize(("kind", "wrong"), [*zip(["sqlite", "postgres"] * 2, WRONGS, strict=True)])
def test_what_differs_is_found_and_copied_anew(tmp_path: Path, kind: str, wrong: str) -> None:
    source, target = source_of("sqlite", tmp_path), target_of(kind, tmp_path)
    with sides(source, target) as (one, other):

        def spoil(what: str, rows: int) -> None:
            if what == "comparing addresses" and rows and not spoiled:
                spoiled.append(what)
                with let_in(other):
                    assert other.execute(WRONGS[wrong])

        spoiled: list[str] = []
        report = move(one, other, spoil)
        assert [each.table for each in report.tables if not each.same] == [TABLES[wrong]]
        for each in (one, other):
            with pytest.raises(StoreError, match="closed: "):
                each.events.add(an_event(), NOW)
        assert move(one, other, quiet).same
    assert content(source) == content(target)


TABLES = {"changed": "clicks", "swapped": "events", "gone": "attempts", "doubled": "aliases"}


@pytest.mark.parametrize(
    ("kind", "phase"), [("postgres", "copying"), ("sqlite", "comparing addresses")]
)
def test_two_moves_at_once_do_not_mix(tmp_path: Path, kind: str, phase: str) -> None:
    source, target = source_of("sqlite", tmp_path), target_of(kind, tmp_path)
    with sides(source, target) as (one, other), sides(source, target) as (third, fourth):

        def meddle(what: str, rows: int) -> None:
            if what == phase and not met:
                met.append(what)
                assert move(third, fourth, quiet).same
                fourth.events.add(an_event("evt_later"), NOW)

        met: list[str] = []
        with pytest.raises(StoreError, match="another `bridge migrate` copies into"):
            move(one, other, meddle)
    again = moved(source, target)
    assert (again.stage, [each.table for each in again.tables if not each.same]) == (
        Stage.DONE,
        ["events"],
    )


# ── texts ────────────────────────────────────────────────────────────────────────────────────────


def test_texts_that_postgresql_cannot_keep_are_named(tmp_path: Path) -> None:
    """They become what they would be, had bridge written them there itself."""
    source, target = source_of("sqlite", tmp_path), target_of("postgres", tmp_path)
    odd = an_event("evt_\0odd", type="a\0b")
    with side(source) as store:
        store.events.add(odd, NOW)
        store.facts.put("a\0b", "fine")
        put_order(store, "in_\0")
    report = moved(source, target)
    assert report.same
    events = [each for each in report.changed if each.startswith("events ")]
    assert len(events) == 2
    assert events[0].endswith("stripe:evt_\0odd: id, key, type")
    assert "facts a\0b: name" in report.changed
    with side(target) as store:
        assert not store.events.add(odd, NOW)  # it is known
        assert store.facts.get("a\0b") == "fine"
        assert store.deliveries.get("stripe:in_\0@acme")


def test_rows_that_would_become_one_are_not_dropped(tmp_path: Path) -> None:
    source, target = source_of("sqlite", tmp_path), target_of("postgres", tmp_path)
    with side(source) as store:
        for id in ("evt_\0", "evt_\ufffd"):
            store.events.add(an_event(id), NOW)
    with pytest.raises(StoreError, match="rows of events are there already, or become the same"):
        moved(source, target)


def test_another_file_keeps_every_text(tmp_path: Path) -> None:
    source, target = source_of("sqlite", tmp_path), target_of("sqlite", tmp_path)
    with side(source) as store:
        store.events.add(an_event("evt_\0odd"), NOW)
    assert moved(source, target).changed == []
    assert content(source) == content(target)


@kinds
def test_bytes_that_are_no_text_are_named(tmp_path: Path, kind: str) -> None:
    source, target = source_of("sqlite", tmp_path), target_of(kind, tmp_path)
    with sqlite3.connect(source.removeprefix("sqlite:///")) as file:
        file.execute("UPDATE events SET reason = CAST(x'61eda0bd62' AS TEXT) WHERE position = 2")
    file.close()
    report = moved(source, target)
    assert report.same
    (said,) = report.changed
    assert said.startswith("events 2 stripe:evt_")
    assert said.endswith(": reason")
    with side(target) as store:
        assert store.query("SELECT reason FROM events WHERE position = 2") == [{"reason": "a???b"}]


# ── tables ───────────────────────────────────────────────────────────────────────────────────────

LATER = "CREATE TABLE colours (name TEXT NOT NULL, shade INTEGER, {key}) {strict}"


def add_table(url: str, key: str = "PRIMARY KEY (shade, name)") -> None:
    with side(url) as store:
        store.migrate()
        store.execute(LATER.format(key=key, strict="STRICT" if "sqlite" in url else ""))
        store.execute("ALTER TABLE clicks ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'")


def test_a_table_of_some_day_is_copied_and_shut(tmp_path: Path) -> None:
    source, target = source_of("sqlite", tmp_path), postgres.lasting()
    for url in (source, target):
        add_table(url)
    with side(source) as store:
        store.execute("INSERT INTO colours VALUES ('red', 1), ('red', 2), ('blue', 1)")
        store.execute("UPDATE clicks SET colour = 'green' WHERE landed = 0")
    assert moved(source, target).same
    assert content(source) == content(target)
    assert len(content(target)["colours"]) == 3
    with side(source) as store, pytest.raises(StoreError, match="closed: "):
        store.execute("DELETE FROM colours")


@pytest.mark.parametrize("where", ["source", "target"])
def test_a_table_that_only_one_side_has_is_refused(tmp_path: Path, where: str) -> None:
    source, target = source_of("sqlite", tmp_path), postgres.lasting()
    add_table(source if where == "source" else target)
    with pytest.raises(StoreError, match="differ in the tables clicks, colours: "):
        moved(source, target)
    with side(source) as store:
        assert store.events.add(an_event("evt_on"), NOW)  # nothing is shut


def test_a_table_without_a_key_is_refused(tmp_path: Path) -> None:
    source, target = source_of("sqlite", tmp_path), target_of("sqlite", tmp_path)
    for url in (source, target):
        add_table(url, "UNIQUE (name)")
    with pytest.raises(StoreError, match="table colours has no primary key"):
        moved(source, target)


@kinds
def test_tables_come_after_those_they_refer_to(tmp_path: Path, kind: str) -> None:
    with side(source_of(kind, tmp_path)) as store:
        tables = tables_of(store)
        seen: set[str] = set()
        for each in tables:
            assert each.refers_to <= seen
            seen.add(each.name)
        assert {"events", "deliveries", "gates"} <= seen
        store.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, up INTEGER REFERENCES a (id))")
        with pytest.raises(StoreError, match="tables refer to each other: a"):
            tables_of(store)


def test_all_tables_are_shut_against_every_write(tmp_path: Path) -> None:
    with side(postgres.lasting()) as store:
        with store.atomic():
            shut(store, "closed: it's a test, :so")
        for table in tables_of(store):
            for write in ("DELETE FROM {}", "TRUNCATE {} CASCADE"):
                with pytest.raises(StoreError, match="closed: it's a test, :so"):
                    store.execute(write.format(table.name))


def test_numbers_go_on_after_the_highest(tmp_path: Path) -> None:
    source, target = source_of("sqlite", tmp_path), target_of("postgres", tmp_path)
    with side(source) as store:
        store.execute("UPDATE events SET position = position + 5000000000 WHERE position = 1")
    moved(source, target)
    with side(target) as store:
        store.events.add(an_event("evt_next"), NOW)
        (row,) = store.query("SELECT position FROM events WHERE id = 'evt_next'")
    assert row["position"] == 5_000_000_002
