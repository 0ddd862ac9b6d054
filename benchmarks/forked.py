"""Commands of bridge's in processes that have imported it already, for those that begin often.

What is measured is started as a merchant starts it; a trial run has more to start than to measure.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
# Of bridge.cli by itself, each command imports what it runs.
IMPORTED = [f"bridge.cli.{each}" for each in ("run", "work", "migrate", "clicks")]


class Forked:
    """Run one command, as subprocess.Popen runs it."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        CONTEXT.set_forkserver_preload([*IMPORTED, "bridge.store.postgres"])
        given = (list(arguments), dict(environment), log)
        self._process = CONTEXT.Process(target=_run, args=given)
        self._process.start()
        self.pid = self._process.pid or 0

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self._process.is_alive():
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        self._process.join()
        return self._process.exitcode or 0


def _run(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # what it starts, it starts as ever
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(log.parent)

    from bridge.cli import main  # noqa: PLC0415 - here it has been imported long ago

    main(arguments)
