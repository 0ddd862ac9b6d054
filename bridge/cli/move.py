"""migrate --from --to: everything moves from one database to another."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import cast

import click
from rich.progress import Progress

from bridge import config as settings
from bridge import logs
from bridge.cli.output import Column, console, print_line, print_table, say, some
from bridge.config import passwords_in
from bridge.errors import BridgeError, ConfigError, StoreError
from bridge.store import POSTGRES, SQLITE, open_store
from bridge.store.copy import Report, Watch, move, size_of
from bridge.store.moves import ID, MOVED, Mark, Side, Stage, give_up, mark_of
from bridge.store.others import has_file_open, is_connected, moving_alone, with_own_name
from bridge.store.tables import tables_of

TABLES = (Column("table"), Column("rows", right=True), Column("there", right=True), Column("sum"))
SHOWN_CHANGES = 50
FROM, TO = "--from", "--to"
MAKE_IT = ", or run `bridge migrate` to make it"
# Each row is copied, and then read from both.
READ_TWICE, COPIED_TOO = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Hold what `bridge migrate` was asked to move."""

    source: str
    target: str
    give_up: bool
    yes: bool


def given(
    source: str | None, target: str | None, *, give_up: bool, anew: bool, yes: bool
) -> Given | None:
    """Return what is to be moved, or None where nothing is; raise UsageError."""
    if source is None and target is None and not give_up:
        return None
    if not source or not target:
        raise click.UsageError("--from and --to belong together: each names a database")
    if anew:
        raise click.UsageError("--new-secret-key is for one database: move first")
    if _same(source) == _same(target):
        raise click.UsageError("--from and --to name the same database")
    return Given(source=source, target=target, give_up=give_up, yes=yes)


def run(asked: Given) -> None:
    """Move, or give a move up."""
    secrets: list[str] = []
    with suppress(BridgeError):  # settings that are wrong are no matter here
        secrets += settings.load().secrets()
    logs.hide(logs.Redactor([*secrets, *passwords_in(asked.source), *passwords_in(asked.target)]))
    if asked.give_up:
        _give_up(asked)
    else:
        _move(asked)


def _move(asked: Given) -> None:
    with ExitStack() as stack:
        source = stack.enter_context(_opened(FROM, asked.source))
        with _said_of(FROM):
            _require_data(source)
            source.check()
        target = stack.enter_context(_opened(TO, asked.target))
        with _said_of(TO):
            target.migrate()
        with _progress(source) as watch:
            report = move(source, target, watch)
        _tell(report, source, target)


def _give_up(asked: Given) -> None:
    with _opened(FROM, asked.source) as source:
        mark = mark_of(source, MOVED)
        if mark is None:
            raise StoreError(f"{source.where} is not being moved: there is nothing to give up")
        _require_named(mark, source, asked.target)
        if mark.done and not asked.yes:
            click.confirm(
                f"All of it is at {mark.where} since {mark.at}. If a bridge has run there, opening "
                "this one tells vendors of the same sales again. Open it?",
                abort=True,
            )
        give_up(source)
        say(f"{source.where} is open again")


def _require_data(source: Side) -> None:
    if all(each.name != "events" for each in tables_of(source)):
        raise StoreError(
            f"{FROM} {source.where} holds no bridge data: are {FROM} and {TO} exchanged?"
        )


def _require_named(mark: Mark, source: Side, url: str) -> None:
    """Raise StoreError unless an address is that of the move's target, which may be gone."""
    with _said_of(TO):
        target = open_store(with_own_name(url)[0], pool=2, listen=False)
    with closing(target), suppress(StoreError):
        if target.where == mark.where or target.facts.get(ID) == mark.id:
            return
    raise StoreError(
        f"{source.where} moves to {mark.where} since {mark.at}, not to {target.where}: name that "
        f"with {TO} to give it up"
    )


@contextmanager
def _opened(option: str, url: str) -> Iterator[Side]:
    """Open a database that nobody else has open."""
    address, name = with_own_name(url)
    with _said_of(option):
        alone = not has_file_open(url)
        # One connection is for those who wait for nobody.
        store = cast(Side, open_store(address, bulk=True, pool=2, listen=False))
    with closing(store), ExitStack() as stack:
        with _said_of(option):
            if option == FROM:
                stack.enter_context(moving_alone(address))
            if not alone or (url.startswith(POSTGRES) and is_connected(store, name)):
                raise StoreError(
                    f"{store.where} is in use: stop every bridge (and whatever else has it open), "
                    "then repeat this"
                )
        yield store


@contextmanager
def _said_of(option: str) -> Iterator[None]:
    """Say of what was given, not of the setting, that it is wrong."""
    try:
        yield
    except (ConfigError, StoreError) as error:
        said = str(error).replace("DATABASE_URL", option)
        if option == FROM:
            said = said.replace(MAKE_IT, "")  # an empty one is of no use there
        raise type(error)(said) from error


@contextmanager
def _progress(source: Side) -> Iterator[Watch]:
    hidden = not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as progress:
        total = 0 if hidden else size_of(source) * COPIED_TOO
        task = progress.add_task("moving", total=total or None)
        yield lambda what, rows: progress.update(task, description=what, advance=rows)


# ── what came of it ──────────────────────────────────────────────────────────────────────────────


def _tell(report: Report, source: Side, target: Side) -> None:
    rows = [
        (each.table, each.source.rows, each.target.rows, _sums(each.source, each.target))
        for each in report.tables
    ]
    print_table(TABLES, rows)
    for each in report.changed[:SHOWN_CHANGES]:
        print_line(f"! {each}: what {target.where} cannot keep became \ufffd or ?", style="yellow")
    if more := report.changed[SHOWN_CHANGES:]:
        print_line(f"! and {some(len(more), 'row')} more", style="yellow")
    if report.stage is Stage.DONE:
        _tell_again(report, source, target)
    elif not report.same:
        wrong = ", ".join(each.table for each in report.tables if not each.same)
        raise StoreError(
            f"{target.where} does not hold what {source.where} does (see {wrong}): both stay "
            "closed; repeat this to copy all anew, or add --give-up to open the first again"
        )
    else:
        say(f"{source.where} was moved to {target.where}, row for row")
        say("Set DATABASE_URL to the new address and start; the old one is closed.")


def _tell_again(report: Report, source: Side, target: Side) -> None:
    say(f"{source.where} was moved to {target.where} before: nothing is left to do")
    if not report.same:
        say(f"What differs has changed at {target.where} since it was opened.")


def _sums(one: object, other: object) -> str:
    return f"{one}"[:16] if f"{one}" == f"{other}" else f"{f'{one}'[:16]} ≠ {f'{other}'[:16]}"


def _same(url: str) -> str:
    """Return an address without what may be written in two ways."""
    if url.startswith(SQLITE):
        return os.path.realpath(url.removeprefix(SQLITE))
    return re.sub("^postgresql:", "postgres:", url)
