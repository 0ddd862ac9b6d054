"""From a click to a credited payment, the whole way: browser, merchant's server, provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from browser import Scene, Set, chromium, scene
from cases import case_of
from kit import API_KEY, IDENTITY, Sent
from playwright.sync_api import Page

from bridge.model import WebhookRequest

__all__ = ["chromium", "scene"]

LANDING = "/?ta_tid=tid_1&cq_id=clk_1&cid=c_1&ref=jane&utm_source=newsletter"
CLICKS = {"taapit": "tid_1", "codeqr": "clk_1", "trackdesk": "c_1", "tapfiliate": "jane"}
# A provider's fixtures of one payment; the last one names its customer.
PAYMENTS = {
    "stripe": ("stripe/invoice_payment.paid", "stripe/invoice.paid"),
    "paddle": ("paddle/transaction.completed",),
    "shopify": ("shopify/orders/paid",),
}
EMAIL = "somebody@example.com"
# The shop's own sign-up: the page says who signed up just before it goes on to the next one.
SIGN_UP = """
<form method="post" action="/welcome"><input name="email"><button>Sign up</button></form>
<script>
  document.querySelector("form").addEventListener("submit", function () {
    bridge.identify(window.account);
  });
</script>
"""


def thing_in(body: Any, provider: str) -> dict[str, Any]:
    """Return the object of a webhook that names the customer and may carry metadata."""
    found = {
        "stripe": lambda: body["data"]["object"],
        "paddle": lambda: body["data"],
        "shopify": lambda: body,
    }[provider]()
    assert isinstance(found, dict)
    return found


def customer_of(provider: str) -> str:
    """Return the customer id in a provider's fixture."""
    thing = thing_in(json.loads(case_of(PAYMENTS[provider][-1]).body), provider)
    names = {"stripe": "customer", "paddle": "customer_id", "shopify": "customer"}
    customer = thing[names[provider]]
    return str(customer["id"] if isinstance(customer, dict) else customer)


def carrying(provider: str, metadata: Mapping[str, str]) -> list[Sent]:
    """Return the requests of a payment with the metadata that the merchant gave it."""
    sent = []
    for name in PAYMENTS[provider]:
        request = case_of(name).request
        body = json.loads(request.body)
        thing = thing_in(body, provider)
        if provider == "stripe":
            thing["metadata"] = dict(metadata)
        elif provider == "paddle":
            thing["custom_data"] = dict(metadata)
        else:
            pairs = metadata.items()
            thing["note_attributes"] = [{"name": name, "value": value} for name, value in pairs]
        sent.append((provider, WebhookRequest(request.headers, json.dumps(body).encode())))
    return sent


def sign_up(here: Scene, page: Page, account: Mapping[str, str]) -> None:
    """Have the visitor sign up on the shop's page."""
    here.shop.body = SIGN_UP
    here.land("/sign-up", page)
    page.evaluate("account => { window.account = account }", dict(account))
    page.fill("input", EMAIL)
    with page.expect_navigation(url="**/welcome"):
        page.click("button")


def tell_of_lead(here: Scene, customer: Mapping[str, str]) -> None:
    """Do what the merchant's server does when somebody signed up."""
    answer = requests.post(
        f"{here.url}/leads",
        json={"customer": dict(customer)},
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=10,
    )
    assert answer.status_code == 201, answer.text
    deliver(here)


def deliver(here: Scene) -> None:
    here.bench.clock.catch_up()
    here.bench.worker.process_events()
    here.bench.worker.drain()


def credited(here: Scene, what: str) -> dict[str, str]:
    """Return the click of the only sale (or lead) that each vendor holds."""
    ledger = here.bench.vendors.ledger.as_json()
    found = {vendor: {each["click"] for each in ledger[vendor][what]} for vendor in CLICKS}
    return {vendor: click for vendor, (click,) in found.items() if click}


