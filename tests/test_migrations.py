"""A database of before `m003_identity`: who is who, its clicks, its key of the e-mail hashes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stores import NOW, opened
from typing_in import complaint, printed

from bridge import codec
from bridge.config import BridgeSettings, Config
from bridge.errors import ConfigError
from bridge.store import Store
from bridge.store.bonds import MOST_BONDS
from bridge.store.migrations import migrations
from bridge.store.rows import Said
from bridge.store.sqlite import SqliteStore
from bridge.store.sqlite_file import make
from bridge.vault import HASH_KEY, SEALED, UNSETTLED, Vault

U1, U2, STRIPE, ADDRESS = "external_id:u1", "external_id:u2", "stripe:cus_1", "email:shared"
SECRET, NEW = "a secret, and a comma", "a new secret"
AT = codec.iso(NOW)


class Old:
    """Fill a database of the first two steps."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def event(self, id: str, *keys: str) -> None:
        values = (f"stripe:{id}", id, AT, AT)
        self._db.execute(
            """INSERT INTO events VALUES
               (NULL, ?, 'stripe', ?, 't', '', 'processed', '', ?, ?, 0, 0, '', '', '{}')""",
            values,
        )
        named = [(f"stripe:{id}", key) for key in keys]
        self._db.executemany("INSERT INTO event_keys VALUES (?, ?)", named)

    def click(self, id: str, *keys: str) -> None:
        values = (id, keys[0], codec.dumps(list(keys)), AT)
        self._db.execute(
            "INSERT INTO clicks VALUES (?, ?, 'taapit', '\"tid\"', ?, ?, 1, 'api', 0)", values
        )

    def group(self, *keys: str) -> None:
        named = [(key, min(keys)) for key in keys]
        self._db.executemany("INSERT INTO aliases VALUES (?, ?)", named)

    def sale(self, id: str) -> None:
        values = (f"stripe:{id}", f"stripe:{id}", AT, AT)
        self._db.execute(
            """INSERT INTO conversions VALUES
               (?, ?, '', 'stripe', '', 1, 'approved', ?, ?, '{}', 0)""",
            values,
        )


Fill = Callable[[Old], None]


@contextmanager
def migrated(folder: Path, fill: Fill) -> Iterator[SqliteStore]:
    """Make an old database, fill it, and bring it up to date."""
    store = SqliteStore(str(folder / "bridge.db"))
    make(store.path, 1.0)
    with store.atomic():
        migrations.apply(store._db, stop_before="m003_identity")
        fill(Old(store._db.conn))
    assert store.migrate()[0] == "m003_identity"
    try:
        yield store
    finally:
        store.close()


def bonds(store: SqliteStore) -> list[list[str]]:
    """Return the bonds, of which each is found by all of its keys."""
    rows = store.query("SELECT id, keys, claimed FROM bonds ORDER BY keys")
    named = store.query("SELECT key, bond FROM bond_keys ORDER BY key")
    for row in rows:
        assert [each["key"] for each in named if each["bond"] == row["id"]] == codec.loads(
            row["keys"]
        )
        assert not row["claimed"]
    return [codec.loads(row["keys"]) for row in rows]


def customers(store: Store, *keys: str) -> list[list[str]]:
    return [store.customers.aliases([key]) for key in keys]


# ── who is who ───────────────────────────────────────────────────────────────────────────────────


def two_accounts(old: Old) -> None:
    old.group(U1, U2, STRIPE, ADDRESS, "shopify:unheard")
    old.event("evt_1", STRIPE, U1, ADDRESS)
    old.event("evt_2", STRIPE, U1, ADDRESS)
    old.click("c_1", U2, ADDRESS)


def test_two_accounts_that_an_address_merged_are_parted(tmp_path: Path) -> None:
    with migrated(tmp_path, two_accounts) as store:
        assert customers(store, U1, U2, ADDRESS, "shopify:unheard") == [
            [U1, STRIPE],
            [U2],
            [ADDRESS],
            ["shopify:unheard"],
        ]
        assert bonds(store) == [[ADDRESS, U1, STRIPE], [ADDRESS, U2]]


def test_what_was_said_without_a_click_stays(tmp_path: Path) -> None:
    with migrated(tmp_path, lambda old: old.group(U1, STRIPE, ADDRESS)) as store:
        assert customers(store, ADDRESS) == [[ADDRESS, U1, STRIPE]]
        assert bonds(store) == [[ADDRESS, U1, STRIPE]]


def a_chain(old: Old) -> None:
    old.group(U1, STRIPE, ADDRESS)
    old.group("stripe:alone")
    old.event("evt_1", STRIPE, ADDRESS)
    old.event("evt_2", "stripe:alone")
    old.click("c_1", U1, ADDRESS)


def test_a_group_that_is_told_otherwise_is_no_bond_of_its_own(tmp_path: Path) -> None:
    with migrated(tmp_path, a_chain) as store:
        assert bonds(store) == [[ADDRESS, U1], [ADDRESS, STRIPE]]
        assert customers(store, U1, "stripe:alone") == [[ADDRESS, U1, STRIPE], ["stripe:alone"]]


