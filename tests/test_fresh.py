"""Fresh ids and times: fixtures as if the same customer bought again, now."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from kit import STRIPE, body_of

from bridge.cli.fixture_changes import change
from bridge.cli.fixture_files import FixtureFile

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
CREATED = 1_793_696_403


def made(body: object, name: str = "a.json", **headers: str) -> FixtureFile:
    text = body if isinstance(body, str) else json.dumps(body)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return FixtureFile(Path("stripe") / name, "stripe", text, given)


def fresh(*bodies: object, seed: str = "seed", now: datetime | None = None) -> list[Any]:
    files = change([made(body) for body in bodies], [], fresh=seed, now=now)
    return [json.loads(file.body) for file in files]


def fresh_form(form: dict[str, str], now: datetime | None = None) -> dict[str, str]:
    (file,) = change([made(urlencode(form), "a.form")], [], fresh="seed", now=now)
    return dict(parse_qsl(file.body, keep_blank_values=True))


def refreshed(*names: str, seed: str = "seed") -> list[Any]:
    return fresh(*map(body_of, names), seed=seed, now=NOW)


# ── ids with a prefix ────────────────────────────────────────────────────────────────────────────


def test_the_same_id_becomes_the_same_new_one_in_all_files_of_a_run() -> None:
    sale, link, refund = refreshed("invoice.paid", "invoice_payment.paid", "refund.created")
    invoice = sale["data"]["object"]["id"]
    assert invoice != "in_1QNjVgZk4Tp9WvLqVyR24PLZ"
    assert invoice.startswith("in_")
    assert link["data"]["object"]["invoice"] == invoice
    intent = link["data"]["object"]["payment"]["payment_intent"]
    assert refund["data"]["object"]["payment_intent"] == intent
    assert len({each["id"] for each in (sale, link, refund)}) == 3
    assert sale["data"]["object"]["lines"]["url"] == f"/v1/invoices/{invoice}/lines"


def test_another_run_has_other_ids() -> None:
    (one,) = refreshed("invoice.paid", seed="one")
    (two,) = refreshed("invoice.paid", seed="two")
    assert one["id"] != two["id"]


def test_customers_catalogues_and_what_the_merchant_attached_keep_theirs() -> None:
    body = {
        "account": "acct_1QNabcdefghij",
        "data": {
            "object": {
                "customer": "cus_TZ3yrniwyYL7T5",
                "client_reference_id": "user_2abcDEF12345678",
                "metadata": {"user_id": "user_2abcDEF12345678", "order": "in_1QNjVgZk4Tp9WvLq"},
                "items": [{"owner": "cus_TZ3yrniwyYL7T5", "price": "price_1QNjVgZk4Tp9WvLq"}],
                "address_id": "add_01jc8zq4t7w2k9m3n5p6r8s0v1",
                "email": "jane_doe1985abcd.x@example.com",
                "landing_site": "/?tid=click_9Abcdef12345",
            }
        },
    }
    assert fresh(body) == [body]


def test_ids_of_paddle_are_renewed_whole() -> None:
    simulated = {"event_id": "ntfsimevt_01jc8zq4t7w2k9m3n5p6r8s0v1", "id": "txn_01jc8zq4t7w2k9m3n5"}
    (new,) = fresh(simulated)
    for name, old in simulated.items():
        assert new[name] != old
        assert new[name].partition("_")[0] == old.partition("_")[0]


def test_names_of_fields_and_states_are_no_ids() -> None:
    before = json.loads(body_of("invoice.paid"))
    (after,) = refreshed("invoice.paid")
    assert after["type"] == before["type"]
    old, new = before["data"]["object"], after["data"]["object"]
    assert list(new) == list(old)
    assert new["collection_method"] == old["collection_method"] == "charge_automatically"
    assert new["status_transitions"].keys() == old["status_transitions"].keys()


def test_every_fixture_can_be_made_fresh() -> None:
    names = sorted(each.name for each in STRIPE.iterdir())
    before = [json.loads(body_of(name)) for name in names]
    after = refreshed(*names)
    assert not {each["id"] for each in before} & {each["id"] for each in after}
    assert [each["type"] for each in before] == [each["type"] for each in after]


# ── ids that are numbers ─────────────────────────────────────────────────────────────────────────

ORDER = {
    "id": 820982911946154508,
    "admin_graphql_api_id": "gid://shopify/Order/820982911946154508",
    "checkout_id": 40512345678901,
    "order_number": 1001,
    "number": 1,
    "order_status_url": "https://acme.example/548380009/orders/820982911946154508/authenticate",
    "total_price": "1001.00",
    "customer": {"id": 6123456789012, "last_order_id": 820982911946154508},
    "note_attributes": [{"name": "order_id", "value": "820982911946154508"}],
    "line_items": [{"id": 487817672276298554, "product_id": 7880321196742, "variant_id": 49148385}],
    "source_identifier": "820982911946154508",
    "location_id": None,
    "test": False,
}
REFUND = {
    "id": 509562969123456,
    "order_id": 820982911946154508,
    "refund_line_items": [{"line_item_id": 487817672276298554, "subtotal": 19.90}],
    "transactions": [{"id": 179259969012, "parent_id": 801038806, "amount": "41.94"}],
}
REDACTION = {
    "shop_id": 548380009,
    "customer": {"id": 6123456789012, "email": "jane@example.com"},
    "orders_to_redact": [820982911946154508],
}
CUSTOMER = {
    "id": 6123456789012,
    "admin_graphql_api_id": "gid://shopify/Customer/6123456789012",
    "default_address": {"id": 8123456789012, "customer_id": 6123456789012},
}


def test_a_number_is_the_same_new_one_wherever_it_stands() -> None:
    order, refund, redaction = fresh(ORDER, REFUND, REDACTION)
    new = order["id"]
    assert new != ORDER["id"]
    assert len(str(new)) == 18
    assert order["admin_graphql_api_id"] == f"gid://shopify/Order/{new}"
    assert order["order_status_url"].endswith(f"/548380009/orders/{new}/authenticate")
    assert order["source_identifier"] == str(new)
    assert refund["order_id"] == new
    assert redaction["orders_to_redact"] == [new]
    assert refund["refund_line_items"][0]["line_item_id"] == order["line_items"][0]["id"]
    assert refund["transactions"][0]["id"] != 179259969012
    assert refund["id"] != REFUND["id"]


def test_customers_shops_and_products_keep_their_numbers() -> None:
    order, redaction, customer = fresh(ORDER, REDACTION, CUSTOMER)
    for name in ("customer", "note_attributes", "order_number", "number", "total_price", "test"):
        assert order[name] == ORDER[name]
    for name in ("product_id", "variant_id"):
        assert order["line_items"][0][name] == ORDER["line_items"][0][name]  # type: ignore[index]
    assert redaction | {"orders_to_redact": []} == REDACTION | {"orders_to_redact": []}
    assert customer["id"] == CUSTOMER["id"]
    assert customer["admin_graphql_api_id"] == CUSTOMER["admin_graphql_api_id"]


@pytest.mark.parametrize("length", range(4, 20))
def test_a_number_stays_as_long_and_fits_64_bits(length: int) -> None:
    old = int("9" * length) if length < 19 else 2**63 - 1
    for seed in map(str, range(50)):
        (new,) = fresh({"id": old, "order_id": str(old)}, seed=seed)
        assert len(str(new["id"])) == length
        assert new["id"] < 2**63
        assert new["order_id"] == str(new["id"])


def test_short_numbers_are_no_ids() -> None:
    body = {"id": 7, "line_id": "123", "note": "1234 of 1234", "amount": 1234, "user_id": "5550001"}
    assert fresh(body) == [body]
    (new,) = fresh(body | {"item_id": 1234})
    assert new["note"] == body["note"]
    assert new["amount"] == body["amount"]


def test_numbers_in_a_form_are_renewed_too() -> None:
    form = {
        "alert_id": "1203166218",
        "order_id": "384920-557001",
        "receipt_url": "https://my.paddle.com/receipt/384920-557001/3e1b",
        "subscription_payment_id": "9911223",
        "subscription_plan_id": "5566778",
        "user_id": "2233445",
        "passthrough": '{"order": "384920-557001"}',
        "coupon": "",
        "sale_gross": "59.00",
    }
    new = fresh_form(form)
    for name in ("alert_id", "order_id", "subscription_payment_id"):
        assert new[name] != form[name]
        assert len(new[name]) == len(form[name])
    assert new["receipt_url"] == f"https://my.paddle.com/receipt/{new['order_id']}/3e1b"
    for name in ("subscription_plan_id", "user_id", "passthrough", "coupon", "sale_gross"):
        assert new[name] == form[name]


# ── headers ──────────────────────────────────────────────────────────────────────────────────────


def test_headers_that_name_a_delivery_are_renewed_in_their_form() -> None:
    ids = {
        "x_shopify_webhook_id": "b1946ac9-2492-4d23-87c1-235f1e4a9b10",
        "x_shopify_event_id": "6b86b273ff34fce19d6b804eff5a3f57",
    }
    steady = {"x_shopify_topic": "orders/paid", "x_shopify_shop_domain": "acme.myshopify.com"}
    file, again = change([made(ORDER, **ids, **steady)] * 2, [], fresh="seed")
    for name, old in ids.items():
        new = file.headers[name.replace("_", "-")]
        assert new != old
        assert [at for at, each in enumerate(new) if each == "-"] == [
            at for at, each in enumerate(old) if each == "-"
        ]
        assert len(new) == len(old)
    for name, value in steady.items():
        assert file.headers[name.replace("_", "-")] == value
    assert file.headers == again.headers


def test_the_header_with_the_time_moves_too() -> None:
    at = "2026-11-05T15:00:00.123456789Z"
    file = made({"order_edit": {"created_at": "2026-11-05T10:00:00-05:00"}}, x_triggered_at=at)
    (moved,) = change([file], [], fresh="seed", now=NOW)
    assert moved.headers["x-triggered-at"] == "2026-12-01T12:00:00.000000Z"
    assert json.loads(moved.body)["order_edit"]["created_at"] == "2026-12-01T06:59:59-05:00"


# ── times ────────────────────────────────────────────────────────────────────────────────────────


def test_times_move_so_that_the_newest_event_is_now() -> None:
    sale, refund = refreshed("invoice.paid", "refund.created")
    assert refund["created"] == int(NOW.timestamp())
    before = json.loads(body_of("refund.created"))["created"] - CREATED
    assert refund["created"] - sale["created"] == before
    paid_at = sale["data"]["object"]["status_transitions"]["paid_at"]
    assert sale["created"] - paid_at == CREATED - 1_793_696_399


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("2026-11-05T10:00:05.318Z", "2026-12-01T12:00:00.000Z"),
        ("2026-11-05T10:00:05.318422Z", "2026-12-01T12:00:00.000000Z"),
        ("2026-11-05T10:00:05Z", "2026-12-01T12:00:00Z"),
        ("2026-11-05T10:00:05+00:00", "2026-12-01T12:00:00+00:00"),
        ("2026-11-05T05:00:05-05:00", "2026-12-01T07:00:00-05:00"),
        ("2026-11-05 10:00:05", "2026-12-01 12:00:00"),
    ],
)
@pytest.mark.parametrize(
    "name", ["created", "occurred_at", "event_time", "updated_at", "processed_at", "created_at"]
)
def test_a_written_time_keeps_its_form(name: str, then: str, now: str) -> None:
    assert fresh({name: then}, now=NOW) == [{name: now}]


def test_times_keep_what_lay_between_them() -> None:
    body = {
        "updated_at": "2026-11-05T10:00:05.318Z",
        "other": {"paid_at": "2026-11-05T10:00:00Z", "lines": [{"due_date": "2026-11-20"}]},
    }
    assert fresh(body, now=NOW) == [
        {
            "updated_at": "2026-12-01T12:00:00.000Z",
            "other": {"paid_at": "2026-12-01T11:59:54Z", "lines": [{"due_date": "2026-12-16"}]},
        }
    ]


def test_times_in_a_form_keep_their_form() -> None:
    form = {"event_time": "2026-11-05 10:00:00", "next_bill_date": "2026-12-05", "coupon": ""}
    assert fresh_form(form, NOW) == {
        "event_time": "2026-12-01 12:00:00",
        "next_bill_date": "2026-12-31",
        "coupon": "",
    }


def test_what_is_no_time_does_not_move() -> None:
    body = {
        "created": CREATED,
        "amount_paid": 1_793_696_397,
        "paid_at": None,
        "due_date": 5,
        "updated_on": "soon",
        "sent_on": "20261105",
        "cancelled_at": "2026-13-45T10:00:00Z",
        "at": "2026-11-05",
    }
    assert fresh(body, now=NOW) == [body | {"created": int(NOW.timestamp())}]


def test_a_body_without_a_time_stays_where_it_is() -> None:
    assert fresh({"paid_at": CREATED}, now=NOW) == [{"paid_at": CREATED}]
    assert fresh([1], now=NOW) == [[1]]
