"""Gates: whether each vendor may be called now, shared between all workers."""

from __future__ import annotations

from datetime import datetime

from bridge.codec import from_iso, iso
from bridge.gate import Gate
from bridge.store.database import Database
from bridge.store.rows import Row


class Gates:
    """Keep how each vendor's last calls went."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self, vendor: str) -> Gate:
        """Return the gate of a vendor; one that was never closed is wide open."""
        rows = self._db.query("SELECT * FROM gates WHERE vendor = :vendor", {"vendor": vendor})
        return _gate(rows[0]) if rows else Gate()

    def put(self, vendor: str, gate: Gate) -> None:
        """Keep the gate of a vendor; best in the transaction in which it was read."""
        self._db.execute(
            """INSERT INTO gates
                   (vendor, recent, pauses, paused_until, trying, reason, paced_until)
               VALUES (:vendor, :recent, :pauses, :paused_until, :trying, :reason, :paced_until)
               ON CONFLICT (vendor) DO UPDATE SET
                   recent = excluded.recent, pauses = excluded.pauses,
                   paused_until = excluded.paused_until, trying = excluded.trying,
                   reason = excluded.reason, paced_until = excluded.paced_until""",
            {
                "vendor": vendor,
                "recent": gate.recent,
                "pauses": gate.pauses,
                "paused_until": _text(gate.paused_until),
                "trying": int(gate.trying),
                "reason": gate.reason,
                "paced_until": _text(gate.paced_until),
            },
        )

    def hurry(self, vendor: str, now: datetime) -> None:
        """End the pause of a vendor: one call may go and try."""
        gate = self.get(vendor)
        if (hurried := gate.hurried(now)) != gate:
            self.put(vendor, hurried)


def _gate(row: Row) -> Gate:
    return Gate(
        recent=row["recent"],
        pauses=row["pauses"],
        paused_until=_time(row["paused_until"]),
        trying=bool(row["trying"]),
        reason=row["reason"],
        paced_until=_time(row["paced_until"]),
    )


def _text(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _time(text: str | None) -> datetime | None:
    return from_iso(text) if text else None
