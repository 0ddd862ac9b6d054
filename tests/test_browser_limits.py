"""The script where little is allowed: no consent, no storage, no features, a strict policy."""

from __future__ import annotations

from typing import Any

import pytest
from browser import Scene, Set, chromium, chromium_path, scene
from playwright.sync_api import Page

__all__ = ["chromium", "scene"]

EVERYTHING = "[document.cookie, localStorage.length, sessionStorage.length]"
THROWS = "{configurable: true, get() { throw new DOMException('blocked', 'SecurityError') }}"
COOKIES_BLOCKED = f"""Object.defineProperty(Document.prototype, 'cookie',
    {{...{THROWS}, set() {{ throw new DOMException('blocked', 'SecurityError') }}}});"""
STORAGE_BLOCKED = "".join(
    f"Object.defineProperty(window, '{each}', {THROWS});"
    for each in ("localStorage", "sessionStorage")
)
# What a page, an old browser or another script may have done before ours comes.
HOSTILE = {
    "frozen navigator": "Object.freeze(window.navigator)",
    "no navigator": "Object.defineProperty(window, 'navigator', {value: undefined})",
    "no beacon": "Navigator.prototype.sendBeacon = undefined",
    "a beacon that refuses": "Navigator.prototype.sendBeacon = () => false",
    "a beacon that throws": "Navigator.prototype.sendBeacon = () => { throw new Error('no') }",
    "no fetch": "delete window.fetch",
    "no address parser": "delete window.URLSearchParams; delete window.URL",
    "no crypto": "Object.defineProperty(window, 'crypto', {value: undefined})",
    "crypto that throws": "Crypto.prototype.getRandomValues = () => { throw new Error('no') }",
    "no storage": STORAGE_BLOCKED,
    "no cookies": COOKIES_BLOCKED,
    "full storage": "Storage.prototype.setItem = () => { throw new Error('full') }",
    "no current script": "Object.defineProperty(document, 'currentScript', {value: null})",
    "names on every object": "Object.prototype.extra = 'x'; Array.prototype.more = () => {}",
}
# Where nothing can be sent, or nothing is left to start from.
HOPELESS = {
    "neither beacon nor fetch": "delete window.fetch; delete Navigator.prototype.sendBeacon",
    "no tag": """Object.defineProperty(document, 'currentScript', {value: null});
        Document.prototype.querySelector = () => null""",
    "no JSON": "JSON.stringify = JSON.parse = undefined",
    "no arrays": "Array.prototype.forEach = undefined",
    "frozen prototypes": "Object.freeze(Object.prototype); Object.freeze(Array.prototype)",
}
BODY = "<script>window.after = 'it runs'</script>"


def kept(page: Page) -> Any:
    return page.evaluate(EVERYTHING)


# ── consent ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def unasked(scene: Set) -> Scene:
    """A shop that asks its visitors first."""
    here = scene()
    here.use_tag(consent="required")
    return here


def test_without_consent_nothing_is_read_stored_or_sent(unasked: Scene) -> None:
    here = unasked
    here.set_cookie("cq_id", "clk_1")
    here.shop.head = "<script>bridge = [['identify', {external_id: 'user_1'}]]</script>"
    page = here.land("/?ta_tid=tid_1&utm_source=x")
    page.evaluate("bridge.identify({email: 'jane@example.com'})")
    assert page.evaluate("bridge.ids()") == {}
    assert kept(page) == ["cq_id=clk_1", 0, 0]
    here.land("/second?ta_tid=tid_2", page)
    assert kept(page) == ["cq_id=clk_1", 0, 0]
    assert here.traffic.quiet
    assert here.bench.store.customers.count() == {"customers": 0, "clicks": 0}


def test_with_consent_all_of_it_happens(unasked: Scene) -> None:
    here = unasked
    here.set_cookie("cq_id", "clk_1")
    page = here.land("/?ta_tid=tid_1")
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    assert here.traffic.quiet
    page.evaluate("bridge.consent(true)")
    landing, introduction = here.traffic.next(2)
    assert landing.clicks == introduction.clicks == {"taapit": "tid_1", "codeqr": "clk_1"}
    assert introduction.body["customer"]["external_id"] == "user_1"
    assert set(page.evaluate("bridge.ids()")) == {
        "bridge_id",
        "taapit_click_id",
        "codeqr_click_id",
    }
    page.evaluate("bridge.consent(true)")
    page.evaluate("bridge.identify({external_id: 'user_2'})")
    here.traffic.next()
    assert here.traffic.quiet
    customers = here.bench.store.customers
    clicks = customers.clicks(customers.aliases(["external_id:user_1"]))
    assert {"taapit", "codeqr"} <= {each.vendor for each in clicks}


