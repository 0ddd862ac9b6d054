"""The command line: `bridge`. Each command is a few lines around what web and worker use."""

from __future__ import annotations

import sys

import click

from bridge import __version__
from bridge.cli.demo import demo
from bridge.cli.doctor import doctor
from bridge.cli.listings import conversions, deliveries, events
from bridge.cli.repair import resolve, retry
from bridge.cli.replay import replay
from bridge.cli.run import migrate, sandbox, serve, web, work
from bridge.cli.show import explain, show
from bridge.errors import BridgeError


class Commands(click.Group):
    """Answer our own errors with their message, not a traceback; exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BridgeError as error:
            click.secho(f"Error: {error}", fg="red", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            # Whoever read our output has seen enough (| head).
            sys.stderr.close()
            ctx.exit(0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Keep the commands in the order in which they are added."""
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bridge")
def main() -> None:
    """Keep attribution vendors true to the money: payments in, conversions out."""


for command in (
    *(serve, web, work, migrate, demo, sandbox, replay),
    *(events, conversions, deliveries),
    *(show, explain, retry, resolve, doctor),
):
    main.add_command(command)
