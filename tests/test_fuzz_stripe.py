"""Stripe's fixtures, mutated: whatever comes, it is read or refused, and never anything else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from cases import event_of
from hypothesis import given
from hypothesis import strategies as st
from kit import STRIPE
from test_stripe import stripe

from bridge import codec
from bridge.errors import MoneyError, PayloadError
from bridge.model import Payment
from bridge.providers.stripe import Stripe, StripeSettings

EVENTS = {
    path.parent.name: json.loads(path.read_text("utf-8")) for path in STRIPE.glob("*/body.json")
}
PLAIN = stripe()
COUNTING = Stripe(
    StripeSettings.model_validate({"webhook_secret": "whsec_1", "count_payment_intents": True})
)
DROP = object()
NAMES = st.sampled_from(["id", "object", "amount", "status", "data", "currency", "x"])
ODD = st.one_of(
    st.just(DROP),
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**63, -(2**63), 10**30, 10**400, -(10**4000)]),
    st.floats(),
    st.sampled_from([1e308, float("nan"), float("-inf")]),
    st.text(st.characters(exclude_categories=()), max_size=20),  # halves of surrogate pairs too
    st.sampled_from(["", "0", "12.5", "\0", "eur", "XAU", "paid", "🧾" * 300]),
    st.lists(st.integers() | st.none() | st.text(max_size=3), max_size=3),
    st.dictionaries(NAMES, st.integers() | st.none() | st.text(max_size=3), max_size=3),
)


def places(thing: object) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a body: what it lies in, and its key or index there."""
    if isinstance(thing, (dict, list)):
        for key, value in thing.items() if isinstance(thing, dict) else enumerate(thing):
            yield thing, key
            yield from places(value)


def read(body: str) -> None:
    """Read a body as far as it can be read, and write down what it means as the store does."""
    for provider in (PLAIN, COUNTING):
        with suppress(PayloadError, MoneyError):
            for payment in provider.normalise(event_of(provider, body)):
                stored = codec.dump(payment)
                stored.encode("utf-8")
                assert codec.load(Payment, stored) == payment


@given(st.data())
def test_a_mutated_event_is_read_or_refused(data: st.DataObject) -> None:
    event = copy.deepcopy(EVENTS[data.draw(st.sampled_from(sorted(EVENTS)))])
    for _ in range(data.draw(st.integers(1, 4))):
        found = list(places(event))
        where, key = found[data.draw(st.integers(0, len(found) - 1))]
        odd = data.draw(ODD)
        if odd is DROP:
            del where[key]
        else:
            where[key] = copy.deepcopy(odd)
    read(json.dumps(event))


@pytest.mark.parametrize("odd", [DROP, None, True, -1, 10**40, "x", [7], {"id": 7}])
def test_every_single_field_of_an_object_may_be_odd(odd: object) -> None:
    for name in (each for each in EVENTS if "@" not in each):
        for event in (EVENTS[name], EVENTS.get(f"{name}@acacia", {})):
            thing = event.get("data", {}).get("object", {})
            for key in thing:
                changed = thing | {key: odd}
                if odd is DROP:
                    del changed[key]
                read(json.dumps(event | {"data": {"object": changed}}))


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_refused(body: str) -> None:
    read(body)
