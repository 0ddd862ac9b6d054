"""`bridge migrate --from --to` as a merchant types it."""

from __future__ import annotations

import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import postgres
import psycopg
import pytest
from migrated import content, side, source_of, stopped, target_of
from running import SETTINGS, run, running, until
from stores import NOW, an_event
from typing_in import bridge, complaint, printed

from bridge.errors import StoreError
from bridge.store.moves import require_open

PASSWORD = "p@ss/word"
QUOTED = quote(PASSWORD, safe="")


def move(source: str, target: str, *more: str) -> tuple[str, ...]:
    return ("migrate", "--from", source, "--to", target, *more)


def with_password(url: str) -> str:
    """Return the address with a password, for a server that asks for none."""
    given = urlsplit(url)
    host = given.netloc.rpartition("@")[2]
    return given._replace(netloc=f"postgres:{QUOTED}@{host}").geturl()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "sqlite:///a.db"),
        ("--to", "sqlite:///a.db"),
        ("--from", "sqlite:///a.db", "--to", ""),
        ("--give-up",),
        ("--from", "sqlite:///a.db", "--to", "sqlite:///./a.db"),
        ("--from", "postgres://bob:p@h/db", "--to", "postgresql://bob:p@h/db"),
        ("--from", "sqlite:///a.db", "--to", "sqlite:///b.db", "--new-secret-key"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert complaint(2, "migrate", *arguments).startswith("Usage: ")
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("sqlite:///none.db", "sqlite:///b.db", "no such file: check --from"),
        ("mysql://x", "sqlite:///b.db", "--from begins with 'mysql'"),
        ("sqlite:///old.db", "sqlite:///none/b.db", "folder does not exist: check --to"),
        ("sqlite:///old.db", "postgres://bob:{}@127.0.0.1:1/x", "is it running? check --to"),
        ("postgres://bob:{}@127.0.0.1:1/x", "sqlite:///b.db", "is it running? check --from"),
        ("sqlite:///old.db", "postgres://bob:{}@127.0.0.1:1/x?such=thing", "--to cannot be read"),
    ],
)
def test_a_database_that_cannot_be_had_is_said(
    tmp_path: Path, source: str, target: str, said: str
) -> None:
    source_of("sqlite", tmp_path)
    told = complaint(1, *move(source.format(QUOTED), target.format(QUOTED)))
    assert said in told
    assert PASSWORD not in told
    assert QUOTED not in told
    assert not (tmp_path / "b.db").exists() or "--from" not in said


@pytest.mark.parametrize(
    "password",
    [
        "Tr0ub4dor@Zebra/Secret99",
        "Tr0ub4dor/Zebra#Secret99",
        "Tr0ub4dor?Zebra@Secret99",
        "Tr0ub4dor?Zebra#Secret99",
        "Tr0ub4dor/Zebra?Secret99=",
    ],
)
def test_no_piece_of_a_password_that_was_not_escaped_is_said(tmp_path: Path, password: str) -> None:
    source_of("sqlite", tmp_path)
    url = f"postgres://u:{password}@127.0.0.1:1/db"
    for option, arguments in (
        ("--from", move(url, "sqlite:///b.db")),
        ("--to", move("sqlite:///old.db", url)),
        ("--from", move(url, "sqlite:///b.db", "--give-up")),
    ):
        said = complaint(1, *arguments)
        assert f"{option} cannot be read: " in said
        assert "%40 for @" in said
        for piece in ("Tr0ub4dor", "Zebra", "Secret99"):
            assert piece not in said