def test_consent_may_be_given_before_the_script_comes(unasked: Scene) -> None:
    unasked.shop.head = "<script>bridge = [['consent', true]]</script>"
    unasked.land("/?ta_tid=tid_1")
    assert unasked.traffic.next()[0].clicks == {"taapit": "tid_1"}


@pytest.mark.parametrize("given", ["false", "", "null", "'true'", "1"])
def test_consent_withdrawn_removes_what_was_kept_and_stops(scene: Set, given: str) -> None:
    here = scene()
    here.use_tag(domain="shop.localhost")
    page = here.land(here.shop.at("www.shop.localhost") + "/?ta_tid=tid_1&utm_source=x")
    assert "_bridge=" in kept(page)[0]
    page.evaluate(f"bridge.consent({given})")
    assert kept(page) == ["", 0, 0]
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    assert page.evaluate("bridge.ids()") == {}
    assert kept(page) == ["", 0, 0]
    here.traffic.next()
    assert here.traffic.quiet


def test_consent_refused_before_the_script_comes_is_heeded(scene: Set) -> None:
    here = scene()
    here.shop.head = "<script>bridge = [['consent', false]]</script>"
    page = here.land("/?ta_tid=tid_1")
    assert kept(page) == ["", 0, 0]
    page.evaluate("bridge.consent(true)")
    assert here.traffic.next()[0].clicks == {"taapit": "tid_1"}
    assert here.traffic.quiet


@pytest.mark.parametrize("call", ["bridge.ids()", "bridge.identify({external_id: 'user_1'})"])
def test_consent_withdrawn_in_one_tab_is_withdrawn_in_all(scene: Set, call: str) -> None:
    here = scene("taapit", "codeqr")
    tab, other = here.land("/?ta_tid=tid_1"), here.land("/second")
    here.traffic.next()
    tab.evaluate("bridge.consent(false)")
    for page in (other, tab):
        page.wait_for_function("localStorage.length === 0")  # another tab's news take a moment
        page.evaluate(call)
        assert page.evaluate("bridge.ids()") == {}
        assert kept(page) == ["", 0, 0]
    assert here.traffic.quiet


def test_consent_given_again_in_one_tab_brings_back_no_click_of_another(scene: Set) -> None:
    here = scene("taapit", "codeqr")
    tab, other = here.land("/second"), here.land("/?ta_tid=tid_1")
    here.traffic.next()
    before = tab.evaluate("bridge.ids().bridge_id")
    tab.evaluate("bridge.consent(false), bridge.consent(true)")
    after = tab.evaluate("bridge.ids()")
    assert (list(after), after["bridge_id"] == before) == (["bridge_id"], False)
    other.wait_for_function("id => localStorage._bridge.includes(id)", arg=after["bridge_id"])
    assert other.evaluate("bridge.ids()") == after


# ── what is blocked ──────────────────────────────────────────────────────────────────────────────


def test_with_everything_blocked_this_page_still_works(scene: Set) -> None:
    here = scene()
    here.context.add_init_script(COOKIES_BLOCKED + STORAGE_BLOCKED)
    page = here.land("/?ta_tid=tid_1&ref=jane")
    found = page.evaluate("bridge.ids()")
    assert (found["taapit_click_id"], found["tapfiliate_click_id"]) == (
        "tid_1",
        '{"referral_code":"jane"}',
    )
    page.evaluate("bridge.identify({stripe: 'cus_1'})")
    for post in here.traffic.next(2):
        assert post.status == 201
        assert post.body["customer"]["anonymous_id"] == found["bridge_id"]
    assert here.context.cookies() == []
    assert (here.errors, here.said) == ([], [])


def test_in_a_sandboxed_frame_payments_still_get_the_ids(scene: Set) -> None:
    """Such a frame has neither cookies nor storage, and no origin: what it reports is refused."""
    here = scene()
    script = here.context.request.get(f"{here.url}/bridge.js").text()
    # Chromium keeps pages without an origin away from this machine.
    here.context.route("**/bridge.js", lambda route: route.fulfill(body=script))
    here.shop.headers["Content-Security-Policy"] = "sandbox allow-scripts"
    here.shop.body = BODY
    page = here.land("/?ta_tid=tid_1")
    assert page.evaluate("bridge.ids().taapit_click_id") == "tid_1"
    assert page.evaluate("[origin, window.after]") == ["null", "it runs"]
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    assert here.errors == []


