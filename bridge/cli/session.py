"""What commands share: the settings and an open store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from bridge import config as settings
from bridge import logs
from bridge.config import Config
from bridge.store import Store, open_store_of

Plain = dict[str, Any]
as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")


@dataclass(frozen=True, slots=True)
class Session:
    """Hold what a command works with."""

    config: Config
    store: Store


@contextmanager
def opened(*, quiet: bool = True, bulk: bool = False) -> Iterator[Session]:
    """Read the settings and open a store that is migrated; with `bulk`, to write much."""
    config = settings.load()
    logs.configure(logs.Redactor(config.secrets()), quiet=quiet)
    store = open_store_of(config, bulk=bulk)
    try:
        store.check()
        yield Session(config, store)
    finally:
        store.close()
