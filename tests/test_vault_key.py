"""The key of the e-mail hashes: made up once, sealed under BRIDGE_SECRET_KEY, the same for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import postgres
import pytest
from click.testing import CliRunner
from kit import CUSTOMER, SALE, Make
from merchant import visit
from redactions import EMAIL
from stores import database_at, opened, together
from test_vault import NEW, OLD, signed_up
from typing_in import bridge, printed

from bridge.attribution import email_key
from bridge.cli import main
from bridge.config import BridgeSettings, Config
from bridge.errors import ConfigError
from bridge.store import Store
from bridge.vault import HASH_KEY, Vault, start_anew


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(database_at(tmp_path / "bridge.db")) as made:
        yield made


def vault(store: Store, secret: str) -> Vault:
    """Open the vault as a process does that starts with this BRIDGE_SECRET_KEY."""
    return Vault(store, Config(settings=BridgeSettings(secret_key=secret or None)))


ALLOWED = {
    "without": ["", ""],
    "with": [OLD, OLD],
    "rotated": [OLD, f"{NEW},{OLD}", NEW, NEW],
    "rotated back": [OLD, f"{NEW},{OLD}", f"{OLD},{NEW}", OLD],
    "rotated twice": [OLD, f"{NEW},{OLD}", f"third,{NEW}", "third"],
    "given later": ["", OLD, f"{NEW}, {OLD}", NEW],
    "given as two": ["", f"{NEW},{OLD}", NEW],
}


@pytest.mark.parametrize("starts", ALLOWED.values(), ids=ALLOWED)
def test_hashes_stay_the_same(store: Store, starts: list[str]) -> None:
    keys = {vault(store, secret).hash_key for secret in starts}
    assert len(keys) == 1
    assert b"" not in keys


REFUSED = {
    "another": ([OLD, NEW], "is not the one this database was made with"),
    "too soon without the old one": ([OLD, f"{NEW},other"], '"new,old"'),
    "the old one, after": ([OLD, f"{NEW},{OLD}", NEW, OLD], '"new,old"'),
    "taken away": ([OLD, ""], "BRIDGE_SECRET_KEY is not set"),
    "given later, and taken away": (["", OLD, ""], "BRIDGE_SECRET_KEY is not set"),
    "given later, and another": (["", OLD, NEW], '"new,old"'),
}


@pytest.mark.parametrize(("starts", "words"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_key_is_an_error_that_says_what_to_do(
    store: Store, starts: list[str], words: str
) -> None:
    *before, last = starts
    keys = {vault(store, secret).hash_key for secret in before}
    with pytest.raises(ConfigError, match="BRIDGE_SECRET_KEY") as raised:
        vault(store, last)
    assert words in str(raised.value)
    assert not any(secret and secret in str(raised.value) for secret in (OLD, NEW))
    assert {vault(store, before[-1]).hash_key} == keys  # nothing was harmed by it


def test_the_key_of_the_hashes_is_not_in_the_database(store: Store, tmp_path: Path) -> None:
    first = vault(store, "").hash_key
    assert vault(store, OLD).hash_key == first
    store.persons.mark_unscrubbed()
    assert store.scrub()
    files = b"".join(each.read_bytes() for each in tmp_path.glob("bridge.db*"))
    assert first not in files
    assert OLD.encode() not in files


@pytest.mark.parametrize("secret", ["", OLD, f"{NEW},{OLD}"])
def test_the_key_of_the_hashes_is_made_up_with_the_database(store: Store, secret: str) -> None:
    made_up = store.facts.get(HASH_KEY).encode()
    assert vault(store, secret).hash_key == made_up
    assert store.facts.get(HASH_KEY).encode() == (b"" if secret else made_up)


@pytest.mark.parametrize("secret", ["", OLD])
def test_where_it_is_gone_another_is_made_up(store: Store, secret: str) -> None:
    store.facts.put(HASH_KEY, "")
    key = vault(store, secret).hash_key
    assert len(key) == 64
    assert vault(store, secret).hash_key == key


@pytest.mark.parametrize("secrets", [[OLD] * 8, [""] * 8, ["", *[OLD] * 7]], ids=str)
def test_who_starts_at_once_gets_one_key(store: Store, secrets: list[str]) -> None:
    store.facts.put(HASH_KEY, "")

    def start(number: int) -> bytes:
        try:
            return vault(store, secrets[number]).hash_key
        except ConfigError:  # it came after one who has a secret
            assert not secrets[number]
            return b""

    keys = set(together(len(secrets), start)) - {b""}
    assert keys == {vault(store, OLD).hash_key}


LOST = {"another": NEW, "none": "", "several": f"{NEW},third"}


@pytest.mark.parametrize("secret", LOST.values(), ids=LOST)
def test_a_lost_key_is_given_up(make: Make, secret: str) -> None:
    made = signed_up(make)
    made.play(*SALE)
    known = made.store.customers.find([f"stripe:{CUSTOMER}"])
    counts = made.store.customers.count(), len(made.store.orders.newest())
    before = Vault(made.store, made.config).hash_key
    with pytest.raises(ConfigError, match="if it is lost, `bridge migrate --new-secret-key`"):
        vault(made.store, secret)
    start_anew(made.store)
    key = vault(made.store, secret).hash_key
    assert key not in {before, secret.encode(), b""}
    assert vault(made.store, secret).hash_key == key
    assert made.store.addresses.all() == {}
    assert made.store.customers.find([email_key(EMAIL, key)]) == []
    assert made.store.customers.find([f"stripe:{CUSTOMER}"]) == known
    assert (made.store.customers.count(), len(made.store.orders.newest())) == counts
    with pytest.raises(ConfigError) if secret else nullcontext():
        vault(made.store, OLD)


@pytest.mark.parametrize(
    ("arguments", "typed", "asked", "given_up"),
    [([], "y\n", True, True), ([], "n\n", True, False), (["--yes"], "", False, True)],
)
def test_giving_a_key_up_is_asked_first_on_a_terminal(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    typed: str,
    *,
    asked: bool,
    given_up: bool,
) -> None:
    made = signed_up(make)
    before = Vault(made.store, made.config).hash_key
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    command = ["migrate", "--new-secret-key", *arguments]
    result = CliRunner().invoke(main, command, input=typed)
    assert ("for good?" in result.output) is asked
    assert result.exit_code == (0 if given_up else 1)
    assert (Vault(made.store, made.config).hash_key != before) is given_up
    assert bool(made.store.addresses.all()) is not given_up


def test_a_wrong_key_stops_every_command(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make("taapit", BRIDGE_SECRET_KEY=OLD)
    made.play(*SALE)
    monkeypatch.setenv("BRIDGE_SECRET_KEY", NEW)
    result = bridge("show", EMAIL)
    assert result.exit_code == 1
    assert "BRIDGE_SECRET_KEY is not the one this database was made with" in result.stderr


def test_who_was_known_before_there_was_a_key_still_is(make: Make) -> None:
    visit(make("taapit"), customer={"email": EMAIL}, clicks={"taapit": "tid_1"})
    made = make("taapit", BRIDGE_SECRET_KEY=OLD)
    made.clock.catch_up()
    made.play(*SALE)
    assert [sale["click"] for sale in made.sales("taapit")] == ["tid_1"]
    rotated = make("taapit", BRIDGE_SECRET_KEY=f"{NEW},{OLD}")
    key = email_key(EMAIL, Vault(rotated.store, rotated.config).hash_key)
    assert rotated.store.customers.find([key])
    assert "removed" in printed("redact", EMAIL, "--yes")


def test_a_key_that_is_sealed_does_not_stay_on_the_disk(store: Store, tmp_path: Path) -> None:
    key = store.facts.get(HASH_KEY).encode()
    assert key in written_to(tmp_path)
    vault(store, NEW)
    assert store.scrub()
    assert key not in written_to(tmp_path)


def written_to(folder: Path) -> bytes:
    """Return the bytes of the database's files, or its rows."""
    if (url := database_at(folder / "bridge.db")).startswith("postgres"):
        return postgres.rows(url)
    return b"".join(each.read_bytes() for each in folder.iterdir() if each.is_file())
