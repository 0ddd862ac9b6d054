"""migrate: the command that brings a database up to date, or moves it to another."""

from __future__ import annotations

import sys
from contextlib import closing

import click

from bridge.cli import move
from bridge.cli.output import say
from bridge.cli.session import kept_settings
from bridge.store import open_store_of
from bridge.store.moves import require_open
from bridge.vault import Vault, start_anew


@click.command()
@click.option(
    "--new-secret-key",
    "anew",
    is_flag=True,
    help="Give up a lost BRIDGE_SECRET_KEY: e-mail addresses known so far find nobody any more.",
)
@click.option("--from", "source", metavar="URL", help="Move everything from this database …")
@click.option("--to", "target", metavar="URL", help="… to this one, which is empty.")
@click.option("--give-up", is_flag=True, help="Open a database again whose move has not ended.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def migrate(
    *, source: str | None, target: str | None, give_up: bool, anew: bool, yes: bool
) -> None:
    """Bring the database's schema up to date; or move everything to another database."""
    if asked := move.given(source, target, give_up=give_up, anew=anew, yes=yes):
        move.run(asked)
        return
    config = kept_settings()
    if anew and not yes and sys.stdin.isatty():
        click.confirm("Forget all e-mail addresses for good?", abort=True)
    with closing(open_store_of(config)) as store:
        ran = store.migrate()
        require_open(store)
        if anew:
            start_anew(store)
            Vault(store, config)
    say(f"migrated: {', '.join(ran)}" if ran else "the database is up to date")
    if anew:
        say(
            "E-mail addresses known so far find nobody any more; orders and clicks stay. "
            "Restart whatever runs."
        )
