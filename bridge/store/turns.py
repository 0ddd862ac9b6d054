"""Turns: who writes next, first come first served.

SQLite has one writer at a time; whoever finds it busy sleeps and tries again, each time later.
Somebody who writes in a row is then always there first, and the others wait in vain. Here the
threads of a process queue, and the first of them waits for a lock on the database's folder. It is
given back once all who queued by then have begun: so processes take turns, too, and one whose
transactions are short and many is not held up by every long one of another's.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PAUSE = 0.001
# Order among processes is a courtesy: one that was stopped while it waited must not stop the rest.
COURTESY, DISCOURTEOUS_FOR = 1.0, 30.0


class NoTurnError(Exception):
    """Say that the turn of somebody who waited has not come."""


class Turns:
    """Let the threads that write to a database do so one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._queue: deque[threading.Lock] = deque()
        self._taken = False
        self._folder_lock: int | None = None
        self._following = 0
        self._waits_again_at = 0.0

    @contextmanager
    def mine(self, deadline: float) -> Iterator[None]:
        """Run a block when this thread's turn has come; raise NoTurnError if it does not."""
        if not self._take(deadline):
            raise NoTurnError("its turn to write has not come")
        try:
            yield
        finally:
            self._give()

    @contextmanager
    def ahead(self, deadline: float) -> Iterator[None]:
        """Run a block, in this thread's turn, while no other process overtakes this one."""
        if self._folder_lock is None:
            self._folder_lock = self._lock_folder(min(deadline, time.monotonic() + COURTESY))
            self._following = len(self._queue)
        try:
            yield
        finally:
            with self._lock:
                self._following = min(self._following, len(self._queue)) - 1
                if self._following < 0:
                    self._unlock_folder()

    def _lock_folder(self, deadline: float) -> int | None:
        """Lock the folder; go on without where that cannot be, or takes too long."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        courteous = time.monotonic() > self._waits_again_at
        with suppress(OSError):
            while not _locked(folder) and courteous:
                if time.monotonic() > deadline:
                    courteous = False
                    self._waits_again_at = time.monotonic() + DISCOURTEOUS_FOR
                time.sleep(PAUSE)
        return folder

    def _unlock_folder(self) -> None:
        if self._folder_lock is not None:
            os.close(self._folder_lock)
            self._folder_lock = None

    def _take(self, deadline: float) -> bool:
        with self._lock:
            if not self._taken:
                self._taken = True
                return True
            ours = threading.Lock()
            ours.acquire()
            self._queue.append(ours)
        came = False
        try:
            came = ours.acquire(timeout=max(0.0, deadline - time.monotonic()))
        finally:
            if not came:
                self._leave(ours)
        return came

    def _leave(self, ours: threading.Lock) -> None:
        """Queue no longer; pass the turn on if it has come in this very moment."""
        with self._lock:
            if ours in self._queue:
                self._queue.remove(ours)
                return
        self._give()

    def _give(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._unlock_folder()
                self._taken = False


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
