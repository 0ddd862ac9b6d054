"""The script in a real browser: what it finds, and what it reports of a visitor."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from browser import KEY, Scene, Set, chromium, scene

__all__ = ["chromium", "scene"]

COOKIE = '{"tenantId":"acme","cid":"2c1f6f0e"}'
LONG = "x" * 256
REFERRAL = {"referral_code": "jane"}
PLACE = {"asset_id": "a1", "source_id": "s1"}
# An address: what is reported, and what goes into a payment's metadata.
LANDINGS: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("?ta_tid=tid_1", {"taapit": "tid_1"}, {"taapit_click_id": "tid_1"}),
    ("?cq_id=clk_1", {"codeqr": "clk_1"}, {"codeqr_click_id": "clk_1"}),
    ("?dub_id=clk_1", {"codeqr": "clk_1"}, {"codeqr_click_id": "clk_1"}),
    ("?dub_id=b&cq_id=a", {"codeqr": "a"}, {"codeqr_click_id": "a"}),
    ("?cid=c_1", {"trackdesk": "c_1"}, {"trackdesk_click_id": "c_1"}),
    ("?click_id=k_1", {"tapfiliate": "k_1"}, {"tapfiliate_click_id": "k_1"}),
    (
        "?ref=jane",
        {"tapfiliate": REFERRAL},
        {"tapfiliate_click_id": '{"referral_code":"jane"}'},
    ),
    ("?ref=jane&click_id=k_1", {"tapfiliate": "k_1"}, {"tapfiliate_click_id": "k_1"}),
    (
        "?tap_a=a1&tap_s=s1",
        {"tapfiliate": PLACE},
        {"tapfiliate_click_id": '{"asset_id":"a1","source_id":"s1"}'},
    ),
    (
        "?ref=jane&tm_color=red&tm_=1&tm_a-b=1",
        {"tapfiliate": {**REFERRAL, "tm_color": "red"}},
        {"tapfiliate_click_id": '{"referral_code":"jane","tm_color":"red"}'},
    ),
    ("?ta_tid=a%2Bb+c%20d%C3%A9", {"taapit": "a+b c dé"}, {"taapit_click_id": "a+b c dé"}),
    ("?ta_tid=%E0%A4%A", {"taapit": "%E0%A4%A"}, {"taapit_click_id": "%E0%A4%A"}),
    ("?ta_tid=1&ta_tid=2&ta_tid=", {"taapit": "2"}, {"taapit_click_id": "2"}),
    (
        f"?cq_id={LONG}&dub_id=b&ta_tid={LONG}&tap_vid=v",
        {"codeqr": "b"},
        {"codeqr_click_id": "b"},
    ),
    (
        "?ta_tid=t&cq_id=q&cid=c&click_id=k",
        {"taapit": "t", "codeqr": "q", "trackdesk": "c", "tapfiliate": "k"},
        {
            "taapit_click_id": "t",
            "codeqr_click_id": "q",
            "trackdesk_click_id": "c",
            "tapfiliate_click_id": "k",
        },
    ),
]
NO_CLICKS = ["", "?tap_vid=v_1", "?tap_a=a1", "?ta_tid=", "?TA_TID=x", "?xta_tid=1", "#ta_tid=1"]
COOKIES = [
    ("ta_tid", "tid_1", {"taapit": "tid_1"}),
    ("cq_id", "clk_1", {"codeqr": "clk_1"}),
    ("dub_id", "clk_1", {"codeqr": "clk_1"}),
    ("trakdesk_cid", quote(COOKIE), {"trackdesk": COOKIE}),
    ("trakdesk_cid", COOKIE, {"trackdesk": COOKIE}),
    ("trakdesk_cid", "2c1f6f0e", {"trackdesk": "2c1f6f0e"}),
]
WITHOUT_VISITS = ("taapit", "codeqr", "trackdesk", "tapfiliate")


@pytest.fixture
def here(scene: Set) -> Scene:
    """A bridge on which every vendor is on but the one that wants to hear of every visitor."""
    return scene(*WITHOUT_VISITS)


def stored(here: Scene, *keys: str) -> set[tuple[str, str]]:
    """Return the clicks that are stored for a customer."""
    customers = here.bench.store.customers
    clicks = customers.clicks(customers.aliases(keys))
    return {(each.vendor, json.dumps(each.value, sort_keys=True)) for each in clicks}


def ids(page: Any) -> dict[str, str]:
    """Return what the page would put into a payment's metadata, but the visitor's own id."""
    found: dict[str, str] = page.evaluate("bridge.ids()")
    return {name: value for name, value in found.items() if name != "bridge_id"}


# ── landing ──────────────────────────────────────────────────────────────────────────────────────


def test_what_a_visitor_lands_with_is_reported_kept_and_given_to_payments(scene: Set) -> None:
    """One browser for all: starting a bridge for each would take minutes."""
    here = scene(*WITHOUT_VISITS, BRIDGE_CLICKS_PER_MINUTE="1000")
    for query, clicks, metadata in LANDINGS:
        here.context.clear_cookies()
        page = here.land("/empty")
        page.evaluate("localStorage.clear()")
        here.land(f"/landing{query}", page)
        (post,) = here.traffic.next()
        assert (post.status, post.clicks) == (201, clicks), query
        assert "occurred_at" not in post.body
        assert ids(page) == metadata
        visitor = page.evaluate("bridge.ids().bridge_id")
        assert post.body["customer"] == {"anonymous_id": visitor}
        assert {name for name, _ in stored(here, f"anonymous:{visitor}")} == set(clicks)
        for path in ("/second", "/third"):
            here.land(path, page)
        assert page.evaluate("bridge.ids()") == {"bridge_id": visitor, **metadata}
        page.close()
    assert here.traffic.quiet
    assert (here.errors, here.said) == ([], [])


def test_without_a_click_nothing_is_reported_and_nothing_kept(here: Scene) -> None:
    here.set_cookie("tap_vid", "v_1")
    page = here.page()
    for query in NO_CLICKS:
        here.land(f"/{query}", page)
    assert set(here.cookies()) == {"tap_vid"}
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert ids(page) == {}
    here.land("/?ta_tid=tid_1", page)
    (post,) = here.traffic.next()
    assert post.clicks == {"taapit": "tid_1"}


def test_clicks_that_vendors_keep_in_cookies_are_found(here: Scene) -> None:
    for name, value, clicks in COOKIES:
        here.context.clear_cookies()
        page = here.land("/empty?")
        page.evaluate("localStorage.clear()")
        here.set_cookie(name, value)
        here.land("/", page)
        (post,) = here.traffic.next()
        assert (post.status, post.clicks) == (201, clicks)
        here.land("/second", page)
        (found,) = ids(page).values()
        assert [found] == list(clicks.values())
        page.close()
    assert here.traffic.quiet


@pytest.mark.parametrize(
    ("cookie", "query", "vendor"),
    [
        ("ta_tid", "ta_tid", "taapit"),
        ("dub_id", "cq_id", "codeqr"),
        ("trakdesk_cid", "cid", "trackdesk"),
    ],
)
def test_the_address_wins_over_an_older_cookie(
    here: Scene, cookie: str, query: str, vendor: str
) -> None:
    here.set_cookie(cookie, "old")
    page = here.land(f"/?{query}=new")
    assert here.traffic.next()[0].clicks == {vendor: "new"}
    for path in ("/second", "/third"):
        here.land(path, page)
        assert list(ids(page).values()) == ["new"]
    here.set_cookie(cookie, "newest")
    here.land("/fourth", page)
    assert here.traffic.next()[0].clicks == {vendor: "newest"}
    assert list(ids(page).values()) == ["newest"]
    assert here.traffic.quiet


def test_the_same_click_in_the_vendors_own_cookie_is_no_news(here: Scene) -> None:
    page = here.land("/?cid=2c1f6f0e&ta_tid=tid_1")
    here.traffic.next()
    here.set_cookie("trakdesk_cid", quote(COOKIE))
    here.set_cookie("ta_tid", "tid_1")
    here.land("/second", page)
    here.land("/?cid=2c1f6f0e&ta_tid=tid_1", page)
    here.land("/?ta_tid=tid_2", page)
    assert here.traffic.next()[0].clicks == {"taapit": "tid_2"}
    assert here.traffic.quiet


def test_what_programs_write_for_no_id_replaces_no_click(here: Scene) -> None:
    page = here.land("/?ta_tid=tid_1&cq_id=Null&cid=0")
    assert here.traffic.next()[0].clicks == {"taapit": "tid_1"}
    here.set_cookie("ta_tid", "undefined")
    here.land("/second?ta_tid=none", page)
    assert ids(page) == {"taapit_click_id": "tid_1"}
    assert here.traffic.quiet


def test_control_characters_are_in_no_click(here: Scene) -> None:
    here.land("/?ta_tid=a%00b&cq_id=a%0Ab&cid=c_1")
    assert here.traffic.next()[0].clicks == {"trackdesk": "c_1"}


def test_one_click_that_cannot_be_read_does_not_cost_the_others(here: Scene) -> None:
    here.set_cookie("trakdesk_cid", '{"tenantId":"other","cid":"1"}')
    here.land("/?ta_tid=tid_1&tap_a=a1")
    (post,) = here.traffic.next()
    assert post.status == 201
    visitor = post.body["customer"]["anonymous_id"]
    assert {name for name, _ in stored(here, f"anonymous:{visitor}")} == {"taapit"}


def test_what_is_sent_of_the_page_ends_before_the_fragment_and_is_not_endless(here: Scene) -> None:
    here.land(f"/a/page?ta_tid=tid_1&more={'y' * 5000}#token=secret")
    context = here.traffic.next()[0].body["context"]
    assert len(context["url"]) == 4096
    page = here.land("/from?private=1#secret")
    page.evaluate("location.href = '/to?ta_tid=tid_2#secret'")
    (post,) = here.traffic.next()
    assert post.body["context"] == {
        "url": f"{here.shop.url}/to?ta_tid=tid_2",
        "referrer": f"{here.shop.url}/from?private=1",
    }
    assert "secret" not in post.text


def test_the_longest_report_is_short_enough(here: Scene) -> None:
    long = quote("é" * 250)
    more = "".join(f"&tm_{at}={long}" for at in range(30))
    for name in ("ta_tid", "cq_id", "trakdesk_cid"):
        here.set_cookie(name, "x" * 255)
    here.land(f"/?ref={long}{more}")
    (post,) = here.traffic.next()
    assert post.status == 201
    assert len(post.text.encode()) < 32 * 1024
    assert len(post.clicks["tapfiliate"]) == 11


# ── visits ───────────────────────────────────────────────────────────────────────────────────────


def test_a_vendor_that_sees_visitors_hears_of_visits_not_of_every_page(scene: Set) -> None:
    here = scene("tracify")
    page = here.page()

    def reported(path: str, **how: Any) -> dict[str, Any]:
        here.land(path, page, **how)
        (post,) = here.traffic.next()
        assert (post.status, post.clicks) == (201, {})
        context: dict[str, Any] = post.body["context"]
        return context

    assert reported("/new")["url"].endswith("/new")
    here.land("/second", page)
    assert reported("/?utm_source=a")["url"].endswith("/?utm_source=a")
    here.land("/?utm_source=a", page)  # loaded again
    here.land("/third", page)
    assert reported("/?trc_mcmp_id=1")["url"].endswith("/?trc_mcmp_id=1")
    # Back from a payment provider, in the same tab.
    here.land("/thanks", page, referer="https://checkout.example/pay")
    other = here.page()
    here.land("/direct", other)
    other.close()
    page = here.page()
    assert reported("/", referer="https://search.example/")["referrer"] == "https://search.example/"
    assert here.traffic.quiet
    assert len({each.body["customer"]["anonymous_id"] for each in here.traffic.posts}) == 1


def test_what_tracify_asks_for_is_stored_of_a_visit(scene: Set) -> None:
    here = scene("tracify")
    page = here.land("/?utm_source=newsletter&trc_mcmp_id=7")
    here.traffic.next()
    visitor = page.evaluate("bridge.ids().bridge_id")
    ((vendor, value),) = stored(here, f"anonymous:{visitor}")
    click = json.loads(value)
    assert vendor == "tracify"
    assert (click["utm_source"], click["trc_mcmp_id"]) == ("newsletter", "7")
    assert "user_agent_hash" in click
    assert "HeadlessChrome" not in value


# ── keeping ──────────────────────────────────────────────────────────────────────────────────────


def test_the_cookie_is_first_party_lax_and_lives_90_days(here: Scene) -> None:
    page = here.land("/deep/in/the/shop?ta_tid=tid_1")
    (cookie,) = here.context.cookies()
    assert (cookie.get("name"), cookie.get("path"), cookie.get("sameSite")) == (
        "_bridge",
        "/",
        "Lax",
    )
    left = float(cookie.get("expires", 0)) - page.evaluate("Date.now() / 1000")
    assert 89.9 < left / 86400 < 90.1
    assert here.traffic.next()[0].status == 201


@pytest.mark.parametrize("lost", ["cookie", "storage"])
def test_either_place_is_enough_to_remember(here: Scene, lost: str) -> None:
    page = here.land("/?ta_tid=tid_1")
    visitor = page.evaluate("bridge.ids()")
    if lost == "cookie":
        here.context.clear_cookies()
    else:
        page.evaluate("localStorage.clear()")
    here.land("/second", page)
    assert page.evaluate("bridge.ids()") == visitor


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "{",
        "null",
        "[]",
        '"text"',
        '{"id":"x","at":1}',
        '{"id":5,"at":1e300,"clicks":{}}',
        '{"id":"visitor-1","at":NOW,"clicks":null}',
        '{"id":"visitor-1","at":NOW,"clicks":{"taapit":null}}',
        '{"id":"visitor-1","at":"soon","clicks":{"taapit":{"click":"x","at":"soon"}}}',
    ],
)
def test_what_cannot_be_read_is_forgotten(here: Scene, kept: str) -> None:
    page = here.land("/empty")
    page.evaluate("text => localStorage.setItem('_bridge', text.replace('NOW', Date.now()))", kept)
    here.land("/", page)
    assert list(page.evaluate("bridge.ids()")) == ["bridge_id"]
    assert page.evaluate("bridge.ids().bridge_id") != "visitor-1"
    here.land("/?ta_tid=tid_1", page)
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    assert [post.status for post in here.traffic.next(2)] == [201, 201]
    assert here.errors == []


def test_a_vendor_that_is_off_by_now_is_forgotten(here: Scene) -> None:
    page = here.land("/?ta_tid=tid_1")
    here.traffic.next()
    changed = "localStorage.getItem('_bridge').replace('taapit', 'gone')"
    page.evaluate(f"localStorage.setItem('_bridge', {changed})")
    here.context.clear_cookies()
    here.land("/second", page)
    assert list(page.evaluate("bridge.ids()")) == ["bridge_id"]


def test_after_90_days_a_visitor_is_a_new_one(here: Scene) -> None:
    page = here.page()
    page.clock.install()
    here.land("/?ta_tid=tid_1", page)
    first = page.evaluate("bridge.ids().bridge_id")
    page.clock.fast_forward(89 * 86_400_000)
    here.land("/second", page)
    assert page.evaluate("bridge.ids().bridge_id") == first
    page.clock.fast_forward(2 * 86_400_000)
    here.land("/third", page)
    assert ids(page) == {}
    assert page.evaluate("bridge.ids().bridge_id") != first


def test_sub_domains_share_a_visitor_where_the_tag_names_their_domain(here: Scene) -> None:
    """Every name under localhost is this machine, to a browser."""
    here.use_tag(domain=".shop.localhost")
    page = here.land(here.shop.at("www.shop.localhost") + "/?ta_tid=tid_1")
    visitor = page.evaluate("bridge.ids()")
    here.land(here.shop.at("pay.shop.localhost") + "/", page)
    assert page.evaluate("bridge.ids()") == visitor
    here.use_tag()
    here.land(here.shop.at("other.localhost") + "/", page)
    assert ids(page) == {}


def test_reports_go_to_where_the_script_came_from(here: Scene) -> None:
    script = here.context.request.get(f"{here.url}/bridge.js").text()
    here.context.route(
        "**/in/a/folder/bridge.js*",
        lambda route: route.fulfill(body=script, content_type="text/javascript"),
    )
    here.shop.tag = (
        f'<script async src="{here.url}/in/a/folder/bridge.js?v=1#x/y" data-key="p&amp;k"></script>'
    )
    here.land("/?ta_tid=tid_1")
    (post,) = here.traffic.next()
    assert post.path == "/in/a/folder/clicks?key=p%26k"


def test_without_a_key_nothing_is_reported(here: Scene) -> None:
    here.shop.tag = f'<script src="{here.url}/bridge.js"></script>'
    page = here.land("/?ta_tid=tid_1")
    assert ids(page) == {"taapit_click_id": "tid_1"}
    here.shop.tag = f'<script src="{here.url}/bridge.js" data-key="{KEY}"></script>'
    here.land("/?cq_id=clk_1", page)
    assert here.traffic.next()[0].clicks == {"codeqr": "clk_1"}
