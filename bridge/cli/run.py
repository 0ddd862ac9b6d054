"""serve, web: the commands that listen for webhooks."""

from __future__ import annotations

import os
import signal

import click

from bridge import logs
from bridge.cli import processes
from bridge.cli.addresses import require_free, url_of
from bridge.cli.doctor import advice_on_settings
from bridge.cli.output import say
from bridge.cli.serving import run_web
from bridge.cli.session import kept_settings, parent_option
from bridge.config import Config
from bridge.store import open_store_of
from bridge.store.moves import require_open
from bridge.vault import Vault


def _default_host() -> str:
    # A platform that sets PORT routes to it from outside the machine.
    return os.environ.get("HOST") or ("0.0.0.0" if os.environ.get("PORT") else "127.0.0.1")  # noqa: S104


host_option = click.option(
    "--host",
    default=_default_host,
    help="Address to listen at  [default: HOST, else 0.0.0.0 where PORT is set, else 127.0.0.1]",
)
port_option = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8000,
    envvar="PORT",
    help="Port to listen at  [default: PORT, else 8000]",
)


@click.command()
@host_option
@port_option
@parent_option
def serve(host: str, port: int, parent: int | None) -> None:
    """Run web and worker together: all that one machine needs."""
    ending = processes.Ending()
    processes.die_with_parent(parent, signal.SIGTERM)
    count = _prepare(host, port)
    say(f"bridge listens on {url_of(host, port)}, and delivers", err=True)
    with processes.beside(ending, processes.WORKER):
        run_web(host, port, ending, count)


@click.command()
@host_option
@port_option
def web(host: str, port: int) -> None:
    """Run the web only: it takes webhooks and clicks."""
    ending = processes.Ending()
    count = _prepare(host, port)
    say(f"bridge listens on {url_of(host, port)}", err=True)
    run_web(host, port, ending, count)


def _prepare(host: str, port: int) -> int:
    """Find out now, in words, what would fail later; return how many web processes there are."""
    config = kept_settings()
    logs.configure(logs.Redactor(config.secrets()))
    store = open_store_of(config)
    store.migrate()
    require_open(store)
    Vault(store, config)
    store.close()
    require_free(host, port)
    for each in advice_on_settings(config):
        say(f"! {each}", err=True)
    return _web_processes(config)


def _web_processes(config: Config) -> int:
    asked = config.settings.web_concurrency
    if asked == 1 or not config.on_sqlite:
        return asked
    say(
        f"! WEB_CONCURRENCY={asked}, but on SQLite there is one web process: for more, "
        "set DATABASE_URL to a PostgreSQL",
        err=True,
    )
    return 1
