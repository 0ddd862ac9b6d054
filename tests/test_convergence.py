"""The promise: however events come, conversion and vendors end in the same state.

Driven through the real store, worker and sandbox vendors, over real HTTP.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit import Bench, bench
from stripe_stories import CUSTOMER, Story, stories

from bridge import codec
from bridge.store import open_store
from bridge.worker import Worker

EXAMPLES = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench(tmp_path / "unused.db", monkeypatch) as ready:
        yield ready


def life(made: Bench, events: Sequence[str], *, deliver_between: bool) -> dict[str, Any]:
    """Live through events on a fresh store, and return what is known at the end."""
    made.vendors.ledger.clear()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/life.db")
        store.migrate()
        worker = Worker(store, made.config, clock=made.clock)
        one = Bench(made.config, store, made.vendors, made.clock, worker)
        one.click(CUSTOMER)
        for event in events:
            one.receive(bodies=[event])
            if deliver_between:
                worker.drain()
        worker.drain()
        conversions = [codec.to_plain(each) for each in store.orders.newest()]
        states = {str(row.state) for row in store.deliveries.newest()}
        worker.close()
        store.close()
    held = {vendor: made.sales(vendor) for vendor in made.config.vendors}
    return {"conversions": conversions, "held": held, "states": states}


def credited(sales: list[dict[str, Any]]) -> Decimal:
    """Return what a vendor credits in all."""
    return sum(
        (Decimal(each["amount"]) for each in sales if each["status"] == "approved"), Decimal(0)
    )


@EXAMPLES
@given(story=stories(), data=st.data())
def test_any_order_and_repetition_ends_the_same(
    made: Bench, story: Story, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(story.events + story.events[: len(story.events) // 2]))
    straight = life(made, story.events, deliver_between=False)
    assert life(made, shuffled, deliver_between=False) == straight
    assert straight["states"] <= {"settled", "skipped"}


@EXAMPLES
@given(story=stories(), data=st.data())
def test_delivering_between_events_credits_the_same(
    made: Bench, story: Story, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(story.events))
    straight = life(made, story.events, deliver_between=True)
    mixed = life(made, shuffled, deliver_between=True)
    assert mixed["conversions"] == straight["conversions"]
    (conversion,) = mixed["conversions"]
    due = Decimal(conversion["value"]["minor"]).scaleb(-2)
    for end in (straight, mixed):
        # Tapfiliate can express everything, so it must hold exactly what is due.
        assert credited(end["held"]["tapfiliate"]) == due
        # Nobody is ever told of a sale twice.
        assert all(len(sales) <= 1 for sales in end["held"].values())
    # Trackdesk can express all or nothing.
    if conversion["status"] == "disapproved":
        assert credited(mixed["held"]["trackdesk"]) == 0


def test_a_story_is_what_stripe_would_send() -> None:
    story = Story(1000, 100)
    story.sale()
    story.refund(400)
    kinds = [json.loads(event)["type"] for event in story.events]
    assert kinds[-3:] == ["refund.created", "charge.refunded", "refund.updated"]
