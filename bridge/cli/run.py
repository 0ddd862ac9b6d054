"""serve, web, work, migrate, sandbox: the commands that run something."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing

import click

from bridge import logs
from bridge import sandbox as stand_ins
from bridge.cli import move, processes
from bridge.cli.doctor import advice_on_settings
from bridge.cli.output import say
from bridge.cli.session import kept_settings, opened
from bridge.config import Config
from bridge.outbox import utc_now
from bridge.processor import Processor
from bridge.store import open_store_of
from bridge.store.moves import require_open
from bridge.vault import Vault, start_anew
from bridge.worker import Worker


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
# Whoever started this process may be killed outright; it then ends by itself.
parent_option = click.option("--with-parent", "parent", type=int, hidden=True)


@click.command()
@host_option
@port_option
@parent_option
def serve(host: str, port: int, parent: int | None) -> None:
    """Run web and worker together: all that one machine needs."""
    ending = processes.Ending()
    processes.die_with_parent(parent, signal.SIGTERM)
    count = _prepare(host, port)
    say(f"bridge listens on {processes.url_of(host, port)}, and delivers", err=True)
    with processes.beside(ending, processes.WORKER):
        processes.run_web(host, port, ending, count)


@click.command()
@host_option
@port_option
def web(host: str, port: int) -> None:
    """Run the web only: it takes webhooks and clicks."""
    ending = processes.Ending()
    count = _prepare(host, port)
    say(f"bridge listens on {processes.url_of(host, port)}", err=True)
    processes.run_web(host, port, ending, count)


@click.command()
@click.option("--events", is_flag=True, hidden=True)  # only process them, beside who delivers
@parent_option
def work(*, events: bool, parent: int | None) -> None:
    """Run the worker only: it processes events and delivers."""
    ending = processes.Ending()
    processes.die_with_parent(parent, signal.SIGTERM)
    if events:
        _process(ending)
    else:
        _deliver(ending)


def _process(ending: processes.Ending) -> None:
    with opened(quiet=False, share=lambda _: 1) as session:  # it is one thread
        processor = Processor(session.store, session.config, clock=utc_now)
        ending.then(processor.stop)
        processor.run()


def _share(pool: int) -> int:
    """Return how many of a worker's connections who delivers has: not less than two, if it may.

    One may be busy for long, while what a vendor has answered is to be recorded.
    """
    return max(pool - 1, min(pool, 2))


def _deliver(ending: processes.Ending) -> None:
    with opened(quiet=False, share=_share) as session:
        require_open(session.store)
        worker = Worker(session.store, session.config)
        ending.then(worker.stop)
        with processes.beside(ending, processes.PROCESSOR):
            worker.run()


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


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8100,
    show_default=True,
    help="Port to listen at; 0 takes a free one.",
)
def sandbox(host: str, port: int) -> None:
    """Run stand-ins for the vendors, to try before you connect."""
    processes.require_free(host, port)
    # Heard only where they are waited for: one that came just before would be waited for in vain.
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    with stand_ins.serve_sandbox(host, port) as running:
        say(f"sandbox vendors on {running.url} (what they were told: {running.url}/ledger)")
        for name in stand_ins.discover():
            say(f"  {name.upper()}_BASE_URL={running.url}/{name}")
        signal.sigwait(ending)


def _prepare(host: str, port: int) -> int:
    """Find out now, in words, what would fail later; return how many web processes there are."""
    config = kept_settings()
    logs.configure(logs.Redactor(config.secrets()))
    store = open_store_of(config)
    store.migrate()
    require_open(store)
    Vault(store, config)
    store.close()
    processes.require_free(host, port)
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
