"""A shop that imports files of clicks, for tests of `bridge clicks import`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from kit import Bench, bench
from typing_in import bridge

from bridge.attribution import StoredClick
from bridge.store import Store
from bridge.store.sqlite import SqliteStore

AT = "2026-11-02T12:00:00Z"
EMAIL = "Jane.Doe@example.com"
PERSONAL = (EMAIL.lower(), "203.0.113", "jane", "mozilla")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench(tmp_path / "bridge.db", monkeypatch) as made:
        yield made


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(import_module("bridge.cli.clicks"), "BATCH", 4)
    return 4


def write(name: str, *lines: str | bytes, end: str = "\n") -> str:
    """Write a file of these lines into the folder of the test; return its name."""
    whole = b"".join(
        (each if isinstance(each, bytes) else each.encode()) + end.encode() for each in lines
    )
    Path(name).write_bytes(whole)
    return name


def csv_file(*rows: str | bytes, head: str = "external_id,taapit") -> str:
    return write("clicks.csv", head, *rows)


def lines_of(bodies: Iterable[object]) -> list[str]:
    return [json.dumps(each) for each in bodies]


def report(*arguments: str, code: int = 0) -> dict[str, Any]:
    """Import and return the report; what is wrong stands on stderr as well."""
    result = bridge("clicks", "import", *arguments, "--json")
    assert result.exit_code == code, result.output
    assert bool(result.stderr) == bool(code)
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def counts(said: dict[str, Any]) -> tuple[int, ...]:
    return tuple(said[name] for name in ("rows", "taken", "known", "joined", "refused"))


def reasons(said: dict[str, Any]) -> dict[str, list[int]]:
    return {each["reason"]: each["lines"] for each in said["reasons"]}


def stored(shop: Bench, key: str = "external_id:u_1") -> list[StoredClick]:
    return shop.store.customers.clicks(shop.store.customers.aliases([key]))


def everything(store: Store) -> list[list[dict[str, Any]]]:
    """Return all that is stored of customers, without when it was heard."""
    assert isinstance(store, SqliteStore)
    return [
        store.query(f"SELECT {columns} FROM {table} ORDER BY {columns}")  # noqa: S608
        for table, columns in (
            ("clicks", "id, key, vendor, value, keys, exact"),
            ("aliases", "key, customer"),
            ("bonds", "id, keys, claimed, source"),
        )
    ]


def people(count: int, *, twice: int = 0) -> list[str]:
    """Return rows of so many customers, some of whom come once more with another click."""
    rows = [f"u_{n},user{n}@shop.example,cus_{n},click_{n},{AT}" for n in range(count)]
    return rows + [f"u_{n},user{n}@shop.example,cus_{n},again_{n},{AT}" for n in range(twice)]


PEOPLE = "external_id,email,stripe,taapit,occurred_at"
