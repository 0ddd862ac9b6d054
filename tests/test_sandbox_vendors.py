"""Each sandbox vendor's own ways: what it counts, refuses, changes and shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from stand_ins import (
    CODEQR_LEAD,
    CODEQR_SALE,
    EMAIL,
    GOOD,
    IP,
    KEYS,
    ORIGIN,
    TAAPIT_LEAD,
    TAAPIT_SALE,
    TAPFILIATE_CHANGE,
    TAPFILIATE_CUSTOMER,
    TAPFILIATE_CUSTOMER_CHANGE,
    TAPFILIATE_NEW,
    TAPFILIATE_REST,
    TRACIFY_EVENTS,
    TRACKDESK_LINK,
    TRACKDESK_NEW,
    TRACKDESK_STATUS,
    Client,
    changed,
    fresh_client,
)

from bridge.sandbox import RunningSandbox, serve_sandbox


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    with serve_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def client(running: RunningSandbox) -> Iterator[Client]:
    with fresh_client(running) as ready:
        yield ready


# ── each vendor's own ways ───────────────────────────────────────────────────────────────────────


def test_taapit_counts_every_accepted_sale(client: Client) -> None:
    client.send(TAAPIT_SALE)
    client.send(TAAPIT_SALE)
    assert [sale["told"] for sale in client.sales("taapit")] == [1, 1]


def test_taapit_needs_no_click_after_a_lead(client: Client) -> None:
    assert client.send(TAAPIT_LEAD).json() == {"ok": True}
    assert client.send(TAAPIT_LEAD).json() == {"ok": True}
    assert client.send(TAAPIT_SALE, trackingId=...).json() == {"ok": True}
    account = client.get("/ledger/taapit")
    assert account["sales"][0]["click"] == "rLnWe1uz9t282v7g"
    assert account["leads"] == [
        {
            "vendor": "taapit",
            "customer": "user_1",
            "click": "rLnWe1uz9t282v7g",
            "told": 1,
            "type": "lead",
            "meta": {},
        }
    ]


def test_codeqr_answers_a_repeated_invoice_from_memory(client: Client) -> None:
    first = client.send(CODEQR_SALE).json()
    assert first["invoiceId"] == "in_1"
    assert first["amount"] == 1437
    assert client.send(CODEQR_SALE, amount=999).json() == first
    assert [(sale["amount"], sale["told"]) for sale in client.sales("codeqr")] == [("14.37", 1)]


def test_codeqr_without_invoice_counts_every_sale(client: Client) -> None:
    client.send(CODEQR_SALE, invoiceId=None)
    client.send(CODEQR_SALE, invoiceId=...)
    assert len(client.sales("codeqr")) == 2


@pytest.mark.parametrize("changes", [{"clickId": ...}, {"clickId": None}, {"amount": 0}])
def test_codeqr_acknowledges_what_it_does_not_record(
    client: Client, changes: dict[str, Any]
) -> None:
    answer = client.send(CODEQR_SALE, **changes)
    assert (answer.status_code, answer.json()) == (200, {"customer": None, "sale": None})
    assert client.sales("codeqr") == []
    assert "recorded nothing" in client.get("/calls")[0]["error"]
    # Nothing was recorded for that invoice, so it is still free.
    assert client.send(CODEQR_SALE).json()["invoiceId"] == "in_1"


def test_codeqr_knows_a_customer_by_the_lead(client: Client) -> None:
    client.send(CODEQR_LEAD)
    answer = client.send(CODEQR_SALE, clickId=..., leadEventName="sign up")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert client.send(CODEQR_SALE, clickId=..., leadEventName="Sign up").status_code == 200
    assert client.sales("codeqr")[0]["click"] == "clk_1"


def test_codeqr_credits_a_sale_without_click_to_the_latest_lead(client: Client) -> None:
    client.send(CODEQR_LEAD)
    client.send(CODEQR_LEAD, eventName="Trial", clickId="clk_2")
    client.send(CODEQR_LEAD, customerExternalId="user_2", clickId="clk_3")
    assert client.send(CODEQR_SALE, clickId=...).status_code == 200
    assert client.send(CODEQR_SALE, clickId="clk_4", invoiceId="in_2").status_code == 200
    assert client.send(CODEQR_SALE, clickId=None, invoiceId="in_3").status_code == 200
    assert [sale["click"] for sale in client.sales("codeqr")] == ["clk_2", "clk_4", "clk_2"]


def test_codeqr_needs_a_lead_even_of_a_customer_it_knows(client: Client) -> None:
    client.send(CODEQR_SALE)
    answer = client.send(CODEQR_SALE, clickId=..., invoiceId="in_2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "No lead event found" in answer.json()["error"]["message"]
    assert len(client.sales("codeqr")) == 1


@pytest.mark.parametrize("changes", [{}, {"revenueOriginId": ...}, {"amount": {"value": "9"}}])
def test_trackdesk_refuses_a_duplicate_and_names_it(
    client: Client, changes: dict[str, Any]
) -> None:
    assert client.send(TRACKDESK_NEW, **changes).status_code == 200
    answer = client.send(TRACKDESK_NEW)
    assert answer.status_code == 409
    assert "Duplicate" in answer.json()["message"]
    assert "in_1" in answer.json()["message"]
    assert len(client.sales("trackdesk")) == 1


@pytest.mark.parametrize(
    "changes",
    [{"externalId": "in_2"}, {"conversionTypeCode": "upsell"}, {"revenueOriginId": "ro_2"}],
)
def test_trackdesk_tells_conversions_apart(client: Client, changes: dict[str, Any]) -> None:
    client.send(TRACKDESK_NEW)
    assert client.send(TRACKDESK_NEW, **changes).status_code == 200
    assert len(client.sales("trackdesk")) == 2


def test_trackdesk_needs_no_key_to_track(client: Client) -> None:
    assert client.call(TRACKDESK_NEW, GOOD[TRACKDESK_NEW], headers={}).status_code == 200


def test_trackdesk_resolves_a_linked_external_id(client: Client) -> None:
    assert client.send(TRACKDESK_LINK).status_code == 200
    answer = client.send(TRACKDESK_NEW, cid=..., customerId=..., externalCid="user_1")
    assert answer.status_code == 200
    sale = client.sales("trackdesk")[0]
    assert (sale["click"], sale["customer"]) == ("cid_1", "user_1")
    # The link holds for its own revenue origin only.
    other = {"externalCid": "user_1", "revenueOriginId": "ro_2", "externalId": "in_2"}
    assert client.send(TRACKDESK_NEW, cid=..., **other).status_code == 404


def test_trackdesk_reads_snake_case_and_the_query_form(client: Client) -> None:
    snake = {"cid": "c", "conversion_type_code": "sale", "external_id": "a"}
    assert client.call(TRACKDESK_NEW, snake).status_code == 200
    query = {"cid": "c", "conversionTypeCode": "sale", "externalId": "b", "amount.value": "100.50"}
    client.get(TRACKDESK_NEW, **query, **{"customParams.advS1": "x"})
    amounts = {sale["order"]: sale["amount"] for sale in client.sales("trackdesk")}
    assert amounts == {"a": "", "b": "100.50"}


def test_trackdesk_enters_what_sells_nothing_as_a_lead(client: Client) -> None:
    lead: dict[str, Any] = {"conversionTypeCode": "lead", "amount": ..., "currency": ...}
    assert client.send(TRACKDESK_NEW, **lead).status_code == 200
    assert client.send(TRACKDESK_NEW, **lead).status_code == 409
    assert client.send(TRACKDESK_NEW, **lead, externalId=..., cid="cid_2").status_code == 200
    account = client.get("/ledger/trackdesk")
    assert account["sales"] == []
    assert [lead["click"] for lead in account["leads"]] == ["cid_1", "cid_2"]


def test_trackdesk_changes_a_status_as_often_as_it_is_told(client: Client) -> None:
    client.send(TRACKDESK_NEW)
    seen = []
    for name in ["REFUNDED", "REFUNDED", "REJECTED", "ON_HOLD", "APPROVED"]:
        assert client.send(TRACKDESK_STATUS, status=f"CONVERSION_STATUS_{name}").status_code == 200
        sale = client.sales("trackdesk")[0]
        seen.append((sale["status"], sale["told"]))
    assert seen == [
        ("disapproved", 2),
        ("disapproved", 2),
        ("rejected", 3),
        ("pending", 4),
        ("approved", 5),
    ]


def test_tapfiliate_shows_a_conversion_as_documented(client: Client) -> None:
    made = client.send(TAPFILIATE_NEW, amount=100, meta_data={"a": "b"}).json()
    assert made["id"].startswith("cv_")
    assert made["external_id"] == "in_1"
    assert made["amount"] == 100
    assert made["warnings"] is None
    assert made["meta_data"] == {"a": "b"}
    assert made["commissions"][0]["id"].startswith("cm_")
    assert made["commissions"][0]["amount"] == 10
    assert made["commissions"][0]["approved"] is None


def test_tapfiliate_refuses_an_external_id_twice(client: Client) -> None:
    client.send(TAPFILIATE_NEW)
    answer = client.send(TAPFILIATE_NEW, amount=1)
    assert answer.status_code == 422
    assert "in_1" in answer.json()["message"]
    assert [sale["amount"] for sale in client.sales("tapfiliate")] == ["14.37"]


def test_tapfiliate_takes_the_new_amount_not_a_difference(client: Client) -> None:
    client.send(TAPFILIATE_NEW)
    for amount in [10, "10.00"]:
        assert client.send(TAPFILIATE_CHANGE, amount=amount).status_code == 200
    assert client.send(TAPFILIATE_CHANGE, amount=..., status="disapproved").status_code == 200
    sale = client.sales("tapfiliate")[0]
    assert (sale["amount"], sale["status"], sale["told"]) == ("10.00", "disapproved", 3)
    answer = client.send(TAPFILIATE_CHANGE, amount=..., status="approved").json()
    assert answer["commissions"][0]["approved"] is True
    assert client.sales("tapfiliate")[0]["status"] == "approved"


def test_tapfiliate_can_be_asked_by_external_id(client: Client) -> None:
    client.send(TAPFILIATE_NEW)
    client.send(TAPFILIATE_NEW, external_id="in_2", amount=2)
    found = client.get("/tapfiliate/1.6/conversions/", external_id="in_2")
    assert [(each["id"], each["external_id"], each["amount"]) for each in found] == [(2, "in_2", 2)]
    assert client.get("/tapfiliate/1.6/conversions/", external_id="in_3") == []


def test_tapfiliate_reads_the_query_form(client: Client) -> None:
    query = {"referral_code": "r", "amount": "100", "external_id": "in_1", "meta_data[a]": "b"}
    assert client.get(TAPFILIATE_NEW, **query)["meta_data"] == {"a": "b"}
    assert client.sales("tapfiliate")[0]["currency"] == "USD"


@pytest.mark.parametrize(
    ("keys", "click"),
    [
        ({"coupon": "C", "click_id": "K", "referral_code": "R"}, "C"),
        ({"click_id": "K", "referral_code": "R"}, "K"),
        ({"referral_code": "R", "asset_id": "A", "source_id": "S"}, "R"),
        ({"asset_id": "A", "source_id": "S"}, "A/S"),
    ],
)
def test_tapfiliate_prefers_one_way_to_credit(
    client: Client, keys: dict[str, str], click: str
) -> None:
    client.call(TAPFILIATE_NEW, {"external_id": "in_1", **keys})
    assert client.sales("tapfiliate")[0]["click"] == click


def test_tapfiliate_keeps_customers(client: Client) -> None:
    made = client.send(TAPFILIATE_CUSTOMER).json()
    assert (made["id"][:3], made["customer_id"], made["status"]) == ("cu_", "user_1", "lead")
    assert client.send(TAPFILIATE_CUSTOMER).status_code == 422
    assert client.send(TAPFILIATE_CUSTOMER_CHANGE).status_code == 200
    assert client.send(TAPFILIATE_CUSTOMER_CHANGE, customer_id="user_2").status_code == 404
    assert [lead["type"] for lead in client.get("/ledger/tapfiliate")["leads"]] == ["lead"]


def test_tapfiliate_adds_new_metadata_of_a_customer_to_the_old(client: Client) -> None:
    made = client.send(TAPFILIATE_CUSTOMER, meta_data={"a": "1", "b": "2"}).json()
    assert made["meta_data"] == {"a": "1", "b": "2"}
    for _ in range(2):
        answer = client.send(TAPFILIATE_CUSTOMER_CHANGE, meta_data={"b": "3", "c": "4"}).json()
        assert answer == {"customer_id": "user_1", "meta_data": {"a": "1", "b": "3", "c": "4"}}
    lead = client.get("/ledger/tapfiliate")["leads"][0]
    assert (lead["meta"], lead["told"]) == ({"a": "1", "b": "3", "c": "4"}, 2)
    assert (lead["customer"], lead["click"]) == ("user_1", "click_1")


def test_tapfiliate_takes_a_sale_of_a_known_customer_alone(client: Client) -> None:
    client.send(TAPFILIATE_CUSTOMER)
    answer = client.send(TAPFILIATE_REST)
    assert (answer.status_code, answer.json()["id"], answer.json()["amount"]) == (201, 1, 14)
    sale = client.sales("tapfiliate")[0]
    assert (sale["order"], sale["customer"], sale["click"]) == ("in_1", "user_1", "click_1")
    found = client.get(TAPFILIATE_REST, external_id="in_1")
    assert [(each["id"], each["external_id"]) for each in found] == [(1, "in_1")]
    # It is one conversion with the postback's: the id is taken, and changes are taken there.
    assert client.send(TAPFILIATE_REST).status_code == 422
    assert client.send(TAPFILIATE_NEW).status_code == 422
    assert client.send(TAPFILIATE_CHANGE).status_code == 200
    assert [sale["amount"] for sale in client.sales("tapfiliate")] == ["10.00"]


def test_tapfiliate_takes_a_click_at_the_rest_address_too(client: Client) -> None:
    answer = client.send(TAPFILIATE_REST, click_id="click_9", customer_id=...)
    assert answer.status_code == 201
    assert client.sales("tapfiliate")[0]["click"] == "click_9"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (TAPFILIATE_NEW, {}, 401),
        (TAPFILIATE_NEW, {"X-Api-Key": ""}, 401),
        (TAPFILIATE_NEW.rstrip("/"), KEYS["tapfiliate"], 404),
        ("/tapfiliate/1.8/pb/con/c/", KEYS["tapfiliate"], 404),
    ],
)
def test_tapfiliate_shows_a_web_page_to_who_is_lost(
    client: Client, path: str, headers: dict[str, str], status: int
) -> None:
    answer = client.call(path, GOOD[TAPFILIATE_NEW], headers=headers)
    assert answer.status_code == status
    assert answer.text.startswith("<!doctype html>")
    assert client.get("/ledger/tapfiliate")["refused"] == 1


def test_tracify_ignores_an_id_that_was_used(client: Client) -> None:
    assert client.send(TRACIFY_EVENTS).json() == {"status": True}
    assert client.send(TRACIFY_EVENTS, data__amount="1.00").json() == {"status": True}
    assert [(s["amount"], s["told"]) for s in client.sales("tracify")] == [("14.37", 1)]


@pytest.mark.parametrize(
    ("amounts", "accepted"),
    [
        ({"amount": "5.00"}, True),
        ({"value": "5,00"}, True),
        ({"amount": "5.00", "value": "5.00"}, True),
        ({"amount": "5.00", "value": "6.00"}, False),
        ({}, False),
    ],
)
def test_tracify_conversions_carry_amount_or_value(
    client: Client, amounts: dict[str, str], accepted: bool
) -> None:
    data = {"origin": "shop.example", "conversion_id": "c_1", "currency": "EUR", **amounts}
    answer = client.send(TRACIFY_EVENTS, type="conversion", data=data)
    assert answer.json()["status"] is accepted
    expected = [("c_1", "5.00", "conversion")] if accepted else []
    found = [(s["order"], s["amount"], s["type"]) for s in client.sales("tracify")]
    assert found == expected


def test_tracify_takes_all_of_a_batch_or_none(client: Client) -> None:
    purchase = GOOD[TRACIFY_EVENTS]
    visit = changed(purchase, {"type": "pageview", "data": {"origin": ORIGIN}})
    bad = changed(purchase, {"data__amount": "1"})
    assert client.call(TRACIFY_EVENTS, {"events": [purchase, bad]}).json()["status"] is False
    assert client.sales("tracify") == []
    assert client.call(TRACIFY_EVENTS, {"events": []}).json()["status"] is False
    assert client.call(TRACIFY_EVENTS, {"events": [visit, bad]}).json()["status"] is False
    assert client.get("/ledger/tracify")["pageviews"] == []
    assert client.call(TRACIFY_EVENTS, {"events": [visit, purchase]}).json() == {"status": True}
    assert len(client.sales("tracify")) == 1
    assert len(client.get("/ledger/tracify")["pageviews"]) == 1


def test_tracify_keeps_pageviews_apart(client: Client) -> None:
    data = {"origin": ORIGIN, "Referer": "https://news.example/", "trc_mcmp_id": "12"}
    for kind in ["pageview", "productview", "pageview"]:
        assert client.send(TRACIFY_EVENTS, type=kind, data=data).json() == {"status": True}
    account = client.get("/ledger/tracify")
    assert account["sales"] == []
    assert account["pageviews"] == 2 * [
        {
            "vendor": "tracify",
            "customer": EMAIL,
            "click": IP,
            "url": ORIGIN + "/thanks",
            "referrer": "https://news.example/",
            "campaign": {"trc_mcmp_id": "12"},
            "at": "2026-11-20 12:00:05",
        }
    ]
