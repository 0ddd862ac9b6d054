"""The fault harness in short: a storm, the commit boundaries of a life, an audit that sees."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chaos import main
from chaos_audit import AMOUNT, DOUBLED, LOST, STATE, VENDORS, Audit, audit
from chaos_boundaries import LIVES, enumerate_boundaries
from chaos_shop import Order, Teller, Visitor, open_shop
from chaos_storm import Plan, storm
from click.testing import CliRunner
from kit import IDENTITY, benches, settings_of
from story import left

from bridge.model import WebhookRequest

SEED = 20
NO_LIMIT = pytest.mark.timeout(300)


# ── the storm and the boundaries ─────────────────────────────────────────────────────────────────


@NO_LIMIT
def test_nothing_is_lost_or_doubled_when_processes_are_killed_and_vendors_fail(
    tmp_path: Path,
) -> None:
    report = storm(Plan(seed=SEED, orders=40, webhooks=200, kills=4, leases_age=True), tmp_path)
    assert report.audit.clean, f"seed {SEED}\n{report.audit}"
    assert (report.webhooks, report.kills.total()) == (200, 4)
    assert all(sum(met.values()) > 0 for met in report.met.values()), report.met
    assert all(report.held[vendor] > 0 for vendor in VENDORS)


# One whole, of the others every so many: whole they are in `python -m tests.chaos`.
@NO_LIMIT
@pytest.mark.parametrize(
    ("life", "step"), [(life, 1 if life == "refunded" else 10) for life in LIVES]
)
def test_a_life_that_is_stopped_at_a_commit_boundary_ends_well(life: str, step: int) -> None:
    cases = enumerate_boundaries(life, step=step, first=step)
    assert [str(case) for case in cases if not case.clean] == []
    stops = [case for case in cases if case.stopped]
    assert len(stops) > 60 // step
    # Between a call to Taapit and its record nobody can know: at one commit on each side.
    asked = {id.rpartition("@")[2] for case in cases for id in case.unknown}
    assert asked <= {"taapit"}
    if step == 1:
        assert sum(bool(case.unknown) for case in stops) == 2


# ── the shop ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("orders", "webhooks"), [(40, 200), (400, 2000), (10, 100)])
def test_a_shop_has_as_many_orders_and_webhooks_as_asked_for(orders: int, webhooks: int) -> None:
    shop = open_shop(SEED, orders, webhooks)
    assert (len(shop.orders), shop.webhooks) == (orders, webhooks)
    assert open_shop(SEED, orders, webhooks) == shop
    assert open_shop(SEED + 1, orders, webhooks) != shop


def test_a_shop_knows_every_kind_of_life() -> None:
    orders = open_shop(SEED, 400, 2000).orders
    assert {each.credited > 0 for each in orders} == {True, False}
    for kind in ("failed", "disputed", "lost", "refunds"):
        assert any(getattr(each, kind) for each in orders), kind
    assert any(not each.sold for each in orders)
    assert any(not each.visitor.clicked for each in orders)


def test_too_few_webhooks_are_refused() -> None:
    with pytest.raises(ValueError, match="40 orders cannot be told in 10 webhooks"):
        open_shop(SEED, 40, 10)


Act = Callable[[Teller], object]


def decided(teller: Teller, *, won: bool) -> None:
    teller.withdraw(more=1)
    teller.decide(won=won, more=1)


DUE: list[tuple[str, Act, int, set[int]]] = [
    ("kept", lambda _: None, 4100, {4100}),
    ("a part went back", lambda told: told.refund(900), 3347, {4100, 3347}),
    ("all went back", lambda told: told.refund(4900), 0, {4100}),
    ("it failed", lambda told: told.fail(told.refund(4900)), 4100, {4100}),
    ("disputed", Teller.withdraw, 0, {4100}),
    ("won", partial(decided, won=True), 4100, {4100}),
    ("lost", partial(decided, won=False), 0, {4100}),
]


@pytest.mark.parametrize(("name", "act", "due", "readings"), DUE, ids=[each[0] for each in DUE])
def test_what_is_due_is_known_beforehand(name: str, act: Act, due: int, readings: set[int]) -> None:
    order = Order(1, Visitor(1), "EUR", paid=4900, tax=800)
    teller = Teller(order)
    teller.sale()
    act(teller)
    assert (order.due, order.credited, order.readings) == (due, due, readings)
    assert left(4100, 4900, 900) == 3347
    without = Order(1, Visitor(1, clicked=False), "EUR", paid=4900, tax=800)
    assert (without.due, without.credited, without.readings) == (4100, 0, set())


# ── the audit ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Lived:
    """Hold orders that a bridge has lived through, and what is left of that."""

    orders: list[Order]
    sent: set[str]
    ledger: dict[str, Any]
    database: Path

    def look(self) -> Audit:
        return audit(self.orders, self.ledger, self.database, self.sent)

    def sale(self, vendor: str, order: Order) -> dict[str, Any]:
        """Return what a vendor holds of an order, to be changed."""
        sales: list[dict[str, Any]] = self.ledger[vendor]["sales"]
        (found,) = [each for each in sales if each["order"] == order.id]
        return found

    def lose(self, vendor: str, order: Order) -> None:
        self.ledger[vendor]["sales"].remove(self.sale(vendor, order))

    def change(self, sql: str, **values: str) -> None:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            assert connection.execute(sql, values).rowcount > 0


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Live through every life that there is, with all vendors told of each step, undisturbed."""
    folder = tmp_path_factory.mktemp("lived")
    orders = [Order(n, Visitor(n), "EUR", paid=4900, tax=800) for n in range(len(DUE))]
    tellers = [Teller(order) for order in orders]
    with pytest.MonkeyPatch.context() as patch, benches(folder / "lived.db", patch) as make:
        made = make(**settings_of("stripe"))
        for teller, (_, act, *_) in zip(tellers, DUE, strict=True):
            visitor = teller.order.visitor
            made.click(visitor.id, {**visitor.clicks, "tracify": IDENTITY})
            teller.sale()
            act(teller)
            for webhook in teller.webhooks:
                made.play(requests=[("stripe", WebhookRequest({}, webhook.body))])
        ledger = made.vendors.ledger.as_json()
    sent = {webhook.id for teller in tellers for webhook in teller.webhooks}
    return Lived(orders, sent, ledger, folder / "lived.db")


