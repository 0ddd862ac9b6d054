"""Asking Shopify for an order that never arrived, of a stand-in over HTTP."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cases import CASES, Case, case_of
from hypothesis import given
from hypothesis import strategies as st
from shopify_stand_in import (
    PATH,
    SHOP,
    TOKEN,
    ShopifyStandIn,
    api_at,
    refusal,
    settings,
    shopify_stand_in,
)

from bridge.errors import ProviderApiError
from bridge.model import Context, Payment
from bridge.money import Money
from bridge.provider_api import shopify as shopify_api
from bridge.provider_api.shopify import ShopifyApi
from bridge.provider_api.shopify.orders import PAID
from bridge.providers.shopify import Shopify

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORDER: dict[str, Any] = json.loads(case_of("shopify/orders/paid").body)
REFERENCE = f"{SHOP}/{ORDER['id']}"


def _is_paid(case: Case) -> bool:
    status = json.loads(case.body).get("financial_status")
    return isinstance(status, str) and status.upper() in PAID


ORDERS = [each for each in CASES if each.provider == "shopify" and _is_paid(each)]


@pytest.fixture
def stand_in() -> Iterator[ShopifyStandIn]:
    with shopify_stand_in() as running:
        yield running


@pytest.fixture
def api(stand_in: ShopifyStandIn) -> Iterator[ShopifyApi]:
    with_token = api_at(stand_in.url)
    yield with_token
    with_token.close()


def reader() -> Shopify:
    return Shopify(settings())


# ── looking up ───────────────────────────────────────────────────────────────────────────────────


def test_a_look_up_asks_for_the_order(stand_in: ShopifyStandIn, api: ShopifyApi) -> None:
    stand_in.know(ORDER)

    (found,) = api.look_up(REFERENCE, SHOP, NOW)

    (asked,) = stand_in.asked
    assert (asked.method, asked.path) == ("POST", PATH)
    assert asked.headers["X-Shopify-Access-Token"] == TOKEN
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.get_json()["variables"] == {
        "id": f"gid://shopify/Order/{ORDER['id']}",
        "after": None,
    }
    assert found.id == f"fetched_{ORDER['id']}_{ORDER['updated_at']}"
    assert found.type == "orders/updated"
    assert (found.account, found.fetched, found.test) == (SHOP, True, False)
    assert found.occurred_at == datetime.fromisoformat(ORDER["updated_at"])
    assert TOKEN not in found.body


def as_looked_up(payment: Payment) -> Payment:
    """Return what a look-up can know of a payment: what GraphQL leaves out is left out."""
    context = payment.context and replace(payment.context, user_agent="")
    return replace(payment, context=None if context == Context() else context)


@pytest.mark.parametrize("case", ORDERS, ids=str)
def test_what_is_looked_up_means_what_its_webhook_would(
    stand_in: ShopifyStandIn, case: Case
) -> None:
    sent = reader_for(case).read(case.request)
    order = json.loads(case.body, parse_float=str)
    stand_in.shop = sent.account
    stand_in.know(order | {"total_received_set": received(case)})
    api = api_at(stand_in.url, sent.account)

    (found,) = api.look_up(f"{sent.account}/{order['id']}", sent.account, NOW)

    told = [as_looked_up(each) for each in reader_for(case).normalise(sent)]
    assert reader_for(case).normalise(found) == told
    assert found.test == sent.test
    api.close()


def received(case: Case) -> dict[str, Any]:
    """Return what was received for an order, as a look-up tells it and no webhook does."""
    (sale,) = (each for each in case.case["payments"] if each["kind"] == "sale")
    sides = {"shop_money": sale["amount"], "presentment_money": sale["amount"]}
    if "presentment" in sale:
        sides["presentment_money"] = sale["presentment"]
    return {
        side: {
            "amount": Money(each["minor"], each["currency"]).format(),
            "currency_code": each["currency"],
        }
        for side, each in sides.items()
    }


def reader_for(case: Case) -> Shopify:
    return Shopify(settings(shop=case.request.headers["x-shopify-shop-domain"]))


# What needs lines of refunds, which a look-up leaves out.
WORKED_OUT = [each for each in ORDERS if "edited-refunded" not in each.name]


@pytest.mark.parametrize("case", WORKED_OUT, ids=str)
def test_what_was_received_need_not_be_told(stand_in: ShopifyStandIn, case: Case) -> None:
    sent = reader_for(case).read(case.request)
    order = json.loads(case.body, parse_float=str)
    stand_in.know(order)
    api = api_at(stand_in.url, sent.account)
    (found,) = api.look_up(f"{sent.account}/{order['id']}", sent.account, NOW)
    (sale, *_), (known, *_) = (reader_for(case).normalise(each) for each in (found, sent))
    assert (sale.amount, sale.presentment) == (known.amount, known.presentment)
    api.close()


def test_every_line_is_read(stand_in: ShopifyStandIn, api: ShopifyApi) -> None:
    lines = [{**ORDER["line_items"][0], "id": number} for number in range(120)]
    stand_in.know(ORDER | {"line_items": lines})

    (found,) = api.look_up(REFERENCE, SHOP, NOW)

    assert [each["id"] for each in json.loads(found.body)["line_items"]] == [*range(120)]
    cursors = [each.get_json()["variables"]["after"] for each in stand_in.asked]
    assert cursors == [None, "50", "100"]


def test_lines_without_an_end_are_no_answer(
    stand_in: ShopifyStandIn, api: ShopifyApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shopify_api, "MOST_PAGES", 2)
    stand_in.most_lines = 1
    stand_in.know(ORDER | {"line_items": ORDER["line_items"][:1] * 9})
    with pytest.raises(ProviderApiError, match="without an end") as raised:
        api.look_up(REFERENCE, SHOP, NOW)
    assert raised.value.retry


UNPAID = ["pending", "authorized", "partially_paid", "voided", "expired"]


@pytest.mark.parametrize("status", UNPAID)
def test_what_is_not_paid_is_no_sale_yet(
    stand_in: ShopifyStandIn, api: ShopifyApi, status: str
) -> None:
    stand_in.know(ORDER | {"financial_status": status})
    assert api.look_up(REFERENCE, SHOP, NOW) == []


def test_nothing_is_known_of_a_stranger(api: ShopifyApi) -> None:
    assert api.look_up(f"{SHOP}/1", SHOP, NOW) == []


def test_18_digits_stay_exact(stand_in: ShopifyStandIn, api: ShopifyApi) -> None:
    id = 820_982_911_946_154_501
    stand_in.know(ORDER | {"id": id})
    (found,) = api.look_up(f"{SHOP}/{id}", SHOP, NOW)
    assert found.id.startswith(f"fetched_{id}_")
    assert reader().normalise(found)[0].id == f"{SHOP}/{id}"


def test_a_corrected_answer_is_another_event(stand_in: ShopifyStandIn, api: ShopifyApi) -> None:
    ids = []
    for at in ("2026-11-03T10:00:00Z", "2026-11-03T10:00:00Z", "2026-11-03T11:00:00Z"):
        stand_in.know(ORDER | {"updated_at": at})
        ids += [each.id for each in api.look_up(REFERENCE, SHOP, NOW)]
    assert ids[0] == ids[1] != ids[2]


def test_what_the_shop_received_is_what_was_paid(stand_in: ShopifyStandIn, api: ShopifyApi) -> None:
    sides = {"amount": "60.09", "currency_code": "EUR"}
    received = {"shop_money": sides, "presentment_money": sides}
    stand_in.know(ORDER | {"total_received_set": received})
    (found,) = api.look_up(REFERENCE, SHOP, NOW)
    assert str(reader().normalise(found)[0].amount) == "60.09 EUR"


def test_another_shop_is_not_asked(stand_in: ShopifyStandIn, api: ShopifyApi) -> None:
    with pytest.raises(ProviderApiError) as raised:
        api.look_up("other.myshopify.com/1", "other.myshopify.com", NOW)
    assert (raised.value.retry, stand_in.asked) == (False, [])
    for words in ("other.myshopify.com", "SHOPIFY_SHOP", SHOP):
        assert words in str(raised.value)


# ── what the token may not read ──────────────────────────────────────────────────────────────────

NO_CUSTOMERS = "Access denied for customer field. Required access: `read_customers` access scope."


def test_an_order_means_as_much_without_its_person(
    stand_in: ShopifyStandIn, api: ShopifyApi
) -> None:
    stand_in.know(ORDER)
    (whole,) = api.look_up(REFERENCE, SHOP, NOW)
    stand_in.denied = {"customer": NO_CUSTOMERS, "email": NO_CUSTOMERS, "clientIp": NO_CUSTOMERS}

    (found,) = api.look_up(REFERENCE, SHOP, NOW)

    sale, known = reader().normalise(found)[0], reader().normalise(whole)[0]
    assert (sale.customer, known.customer) == ("", str(ORDER["customer"]["id"]))
    assert (sale.amount, sale.net) == (known.amount, known.net)


@pytest.mark.parametrize("field", ["totalPriceSet", "lineItems", "transactions"])
def test_an_order_without_its_money_is_no_answer(
    stand_in: ShopifyStandIn, api: ShopifyApi, field: str
) -> None:
    stand_in.know(ORDER)
    stand_in.denied = {"customer": NO_CUSTOMERS, field: "Access denied"}
    with pytest.raises(ProviderApiError, match="scope read_orders"):
        api.look_up(REFERENCE, SHOP, NOW)


# ── no answer ────────────────────────────────────────────────────────────────────────────────────

NO_ORDERS = refusal("Access denied for order field", "ACCESS_DENIED", "order")
WRONG_TOKEN = {"errors": f"[API] Invalid API key or access token {TOKEN} (unrecognized)"}
SCOPE = "needs the scope read_orders, and read_all_orders.*60 days.*Access denied for order"


@pytest.mark.parametrize(
    ("status", "body", "says", "retry"),
    [
        pytest.param(401, WRONG_TOKEN, "check SHOPIFY_ACCESS_TOKEN.*Invalid", True, id="token"),
        pytest.param(403, WRONG_TOKEN, "check SHOPIFY_ACCESS_TOKEN", True, id="restricted"),
        pytest.param(404, {"errors": "Not Found"}, "check SHOPIFY_SHOP", True, id="no shop"),
        pytest.param(429, {"errors": "slow down"}, "429 slow down", True, id="too often"),
        pytest.param(402, {"errors": "frozen"}, "refused.*402 frozen", False, id="frozen"),
        pytest.param(500, {}, "did not answer: HTTP 500", True, id="theirs"),
        pytest.param(302, {}, "did not answer: HTTP 302", True, id="elsewhere"),
        pytest.param(200, NO_ORDERS | {"data": {"order": None}}, SCOPE, True, id="scope"),
        pytest.param(200, NO_ORDERS, SCOPE, True, id="scope, without data"),
        pytest.param(200, refusal("Throttled", "THROTTLED"), "Throttled", True, id="throttled"),
        pytest.param(200, refusal("oops", "INTERNAL_SERVER_ERROR"), "oops", True, id="oops"),
        pytest.param(200, refusal("no", "undefinedField"), "refused.*: no", False, id="retired"),
        pytest.param(200, {"errors": "odd"}, "did not answer: odd", True, id="words"),
        pytest.param(200, {"errors": []}, "did not answer", True, id="no errors"),
        pytest.param(200, [], "cannot be read", True, id="a list"),
        pytest.param(200, {"data": None}, "cannot be read", True, id="no data"),
        pytest.param(200, {"data": {}}, "cannot be read", True, id="no order"),
        pytest.param(200, {"data": {"order": 7}}, "cannot be read", True, id="a number"),
        pytest.param(200, {"data": {"order": {"id": "x"}}}, "got another", True, id="another"),
    ],
)
def test_no_answer_is_explained(
    stand_in: ShopifyStandIn, api: ShopifyApi, status: int, body: object, says: str, retry: bool
) -> None:
    stand_in.fault = (status, json.dumps(body).encode())

    with pytest.raises(ProviderApiError, match=says) as raised:
        api.look_up(REFERENCE, SHOP, NOW)

    assert raised.value.retry is retry
    assert str(raised.value).startswith("Shopify ")
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("body", [b"<html>" + b"x" * 10_000, b"", b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize("status", [200, 500])
def test_garbage_is_no_answer(
    stand_in: ShopifyStandIn, api: ShopifyApi, status: int, body: bytes
) -> None:
    stand_in.fault = (status, body)

    with pytest.raises(ProviderApiError) as raised:
        api.look_up(REFERENCE, SHOP, NOW)

    assert raised.value.retry
    assert len(str(raised.value)) < 400


def test_a_question_that_is_wrong_is_told(stand_in: ShopifyStandIn, api: ShopifyApi) -> None:
    stand_in.know(ORDER)
    del stand_in.orders[f"gid://shopify/Order/{ORDER['id']}"]["totalPriceSet"]
    with pytest.raises(ProviderApiError, match="'totalPriceSet' doesn't exist") as raised:
        api.look_up(REFERENCE, SHOP, NOW)
    assert not raised.value.retry


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
FIELDS = ["lineItems", "transactions", "customer", "updatedAt", "totalPriceSet", "test", "email"]
FIELDS += ["displayFinancialStatus", "customAttributes", "customerJourneySummary", "cancelReason"]


@given(st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=4))
def test_an_odd_answer_is_an_event_or_no_answer(changes: dict[str, Any]) -> None:
    with shopify_stand_in() as stand_in:
        stand_in.know(ORDER)
        (order,) = copy.deepcopy(list(stand_in.orders.values()))
        order["lineItems"] = {"nodes": order["lineItems"], "pageInfo": {"hasNextPage": False}}
        stand_in.fault = (200, json.dumps({"data": {"order": order | changes}}).encode())
        api = api_at(stand_in.url)
        try:
            found = api.look_up(REFERENCE, SHOP, NOW)
        except ProviderApiError:
            found = []
        finally:
            api.close()
    assert all(each.fetched for each in found)


# ── the package ──────────────────────────────────────────────────────────────────────────────────


def test_the_token_goes_nowhere_else(
    stand_in: ShopifyStandIn, api: ShopifyApi, capfd: pytest.CaptureFixture[str]
) -> None:
    with shopify_stand_in() as elsewhere:
        stand_in.fault = (302, b"")
        stand_in.headers = {"Location": elsewhere.url}
        with pytest.raises(ProviderApiError):
            api.look_up(REFERENCE, SHOP, NOW)
        assert elsewhere.asked == []
    assert capfd.readouterr() == ("", "")


def test_shopify_is_not_asked_to_fetch(api: ShopifyApi) -> None:
    case = case_of("shopify/orders/paid")
    with pytest.raises(ProviderApiError, match="leaves nothing out") as raised:
        api.fetch(reader_for(case).read(case.request), NOW)
    assert not raised.value.retry
