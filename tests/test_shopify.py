"""Shopify: signatures, topics told by their bodies, requests about privacy, settings."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cases import CASES, SECRET, case_of, made
from pydantic import ValidationError

from bridge.errors import PayloadError, SignatureError
from bridge.model import Payment, WebhookRequest
from bridge.providers.shopify import ShopifySettings
from bridge.providers.shopify.topics import IGNORED, SHAPES

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SHOP = "acme.myshopify.com"
FIXTURES = {each.name: each for each in CASES if each.provider == "shopify"}
PLAIN = made("shopify")


def request_of(name: str, **headers: str) -> WebhookRequest:
    """Return a fixture as a request; x_shopify_topic="" takes the header away."""
    request = case_of(f"shopify/{name}").request
    given = {each.replace("_", "-"): value for each, value in headers.items()}
    kept = {**request.headers, **given}
    return replace(request, headers={each: value for each, value in kept.items() if value})


def signed(name: str, **headers: str) -> WebhookRequest:
    return PLAIN.sign(request_of(name, **headers), NOW)


def body_of(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(case_of(f"shopify/{name}").body)
    return body


def meaning(name: str, body: dict[str, Any] | None = None, **changes: Any) -> list[Payment]:
    """Return what a fixture tells of, some fields of its body changed."""
    changed = json.dumps({**(body_of(name) if body is None else body), **changes})
    return PLAIN.normalise(PLAIN.read(replace(request_of(name), body=changed.encode())))


def sale(name: str = "orders/paid", **changes: Any) -> Payment:
    return meaning(name, **changes)[0]


# ── signatures ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl here")
def test_agrees_with_openssl_about_a_signature() -> None:
    request = request_of("orders/paid")
    command = ["openssl", "dgst", "-sha256", "-hmac", SECRET, "-binary"]
    raw = subprocess.run(command, input=request.body, capture_output=True, check=True).stdout
    encoded = subprocess.run(
        ["openssl", "base64", "-A"], input=raw, capture_output=True, check=True
    ).stdout.decode()
    assert PLAIN.sign(request, NOW).headers["x-shopify-hmac-sha256"] == encoded
    theirs = {**request.headers, "x-shopify-hmac-sha256": encoded}
    assert PLAIN.verify(replace(request, headers=theirs), NOW).type == "orders/paid"


def test_headers_come_with_and_without_their_x() -> None:
    request = signed("orders/paid")
    bare = {each.removeprefix("x-"): value for each, value in request.headers.items()}
    assert PLAIN.verify(replace(request, headers=bare), NOW) == PLAIN.verify(request, NOW)


@pytest.mark.parametrize("secrets", [f"{SECRET},newer", f"older, {SECRET}"])
def test_any_of_several_secrets_will_do(secrets: str) -> None:
    assert made("shopify", api_secret=secrets).verify(signed("orders/paid"), NOW).id


@pytest.mark.parametrize(
    ("header", "code"),
    [("", "missing_signature"), ("wrong", "bad_signature"), ("é\udcff", "bad_signature")],
)
def test_a_bad_signature_is_answered_401(header: str, code: str) -> None:
    request = request_of("customers/redact", x_shopify_hmac_sha256=header)
    with pytest.raises(SignatureError, match="SHOPIFY_API_SECRET") as refused:
        PLAIN.verify(request, NOW)
    assert (refused.value.code, refused.value.status) == (code, 401)


@pytest.mark.parametrize("cut", [0, 1, 700])
def test_a_truncated_or_changed_body_is_answered_401(cut: int) -> None:
    request = signed("orders/paid")
    for body in (request.body[:cut], request.body + b" "):
        with pytest.raises(SignatureError):
            PLAIN.verify(replace(request, body=body), NOW)


def test_a_test_header_proves_nothing() -> None:
    request = signed("orders/paid", x_shopify_test="true")
    assert PLAIN.verify(request, NOW).test is False
    with pytest.raises(SignatureError):
        PLAIN.verify(request_of("orders/paid", x_shopify_test="true"), NOW)


# ── headers that nobody signed ───────────────────────────────────────────────────────────────────

ONE_OF_EACH = {SHAPES[topic]: topic for topic in SHAPES if topic in FIXTURES}


@pytest.mark.parametrize("topic", SHAPES)
@pytest.mark.parametrize("name", ONE_OF_EACH.values())
def test_a_body_cannot_be_passed_off_under_another_topic(name: str, topic: str) -> None:
    request = signed(name, x_shopify_topic=topic)
    if SHAPES[name] is SHAPES[topic]:
        assert PLAIN.normalise(PLAIN.verify(request, NOW)) == meaning(name)
        return
    with pytest.raises(PayloadError) as refused:
        PLAIN.verify(request, NOW)
    assert (refused.value.code, refused.value.status) == ("topic_mismatch", 400)


@pytest.mark.parametrize("name", FIXTURES)
def test_no_body_but_its_own_erases_a_shop(name: str) -> None:
    if name != "shop/redact":
        with pytest.raises(PayloadError, match="none of that topic"):
            PLAIN.verify(signed(name, x_shopify_topic="shop/redact"), NOW)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x_shopify_topic": ""}, "unreadable"),
        ({"x_shopify_shop_domain": ""}, "unreadable"),
        ({"x_shopify_shop_domain": "acme.example.com"}, "unreadable"),
        ({"x_shopify_shop_domain": "a/b.myshopify.com"}, "unreadable"),
        ({"x_shopify_shop_domain": "other.myshopify.com"}, "wrong_shop"),
    ],
)
@pytest.mark.parametrize("name", ["customers/redact", "shop/redact", "customers/data_request"])
def test_the_headers_must_name_a_topic_and_the_signed_shop(
    name: str, headers: dict[str, str], code: str
) -> None:
    with pytest.raises(PayloadError) as refused:
        PLAIN.verify(signed(name, **headers), NOW)
    assert (refused.value.code, refused.value.status) == (code, 400)


def test_only_the_shop_of_the_settings_is_heard() -> None:
    ours, theirs = made("shopify", shop=SHOP), made("shopify", shop="b.myshopify.com")
    assert (
        ours.verify(signed("orders/paid", x_shopify_shop_domain=SHOP.upper()), NOW).account == SHOP
    )
    with pytest.raises(PayloadError, match="check SHOPIFY_SHOP") as refused:
        theirs.verify(signed("orders/paid"), NOW)
    assert refused.value.code == "wrong_shop"


@pytest.mark.parametrize("name", ["orders/paid", "shop/redact", "app/uninstalled"])
def test_a_replay_comes_from_the_shop_of_the_settings(name: str) -> None:
    ours = made("shopify", shop="b.myshopify.com")
    event = ours.verify(ours.sign(request_of(name), NOW), NOW)
    assert event.account == "b.myshopify.com"
    assert SHOP not in event.body


def test_an_event_has_an_id_even_without_its_header() -> None:
    bare = PLAIN.read(request_of("orders/paid", x_shopify_webhook_id=""))
    assert bare.id.startswith("body_")
    assert bare.id == PLAIN.read(request_of("orders/paid", x_shopify_webhook_id="")).id
    assert bare.id != PLAIN.read(request_of("refunds/create", x_shopify_webhook_id="")).id


def test_a_body_without_a_time_takes_that_of_the_header_or_of_its_arrival() -> None:
    request = signed("shop/redact", x_shopify_triggered_at="")
    assert PLAIN.verify(request, NOW).occurred_at == NOW
    with pytest.raises(PayloadError, match="Triggered-At"):
        PLAIN.read(request)
    late = request_of("orders/paid", x_shopify_triggered_at="2030-01-01T00:00:00Z")
    assert PLAIN.read(late).occurred_at.year == 2026


def test_other_topics_are_ignored_with_a_reason() -> None:
    event = PLAIN.read(request_of("orders/paid", x_shopify_topic="carts/update"))
    assert event.ignored == "carts/update says nothing about money"
    assert PLAIN.normalise(event) == []
    assert "no more webhooks" in PLAIN.read(request_of("app/uninstalled")).ignored


# ── privacy, settings ────────────────────────────────────────────────────────────────────────────


def test_a_request_for_data_does_not_join_the_orders_it_names() -> None:
    (told,) = meaning("customers/data_request", orders_requested=[1, 2, 3])
    assert (told.references, told.customer) == (frozenset(), "7012345678901")


@pytest.mark.parametrize("name", FIXTURES)
def test_only_redaction_erases(name: str) -> None:
    erasure = PLAIN.erasure(PLAIN.read(request_of(name)))
    assert bool(erasure) is name.partition("@")[0].endswith("/redact")
    assert not erasure or erasure.everyone is (name == "shop/redact")


@pytest.mark.parametrize(
    ("orders", "numbers"),
    [
        ([None, {"id": 7}, "gift", "", True, -1, 1.5, [8], 9, "10"], [9, 10]),
        ([None], []),
        ({"0": 7}, []),
        ("7", []),
        (None, []),
    ],
)
def test_odd_orders_do_not_keep_a_person_from_being_removed(
    orders: object, numbers: list[int]
) -> None:
    body = json.dumps({**body_of("customers/redact"), "orders_to_redact": orders})
    erasure = PLAIN.erasure(PLAIN.read(replace(request_of("customers/redact"), body=body.encode())))
    assert erasure
    assert erasure.references == {f"{SHOP}/{each}" for each in numbers}
    assert (erasure.customer, bool(erasure.email)) == ("7012345678901", True)


@pytest.mark.parametrize(
    "shop", ["acme.myshopify.com", "https://ACME.myshopify.com/", " Acme.myshopify.com "]
)
def test_settings_know_the_shop_however_it_is_written(shop: str) -> None:
    settings = ShopifySettings.model_validate({"api_secret": "s", "shop": shop})
    assert (settings.shop, settings.address) == (SHOP, f"https://{SHOP}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shop": "acme.example.com"}, "like acme.myshopify.com"),
        ({"shop": "acme"}, "like acme.myshopify.com"),
        ({"access_token": "shpat_1"}, "set SHOPIFY_SHOP"),
        ({"api_base": "http://shop.example"}, "https"),
        ({"api_secret": " , "}, "must hold a secret"),
    ],
)
def test_settings_say_what_is_wrong(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ShopifySettings.model_validate({"api_secret": "s", **values})


def test_every_topic_has_a_fixture() -> None:
    assert SHAPES.keys() >= IGNORED.keys()
    assert SHAPES.keys() <= FIXTURES.keys()
