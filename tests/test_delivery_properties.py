"""Whatever vendors answer, and whenever a worker dies: in the end everybody holds what is due.

Driven through the real web, store and worker, and sandbox vendors over real HTTP; only time is made
up. What is due is told by the shop of the fault harness, which knows nothing of the code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from chaos_audit import BLIND, VENDORS, Audit, audit
from chaos_shop import Order, Visitor, Webhook, open_shop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit import API_KEY, Bench, Clock, bench

from bridge.http import Sender
from bridge.model import Call, NoAnswer, Response
from bridge.sandbox.faults import Fault
from bridge.store import open_store
from bridge.web import create_app
from bridge.worker import Worker

ORDERS, WEBHOOKS = 3, 24
FAULTS: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 503},
    {"status": 408},
    {"status": 502},
    {"status": 502, "commit": True},
    {"status": 504, "commit": True},
    {"status": 429, "headers": {"Retry-After": "120"}},
    {"status": 200, "body": "<html>Back soon</html>"},
    {"status": 200, "body": "<html>Back soon</html>", "commit": True},
    {"reset": True},
    {"commit_then_reset": True},
]
# An error is no word of what was counted: vendors that cannot be asked are believed (design 7.3).
COUNTED_BEFORE_AN_ERROR: list[dict[str, Any]] = [
    {"status": 500, "commit": True},
    {"status": 503, "commit": True},
]


class KilledError(BaseException):
    """Stand for SIGKILL: nothing that comes after it is run."""


class Mortal(Sender):
    """Die while sending, just before the call leaves or once it was answered."""

    dies = ""

    def send(self, call: Call, *rest: Any) -> Response | NoAnswer:
        dies, self.dies = self.dies, ""
        if dies == "before":
            raise KilledError
        answer = super().send(call, *rest)
        if dies == "after":
            raise KilledError
        return answer


class Life:
    """Live on one database, with a worker that may die and come back."""

    def __init__(self, made: Bench, folder: Path) -> None:
        self.made = made
        self.database = folder / "bridge.db"
        self.acknowledged: set[str] = set()
        self.clock = Clock()
        self.clock.catch_up()
        self.store = open_store(f"sqlite:///{self.database}")
        self.store.migrate()
        self.web = create_app(made.config, self.store).test_client()
        self.sender = Mortal(read_seconds=5)
        self.worker = Worker(self.store, made.config, sender=self.sender, clock=self.clock)

    def arrive(self, each: Webhook | Visitor) -> None:
        if isinstance(each, Visitor):
            key = {"Authorization": f"Bearer {API_KEY}"}
            assert self.web.post("/clicks", json=each.body, headers=key).status_code == 201
        else:
            answer = self.web.post("/webhooks/stripe", data=each.body, headers=each.headers())
            assert answer.status_code == 200
            self.acknowledged.add(each.id)

    def act(self, what: str, which: Any) -> None:
        """Do one of the things that are drawn."""
        if what == "misbehave":
            vendor, fault = which
            self.made.vendors.faults.add(vendor, [Fault.model_validate(fault)])
        elif what == "wait":
            self.clock.advance(seconds=which)
        else:
            self.sender.dies = which
        self.work()

    def work(self) -> None:
        try:
            self.worker.drain()
        except KilledError:
            self.worker = Worker(self.store, self.made.config, sender=self.sender, clock=self.clock)

    def settle(self) -> None:
        """Let all be well, and work until nothing is left to do."""
        self.sender.dies = ""
        self.made.vendors.faults.clear()
        self.work()
        while self.store.deliveries.next_at(VENDORS) is not None:
            self.clock.advance(hours=7)
            self.work()

    def resolve(self, unknown: list[str]) -> None:
        """Look at the vendor, and say what became of each call."""
        for id in unknown:
            row = self.store.deliveries.get(id)
            assert row is not None
            assert row.in_flight is not None
            there = any(
                id == f"stripe:{sale['order']}@{row.vendor}" for sale in self.sales(row.vendor)
            )
            assert self.store.deliveries.resolve(
                row, self.clock(), row.in_flight.tells if there else None
            )

    def sales(self, vendor: str) -> list[Mapping[str, Any]]:
        held: list[Mapping[str, Any]] = self.made.vendors.ledger.as_json()[vendor]["sales"]
        return held

    def audit(self, orders: list[Order]) -> Audit:
        ledger = self.made.vendors.ledger.as_json()
        return audit(orders, ledger, self.database, self.acknowledged)

    def close(self) -> None:
        self.worker.close()
        self.store.close()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    secret = {"STRIPE_WEBHOOK_SECRET": "whsec_made_up_for_tests"}
    with bench(tmp_path / "unused.db", monkeypatch, **secret) as ready:
        yield ready


def misbehaviours() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    any_vendor = st.tuples(st.sampled_from(VENDORS), st.sampled_from(FAULTS))
    sighted = [name for name in VENDORS if name not in BLIND]
    return any_vendor | st.tuples(
        st.sampled_from(sighted), st.sampled_from(COUNTED_BEFORE_AN_ERROR)
    )


acts = st.one_of(
    st.tuples(st.just("misbehave"), misbehaviours()),
    st.tuples(st.just("misbehave"), misbehaviours()),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 100, 1_000, 10_000])),
    st.tuples(st.just("die"), st.sampled_from(["before", "after"])),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10**6),
    plan=st.lists(st.lists(acts, max_size=3), min_size=WEBHOOKS, max_size=WEBHOOKS),
)
def test_in_the_end_everybody_holds_what_is_due(
    made: Bench, seed: int, plan: list[list[tuple[str, Any]]]
) -> None:
    shop = open_shop(seed, ORDERS, WEBHOOKS)
    made.vendors.ledger.clear()
    made.vendors.faults.clear()
    with tempfile.TemporaryDirectory() as folder:
        life = Life(made, Path(folder))
        try:
            for number, each in enumerate(shop.arrivals):
                life.arrive(each)
                for what, which in plan[number % len(plan)]:
                    life.act(what, which)
            life.settle()
            found = life.audit(shop.orders)
            assert found.clean, found
            life.resolve(found.unknown)
            life.settle()
            found = life.audit(shop.orders)
            assert found.clean, found
            assert found.unknown == []
        finally:
            life.close()
