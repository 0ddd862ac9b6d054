"""Shopify's fixtures, mutated: whatever comes, it is read or refused, and never anything else."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shopify_stories import Story, stories
from test_fuzz_stripe import DROP, ODD, places
from test_shopify import FIXTURES, PLAIN, body_of, request_of

from bridge import codec, ledger
from bridge.errors import MoneyError, PayloadError
from bridge.model import Erasure, Payment

BODIES = {name: body_of(name) for name in FIXTURES}


def read(name: str, body: object) -> None:
    """Read a body as far as it can be read, and write down what it means as the store does."""
    request = replace(request_of(name), body=json.dumps(body).encode())
    with suppress(PayloadError, MoneyError):
        event = PLAIN.read(request)
        for each in [*PLAIN.normalise(event), *filter(None, [PLAIN.erasure(event)])]:
            stored = codec.dump(each)
            stored.encode("utf-8")
            kind = Erasure if isinstance(each, Erasure) else Payment
            assert codec.load(kind, stored) == each


@given(st.data())
def test_a_mutated_body_is_read_or_refused(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(BODIES)))
    body = copy.deepcopy(BODIES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        found = list(places(body))
        where, key = found[data.draw(st.integers(0, len(found) - 1))]
        odd = data.draw(ODD)
        if odd is DROP:
            del where[key]
        else:
            where[key] = copy.deepcopy(odd)
    read(name, body)


@pytest.mark.parametrize("odd", [DROP, None, True, -1, 10**40, "1e9", "x", [7], {"id": 7}])
@pytest.mark.parametrize("name", ["orders/updated", "refunds/create", "disputes/create"])
def test_every_single_field_may_be_odd(name: str, odd: object) -> None:
    for at in range(len(list(places(BODIES[name])))):
        body = copy.deepcopy(BODIES[name])
        where, key = list(places(body))[at]
        if odd is DROP:
            del where[key]
        else:
            where[key] = odd
        read(name, body)


@given(st.data())
def test_stories_end_the_same_in_any_order(data: st.DataObject) -> None:
    """Fold many stories without a store: what must be credited, as the story has worked it out."""
    story: Story = data.draw(stories())
    payments = [
        each for _, request in story.requests for each in PLAIN.normalise(PLAIN.read(request))
    ]
    again = data.draw(st.permutations(payments + payments[: len(payments) // 2]))
    straight = ledger.fold(payments)
    assert ledger.fold(again) == straight
    assert {each.order: each.value.minor for each in straight} == story.due


def test_any_subset_of_what_was_told_can_be_folded() -> None:
    told: dict[str, list[Payment]] = defaultdict(list)
    for name in FIXTURES:
        event = PLAIN.read(request_of(name))
        told[event.account] += [] if event.ignored else PLAIN.normalise(event)
    for payments in told.values():
        for at in range(len(payments)):
            ledger.fold(payments[:at] + payments[at + 1 :])
