"""Deliveries: the outbox. One row per conversion and vendor, and every attempt ever made.

A worker takes a lease on a due row, so that one call at most is in flight for it; a row that
changes meanwhile is marked `again` and comes due once more. The call about to be sent is on disk
before it is sent: a lease that ran out with a call in flight has an unknown outcome.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache

from bridge.attribution import CLOCK_SKEW, strongest_first
from bridge.codec import dump, from_iso, iso, load
from bridge.model import Call, Conversion, Status, Told
from bridge.store.database import Database, query_for
from bridge.store.rows import (
    Attempt,
    DeliveryRow,
    DeliveryState,
    Row,
    attempt_row,
    delivery_row,
)


@cache
def _making_due(count: int) -> str:
    """Return the statement that makes deliveries of a conversion to so many vendors due."""
    values = ", ".join(
        f"(:id{at}, :conversion, :vendor{at}, 'due', :now, :now)" for at in range(count)
    )
    return f"""INSERT INTO deliveries
                   (id, conversion, vendor, state, next_attempt_at, updated_at)
               VALUES {values}
               ON CONFLICT (id) DO UPDATE SET
                   again = CASE WHEN deliveries.state IN ('sending', 'unknown') THEN 1
                       ELSE 0 END,
                   next_attempt_at = CASE
                       WHEN deliveries.state IN ('due', 'sending', 'unknown')
                       THEN deliveries.next_attempt_at ELSE excluded.updated_at END,
                   failures = CASE WHEN deliveries.state = 'dead' THEN 0
                       ELSE deliveries.failures END,
                   failing_since = CASE WHEN deliveries.state = 'dead' THEN NULL
                       ELSE deliveries.failing_since END,
                   state = CASE WHEN deliveries.state IN ('sending', 'unknown')
                       THEN deliveries.state ELSE 'due' END,
                   updated_at = excluded.updated_at"""  # noqa: S608


class Deliveries:
    """Keep what each vendor has been told, and what it is still to be told."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def make_due(self, conversion: str, vendors: Iterable[str], now: datetime) -> None:
        """Mark a conversion's deliveries due: it has changed.

        One that is being sent is looked at again afterwards; one whose outcome is unknown stays so
        until a person resolves it; one that waits for its retry keeps waiting.
        """
        names = list(dict.fromkeys(vendors))
        if names:
            params = {"conversion": conversion, "now": iso(now)}
            for number, vendor in enumerate(names):
                params |= {f"id{number}": f"{conversion}@{vendor}", f"vendor{number}": vendor}
            self._db.execute(_making_due(len(names)), params)

    def lease(
        self, vendor: str, now: datetime, until: datetime, token: str, limit: int
    ) -> list[DeliveryRow]:
        """Take deliveries of a vendor whose lease ran out, and due ones, oldest first."""
        soonest = self.next_at([vendor])
        if soonest is None or soonest > now:
            return []  # only a write has to wait for other writers
        times, passing = {"now": iso(now), "until": iso(until)}, self._db.dialect.skip_locked
        rows = self._db.query(
            f"""UPDATE deliveries SET state = 'sending', lease = :token, leased_until = :until
               WHERE id IN (
                   WITH lost AS MATERIALIZED (
                       SELECT id FROM deliveries
                       WHERE vendor = :vendor AND state = 'sending' AND leased_until <= :now
                       ORDER BY leased_until LIMIT :limit {passing}),
                   due AS MATERIALIZED (
                       SELECT id FROM deliveries
                       WHERE vendor = :vendor AND state = 'due' AND next_attempt_at <= :now
                       ORDER BY next_attempt_at LIMIT :limit {passing})
                   SELECT id FROM lost UNION ALL SELECT id FROM due LIMIT :limit)
               RETURNING *""",  # noqa: S608
            {"vendor": vendor, "token": token, "limit": limit, **times},
        )
        rows.sort(key=lambda row: (row["next_attempt_at"] or "", row["id"]))
        return [each for row in rows if (each := self._readable(row, now))]

    def _readable(self, row: Row, now: datetime) -> DeliveryRow | None:
        """Return a leased delivery; one that this version cannot read is set aside, and shown."""
        try:
            return delivery_row(row)
        except ValueError:
            reason = "this version of bridge cannot read it: upgrade, then `bridge retry`"
            self._db.execute(
                """UPDATE deliveries SET state = 'dead', reason = :reason, updated_at = :now
                   WHERE id = :id""",
                {"id": row["id"], "reason": reason, "now": iso(now)},
            )
            return None

    def start(self, row: DeliveryRow, call: Call, until: datetime) -> bool:
        """Record the call about to be sent; return False where the lease was lost."""
        return self._held(
            row,
            "in_flight = :in_flight, leased_until = :until",
            {"in_flight": dump(call), "until": iso(until)},
        )

    def record(self, attempt: Attempt) -> None:
        """Add an attempt to the history; nothing where its delivery was merged into another.

        In a transaction of its vendor's: who numbers another one waits.
        """
        self._db.execute(
            """INSERT INTO attempts (delivery, number, at, call, outcome, reason, status,
                   answer, took_ms)
               SELECT id, (SELECT coalesce(max(number), 0) + 1 FROM attempts
                   WHERE delivery = :delivery), :at, :call, :outcome, :reason,
                   CAST(:status AS INTEGER), :answer, :took_ms
               FROM deliveries WHERE id = :delivery""",
            {
                "delivery": attempt.delivery,
                "at": iso(attempt.at),
                "call": dump(attempt.call),
                "outcome": attempt.outcome,
                "reason": attempt.reason,
                "status": attempt.status,
                "answer": attempt.answer,
                "took_ms": attempt.took_ms,
            },
        )

    def tell(self, row: DeliveryRow, told: Told, now: datetime, *, asked: bool = False) -> bool:
        """Record what the vendor has accepted, while keeping the lease.

        Where it was only `asked`, the attempts to tell it something go on being counted.
        """
        return self._held(
            row,
            """told = :told, in_flight = '', attempts = attempts + 1, updated_at = :now,
               failures = CASE WHEN :asked = 1 THEN failures ELSE 0 END,
               failing_since = CASE WHEN :asked = 1 THEN failing_since END""",
            {"told": dump(told), "now": iso(now), "asked": int(asked)},
        )

    def release(
        self,
        row: DeliveryRow,
        state: DeliveryState,
        now: datetime,
        *,
        reason: str = "",
        told: Told | None = None,
        next_at: datetime | None = None,
        failed: bool = False,
        accepted: bool = False,
        keep_call: bool = False,
    ) -> bool:
        """Give a delivery back in a new state; due at once where it changed meanwhile.

        `failed` counts an attempt that did not succeed, `accepted` one that did; `keep_call` leaves
        the call in flight on record, for a person to resolve. Returns False where the lease was
        lost.
        """
        return self._held(
            row,
            """state = CASE WHEN again = 1 AND :state != 'unknown' THEN 'due' ELSE :state END,
               next_attempt_at = CASE WHEN again = 1 AND :state != 'unknown'
                   AND CAST(:next_at AS TEXT) IS NULL THEN :now ELSE :next_at END,
               again = CASE WHEN :state = 'unknown' THEN again ELSE 0 END,
               reason = :reason, told = coalesce(CAST(:told AS TEXT), told),
               in_flight = CASE WHEN :keep_call = 1 THEN in_flight ELSE '' END,
               attempts = attempts + :tried,
               failures = CASE WHEN :failed = 1 THEN failures + 1 ELSE 0 END,
               failing_since = CASE WHEN :failed = 1 THEN coalesce(failing_since, :now) END,
               lease = '', leased_until = NULL, updated_at = :now""",
            {
                "state": state,
                "now": iso(now),
                "reason": reason,
                "told": None if told is None else dump(told),
                "next_at": iso(next_at) if next_at else None,
                "tried": int(failed or accepted),
                "failed": int(failed),
                "keep_call": int(keep_call),
            },
        )

    def defer(self, row: DeliveryRow, now: datetime) -> bool:
        """Give a delivery back just as it was, in its place in the queue: nobody is called now."""
        return self._held(
            row,
            """state = 'due', next_attempt_at = coalesce(next_attempt_at, :now), again = 0,
               lease = '', leased_until = NULL, updated_at = :now""",
            {"now": iso(now)},
        )

    def renew(self, rows: Iterable[DeliveryRow], until: datetime) -> None:
        """Keep the leases of deliveries that are still being worked on."""
        for row in rows:
            self._held(row, "leased_until = :until", {"until": iso(until)})

    def revive(self, id: str, now: datetime) -> bool:
        """Make a delivery due at once, retries counted afresh.

        A call in doubt stays so, and is cleared up first. Returns False where it is being sent, or
        waits for a person.
        """
        return bool(
            self._db.execute(
                """UPDATE deliveries SET state = 'due', next_attempt_at = :now, failures = 0,
                       failing_since = NULL, reason = '', again = 0, updated_at = :now
                   WHERE id = :id AND state NOT IN ('sending', 'unknown')""",
                {"id": id, "now": iso(now)},
            )
        )

    def resolve(self, row: DeliveryRow, now: datetime, told: Told | None) -> bool:
        """End the doubt about a delivery as a person says: what was told, or that nothing was.

        Returns False where it is no longer what that person saw.
        """
        return bool(
            self._db.execute(
                """UPDATE deliveries SET state = 'due', next_attempt_at = :now, in_flight = '',
                       told = coalesce(CAST(:told AS TEXT), told), failures = 0,
                       failing_since = NULL, reason = '', again = 0, updated_at = :now
                   WHERE id = :id AND state = 'unknown' AND updated_at = :seen_at""",
                {
                    "id": row.id,
                    "now": iso(now),
                    "told": None if told is None else dump(told),
                    "seen_at": iso(row.updated_at),
                },
            )
        )

    def resume(self, row: DeliveryRow, now: datetime) -> None:
        """Make an unknown delivery due: to repeat its call is right again, and clears it up."""
        self._force(row.id, DeliveryState.DUE, row.told, row.in_flight, row.reason, now)

    def hand_over(self, row: DeliveryRow, heir: str, told: Told, now: datetime) -> None:
        """Hand a delivery to one that it is part of: history, what was told, an unknown outcome.

        Whoever holds one that changes loses it: what was planned for it does not hold any more.
        """
        self._move_attempts(row, heir)
        self._force(row.id, DeliveryState.SKIPPED, Told(), None, f"passed on to {heir}", now)
        if row.in_flight is not None:
            waits = row.state is DeliveryState.UNKNOWN  # for a person; else it clears up by itself
            state = DeliveryState.UNKNOWN if waits else DeliveryState.DUE
            self._force(heir, state, told, row.in_flight, row.reason, now)
        elif not told.nothing:
            reason = f"taken over from {row.id}"
            self._force(heir, DeliveryState.DUE, told, None, reason, now)

    def _move_attempts(self, row: DeliveryRow, heir: str) -> None:
        self._db.execute(
            """UPDATE attempts SET delivery = :heir, number = number
                   + (SELECT coalesce(max(number), 0) FROM attempts WHERE delivery = :heir)
               WHERE delivery = :id""",
            {"id": row.id, "heir": heir},
        )
        for id, moved in ((heir, row.attempts), (row.id, -row.attempts)):
            self._db.execute(
                "UPDATE deliveries SET attempts = attempts + :moved WHERE id = :id",
                {"id": id, "moved": moved},
            )

    def _force(
        self,
        id: str,
        state: DeliveryState,
        told: Told,
        in_flight: Call | None,
        reason: str,
        now: datetime,
    ) -> None:
        """Put a delivery into a state, whoever holds it."""
        self._db.execute(
            """UPDATE deliveries SET told = :told, state = :state, reason = :reason,
                   in_flight = :in_flight, next_attempt_at = :now, lease = '',
                   leased_until = NULL, again = 0, failures = 0, failing_since = NULL,
                   updated_at = :now
               WHERE id = :id""",
            {
                "id": id,
                "state": state,
                "told": dump(told),
                "in_flight": dump(in_flight) if in_flight else "",
                "reason": reason,
                "now": iso(now),
            },
        )

    def get(self, id: str) -> DeliveryRow | None:
        """Return one delivery by its id."""
        rows = self._db.query("SELECT * FROM deliveries WHERE id = :id", {"id": id})
        return delivery_row(rows[0]) if rows else None

    def of_conversion(self, conversion: str) -> list[DeliveryRow]:
        """Return the deliveries of one conversion, by vendor."""
        rows = self._db.query(
            "SELECT * FROM deliveries WHERE conversion = :id ORDER BY vendor", {"id": conversion}
        )
        return [delivery_row(row) for row in rows]

    def leads_told(self, sale: Conversion, keys: Collection[str]) -> dict[str, str]:
        """Return by what id each vendor knows a customer from a lead that came before a sale.

        The newest lead counts, of those whose customer has these keys.
        """
        rows = query_for(
            self._db,
            """SELECT DISTINCT deliveries.vendor, deliveries.told, conversions.body,
                   conversions.occurred_at
               FROM conversion_keys
               JOIN conversions ON conversions.id = conversion_keys.conversion
               JOIN deliveries ON deliveries.conversion = conversions.id
               WHERE conversion_keys.key IN (:keys) AND conversions.kind = 'lead'
                   AND conversions.test = :test AND conversions.occurred_at <= :sold_at""",
            keys,
            {"test": int(sale.test), "sold_at": iso(sale.occurred_at + CLOCK_SKEW)},
        )
        found: dict[str, str] = {}
        for row in sorted(rows, key=lambda row: (row["occurred_at"], row["vendor"])):
            told, lead = load(Told, row["told"]), load(Conversion, row["body"])
            theirs = strongest_first(lead.keys)[:1]
            if told.status is Status.APPROVED and told.known_as and not set(theirs) - set(keys):
                found[row["vendor"]] = told.known_as
        return found

    def newest(
        self, state: str = "", limit: int = 100, *, visits: bool = True
    ) -> list[DeliveryRow]:
        """Return the deliveries that changed last, of one state if given, with or without visits.

        A visit is known by its name.
        """
        where = "AND state = :state" if state else ""
        where += "" if visits else " AND conversion NOT LIKE 'bridge:pageview%'"
        rows = self._db.query(
            f"""SELECT * FROM deliveries WHERE 1 = 1 {where}
                ORDER BY updated_at DESC, id DESC LIMIT :limit""",  # noqa: S608
            {"state": state, "limit": limit},
        )
        return [delivery_row(row) for row in rows]

    def attempts(self, delivery: str) -> list[Attempt]:
        """Return every attempt at a delivery, oldest first."""
        rows = self._db.query(
            "SELECT * FROM attempts WHERE delivery = :id ORDER BY at, number", {"id": delivery}
        )
        return [attempt_row(row) for row in rows]

    def next_at(self, vendors: Iterable[str]) -> datetime | None:
        """Return when the next delivery of these vendors comes due, or its lease runs out."""
        soonest: list[str] = []
        for vendor in vendors:
            rows = self._db.query(
                """SELECT min(at) AS at FROM (
                       SELECT min(next_attempt_at) AS at FROM deliveries
                           WHERE vendor = :vendor AND state = 'due'
                       UNION ALL SELECT min(leased_until) FROM deliveries
                           WHERE vendor = :vendor AND state = 'sending') AS soonest""",
                {"vendor": vendor},
            )
            soonest += [row["at"] for row in rows if row["at"]]
        return from_iso(min(soonest)) if soonest else None

    def count(self) -> dict[str, dict[str, int]]:
        """Return how many deliveries each vendor has in each state."""
        rows = self._db.query(
            "SELECT vendor, state, count(*) AS n FROM deliveries GROUP BY vendor, state"
        )
        counts: dict[str, dict[str, int]] = {}
        for row in rows:
            counts.setdefault(row["vendor"], {})[row["state"]] = row["n"]
        return counts

    def _held(self, row: DeliveryRow, change: str, params: dict[str, object]) -> bool:
        """Change a delivery if it is still held by whoever leased this row."""
        # The change is one of this class's own texts; every value is a parameter.
        sql = f"""UPDATE deliveries SET {change}
                  WHERE id = :id AND state = 'sending' AND lease = :lease"""  # noqa: S608
        return self._db.execute(sql, params | {"id": row.id, "lease": row.lease}) == 1
