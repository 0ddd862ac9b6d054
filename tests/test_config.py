"""The settings: read from the environment and .env, explained when wrong, and never shown whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit import VENDOR_SETTINGS, settings_of

from bridge import config, providers, vendors
from bridge.config import Config, Setting
from bridge.errors import ConfigError

SECRETS = {
    "BRIDGE_API_KEY": "click-api-key-123456",
    "BRIDGE_SECRET_KEY": "secret-key-123456",
    "STRIPE_WEBHOOK_SECRET": "whsec_new_123456, whsec_old_123456",
    "STRIPE_API_KEY": "sk_live_1234567890",
}
DEFAULTS = {
    "DATABASE_URL": "sqlite:///bridge.db",
    "BRIDGE_TEST_EVENTS": "skip",
    "BRIDGE_AMOUNT_BASIS": "net",
    "BRIDGE_ATTRIBUTION": "last",
    "BRIDGE_ATTRIBUTION_DAYS": "90",
    "BRIDGE_RECURRING": "all",
    "BRIDGE_EXTERNAL_ID_KEYS": "user_id,external_id",
    "BRIDGE_DRY_RUN": "0",
}
CHANGED = {
    "DATABASE_URL": "sqlite:///other.db",
    "BRIDGE_TEST_EVENTS": "deliver",
    "BRIDGE_AMOUNT_BASIS": "total",
    "BRIDGE_ATTRIBUTION": "first",
    "BRIDGE_ATTRIBUTION_DAYS": "7",
    "BRIDGE_RECURRING": "first",
    "BRIDGE_EXTERNAL_ID_KEYS": "uid",
    "BRIDGE_DRY_RUN": "1",
    "STRIPE_COUNT_PAYMENT_INTENTS": "1",
    "STRIPE_API_BASE": "http://localhost:12111",
}
PLUGINS = {**providers.discover(), **vendors.discover()}
KNOWN = {each.name: each for each in config.known_settings()}
# On one line, as PEM texts stand in many .env files.
MADE_UP = {
    **{
        name: value.replace("\n", "\\n")
        for name, value in settings_of(*providers.discover()).items()
    },
    **VENDOR_SETTINGS,
}
ADDRESSES = ("_BASE_URL", "_API_BASE")
OPTIONAL = (*ADDRESSES, "_PRIVATE_KEY")


def is_address(setting: Setting) -> bool:
    return setting.name.endswith(ADDRESSES)


def configure(patch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        patch.setenv(name, value)


def write_env(**values: str) -> None:
    lines = [f"{name}={value}\n" for name, value in values.items()]
    Path(".env").write_text("".join(lines), "utf-8")


def shown(loaded: Config, *names: str) -> dict[str, str]:
    return {name: loaded.value_of(KNOWN[name]) for name in names}


def refused() -> str:
    with pytest.raises(ConfigError) as raised:
        config.load()
    return str(raised.value)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def test_without_settings_there_are_defaults_and_no_plugins() -> None:
    loaded = config.load()
    assert shown(loaded, *DEFAULTS) == DEFAULTS
    assert (loaded.providers, loaded.vendors) == ({}, {})
    assert loaded.database_url == DEFAULTS["DATABASE_URL"]


def test_every_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, **CHANGED, **SECRETS, **VENDOR_SETTINGS)
    check_all_read(config.load())


def test_every_setting_is_read_from_a_file() -> None:
    write_env(**CHANGED, **SECRETS, **VENDOR_SETTINGS)
    check_all_read(config.load())


def check_all_read(loaded: Config) -> None:
    assert shown(loaded, *CHANGED) == CHANGED
    assert all(shown(loaded, *SECRETS).values())
    assert list(loaded.providers) == ["stripe"]
    assert list(loaded.vendors) == sorted(vendors.discover())
    for name, value in VENDOR_SETTINGS.items():
        if not KNOWN[name].secret:
            assert loaded.value_of(KNOWN[name]) == value


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write_env(BRIDGE_ATTRIBUTION_DAYS="7", BRIDGE_RECURRING="first")
    configure(monkeypatch, BRIDGE_ATTRIBUTION_DAYS="8")
    loaded = config.load()
    assert (loaded.settings.attribution_days, loaded.settings.recurring) == (8, "first")


def test_what_is_not_of_bridge_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(
        monkeypatch, API_KEY="x", SECRET_KEY="x", DRY_RUN="1", RECURRING="x", WEBHOOK_SECRET="x"
    )
    write_env(OTHER="x", TEST_EVENTS="x", STRIPE_SOMETHING="x", BRIDGE_SOMETHING="x")
    loaded = config.load()
    assert (loaded.settings.api_key, loaded.settings.secret_key) == (None, None)
    assert not loaded.settings.dry_run
    assert loaded.providers == {}


@pytest.mark.parametrize("blank", ["", "''"])
def test_empty_is_not_set(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    write_env(**dict.fromkeys(KNOWN, blank))
    configure(monkeypatch, **dict.fromkeys(KNOWN, ""))
    loaded = config.load()
    assert shown(loaded, *DEFAULTS) == DEFAULTS
    assert loaded.settings.api_key is None
    assert (loaded.providers, loaded.vendors) == ({}, {})


def test_surrounding_blanks_are_no_part_of_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, BRIDGE_API_KEY=" key\n", STRIPE_WEBHOOK_SECRET="whsec_1\n")
    loaded = config.load()
    assert loaded.settings.api_key
    assert loaded.settings.api_key.get_secret_value() == "key"
    secret = loaded.providers["stripe"].settings.webhook_secret
    assert secret.get_secret_value() == "whsec_1"


# ── plugins: on, off, half configured ────────────────────────────────────────────────────────────


def values_for(name: str, *, required: bool) -> dict[str, str]:
    """Return values for the settings a plugin requires, or for one that it does not."""
    of_plugin = [each for each in KNOWN.values() if each.owner == name]
    if required:
        return {each.name: MADE_UP[each.name] for each in of_plugin if each.required}
    optional = next(each.name for each in of_plugin if each.name.endswith(OPTIONAL))
    return {optional: MADE_UP.get(optional, "https://proxy.example")}


def switched_on(loaded: Config) -> set[str]:
    return {*loaded.providers, *loaded.vendors}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_is_on_with_what_it_requires(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    configure(monkeypatch, **values_for(name, required=True))
    assert switched_on(config.load()) == {name}


@pytest.mark.parametrize("name", PLUGINS)
def test_settings_of_one_plugin_do_not_touch_another(name: str) -> None:
    write_env(**values_for(name, required=True))
    assert switched_on(config.load()) == {name}


@pytest.mark.parametrize("name", PLUGINS)
def test_half_configured_is_an_error_that_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    required = values_for(name, required=True)
    configure(monkeypatch, **values_for(name, required=False))
    said = refused()
    assert f"{name} is half configured" in said
    assert all(each in said for each in required)
    for given in required if len(required) > 1 else ():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(given, required[given])
            assert given not in refused()
            assert all(each in refused() for each in required.keys() - {given})


def test_half_configured_in_a_file_is_an_error_too() -> None:
    write_env(STRIPE_API_KEY="sk_1", BRIDGE_RECURRING="first")
    assert refused() == "stripe is half configured: also set STRIPE_WEBHOOK_SECRET"


# ── wrong values ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRIDGE_TEST_EVENTS", "qwertz"),
        ("BRIDGE_AMOUNT_BASIS", "qwertz"),
        ("BRIDGE_ATTRIBUTION", "qwertz"),
        ("BRIDGE_ATTRIBUTION_DAYS", "qwertz"),
        ("BRIDGE_ATTRIBUTION_DAYS", "0"),
        ("BRIDGE_RECURRING", "qwertz"),
        ("BRIDGE_DRY_RUN", "qwertz"),
        ("STRIPE_WEBHOOK_SECRET", " , "),
        ("STRIPE_COUNT_PAYMENT_INTENTS", "qwertz"),
        ("STRIPE_API_BASE", "qwertz"),
    ],
)
def test_a_wrong_value_is_named_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    configure(monkeypatch, STRIPE_WEBHOOK_SECRET="whsec_1")
    configure(monkeypatch, **{name: value})
    said = refused()
    assert said.startswith(f"{name}: ")
    assert "qwertz" not in said


def test_everything_wrong_with_a_plugin_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, STRIPE_API_BASE="http://x.example", STRIPE_COUNT_PAYMENT_INTENTS="7")
    said = refused()
    for name in ("STRIPE_WEBHOOK_SECRET", "STRIPE_API_BASE", "STRIPE_COUNT_PAYMENT_INTENTS"):
        assert name in said


@pytest.mark.parametrize(
    "url",
    [
        "http://proxy.example",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "https://",
        "https:///path",
        "ftp://127.0.0.1",
        "//proxy.example",
        "proxy.example",
        "https://[::1",
        "https://user:hunter2@proxy.example",
        "https://hunter2@proxy.example",
        "https://proxy.example?key=hunter2",
        "https://proxy.example#hunter2",
    ],
)
@pytest.mark.parametrize(
    "name", sorted({each.owner for each in KNOWN.values() if is_address(each)})
)
def test_credentials_only_go_to_a_safe_address(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    (setting,) = values_for(name, required=False)
    configure(monkeypatch, **values_for(name, required=True))
    configure(monkeypatch, **{setting: url})
    said = refused()
    assert said.startswith(f"{setting}: ")
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "url",
    [
        "https://proxy.example",
        "https://proxy.example:8443/stripe",
        "http://127.0.0.1:8000",
        "http://localhost",
        "http://[::1]:8000",
    ],
)
def test_a_safe_address_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    configure(monkeypatch, STRIPE_WEBHOOK_SECRET="whsec_1", STRIPE_API_BASE=f"{url}/")
    assert config.load().providers["stripe"].settings.api_base == url


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────


def all_set(patch: pytest.MonkeyPatch) -> tuple[Config, list[str]]:
    """Return a configuration with every secret set, and the secrets."""
    configure(patch, **SECRETS, **VENDOR_SETTINGS)
    configure(patch, DATABASE_URL="postgresql://bridge:p%40ss[word@db.example/bridge")
    values = SECRETS | VENDOR_SETTINGS
    secrets = [value for name, value in values.items() if KNOWN[name].secret]
    return config.load(), [*secrets, "whsec_new_123456", "whsec_old_123456", "p%40ss[word"]


def test_all_secrets_are_known_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, secrets = all_set(monkeypatch)
    assert set(secrets) <= set(loaded.secrets())
    assert "p@ss[word" in set(loaded.secrets())  # as it is after decoding
    assert "" not in set(loaded.secrets())


def test_a_configuration_without_secrets_has_none() -> None:
    assert list(config.load().secrets()) == []


def test_no_secret_shows_when_a_configuration_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, secrets = all_set(monkeypatch)
    plugins: list[Any] = [*loaded.providers.values(), *loaded.vendors.values()]
    printed = [loaded, loaded.settings, *plugins, *(each.settings for each in plugins)]
    said = " ".join(f"{each} {each!r}" for each in printed)
    assert not [secret for secret in secrets if secret in said]


def test_secrets_are_masked_where_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, secrets = all_set(monkeypatch)
    said = [loaded.value_of(each) for each in KNOWN.values()]
    assert not [secret for secret in secrets if any(secret in each for each in said)]
    assert shown(loaded, *SECRETS) == {
        "BRIDGE_API_KEY": "clic…",
        "BRIDGE_SECRET_KEY": "secr…",
        "STRIPE_WEBHOOK_SECRET": "whse…",
        "STRIPE_API_KEY": "sk_l…",
    }


@pytest.mark.parametrize(
    ("secret", "masked"),
    [("x", "…"), ("xyz", "…"), ("abcd", "a…"), ("abcdefgh", "ab…"), ("a" * 100, "aaaa…")],
)
def test_never_more_than_a_quarter_of_a_secret_shows(
    monkeypatch: pytest.MonkeyPatch, secret: str, masked: str
) -> None:
    configure(monkeypatch, BRIDGE_API_KEY=secret)
    assert shown(config.load(), "BRIDGE_API_KEY") == {"BRIDGE_API_KEY": masked}


# ── the list of settings ─────────────────────────────────────────────────────────────────────────


def test_known_settings_are_described() -> None:
    names = [each.name for each in config.known_settings()]
    assert len(names) == len(set(names))
    assert {*DEFAULTS, *CHANGED, *SECRETS, *VENDOR_SETTINGS} <= set(names)
    for each in KNOWN.values():
        assert each.meaning, each.name
        assert each.owner == "bridge" or each.name.startswith(f"{each.owner}_".upper())


def test_known_settings_tell_secrets_and_what_is_required() -> None:
    assert {name for name in KNOWN if KNOWN[name].secret} >= {"DATABASE_URL", *SECRETS}
    assert not KNOWN["STRIPE_API_BASE"].secret
    assert KNOWN["STRIPE_WEBHOOK_SECRET"].required
    assert KNOWN["STRIPE_API_BASE"].default == "https://api.stripe.com"
    assert {name: KNOWN[name].default for name in DEFAULTS} == DEFAULTS


def test_a_setting_of_nobody_has_no_value() -> None:
    stranger = Setting(name="X_Y", owner="x", meaning="", default="", required=False, secret=False)
    assert config.load().value_of(stranger) == ""


def test_every_half_configured_plugin_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKDESK_TENANT_ID", "acme")
    monkeypatch.setenv("TRACIFY_TOKEN", "made-up-token")
    with pytest.raises(ConfigError) as caught:
        config.load()
    assert "TRACKDESK_REVENUE_ORIGIN_ID" in str(caught.value)
    assert "TRACIFY_ORIGIN" in str(caught.value)
