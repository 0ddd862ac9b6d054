"""Disjoint sets in a table: the references of orders, the keys of customers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.store.database import Database


@dataclass(frozen=True, slots=True)
class SetTable:
    """Name a table of disjoint sets, its column of members and its column of set names."""

    table: str
    member: str
    name: str


REFS = SetTable("refs", "ref", "grp")
ALIASES = SetTable("aliases", "key", "customer")


def join(db: Database, sets: SetTable, members: Sequence[str]) -> str:
    """Make one set of the sets that hold these members; return its name."""
    known = {each: name for each in members if (name := find(db, sets, each))}
    winner, *others = sorted(set(known.values())) or [min(members)]
    for other in others:
        db.execute(
            f"UPDATE {sets.table} SET {sets.name} = :winner WHERE {sets.name} = :other",  # noqa: S608
            {"winner": winner, "other": other},
        )
    for each in members:
        if each not in known:
            db.execute(
                f"INSERT INTO {sets.table} ({sets.member}, {sets.name}) VALUES (:each, :winner)",  # noqa: S608
                {"each": each, "winner": winner},
            )
    return winner


def find(db: Database, sets: SetTable, member: str) -> str:
    """Return the name of the set that holds a member, or "" for a stranger."""
    sql = f"SELECT {sets.name} AS name FROM {sets.table} WHERE {sets.member} = :member"  # noqa: S608
    rows = db.query(sql, {"member": member})
    return str(rows[0]["name"]) if rows else ""
