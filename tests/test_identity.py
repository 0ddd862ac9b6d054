"""Who is who: the same customers whatever the order in which keys turn out to belong together."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.identity import Bond, customers, is_hard, is_own

KEYS = [
    *(f"external_id:u{n}" for n in range(3)),
    *(f"stripe:cus_{n}" for n in range(3)),
    *("paddle:ctm_0", "shopify:1"),
    *(f"email:{n}" for n in range(3)),
    *(f"anonymous:a{n}" for n in range(4)),
]
bundles = st.frozensets(st.sampled_from(KEYS), min_size=1, max_size=4)
bonds = st.builds(Bond, bundles, st.booleans())


def said(*bundles: str, claimed: bool = False) -> list[Bond]:
    """Read bonds written as "u1 a1": external ids begin with u, e-mails with @, browsers with a."""
    kinds = {"u": "external_id", "@": "email", "a": "anonymous", "c": "stripe", "p": "paddle"}
    return [
        Bond(frozenset(f"{kinds[each[0]]}:{each}" for each in bundle.split()), claimed)
        for bundle in bundles
    ]


def parts(bonds: Iterable[Bond], public: Iterable[str] = ()) -> list[set[str]]:
    """Return the customers, each with the short names of its keys."""
    found: dict[str, set[str]] = defaultdict(set)
    for key, name in customers(bonds, set(public)).items():
        found[name].add(key.partition(":")[2])
    return sorted(found.values(), key=sorted)


CASES = {
    "keys that arrive together": (said("u1 c1 @1"), [{"u1", "c1", "@1"}]),
    "two customers turn out to be one": (
        said("c1 @1", "u1 a1", "@1 u1"),
        [{"c1", "@1", "u1", "a1"}],
    ),
    "by a provider's id": (said("u1 c1", "c1 p1", "p1 @1"), [{"u1", "c1", "p1", "@1"}]),
    "several accounts pay as one": (said("u1 c1", "u2 c1"), [{"u1", "u2", "c1"}]),
    "a browser that two persons use": (said("u1 a1", "u2 a1"), [{"a1"}, {"u1"}, {"u2"}]),
    "such a browser and what is known without it": (
        said("u1 a1 @1", "u2 a1 @2"),
        [{"@1", "u1"}, {"@2", "u2"}, {"a1"}],
    ),
    "an address that two accounts share": (said("u1 @1", "u2 @1"), [{"@1"}, {"u1"}, {"u2"}]),
    "guests who pay with one address": (said("c1 @1", "c2 @1"), [{"c1", "c2", "@1"}]),
    "guests of an account": (said("c1 @1", "c2 @1", "u1 @1"), [{"c1", "c2", "@1", "u1"}]),
    "a chain that would tie two accounts": (
        said("u1 @1", "@1 a1", "a1 @2", "@2 u2"),
        [{"@1", "u1"}, {"@2", "u2"}, {"a1"}],
    ),
    "a browser's claim joins nobody": (
        said("u1 c1") + said("u1 a1 @1", claimed=True),
        [{"@1"}, {"a1"}, {"c1", "u1"}],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_customers(name: str) -> None:
    bonds, expected = CASES[name]
    assert parts(bonds) == sorted(expected, key=sorted)


def test_what_is_public_joins_nobody() -> None:
    assert parts(said("c1 @1", "c2 @1"), ["email:@1"]) == [{"@1"}, {"c1"}, {"c2"}]


@given(st.lists(bonds, max_size=12), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(bonds: list[Bond], random: object) -> None:
    again = [*bonds, *bonds[::2]]
    random.shuffle(again)  # type: ignore[attr-defined]
    assert customers(again) == customers(bonds)


@given(st.lists(bonds, max_size=12))
def test_every_key_has_one_customer_named_by_its_smallest_key(bonds: list[Bond]) -> None:
    found = customers(bonds)
    assert set(found) == {key for bond in bonds for key in bond.keys}
    for name in set(found.values()):
        assert name == min(key for key, of in found.items() if of == name)


@given(st.lists(bonds, max_size=12))
def test_claims_change_nothing(bonds: list[Bond]) -> None:
    said = [bond for bond in bonds if not bond.claimed]
    without, found = customers(said), customers(bonds)
    assert {key: found[key] for key in without} == without
    assert all(found[key] == key for key in found.keys() - without.keys())


@given(st.lists(st.builds(Bond, bundles), max_size=12))
def test_what_is_soft_ties_no_two_accounts(bonds: list[Bond]) -> None:
    hard = customers(Bond(frozenset(filter(is_hard, bond.keys))) for bond in bonds)
    found = customers(bonds)
    own = sorted(filter(is_own, found))
    for first, second in itertools.combinations(own, 2):
        assert (found[first] == found[second]) == (hard[first] == hard[second])


@given(st.lists(bonds, max_size=12))
def test_only_keys_that_were_said_together_are_joined(bonds: list[Bond]) -> None:
    reachable = _connected(bonds)
    assert all(name in reachable[key] for key, name in customers(bonds).items())


@given(st.lists(st.builds(Bond, bundles), max_size=12))
def test_hard_keys_that_a_server_says_together_are_joined(bonds: list[Bond]) -> None:
    found = customers(bonds)
    for bond in bonds:
        hard = [key for key in bond.keys if key.partition(":")[0] not in {"email", "anonymous"}]
        assert len({found[key] for key in hard}) <= 1


def _connected(bonds: Iterable[Bond]) -> dict[str, set[str]]:
    reach: dict[str, set[str]] = {}
    for bond in bonds:
        whole = set(bond.keys).union(*(reach.get(key, set()) for key in bond.keys))
        for key in whole:
            reach[key] = whole
    return reach
