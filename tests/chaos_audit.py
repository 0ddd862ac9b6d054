"""The audit: what every vendor holds, and what the bridge believes, against what is due.

It asks the vendors' own ledgers and reads the bridge's database by itself; what is due it is told
by the shop. What a vendor cannot express is not held against the bridge:

- Tapfiliate can be told everything: it must hold exactly what is due.
- Trackdesk takes sales back and gives them again, but keeps the amount it was told first.
- Taapit, CodeQR and Tracify keep what they were told once. It must be an amount that the order
  was worth at some moment.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from chaos_database import Address, Row, read
from chaos_shop import DECIMALS, Order

VENDORS = ("taapit", "codeqr", "trackdesk", "tapfiliate", "tracify")
EXACT = {"tapfiliate"}
TAKES_BACK = {"trackdesk", "tapfiliate"}
# Who counts every call and cannot be asked: after a call of unknown outcome only a person can tell.
BLIND = {"taapit"}
# Tracify knows people by hashes of what was seen of them.
WITHOUT_CLICK_IDS = {"tracify"}
LOST, DOUBLED, AMOUNT, STATE = "lost", "doubled", "wrong amount", "wrong state"
KINDS = (LOST, DOUBLED, AMOUNT, STATE)
Ledger = Mapping[str, Any]


@dataclass(frozen=True, order=True)
class Finding:
    """Say what is wrong: where ("taapit", "bridge"), of which order or event, and in what way."""

    where: str
    kind: str
    id: str
    words: str = field(compare=False, default="")

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.id} {self.words}".rstrip()


@dataclass
class Audit:
    """Hold what was found, and which deliveries a person is to decide about."""

    findings: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.findings

    def count(self, where: str) -> Counter[str]:
        """Return how often each thing is wrong at one vendor, or in the bridge."""
        return Counter(each.kind for each in self.findings if each.where == where)

    def __str__(self) -> str:
        return "\n".join(map(str, sorted(self.findings))) or "clean"


def audit(
    orders: Collection[Order], ledger: Ledger, database: Address, acknowledged: Collection[str]
) -> Audit:
    """Compare what all hold in the end with what is due."""
    rows = Database(database)
    found = Audit(unknown=rows.unknown)
    found.findings += _events(rows, acknowledged)
    found.findings += _conversions(rows, orders)
    found.findings += _deliveries(rows, orders)
    for vendor in VENDORS:
        sales = ledger[vendor]["sales"]
        found.findings += _strangers(vendor, sales, orders)
        for order in orders:
            held = [each for each in sales if each["order"] == order.id]
            found.findings += _held(vendor, order, held, rows)
            found.findings += _believed(vendor, order, held, rows)
    return found


class Database:
    """Read what the bridge keeps, without the bridge."""

    def __init__(self, database: Address) -> None:
        self.events = read(
            database, "SELECT id, state, reason FROM events WHERE provider = 'stripe'"
        )
        self.conversions = {
            each["id"]: json.loads(each["body"])
            for each in read(database, "SELECT id, body FROM conversions")
        }
        self.deliveries = {
            (each["vendor"], each["conversion"]): each
            for each in read(database, "SELECT * FROM deliveries")
        }

    @property
    def unknown(self) -> list[str]:
        """Return the deliveries of unknown outcome."""
        return sorted(each["id"] for each in self.deliveries.values() if each["state"] == "unknown")

    def told(self, vendor: str, order: Order) -> Row:
        """Return what the bridge believes to have told a vendor."""
        row = self.deliveries.get((vendor, f"stripe:{order.id}"))
        return json.loads(row["told"]) if row and row["told"] else {}

    def is_unknown(self, vendor: str, order: Order) -> bool:
        return f"stripe:{order.id}@{vendor}" in self.unknown


# ── what a vendor holds ──────────────────────────────────────────────────────────────────────────


def _held(vendor: str, order: Order, held: list[Row], rows: Database) -> Iterator[Finding]:
    if len(held) > 1 or any(each["told"] > 1 for each in held if vendor not in TAKES_BACK):
        yield Finding(vendor, DOUBLED, order.id, _shown(held))
    if not held:
        excused = vendor in BLIND and rows.is_unknown(vendor, order)
        if order.credited and not excused:
            yield Finding(vendor, LOST, order.id, f"due: {order.credited} {order.currency}")
        return
    for sale in held:
        yield from _sale(vendor, order, sale)


def _sale(vendor: str, order: Order, sale: Row) -> Iterator[Finding]:
    exact = vendor in EXACT and order.credited
    amounts = {order.credited} if exact else order.readings
    if _minor(sale) not in amounts or sale["currency"] != order.currency:
        wanted = f"not of {sorted(amounts)} {order.currency}"
        yield Finding(vendor, AMOUNT, order.id, f"{sale['amount']} {sale['currency']}: {wanted}")
    approved = sale["status"] == "approved"
    if approved is not bool(order.credited) and vendor in TAKES_BACK:
        yield Finding(vendor, STATE, order.id, f"{sale['status']}, due: {order.credited}")
    click = order.visitor.clicks.get(vendor, "")
    if sale["click"] != click and vendor not in WITHOUT_CLICK_IDS:
        yield Finding(vendor, STATE, order.id, f"credited to {sale['click']}, not to {click}")


def _strangers(vendor: str, sales: Iterable[Row], orders: Iterable[Order]) -> Iterator[Finding]:
    known = {each.id for each in orders}
    for sale in sales:
        if sale["order"] not in known:
            yield Finding(vendor, STATE, sale["order"], "nobody ordered this")


def _believed(vendor: str, order: Order, held: list[Row], rows: Database) -> Iterator[Finding]:
    """Compare what a vendor holds with what the bridge believes that it holds."""
    told = rows.told(vendor, order)
    if rows.is_unknown(vendor, order):
        return
    believed = (told["amount"]["minor"], told["status"]) if told.get("amount") else None
    holds: list[object] = [(_minor(each), _status(each)) for each in held]
    if believed not in (holds or [None]):
        words = f"{vendor} is believed to hold {believed}, and holds {_shown(held)}"
        yield Finding("bridge", STATE, f"stripe:{order.id}@{vendor}", words)


def _minor(sale: Row) -> Decimal:
    return Decimal(sale["amount"]).scaleb(DECIMALS.get(sale["currency"], 2))


def _status(sale: Row) -> str:
    return "approved" if sale["status"] == "approved" else "disapproved"


def _shown(held: Iterable[Row]) -> str:
    shown = (f"{each['amount']} {each['status']} (told {each['told']}x)" for each in held)
    return ", ".join(shown) or "nothing"


# ── what the bridge keeps ────────────────────────────────────────────────────────────────────────


def _events(rows: Database, acknowledged: Collection[str]) -> Iterator[Finding]:
    stored = Counter(each["id"] for each in rows.events)
    for id in sorted(set(acknowledged) - stored.keys()):
        yield Finding("bridge", LOST, id, "acknowledged, and not stored")
    for id in sorted(id for id, times in stored.items() if times > 1):
        yield Finding("bridge", DOUBLED, id)
    for each in rows.events:
        if each["state"] not in {"processed", "ignored"}:
            yield Finding("bridge", STATE, each["id"], f"{each['state']}: {each['reason']}")


def _conversions(rows: Database, orders: Iterable[Order]) -> Iterator[Finding]:
    for order in orders:
        known = rows.conversions.get(f"stripe:{order.id}")
        if known is None:
            if order.sold:
                yield Finding("bridge", LOST, order.id, "it has no conversion")
        elif (known["value"]["minor"], known["value"]["currency"]) != (order.due, order.currency):
            yield Finding("bridge", AMOUNT, order.id, f"{known['value']}, due: {order.due}")


def _deliveries(rows: Database, orders: Iterable[Order]) -> Iterator[Finding]:
    """Let nothing be left to do, or given up; to a person only what nobody else can decide.

    Of a sale that may have been counted where it cannot be taken back, and that has gone back
    since, a person is to decide as well.
    """
    gone = {f"stripe:{each.id}" for each in orders if not each.credited}
    for each in rows.deliveries.values():
        state, vendor = each["state"], each["vendor"]
        may_ask = vendor in BLIND or (each["conversion"] in gone and vendor not in TAKES_BACK)
        if state not in {"settled", "skipped"} and not (state == "unknown" and may_ask):
            yield Finding("bridge", STATE, each["id"], f"{state}: {each['reason']}")
