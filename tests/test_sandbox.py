"""The stand-ins, spoken to over HTTP as a merchant's bridge would."""

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
    fresh_client,
)

from bridge.sandbox import RunningSandbox, create_sandbox, serve_sandbox


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    with serve_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def client(running: RunningSandbox) -> Iterator[Client]:
    with fresh_client(running) as ready:
        yield ready


# ── what every vendor has in common ──────────────────────────────────────────────────────────────

SALES = [TAAPIT_SALE, CODEQR_SALE, TRACKDESK_NEW, TAPFILIATE_NEW, TRACIFY_EVENTS]


@pytest.mark.parametrize(
    ("path", "customer", "click", "kind"),
    [
        (TAAPIT_SALE, "user_1", "rLnWe1uz9t282v7g", "sale"),
        (CODEQR_SALE, "user_1", "clk_1", "Purchase"),
        (TRACKDESK_NEW, "user_1", "cid_1", "sale"),
        (TAPFILIATE_NEW, "user_1", "click_1", "conversion"),
        (TRACIFY_EVENTS, EMAIL, IP, "purchase"),
    ],
)
def test_a_sale_is_entered_in_the_same_words_everywhere(
    client: Client, path: str, customer: str, click: str, kind: str
) -> None:
    assert client.send(path).status_code == 200
    vendor = path.split("/")[1]
    assert client.get("/ledger")[vendor] == {
        "sales": [
            {
                "vendor": vendor,
                "order": "in_1",
                "customer": customer,
                "click": click,
                "amount": "14.37",
                "currency": "EUR",
                "status": "approved",
                "told": 1,
                "type": kind,
            }
        ],
        "leads": [],
        "pageviews": [],
        "calls": 1,
        "refused": 0,
    }


@pytest.mark.parametrize(
    ("path", "changes", "amount"),
    [
        (TAAPIT_SALE, {"amount": 14.3}, "14.30"),
        (TAAPIT_SALE, {"amount": 1437, "currency": "jpy"}, "1437"),
        (TAAPIT_SALE, {"amount": 1.437, "currency": "kwd"}, "1.437"),
        (TAAPIT_SALE, {"amount": 14.375}, "14.375"),
        (TAAPIT_SALE, {"amount": 9007199254740993}, "9007199254740993.00"),
        (CODEQR_SALE, {"amount": 1430}, "14.30"),
        (CODEQR_SALE, {"amount": 1437, "currency": "JPY"}, "1437"),
        (CODEQR_SALE, {"amount": 1437, "currency": "mga"}, "1437.00"),
        (CODEQR_SALE, {"amount": 9007199254740991}, "90071992547409.91"),
        (TRACKDESK_NEW, {"amount": {"value": "100"}}, "100.00"),
        (TRACKDESK_NEW, {"amount": {"value": "1437"}, "currency": {"code": "JPY"}}, "1437"),
        (TRACKDESK_NEW, {"amount": ..., "currency": ...}, ""),
        (TAPFILIATE_NEW, {"amount": "100"}, "100.00"),
        (TAPFILIATE_NEW, {"amount": 0.1}, "0.10"),
        (TAPFILIATE_NEW, {"amount": ...}, ""),
        (TRACIFY_EVENTS, {"data__amount": "14,37"}, "14.37"),
        (TRACIFY_EVENTS, {"data__amount": "1437.00", "data__currency": "JPY"}, "1437"),
    ],
)
def test_amounts_are_kept_exactly(
    client: Client, path: str, changes: dict[str, Any], amount: str
) -> None:
    assert client.send(path, **changes).status_code == 200
    assert client.sales(path.split("/")[1])[0]["amount"] == amount


def test_no_float_comes_between_the_wire_and_the_ledger(client: Client) -> None:
    text = '{"referral_code":"r","external_id":"o","amount":12345678901234.567891,"currency":"EUR"}'
    headers = {**KEYS["tapfiliate"], "Content-Type": "application/json"}
    answer = client.call(TAPFILIATE_NEW, None, data=text, headers=headers)
    assert '"amount":12345678901234.567891' in answer.text
    assert client.sales("tapfiliate")[0]["amount"] == "12345678901234.567891"


# What makes a visit of the good event.
VISIT = {"type": "pageview", "data": {"origin": ORIGIN, "Referer": ORIGIN, "utm_source": "fb"}}

