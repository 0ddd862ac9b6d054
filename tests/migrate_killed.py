"""A move that is killed in many of its phases, one after the other, and taken up each time.

Run as a program: migrate_killed.py SOURCE TARGET. It prints the phases, and what it found wrong.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from typing import cast

from bridge.errors import StoreError
from bridge.store import Store, open_store
from bridge.store.copy import move
from bridge.store.moves import CAME_FROM, Side, mark_of, require_open

# By then the first transaction of a table is over.
LATER = 3
TABLES = ("events", "facts", "conversion_keys", "deliveries")
PHASES = {
    *("shutting", "copying", "comparing events", "ending", "opening"),
    *(f"copying {name}" for name in TABLES),
    *(f"copying {name} again" for name in TABLES),
}


def killed_in_each_phase(source: str, target: str) -> list[str]:
    """Move in a process that can be killed; return the phases in which it was."""
    command = [sys.executable, __file__, source, target]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def _run(source: str, target: str) -> None:
    seen: list[str] = []
    while phase := _killed(source, target, seen):
        seen.append(phase)
        print(phase, flush=True)
        _look(source, target, phase)


def _killed(source: str, target: str, seen: list[str]) -> str:
    """Move until the first phase that was not seen; return its name, or "" where there is none."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _move(source, target, seen, writing)
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        phase = said.read()
    if status not in {0, signal.SIGKILL}:
        raise RuntimeError(f"ended with {status}")
    return phase


def _move(source: str, target: str, seen: list[str], pipe: int) -> None:
    count: Counter[str] = Counter()

    def watch(what: str, rows: int) -> None:
        count[what] += 1
        phase = what if count[what] == 1 else f"{what} again" if count[what] == LATER else ""
        if phase in PHASES and phase not in seen:
            os.write(pipe, phase.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    with _opened(source) as one, _opened(target) as other:
        try:
            report = move(cast(Side, one), cast(Side, other), watch, rows=2, batches=2)
        except BaseException as error:
            print(f"{error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        if not report.same:
            os._exit(2)


def _look(source: str, target: str, phase: str) -> None:
    """Raise where both are open, and either may tell vendors of the same sales."""
    with _opened(source) as one, _opened(target) as other:
        came = mark_of(other, CAME_FROM)
        if _is_open(one) and came and _is_open(other):
            raise RuntimeError(f"{phase}: both are open")


def _opened(url: str) -> closing[Store]:
    return closing(open_store(url, listen=False))


def _is_open(store: Store) -> bool:
    try:
        require_open(store)
        store.facts.put("touched", "")
        store.facts.remove("touched", "")
    except StoreError:
        return False
    return True


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2])
