"""The processor: what waits is processed as it comes, and a failure is waited for and said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime

import pytest
from kit import CUSTOMER, Bench, Make
from logged import logged
from running import until
from test_gatekeeper import sale

from bridge import processor
from bridge.errors import StoreError
from bridge.inbox import receive
from bridge.intake import Intake
from bridge.model import WebhookRequest
from bridge.processor import Processor
from bridge.store import open_store_of

VENDOR = "codeqr"


@pytest.fixture
def made(make: Make) -> Bench:
    here = make(VENDOR)
    here.click(CUSTOMER)
    return here


@contextmanager
def running(made: Bench) -> Iterator[Processor]:
    """Run a processor, with a store of its own, until the block ends."""
    with closing(open_store_of(made.config)) as store:
        one = Processor(store, made.config, clock=made.clock)
        thread = threading.Thread(target=one.run)
        thread.start()
        try:
            yield one
        finally:
            one.stop()
            thread.join()


def arrive(made: Bench, number: int) -> None:
    request = WebhookRequest({}, sale(number).encode())
    receive(made.store, made.config.providers["stripe"].read(request), made.clock())


def until_processed(made: Bench, count: int) -> None:
    until(lambda: len(made.store.deliveries.newest()) == count, f"{count} to be processed")


def test_what_waits_and_what_comes_is_processed_at_once(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "LONGEST_SLEEP", 3600.0)
    arrive(made, 1)
    with running(made):
        until_processed(made, 1)
        arrive(made, 2)
        until_processed(made, 2)
    assert [str(row.state) for row in made.store.deliveries.newest()] == ["due", "due"]


def test_a_worker_is_woken_by_it(made: Bench) -> None:
    made.store.wait(0)
    arrive(made, 1)
    assert made.store.wait(30)  # by what has come
    with running(made):
        assert made.store.wait(30)  # by what has come due
        until_processed(made, 1)


@pytest.mark.parametrize(
    ("error", "said"), [(StoreError("away"), "store failed"), (RuntimeError("odd"), "work failed")]
)
def test_a_failure_is_said_and_ends_nothing(
    made: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(processor, "STORE_FAILURE_SLEEP", 0.01)
    failures, process_some = [error, error], Intake.process_some

    def fail_twice(intake: Intake, now: datetime) -> int:
        if failures:
            raise failures.pop()
        return process_some(intake, now)

    monkeypatch.setattr(Intake, "process_some", fail_twice)
    arrive(made, 1)
    with logged() as output, running(made):
        until_processed(made, 1)
    assert output.getvalue().count(said) == 2
