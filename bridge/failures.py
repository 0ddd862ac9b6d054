"""Failures: what our code cannot process is kept, shown with why, and processed again once mended.

However bad an event is, what is done about it here must not fail: the next one waits.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge import __version__, logs
from bridge.errors import BridgeError, StoreError
from bridge.forgetting import REDACTED
from bridge.model import Event
from bridge.providers.base import text
from bridge.store import Store
from bridge.store.rows import EventRow, EventState

LONGEST_WORDS, LONGEST_ID = 300, 80

log = logs.get()


class Failures:
    """Keep events and orders that our code fails on."""

    def __init__(
        self, store: Store, redact: logs.Redactor, is_of_redacted: Callable[[Event], bool]
    ) -> None:
        self._store = store
        self._redact = redact
        self._of_redacted = is_of_redacted

    def keep_event(self, key: str, error: Exception) -> EventState:
        """Keep an event with the reason why it failed, unless another worker did better."""
        with self._store.atomic():
            row = self._store.events.get(key)
            if row is None or row.state is not EventState.RECEIVED:
                return row.state if row else EventState.IGNORED
            reason = self._in_words(error, row)
            self._store.events.mark(key, EventState.FAILED, reason)
            if self._is_of_redacted(row):
                self._store.persons.empty_event(key, REDACTED)
                self._store.persons.mark_unscrubbed()
                reason = REDACTED
        expected = isinstance(error, BridgeError)
        log.error("failed", event_id=key, reason=reason, exc_info=None if expected else error)
        return EventState.FAILED

    def keep_order(self, order: str, error: Exception) -> None:
        """Show an order that cannot be worked out by its newest event, which can be replayed."""
        keys = sorted(self._store.persons.events_of_orders([order]))
        rows = [row for row in map(self._store.events.get, keys) if row and not row.redacted]
        newest = max(rows, key=lambda row: (row.received_at, row.key), default=None)
        reason = ""
        if newest:
            reason = f"its order cannot be worked out: {self._in_words(error, newest)}"
            self._store.events.mark(newest.key, EventState.FAILED, reason)
        log.error("order failed", order=order, reason=reason, exc_info=error)

    def _in_words(self, error: Exception, row: EventRow) -> str:
        """Say what went wrong in which version, and how to process it again."""
        words = text(self._redact(logs.words_of(error)))[:LONGEST_WORDS]
        id = row.event.id
        shown = id if len(id) <= LONGEST_ID and id.isprintable() and " " not in id else "ID"
        again = f"once mended: `bridge replay {self._redact(shown)}`"
        return f"{words} (bridge {__version__}; {again})"

    def _is_of_redacted(self, row: EventRow) -> bool:
        try:
            return self._of_redacted(row.event)
        except StoreError:
            raise
        except Exception as error:
            log.error("search failed", event_id=row.key, exc_info=error)
            return False
