"""A shop in which everything has happened once, to be moved to another database."""

from __future__ import annotations

import atexit
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import cast

import postgres
import pytest
from cases import CASES, unsigned
from kit import API_KEY, CLICKS, CUSTOMER, EVERYTHING, SALE, Bench, bench, body_of
from redactions import redact
from stores import a_call

from bridge.inbox import receive
from bridge.store import open_store
from bridge.store.copy import Report, move
from bridge.store.moves import OWN_FACTS, Side
from bridge.store.tables import tables_of
from bridge.web import create_app

SETTINGS = {
    "BRIDGE_SECRET_KEY": "secret_made_up_for_tests",
    "CODEQR_SEND_EMAIL": "1",
}
LEAD = {
    "customer": {"external_id": "u_9", "email": "jane@example.com"},
    "clicks": CLICKS,
    "occurred_at": "2026-11-01T12:00:00Z",
}


def sale_of(name: str) -> str:
    """Return the body of another sale: of an invoice, and in an event, of that name."""
    body = body_of("invoice.paid")
    id = json.loads(body)["id"]
    for ours, theirs in ((CUSTOMER, "cus"), ("in_1QNjVgZk4Tp9WvLqVyR24PLZ", "in"), (id, "evt")):
        body = body.replace(ours, f"{theirs}_{name}")
    return body


def fill(made: Bench) -> None:
    """Have everything happen: a lead, doubts, refusals, a person removed, all fixtures."""
    headers = {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": "once"}
    web = create_app(made.config, made.store).test_client()
    assert web.post("/leads", json=LEAD, headers=headers).status_code == 201
    made.clock.catch_up()
    made.worker.drain()
    made.click(CUSTOMER)
    made.fault("taapit", {"commit_then_reset": True})
    made.fault("tapfiliate", {"reset": True})
    made.fault("trackdesk", {"status": 500}, {"status": 429, "headers": {"Retry-After": "600"}})
    made.fault("codeqr", {"status": 422, "body": '{"message": "no"}'})
    made.play(*SALE)
    made.play(bodies=[EVERYTHING])
    redact(made)
    made.clock.advance(hours=1)
    made.store.asks.add("stripe", "", "pi_nobody", made.clock())
    made.store.asks.add("shopify", "acme.myshopify.com", "820982911946154508", made.clock())


def fill_more(made: Bench) -> None:
    """Take in what every provider sends; leave some of it to be processed."""
    made.receive(*(str(case) for case in CASES))


def take_up(made: Bench) -> None:
    """Have deliveries under way, as of a worker that ended in the middle of a call."""
    for name in ("under_way", "waiting"):
        made.click(f"cus_{name}")
    made.receive(bodies=[sale_of("under_way")])
    until = made.clock() + timedelta(minutes=1)
    for vendor in ("tapfiliate", "codeqr"):
        rows = made.store.deliveries.lease(vendor, made.clock(), until, "gone", 100)
        (row,) = (each for each in rows if each.conversion == "stripe:in_under_way")
        assert made.store.deliveries.start(row, a_call("in_under_way"), until)
    waiting = made.config.providers["stripe"].read(unsigned(sale_of("waiting")))
    assert receive(made.store, waiting, made.clock())


# ── databases ────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def side(url: str) -> Iterator[Side]:
    store = cast(Side, open_store(url))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def sides(source: str, target: str) -> Iterator[tuple[Side, Side]]:
    """Open both, the target migrated."""
    with side(source) as one, side(target) as other:
        other.migrate()
        yield one, other


def quiet(what: str, rows: int) -> None:
    """Watch a move, and say nothing."""


def moved(source: str, target: str) -> Report:
    with sides(source, target) as (one, other):
        return move(one, other, quiet)


class StoppedError(Exception):
    """Stop a move, as a failure in its midst does."""


def stopped(source: str, target: str, phase: str) -> None:
    """Move until a phase."""

    def watch(what: str, rows: int) -> None:
        if what == phase:
            raise StoppedError

    with sides(source, target) as (one, other), pytest.raises(StoppedError):
        move(one, other, watch)


def content(url: str) -> dict[str, list[str]]:
    """Return all that a database holds but for what it keeps of itself, in no order."""
    with side(url) as store:
        held = {
            table.name: [
                repr(sorted(row.items()))
                for row in store.query(f"SELECT * FROM {table.name}")  # noqa: S608
                if table.name != "facts" or row["name"] not in OWN_FACTS
            ]
            for table in tables_of(store)
        }
    return {name: sorted(rows) for name, rows in held.items()}


def source_of(kind: str, folder: Path, *, large: bool = False) -> str:
    """Return the address of a shop of one's own in which everything has happened."""
    if kind == "sqlite":
        folder.mkdir(exist_ok=True)
        return f"sqlite:///{shutil.copy(_shop(large), folder / 'old.db')}"
    template = postgres.name_of(_shop_on_postgres(large))
    return postgres.address(postgres.named(f'TEMPLATE "{template}" STRATEGY file_copy'))


def target_of(kind: str, folder: Path) -> str:
    """Return the address of a database with nothing in it."""
    return f"sqlite:///{folder / 'new.db'}" if kind == "sqlite" else postgres.fresh("target")


@cache
def _shop(large: bool) -> Path:
    path = Path(mkdtemp(prefix="bridge-shop-")) / "shop.db"
    atexit.register(shutil.rmtree, path.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TEST_DATABASE", raising=False)
        with bench(path, patch, **SETTINGS) as made:
            fill(made)
            take_up(made)
            if large:
                fill_more(made)
    return path


@cache
def _shop_on_postgres(large: bool) -> str:
    with TemporaryDirectory() as folder:
        moved(f"sqlite:///{shutil.copy(_shop(large), folder)}", url := postgres.lasting())
    return url
