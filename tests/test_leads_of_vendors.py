"""What a vendor makes of a lead: the sales after it, and the e-mail address in both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from test_vendors import (
    CALLS,
    NAMES,
    clicks_of,
    drive,
    id_of,
    made,
    name_of,
    of_no_money,
    read,
    signed_up,
    sold,
)

from bridge import codec
from bridge.model import Call, Conversion, ConversionKind, Response, Told
from bridge.sandbox import RunningSandbox, serve_sandbox
from bridge.vendors.base import AnyVendor

KEY = "taapit_sk_demo"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with serve_sandbox() as running:
        yield running


def tell(vendor: AnyVendor, conversion: Conversion) -> Told:
    """Send a vendor's stand-in all there is to tell of a conversion."""
    told = Told()
    while isinstance(call := vendor.next_call(conversion, told), Call):
        headers = {"Content-Type": "application/json", **vendor.authorize()}
        body = codec.dumps(codec.to_plain(call)["json"])
        with requests.Session() as http:
            http.trust_env = False
            answer = http.request(call.method, call.url, data=body, headers=headers, timeout=10)
        verdict = vendor.judge(call, Response(status=answer.status_code, body=answer.text))
        assert isinstance(verdict, Told), verdict
        told = verdict
    return told


@pytest.mark.parametrize("name", NAMES)
def test_a_sale_after_a_lead_needs_no_click(name: str) -> None:
    """Tell a lead, then a sale of the same person, of whom only that lead is known."""
    vendor = made(name)
    lead, calls = drive(vendor, signed_up(name), Told())
    sale = replace(sold(name), customer="cus_else", clicks={})
    assert not drive(vendor, sale, Told())[1]
    if not vendor.capabilities.lead:
        assert not calls
        return
    assert lead.known_as == signed_up(name).customer

    told, calls = drive(vendor, replace(sale, leads={name: lead.known_as}), Told())
    assert (told.amount, told.known_as) == (sale.value, sale.order)
    sent = codec.dump(calls[-1])
    assert lead.known_as in sent
    assert sale.customer not in sent
    assert not any(id in sent for id in clicks_of(name)[0].values())


@pytest.mark.parametrize("path", CALLS, ids=id_of)
def test_an_address_has_a_place_of_its_own(path: Path) -> None:
    """Find where the e-mail address goes: in what is sent, where nothing else is."""
    call = read(path)["expect"].get("call", {})
    vendor = made(name_of(path), **read(path).get("settings", {}))
    *way, last = call.get("address", "").split(".")
    place = call.get("json") or {}
    for each in way:
        place = place[each]
    assert last not in place
    assert bool(last) <= vendor.wants_email
    assert bool(last) or not (vendor.wants_email and call.get("step") in {"sale", "lead"})


@pytest.mark.parametrize("name", [name for name in NAMES if made(name).capabilities.lead])
def test_a_stand_in_credits_a_sale_to_the_click_of_its_lead(
    sandbox: RunningSandbox, name: str
) -> None:
    sandbox.ledger.clear()
    vendor = made(name, base_url=f"{sandbox.url}/{name}", api_key=KEY)
    lead = signed_up(name)
    known_as = tell(vendor, lead).known_as
    tell(vendor, replace(sold(name), clicks={}, leads={name: known_as}))

    account = sandbox.ledger.as_json()[name]
    assert [(sale["order"], sale["customer"]) for sale in account["sales"]] == [
        (sold(name).order, lead.customer)
    ]
    assert {each["click"] for each in account["leads"]} == {account["sales"][0]["click"]}
    assert account["refused"] == 0


@pytest.mark.parametrize("name", [name for name in NAMES if made(name).capabilities.pageview])
def test_a_stand_in_takes_every_visit(sandbox: RunningSandbox, name: str) -> None:
    sandbox.ledger.clear()
    vendor = made(name, base_url=f"{sandbox.url}/{name}")
    for click in clicks_of(name):
        visit = of_no_money(sold(name), ConversionKind.PAGEVIEW)
        tell(vendor, replace(visit, customer="", clicks={name: click}))
    account = sandbox.ledger.as_json()[name]
    assert account["pageviews"]
    assert (account["sales"], account["refused"]) == ([], 0)
    assert {each["url"] for each in account["pageviews"]} >= {
        click["url"] for click in clicks_of(name) if click.get("url", "").startswith("https://")
    }
