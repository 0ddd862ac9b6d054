"""Persons: find all that speaks of somebody, over every table, and take it out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime

from bridge.codec import dump, dumps, iso, load, loads
from bridge.model import Payment
from bridge.store.bonds import Bonds
from bridge.store.database import Database
from bridge.store.facts import Facts
from bridge.store.rows import Attempt, DeliveryRow, DeliveryState, Row

# The name of the fact that something was removed whose bytes may still be in the file.
UNSCRUBBED = "unscrubbed"
BODIES_AT_ONCE = 200
# SQLite takes no expression of more than about a thousand terms.
TRACES_AT_ONCE = 200


class Persons:
    """Remove persons from the tables that the other rooms keep."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._bonds = Bonds(database)
        self._facts = Facts(database)

    # ── what belongs together ──

    def events_of_keys(self, keys: Iterable[str]) -> set[str]:
        """Return the events that speak of a customer with one of these keys."""
        return self._found("SELECT event AS found FROM event_keys WHERE key = :value", keys)

    def events_of_orders(self, orders: Iterable[str]) -> set[str]:
        """Return the events that tell of one of these orders."""
        sql = """SELECT DISTINCT payments.event AS found FROM payments
                 JOIN refs ON refs.ref = payments.ref WHERE refs.grp = :value"""
        return self._found(sql, orders)

    def events_of_account(self, provider: str, account: str) -> set[str]:
        """Return the events of one account of a provider."""
        rows = self._db.query(
            "SELECT key FROM events WHERE provider = :provider AND account = :account",
            {"provider": provider, "account": account},
        )
        return {row["key"] for row in rows}

    def orders_of_events(self, events: Iterable[str]) -> set[str]:
        """Return the orders that these events tell of."""
        sql = """SELECT DISTINCT refs.grp AS found FROM payments
                 JOIN refs ON refs.ref = payments.ref WHERE payments.event = :value"""
        return self._found(sql, events)

    def keys_of_events(self, events: Iterable[str]) -> set[str]:
        """Return the keys of the customers that these events speak of."""
        return self._found("SELECT key AS found FROM event_keys WHERE event = :value", events)

    def keys_of_orders(self, orders: Iterable[str]) -> set[str]:
        """Return the keys of the customers of these orders."""
        sql = """SELECT conversion_keys.key AS found FROM refs
                 JOIN conversions ON conversions.ref = refs.ref
                 JOIN conversion_keys ON conversion_keys.conversion = conversions.id
                 WHERE refs.grp = :value"""
        return self._found(sql, orders)

    def conversions_of_keys(self, keys: Iterable[str]) -> set[str]:
        """Return the conversions of a customer with one of these keys."""
        sql = "SELECT conversion AS found FROM conversion_keys WHERE key = :value"
        return self._found(sql, keys)

    def used(self, keys: Iterable[str]) -> set[str]:
        """Return those of the keys that an event or a conversion still speaks of."""
        sql = """SELECT key AS found FROM event_keys WHERE key = :value
                 UNION SELECT key FROM conversion_keys WHERE key = :value"""
        return self._found(sql, keys)

    def bodies(self, traces: Collection[str] = ()) -> Iterator[tuple[str, str]]:
        """Go through the events that hold one of these texts: key and raw body of each.

        The texts are in lower case. Events that wait to be processed are left out; one may come
        several times.
        """
        for some in batched(sorted(traces), TRACES_AT_ONCE):
            yield from self._bodies(some)

    def _bodies(self, traces: Sequence[str]) -> Iterator[tuple[str, str]]:
        after, params = 0, {f"trace{at}": each for at, each in enumerate(traces)}
        find = self._db.dialect.find
        held = " OR ".join(f"{find}(lower(body), :{name}) > 0" for name in params)
        while True:
            # The names of the parameters are made above; every value is a parameter.
            rows = self._db.query(
                f"""SELECT position, key, body FROM events
                    WHERE position > :after AND body != '' AND state != 'received' AND ({held})
                    ORDER BY position LIMIT :limit""",  # noqa: S608
                {**params, "after": after, "limit": BODIES_AT_ONCE},
            )
            yield from ((row["key"], row["body"]) for row in rows)
            if len(rows) < BODIES_AT_ONCE:
                return
            after = rows[-1]["position"]

    # ── what is left of it ──

    def empty_event(self, key: str, reason: str) -> bool:
        """Drop the body of an event; return False where it has none any more.

        One that was never understood will never be: it stays as one that says nothing.
        """
        emptied = self._db.execute(
            """UPDATE events SET body = '', reason = :reason,
                   state = CASE WHEN state IN ('failed', 'waiting') THEN 'ignored' ELSE state END
               WHERE key = :key AND body != ''""",
            {"key": key, "reason": reason},
        )
        self._db.execute("DELETE FROM asks WHERE subject = :key", {"key": key})
        return emptied == 1

    def rewrite_payments(self, event: str, change: Callable[[Payment], Payment]) -> set[str]:
        """Change the payments of an event; return the sources of the clicks that came with them.

        One of no order only says who somebody is, and goes: even its id is that person's.
        """
        rows = self._db.query(
            "SELECT * FROM payments WHERE event = :event AND redacted = 0", {"event": event}
        )
        sources: set[str] = set()
        for row in rows:
            payment = load(Payment, row["body"])
            sources.add(source_of(payment))
            where = {"event": event, "position": row["position"]}
            if not row["ref"]:
                self._db.execute(
                    "DELETE FROM payments WHERE event = :event AND position = :position", where
                )
                continue
            self._db.execute(
                """UPDATE payments SET body = :body, redacted = 1
                   WHERE event = :event AND position = :position""",
                {**where, "body": dump(change(payment))},
            )
        self._db.execute("DELETE FROM event_keys WHERE event = :event", {"event": event})
        return sources

    def rewrite_attempt(self, attempt: Attempt) -> None:
        """Write down what may be kept of an attempt."""
        self._db.execute(
            """UPDATE attempts SET call = :call, reason = :reason, answer = :answer
               WHERE delivery = :delivery AND number = :number""",
            {
                "delivery": attempt.delivery,
                "number": attempt.number,
                "call": dump(attempt.call),
                "reason": attempt.reason,
                "answer": attempt.answer,
            },
        )

    def rewrite_delivery(self, row: DeliveryRow, now: datetime) -> None:
        """Write down what may be kept of a delivery.

        Whoever holds it loses it, unless it stays in state sending.
        """
        self._db.execute(
            """UPDATE deliveries SET state = :state, reason = :reason, told = :told,
                   in_flight = :in_flight, updated_at = :now,
                   next_attempt_at = CASE WHEN :state = 'due' AND state != 'due' THEN :now
                       ELSE next_attempt_at END,
                   lease = CASE WHEN :state = 'sending' THEN lease ELSE '' END,
                   leased_until = CASE WHEN :state = 'sending' THEN leased_until END
               WHERE id = :id""",
            {
                "id": row.id,
                "state": row.state,
                "reason": row.reason,
                "told": dump(row.told),
                "in_flight": dump(row.in_flight) if row.in_flight else "",
                "now": iso(now),
            },
        )

    def rewrite_asks(self, subject: str, change: Callable[[str], str]) -> None:
        """Change the reasons of what was asked about a subject."""
        rows = self._db.query("SELECT * FROM asks WHERE subject = :subject", {"subject": subject})
        for row in rows:
            self._db.execute(
                """UPDATE asks SET reason = :reason WHERE provider = :provider
                   AND account = :account AND subject = :subject""",
                {name: row[name] for name in ("provider", "account", "subject")}
                | {"reason": change(row["reason"])},
            )

    def forget(self, keys: Sequence[str], left: Sequence[str], sources: Collection[str]) -> int:
        """Forget keys of a customer; return how many clicks went with them.

        Clicks stay under those keys that are `left`, but none that came from these sources.
        """
        gone = sum(self._forget_clicks(key, set(keys), sources) for key in (*keys, *left))
        self._bonds.forget(keys)
        for key in keys:
            self._db.execute("DELETE FROM aliases WHERE key = :key", {"key": key})
            self._db.execute("DELETE FROM addresses WHERE key = :key", {"key": key})
        for key in left:  # a customer is named by one of the keys
            self._db.execute(
                "UPDATE aliases SET customer = :name WHERE key = :key",
                {"name": min(left), "key": key},
            )
        return gone

    def mark_unscrubbed(self) -> None:
        """Remember that what was removed is to be scrubbed from the disk."""
        self._facts.put(UNSCRUBBED, secrets.token_hex(8))

    # ──

    def _forget_clicks(self, key: str, gone: set[str], sources: Collection[str]) -> int:
        rows = self._db.query(
            """SELECT clicks.* FROM click_keys JOIN clicks ON clicks.id = click_keys.click
               WHERE click_keys.key = :key""",
            {"key": key},
        )
        return sum(self._forget_click(row, gone, sources) for row in rows)

    def _forget_click(self, row: Row, gone: set[str], sources: Collection[str]) -> bool:
        keys = loads(row["keys"])
        kept = [each for each in keys if each not in gone]
        removed = keys if not kept or row["source"] in sources else [*set(keys) - set(kept)]
        for each in removed:
            self._db.execute(
                "DELETE FROM click_keys WHERE key = :key AND click = :id",
                {"key": each, "id": row["id"]},
            )
        if removed == keys:
            self._db.execute("DELETE FROM clicks WHERE id = :id", {"id": row["id"]})
            return True
        if kept != keys:
            self._db.execute(
                "UPDATE clicks SET key = :key, keys = :keys WHERE id = :id",
                {"id": row["id"], "key": kept[0], "keys": dumps(kept)},
            )
        return False

    def _found(self, sql: str, values: Iterable[str]) -> set[str]:
        return {
            row["found"]
            for value in sorted(values)
            for row in self._db.query(sql, {"value": value})
        }


def batched(things: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Part things into runs of at most so many."""
    yield from (things[at : at + size] for at in range(0, len(things), size))


def source_of(payment: Payment) -> str:
    """Return what a click that came with a payment names as its source."""
    return f"{payment.provider}:{payment.id}"


def is_held(row: DeliveryRow) -> bool:
    """Tell whether a worker may be sending a call for a delivery at this moment."""
    return row.state is DeliveryState.SENDING and row.in_flight is not None
