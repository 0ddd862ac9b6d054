"""Groups: rows that several threads append at the same time are committed together.

A commit waits for the disk, however little it holds. So whoever appends while another commits
queues its row; then the first of the queue takes all of them into one transaction, and the rest are
told what became of theirs. Nobody is answered before its row is on the disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from bridge.errors import StoreError
from bridge.store.rows import Row


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _interrupted() -> Exception:
    return StoreError("the commit was interrupted")


@dataclass(eq=False, slots=True)
class Appended:
    """Hold a row that is to be added to a table by a deadline, and what became of it."""

    table: str
    row: Row
    unique: str
    rings: bool
    deadline: float
    new: bool = False
    # Until it is on the disk; else whoever is interrupted would leave others with a yes.
    error: Exception | None = field(default_factory=_interrupted)
    leads: bool = False
    # Held until there is something to know: what became of it, or that it leads the others.
    called: threading.Lock = field(default_factory=_held)

    @property
    def kind(self) -> tuple[str, ...]:
        """Return what rows must share to be added by one statement."""
        return (self.table, self.unique, *self.row)


class Groups:
    """Append rows for many threads, as many in one transaction as wait for it."""

    def __init__(
        self,
        transaction: Callable[[float], AbstractContextManager[None]],
        add: Callable[[Sequence[Appended]], Sequence[bool]],
        patience: float,
    ) -> None:
        self._transaction = transaction
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
        if row.leads or self._is_called_to_lead(row):
            self._lead(row)
        if row.error:
            raise _for_this_thread(row.error)
        return row.new

    def _is_called_to_lead(self, row: Appended) -> bool:
        """Wait for what becomes of a row, or until it leads; raise StoreError at its deadline.

        One that is being committed cannot be taken back: how that ends is worth another wait.
        """
        came = False
        try:
            came = row.called.acquire(timeout=max(0.0, row.deadline - time.monotonic()))
        finally:
            left = not came and self._leave(row)
        if left:
            raise StoreError("database is locked (its turn to write has not come)")
        if not came and not row.called.acquire(timeout=self._patience):
            raise StoreError("database is locked (a commit does not end)")
        return row.leads

    def _leave(self, row: Appended) -> bool:
        """Take back a row that nobody has taken yet, nor called to lead."""
        with self._lock:
            waits = row in self._waiting and not row.leads
            if waits:
                self._waiting.remove(row)
        return waits

    def _lead(self, leader: Appended) -> None:
        group = [leader]
        try:
            with self._transaction(leader.deadline):
                group = self._take(leader)
                self._mark_new(group)
            for each in group:
                each.error = None
        except StoreError as error:
            for each in group:
                each.error = error
        except Exception as error:  # one of them is wrong: the others must not fail with it
            leader.error = error
            if len(group) > 1:
                self._add_singly(group)
        finally:
            self._follow(leader)
            for each in group:
                if each is not leader:
                    each.called.release()

    def _take(self, leader: Appended) -> list[Appended]:
        """Take those who wait, if they can be added together with the one who leads."""
        with self._lock:
            group = [each for each in self._waiting if each.kind == leader.kind]
            self._waiting = [each for each in self._waiting if each.kind != leader.kind]
        return group

    def _mark_new(self, group: Sequence[Appended]) -> None:
        for each, new in zip(group, self._add(group), strict=True):
            each.new = new

    def _add_singly(self, group: Sequence[Appended]) -> None:
        for each in group:
            try:
                with self._transaction(each.deadline):
                    self._mark_new([each])
                each.error = None
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


def _for_this_thread(error: Exception) -> Exception:
    """Return an error as one of this thread's own: each adds to it where it was raised."""
    return StoreError(str(error)) if isinstance(error, StoreError) else error
