"""The sandbox vendors from outside: good calls to each, and a client to make them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests

from bridge.sandbox import RunningSandbox

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
TAPFILIATE_CUSTOMER_CHANGE = "/tapfiliate/1.7/pb/cus/u/"
TAPFILIATE_REST = "/tapfiliate/1.6/conversions/"
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
    TAPFILIATE_CUSTOMER_CHANGE: {"customer_id": "user_1", "meta_data": {}},
    TAPFILIATE_REST: {
        "external_id": "in_1",
        "amount": 14,
        "currency": "EUR",
        "customer_id": "user_1",
    },
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
        self._order({"vendor": vendor, "answers": answers})

    def begin(self, vendor: str, *answers: Mapping[str, object], **spell: float) -> None:
        self._order({"vendor": vendor, "answers": answers, **spell})

    def _order(self, body: Mapping[str, object]) -> None:
        answer = self.call("/faults", body)
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


@contextmanager
def fresh_client(running: RunningSandbox) -> Iterator[Client]:
    """Return a client of a sandbox that has forgotten everything."""
    running.ledger.clear()
    running.faults.clear()
    client = Client(running)
    with client.http:
        yield client
