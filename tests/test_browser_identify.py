"""What a page calls: identify, ids, and the queue for a tag that comes late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from browser import KEY, Scene, Set, chromium, scene
from playwright.sync_api import Page

__all__ = ["chromium", "scene"]

# What a page may pass, and what is sent of it.
GIVEN: list[tuple[str, dict[str, str]]] = [
    ("{external_id: 'user_1'}", {"external_id": "user_1"}),
    (
        "{external_id: ' user_1 ', email: 'Jane@example.com', stripe: 'cus_1', paddle: 'ctm_1'}",
        {
            "external_id": "user_1",
            "email": "Jane@example.com",
            "stripe": "cus_1",
            "paddle": "ctm_1",
        },
    ),
    ("{shopify: 6123456789}", {"shopify": "6123456789"}),
    ("{stripe: 'cus_1', name: 'Jane', anonymous_id: 'x'}", {"stripe": "cus_1"}),
    (
        "{external_id: 'user_1', email: null, stripe: {}, paddle: NaN, shopify: ['1']}",
        {"external_id": "user_1"},
    ),
    (
        "{external_id: 'user_1', email: 'x'.repeat(256), stripe: '', paddle: 'a\\nb'}",
        {"external_id": "user_1"},
    ),
]
NOBODY = [
    "",
    "null",
    "undefined",
    "1",
    "'user_1'",
    "{}",
    "[]",
    "{name: 'Jane'}",
    "{external_id: ''}",
    "{external_id: '  '}",
    "{external_id: 'Undefined', email: 'null', stripe: 0, paddle: NaN, shopify: 1 / 0}",
    "{external_id: true}",
    "{get external_id() { throw new Error('mine') }}",
    "new Proxy({}, {get() { throw new Error('mine') }})",
]


@pytest.fixture
def here(scene: Set) -> Scene:
    """A bridge on which no vendor asks for visits, so that nothing but clicks is reported."""
    return scene("taapit", "codeqr", "trackdesk", "tapfiliate", BRIDGE_CLICKS_PER_MINUTE="1000")


def clicks_of(here: Scene, *keys: str) -> set[str]:
    customers = here.bench.store.customers
    return {each.vendor for each in customers.clicks(customers.aliases(keys))}


def clicks_in(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate("bridge.ids()")
    return {name: value for name, value in found.items() if name != "bridge_id"}


# ── identify ─────────────────────────────────────────────────────────────────────────────────────


def test_who_signs_up_gets_the_clicks_of_their_browser(here: Scene) -> None:
    page = here.land("/?ta_tid=tid_1&ref=jane")
    here.traffic.next()
    here.land("/sign-up", page)
    assert clicks_of(here, "external_id:user_1") == set()
    page.evaluate("bridge.identify({external_id: 'user_1', stripe: 'cus_1'})")
    (post,) = here.traffic.next()
    assert post.status == 201
    assert post.body["customer"] == {
        "external_id": "user_1",
        "stripe": "cus_1",
        "anonymous_id": page.evaluate("bridge.ids().bridge_id"),
    }
    assert post.clicks == {"taapit": "tid_1", "tapfiliate": {"referral_code": "jane"}}
    for key in ("external_id:user_1", "stripe:cus_1"):
        assert clicks_of(here, key) == {"taapit", "tapfiliate"}


def test_clicks_are_sent_again_with_the_time_of_their_landing(here: Scene) -> None:
    page = here.page()
    noon = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    page.clock.install(time=noon)
    page.clock.pause_at(noon + timedelta(seconds=1))
    here.land("/?ta_tid=tid_1&cid=c_1", page)
    page.clock.fast_forward("24:00:00")
    here.land("/?cq_id=clk_1", page)
    page.clock.fast_forward("10:00")
    here.land("/sign-up", page)
    assert all("occurred_at" not in post.body for post in here.traffic.next(2))
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    sent = {post.body["occurred_at"]: post.clicks for post in here.traffic.next(2)}
    first = noon + timedelta(seconds=1)
    times = [f"{each:%Y-%m-%dT%H:%M:%S}.000Z" for each in (first, first + timedelta(days=1))]
    assert sent == {
        times[0]: {"taapit": "tid_1", "trackdesk": "c_1"},
        times[1]: {"codeqr": "clk_1"},
    }


def test_the_first_report_may_be_lost(here: Scene) -> None:
    here.traffic.gone = True
    page = here.land("/?ta_tid=tid_1")
    assert here.traffic.next()[0].status == 503
    here.traffic.gone = False
    here.land("/sign-up", page)
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    assert here.traffic.next()[0].status == 201
    assert clicks_of(here, "external_id:user_1") == {"taapit"}


def test_only_ids_are_sent_of_what_a_page_passes(here: Scene) -> None:
    for given, sent in GIVEN:
        page = here.land("/")
        page.evaluate(f"bridge.identify({given})")
        (post,) = here.traffic.next()
        assert post.status == 201
        customer = dict(post.body["customer"])
        assert customer.pop("anonymous_id") == page.evaluate("bridge.ids().bridge_id")
        assert customer == sent
        page.close()


def test_who_is_nobody_is_not_told_of(here: Scene) -> None:
    page = here.land("/?ta_tid=tid_1")
    here.traffic.next()
    for given in NOBODY:
        assert page.evaluate(f"bridge.identify({given})") is None
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    assert here.traffic.next()[0].body["customer"]["external_id"] == "user_1"
    assert here.errors == []


def test_the_same_person_is_told_of_once_per_page(here: Scene) -> None:
    page = here.land("/")
    for id in ("user_1", "user_1", "user_2", "user_1"):
        page.evaluate(f"bridge.identify({{external_id: '{id}'}})")
    page.evaluate("bridge.identify({external_id: 'user_1', email: 'jane@example.com'})")
    told = [post.body["customer"] for post in here.traffic.next(3)]
    assert sorted((each["external_id"], "email" in each) for each in told) == [
        ("user_1", False),
        ("user_1", True),
        ("user_2", False),
    ]
    here.land("/second", page)
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    here.traffic.next()
    assert here.traffic.quiet


def test_who_is_told_of_without_a_network_is_told_of_again_with_one(here: Scene) -> None:
    page = here.land("/?ta_tid=tid_1")
    here.traffic.next()
    here.context.set_offline(True)
    for _ in range(2):
        page.evaluate("bridge.identify({external_id: 'user_1'})")
    assert here.traffic.quiet
    here.context.set_offline(False)
    (post,) = here.traffic.next()
    assert (post.status, post.body["customer"]["external_id"]) == (201, "user_1")
    page.evaluate("bridge.identify({external_id: 'user_1'}), dispatchEvent(new Event('online'))")
    page.evaluate("bridge.identify({external_id: 'user_2'})")
    assert here.traffic.next()[0].body["customer"]["external_id"] == "user_2"
    assert here.traffic.quiet
    assert clicks_of(here, "external_id:user_1") == {"taapit"}


@pytest.mark.parametrize("year", [1969, 2019, 2100])
def test_the_time_of_a_clock_that_is_far_out_is_not_told(here: Scene, year: int) -> None:
    page = here.page()
    page.clock.install(time=datetime(year, 6, 1, tzinfo=UTC))
    here.land("/?ta_tid=tid_1", page)
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    for post in here.traffic.next(2):
        assert (post.status, post.clicks) == (201, {"taapit": "tid_1"})
        assert "occurred_at" not in post.body


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────


def test_ids_are_strings_that_every_provider_takes(here: Scene) -> None:
    """Stripe takes 500 characters; a longer click is still found by the browser's own id."""
    more = "".join(f"&tm_{at}={'x' * 250}" for at in range(3))
    page = here.land(f"/?ref=jane{more}&ta_tid={'t' * 255}")
    found: dict[str, Any] = page.evaluate("bridge.ids()")
    assert set(found) == {"bridge_id", "taapit_click_id"}
    assert all(isinstance(each, str) and 0 < len(each) <= 500 for each in found.values())
    page.evaluate("bridge.ids().bridge_id = 'changed'")
    assert page.evaluate("bridge.ids()") == found


