"""A store whose disk fails it: what is half done is undone, and what fails once works again."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signed import SECRET, error_of, post
from stores import NOW, an_event

from bridge import config
from bridge.errors import StoreError
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(path), 0.05)
    store.migrate()
    yield store
    store.close()


def fill(store: SqliteStore, spare: int = 0) -> None:
    """Leave this thread's connection no room to grow."""
    (row,) = store.query("PRAGMA page_count")
    store.query(f"PRAGMA max_page_count = {row['page_count'] + spare}")


def empty(store: SqliteStore) -> None:
    store.query("PRAGMA max_page_count = 1000000")


def kept(path: Path) -> set[str]:
    """Return the events that somebody else finds in the file."""
    with sqlite3.connect(path) as other:
        found = {id for (id,) in other.execute("SELECT id FROM events")}
    other.close()
    return found


# ── a transaction that cannot be ended as it should ──────────────────────────────────────────────


def forbid(store: SqliteStore, *words: str) -> None:
    """Have SQLite itself refuse to run COMMIT or ROLLBACK on this thread's connection."""

    def decide(action: int, word: str | None, *_: object) -> int:
        refused = action == sqlite3.SQLITE_TRANSACTION and word in words
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    store._db.conn.set_authorizer(decide)


@pytest.mark.parametrize("words", [("COMMIT",), ("COMMIT", "ROLLBACK")])
def test_what_cannot_be_committed_is_undone_and_the_next_is_kept(
    store: SqliteStore, path: Path, words: tuple[str, ...]
) -> None:
    forbid(store, *words)
    with pytest.raises(StoreError):
        store.events.add(an_event("evt_lost"), NOW)
    assert kept(path) == set()
    assert store.events.add(an_event("evt_1"), NOW)
    assert kept(path) == {"evt_1"}


def test_an_error_of_ours_that_cannot_be_rolled_back_leaves_no_half_transaction(
    store: SqliteStore, path: Path
) -> None:
    forbid(store, "ROLLBACK")

    def ours() -> None:
        with store.atomic():
            store.events.add(an_event("evt_lost"), NOW)
            raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        ours()
    with store.atomic():
        assert store.events.add(an_event("evt_1"), NOW)
    assert kept(path) == {"evt_1"}


DESTROYS = "INSERT OR ROLLBACK INTO facts (name, value) VALUES ('twice', '')"


@pytest.mark.parametrize(
    "then",
    [
        lambda store: store.events.add(an_event("evt_2"), NOW),
        lambda store: store.events.received(10),
        lambda store: store.atomic().__enter__(),
        lambda store: None,
    ],
    ids=["write", "read", "nest", "leave"],
)
def test_nothing_goes_on_in_a_transaction_that_sqlite_has_undone(
    store: SqliteStore, path: Path, then: Callable[[SqliteStore], object]
) -> None:
    def half() -> None:
        with store.atomic():
            store.events.add(an_event("evt_1"), NOW)
            store.facts.put("twice", "")
            with pytest.raises(sqlite3.IntegrityError):
                store.execute(DESTROYS)
            then(store)

    with pytest.raises(StoreError, match="the transaction was undone"):
        half()
    assert kept(path) == set()
    assert store.events.add(an_event("evt_1"), NOW)
    assert kept(path) == {"evt_1"}


# ── no room ──────────────────────────────────────────────────────────────────────────────────────


def put(store: SqliteStore, sizes: Mapping[str, int]) -> bool:
    """Store events of these sizes together; tell whether there was room."""
    try:
        with store.atomic():
            for id, size in sizes.items():
                store.events.add(an_event(id, body="x" * size), NOW)
    except StoreError:
        fill(store)  # the connection is another
        return False
    return True


