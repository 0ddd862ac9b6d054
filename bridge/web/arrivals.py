"""Arrivals: webhooks that come while others are being committed are committed together, next.

A commit waits for the disk, however little it holds. So one thread writes; whatever has come
meanwhile goes into its next transaction. Nobody is answered before the event is on the disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from bridge.errors import StoreError
from bridge.inbox import receive_all
from bridge.model import Event
from bridge.store import Store

# Old versions of SQLite take 999 values in a statement, and an event has 14.
MOST_AT_ONCE = 64


# Whether an event is new, or why it is not stored.
_Said = bool | Exception


@dataclass(eq=False, slots=True)
class _Arrival:
    """Hold an event, when it came, and what is to become known: whether it is new."""

    event: Event
    at: datetime
    new: asyncio.Future[bool]


class Arrivals:
    """Store events for one event loop, as many in one transaction as wait for it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Arrival] = deque()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="arrivals")
        self._writing = False

    async def add(self, event: Event, at: datetime) -> bool:
        """Store an event; tell whether it is new, once it is on the disk; raise StoreError."""
        arrival = _Arrival(event, at, asyncio.get_running_loop().create_future())
        self._waiting.append(arrival)
        if not self._writing:
            self._write()
        return await arrival.new

    def _write(self) -> None:
        """Have the writer store those who wait by now."""
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
        self._writing = bool(group)
        if not group:
            return
        loop = asyncio.get_running_loop()
        try:
            stored = loop.run_in_executor(self._writer, self._store_all, group)
        except RuntimeError as error:  # no thread can be started
            self._tell(group, _refused(group, error))
        else:
            stored.add_done_callback(lambda done: self._tell(group, _said(group, done)))

    def _tell(self, group: Sequence[_Arrival], said: Sequence[_Said]) -> None:
        """Tell a group what became of it, and go on with the next.

        Where the store fails, those who came meanwhile are refused, too: else a provider would wait
        for two attempts in a row, longer than it does.
        """
        failed = next((each for each in said if isinstance(each, StoreError)), None)
        for arrival, new in zip(group, said, strict=True):
            _resolve(arrival, new)
        while failed and self._waiting:
            _resolve(self._waiting.popleft(), StoreError(str(failed)))
        self._write()

    def _store_all(self, group: Sequence[_Arrival]) -> Sequence[_Said]:
        """Store a group, or each by itself: where one is wrong, the others do not fail with it."""
        try:
            return receive_all(self._store, [(each.event, each.at) for each in group])
        except StoreError as error:
            return _refused(group, error)
        except Exception as error:
            return [error] if len(group) == 1 else self._store_singly(group)

    def _store_singly(self, group: Sequence[_Arrival]) -> Sequence[_Said]:
        said: list[_Said] = []
        for at, each in enumerate(group):
            said += self._store_all([each])
            if isinstance(said[-1], StoreError):  # the others need not wait as long, one by one
                return [*said, *_refused(group[at + 1 :], said[-1])]
        return said


def _said(group: Sequence[_Arrival], done: asyncio.Future[Sequence[_Said]]) -> Sequence[_Said]:
    """Return what the writer says of a group; nobody waits for ever where it was broken off."""
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    return _refused(group, error) if error else done.result()


def _refused(group: Sequence[_Arrival], error: BaseException) -> Sequence[_Said]:
    """Return an error for each of a group: each adds to its own where it was raised."""
    return [StoreError(str(error) or type(error).__name__) for _ in group]


def _resolve(arrival: _Arrival, said: _Said) -> None:
    if arrival.new.done():  # nobody waits for it any more
        return
    if isinstance(said, Exception):
        arrival.new.set_exception(said)
    else:
        arrival.new.set_result(said)
