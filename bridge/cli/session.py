"""What commands share: the settings, an open store, and how results are printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bridge import config as settings
from bridge import logs
from bridge.codec import dumps
from bridge.config import Config
from bridge.model import Told
from bridge.money import Money
from bridge.store import Store, open_store

console = Console(highlight=False)
as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON value.")

STATE_STYLES = {
    "settled": "green",
    "processed": "green",
    "approved": "green",
    "disapproved": "yellow",
    "due": "cyan",
    "sending": "cyan",
    "parked": "yellow",
    "waiting": "yellow",
    "unknown": "bold red",
    "dead": "red",
    "failed": "red",
    "skipped": "dim",
    "ignored": "dim",
    "planned": "magenta",
}


@dataclass(frozen=True, slots=True)
class Session:
    """Hold what a command works with."""

    config: Config
    store: Store


@contextmanager
def opened(*, quiet: bool = True) -> Iterator[Session]:
    """Read the settings and open a store that is migrated."""
    config = settings.load()
    logs.configure(logs.Redactor(config.secrets()), quiet=quiet)
    store = open_store(config.database_url)
    try:
        store.check()
        yield Session(config, store)
    finally:
        store.close()


def print_json(value: object) -> None:
    """Print one JSON value."""
    click.echo(dumps(value))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print rows as a table, or say that there are none."""
    if not rows:
        console.print(empty, style="dim")
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in RIGHT else "left")
    for row in rows:
        table.add_row(*map(styled, row))
    console.print(table)


RIGHT = {"paid", "taken back", "credited", "attempts", "amount", "ms"}


def styled(cell: object) -> str:
    """Return a cell as text, states in their colour."""
    text = "" if cell is None else str(cell).replace("[", "\\[")
    style = STATE_STYLES.get(text)
    return f"[{style}]{text}[/]" if style else text


def told_words(told: Told) -> str:
    """Say in a few words what a vendor has been told."""
    if told.nothing:
        return "nothing"
    words = [str(told.amount)] if told.amount else [] if told.status else list(told.steps)
    words += [str(told.status)] if told.status else []
    return " ".join(words) + (f" (in doubt: {told.doubt})" if told.doubt else "")


def amount(money: Money) -> str:
    """Write an amount for people: "14.37 EUR"."""
    return str(money)


Plain = dict[str, Any]
