"""A move that is killed, repeated, given up, or turned around: never are both databases open."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from migrate_killed import killed_in_each_phase
from migrated import content, moved, quiet, side, sides, source_of, stopped, target_of
from stores import NOW, an_event

from bridge.errors import StoreError
from bridge.store.copy import move
from bridge.store.moves import Stage, give_up, require_open

across = pytest.mark.parametrize(
    ("kind", "other"), [("sqlite", "postgres"), ("postgres", "sqlite")]
)
kinds = pytest.mark.parametrize("kind", ["sqlite", "postgres"])


LATE = NOW + timedelta(days=900)


def is_shut(url: str) -> bool:
    """Tell whether a bridge can neither start nor, if it runs, write."""
    with side(url) as store:
        try:
            require_open(store)
        except StoreError:
            with pytest.raises(StoreError, match="closed: "):
                store.facts.put("any", "thing")
            return True
        store.facts.put("any", "thing")
        store.facts.remove("any", "thing")
        return False


@across
def test_killed_in_any_phase_it_goes_on_where_it_was(tmp_path: Path, kind: str, other: str) -> None:
    source, target = source_of(kind, tmp_path), target_of(other, tmp_path)
    before = content(source)
    with side(target) as store:
        store.migrate()
    phases = killed_in_each_phase(source, target)
    assert {"shutting", "copying events", "copying events again", "comparing events"} <= set(phases)
    assert "copying conversion_keys again" in phases
    assert phases[-2:] == ["ending", "opening"]
    assert content(target) == before
    assert is_shut(source)
    assert not is_shut(target)


@kinds
def test_who_has_the_source_open_cannot_write_any_more(tmp_path: Path, kind: str) -> None:
    source, target = source_of(kind, tmp_path), target_of("sqlite", tmp_path)
    before = content(source)
    with sides(source, target) as (one, other), side(source) as running:
        assert running.deliveries.count()
        move(one, other, quiet)
        for write in (
            lambda: running.events.add(an_event(), NOW),
            lambda: running.deliveries.lease("tapfiliate", LATE, LATE, "me", 1),
            lambda: running.check(writable=True),
            lambda: running.query("DELETE FROM gates RETURNING vendor"),
        ):
            with pytest.raises(
                StoreError, match=r"closed: it was moved to .*new.db .*set DATABASE"
            ):
                write()
    assert content(source) == before


@kinds
def test_repeated_it_says_that_it_is_done(tmp_path: Path, kind: str) -> None:
    source, target = source_of("sqlite", tmp_path), target_of(kind, tmp_path)
    assert moved(source, target).stage is Stage.NEW
    again = moved(source, target)
    assert (again.stage, again.same) == (Stage.DONE, True)
    with side(target) as store:
        store.events.add(an_event("evt_later"), NOW)
    later = moved(source, target)
    assert [each.table for each in later.tables if not each.same] == ["events"]
    assert later.stage is Stage.DONE
    with side(target) as store:
        assert store.events.get("stripe:evt_later")
    assert not is_shut(target)


@across
def test_it_can_be_moved_back(tmp_path: Path, kind: str, other: str) -> None:
    source, target = source_of(kind, tmp_path), target_of(other, tmp_path)
    moved(source, target)
    with side(target) as store:
        store.events.add(an_event("evt_later"), NOW)
    assert moved(target, source).same
    assert is_shut(target)
    assert not is_shut(source)
    assert content(source) == content(target)
    with side(source) as store:
        assert store.events.add(an_event("evt_latest"), NOW)
    assert moved(source, target).same
    assert content(source) == content(target)


@kinds
def test_what_was_given_up_is_open_again_and_later_copied_anew(tmp_path: Path, kind: str) -> None:
    source, target = source_of(kind, tmp_path), target_of("sqlite", tmp_path)
    stopped(source, target, "comparing events")
    assert is_shut(source)
    assert is_shut(target)
    with side(source) as store:
        give_up(store)
        assert store.execute("UPDATE deliveries SET reason = 'since then'")
        assert store.events.add(an_event("evt_since"), NOW)
    assert not is_shut(source)
    assert is_shut(target)
    assert moved(source, target).same
    assert content(source) == content(target)


@pytest.mark.parametrize("phase", ["copying clicks", "comparing events", "ending"])
@kinds
def test_given_up_while_it_runs_it_does_not_end(tmp_path: Path, kind: str, phase: str) -> None:
    """What the source has taken since would be lost."""
    source, target = source_of(kind, tmp_path), target_of("sqlite", tmp_path)
    given_up: list[bool] = []

    def watch(what: str, rows: int) -> None:
        if what == phase and not given_up:
            with side(source) as store:
                give_up(store)
                given_up.append(bool(store.events.add(an_event("evt_since"), NOW)))

    said = pytest.raises(StoreError, match=r"given up meanwhile: .* is open again")
    with sides(source, target) as (one, other), said:
        move(one, other, watch)
    assert given_up == [True]
    assert not is_shut(source)
    assert is_shut(target)
    assert moved(source, target).same
    assert content(source) == content(target)


@kinds
def test_a_move_that_has_begun_goes_on_to_nowhere_else(tmp_path: Path, kind: str) -> None:
    source, target = source_of(kind, tmp_path), target_of("sqlite", tmp_path)
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    stopped(source, target, "copying clicks")
    with pytest.raises(StoreError, match=r"is being moved to .*new.db since .*--give-up"):
        moved(source, elsewhere)
    with pytest.raises(StoreError, match=r"cannot be moved: the copy from .* has not ended"):
        moved(target, elsewhere)
    moved(source, target)
    with pytest.raises(StoreError, match=r"was moved to .*new.db at "):
        moved(source, elsewhere)


# ── wrong targets ────────────────────────────────────────────────────────────────────────────────


@kinds
def test_a_target_that_holds_something_is_refused(tmp_path: Path, kind: str) -> None:
    source, target = source_of("sqlite", tmp_path), target_of(kind, tmp_path)
    with side(target) as store:
        store.migrate()
        store.events.add(an_event(), NOW)
    before = content(target)
    with pytest.raises(StoreError, match=r"holds data of its own \(events\): name an empty"):
        moved(source, target)
    assert content(target) == before
    assert not is_shut(source)
    assert not is_shut(target)


@kinds
def test_what_an_empty_target_made_up_for_itself_goes(tmp_path: Path, kind: str) -> None:
    source, target = source_of("sqlite", tmp_path), target_of(kind, tmp_path)
    with side(target) as store:
        store.migrate()
        store.facts.put("email_key_sealed", "of a bridge that was started here too early")
    moved(source, target)
    assert content(target)["facts"] == content(source)["facts"]


def test_a_copy_of_something_else_is_refused(tmp_path: Path) -> None:
    source, target = source_of("sqlite", tmp_path), target_of("postgres", tmp_path)
    (tmp_path / "b").mkdir()
    other = f"sqlite:///{tmp_path}/b/old.db"
    with side(other) as store:
        store.migrate()
        store.events.add(an_event(), NOW)
    stopped(source, target, "copying deliveries")
    with pytest.raises(StoreError, match=r"the copy from .*/old.db, begun at .* has not ended"):
        moved(other, target)
    assert not is_shut(other)
    moved(source, target)
    with pytest.raises(StoreError, match="holds data of its own"):
        moved(other, target)


@kinds
def test_a_database_is_not_moved_to_itself(tmp_path: Path, kind: str) -> None:
    source = source_of(kind, tmp_path)
    with pytest.raises(StoreError, match="are the same database, or one is a copy of"):
        moved(source, source)
    assert not is_shut(source)
