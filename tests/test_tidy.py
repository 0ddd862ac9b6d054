"""Tidying: what grows with every visitor goes once it serves no purpose, and nothing else does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit import CUSTOMER, SALE, Bench, Make
from merchant import conversions, counted, post, sign_up, visit
from redactions import written

from bridge.codec import iso
from bridge.intake import Intake
from bridge.model import ConversionKind
from bridge.store.rows import DeliveryRow, DeliveryState, Said
from bridge.worker import TIDY_AGAIN, TIDY_EVERY, VISITS_AT_ONCE

VISIT = ConversionKind.PAGEVIEW
URL = "https://shop.example/landing?utm_source=x&email=jane@mail.example"
SEEN = {"ip": "203.0.113.77", "user_agent": "Mozilla/5.0 (made up for tests)", "url": URL}
BROWSER = "anonymous:b_1"
TABLES = (
    "conversions", "conversion_keys", "deliveries", "attempts", "payments", "refs", "event_keys",
    "events", "asks", "clicks", "click_keys", "aliases", "bonds",
)  # fmt: skip


@pytest.fixture
def shop(make: Make) -> Bench:
    """A shop that tells Tracify of visits; a week of retention, a month of attribution."""
    made = make(
        "tracify",
        "taapit",
        TRACIFY_PAGEVIEWS="1",
        BRIDGE_RETENTION_DAYS="7",
        BRIDGE_ATTRIBUTION_DAYS="30",
    )
    made.clock.catch_up()  # what is posted comes now, however long after this was written
    return made


def come(made: Bench, who: str = "b_1", days_ago: float = 0, **customer: str) -> None:
    """Have a browser come to the shop; have nothing delivered yet."""
    body = {
        "customer": {"anonymous_id": who, **customer},
        "context": SEEN,
        "clicks": {"taapit": f"tid_of_{who}"},
        "occurred_at": iso(made.clock() - timedelta(days=days_ago)),
    }
    post(made, "/clicks", body)
    made.worker.process_events()


def rows_of(made: Bench) -> dict[str, int]:
    """Return how many rows each table has."""
    sql = "SELECT count(*) AS n FROM {}"
    query = made.store.query  # type: ignore[attr-defined]
    return {table: query(sql.format(table))[0]["n"] for table in TABLES}


def visit_row(made: Bench) -> DeliveryRow:
    (one,) = conversions(made, VISIT)
    (row,) = made.store.deliveries.of_conversion(one.id)
    return row


# ── visits ───────────────────────────────────────────────────────────────────────────────────────


def test_visits_go_after_the_retention(shop: Bench) -> None:
    come(shop)
    shop.worker.drain()
    come(shop, days_ago=3)
    shop.worker.drain()
    shop.clock.advance(days=3.9)
    shop.worker.tidy()
    assert len(conversions(shop, VISIT)) == 2
    shop.clock.advance(days=0.2)
    shop.worker.tidy()
    assert len(conversions(shop, VISIT)) == 1
    shop.clock.advance(days=3)
    shop.worker.tidy()
    assert conversions(shop, VISIT) == []


def test_nothing_is_left_of_a_visit(shop: Bench) -> None:
    before = rows_of(shop)
    come(shop)
    shop.worker.drain()
    (one,) = conversions(shop, VISIT)
    shop.store.asks.add("bridge", "", one.id, shop.clock())
    assert {name for name, count in rows_of(shop).items() if count} == {*TABLES} - {"bonds"}
    assert written(shop, URL, one.order) == {URL, one.order}
    shop.clock.advance(days=31)
    shop.worker.tidy()
    assert rows_of(shop) == before
    shop.worker.drain()
    assert written(shop, URL, one.order, "tid_of_b_1", "b_1") == set()


ANSWERS: dict[str, tuple[list[dict[str, object]], DeliveryState, bool]] = {
    "accepted": ([], DeliveryState.SETTLED, True),
    "refused": ([{"status": 400, "body": "no"}], DeliveryState.DEAD, True),
    "busy": ([{"status": 503, "body": "busy"}], DeliveryState.DUE, False),
}


@pytest.mark.parametrize(("answers", "state", "goes"), ANSWERS.values(), ids=ANSWERS)
def test_a_visit_stays_while_it_is_to_be_told(
    shop: Bench, answers: list[dict[str, object]], state: DeliveryState, goes: bool
) -> None:
    shop.fault("tracify", *answers)
    come(shop)
    shop.worker.drain()
    assert visit_row(shop).state is state
    shop.clock.advance(days=8)
    shop.worker.tidy()
    assert (conversions(shop, VISIT) == []) is goes
    shop.worker.drain()  # what was kept is told, late as it is
    shop.worker.tidy()
    assert conversions(shop, VISIT) == []
    assert counted(shop)["tracify"] == (1 if goes else 2)


def test_a_visit_in_doubt_stays_for_a_person(shop: Bench) -> None:
    shop.fault("tracify", {"commit_then_reset": True})
    come(shop, external_id="user_7")
    shop.worker.drain()
    intake = Intake(shop.store, shop.config)
    intake.redact(intake.redaction.find(["external_id:user_7"]), shop.clock())
    assert visit_row(shop).state is DeliveryState.UNKNOWN
    shop.clock.advance(days=8)
    shop.worker.tidy()
    row = visit_row(shop)
    assert shop.store.deliveries.resolve(row, shop.clock(), None)
    shop.worker.drain()
    shop.worker.tidy()
    assert conversions(shop, VISIT) == []


def test_planned_and_skipped_visits_go(make: Make) -> None:
    settings = {"TRACIFY_PAGEVIEWS": "1", "BRIDGE_RETENTION_DAYS": "7"}
    made = make("tracify", "taapit", BRIDGE_DRY_RUN="1", **settings)
    come(made)
    made.worker.drain()
    assert visit_row(made).state is DeliveryState.PLANNED
    made.clock.advance(days=8)
    made.worker.tidy()
    assert conversions(made, VISIT) == []
    come(made)
    off = make("tracify", "taapit", **settings | {"TRACIFY_PAGEVIEWS": "0"})
    off.clock.now = made.clock() + timedelta(minutes=1)
    off.worker.drain()
    assert visit_row(off).state is DeliveryState.SKIPPED
    off.clock.advance(days=8)
    off.worker.tidy()
    assert conversions(off, VISIT) == []


def test_what_is_no_visit_stays(shop: Bench) -> None:
    sign_up(shop, customer={"external_id": "user_1", "anonymous_id": "b_1"})
    shop.click(CUSTOMER)
    shop.play(*SALE)
    before = rows_of(shop)
    come(shop, "b_1")
    come(shop, "b_2")
    shop.worker.drain()
    shop.clock.advance(days=8)
    shop.worker.tidy()
    after = rows_of(shop)
    for table in ("conversions", "conversion_keys", "deliveries", "attempts", "payments", "events"):
        assert after[table] == before[table]
    assert {each.kind for each in shop.store.orders.newest()} == {"lead", "sale"}


def test_many_visits_go_bit_by_bit(shop: Bench) -> None:
    for day in range(5):
        come(shop, days_ago=day)
    shop.worker.drain()
    before = shop.clock() + timedelta(days=1)
    assert [shop.store.orders.drop_visits(before, 2) for _ in range(4)] == [2, 2, 1, 0]


def test_the_oldest_visits_go_first(shop: Bench) -> None:
    for day in (1, 3, 2):
        come(shop, f"b_{day}", days_ago=day)
    shop.worker.drain()
    shop.store.orders.drop_visits(shop.clock(), 2)
    (left,) = conversions(shop, VISIT)
    assert left.keys == ("anonymous:b_1",)


@pytest.mark.parametrize(("most", "pause"), [(1, TIDY_AGAIN), (VISITS_AT_ONCE, TIDY_EVERY)])
def test_the_worker_comes_back_soon_where_more_is_left(
    shop: Bench, monkeypatch: pytest.MonkeyPatch, most: int, pause: timedelta
) -> None:
    monkeypatch.setattr("bridge.worker.VISITS_AT_ONCE", most)
    come(shop, "b_1")
    come(shop, "b_2")
    shop.worker.drain()
    shop.clock.advance(days=8)
    shop.worker.step()
    assert len(conversions(shop, VISIT)) == (1 if most == 1 else 0)
    come(shop, "b_3", days_ago=8)
    shop.worker.drain()
    left = len(conversions(shop, VISIT))
    shop.clock.advance(seconds=pause.total_seconds() - 1)
    shop.worker.step()
    assert len(conversions(shop, VISIT)) == left
    shop.clock.advance(seconds=2)
    shop.worker.step()
    assert len(conversions(shop, VISIT)) == left - 1


# ── clicks of strangers ──────────────────────────────────────────────────────────────────────────


def clicks(made: Bench, key: str = BROWSER) -> set[str]:
    """Return which vendors' clicks are stored under a key."""
    return {each.vendor for each in made.store.customers.clicks([key])}


