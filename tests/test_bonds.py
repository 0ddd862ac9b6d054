"""Who is who in the store: bond by bond it comes to what all bonds together mean."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from intakes import Desk, changed, desk
from stores import NOW, opened

from bridge import codec, identity
from bridge.identity import Bond, is_hard
from bridge.store import Store, bonds
from bridge.store.rows import Said
from bridge.store.sqlite import SqliteStore

KEYS = [
    *(f"external_id:u{n}" for n in range(3)),
    *(f"stripe:cus_{n}" for n in range(3)),
    *("paddle:ctm_0", "shopify:1"),
    *(f"email:{n}" for n in range(3)),
    *(f"anonymous:a{n}" for n in range(4)),
]
bundles = st.frozensets(st.sampled_from(KEYS), min_size=1, max_size=4)
said = st.lists(st.builds(Bond, bundles, st.booleans()), max_size=12)
chances = st.integers(0, 2**32).map(random.Random)
NO_LIMITS = {"MOST_BONDS": 200, "MOST_CLAIMS": 500}
LIMITS = [NO_LIMITS, {"MOST_BONDS": 2, "MOST_CLAIMS": 500}, {"MOST_BONDS": 1, "MOST_CLAIMS": 3}]
limited = pytest.mark.parametrize("limits", LIMITS, ids=lambda each: str(each["MOST_BONDS"]))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    with opened(f"sqlite:///{tmp_path_factory.mktemp('bonds') / 'bridge.db'}") as made:
        assert isinstance(made, SqliteStore)
        yield made


class Undo(Exception):  # noqa: N818
    """Take back what one example has written."""


@contextmanager
def trying(store: Store, **limits: int) -> Iterator[None]:
    """Run one example on an empty database, with these limits, and leave it empty."""
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in limits.items():
            patch.setattr(bonds, name, limit)
        try:
            with store.atomic():
                yield
                raise Undo
        except Undo:
            pass


def join(store: Store, bond: Bond) -> set[str]:
    return store.customers.join(sorted(bond.keys), Said(at=NOW, claimed=bond.claimed))


def companions(store: Store) -> dict[str, set[str]]:
    return {key: set(store.customers.aliases([key])) for key in KEYS}


def meant(bonds: Iterable[Bond], most: int) -> dict[str, set[str]]:
    """Return the companions of every key as all of these bonds mean them."""
    kept = {bond for bond in bonds if len(bond.keys) > 1}
    times = Counter(key for bond in kept if not bond.claimed for key in bond.keys)
    public = {key for key in times if times[key] > most and not is_hard(key)}
    of = identity.customers(kept, public)
    return {
        key: {each for each in of if of[each] == of[key]} if key in of else {key} for key in KEYS
    }


def written(store: SqliteStore) -> list[Bond]:
    """Return every bond that is kept."""
    rows = store.query("SELECT keys, claimed FROM bonds")
    return [Bond(frozenset(codec.loads(row["keys"])), bool(row["claimed"])) for row in rows]


@limited
@given(said, chances)
def test_bond_by_bond_it_comes_to_the_same(
    store: SqliteStore, limits: dict[str, int], bonds: list[Bond], chance: random.Random
) -> None:
    again = [*bonds, *bonds[::2]]
    chance.shuffle(again)
    with trying(store, **limits):
        for bond in again:
            before = companions(store)
            news = join(store, bond)
            after = companions(store)
            assert {key for key in KEYS if before[key] != after[key]} <= news
            assert meant(written(store), limits["MOST_BONDS"]) == after
        after = companions(store)
        served = meant([bond for bond in bonds if not bond.claimed], limits["MOST_BONDS"])
        assert all(served[key] <= after[key] for key in KEYS)
        if limits["MOST_CLAIMS"] > len(again):
            assert meant(bonds, limits["MOST_BONDS"]) == companions(store)


@given(said, st.sampled_from(KEYS), st.integers(0, 2))
def test_who_is_forgotten_was_never_heard_of(
    store: SqliteStore, bonds: list[Bond], who: str, left: int
) -> None:
    with trying(store):
        for bond in bonds:
            join(store, bond)
        whole = store.customers.find([who])
        gone = set(whole[left:])
        store.persons.forget(sorted(gone), whole[:left], ())
        assert store.customers.find(gone) == []
        assert store.customers.said_of(gone) == []
        assert {key for bond in written(store) for key in bond.keys}.isdisjoint(gone)
        assert {Bond(bond.keys - gone, bond.claimed) for bond in bonds} >= set(written(store))
        for bond in bonds:
            join(store, bond)
        if gone:
            assert meant({*bonds, *written(store)}, 200) == companions(store)


# ── the whole way ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Step:
    """Hold what is heard: keys of one customer, perhaps with a click, or with a payment."""

    keys: frozenset[str]
    claimed: bool = False
    click: str = ""
    days: int = 0
    order: str = ""


PEOPLE = ["external_id:u1", "external_id:u2", "stripe:cus_1", "stripe:cus_2"]
SOFT = ["email:1@example.com", "email:2@example.com", "anonymous:a1", "anonymous:a2"]
some = st.frozensets(st.sampled_from([*PEOPLE, *SOFT]), min_size=1, max_size=3)
steps = st.lists(
    st.one_of(
        st.builds(Step, some, st.booleans()),
        st.builds(
            Step, some, st.booleans(), st.sampled_from(["click_1", "click_2"]), st.integers(-3, 1)
        ),
        st.builds(
            Step,
            st.frozensets(st.sampled_from([*PEOPLE, *SOFT[:2]]), min_size=1, max_size=3),
            order=st.sampled_from(["in_1", "in_2", "in_3"]),
        ),
    ),
    max_size=8,
)
SOLD_AT = NOW - timedelta(days=10)


def an_invoice(order: str, keys: Iterable[str], number: int) -> str:
    """Return the body of an event that tells of a paid invoice of somebody's."""
    ids = dict(key.split(":") for key in sorted(keys))
    named = {"user_id": ids["external_id"]} if "external_id" in ids else {}
    body = codec.loads(changed("invoice.paid", f"evt_{number}"))
    thing = body["data"]["object"]
    thing |= {"id": order, "customer": ids.get("stripe"), "customer_email": ids.get("email")}
    thing |= {"metadata": named, "parent": None, "lines": {"data": []}}
    thing["status_transitions"] = {"paid_at": round(SOLD_AT.timestamp())}
    return codec.dumps(body)