@pytest.fixture
def lived(once: Lived, tmp_path: Path) -> Lived:
    """What was lived through once, to be spoilt."""
    copied = tmp_path / "copy.db"
    with closing(sqlite3.connect(once.database)) as old, closing(sqlite3.connect(copied)) as new:
        old.backup(new)
    return Lived(once.orders, once.sent, deepcopy(once.ledger), copied)


def test_a_quiet_life_is_clean(lived: Lived) -> None:
    found = lived.look()
    assert (found.clean, str(found), found.unknown) == (True, "clean", [])
    assert {each.due for each in lived.orders} == {4100, 3347, 0}
    assert {len(lived.ledger[vendor]["sales"]) for vendor in VENDORS} == {len(DUE)}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("kind", [LOST, DOUBLED, AMOUNT, STATE])
def test_the_audit_sees_what_is_wrong_at_a_vendor(lived: Lived, vendor: str, kind: str) -> None:
    order = lived.orders[0]
    sale = lived.sale(vendor, order)
    match kind:
        case "lost":
            lived.lose(vendor, order)
        case "doubled":
            lived.ledger[vendor]["sales"].append(dict(sale))
        case "wrong amount":
            sale["amount"] = "41.01"
        case _:
            lived.ledger[vendor]["sales"].append({**sale, "order": "in_of_nobody"})
    found = lived.look()
    assert found.count(vendor) == {kind: 1}
    assert f"{vendor}: {kind}: in_" in str(found)


@pytest.mark.parametrize("vendor", ["trackdesk", "tapfiliate"])
@pytest.mark.parametrize("order", range(len(DUE)))
def test_the_audit_sees_a_wrong_status(lived: Lived, vendor: str, order: int) -> None:
    sale = lived.sale(vendor, lived.orders[order])
    approved = sale["status"] == "approved"
    assert approved is bool(lived.orders[order].credited)
    sale["status"] = "disapproved" if approved else "approved"
    found = lived.look()
    # The vendor's is one, that the bridge believes otherwise another.
    assert (found.count(vendor), found.count("bridge")) == ({STATE: 1}, {STATE: 1})


@pytest.mark.parametrize("vendor", ["taapit", "codeqr", "tracify"])
def test_the_audit_sees_what_was_told_again(lived: Lived, vendor: str) -> None:
    lived.sale(vendor, lived.orders[1])["told"] = 2
    assert lived.look().count(vendor) == {DOUBLED: 1}


def test_the_audit_sees_a_sale_credited_to_somebody_else(lived: Lived) -> None:
    lived.sale("codeqr", lived.orders[1])["click"] = "clk_0000"
    assert lived.look().count("codeqr") == {STATE: 1}


def test_only_taapit_may_lack_what_nobody_can_know(lived: Lived) -> None:
    order = lived.orders[0]
    conversion = f"stripe:{order.id}"
    lived.change("UPDATE deliveries SET state = 'unknown' WHERE conversion = :id", id=conversion)
    for vendor in VENDORS:
        lived.lose(vendor, order)
    found = lived.look()
    assert {each.where for each in found.findings if each.kind == LOST} == {*VENDORS} - {"taapit"}
    assert found.count("bridge") == {STATE: 4}
    assert found.unknown == sorted(f"{conversion}@{vendor}" for vendor in VENDORS)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("DELETE FROM events WHERE id = 'evt_0000_0'", LOST),
        ("UPDATE events SET id = 'evt_0000_1' WHERE id = 'evt_0001_1'", DOUBLED),
        ("UPDATE events SET state = 'received' WHERE id = 'evt_0000_0'", STATE),
        ("UPDATE events SET state = 'failed' WHERE id = 'evt_0000_0'", STATE),
        ("DELETE FROM conversions WHERE id = 'stripe:in_0000'", LOST),
        (
            "UPDATE conversions SET body = replace(body, '4100', '4099') "
            "WHERE id = 'stripe:in_0000'",
            AMOUNT,
        ),
        ("UPDATE deliveries SET state = 'due' WHERE id = 'stripe:in_0000@taapit'", STATE),
        ("UPDATE deliveries SET state = 'sending' WHERE id = 'stripe:in_0000@taapit'", STATE),
        ("UPDATE deliveries SET state = 'dead' WHERE id = 'stripe:in_0000@taapit'", STATE),
        ("UPDATE deliveries SET told = '{}' WHERE id = 'stripe:in_0000@taapit'", STATE),
    ],
)
def test_the_audit_sees_what_is_wrong_in_the_bridge(lived: Lived, sql: str, kind: str) -> None:
    lived.change(sql)
    assert lived.look().count("bridge")[kind] == 1


# ── the command line ─────────────────────────────────────────────────────────────────────────────


def test_the_long_form_says_how_to_run_it() -> None:
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    for option in ("--minutes", "--seed", "--orders", "--webhooks", "--kills", "--failing"):
        assert option in shown.output


def test_without_time_there_is_no_storm() -> None:
    ended = CliRunner().invoke(main, ["--storms", "0", "--no-boundaries"])
    assert (ended.exit_code, ended.output) == (0, "all clean\n")