# Each row: a call that is wrong, the status it is refused with, and a word of the reason.
REFUSED = [
    (TAAPIT_SALE, {"amount": "14.37"}, 400, "amount"),
    (TAAPIT_SALE, {"amount": True}, 400, "amount"),
    (TAAPIT_SALE, {"amount": -1}, 400, "amount"),
    (TAAPIT_SALE, {"amount": ...}, 400, "amount"),
    (TAAPIT_SALE, {"currency": "EUR"}, 400, "lower-case"),
    (TAAPIT_SALE, {"currency": "eurs"}, 400, "ISO 4217"),
    (TAAPIT_SALE, {"currency": ...}, 400, "currency"),
    (TAAPIT_SALE, {"customer": {}}, 400, "customer.externalId"),
    (TAAPIT_SALE, {"customer__externalId": 7}, 400, "customer.externalId"),
    (TAAPIT_SALE, {"customer__name": "Jane"}, 400, "customer.name"),
    (TAAPIT_SALE, {"trackingId": ""}, 400, "trackingId"),
    (TAAPIT_SALE, {"trackingId": None}, 400, "trackingId"),
    (TAAPIT_SALE, {"trackingId": ...}, 400, "trackingId is required"),
    (TAAPIT_SALE, {"trackingId": "expired_1"}, 404, "not found"),
    (TAAPIT_SALE, {"orderId": "in_1"}, 400, "orderId"),
    (TAAPIT_SALE, {"tracking_id": "snake"}, 400, "tracking_id"),
    (TAAPIT_SALE, {"metadata": "in_1"}, 400, "metadata"),
    (TAAPIT_LEAD, {"trackingId": ...}, 400, "trackingId"),
    (TAAPIT_LEAD, {"trackingId": "unknown_1"}, 404, "not found"),
    (TAAPIT_LEAD, {"amount": 1}, 400, "amount"),
    (CODEQR_SALE, {"amount": 14.37}, 422, "amount"),
    (CODEQR_SALE, {"amount": 1437.0}, 422, "amount"),
    (CODEQR_SALE, {"amount": "1437"}, 422, "amount"),
    (CODEQR_SALE, {"amount": -1}, 422, "amount"),
    (CODEQR_SALE, {"amount": 2**53}, 422, "amount"),
    (CODEQR_SALE, {"currency": "euro"}, 422, "currency"),
    (CODEQR_SALE, {"customerExternalId": ...}, 422, "customerExternalId"),
    (CODEQR_SALE, {"customerExternalId": " "}, 422, "customerExternalId"),
    (CODEQR_SALE, {"customerExternalId": "x" * 101}, 422, "customerExternalId"),
    (CODEQR_SALE, {"customerId": "user_1"}, 422, "customerId"),
    (CODEQR_SALE, {"eventName": "x" * 256}, 422, "eventName"),
    (CODEQR_SALE, {"paymentProcessor": "braintree"}, 422, "paymentProcessor"),
    (CODEQR_SALE, {"metadata": {"note": "x" * 10_000}}, 422, "metadata"),
    (CODEQR_SALE, {"customerEmail": "jane"}, 422, "customerEmail"),
    (CODEQR_SALE, {"clickId": "unknown_1"}, 404, "clickId"),
    (CODEQR_LEAD, {"clickId": "expired_1"}, 404, "clickId"),
    (CODEQR_LEAD, {"clickId": ...}, 422, "clickId"),
    (CODEQR_LEAD, {"mode": "later"}, 422, "mode"),
    (TRACKDESK_NEW, {"amount": {"value": 14.37}}, 400, "amount.value"),
    (TRACKDESK_NEW, {"amount": {"value": "14,37"}}, 400, "amount.value"),
    (TRACKDESK_NEW, {"amount": "14.37"}, 400, "amount"),
    (TRACKDESK_NEW, {"currency": "EUR"}, 400, "currency"),
    (TRACKDESK_NEW, {"currency": {"code": "eur"}}, 400, "upper-case"),
    (TRACKDESK_NEW, {"conversionTypeCode": ...}, 400, "conversionTypeCode"),
    (TRACKDESK_NEW, {"conversionType": "sale"}, 400, "conversionType"),
    (TRACKDESK_NEW, {"cid": ...}, 400, "cid"),
    (TRACKDESK_NEW, {"cid": "unknown_1"}, 404, "not found"),
    (TRACKDESK_NEW, {"cid": ..., "externalCid": "user_9"}, 404, "External CID not found"),
    (TRACKDESK_NEW, {"cid": ..., "couponCode": "X", "revenueOriginId": ...}, 400, "revenueOrigin"),
    (TRACKDESK_NEW, {"customParams": {"advS6": "x"}}, 400, "advS6"),
    (TRACKDESK_NEW, {"status": "REFUNDED"}, 400, "status"),
    (TRACKDESK_LINK, {"revenueOriginId": ...}, 400, "revenueOriginId"),
    (TRACKDESK_LINK, {"cid": "expired_1"}, 404, "not found"),
    (TRACKDESK_STATUS, {"external_id": "in_9"}, 404, "in_9"),
    (TRACKDESK_STATUS, {"externalId": "in_1"}, 400, "externalId"),
    (TRACKDESK_STATUS, {"status": "refunded"}, 400, "status"),
    (TAPFILIATE_NEW, {"amount": "14,37"}, 422, "amount"),
    (TAPFILIATE_NEW, {"amount": -1}, 422, "amount"),
    (TAPFILIATE_NEW, {"currency": "eur"}, 422, "upper-case"),
    (TAPFILIATE_NEW, {"external_id": ...}, 422, "external_id"),
    (TAPFILIATE_NEW, {"external_id": 7}, 422, "external_id"),
    (TAPFILIATE_NEW, {"click_id": ...}, 422, "click_id"),
    (TAPFILIATE_NEW, {"click_id": ..., "asset_id": "a"}, 422, "source_id"),
    (TAPFILIATE_NEW, {"click_id": "expired_1"}, 404, "expired_1"),
    (TAPFILIATE_NEW, {"status": "approved"}, 422, "status"),
    (TAPFILIATE_CHANGE, {}, 404, "in_1"),
    (TAPFILIATE_CHANGE, {"status": "refunded"}, 422, "status"),
    (TAPFILIATE_CHANGE, {"currency": "EUR"}, 422, "currency"),
    (TAPFILIATE_CUSTOMER, {"status": "paying"}, 422, "status"),
    (TAPFILIATE_CUSTOMER, {"meta_data": "a=b"}, 422, "meta_data"),
    (TAPFILIATE_CUSTOMER_CHANGE, {}, 404, "user_1"),
    (TAPFILIATE_CUSTOMER_CHANGE, {"status": "new"}, 422, "status"),
    (TAPFILIATE_REST, {}, 404, "user_1"),
    (TAPFILIATE_REST, {"customer_id": ...}, 422, "click_id"),
    (TAPFILIATE_REST, {"customer_id": "user_9"}, 404, "user_9"),
    (TAPFILIATE_REST, {"click_id": "expired_1"}, 404, "expired_1"),
    (TAPFILIATE_REST, {"external_id": ...}, 422, "external_id"),
    (TAPFILIATE_REST, {"amount": "14,37"}, 422, "amount"),
    (TRACIFY_EVENTS, {"url": "shop.example"}, 200, "url"),
    (TRACIFY_EVENTS, {"customer_site_id": "00000000-0000-0000-0000-000000000000"}, 200, "UUID4"),
    (TRACIFY_EVENTS, {"customer_site_id": "demo"}, 200, "customer_site_id"),
    (TRACIFY_EVENTS, {"identity_data": {}}, 200, "identity_data"),
    (TRACIFY_EVENTS, {"identity_data": {"jane@example.com": 1}}, 200, "identity_data"),
    (TRACIFY_EVENTS, {"identity_data": {EMAIL: 5}}, 200, "identity_data"),
    (TRACIFY_EVENTS, {"identity_data": {EMAIL: "1"}}, 200, "identity_data"),
    (TRACIFY_EVENTS, {"identity_data": {"AB" * 32: 1}}, 200, "identity_data"),
    (TRACIFY_EVENTS, {"datetime": "2026-11-20T12:00:05Z"}, 200, "datetime"),
    (TRACIFY_EVENTS, {"datetime": "2026-11-20 9:00:05"}, 200, "datetime"),
    (TRACIFY_EVENTS, {"datetime": ...}, 200, "datetime"),
    (TRACIFY_EVENTS, {"type": "refund"}, 200, "type"),
    (TRACIFY_EVENTS, {"data__amount": 14.37}, 200, "amount"),
    (TRACIFY_EVENTS, {"data__amount": "14.3"}, 200, "amount"),
    (TRACIFY_EVENTS, {"data__amount": "1,437.00"}, 200, "amount"),
    (TRACIFY_EVENTS, {"data__currency": "eur"}, 200, "upper-case"),
    (TRACIFY_EVENTS, {"data__order_id": ...}, 200, "order_id"),
    (TRACIFY_EVENTS, {"data__origin": ...}, 200, "origin"),
    (TRACIFY_EVENTS, {"data__value": "14.37"}, 200, "value"),
    (TRACIFY_EVENTS, {"data__QTY1": 1}, 200, "QTY1"),
    (TRACIFY_EVENTS, {"data__QTY2": "1"}, 200, "ITEM2"),
    (TRACIFY_EVENTS, {"data__AMT1": "many"}, 200, "AMT1"),
    (TRACIFY_EVENTS, VISIT | {"identity_data": {}}, 200, "identity_data"),
    (TRACIFY_EVENTS, VISIT | {"url": ...}, 200, "url"),
    (TRACIFY_EVENTS, VISIT | {"data": {}}, 200, "origin"),
    (TRACIFY_EVENTS, VISIT | {"data__utm_source": 1}, 200, "utm_source"),
    (TRACIFY_EVENTS, VISIT | {"data__gclid": "x"}, 200, "gclid"),
    (TRACIFY_EVENTS, VISIT | {"data__ITEM1": "A mug"}, 200, "ITEM1"),
    (TRACIFY_EVENTS, VISIT | {"data__order_id": "in_1"}, 200, "order_id"),
    (TRACIFY_EVENTS, VISIT | {"data__amount": "14.37"}, 200, "amount"),
]