def test_who_turns_out_to_be_two_later_is_parted(tmp_path: Path) -> None:
    """Two guests with one address may both sign up one day."""

    def guests(old: Old) -> None:
        old.group(STRIPE, "stripe:cus_2", ADDRESS)
        old.event("evt_1", STRIPE, ADDRESS)
        old.event("evt_2", "stripe:cus_2", ADDRESS)

    with migrated(tmp_path, guests) as store:
        assert customers(store, STRIPE) == [[ADDRESS, STRIPE, "stripe:cus_2"]]
        store.customers.join([STRIPE, U1])
        store.customers.join(["stripe:cus_2", U2])
        assert customers(store, U1, U2) == [[U1, STRIPE], [U2, "stripe:cus_2"]]


def test_an_address_of_too_many_is_of_nobody(tmp_path: Path) -> None:
    buyers = [f"stripe:cus_{number}" for number in range(MOST_BONDS + 1)]

    def office(old: Old) -> None:
        old.group(*buyers, ADDRESS)
        for each in buyers:
            old.event(each, each, ADDRESS)

    with migrated(tmp_path, office) as store:
        assert customers(store, buyers[0], ADDRESS) == [[buyers[0]], [ADDRESS]]


@pytest.mark.parametrize("keys", [[U1, STRIPE, ADDRESS], [ADDRESS, U2]])
def test_a_repetition_is_no_news(tmp_path: Path, keys: list[str]) -> None:
    with migrated(tmp_path, two_accounts) as store:
        before = bonds(store)
        assert store.customers.join(keys, Said(source="stripe", at=NOW)) == set()
        assert bonds(store) == before


def test_what_is_said_later_gives_the_same_customers(tmp_path: Path) -> None:
    """All over again, from the beginning, as a replay says it."""
    said = [[STRIPE, U1, ADDRESS], [U2, ADDRESS]]
    with migrated(tmp_path, two_accounts) as store, opened(f"sqlite:///{tmp_path}/new.db") as new:
        for keys in said:
            new.customers.join(keys)
        assert customers(new, U1, U2, ADDRESS) == customers(store, U1, U2, ADDRESS)


# ── clicks, conversions ──────────────────────────────────────────────────────────────────────────


def test_clicks_are_found_by_all_of_their_keys(tmp_path: Path) -> None:
    def clicked(old: Old) -> None:
        old.group(U1, STRIPE)
        old.click("c_1", U1, STRIPE)
        old.click("c_2", STRIPE, STRIPE)

    with migrated(tmp_path, clicked) as store:
        assert [len(store.customers.clicks([key])) for key in (U1, STRIPE, U2)] == [1, 2, 0]
        assert bonds(store) == [[U1, STRIPE]]


def test_conversions_are_sales(tmp_path: Path) -> None:
    with migrated(tmp_path, lambda old: old.sale("in_1")) as store:
        assert store.query("SELECT kind FROM conversions") == [{"kind": "sale"}]


# ── the key of the e-mail hashes ─────────────────────────────────────────────────────────────────


def key_of(store: Store, secret: str) -> str:
    """Open the vault as a process does that starts with this BRIDGE_SECRET_KEY."""
    return Vault(
        store, Config(settings=BridgeSettings(secret_key=secret or None))
    ).hash_key.decode()


def with_addresses(old: Old) -> None:
    old.group(U1, ADDRESS)


def without(old: Old) -> None:
    old.group(U1, STRIPE)


def keys_of(store: Store, secrets: Iterable[str]) -> set[str]:
    return {key_of(store, each) for each in secrets}


def test_the_old_setting_was_the_key_as_it_stood(tmp_path: Path) -> None:
    with migrated(tmp_path, with_addresses) as store:
        made_up = store.facts.get(HASH_KEY)
        starts = [SECRET, SECRET, f"{NEW},{SECRET}", NEW]
        assert keys_of(store, starts) == {SECRET}
        assert store.facts.get(HASH_KEY) == made_up != ""
        with pytest.raises(ConfigError, match=r"not set.*bridge migrate --new-secret-key"):
            key_of(store, "")


def test_without_a_setting_the_open_key_stays(tmp_path: Path) -> None:
    with migrated(tmp_path, with_addresses) as store:
        made_up = store.facts.get(HASH_KEY)
        assert keys_of(store, ["", SECRET, SECRET]) == {made_up}
        assert store.facts.get(HASH_KEY) == ""


@pytest.mark.parametrize(("fill", "unsettled"), [(with_addresses, True), (without, False)])
def test_only_hashes_that_are_there_leave_it_unsettled(
    tmp_path: Path, fill: Fill, *, unsettled: bool
) -> None:
    with migrated(tmp_path, fill) as store:
        assert bool(store.facts.get(UNSETTLED)) is unsettled
        made_up = store.facts.get(HASH_KEY)
        assert key_of(store, SECRET) == (SECRET if unsettled else made_up)
        assert store.facts.get(SEALED)


def test_a_new_database_is_settled(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/bridge.db") as store:
        assert store.facts.get(UNSETTLED) == ""


def test_a_lost_key_of_an_old_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'bridge.db'}")
    monkeypatch.setenv("BRIDGE_SECRET_KEY", NEW)
    with migrated(tmp_path, with_addresses) as store:
        made_up = store.facts.get(HASH_KEY)
        key_of(store, SECRET)
        assert "--new-secret-key" in complaint(1, "redact", "jane@example.com", "--yes")
        printed("migrate", "--new-secret-key")
        assert key_of(store, NEW) not in {SECRET, NEW, made_up, ""}
        assert store.facts.get(HASH_KEY) == ""
        assert customers(store, U1) == [[ADDRESS, U1]]