@settings(max_examples=15, deadline=None)
@given(
    spare=st.integers(0, 6),
    blocks=st.lists(st.lists(st.integers(1, 9000), min_size=1, max_size=4), max_size=8),
)
def test_a_block_is_kept_whole_or_not_at_all_wherever_the_room_ends(
    tmp_path_factory: pytest.TempPathFactory, spare: int, blocks: list[list[int]]
) -> None:
    path = tmp_path_factory.mktemp("full") / "bridge.db"
    store = SqliteStore(str(path), 0.05)
    store.migrate()
    fill(store, spare)
    expected: set[str] = set()
    for at, sizes in enumerate(blocks):
        ids = [f"evt_{at}_{number}" for number in range(len(sizes))]
        expected |= set(ids) if put(store, dict(zip(ids, sizes, strict=True))) else set()
        assert kept(path) == expected
    empty(store)
    assert store.events.add(an_event("evt_after"), NOW)
    assert kept(path) == expected | {"evt_after"}
    store.close()


def test_a_webhook_that_found_no_room_is_stored_once_when_it_is_sent_again(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SECRET)
    client = create_app(config.load(), store).test_client()  # writes in this thread
    body = '{"id": "evt_big", "object": "event", "type": "invoice.paid", "created": 1793696403, '
    body += '"livemode": true, "data": {"object": {"id": "in_1", "note": "' + "x" * 90_000 + '"}}}'
    fill(store)
    refused = post(client, body)
    assert refused.status_code == 503
    assert error_of(refused) == {
        "code": "store_unavailable",
        "message": "the store cannot take this now; send it again later",
    }
    assert kept(path) == set()
    empty(store)
    assert [post(client, body).get_json()["status"] for _ in range(2)] == ["stored", "duplicate"]
    assert kept(path) == {"evt_big"}


# ── a file that is damaged, gone, or another ─────────────────────────────────────────────────────


def test_a_damaged_file_is_said_and_not_hidden(store: SqliteStore, path: Path) -> None:
    for number in range(40):
        store.events.add(an_event(f"evt_{number}", body="x" * 2000), NOW)
    store.close()
    sound = path.read_bytes()
    path.write_bytes(sound[:4096] + bytes(len(sound) - 4096))
    for use in (store.events.newest, lambda: store.events.add(an_event(), NOW)):
        with pytest.raises(StoreError, match=r"malformed.*restore a backup"):
            use()
    store.close()
    path.write_bytes(sound)
    assert len(store.events.newest()) == 40


def test_nothing_is_written_to_a_file_that_was_moved_away(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    assert store.events.add(an_event("evt_1"), NOW)
    path.rename(aside)
    for use in (lambda: store.events.add(an_event("evt_2"), NOW), store.check):
        with pytest.raises(StoreError, match="no such file"):
            use()
    aside.rename(path)
    assert store.events.add(an_event("evt_2"), NOW)
    assert kept(path) == {"evt_1", "evt_2"}


def test_what_was_put_in_its_place_is_written(store: SqliteStore, path: Path) -> None:
    other = SqliteStore(str(path.with_name("other.db")))
    other.migrate()
    assert other.events.add(an_event("evt_0"), NOW)
    other.close()
    assert store.events.add(an_event("evt_1"), NOW)
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).rename(path.with_name(f"old-{name}"))
    path.with_name("other.db").rename(path)
    assert store.events.add(an_event("evt_2"), NOW)
    assert kept(path) == {"evt_0", "evt_2"}


def test_a_folder_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    store = SqliteStore(str(folder / "bridge.db"))
    store.migrate()
    assert store.events.add(an_event("evt_1"), NOW)
    folder.rename(tmp_path / "unplugged")
    with pytest.raises(StoreError, match="its folder does not exist"):
        store.events.add(an_event("evt_2"), NOW)
    (tmp_path / "unplugged").rename(folder)
    assert store.events.add(an_event("evt_2"), NOW)
    assert kept(folder / "bridge.db") == {"evt_1", "evt_2"}
    store.close()


def test_a_store_without_room_for_open_files_works_again(store: SqliteStore, path: Path) -> None:
    store.close()
    next_file = os.dup(0)
    os.close(next_file)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_file, hard))
    try:
        with pytest.raises(StoreError, match="unable to open"):
            store.events.add(an_event("evt_1"), NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.events.add(an_event("evt_1"), NOW)
    assert kept(path) == {"evt_1"}
