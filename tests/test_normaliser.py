"""Normalising: what an event says is worked out while others may write, and only what holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kit import CUSTOMER, REFUND, SALE, Bench, Make, sent_as

from bridge.forgetting import REDACTED
from bridge.inbox import receive
from bridge.model import Event
from bridge.normaliser import Normalised, Normaliser
from bridge.store.rows import EventState


def arrive(made: Bench, *names: str) -> None:
    """Store webhooks, and process none."""
    for name in names:
        provider, request = sent_as(name)
        receive(made.store, made.config.providers[provider].read(request), made.clock())


@pytest.fixture
def made(make: Make) -> Bench:
    return make("tapfiliate")


@pytest.fixture
def normalised(made: Bench, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return of each event that is normalised whether others could write meanwhile."""
    seen: list[bool] = []
    normalise = Normaliser.normalise

    def watched(self: Normaliser, event: Event) -> Normalised:
        seen.append(not made.store._local.inside)  # type: ignore[attr-defined]
        return normalise(self, event)

    monkeypatch.setattr(Normaliser, "normalise", watched)
    return seen


def test_events_are_normalised_once_while_others_may_write(
    made: Bench, normalised: list[bool]
) -> None:
    made.click(CUSTOMER)
    arrive(made, *(f"stripe/{name}" for name in (*SALE, *REFUND)))
    made.worker.process_events()
    assert normalised == [True] * len(SALE + REFUND)
    assert set(made.store.events.count()) <= {"processed", "ignored"}


def test_one_that_changed_meanwhile_is_looked_at_anew(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(made, "stripe/invoice.paid")
    atomic = made.store.atomic

    @contextmanager
    def after_another(vendor: str = "") -> Iterator[None]:
        monkeypatch.setattr(made.store, "atomic", atomic)
        with atomic():
            made.store.execute("UPDATE events SET body = ''")  # type: ignore[attr-defined]
        with atomic(vendor):
            yield

    monkeypatch.setattr(made.store, "atomic", after_another)
    made.worker.process_events()
    (row,) = made.store.events.newest()
    assert (row.state, row.reason) == (EventState.PROCESSED, REDACTED)
    assert made.store.orders.newest() == []


def test_one_that_cannot_be_read_is_shown_and_holds_up_no_other(
    made: Bench, normalised: list[bool]
) -> None:
    made.click(CUSTOMER)
    arrive(made, *(f"stripe/{name}" for name in (*SALE, *REFUND)))
    made.store.execute(  # type: ignore[attr-defined]
        "UPDATE events SET body = '{}' WHERE type = 'refund.created'"
    )
    made.worker.process_events()
    states = {row.event.type: row.state for row in made.store.events.newest()}
    assert states.pop("refund.created") is EventState.FAILED
    assert EventState.FAILED not in states.values()
    (sale,) = made.store.orders.newest()
    assert sale.paid.minor == 5831
    assert True in normalised
