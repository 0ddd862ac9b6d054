"""Groups: rows that several threads append at the same time are committed together.

A commit waits for the disk, however little it holds. So whoever appends while another commits
queues its row; then the first of the queue takes all of them into one transaction, and the rest are
told what became of theirs. Nobody is answered before its row is on the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from bridge.errors import StoreError
from bridge.store.rows import Row


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False, slots=True)
class Appended:
    """Hold a row that is to be added to a table, and what became of it."""

    table: str
    row: Row
    unique: str
    rings: bool
    new: bool = False
    error: Exception | None = None
    leads: bool = False
    # Held until there is something to know: it is on the disk, or is to lead the others.
    called: threading.Lock = field(default_factory=_held)

    @property
    def kind(self) -> tuple[str, ...]:
        """Return what rows must share to be added by one statement."""
        return (self.table, self.unique, *self.row)


class Groups:
    """Append rows for many threads, as many in one transaction as wait for it."""

    def __init__(
        self,
        atomic: Callable[[], AbstractContextManager[None]],
        add: Callable[[Sequence[Appended]], Sequence[bool]],
        patience: float,
    ) -> None:
        self._atomic = atomic
        self._add = add
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting: list[Appended] = []
        self._led = False

    def append(self, row: Appended) -> bool:
        """Have a row added; tell whether it is new, once it is on the disk."""
        with self._lock:
            self._waiting.append(row)
            row.leads, self._led = not self._led, True
        if not row.leads:
            self._wait(row)
        if row.leads:
            self._lead(row)
        if row.error:
            raise _for_this_thread(row.error)
        return row.new

    def _wait(self, row: Appended) -> None:
        """Wait until a row is on the disk or is to lead; raise StoreError if that takes too long.

        One that is being committed cannot be taken back: how that ends is worth as long a wait.
        """
        if row.called.acquire(timeout=self._patience):
            return
        with self._lock:
            if row in self._waiting and not row.leads:
                self._waiting.remove(row)
                raise StoreError("database is locked (its turn to write has not come)")
        if not row.called.acquire(timeout=self._patience):
            raise StoreError("database is locked (a commit does not end)")

    def _lead(self, row: Appended) -> None:
        group: list[Appended] = []
        try:
            with self._atomic():
                group = self._take(row)
                self._add_all(group)
        except StoreError as error:
            _fail(group or [row], error)
        except Exception as error:  # one of them is wrong: the others must not fail with it
            self._add_singly(group) if len(group) > 1 else _fail(group or [row], error)
        except BaseException:
            _fail(group, StoreError("the commit was interrupted"))
            raise
        finally:
            self._follow(row)
            for each in group:
                if each is not row:
                    each.called.release()

    def _take(self, leader: Appended) -> list[Appended]:
        """Return those who wait, if they can be added together with the one who leads."""
        with self._lock:
            group = [each for each in self._waiting if each.kind == leader.kind]
            self._waiting = [each for each in self._waiting if each.kind != leader.kind]
        return group

    def _add_all(self, group: Sequence[Appended]) -> None:
        for each, new in zip(group, self._add(group), strict=True):
            each.new = new

    def _add_singly(self, group: Sequence[Appended]) -> None:
        for each in group:
            try:
                with self._atomic():
                    self._add_all([each])
            except Exception as error:
                each.error = error

    def _follow(self, leader: Appended) -> None:
        """Have the first of those who wait by now lead the next group."""
        with self._lock:
            if leader in self._waiting:  # its turn to write has not come
                self._waiting.remove(leader)
            self._led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].called.release()


def _fail(group: Sequence[Appended], error: Exception) -> None:
    for each in group:
        each.error = error


def _for_this_thread(error: Exception) -> Exception:
    """Return an error as one of this thread's own: each adds to it where it was raised."""
    return StoreError(str(error)) if isinstance(error, StoreError) else error