def test_a_visitor_without_clicks_keeps_the_id_that_a_payment_got(here: Scene) -> None:
    page = here.land("/cart")
    given = page.evaluate("bridge.ids()")
    assert list(given) == ["bridge_id"]
    here.land("/?ta_tid=tid_1", page)
    assert here.traffic.next()[0].body["customer"]["anonymous_id"] == given["bridge_id"]


# ── several tabs ─────────────────────────────────────────────────────────────────────────────────


def test_a_tab_uses_and_keeps_what_another_has_learnt(here: Scene) -> None:
    stale = here.land("/?ta_tid=tid_1&cid=c_1")
    fresh = here.land("/?ta_tid=tid_2&cq_id=clk_2")
    here.traffic.next(2)
    learnt = {
        "taapit_click_id": "tid_2",
        "codeqr_click_id": "clk_2",
        "trackdesk_click_id": "c_1",
    }
    assert clicks_in(stale) == learnt
    stale.evaluate("bridge.identify({external_id: 'user_1'})")
    told: dict[str, Any] = {}
    for post in here.traffic.next(2):
        told.update(post.clicks)
    assert told == {"taapit": "tid_2", "codeqr": "clk_2", "trackdesk": "c_1"}
    here.land("/second", fresh)
    assert clicks_in(fresh) == learnt
    assert here.traffic.quiet


