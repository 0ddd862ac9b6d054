"""The promise: however events come, conversions and vendors end in the same, right state.

Driven through the real store, worker and sandbox vendors, over real HTTP, with the random stories
of every provider.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cases import made as made_provider
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit import Bench, Sent, bench
from stores import database_at
from story import Story
from stripe_stories import Story as StripeStory

from bridge import codec, ledger, providers
from bridge.money import Money
from bridge.store import open_store
from bridge.worker import Worker

EXAMPLES = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WITH_STORIES = [name for name in providers.discover() if find_spec(f"{name}_stories")]
each_provider = pytest.mark.parametrize("provider", WITH_STORIES)


def stories_of(provider: str) -> st.SearchStrategy[Story]:
    """Return the stories that a provider must have: tests/<provider>_stories.py."""
    stories: Callable[[], st.SearchStrategy[Story]] = import_module(f"{provider}_stories").stories
    return stories()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench(tmp_path / "unused.db", monkeypatch) as ready:
        yield ready


def life(
    made: Bench, customer: str, requests: Sequence[Sent], *, deliver_between: bool
) -> dict[str, Any]:
    """Live through requests on a fresh store, and return what is known at the end."""
    made.vendors.ledger.clear()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(database_at(Path(folder) / "life.db"))
        store.migrate()
        worker = Worker(store, made.config, clock=made.clock)
        one = Bench(made.config, store, made.vendors, made.clock, worker)
        one.click(customer)
        for request in requests:
            one.receive(requests=[request])
            if deliver_between:
                worker.drain()
        worker.drain()
        conversions = [codec.to_plain(each) for each in store.orders.newest()]
        states = {str(row.state) for row in store.deliveries.newest()}
        failed = [row.reason for row in store.events.newest() if row.state == "failed"]
        worker.close()
        store.close()
    held = {vendor: made.sales(vendor) for vendor in made.config.vendors}
    return {"conversions": conversions, "held": held, "states": states, "failed": failed}


def credited(sales: list[dict[str, Any]]) -> Decimal:
    """Return what a vendor credits in all."""
    return sum(
        (Decimal(each["amount"]) for each in sales if each["status"] == "approved"), Decimal(0)
    )


def due_of(story: Story) -> Decimal:
    """Return what must be credited in all, in major units."""
    return Money(sum(story.due.values()), story.currency).major


@each_provider
@given(data=st.data())
def test_what_was_told_folds_to_what_is_due(provider: str, data: st.DataObject) -> None:
    """Fold many stories without a store: what must be credited, as the story has worked it out."""
    story = data.draw(stories_of(provider))
    reader = made_provider(provider)
    payments = [
        each
        for _, request in story.requests
        for event in [reader.read(request)]
        for each in ([] if event.ignored else reader.normalise(event))
    ]
    straight = ledger.fold(payments)
    again = data.draw(st.permutations(payments + payments[: len(payments) // 2]))
    assert ledger.fold(again) == straight
    assert {each.order: each.value.minor for each in straight} == dict(story.due)


@each_provider
@EXAMPLES
@given(data=st.data())
def test_any_order_and_repetition_ends_the_same(
    made: Bench, provider: str, data: st.DataObject
) -> None:
    story = data.draw(stories_of(provider))
    told = list(story.requests)
    shuffled = data.draw(st.permutations(told + told[: len(told) // 2]))
    straight = life(made, story.customer, told, deliver_between=False)
    assert life(made, story.customer, shuffled, deliver_between=False) == straight
    assert straight["states"] <= {"settled", "skipped"}
    assert straight["failed"] == []
    values = {each["order"]: each["value"]["minor"] for each in straight["conversions"]}
    assert values == dict(story.due)
    # Told only of the end, every vendor holds the sales of which something is left. One that counts
    # in cents cannot hold less than one.
    kept = sum(units > 0 for units in values.values())
    for vendor, sales in straight["held"].items():
        assert len(sales) == kept, vendor
    assert credited(straight["held"]["tapfiliate"]) == due_of(story)


@each_provider
@EXAMPLES
@given(data=st.data())
def test_delivering_between_events_credits_the_same(
    made: Bench, provider: str, data: st.DataObject
) -> None:
    story = data.draw(stories_of(provider))
    shuffled = data.draw(st.permutations(story.requests))
    straight = life(made, story.customer, story.requests, deliver_between=True)
    mixed = life(made, story.customer, shuffled, deliver_between=True)
    assert mixed["conversions"] == straight["conversions"]
    for end in (straight, mixed):
        # Tapfiliate can express everything, so it must hold exactly what is due.
        assert credited(end["held"]["tapfiliate"]) == due_of(story)
        # Nobody is ever told of a sale twice.
        assert all(len(sales) <= len(story.due) for sales in end["held"].values())
    # Trackdesk can express all or nothing.
    gone = [each for each in mixed["conversions"] if each["status"] == "disapproved"]
    if len(gone) == len(story.due):
        assert credited(mixed["held"]["trackdesk"]) == 0


def test_the_providers_that_come_with_bridge_have_stories() -> None:
    assert {"paddle", "paddle_classic", "shopify", "stripe"} <= set(WITH_STORIES)


def test_a_story_is_what_stripe_would_send() -> None:
    story = StripeStory()
    story.refund(story.sale(1000, 100), 400)
    kinds = [json.loads(event)["type"] for event in story.events]
    assert kinds[-3:] == ["refund.created", "charge.refunded", "refund.updated"]
