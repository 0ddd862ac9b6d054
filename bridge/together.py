"""Together: what several threads want to write at the same time is written in one transaction.

A commit waits for the disk, however little it holds, and writers wait for one another. So one
thread writes for all the others: whatever has come while it was committing goes into its next
transaction. Nobody goes on before its own part is on the disk; a part that fails is undone alone.
It is also the only one that needs a connection to the database, however many threads deliver.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

from bridge.errors import StoreError

# Others want to write, too: so many parts keep them waiting for some 15 milliseconds.
MOST_AT_ONCE = 16

T = TypeVar("T")
Atomic: TypeAlias = Callable[[str], AbstractContextManager[None]]


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class _Part:
    """Hold what is to be done for one thread, and what came of it."""

    work: Callable[[], object]
    result: Any = None
    error: Exception | None = None
    over: threading.Lock = field(default_factory=_held)  # held until there is something to know

    def run(self) -> None:
        self.result = self.work()


_Queue: TypeAlias = SimpleQueue[_Part | None]


class Together:
    """Run what threads want to write, as many in one transaction as wait for it.

    What is given as a `scope` is what `atomic` takes: only what shares it is written together.
    """

    def __init__(self, atomic: Atomic) -> None:
        self._atomic = atomic
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}

    def run(self, scope: str, work: Callable[[], T]) -> T:
        """Run `work` in a transaction; return what it returns once that is on the disk.

        It is run in another thread, and raises here what it raises there. Where somebody else's
        fails it may be run twice; what it did the first time is undone.
        """
        part = _Part(work)
        self._queue(scope).put(part)
        part.over.acquire()
        if part.error:
            raise part.error
        result: T = part.result
        return result

    def _queue(self, scope: str) -> _Queue:
        with self._lock:
            if scope not in self._queues:
                queue = self._queues[scope] = SimpleQueue()
                weakref.finalize(self, queue.put, None)
                name = f"records-{scope or 'all'}"
                args = (queue, self._atomic, scope)
                threading.Thread(target=_serve, args=args, name=name, daemon=True).start()
            return self._queues[scope]


def _serve(queue: _Queue, atomic: Atomic, scope: str) -> None:
    """Write for others, until nobody can come any more."""
    while part := queue.get():
        parts = [part]
        try:
            with atomic(scope):
                _take(queue, parts)
                for each in parts:
                    each.run()
        except Exception as error:
            if len(parts) > 1 and not isinstance(error, StoreError):
                _run_singly(parts, atomic, scope)
            else:
                for each in parts:
                    each.error = _anew(error)
        for each in parts:
            each.over.release()
        del part, parts, each  # nothing of them is kept while nobody comes


def _take(queue: _Queue, parts: list[_Part]) -> None:
    """Add those who wait by now."""
    while len(parts) < MOST_AT_ONCE and not queue.empty():
        if part := queue.get():
            parts.append(part)
        else:
            queue.put(None)
            return


def _run_singly(parts: list[_Part], atomic: Atomic, scope: str) -> None:
    """Run once more, each by itself: one of them is wrong, and the others must not fail with it."""
    for each in parts:
        try:
            with atomic(scope):
                each.run()
        except Exception as error:
            each.error = error


def _anew(error: Exception) -> Exception:
    """Return an error as one of each thread's own: each adds to it where it was raised."""
    return StoreError(str(error)) if isinstance(error, StoreError) else error
