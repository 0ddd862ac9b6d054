"""The processes of `bridge serve`: one that supervises, those of the web, and two for the work.

One of those two is what `bridge work` is: it delivers, and has another beside it that processes
events. Whatever happens to the first of all, the others end with it: a server killed outright
leaves nothing behind that holds its port. The others are process groups of their own, so that the
Ctrl-C of a terminal reaches the first alone, which then ends them in order.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bridge import logs
from bridge.errors import BridgeError

PR_SET_PDEATHSIG = 1
RESTART_SECONDS, WATCH_SECONDS = 1.0, 0.1
# What lasts so long did not fail at its start.
LASTING_SECONDS = 30.0

log = logs.get()

# While a worker is being started, the web must not be forked: it would inherit the pipe on which
# the start is awaited, which then seems never to end. Nor while a line is being logged: it would
# inherit the lock.
starting = threading.Lock()
os.register_at_fork(
    before=starting.acquire, after_in_parent=starting.release, after_in_child=starting.release
)


@dataclass(frozen=True, slots=True)
class Part:
    """Name a part of the work that is a process of its own, and say how it is kept running.

    `starts` is how often in a row it may end within seconds; none: as often as it likes.
    """

    name: str
    options: Sequence[str]
    stop_seconds: float
    starts: int | None = None


# A call to a vendor that is in flight may take as long as its time-outs, and a platform kills what
# has not ended 30 seconds after it asked; a worker must be there to end its processor before that.
WORKER = Part("worker", (), 28)
PROCESSOR = Part("processor", ("--events",), 25, starts=5)


class Ending:
    """Note that SIGTERM or SIGINT has come, from its making on, or why to end without."""

    def __init__(self) -> None:
        self.asked = False
        self.failure = ""
        self._act: Callable[[], None] | None = None
        self.listen()

    def listen(self) -> None:
        """Be the one who hears the signals, whoever has heard them before."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._ask)

    def then(self, act: Callable[[], None]) -> None:
        """Have `act` called when a signal comes, and at once if one has come."""
        self._act = act
        if self.asked:
            act()

    def fail(self, reason: str) -> None:
        """Have this process end, as it cannot do what it is for."""
        self.failure = reason
        self._ask()

    def _ask(self, *_: object) -> None:
        self.asked = True
        if self._act:
            self._act()


@contextmanager
def beside(ending: Ending, part: Part) -> Iterator[None]:
    """Keep a part running until a signal comes or the block ends; end it cleanly.

    At a signal it ends while this process does, so that both have all of the time that platforms
    give. One that ends again and again as soon as it has begun has this process end, too.
    """
    keeper = threading.Thread(target=_keep_running, args=(ending, part), name="keeper")
    try:
        keeper.start()
        yield
    finally:
        ending.asked = True
        keeper.join()
    if ending.failure:
        raise BridgeError(ending.failure)


def die_with_parent(parent: int | None, with_signal: signal.Signals) -> None:
    """Have this process signalled when its parent ends, however it ends, or has ended already.

    A process that nobody named a parent for lives on its own.
    """
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(with_signal))
        if os.getppid() != parent:
            os.kill(os.getpid(), with_signal)
    else:
        watch = threading.Thread(target=_watch_parent, args=(parent, with_signal), daemon=True)
        watch.start()


def _watch_parent(parent: int, with_signal: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), with_signal)


def _keep_running(ending: Ending, part: Part) -> None:
    in_a_row = 0
    while not ending.asked:
        began = time.monotonic()
        try:
            process = _start(part)
        except OSError as error:  # out of memory, or of processes
            log.error("not started", part=part.name, reason=str(error), action="trying again")
        else:
            _watch(process, part, ending)
        in_a_row = 0 if time.monotonic() - began > LASTING_SECONDS else in_a_row + 1
        if in_a_row == part.starts and not ending.asked:
            ending.fail(f"its {part.name} ended {in_a_row} times in a row (see the log)")
        _unless(ending, RESTART_SECONDS)


def _start(part: Part) -> subprocess.Popen[bytes]:
    words = ("work", *part.options, "--with-parent", str(os.getpid()))
    command = [sys.executable, "-m", "bridge", *words]
    with starting:
        return subprocess.Popen(command, process_group=0)  # noqa: S603 - this very program


def _watch(process: subprocess.Popen[bytes], part: Part, ending: Ending) -> None:
    """Wait until a process has ended; end it when a signal comes."""
    while process.poll() is None and not ending.asked:
        time.sleep(WATCH_SECONDS)
    if process.poll() is None:
        _end(process, part)
    elif not ending.asked:
        with starting:
            code = process.returncode
            log.error("ended", part=part.name, exit_code=code, action="starting another")


def _unless(ending: Ending, seconds: float) -> None:
    """Sleep, unless it is to end."""
    until = time.monotonic() + seconds
    while not ending.asked and time.monotonic() < until:
        time.sleep(WATCH_SECONDS)


def _end(process: subprocess.Popen[bytes], part: Part) -> None:
    process.terminate()
    try:
        process.wait(part.stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
