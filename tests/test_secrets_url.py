"""The password in the address of a database is a secret, however it is written there."""

from __future__ import annotations

import pytest

from bridge import config
from bridge.config import BridgeSettings, Config, passwords_in
from bridge.logs import Redactor

PASSWORD = "p%40ss%2Fw%3Ard1"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://bridge:{}@db.example/bridge", "postgres://bridge:***@db.example/bridge"),
        ("postgresql://:{}@db.example:5432/b?a=1", "postgresql://:***@db.example:5432/b?a=1"),
        ("postgres://db.example/b?password={}", "postgres://db.example/b?password=***"),
        ("postgres:///b?user=me&password={}&a=@", "postgres:///b?user=me&password=***&a=@"),
        ("postgres://h:5432/b?password={}&a=@", "postgres://h:***@"),
        ("postgres://me@h/b?sslpassword={}", "postgres://me@h/b?sslpassword=***"),
        ("postgres://me@there:{}@h/b", "postgres://me@there:***@h/b"),
    ],
)
def test_the_password_of_a_database_is_a_secret_as_it_is_written_and_as_it_is(
    url: str, shown: str
) -> None:
    url = url.format(PASSWORD)
    made = Config(settings=BridgeSettings.model_validate({"DATABASE_URL": url}))
    redact = Redactor(made.secrets())
    for each in (PASSWORD, "p@ss/w:rd1"):
        assert each in set(made.secrets())
        assert redact(f"no {each} here") == "no *** here"
    (setting,) = [each for each in config.known_settings() if each.name == "DATABASE_URL"]
    assert made.value_of(setting) == shown


@pytest.mark.parametrize(
    ("password", "pieces"),
    [
        ("Tr0ub4dor@Zebra/Secret99", ["Tr0ub4dor", "Zebra", "Secret99"]),
        ("Tr0ub4dor/Zebra:Secret99", ["Tr0ub4dor", "Zebra", "Secret99"]),
        ("Tr0ub4dor#Zebra?x=Secret99", ["Tr0ub4dor", "Zebra", "Secret99"]),
        ("Tr0ub4dor@Ze,bra%2FSec@ret99", ["Tr0ub4dor", "Ze,bra/Sec", "ret99"]),
    ],
)
def test_a_password_that_others_tear_apart_is_hidden_piece_by_piece(
    password: str, pieces: list[str]
) -> None:
    redact = Redactor(passwords_in(f"postgres://u:{password}@127.0.0.1/db"))
    for each in (password, *pieces):
        assert redact(f"no {each} on 127.0.0.1/db") == "no *** on 127.0.0.1/db"


def test_a_password_that_is_fit_for_an_address_is_hidden_as_a_whole_only() -> None:
    assert set(passwords_in("postgres://u:with:word@h/db")) == {"with:word"}
