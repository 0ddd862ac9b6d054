"""What commands share: the settings and an open store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from bridge import config as settings
from bridge import logs
from bridge.config import Config
from bridge.errors import ConfigError
from bridge.store import Store, open_store_of
from bridge.store.facts import WORKED_FOR

Plain = dict[str, Any]
as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")
# Whoever started this process may be killed outright; it then ends by itself.
parent_option = click.option("--with-parent", "parent", type=int, hidden=True)


@dataclass(frozen=True, slots=True)
class Session:
    """Hold what a command works with."""

    config: Config
    store: Store


@contextmanager
def opened(
    *,
    quiet: bool = True,
    bulk: bool = False,
    deciding: bool = False,
    share: Callable[[int], int] | None = None,
) -> Iterator[Session]:
    """Read the settings and open a store that is migrated; with `bulk`, to write much.

    A command that is `deciding` what vendors are told needs the settings of the worker. `share`
    tells how many it has of so many connections; without, it has them all.
    """
    config = kept_settings()
    logs.configure(logs.Redactor(config.secrets()), quiet=quiet)
    pool = config.settings.database_pool
    store = open_store_of(config, bulk=bulk, pool=share(pool) if share else pool)
    try:
        store.check()
        if deciding:
            _require_as_worked_for(config, store)
        yield Session(config, store)
    finally:
        store.close()


def kept_settings() -> Config:
    """Read the settings; refuse to keep a ledger where it would be lost."""
    config = settings.load()
    require_kept(config)
    return config


def require_kept(config: Config) -> None:
    """Raise ConfigError where the ledger is on a disk that is wiped."""
    if config.on_sqlite and os.environ.get("DYNO"):  # Heroku names each of its dynos
        raise ConfigError(
            "SQLite cannot be kept on Heroku, which wipes a dyno's disk at every restart: run "
            "`heroku addons:create heroku-postgresql:essential-0`, which sets DATABASE_URL"
        )


def _require_as_worked_for(config: Config, store: Store) -> None:
    """Raise ConfigError where settings are missing that the worker has.

    Events that were processed here would be told to none of the vendors that are missing.
    """
    worked_for = store.facts.get(WORKED_FOR)
    if missing := sorted({*filter(None, worked_for.split(","))} - config.plugins):
        raise ConfigError(
            f"the bridge works for {', '.join(missing)}, whose settings are missing here: run this "
            "with the settings of the worker (or, if they are gone for good, restart it first)"
        )
