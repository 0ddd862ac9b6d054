"""Orders: the references that belong together, their payments, and the conversions they amount to.

References are kept as disjoint sets, so that joining two orders changes rows of one table only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from bridge import leads
from bridge.attribution import strongest_first
from bridge.codec import dump, from_iso, iso, load
from bridge.model import Conversion, Payment
from bridge.store.database import Database, insert_all, query_for
from bridge.store.rows import Row
from bridge.store.sets import ALIASES, REFS, find, find_all, join

# A visit is one event of ours: that, its payment, its order and its conversion have one name.
_FORGET_VISIT = (
    "DELETE FROM asks WHERE subject = :name",
    "DELETE FROM payments WHERE event = :name",
    "DELETE FROM refs WHERE ref = :name",
    "DELETE FROM event_keys WHERE event = :name",
    "DELETE FROM events WHERE key = :name",
)


def _subscription(conversion: Conversion) -> Row:
    return {
        "provider": conversion.provider,
        "subscription": conversion.subscription,
        "test": int(conversion.test),
    }


def ref_of(provider: str, reference: str) -> str:
    """Return what names a provider's reference over all providers."""
    return f"{provider}:{reference}"


class Orders:
    """Keep payments and conversions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, event: str, payments: Sequence[Payment], *, fresh: bool = False) -> set[str]:
        """Store what an event tells of, instead of what it told before; return the orders of it.

        Of a `fresh` one nothing was stored before.
        """
        winners = set()
        if not fresh:
            self._forget_told(event, len(payments))
        keys = sorted({key for payment in payments for key in payment.keys})
        named = [(event, key) for key in keys]
        insert_all(self._db, "INSERT INTO event_keys (event, key) VALUES :pairs", named)
        for position, payment in enumerate(payments):
            refs = sorted(ref_of(payment.provider, each) for each in payment.references)
            if refs:
                winners.add(join(self._db, REFS, refs)[0])
            self._db.execute(
                """INSERT INTO payments (event, position, id, ref, body, redacted)
                   VALUES (:event, :position, :id, :ref, :body, :redacted)
                   ON CONFLICT (event, position) DO UPDATE
                   SET id = excluded.id, ref = excluded.ref, body = excluded.body,
                       redacted = excluded.redacted""",
                {
                    "event": event,
                    "position": position,
                    "id": payment.id,
                    "ref": refs[0] if refs else "",
                    "body": dump(payment),
                    "redacted": int(payment.redacted),
                },
            )
        # One that was joined later may have taken the others in.
        return winners if len(winners) < 2 else set(find_all(self._db, REFS, winners).values())

    def _forget_told(self, event: str, count: int) -> None:
        """Forget what an event told before of so many payments, but for what is replaced."""
        self._db.execute(
            "DELETE FROM payments WHERE event = :event AND position >= :count",
            {"event": event, "count": count},
        )
        self._db.execute("DELETE FROM event_keys WHERE event = :event", {"event": event})

    def order_of(self, ref: str) -> str:
        """Return the order that a reference belongs to, or "" for an unknown one."""
        return find(self._db, REFS, ref)

    def refs(self, order: str) -> list[str]:
        """Return all references of an order."""
        rows = self._db.query("SELECT ref FROM refs WHERE grp = :grp ORDER BY ref", {"grp": order})
        return [row["ref"] for row in rows]

    def payments(self, order: str) -> list[Payment]:
        """Return all payments of an order."""
        rows = self._db.query(
            """SELECT payments.body FROM payments JOIN refs ON refs.ref = payments.ref
               WHERE refs.grp = :grp ORDER BY payments.event, payments.position""",
            {"grp": order},
        )
        return [load(Payment, row["body"]) for row in rows]

    def join_leads(self, keys: Iterable[str], new: Payment | None = None) -> None:
        """Make one order of the leads of each customer that has some of these keys.

        Whose a lead is, is told by the strongest of its keys: others may share an address with it.
        A `new` one is of no conversion yet.
        """
        found: dict[str, set[str]] = defaultdict(set)
        rows = query_for(
            self._db,
            """SELECT DISTINCT conversions.ref, conversions.body FROM conversion_keys
               JOIN conversions ON conversions.id = conversion_keys.conversion
               WHERE conversion_keys.key IN (:keys) AND conversions.kind = 'lead'""",
            set(keys),
        )
        leads = {row["ref"]: load(Conversion, row["body"]).keys for row in rows}
        if new:
            leads |= {ref_of(new.provider, each): new.keys for each in new.references}
        for ref, of in leads.items():
            found[find(self._db, ALIASES, strongest_first(of)[0])].add(ref)
        for refs in found.values():
            if len(refs) > 1:
                join(self._db, REFS, sorted(refs))

    def is_redacted(self, order: str) -> bool:
        """Tell whether the customer of an order was removed."""
        rows = self._db.query(
            """SELECT 1 FROM refs JOIN payments ON payments.ref = refs.ref
               WHERE refs.grp = :grp AND payments.redacted = 1 LIMIT 1""",
            {"grp": order},
        )
        return bool(rows)

    def any_redacted(self, refs: Collection[str]) -> bool:
        """Tell whether the customer of an order with one of these references was removed."""
        sql = """SELECT 1 FROM refs JOIN refs AS others ON others.grp = refs.grp
                 JOIN payments ON payments.ref = others.ref
                 WHERE refs.ref IN (:keys) AND payments.redacted = 1 LIMIT 1"""
        return bool(query_for(self._db, sql, refs))

    def is_of_redacted(self, payment: Payment) -> bool:
        """Tell whether a payment belongs to an order whose customer was removed."""
        refs = (ref_of(payment.provider, each) for each in sorted(payment.references))
        return any(self.is_redacted(self.order_of(each)) for each in refs)

    def of_event(self, event: str) -> list[Payment]:
        """Return the payments that one event told of."""
        rows = self._db.query(
            "SELECT body FROM payments WHERE event = :event ORDER BY position", {"event": event}
        )
        return [load(Payment, row["body"]) for row in rows]

    def of_keys(self, keys: Iterable[str]) -> set[str]:
        """Return the orders and sign-ups of the customers with these keys."""
        rows = query_for(
            self._db,
            """SELECT DISTINCT refs.grp FROM conversion_keys
               JOIN conversions ON conversions.id = conversion_keys.conversion
               JOIN refs ON refs.ref = conversions.ref
               WHERE conversion_keys.key IN (:keys) AND conversions.kind != 'pageview'""",
            set(keys),
        )
        return {row["grp"] for row in rows}

    def conversions_of(self, order: str) -> list[Conversion]:
        """Return the conversions that an order amounts to as yet."""
        rows = self._db.query(
            """SELECT conversions.body FROM conversions JOIN refs ON refs.ref = conversions.ref
               WHERE refs.grp = :grp ORDER BY conversions.id""",
            {"grp": order},
        )
        return [load(Conversion, row["body"]) for row in rows]

    def subscription(self, provider: str, subscription: str) -> list[Conversion]:
        """Return the conversions of one subscription."""
        rows = self._db.query(
            """SELECT body FROM conversions
               WHERE provider = :provider AND subscription = :subscription""",
            {"provider": provider, "subscription": subscription},
        )
        return [load(Conversion, row["body"]) for row in rows]

    def first_paid(self, like: Conversion, count: int) -> list[Conversion]:
        """Return the first paid conversions of the subscription of one like it, oldest first.

        Live ones for a live one, and tests for a test.
        """
        rows = self._db.query(
            """SELECT body FROM conversions
               WHERE provider = :provider AND subscription = :subscription AND paid = 1
                   AND test = :test
               ORDER BY occurred_at, id LIMIT :count""",
            {**_subscription(like), "count": count},
        )
        return [load(Conversion, row["body"]) for row in rows]

    def began_at(self, conversion: Conversion) -> datetime:
        """Return when a customer's relation began: at the subscription's first order, or now."""
        if not conversion.subscription:
            return conversion.occurred_at
        rows = self._db.query(
            """SELECT occurred_at FROM conversions
               WHERE provider = :provider AND subscription = :subscription AND test = :test
               ORDER BY occurred_at, id LIMIT 1""",
            _subscription(conversion),
        )
        first = [from_iso(row["occurred_at"]) for row in rows]
        return min([conversion.occurred_at, *first])

    def heard_at(self, order: str, sale: str) -> datetime | None:
        """Return when a webhook first told of a sale; None where it was only fetched."""
        rows = self._db.query(
            """SELECT min(events.received_at) AS at FROM refs
               JOIN payments ON payments.ref = refs.ref
               JOIN events ON events.key = payments.event
               WHERE refs.grp = :grp AND payments.id = :sale AND events.fetched = 0""",
            {"grp": order, "sale": sale},
        )
        return from_iso(rows[0]["at"]) if rows[0]["at"] else None

    def put(self, conversion: Conversion, now: datetime) -> bool:
        """Store a conversion as it stands now; return False where nothing about it is new."""
        return self.replace(self.conversion(conversion.id), conversion, now)

    def replace(self, stored: Conversion | None, conversion: Conversion, now: datetime) -> bool:
        """Do so where it is known how it is stored: as read in this transaction, or not at all."""
        body = dump(conversion)
        if stored and dump(stored) == body:
            return False
        self._db.execute(
            """INSERT INTO conversions (id, ref, kind, customer, provider, subscription, paid,
                   test, status, occurred_at, updated_at, body)
               VALUES (:id, :ref, :kind, :customer, :provider, :subscription, :paid,
                   :test, :status, :occurred_at, :updated_at, :body)
               ON CONFLICT (id) DO UPDATE SET customer = excluded.customer,
                   subscription = excluded.subscription, paid = excluded.paid,
                   test = excluded.test, status = excluded.status,
                   occurred_at = excluded.occurred_at, updated_at = excluded.updated_at,
                   body = excluded.body""",
            {
                "id": conversion.id,
                "ref": ref_of(conversion.provider, conversion.order),
                "kind": conversion.kind,
                "customer": conversion.customer,
                "provider": conversion.provider,
                "subscription": conversion.subscription,
                "paid": int(conversion.paid.minor > 0),
                "test": int(conversion.test),
                "status": conversion.status,
                "occurred_at": iso(conversion.occurred_at),
                "updated_at": iso(now),
                "body": body,
            },
        )
        if not stored or stored.keys != conversion.keys:
            self._put_keys(conversion, new=not stored)
        return True

    def _put_keys(self, conversion: Conversion, *, new: bool) -> None:
        if not new:
            self._db.execute(
                "DELETE FROM conversion_keys WHERE conversion = :id", {"id": conversion.id}
            )
        named = [(conversion.id, key) for key in conversion.keys]
        insert_all(self._db, "INSERT INTO conversion_keys (conversion, key) VALUES :pairs", named)

    def remove(self, conversion: str) -> None:
        """Forget a conversion that is part of another, and its deliveries."""
        ids = {"id": conversion}
        self._db.execute(
            """DELETE FROM attempts WHERE delivery IN
               (SELECT id FROM deliveries WHERE conversion = :id)""",
            ids,
        )
        self._db.execute("DELETE FROM deliveries WHERE conversion = :id", ids)
        self._db.execute("DELETE FROM conversion_keys WHERE conversion = :id", ids)
        self._db.execute("DELETE FROM conversions WHERE id = :id", ids)

    def drop_visits(self, before: datetime, most: int) -> int:
        """Drop visits from before a time, and their events, unless they are still to be told.

        At most so many, oldest first; returns how many.
        """
        rows = self._db.query(
            """SELECT id FROM conversions
               WHERE provider = :ours AND subscription = '' AND kind = 'pageview'
                   AND occurred_at < :before
                   AND NOT EXISTS (
                       SELECT 1 FROM deliveries WHERE deliveries.conversion = conversions.id
                           AND deliveries.state IN ('due', 'sending', 'unknown'))
               ORDER BY occurred_at, id LIMIT :most""",
            {"ours": leads.PROVIDER, "before": iso(before), "most": most},
        )
        for row in rows:
            self.remove(row["id"])
            for statement in _FORGET_VISIT:
                self._db.execute(statement, {"name": row["id"]})
        return len(rows)

    def conversion(self, id: str) -> Conversion | None:
        """Return one conversion by its id."""
        rows = self._db.query("SELECT body FROM conversions WHERE id = :id", {"id": id})
        return load(Conversion, rows[0]["body"]) if rows else None

    def is_lead(self, id: str) -> bool:
        """Tell whether a conversion is a lead, for which sales may wait."""
        sql = "SELECT 1 FROM conversions WHERE id = :id AND kind = 'lead'"
        return bool(self._db.query(sql, {"id": id}))

    def newest(
        self, status: str = "", limit: int = 100, *, visits: bool = True
    ) -> list[Conversion]:
        """Return the newest conversions, of one status if given, with or without visits."""
        where = "AND status = :status" if status else ""
        where += "" if visits else " AND kind != 'pageview'"
        rows = self._db.query(
            f"""SELECT body FROM conversions WHERE 1 = 1 {where}
                ORDER BY occurred_at DESC, id DESC LIMIT :limit""",  # noqa: S608
            {"status": status, "limit": limit},
        )
        return [load(Conversion, row["body"]) for row in rows]

    def find(self, names: Iterable[str], id: str) -> list[str]:
        """Return the orders with one of these references, or this payment's or customer's id."""
        found: list[Row] = []
        for name in names:
            found += self._db.query("SELECT grp FROM refs WHERE ref = :name", {"name": name})
        found += self._db.query(
            """SELECT refs.grp FROM conversions JOIN refs ON refs.ref = conversions.ref
               WHERE conversions.customer = :id ORDER BY conversions.occurred_at""",
            {"id": id},
        )
        found += self._db.query(
            """SELECT DISTINCT refs.grp FROM payments JOIN refs ON refs.ref = payments.ref
               WHERE payments.id = :id ORDER BY refs.grp""",
            {"id": id},
        )
        return list(dict.fromkeys(row["grp"] for row in found))

    def find_within(self, id: str) -> list[str]:
        """Return the orders named by this id within an account: "<account>/<id>"; a slow search."""
        rows = self._db.query(
            """SELECT DISTINCT grp FROM refs
               WHERE substr(ref, length(ref) - length(:end) + 1) = :end ORDER BY grp""",
            {"end": f"/{id}"},
        )
        return [row["grp"] for row in rows]

    def count(self) -> dict[str, int]:
        """Return how many conversions there are in each status, and how many visits."""
        rows = self._db.query(
            """SELECT CASE kind WHEN 'pageview' THEN 'visits' ELSE status END AS name,
                   count(*) AS n FROM conversions GROUP BY name"""
        )
        return {row["name"]: row["n"] for row in rows}
