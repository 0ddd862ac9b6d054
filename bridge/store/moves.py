"""Moves from one database to another, as both know of them: marks in their facts.

Each database has an id of its own. A move has a token, which both sides keep:

    source   `moved`      where its data is going (then it is shut), or has gone (and stays shut)
    target   `came_from`  where its data comes from, and how far it has come (until then it is shut)

The source is shut before the first row is read, and is marked as gone before the target is opened:
at no moment may two be written, so that two workers can never tell of the same sale. Whatever is
interrupted goes on where it was; and until the target is opened, it can be given up.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from bridge.codec import dump, iso, load
from bridge.errors import StoreError
from bridge.store import Store
from bridge.store.database import Database
from bridge.store.dialect import POSTGRES
from bridge.store.shut import shut, unshut
from bridge.store.tables import tables_of

ID, MOVED, CAME_FROM = "database_id", "moved", "came_from"
# What a database keeps of itself, and no copy takes along.
OWN_FACTS = {ID, MOVED, CAME_FROM}


class Side(Store, Database, Protocol):
    """Be a store, and let its tables be read and written as such."""


class Stage(StrEnum):
    """Name how far a move has come."""

    NEW = "new"
    SHUT = "shut"  # the source is; the target does not know yet
    COPYING = "copying"
    GONE = "gone"  # all is at the target, which does not know that the source knows
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Hold what one side knows of a move; `tables` and `after` say what the target has of it."""

    token: str
    id: str  # of the other side
    where: str
    at: str
    done: bool = False
    tables: int = 0
    after: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Hold a move between two databases, and how far it has come."""

    token: str
    stage: Stage
    at: str


def agree(source: Side, target: Side) -> Move:
    """Find out what to do next; raise StoreError where these two cannot be moved."""
    _require_two(source, target)
    _require_whole(source)
    moved, came = mark_of(source, MOVED), mark_of(target, CAME_FROM)
    if moved is None:
        _require_room(source, target)
        return Move(token=secrets.token_hex(8), stage=Stage.NEW, at=_now())
    if moved.id != id_of(target):
        raise StoreError(f"{source.where} {_fate(moved)}")
    return Move(token=moved.token, stage=_stage(source, target, moved, came), at=moved.at)


def _stage(source: Side, target: Side, moved: Mark, came: Mark | None) -> Stage:
    """Return how far a move has come of which the source knows."""
    if came and came.token == moved.token:
        return Stage.DONE if came.done else Stage.GONE if moved.done else Stage.COPYING
    if moved.done and not _unfinished_copy(target):
        raise StoreError(
            f"{source.where} {_fate(moved)}, which does not know of it: is it another one now?"
        )
    _require_room(source, target)
    return Stage.SHUT


def leave(source: Side, target: Side, move: Move, *, done: bool = False) -> None:
    """Shut the source; once all is copied, for good."""
    mark = Mark(token=move.token, id=id_of(target), where=target.where, at=move.at, done=done)
    with source.atomic():
        if done:
            require_going_on(source, move)
        else:
            _require_no_other(source, move)
        unshut(source)
        source.facts.put(MOVED, dump(mark))
        shut(source, f"closed: it {_fate(mark)}")


def arrive(source: Side, target: Side, move: Move) -> Mark:
    """Shut the target, and take away what it holds: nothing, or what the source holds, too."""
    mark = Mark(token=move.token, id=id_of(source), where=source.where, at=move.at)
    with target.atomic():
        _require_room(source, target)
        unshut(target)
        _empty(target)
        target.facts.put(CAME_FROM, dump(mark))
        shut(target, f"closed: {_unfinished(mark)}")
    return mark


def settle(target: Side, mark: Mark) -> None:
    """Open the target: all is there."""
    with target.atomic():
        unshut(target)
        target.facts.put(CAME_FROM, dump(replace(mark, done=True)))


def give_up(source: Side) -> None:
    """Open the source again: what was copied so far is left where it is, and is shut."""
    with source.atomic():
        unshut(source)
        _forget(source, MOVED)


def require_going_on(source: Side, move: Move) -> None:
    """Raise StoreError where a move was given up: what has come since was not copied."""
    _require_no_other(source, move)
    if mark_of(source, MOVED) is None:
        raise StoreError(
            f"the move was given up meanwhile: {source.where} is open again, the copy of it stays "
            "closed; stop every bridge, then repeat this to copy all anew"
        )


def require_open(store: Store) -> None:
    """Raise StoreError where a database was moved, or the copy into it has not ended."""
    if came := _unfinished_copy(store):
        raise StoreError(f"{store.where}: {_unfinished(came)}")
    if moved := mark_of(store, MOVED):
        raise StoreError(f"{store.where} {_fate(moved)}")


def mark_of(store: Store, name: str) -> Mark | None:
    """Return the mark of a move, if there is one."""
    text = store.facts.get(name)
    return load(Mark, text) if text else None


def id_of(store: Store) -> str:
    """Return what names a database, whatever its address; make it up at first."""
    if not (id := store.facts.get(ID)):
        id = secrets.token_hex(8)
        store.facts.put(ID, id)
    return id


# ── may it be ────────────────────────────────────────────────────────────────────────────────────


def _require_two(source: Side, target: Side) -> None:
    if id_of(source) == id_of(target):
        raise StoreError(
            f"{source.where} and {target.where} are the same database, or one is a copy of the "
            "other's file: name an empty one to move to"
        )


def _require_no_other(source: Side, move: Move) -> None:
    moved = mark_of(source, MOVED)
    if moved and moved.token != move.token:
        raise StoreError(f"{source.where} {_fate(moved)}")


def _require_whole(source: Side) -> None:
    if came := _unfinished_copy(source):
        raise StoreError(f"{source.where} cannot be moved: {_unfinished(came)}")


def _require_room(source: Side, target: Side) -> None:
    """Raise StoreError unless a target is empty, or all it holds is in the source, too."""
    moved, came = mark_of(target, MOVED), _unfinished_copy(target)
    if came:
        if came.id != id_of(source):
            raise StoreError(f"{target.where}: {_unfinished(came)}")
        return
    if moved:
        if moved.id != id_of(source) or not moved.done:
            raise StoreError(f"{target.where} {_fate(moved)}")
        return
    if held := _held(target):
        asked = "" if _held(source) else f" ({source.where} holds none: are the two exchanged?)"
        raise StoreError(
            f"{target.where} holds data of its own ({held}): name an empty database{asked}"
        )


def _held(side: Side) -> str:
    """Return the name of a table that holds something, or "" where none does."""
    names = (each.name for each in tables_of(side) if each.name != "facts")
    rows = (name for name in names if side.query(f'SELECT 1 FROM "{name}" LIMIT 1'))  # noqa: S608
    return next(rows, "")


def _unfinished_copy(store: Store) -> Mark | None:
    came = mark_of(store, CAME_FROM)
    return came if came and not came.done else None


# ── words ────────────────────────────────────────────────────────────────────────────────────────


def _fate(mark: Mark) -> str:
    if mark.done:
        return (
            f"was moved to {mark.where} at {mark.at}: set DATABASE_URL to that "
            "(`bridge migrate`, --from there --to here, moves it back)"
        )
    return (
        f"is being moved to {mark.where} since {mark.at}: repeat that `bridge migrate --from … "
        "--to …` to go on, or add --give-up to open it again"
    )


def _unfinished(mark: Mark) -> str:
    return (
        f"the copy from {mark.where}, begun at {mark.at}, has not ended: repeat that "
        "`bridge migrate --from … --to …`"
    )


def _now() -> str:
    return iso(datetime.now(UTC))


# ── tables ───────────────────────────────────────────────────────────────────────────────────────


def _empty(target: Side) -> None:
    """Take away all rows but the facts that a database keeps of itself."""
    held = [f'"{each.name}"' for each in tables_of(target) if each.name != "facts"]
    if target.dialect is POSTGRES:
        target.execute(f"TRUNCATE {', '.join(held)}")
    else:
        for name in reversed(held):
            target.execute(f"DELETE FROM {name}")  # noqa: S608
    for row in target.query("SELECT name FROM facts"):
        if row["name"] != ID:
            _forget(target, row["name"])


def _forget(store: Side, name: str) -> None:
    store.execute("DELETE FROM facts WHERE name = :name", {"name": name})
