"""Writing together: several threads share a transaction, and nothing else."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit import CUSTOMER, Make
from running import until
from stores import FACTORIES, opened
from test_gatekeeper import sale

from bridge.errors import StoreError
from bridge.http import Sender
from bridge.outbox import Outbox
from bridge.store import Store
from bridge.store.rows import DeliveryState
from bridge.together import MOST_AT_ONCE, Together


@pytest.fixture(params=FACTORIES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with opened(FACTORIES[request.param](tmp_path)) as store:
        yield store


class Transactions:
    """Count transactions of a store; the first is held up until so many wait for the next."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.go_on = threading.Event()
        self.count = 0

    @contextmanager
    def atomic(self, scope: str) -> Iterator[None]:
        self.count += 1
        with self._store.atomic(scope):
            yield
            if self.count == 1:
                assert self.go_on.wait(30)


def run_at_once(store: Store, works: Sequence[Callable[[], object]]) -> tuple[list[object], int]:
    """Run all that, but for the first, waits while the first is written; return what came."""
    transactions = Transactions(store)
    together = Together(transactions.atomic)

    def run(work: Callable[[], object]) -> object:
        try:
            return together.run("acme", work)
        except (StoreError, ValueError) as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        begun = threading.Event()

        def begin() -> object:
            begun.set()
            return works[0]()

        first = pool.submit(run, begin)
        until(begun.is_set, "the first to begin")  # from here on it takes nobody along
        others = [pool.submit(run, work) for work in works[1:]]
        (queue,) = together._queues.values()
        until(lambda: queue.qsize() == len(others), "the others to wait")
        transactions.go_on.set()
        return [each.result() for each in (first, *others)], transactions.count


def put(store: Store, name: str) -> Callable[[], str]:
    def work() -> str:
        store.facts.put(name, name)
        return name

    return work


def test_what_waits_is_written_in_one_transaction(store: Store) -> None:
    names = [f"fact{number}" for number in range(8)]
    came, transactions = run_at_once(store, [put(store, name) for name in names])
    assert came == names
    assert [store.facts.get(name) for name in names] == names
    assert transactions == 2


def test_no_transaction_holds_up_others_for_long(store: Store) -> None:
    names = [f"fact{number}" for number in range(2 * MOST_AT_ONCE + 2)]
    came, transactions = run_at_once(store, [put(store, name) for name in names])
    assert came == names
    assert transactions == 4


def test_what_fails_is_undone_alone(store: Store) -> None:
    def fail() -> None:
        store.facts.put("half", "done")
        raise ValueError("a mistake of ours")

    works = [put(store, "first"), put(store, "before"), fail, put(store, "after")]
    came, _ = run_at_once(store, works)
    assert came[:2] + came[3:] == ["first", "before", "after"]
    assert isinstance(came[2], ValueError)
    kept = [store.facts.get(name) for name in ("first", "before", "half", "after")]
    assert kept == ["first", "before", "", "after"]


def test_a_store_that_fails_fails_all_who_wait_for_it(store: Store) -> None:
    def fail() -> None:
        raise StoreError("no room on the disk")

    works = [put(store, "first"), put(store, "before"), fail, put(store, "after")]
    came, _ = run_at_once(store, works)
    assert came[0] == "first"
    assert [str(each) for each in came[1:]] == ["no room on the disk"] * 3
    assert len({id(each) for each in came[1:]}) == 3  # each thread's own
    assert not store.facts.get("before")


def test_a_transaction_that_cannot_begin_raises_where_it_was_wanted() -> None:
    @contextmanager
    def broken(_: str) -> Iterator[None]:
        raise StoreError("database is locked")
        yield

    together = Together(broken)
    for _ in range(2):
        with pytest.raises(StoreError, match="database is locked"):
            together.run("acme", list)


def test_its_threads_end_with_it(store: Store) -> None:
    together = Together(store.atomic)
    together.run("gone", put(store, "fact"))
    assert "records-gone" in {each.name for each in threading.enumerate()}
    del together
    gc.collect()
    until(lambda: "records-gone" not in {each.name for each in threading.enumerate()}, "it to end")


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────


def test_a_delivery_takes_two_transactions(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make("codeqr")
    made.click(CUSTOMER)
    made.receive(bodies=[sale(0)])
    seen: list[str] = []

    @contextmanager
    def counting(vendor: str = "") -> Iterator[None]:
        seen.append(vendor)
        with atomic(vendor):
            yield

    atomic = made.store.atomic
    monkeypatch.setattr(made.store, "atomic", counting)
    sender = Sender(read_seconds=5)
    outbox = Outbox(made.store, made.config, sender, clock=made.clock)
    (row,) = outbox.lease("codeqr", 1)
    seen.clear()
    outbox.deliver(row)
    sender.close()
    assert seen == ["codeqr", "codeqr"]
    assert made.delivery("codeqr").state is DeliveryState.SETTLED
    assert made.delivery("codeqr").attempts == 1