def test_two_tabs_without_a_click_become_one_visitor(here: Scene) -> None:
    tabs = [here.land("/"), here.land("/second")]
    assert len({each.evaluate("bridge.ids().bridge_id") for each in tabs}) == 1


def test_a_newer_click_that_could_not_be_kept_is_not_lost(here: Scene) -> None:
    page = here.land("/?ta_tid=tid_1")
    here.shop.head = """<script>
        Storage.prototype.setItem = () => { throw new Error('full') };
        const cookie = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie');
        Object.defineProperty(Document.prototype, 'cookie', {...cookie, set() {}});
    </script>"""
    here.land("/?ta_tid=tid_2", page)
    assert clicks_in(page) == {"taapit_click_id": "tid_2"}


# ── a tag that comes late, twice, or beside something of the same name ───────────────────────────


def tag_of(here: Scene, how: str) -> str:
    return f'<script {how} src="{here.url}/bridge.js" data-key="{KEY}"></script>'


def test_calls_made_before_the_script_came_are_made_up_for(here: Scene) -> None:
    here.shop.head = """<script>
        window.bridge = window.bridge || [];
        bridge.push(["identify", {external_id: "user_1"}]);
        bridge.push(["no such call", 1], null, 5, ["identify"], ["push", ["identify", null]]);
    </script>"""
    here.shop.tag = tag_of(here, "async")
    page = here.land("/?ta_tid=tid_1")
    landing, introduction = here.traffic.next(2)
    assert landing.clicks == introduction.clicks == {"taapit": "tid_1"}
    assert introduction.body["customer"]["external_id"] == "user_1"
    page.evaluate("bridge.push(['identify', {external_id: 'user_2'}])")
    assert here.traffic.next()[0].body["customer"]["external_id"] == "user_2"
    assert here.errors == []


def test_loaded_twice_it_reports_once(here: Scene) -> None:
    here.shop.tag = tag_of(here, "") + tag_of(here, "") + tag_of(here, "defer")
    page = here.land("/?ta_tid=tid_1")
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    here.traffic.next(2)
    here.land("/second?ta_tid=tid_2", page)
    assert here.traffic.next()[0].clicks == {"taapit": "tid_2"}
    assert here.traffic.quiet


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        ("<script>window.bridge = {mine: 1}</script>", True),
        ("<script>window.bridge = function () {}</script>", True),
        ("<script>Object.defineProperty(window, 'bridge', {value: 1})</script>", True),
        ("<div id='bridge'></div>", False),
    ],
)
def test_what_the_page_itself_calls_bridge_stays(here: Scene, head: str, kept: bool) -> None:
    here.shop.head = head
    page = here.land("/?ta_tid=tid_1")
    assert here.traffic.next()[0].clicks == {"taapit": "tid_1"}
    assert page.evaluate("typeof bridge.ids") == ("undefined" if kept else "function")
    assert here.errors == []
