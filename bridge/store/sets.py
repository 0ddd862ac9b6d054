"""Disjoint sets in a table: the references of orders, the keys of customers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bridge.store.database import Database, insert_all, query_for


@dataclass(frozen=True, slots=True)
class SetTable:
    """Name a table of disjoint sets, its column of members and its column of set names."""

    table: str
    member: str
    name: str


REFS = SetTable("refs", "ref", "grp")
ALIASES = SetTable("aliases", "key", "customer")


def join(db: Database, sets: SetTable, members: Sequence[str]) -> tuple[str, bool]:
    """Make one set of the sets that hold these members; return its name, and whether it is new.

    A set is named by one of its members.
    """
    known = find_all(db, sets, members)
    strangers = set(members) - known.keys()
    winner, *others = sorted(set(known.values())) or [min(members)]
    for other in others:
        db.execute(
            f"UPDATE {sets.table} SET {sets.name} = :winner WHERE {sets.name} = :other",  # noqa: S608
            {"winner": winner, "other": other},
        )
    pairs = [(each, winner) for each in sorted(strangers)]
    insert_all(db, f"INSERT INTO {sets.table} ({sets.member}, {sets.name}) VALUES :pairs", pairs)  # noqa: S608
    return winner, bool(others or strangers)


def find(db: Database, sets: SetTable, member: str) -> str:
    """Return the name of the set that holds a member, or "" for a stranger."""
    sql = f"SELECT {sets.name} AS name FROM {sets.table} WHERE {sets.member} = :member"  # noqa: S608
    rows = db.query(sql, {"member": member})
    return str(rows[0]["name"]) if rows else ""


def find_all(db: Database, sets: SetTable, members: Collection[str]) -> dict[str, str]:
    """Return the name of the set that holds each of these members; none for strangers."""
    sql = f"""SELECT {sets.member} AS member, {sets.name} AS name FROM {sets.table}
              WHERE {sets.member} IN (:keys)"""  # noqa: S608
    return {str(row["member"]): str(row["name"]) for row in query_for(db, sql, members)}


def groups(db: Database, sets: SetTable, members: Collection[str]) -> dict[str, str]:
    """Return all members of the sets that hold one of these, each with the name of its set."""
    sql = f"""SELECT {sets.member} AS member, {sets.name} AS name FROM {sets.table}
              WHERE {sets.name} IN
              (SELECT {sets.name} FROM {sets.table} WHERE {sets.member} IN (:keys))"""  # noqa: S608
    return {str(row["member"]): str(row["name"]) for row in query_for(db, sql, members)}


def companions(db: Database, sets: SetTable, members: Collection[str]) -> set[str]:
    """Return all members of the sets that hold one of these; none for strangers."""
    return set(groups(db, sets, members))
