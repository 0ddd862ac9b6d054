"""The stand-ins, spoken to over HTTP as a merchant's bridge would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from bridge.sandbox import RunningSandbox, create_sandbox, discover, serve_sandbox

EMAIL, IP = "5e" * 32, "78" * 32
SITE = "9f1c2d3e-4b5a-4c6d-8e7f-0a1b2c3d4e5f"
ORIGIN = "https://shop.example"

KEYS: dict[str, dict[str, str]] = {
    "taapit": {"Authorization": "Bearer taapit_sk_demo"},
    "codeqr": {"Authorization": "Bearer cq_demo"},
    "trackdesk": {"x-api-key": "td_demo"},
    "tapfiliate": {"X-Api-Key": "tap_demo"},
    "tracify": {"tracify-token": "trc_demo"},
}

TAAPIT_SALE = "/taapit/api/events/sale"
TAAPIT_LEAD = "/taapit/api/events/lead"
CODEQR_SALE = "/codeqr/track/sale"
CODEQR_LEAD = "/codeqr/track/lead"
TRACKDESK_NEW = "/trackdesk/tracking/conversion/v1"
TRACKDESK_LINK = "/trackdesk/tracking/external-cid/v1"
TRACKDESK_STATUS = "/trackdesk/api/node/conversions/v1/update-status-by-external-id"
TAPFILIATE_NEW = "/tapfiliate/1.7/pb/con/c/"
TAPFILIATE_CHANGE = "/tapfiliate/1.7/pb/con/u/"
TAPFILIATE_CUSTOMER = "/tapfiliate/1.7/pb/cus/c/"
TRACIFY_EVENTS = "/tracify/api/v1/events"

GOOD: dict[str, Any] = {
    TAAPIT_SALE: {
        "trackingId": "rLnWe1uz9t282v7g",
        "customer": {"externalId": "user_1", "email": "jane@example.com"},
        "amount": 14.37,
        "currency": "eur",
        "metadata": {"orderId": "in_1"},
    },
    TAAPIT_LEAD: {"trackingId": "rLnWe1uz9t282v7g", "customer": {"externalId": "user_1"}},
    CODEQR_SALE: {
        "customerExternalId": "user_1",
        "amount": 1437,
        "currency": "eur",
        "paymentProcessor": "stripe",
        "invoiceId": "in_1",
        "clickId": "clk_1",
    },
    CODEQR_LEAD: {"customerExternalId": "user_1", "eventName": "Sign up", "clickId": "clk_1"},
    TRACKDESK_NEW: {
        "cid": "cid_1",
        "conversionTypeCode": "sale",
        "amount": {"value": "14.37"},
        "currency": {"code": "EUR"},
        "externalId": "in_1",
        "customerId": "user_1",
        "revenueOriginId": "ro_1",
    },
    TRACKDESK_LINK: {"cid": "cid_1", "externalCid": "user_1", "revenueOriginId": "ro_1"},
    TRACKDESK_STATUS: {
        "revenue_origin_id": "ro_1",
        "external_id": "in_1",
        "conversion_type_code": "sale",
        "status": "CONVERSION_STATUS_REFUNDED",
    },
    TAPFILIATE_NEW: {
        "click_id": "click_1",
        "external_id": "in_1",
        "amount": 14.37,
        "currency": "EUR",
        "customer_id": "user_1",
    },
    TAPFILIATE_CHANGE: {"external_id": "in_1", "amount": 10},
    TAPFILIATE_CUSTOMER: {"click_id": "click_1", "customer_id": "user_1", "status": "lead"},
    TRACIFY_EVENTS: {
        "url": ORIGIN + "/thanks",
        "customer_site_id": SITE,
        "identity_data": {EMAIL: 1, IP: 3},
        "datetime": "2026-11-20 12:00:05",
        "type": "purchase",
        "data": {
            "origin": ORIGIN,
            "order_id": "in_1",
            "currency": "EUR",
            "amount": "14.37",
            "ITEM1": "A mug",
            "AMT1": "14.37",
            "QTY1": "1",
            "utm_source": "fb",
        },
    },
}


class Client:
    """Call the stand-ins with good credentials, unless told otherwise."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox
        self.http = requests.Session()
        self.http.trust_env = False

    def call(self, path: str, body: object, **more: Any) -> requests.Response:
        headers = more.pop("headers", KEYS.get(path.split("/")[1], {}))
        return self.http.request(
            more.pop("method", "POST"),
            self.sandbox.url + path,
            json=body,
            headers=headers,
            allow_redirects=False,
            timeout=more.pop("timeout", 10),
            **more,
        )

    def send(self, path: str, **changes: Any) -> requests.Response:
        return self.call(path, in_batch(path, changed(GOOD[path], changes)))

    def get(self, path: str, **params: str) -> Any:
        url = self.sandbox.url + path
        headers = KEYS.get(path.split("/")[1], {})
        answer = self.http.get(url, params=params, headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sales(self, vendor: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"/ledger/{vendor}")["sales"]
        return found

    def plan(self, vendor: str, *answers: Mapping[str, object]) -> None:
        answer = self.call("/faults", {"vendor": vendor, "answers": answers})
        assert answer.status_code == 201, answer.text


def changed(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set fields by dotted name (`__` for the dot); a field set to `...` is left out."""
    result = dict(body)
    for name, value in changes.items():
        first, _, rest = name.partition("__")
        if rest:
            result[first] = changed(result[first], {rest: value})
        elif value is ...:
            del result[first]
        else:
            result[first] = value
    return result


def in_batch(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"events": [body]} if path == TRACIFY_EVENTS else body


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    with serve_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def client(running: RunningSandbox) -> Iterator[Client]:
    running.ledger.clear()
    running.faults.clear()
    client = Client(running)
    with client.http:
        yield client


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
]


@pytest.mark.parametrize(("path", "changes", "status", "word"), REFUSED)
def test_what_the_documents_do_not_allow_is_refused(
    client: Client, path: str, changes: dict[str, Any], status: int, word: str
) -> None:
    answer = client.send(path, **changes)
    assert answer.status_code == status
    assert word in reason_of(path, answer.json())
    account = client.get(f"/ledger/{path.split('/')[1]}")
    assert account == {"sales": [], "leads": [], "calls": 1, "refused": 1}


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
    update = "/tapfiliate/1.7/pb/cus/u/"
    assert client.call(update, {"customer_id": "user_1", "meta_data": {}}).status_code == 200
    assert client.call(update, {"customer_id": "user_2"}).status_code == 404
    assert [lead["type"] for lead in client.get("/ledger/tapfiliate")["leads"]] == ["lead"]


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
    visit = changed(purchase, {"type": "pageview", "data": {"origin": ORIGIN, "gclid": "x"}})
    bad = changed(purchase, {"data__amount": "1"})
    assert client.call(TRACIFY_EVENTS, {"events": [purchase, bad]}).json()["status"] is False
    assert client.sales("tracify") == []
    assert client.call(TRACIFY_EVENTS, {"events": []}).json()["status"] is False
    assert client.call(TRACIFY_EVENTS, {"events": [visit, purchase]}).json() == {"status": True}
    assert len(client.sales("tracify")) == 1


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


def test_the_index_names_the_settings(client: Client) -> None:
    url = client.sandbox.url
    assert client.get("/")["settings"] == {
        f"{name.upper()}_BASE_URL": f"{url}/{name}" for name in discover()
    }
    assert set(discover()) == set(KEYS)


def test_calls_are_shown_without_credentials(client: Client) -> None:
    for path in SALES:
        client.send(path)
    client.send(TAAPIT_SALE, amount="14.37")
    calls = client.get("/calls")
    assert [call["vendor"] for call in calls] == [*KEYS, "taapit"]
    text = client.http.get(client.sandbox.url + "/calls", timeout=10).text
    assert not [key for keys in KEYS.values() for key in keys.values() if key in text]
    last = client.get("/calls", vendor="taapit")[-1]
    assert (last["method"], last["path"], last["status"]) == ("POST", TAAPIT_SALE, 400)
    assert last["body"]["amount"] == "14.37"
    assert last["headers"]["Authorization"] == "***"
    assert "amount" in last["error"]


def test_the_ledger_can_be_emptied(client: Client) -> None:
    client.send(TAAPIT_SALE)
    client.call("/ledger", None, method="DELETE")
    empty = {"sales": [], "leads": [], "calls": 0, "refused": 0}
    assert client.get("/ledger") == dict.fromkeys(KEYS, empty)
    assert client.get("/calls") == []


def test_an_unknown_vendor_is_not_found(client: Client) -> None:
    assert client.call("/ledger/acme", None, method="GET").status_code == 404
    assert client.call("/faults", {"vendor": "acme", "answers": []}).status_code == 404


def test_many_threads_lose_nothing(client: Client) -> None:
    def sell(n: int) -> int:
        body = {"click_id": "k", "external_id": f"in_{n % 20}", "amount": 1}
        url = client.sandbox.url + TAPFILIATE_NEW
        return requests.post(url, json=body, headers=KEYS["tapfiliate"], timeout=10).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(sell, range(60)))
    assert (answers.count(200), answers.count(422)) == (20, 40)
    account = client.get("/ledger/tapfiliate")
    assert (len(account["sales"]), account["calls"], account["refused"]) == (20, 60, 40)


# ── faults ───────────────────────────────────────────────────────────────────────────────────────


def test_faults_are_met_once_and_in_order(client: Client) -> None:
    busy = {"status": 429, "body": '{"message": "slow down"}', "headers": {"Retry-After": "7"}}
    client.plan("taapit", busy, {"status": 500, "body": "oops"})
    first, second, third = (client.send(TAAPIT_SALE) for _ in range(3))
    assert (first.status_code, first.headers["Retry-After"]) == (429, "7")
    assert first.json() == {"message": "slow down"}
    assert (second.status_code, second.text) == (500, "oops")
    assert third.json() == {"ok": True}
    account = client.get("/ledger/taapit")
    assert (len(account["sales"]), account["calls"], account["refused"]) == (1, 3, 2)


def test_faults_meet_their_own_vendor_only(client: Client) -> None:
    client.plan("taapit", {"status": 500})
    assert client.send(CODEQR_SALE).status_code == 200
    assert client.get("/faults")["waiting"]["taapit"] == 1
    client.call("/faults", None, method="DELETE")
    assert client.send(TAAPIT_SALE).status_code == 200


def test_a_call_that_hangs_was_counted(client: Client) -> None:
    client.plan("taapit", {"commit_then_hang": 5})
    body = GOOD[TAAPIT_SALE]
    with pytest.raises(requests.ReadTimeout):
        client.call(TAAPIT_SALE, body, timeout=0.3)
    assert len(client.sales("taapit")) == 1


def test_a_delayed_call_is_handled_in_the_end(client: Client) -> None:
    client.plan("taapit", {"delay": 0.01})
    assert client.send(TAAPIT_SALE).json() == {"ok": True}


@pytest.mark.parametrize(("fault", "counted"), [("reset", 0), ("commit_then_reset", 1)])
def test_a_connection_is_dropped_before_or_after_it_counted(
    client: Client, fault: str, counted: int
) -> None:
    client.plan("taapit", {fault: True})
    with pytest.raises(requests.ConnectionError):
        client.send(TAAPIT_SALE)
    assert len(client.sales("taapit")) == counted
    assert client.get("/calls")[0]["status"] is None
    assert client.send(TAAPIT_SALE).status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"status": 99},
        {"status": 500, "reset": True},
        {"body": "x", "delay": 1},
        {"delay": -1},
        {"explode": True},
    ],
)
def test_a_fault_that_means_nothing_is_refused(client: Client, fault: dict[str, Any]) -> None:
    answer = client.call("/faults", {"vendor": "taapit", "answers": [fault]})
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert client.get("/faults")["waiting"]["taapit"] == 0


def test_closing_lets_hanging_calls_go() -> None:
    with serve_sandbox() as sandbox, ThreadPoolExecutor(1) as pool:
        client = Client(sandbox)
        client.plan("taapit", {"commit_then_hang": 600})
        with client.http, requests.Session() as other:
            hanging = pool.submit(client.send, TAAPIT_SALE)
            while not other.get(sandbox.url + "/ledger/taapit", timeout=10).json()["sales"]:
                assert not hanging.done()
            sandbox.close()
            assert hanging.result(timeout=10).json() == {"ok": True}
