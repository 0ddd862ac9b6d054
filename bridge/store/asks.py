"""Asks: questions to a provider about what its webhooks left out, soon at first and then rarer."""

from __future__ import annotations

from datetime import datetime

from bridge.codec import from_iso, iso
from bridge.store.database import Database
from bridge.store.rows import Ask, AskState, Row


class Asks:
    """Keep what is to be asked, of whom, and when next."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, provider: str, account: str, subject: str, now: datetime) -> None:
        """Ask about a subject, unless it is being asked; one given up is asked once more."""
        self._db.execute(
            """INSERT INTO asks (provider, account, subject, state, asked, first_at, next_at,
                   reason)
               VALUES (:provider, :account, :subject, 'due', 0, :now, :now, '')
               ON CONFLICT (provider, account, subject) DO UPDATE
                   SET state = 'due', next_at = :now WHERE asks.state = 'given_up'""",
            {"provider": provider, "account": account, "subject": subject, "now": iso(now)},
        )

    def due(self, now: datetime, limit: int) -> list[Ask]:
        """Return the questions that are due, oldest first."""
        rows = self._db.query(
            """SELECT * FROM asks WHERE state = 'due' AND next_at <= :now
               ORDER BY next_at LIMIT :limit""",
            {"now": iso(now), "limit": limit},
        )
        return [_ask(row) for row in rows]

    def next_at(self) -> datetime | None:
        """Return when the next question comes due."""
        rows = self._db.query("SELECT min(next_at) AS at FROM asks WHERE state = 'due'")
        return from_iso(rows[0]["at"]) if rows[0]["at"] else None

    def record(self, ask: Ask, state: AskState, next_at: datetime, reason: str) -> None:
        """Record that a question was asked, and what came of it."""
        self._db.execute(
            """UPDATE asks SET state = :state, asked = asked + 1, next_at = :next_at,
                   reason = :reason
               WHERE provider = :provider AND account = :account AND subject = :subject""",
            {
                "provider": ask.provider,
                "account": ask.account,
                "subject": ask.subject,
                "state": state,
                "next_at": iso(next_at),
                "reason": reason,
            },
        )

    def troubled(self) -> list[Ask]:
        """Return the questions that got no answer when they were asked last, newest first."""
        rows = self._db.query(
            """SELECT * FROM asks WHERE state != 'answered' AND reason != ''
               ORDER BY next_at DESC LIMIT 100"""
        )
        return [_ask(row) for row in rows]

    def about(self, subject: str) -> list[Ask]:
        """Return what was asked about a subject."""
        rows = self._db.query("SELECT * FROM asks WHERE subject = :subject", {"subject": subject})
        return [_ask(row) for row in rows]


def _ask(row: Row) -> Ask:
    return Ask(
        provider=row["provider"],
        subject=row["subject"],
        account=row["account"],
        state=AskState(row["state"]),
        asked=row["asked"],
        next_at=from_iso(row["next_at"]),
        first_at=from_iso(row["first_at"]),
        reason=row["reason"],
    )