def do(bench: Desk, step: Step, number: int) -> None:
    """Let the intake hear one step."""
    if step.order:
        bench.take(bodies=[an_invoice(step.order, step.keys, number)])
        return
    keys = [bench.email(key[6:]) if key.startswith("email:") else key for key in sorted(step.keys)]
    clicks = {"acme": {"click_id": step.click}} if step.click else {}
    at, by = SOLD_AT + timedelta(days=step.days), Said(at=NOW, claimed=step.claimed)
    bench.intake.add_clicks(keys, clicks, at, NOW, exact=True, said=by)


def outcome(bench: Desk) -> object:
    """Return who is who, and who is credited with what."""
    keys = [bench.email(key[6:]) if key.startswith("email:") else key for key in (*PEOPLE, *SOFT)]
    known = {key: tuple(bench.store.customers.aliases([key])) for key in keys}
    orders = {
        each.id: (each.customer, each.keys, dict(each.clicks), each.status)
        for each in bench.store.orders.newest()
    }
    return known, orders


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk(tmp_path_factory.mktemp("desk")) as made:
        yield made


@pytest.mark.parametrize("sharing", [10, 1])
@given(steps, chances)
def test_any_order_gives_the_same_customers_and_the_same_credit(
    bench: Desk, sharing: int, steps: Sequence[Step], chance: random.Random
) -> None:
    heard = list(enumerate(steps))
    outcomes = []
    for order in (heard, [*chance.sample(heard, len(heard)), *heard[::2]]):
        with trying(bench.store, MOST_SHARING=sharing):
            for number, step in order:
                do(bench, step, number)
            outcomes.append(outcome(bench))
    assert outcomes[0] == outcomes[1]


def heard(bench: Desk, *keys: str, claimed: bool = False, click: str = "", order: str = "") -> None:
    do(bench, Step(frozenset(keys), claimed, click, -1, order), int(order[-1:] or 0))


def credited(bench: Desk) -> dict[str, str]:
    """Return the click that every order is credited to."""
    orders = {each.order: each.clicks.get("acme", {}) for each in bench.store.orders.newest()}
    return {order: click.get("click_id", "") for order, click in sorted(orders.items())}


@pytest.mark.parametrize("claimed", [False, True])
def test_a_browser_that_two_persons_share_brings_its_click_to_both(
    bench: Desk, claimed: bool
) -> None:
    with trying(bench.store):
        heard(bench, "anonymous:a1", click="shared")
        for number in (1, 2):
            heard(bench, f"external_id:u{number}", order=f"in_{number}")
            heard(bench, f"external_id:u{number}", "anonymous:a1", claimed=claimed)
        assert credited(bench) == {"in_1": "shared", "in_2": "shared"}
        assert bench.store.customers.aliases(["anonymous:a1"]) == ["anonymous:a1"]


def test_a_browser_that_everybody_uses_brings_nobody_its_click(bench: Desk) -> None:
    with trying(bench.store, MOST_SHARING=2):
        heard(bench, "anonymous:a1", click="shared")
        for number in (1, 2, 3):
            heard(bench, f"external_id:u{number}", order=f"in_{number}")
            heard(bench, f"external_id:u{number}", "anonymous:a1")
        assert credited(bench) == {"in_1": "", "in_2": "", "in_3": ""}


def test_claims_join_no_two_of_the_merchants_ids(bench: Desk) -> None:
    with trying(bench.store):
        heard(bench, "external_id:u1", click="first")
        heard(bench, "external_id:u2", click="second")
        for keys in (
            PEOPLE[:2],
            [*PEOPLE[:2], "anonymous:a1"],
            PEOPLE[1:3],
            [PEOPLE[0], PEOPLE[2]],
        ):
            heard(bench, *keys, claimed=True)
        for number in (1, 2):
            heard(bench, f"external_id:u{number}", order=f"in_{number}")
        assert credited(bench) == {"in_1": "first", "in_2": "second"}


def test_who_claims_another_in_a_browser_of_their_own_gets_none_of_their_clicks(
    bench: Desk,
) -> None:
    with trying(bench.store):
        heard(bench, "external_id:u1", "anonymous:a1")
        heard(bench, "external_id:u2", click="theirs")
        heard(bench, "external_id:u2", "anonymous:a1", claimed=True)
        heard(bench, "external_id:u1", order="in_1")
        assert credited(bench) == {"in_1": ""}
