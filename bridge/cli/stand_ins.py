"""sandbox: the command that runs stand-ins for the vendors."""

from __future__ import annotations

import signal

import click

from bridge import sandbox as stand_ins
from bridge.cli.addresses import require_free
from bridge.cli.output import say


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
    require_free(host, port)
    # Heard only where they are waited for: one that came just before would be waited for in vain.
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    with stand_ins.serve_sandbox(host, port) as running:
        say(f"sandbox vendors on {running.url} (what they were told: {running.url}/ledger)")
        for name in stand_ins.discover():
            say(f"  {name.upper()}_BASE_URL={running.url}/{name}")
        signal.sigwait(ending)
