"""What a store promises about vendors that are paused, whatever its database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from stores import (
    FACTORIES,
    LATER,
    NOW,
    VENDOR,
    lease_one,
    opened,
    put_order,
    row_of,
    together,
)

from bridge.gate import Gate
from bridge.store import Store
from bridge.store.rows import DeliveryState


@pytest.fixture(params=FACTORIES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with opened(FACTORIES[request.param](tmp_path)) as store:
        yield store


def test_a_gate_that_was_never_closed_is_open(store: Store) -> None:
    assert store.gates.get(VENDOR) == Gate()


def test_a_gate_is_kept_as_it_is(store: Store) -> None:
    gate = Gate(
        recent="-+-",
        pauses=3,
        paused_until=LATER,
        trying=True,
        reason="Acme answered 503",
        paced_until=NOW,
    )
    for each in (gate, Gate(), gate):
        store.gates.put(VENDOR, each)
        assert store.gates.get(VENDOR) == each
    assert store.gates.get("other") == Gate()


def test_a_pause_is_ended_by_a_person(store: Store) -> None:
    store.gates.hurry(VENDOR, NOW)
    store.gates.put(VENDOR, Gate(pauses=1, paused_until=LATER))
    store.gates.hurry(VENDOR, NOW)
    assert store.gates.get(VENDOR) == Gate(pauses=1, paused_until=NOW)


def test_many_workers_enter_one_after_the_other(store: Store) -> None:
    rate = Decimal(10)

    def enter(_: int) -> bool:
        with store.atomic():
            gate = store.gates.get(VENDOR)
            if not gate.room(NOW, rate, 1):
                return False
            store.gates.put(VENDOR, gate.entered(NOW, rate))
            return True

    assert sum(together(12, enter)) == 2


def test_a_delivery_that_is_put_off_stays_as_it_was(store: Store) -> None:
    put_order(store)
    store.deliveries.release(
        lease_one(store), DeliveryState.DUE, NOW, reason="busy", failed=True, next_at=NOW
    )
    before = row_of(store)
    row = lease_one(store)
    assert store.deliveries.defer(row, LATER)
    assert row_of(store) == replace(before, updated_at=LATER)
    assert not store.deliveries.defer(row, LATER)