def test_a_browser_that_only_came_is_a_stranger(shop: Bench) -> None:
    shop.fault("tracify", {"status": 503, "body": "busy"})  # its visit stays
    come(shop)
    shop.worker.drain()
    assert clicks(shop) == {"taapit", "tracify"}
    shop.clock.advance(days=29)
    shop.worker.tidy()
    assert clicks(shop) == {"taapit", "tracify"}
    shop.clock.advance(days=2)
    shop.worker.tidy()
    assert len(conversions(shop, VISIT)) == 1
    assert clicks(shop) == set()
    assert shop.store.customers.find([BROWSER]) == []


def test_a_browser_that_said_whose_it_is_is_none(shop: Bench) -> None:
    come(shop, "b_1")
    come(shop, "b_2")
    visit(shop, customer={"anonymous_id": "b_1", "external_id": "user_1"})
    shop.clock.advance(days=31)
    shop.worker.tidy()
    assert clicks(shop) == {"taapit", "tracify"}
    assert clicks(shop, "anonymous:b_2") == set()


def test_a_browser_that_signed_up_or_bought_is_none(shop: Bench) -> None:
    come(shop)
    sign_up(shop, customer={"anonymous_id": "b_1"}, clicks={})
    shop.clock.advance(days=31)
    shop.worker.tidy()
    assert clicks(shop) == {"taapit", "tracify"}