@pytest.mark.parametrize("provider", PAYMENTS)
def test_a_click_becomes_a_lead_and_a_sale_at_every_vendor(scene: Set, provider: str) -> None:
    here = scene(TRACIFY_PAGEVIEWS="1")
    page = here.land(LANDING)
    here.land("/pricing", page)
    customer = {"external_id": "user_1001", "email": EMAIL, provider: customer_of(provider)}
    sign_up(here, page, customer)
    assert [post.status for post in here.traffic.next(2)] == [201, 201]

    tell_of_lead(here, {"external_id": "user_1001"})
    assert credited(here, "leads") == CLICKS
    (visit,) = here.bench.vendors.ledger.as_json()["tracify"]["pageviews"]
    assert visit["url"].startswith(f"{here.shop.url}/?ta_tid=tid_1")
    assert visit["campaign"] == {"utm_source": "newsletter"}

    here.bench.play(*PAYMENTS[provider])
    assert credited(here, "sales") == CLICKS
    assert len(here.bench.sales("tracify")) == 1
    assert (here.errors, here.said) == ([], [])


@pytest.mark.parametrize("provider", PAYMENTS)
def test_the_server_may_be_the_one_who_knows_the_providers_customer(
    scene: Set, provider: str
) -> None:
    here = scene()
    page = here.land(LANDING)
    sign_up(here, page, {"external_id": "user_77"})
    here.traffic.next(2)
    tell_of_lead(here, {"external_id": "user_77", provider: customer_of(provider)})
    here.bench.play(requests=carrying(provider, {}))
    assert credited(here, "leads") == credited(here, "sales") == CLICKS


@pytest.mark.parametrize("provider", PAYMENTS)
def test_a_payment_is_joined_with_its_browser_by_the_id_in_its_metadata(
    scene: Set, provider: str
) -> None:
    here = scene()
    page = here.land(LANDING)
    here.traffic.next()
    here.land("/cart", page)
    metadata = {"bridge_id": page.evaluate("bridge.ids().bridge_id")}
    here.bench.clock.catch_up()
    here.bench.play(requests=carrying(provider, metadata))
    assert credited(here, "sales") == CLICKS


@pytest.mark.parametrize("provider", PAYMENTS)
def test_metadata_alone_is_enough_where_all_else_is_blocked(scene: Set, provider: str) -> None:
    here = scene()
    here.traffic.gone = True
    here.context.add_init_script(
        "for (const each of ['localStorage', 'sessionStorage'])"
        "    Object.defineProperty(window, each, {get() { throw new Error('blocked') }});"
        "Object.defineProperty(Document.prototype, 'cookie', {get: () => '', set() {}});"
    )
    page = here.land(LANDING)
    metadata = page.evaluate("bridge.ids()")
    assert here.traffic.next()[0].status == 503
    assert here.bench.store.customers.count()["clicks"] == 0
    here.bench.play(requests=carrying(provider, metadata))
    assert credited(here, "sales") == CLICKS


def test_a_sale_before_the_visitor_says_who_they_are_is_credited_then(scene: Set) -> None:
    here = scene("taapit", "codeqr", "trackdesk", "tapfiliate")
    page = here.land(LANDING)
    here.traffic.next()
    here.bench.clock.catch_up()
    here.bench.play(*PAYMENTS["stripe"])
    assert here.bench.sales("taapit") == []
    assert reasons(here) == {"no click stored for this customer"}
    page.evaluate("id => bridge.identify({stripe: id})", customer_of("stripe"))
    here.traffic.next()
    deliver(here)
    assert credited(here, "sales") == CLICKS


def test_who_lands_after_the_sale_was_not_brought_by_that(scene: Set) -> None:
    here = scene("taapit", "codeqr", "trackdesk", "tapfiliate")
    here.bench.clock.catch_up()
    here.bench.play(*PAYMENTS["stripe"])
    page = here.land(LANDING)
    page.evaluate("id => bridge.identify({stripe: id})", customer_of("stripe"))
    here.traffic.next(2)
    deliver(here)
    assert not any(map(here.bench.sales, CLICKS))
    assert reasons(here) == {"no click stored for this customer"}


def reasons(here: Scene) -> set[str]:
    return {row.reason for row in here.bench.store.deliveries.newest()}


def test_the_visitors_address_is_the_one_the_trusted_proxy_saw(scene: Set) -> None:
    here = scene("tracify", BRIDGE_TRUSTED_PROXIES="1")
    here.traffic.address = "8.8.8.8"
    page = here.land("/?utm_source=newsletter")
    here.traffic.next()
    customers = here.bench.store.customers
    keys = [f"anonymous:{page.evaluate('bridge.ids().bridge_id')}"]
    (click,) = customers.clicks(customers.aliases(keys))
    assert isinstance(click.value, dict)
    assert click.value["ip_hash"] == IDENTITY["ip_hash"]
    assert "8.8.8.8" not in json.dumps(click.value)