@pytest.mark.parametrize("before", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_page_gets_what_is_possible_and_no_harm(scene: Set, before: str) -> None:
    here = scene("taapit")
    here.shop.head, here.shop.body = f"<script>{before}</script>", BODY
    page = here.land("/?ta_tid=tid_1")
    (post,) = here.traffic.next()
    assert (post.status, post.clicks) == (201, {"taapit": "tid_1"})
    assert post.body["customer"]["anonymous_id"] == page.evaluate("bridge.ids().bridge_id")
    page.evaluate("bridge.identify({external_id: 'user_1'})")
    assert here.traffic.next()[0].status == 201
    assert page.evaluate("[window.after, typeof bridge.consent(false)]") == ["it runs", "undefined"]
    assert (here.errors, here.said) == ([], [])


@pytest.mark.parametrize("before", HOPELESS.values(), ids=HOPELESS.keys())
def test_where_nothing_is_possible_no_harm_is_done(scene: Set, before: str) -> None:
    here = scene("taapit")
    here.shop.head, here.shop.body = f"<script>{before}</script>", BODY
    page = here.land("/?ta_tid=tid_1")
    assert page.evaluate("window.after") == "it runs"
    page.evaluate("bridge.identify({external_id: 'user_1'}), bridge.ids(), bridge.push(1)")
    page.evaluate("bridge.consent(false), bridge.consent(true)")
    assert (here.errors, here.said) == ([], [])


def test_a_bridge_that_cannot_be_reached_harms_no_page(scene: Set) -> None:
    here = scene()
    here.use_tag()
    script = here.context.request.get(f"{here.url}/bridge.js").text()
    here.context.route("**/bridge.js", lambda route: route.fulfill(body=script))
    here.context.route("**/clicks*", lambda route: route.abort())
    here.shop.body = BODY
    for before in ("", "<script>delete Navigator.prototype.sendBeacon</script>"):
        here.shop.head = before
        page = here.land("/?ta_tid=tid_1")
        assert page.evaluate("[window.after, bridge.ids().taapit_click_id]") == ["it runs", "tid_1"]
    assert here.errors == []


def test_without_chromium_a_test_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        chromium_path()


# ── who may ──────────────────────────────────────────────────────────────────────────────────────


def test_a_foreign_page_is_refused(scene: Set) -> None:
    here = scene(BRIDGE_ALLOWED_ORIGINS="https://shop.example")
    here.shop.body = BODY
    page = here.land("/?ta_tid=tid_1")
    page.evaluate("bridge.identify({stripe: 'cus_1'})")
    assert [post.status for post in here.traffic.next(2)] == [403, 403]
    assert here.bench.store.customers.count() == {"customers": 0, "clicks": 0}
    assert page.evaluate("window.after") == "it runs"
    assert here.errors == []


def test_a_wrong_key_is_refused(scene: Set) -> None:
    here = scene()
    here.shop.tag = here.shop.tag.replace("pk_made_up", "pk_other")
    here.land("/?ta_tid=tid_1")
    assert here.traffic.next()[0].status == 401
    assert here.bench.store.customers.count() == {"customers": 0, "clicks": 0}


def test_the_script_may_be_fetched_across_origins_and_reports_without_a_preflight(
    scene: Set,
) -> None:
    here = scene("taapit")
    here.shop.tag = here.shop.tag.replace("<script", "<script crossorigin='anonymous'")
    here.shop.head = "<script>delete Navigator.prototype.sendBeacon</script>"
    page = here.land(here.shop.url + "/?ta_tid=tid_1")
    (post,) = here.traffic.next()
    assert (post.status, post.headers["Sec-Fetch-Mode"]) == (201, "cors")
    assert "Cookie" not in post.headers
    assert here.traffic.preflights == 0
    assert page.evaluate("bridge.ids().taapit_click_id") == "tid_1"


def test_a_strict_policy_that_allows_only_the_bridge_is_enough(scene: Set) -> None:
    here = scene()
    here.shop.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src {here.url}; connect-src {here.url}; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    page = here.page()
    page.add_init_script(
        "window.broken = [];"
        "addEventListener('securitypolicyviolation', e => broken.push(e.violatedDirective))"
    )
    here.land("/?ta_tid=tid_1", page)
    page.evaluate("bridge.identify({stripe: 'cus_1'})")
    assert [post.status for post in here.traffic.next(2)] == [201, 201]
    assert page.evaluate("bridge.ids().taapit_click_id") == "tid_1"
    assert page.evaluate("window.broken") == []
    assert (here.errors, here.said) == ([], [])