@pytest.mark.parametrize("other", ["external_id:user_1", "stripe:cus_1", "email:0a"])
def test_a_click_that_stands_under_another_key_stays(shop: Bench, other: str) -> None:
    """Whatever became of the bond that came with it."""
    customers = shop.store.customers
    with shop.store.atomic():
        for key in (BROWSER, other):
            customers.join([key], Said())
        for named in ([BROWSER, other], [BROWSER]):
            customers.add_click("taapit", "x", named, shop.clock(), exact=True, source="api")
    later = shop.clock() + timedelta(days=1)
    assert customers.drop_strangers(later, 100) == 1
    assert clicks(shop, other) == clicks(shop, BROWSER) == {"taapit"}
    assert customers.drop_strangers(later, 100) == 0


def test_kept_clicks_are_not_in_the_way_of_others(shop: Bench) -> None:
    customers = shop.store.customers
    for number in range(3):
        keys = [f"anonymous:a{number}", "external_id:user_1"]
        customers.add_click("taapit", "x", keys, shop.clock(), exact=True, source="api")
    for number in range(3):
        keys = [f"anonymous:b{number}"]
        customers.add_click("taapit", "x", keys, shop.clock(), exact=True, source="api")
    later = shop.clock() + timedelta(days=1)
    assert [customers.drop_strangers(later, 2) for _ in range(3)] == [2, 1, 0]
