"""The store: everything that must survive. One protocol, an implementation per database.

What one acknowledges is on disk; what belongs together is written together, in `atomic()`.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol

from bridge.config import Config
from bridge.errors import ConfigError
from bridge.store.addresses import Addresses
from bridge.store.asks import Asks
from bridge.store.customers import Customers
from bridge.store.deliveries import Deliveries
from bridge.store.events import Events
from bridge.store.facts import Facts
from bridge.store.gates import Gates
from bridge.store.orders import Orders
from bridge.store.persons import Persons
from bridge.store.requests import Requests
from bridge.store.sqlite import SqliteStore

SQLITE = "sqlite:///"
POSTGRES = ("postgres://", "postgresql://")
# An @ behind what libpq takes for user and password: it would take a part of the password for the
# server, and we would show it.
TORN = re.compile(r"postgres(?:ql)?://(?:[^@/]*@)?+[^@?]*@")


class Store(Protocol):
    """Keep all that must survive, one room for each kind; every method may raise StoreError."""

    events: Events
    orders: Orders
    customers: Customers
    deliveries: Deliveries
    gates: Gates
    asks: Asks
    persons: Persons
    addresses: Addresses
    requests: Requests
    facts: Facts
    where: str  # as may be shown

    def migrate(self) -> list[str]:
        """Bring the schema up to date; return the names of the steps that ran."""

    def check(self, *, writable: bool = False) -> None:
        """Raise StoreError unless the schema is up to date and, if asked, a write succeeds."""

    def atomic(self, vendor: str = "") -> AbstractContextManager[None]:
        """Run a block in one transaction that other writers wait for; nested blocks join it.

        Where it only touches a vendor's gate, deliveries and attempts, and that vendor is named,
        writers for other vendors need not wait.
        """

    def ring(self) -> None:
        """Wake the workers: something is to be done."""

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody rings, at most so long; tell whether it was rung."""

    def scrub(self) -> bool:
        """Overwrite what was redacted since the last time; return False to be called again."""

    def close(self) -> None:
        """Give back every connection."""


# A worker can wait for other writers; a provider that sends a webhook soon hangs up.
PATIENCE, WEB_PATIENCE = 20.0, 4.0
# A small plan of PostgreSQL has 20 connections: a web process and a worker, which has two more to
# be woken, take 10, and while they are being replaced there may be twice as many.
POOL = 4


def open_store_of(
    config: Config, patience: float = PATIENCE, *, bulk: bool = False, pool: int | None = None
) -> Store:
    """Open the store that the settings name, as they say but for a `pool` that is given."""
    settings = config.settings
    return open_store(
        config.database_url,
        patience,
        bulk=bulk,
        pool=pool or settings.database_pool,
        listen=settings.database_listen,
    )


def open_store(
    url: str,
    patience: float = PATIENCE,
    *,
    bulk: bool = False,
    pool: int = POOL,
    listen: bool = True,
) -> Store:
    """Open the store at a DATABASE_URL; raise ConfigError for an address nothing here can open.

    `patience` is how many seconds a write waits for other writers before it fails; `bulk` gives
    room to somebody who writes much. On PostgreSQL, `pool` is how many connections a process has
    at most, and `listen` whether it may have one more, to be woken by others.
    """
    if url.startswith(POSTGRES):
        if TORN.match(url):
            raise ConfigError(
                "DATABASE_URL cannot be read: write what is special in a password as %40 for @, "
                "%2F for / and %3F for ?"
            )
        # psycopg takes long to load: only who needs it waits for it.
        postgres = import_module("bridge.store.postgres")
        store: Store = postgres.PostgresStore(url, patience, pool=pool, listen=listen)
        return store
    if url.startswith(SQLITE) and url != SQLITE:
        return SqliteStore(url.removeprefix(SQLITE), patience, bulk=bulk)
    scheme = url.partition(":")[0]
    raise ConfigError(
        f"DATABASE_URL begins with {scheme!r}: it must be sqlite:///path/to/file.db "
        "or postgres://user:password@host/database"
    )
