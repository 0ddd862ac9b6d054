"""work: the command that processes events and delivers."""

from __future__ import annotations

import signal

import click

from bridge.cli import processes
from bridge.cli.session import opened, parent_option
from bridge.outbox import utc_now
from bridge.processor import Processor
from bridge.store.moves import require_open
from bridge.worker import Worker


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
