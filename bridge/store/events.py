"""Events: the inbox. What is here has been acknowledged to the provider, and is never lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from bridge.codec import from_iso, iso
from bridge.model import Event
from bridge.store.database import Database, query_for
from bridge.store.rows import EventRow, EventState, Row

# Of events that are processed in one transaction: on SQLite whoever stores a webhook waits for it.
MOST_AT_ONCE = 10


def key_of(event: Event) -> str:
    """Return what names an event over all providers and connected accounts."""
    where = f"{event.provider}:{event.account}/" if event.account else f"{event.provider}:"
    return where + event.id


class Events:
    """Keep verified events, raw, with what became of them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, event: Event, received_at: datetime) -> bool:
        """Store an event and wake the workers; return False where it is stored already."""
        return self.add_all([(event, received_at)])[0]

    def add_all(self, arrived: Sequence[tuple[Event, datetime]]) -> list[bool]:
        """Store events in one transaction; return of each whether it is new."""
        rings = any(not event.ignored for event, _ in arrived)
        rows = [_row_of(event, at) for event, at in arrived]
        return self._db.append("events", rows, "key", rings=rings)

    def get(self, key: str) -> EventRow | None:
        """Return one event by its key."""
        rows = self._db.query("SELECT * FROM events WHERE key = :key", {"key": key})
        return _event_row(rows[0]) if rows else None

    def find(self, id: str) -> list[EventRow]:
        """Return the events with the provider's id, of any account, oldest first."""
        rows = self._db.query(
            "SELECT * FROM events WHERE id = :id OR key = :id ORDER BY position", {"id": id}
        )
        return [_event_row(row) for row in rows]

    def received(self, limit: int) -> list[str]:
        """Return the keys of events that wait to be processed, oldest first."""
        rows = self._db.query(
            "SELECT key FROM events WHERE state = 'received' ORDER BY position LIMIT :limit",
            {"limit": limit},
        )
        return [row["key"] for row in rows]

    def next_received(self) -> list[EventRow]:
        """Return such events, as many as are best processed in one transaction."""
        rows = self._db.query(
            """SELECT events.*,
                   NOT EXISTS (SELECT 1 FROM payments WHERE event = events.key) AS fresh
               FROM events WHERE state = 'received' ORDER BY position LIMIT :limit""",
            {"limit": MOST_AT_ONCE},
        )
        return [_event_row(row) for row in rows]

    def newest(self, state: str = "", limit: int = 100) -> list[EventRow]:
        """Return the newest events, of one state if given, newest first."""
        where = "WHERE state = :state" if state else ""
        rows = self._db.query(
            f"SELECT * FROM events {where} ORDER BY position DESC LIMIT :limit",  # noqa: S608
            {"state": state, "limit": limit},
        )
        return [_event_row(row) for row in rows]

    def mark(self, key: str, state: EventState, reason: str = "") -> None:
        """Record what became of an event."""
        self.mark_all([(key, state, reason)])

    def mark_all(self, marks: Iterable[tuple[str, EventState, str]]) -> None:
        """Record what became of several events: the key of each, its state, and why."""
        alike: dict[tuple[EventState, str], list[str]] = defaultdict(list)
        for key, state, reason in marks:
            alike[state, reason].append(key)
        for (state, reason), keys in alike.items():
            query_for(
                self._db,
                """UPDATE events SET state = :state, reason = :reason WHERE key IN (:keys)
                   RETURNING key""",
                keys,
                {"state": state, "reason": reason},
            )

    def count(self) -> dict[str, int]:
        """Return how many events there are in each state."""
        rows = self._db.query("SELECT state, count(*) AS n FROM events GROUP BY state")
        return {row["state"]: row["n"] for row in rows}

    def of_keys(self, keys: list[str]) -> list[EventRow]:
        """Return the events that speak of a customer with one of these keys, oldest first."""
        sql = """SELECT events.* FROM events JOIN event_keys ON event_keys.event = events.key
                 WHERE event_keys.key = :value"""
        return self._each(sql, keys)

    def of_payments(self, refs: list[str]) -> list[EventRow]:
        """Return the events whose payments carry one of these references, oldest first."""
        sql = """SELECT DISTINCT events.* FROM events
                 JOIN payments ON payments.event = events.key WHERE payments.ref = :value"""
        return self._each(sql, refs)

    def _each(self, sql: str, values: list[str]) -> list[EventRow]:
        found: dict[str, EventRow] = {}
        for value in values:
            rows = self._db.query(sql, {"value": value})
            found |= {row["key"]: _event_row(row) for row in rows}
        return sorted(found.values(), key=lambda row: (row.event.occurred_at, row.key))


def _row_of(event: Event, received_at: datetime) -> Row:
    """Return what is kept: of an event that means nothing to us not the body, which has no use."""
    return {
        "key": key_of(event),
        "provider": event.provider,
        "id": event.id,
        "type": event.type,
        "account": event.account,
        "state": EventState.IGNORED if event.ignored else EventState.RECEIVED,
        "reason": event.ignored,
        "occurred_at": iso(event.occurred_at),
        "received_at": iso(received_at),
        "test": int(event.test),
        "fetched": int(event.fetched),
        "waits_for": event.waits_for,
        "ignored": event.ignored,
        "body": "" if event.ignored else event.body,
    }


def _event_row(row: Row) -> EventRow:
    return EventRow(
        key=row["key"],
        event=Event(
            id=row["id"],
            provider=row["provider"],
            type=row["type"],
            occurred_at=from_iso(row["occurred_at"]),
            body=row["body"],
            account=row["account"],
            test=bool(row["test"]),
            fetched=bool(row["fetched"]),
            waits_for=row["waits_for"],
            ignored=row["ignored"],
        ),
        state=EventState(row["state"]),
        reason=row["reason"],
        received_at=from_iso(row["received_at"]),
        fresh=bool(row.get("fresh")),
    )
