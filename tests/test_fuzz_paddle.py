"""Paddle's fixtures, mutated: whatever comes, it is read or refused, and never anything else."""

from __future__ import annotations

import copy
import json
from contextlib import suppress

import pytest
from cases import event_of
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz_stripe import DROP, ODD, places
from test_paddle import BODIES, paddle

from bridge import codec
from bridge.errors import MoneyError, PayloadError
from bridge.model import Payment


def read(body: str) -> None:
    """Read a body as far as it can be read, and write down what it means as the store does."""
    for provider in (paddle(), paddle(count_chargeback_warnings=True, environment="sandbox")):
        with suppress(PayloadError, MoneyError):
            for payment in provider.normalise(event_of(provider, body)):
                stored = codec.dump(payment)
                stored.encode("utf-8")
                assert codec.load(Payment, stored) == payment


@given(st.data())
def test_a_mutated_event_is_read_or_refused(data: st.DataObject) -> None:
    event = copy.deepcopy(BODIES[data.draw(st.sampled_from(sorted(BODIES)))])
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
def test_every_single_field_may_be_odd(odd: object) -> None:
    for event in BODIES.values():
        for where, key in list(places(event)):
            kept = where[key]
            if odd is DROP:
                where.pop(key)
            else:
                where[key] = odd
            read(json.dumps(event))
            if odd is DROP and isinstance(where, list):
                where.insert(key, kept)
            else:
                where[key] = kept