@pytest.mark.parametrize(("path", "changes", "status", "word"), REFUSED)
def test_what_the_documents_do_not_allow_is_refused(
    client: Client, path: str, changes: dict[str, Any], status: int, word: str
) -> None:
    answer = client.send(path, **changes)
    assert answer.status_code == status
    assert word in reason_of(path, answer.json())
    account = client.get(f"/ledger/{path.split('/')[1]}")
    assert account == {"sales": [], "leads": [], "pageviews": [], "calls": 1, "refused": 1}


def reason_of(path: str, body: dict[str, Any]) -> str:
    """Read the reason out of the vendor's own envelope, which must have nothing else."""
    match path.split("/")[1], body:
        case "codeqr", {"error": {"code": str(), "message": str(reason), "doc_url": str()}}:
            return reason
        case (("trackdesk" | "tapfiliate"), {"message": str(reason)}):
            return reason
        case "taapit", {"ok": False, "error": str(reason)}:
            return reason
        case "tracify", {"status": False, "error": str(reason)}:
            return reason
        case _:
            raise AssertionError(f"not the envelope of {path}: {body}")


@pytest.mark.parametrize("path", SALES)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"amount": NaN}',
        '{"amount": 1e999999999}',
        "[" * 100_000,
        "9" * 5_000,
        "\xff",
    ],
)
def test_a_body_that_is_no_json_object_is_refused(client: Client, path: str, text: str) -> None:
    vendor = path.split("/")[1]
    headers = {**KEYS[vendor], "Content-Type": "application/json"}
    answer = client.call(path, None, data=text.encode("latin-1"), headers=headers)
    assert reason_of(path, answer.json())
    assert client.get(f"/ledger/{vendor}")["refused"] == 1


