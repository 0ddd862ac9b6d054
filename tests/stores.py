"""Stores to test with, and plain values to put in: what every test of the store shares."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import postgres
import pytest

from bridge.model import Call, Conversion, ConversionKind, Event, Payment, PaymentKind, Status, Told
from bridge.money import Money
from bridge.store import Store, open_store
from bridge.store.rows import Attempt, DeliveryRow

T = TypeVar("T")

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
VENDOR = "acme"

# Every database that keeps bridge's promises: its name, and its address in a folder of the test's.
# Where it takes long to migrate, it is migrated already.
FACTORIES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder / 'bridge.db'}",
    "postgres": lambda _: postgres.fresh(),
}
# The same, with nothing in it.
EMPTY: dict[str, Callable[[Path], str]] = FACTORIES | {"postgres": lambda _: postgres.empty()}


def database_at(path: Path) -> str:
    """Return the address of a database for what holds on any: TEST_DATABASE names which.

    The same path means the same database, until the end of the test.
    """
    if os.environ.get("TEST_DATABASE", "sqlite") == "sqlite":
        return f"sqlite:///{path}"
    return postgres.fresh(str(path))


@pytest.fixture(autouse=True)
def on_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have PostgreSQL under all tests of a module that imports this."""
    monkeypatch.setenv("TEST_DATABASE", "postgres")


def sqlite_alone(reason: str) -> pytest.MarkDecorator:
    """Mark a test of what other databases have no need of, or do elsewhere."""
    return pytest.mark.skipif(os.environ.get("TEST_DATABASE", "sqlite") != "sqlite", reason=reason)


@contextmanager
def opened(url: str, *, migrated: bool = True) -> Iterator[Store]:
    store = open_store(url)
    try:
        if migrated:
            store.migrate()
        yield store
    finally:
        store.close()


def together(count: int, work: Callable[[int], T]) -> list[T]:
    """Run work in as many threads, which all start at once; return what each returned."""
    barrier = Barrier(count)

    def run(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def process(code: str, url: str) -> subprocess.Popen[str]:
    """Start a process that runs code with `store` open."""
    preamble = (
        f"from bridge.store import open_store\nfrom stores import *\nstore = open_store({url!r})\n"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", preamble + code],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(running: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a process; return its exit code and what it printed."""
    out, _ = running.communicate(timeout=60)
    return running.returncode, out.strip()


# ── values ───────────────────────────────────────────────────────────────────────────────────────


def an_event(id: str = "evt_1", **facts: Any) -> Event:
    told: dict[str, Any] = {
        "provider": "stripe",
        "type": "invoice.paid",
        "occurred_at": NOW,
        "body": "{}",
    }
    return Event(id=id, **(told | facts))


def a_payment(*references: str, **facts: Any) -> Payment:
    told: dict[str, Any] = {
        "id": min(references, default="cus_1"),
        "provider": "stripe",
        "kind": PaymentKind.LINK,
        "occurred_at": NOW,
        "references": frozenset(references),
    }
    return Payment(**(told | facts))


def a_conversion(order: str = "in_1", **facts: Any) -> Conversion:
    told: dict[str, Any] = {
        "id": f"stripe:{order}",
        "kind": ConversionKind.SALE,
        "provider": "stripe",
        "order": order,
        "customer": "cus_1",
        "paid": Money(1000, "EUR"),
        "taken_back": Money(0, "EUR"),
        "value": Money(1000, "EUR"),
        "status": Status.APPROVED,
        "occurred_at": NOW,
    }
    return Conversion(**(told | facts))


def a_told(order: str = "in_1", **facts: Any) -> Told:
    told: dict[str, Any] = {
        "steps": ("sale",),
        "amount": Money(1000, "EUR"),
        "status": Status.APPROVED,
    }
    return Told(**(told | {"known_as": order} | facts))


def a_call(order: str = "in_1") -> Call:
    return Call(
        step="sale", url="https://acme.example/sales", tells=a_told(order), json={"order": order}
    )


def an_attempt(delivery: str, outcome: str = "retry", at: datetime = NOW) -> Attempt:
    return Attempt(
        delivery=delivery,
        number=0,
        at=at,
        call=a_call(),
        outcome=outcome,
        reason="busy",
        status=503,
    )


# ── what is in a store ───────────────────────────────────────────────────────────────────────────


def put_order(store: Store, order: str = "in_1", *vendors: str, **facts: Any) -> Conversion:
    """Store an order: its event, its payment, its conversion, and deliveries due NOW."""
    event = an_event(f"evt_{order}")
    conversion = a_conversion(order, **facts)
    with store.atomic():
        store.events.add(event, NOW)
        store.orders.add(f"stripe:{event.id}", [a_payment(order)])
        store.orders.put(conversion, NOW)
        store.deliveries.make_due(conversion.id, vendors or (VENDOR,), NOW)
    return conversion


def row_of(store: Store, delivery: str = "stripe:in_1@acme") -> DeliveryRow:
    row = store.deliveries.get(delivery)
    assert row is not None
    return row


def lease_one(store: Store, now: datetime = NOW, holder: str = "mine") -> DeliveryRow:
    (row,) = store.deliveries.lease(VENDOR, now, now + timedelta(minutes=1), holder, 1)
    return row
