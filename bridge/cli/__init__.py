"""The command line: `bridge`. Each command is a few lines around what web and worker use."""

from __future__ import annotations

import os
import sys
from collections import UserDict
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from bridge import __version__, logs
from bridge import config as settings
from bridge.cli.output import complain, harmless, say
from bridge.errors import BridgeError

# The module of each command, in the order of the help. Only that of the one run is imported: a
# worker needs no web server, and starts sooner without.
MODULES = {
    "serve": "run",
    "web": "run",
    "work": "work",
    "migrate": "migrate",
    "demo": "demo",
    "sandbox": "stand_ins",
    "replay": "replay",
    "events": "listings",
    "conversions": "listings",
    "deliveries": "listings",
    "show": "show",
    "explain": "show",
    "retry": "repair",
    "resolve": "repair",
    "clicks": "clicks",
    "redact": "redact",
    "doctor": "doctor",
}
INTERRUPTED = 128 + 2  # as shells say it: ended by signal 2


class Commands(click.Group):
    """Answer errors with a line that says what to do, not with a traceback; exit code 1."""

    def invoke(self, ctx: click.Context) -> None:
        """Run a command."""
        try:
            super().invoke(ctx)
        except click.ClickException as error:
            vars(error)["message"] = harmless(error.message)
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output has seen enough (| head); what is left goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except Exception as error:
            if ctx.params["traceback"]:
                say(logs.told(error), err=True)
            complain(_said(error))
            ctx.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Keep the commands in the order of the table."""
        return list(self.commands)


class Imported(UserDict[str, Any]):
    """Hold commands by their names; each is imported when somebody asks for it."""

    def __getitem__(self, name: str) -> Any:
        """Return a command."""
        return getattr(import_module(f"{__name__}.{self.data[name]}"), name)


def _said(error: Exception) -> str:
    if isinstance(error, BridgeError):
        return str(error)
    return (
        f"{type(error).__name__}: {error}\n"
        "This is a mistake in bridge; for a report, `bridge --traceback …` says where."
    )


@click.group(
    cls=Commands,
    commands=Imported(MODULES),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="bridge")
@click.option("--traceback", is_flag=True, hidden=True)
def main(traceback: bool) -> None:
    """Keep attribution vendors true to the money: payments in, conversions out."""
    with suppress(BridgeError):  # what is wrong with the settings is said by what needs them
        logs.hide(logs.Redactor(settings.load().secrets()))