def test_it_says_what_it_did_and_the_old_one_does_not_start(tmp_path: Path) -> None:
    source, target = source_of("sqlite", tmp_path), with_password(target_of("postgres", tmp_path))
    said = printed(*move(source, target))
    assert "deliveries" in said
    assert "old.db was moved to " in said
    assert "Set DATABASE_URL to the new address" in said
    assert PASSWORD not in said
    assert PASSWORD not in "".join(content(source)["facts"] + content(target)["facts"])
    with side(source) as store:
        assert PASSWORD not in store.facts.get("moved")
    assert "was moved to" in printed(*move(source, target))
    settings = SETTINGS | {"DATABASE_URL": source}
    for command in ("serve", "work"):
        ended = run(command, settings=settings)
        assert ended.returncode == 1
        assert "was moved to" in ended.stderr
        assert "set DATABASE_URL to that" in ended.stderr


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_release_phase_fails_where_nothing_can_start(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = source_of(kind, tmp_path), target_of("sqlite", tmp_path)
    stopped(source, target, "comparing events")
    for ended, told in ((False, "is being moved to"), (True, "was moved to")):
        if ended:
            printed(*move(source, target))
        else:
            monkeypatch.setenv("DATABASE_URL", target)
            assert "has not ended" in complaint(1, "migrate")
        monkeypatch.setenv("DATABASE_URL", source)
        assert told in complaint(1, "migrate")
    monkeypatch.setenv("DATABASE_URL", target)
    assert "up to date" in printed("migrate")


def test_a_source_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    full, exchanged = source_of("sqlite", tmp_path), "holds no bridge data: are --from and --to ex"
    (tmp_path / "empty.db").touch()
    assert exchanged in complaint(1, *move("sqlite:///empty.db", full))
    assert exchanged in complaint(1, *move(postgres.empty(), full))
    with side("sqlite:///new.db") as store:
        store.migrate()
    assert "holds none: are the two exchanged?" in complaint(1, *move("sqlite:///new.db", full))
    said = complaint(1, *move("sqlite:///none.db", full))
    assert "no such file: check --from)" in said


def test_one_that_is_not_migrated_is_refused(tmp_path: Path) -> None:
    source = source_of("sqlite", tmp_path)
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute(
            "DELETE FROM _sqlite_migrations WHERE id = (SELECT max(id) FROM _sqlite_migrations)"
        )
    connection.close()
    assert "run `bridge migrate`" in complaint(1, *move(source, "sqlite:///b.db"))


@pytest.mark.parametrize(("kind", "where"), [("sqlite", "source"), ("postgres", "target")])
def test_a_bridge_that_runs_there_is_found(tmp_path: Path, kind: str, where: str) -> None:
    if where == "source":
        used, other = source_of(kind, tmp_path), f"sqlite:///{tmp_path}/other.db"
        source, target = used, other
    else:
        source, used = source_of("sqlite", tmp_path), target_of(kind, tmp_path)
        target = used
    with side(used) as store:
        store.migrate()
    settings = SETTINGS | {"DATABASE_URL": used}
    with running("work", settings=settings, folder=tmp_path) as worker:
        until(lambda: "working" in worker.said(), "a worker")
        said = complaint(1, *move(source, target))
        assert "is in use: stop every bridge" in said
        assert worker.end() == 0
    printed(*move(source, target))


def test_killed_it_goes_on_and_the_half_of_it_does_not_start(tmp_path: Path) -> None:
    """It is stopped at a table that somebody else has locked: from when all tables were emptied."""
    source, target = source_of("sqlite", tmp_path), target_of("postgres", tmp_path)
    with psycopg.connect(target) as first, psycopg.connect(target) as second:
        first.execute("LOCK TABLE deliveries IN SHARE MODE")
        with running(*move(source, target), settings=SETTINGS, folder=tmp_path) as moving:
            until(lambda: waiting(first) == 1, "the move to wait for the first")
            with ThreadPoolExecutor(1) as pool:
                locking = pool.submit(second.execute, b"LOCK TABLE deliveries IN SHARE MODE")
                until(lambda: waiting(first) == 2, "the second to wait for the move")
                first.rollback()
                locking.result()
            until(lambda: waiting(first), f"the move to wait for the second: {moving.said()}")
            moving.end(signal.SIGKILL)
    for url, said in ((source, "is being moved to"), (target, "has not ended")):
        ended = run("work", settings=SETTINGS | {"DATABASE_URL": url})
        assert ended.returncode == 1
        assert said in ended.stderr
    assert "row for row" in printed(*move(source, target))
    assert content(source) == content(target)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_while_it_runs_it_is_neither_given_up_nor_begun_again(tmp_path: Path, kind: str) -> None:
    source, target = source_of(kind, tmp_path), target_of("postgres", tmp_path)
    there = "is in use" if kind == "sqlite" else "another `bridge migrate` moves "
    with psycopg.connect(target) as locking:
        locking.execute("LOCK TABLE deliveries IN SHARE MODE")
        with running(*move(source, target), settings=SETTINGS, folder=tmp_path) as moving:
            until(lambda: waiting(locking), f"the move to wait: {moving.said()}")
            for more in ((), ("--give-up",), ("--give-up", "--yes")):
                assert there in complaint(1, *move(source, target, *more))
            locking.rollback()
            until(lambda: "row for row" in moving.said(), "the move to end")
    assert content(source) == content(target)


def waiting(connection: psycopg.Connection[Any]) -> int:
    """Return how many wait for a lock on a table in a database."""
    (row,) = connection.execute(
        """SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    )
    return int(row[0])


def test_it_can_be_given_up(tmp_path: Path) -> None:
    source, target = source_of("sqlite", tmp_path), target_of("sqlite", tmp_path)
    assert "is not being moved" in complaint(1, *move(source, target, "--give-up"))
    printed(*move(source, target))
    for elsewhere in (f"sqlite:///{tmp_path}/none.db", target_of("postgres", tmp_path)):
        said = complaint(1, *move(source, elsewhere, "--give-up", "--yes"))
        assert "new.db since " in said
        assert "name that with --to to give it up" in said
    with side(source) as store, pytest.raises(StoreError, match="was moved to"):
        require_open(store)
    asked = bridge(*move(source, target, "--give-up"))
    assert asked.exit_code == 1
    assert "opening this one tells vendors of the same sales again" in asked.output
    assert "old.db is open again" in printed(*move(source, target, "--give-up", "--yes"))
    with side(source) as store:
        assert store.events.add(an_event("evt_on"), NOW)