@pytest.mark.parametrize("amount", ["1e999999999", "1e-999999999"])
def test_a_huge_exponent_is_not_written_out(client: Client, amount: str) -> None:
    text = f'{{"referral_code": "r", "external_id": "o", "amount": {amount}}}'
    headers = {**KEYS["tapfiliate"], "Content-Type": "application/json"}
    assert client.call(TAPFILIATE_NEW, None, data=text, headers=headers).status_code == 422


def test_a_form_is_refused(client: Client) -> None:
    answer = client.call(TAAPIT_SALE, None, data={"amount": "1"})
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (TAAPIT_SALE, {}, 401),
        (TAAPIT_SALE, {"Authorization": "taapit_sk_demo"}, 401),
        (TAAPIT_SALE, {"Authorization": "Bearer pk_demo"}, 401),
        (TAAPIT_SALE, {"Authorization": "Bearer taapit_management"}, 401),
        (TAAPIT_SALE, {"Authorization": "Bearer taapit_sk_invalid"}, 401),
        (CODEQR_SALE, {}, 401),
        (CODEQR_SALE, {"Authorization": "Bearer wrong"}, 401),
        (CODEQR_SALE, {"Authorization": "Basic abc"}, 401),
        (TRACKDESK_STATUS, {}, 401),
        (TRACKDESK_STATUS, {"x-api-key": "wrong"}, 401),
        (TAPFILIATE_NEW, {"X-Api-Key": "wrong"}, 401),
        (TRACIFY_EVENTS, {}, 401),
        (TRACIFY_EVENTS, {"tracify-token": "invalid"}, 401),
    ],
)
def test_a_bad_credential_is_refused_before_the_body_is_read(
    client: Client, path: str, headers: dict[str, str], status: int
) -> None:
    answer = client.call(path, {}, headers=headers)
    assert answer.status_code == status
    assert reason_of(path, answer.json())


def test_the_one_key_that_was_given_is_the_only_good_one() -> None:
    app = create_sandbox(keys={"codeqr": "cq_mine"})
    with app.test_client() as http:
        for key, status in [("cq_demo", 401), ("cq_mine", 200)]:
            headers = {"Authorization": f"Bearer {key}"}
            answer = http.post(CODEQR_SALE, json=GOOD[CODEQR_SALE], headers=headers)
            assert answer.status_code == status
