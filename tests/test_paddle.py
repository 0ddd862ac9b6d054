"""Paddle's plugin, where fixtures do not reach: signatures, settings, events and sales."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cases import CASES, case_of, event_of, unsigned
from hypothesis import given
from hypothesis import strategies as st
from mutations import DROP
from pydantic import ValidationError

from bridge.errors import MoneyError, PayloadError, SignatureError
from bridge.model import Context, Payment, PaymentKind
from bridge.money import Money
from bridge.providers.paddle import Paddle, PaddleSettings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STAMP = int(NOW.timestamp())
KEY, OLD_KEY = "pdl_ntfset_new/+_1", "pdl_ntfset_old/+_2"
BODIES = {
    each.name: json.loads(each.body) for each in CASES if each.provider == "paddle"
}  # by name: "transaction.completed@jpy"
BODY = case_of("paddle/transaction.completed").body


def paddle(secret: str = KEY, **settings: Any) -> Paddle:
    return Paddle(PaddleSettings.model_validate({"webhook_secret": secret, **settings}))


def hashed(secret: str = KEY, body: str = BODY, stamp: object = STAMP) -> str:
    """Sign as Paddle's documents say, by other means than the plugin's."""
    return hmac.digest(secret.encode(), f"{stamp}:{body}".encode(), hashlib.sha256).hex()


def verified(header: str, *, body: str = BODY, now: datetime = NOW, **settings: Any) -> str:
    """Return the type of the event that a header vouches for."""
    request = unsigned(body, paddle_signature=header)
    return paddle(**{"secret": KEY, **settings}).verify(request, now).type


# ── signatures ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("secret", "stamp", "body", "h1"),
    [
        # printf '%s' '1671552777:{"a":1}' | openssl dgst -sha256 -hmac secret
        (
            "secret",
            1671552777,
            '{"a":1}',
            "98f8abe8c491ad3de496727ffd5c16edc1f4a434a6be07bd82ebbc55d66b614c",
        ),
        (
            "pdl/+_=",
            1794009600,
            '{"name":"Zoë"}',
            "bd632bb4f73ae466846cd2c1ba3b987500fe7a0cafc77e62a283e84c9543a2f0",
        ),
    ],
)
def test_signs_as_openssl_does(secret: str, stamp: int, body: str, h1: str) -> None:
    at = datetime.fromtimestamp(stamp, UTC)
    signed = paddle(secret).sign(unsigned(body), at)
    assert signed.headers["paddle-signature"] == f"ts={stamp};h1={h1}"
    with pytest.raises(PayloadError):  # well signed, but no event
        paddle(secret).verify(signed, at)


@pytest.mark.parametrize(
    "header",
    [
        f"ts={STAMP};h1={hashed()}",
        f"h1={hashed()};ts={STAMP}",
        f"ts={STAMP}; h1={hashed()};",
        f"ts={STAMP};h1={'0' * 64};h1={hashed()}",
        f"ts={STAMP};h1={hashed()};h1={'0' * 64}",
        f"ts={STAMP};h2=whatever;h1={hashed()};v=2;x",
        f"ts={STAMP};h1={hashed(OLD_KEY)}",
    ],
)
def test_one_good_signature_by_any_secret_is_enough(header: str) -> None:
    assert verified(header, secret=f"{KEY}, {OLD_KEY}") == "transaction.completed"


@pytest.mark.parametrize(
    "header",
    [
        f"ts={STAMP};h1={'0' * 64}",
        f"ts={STAMP};h1={hashed('another')}",
        f"ts={STAMP};h1={hashed(body=BODY + ' ')}",
        f"ts={STAMP + 1};h1={hashed()}",
        f"ts={STAMP};h2={hashed()}",
        f"ts={STAMP};h1={hashed()[:-1]}é",
        f"ts={STAMP};h1=",
        f"ts={STAMP};ts={STAMP};h1={hashed()}",
        f"ts=0{STAMP};h1={hashed()}",
        f"ts=-1;h1={hashed(stamp=-1)}",
        f"ts=٣;h1={hashed(stamp='٣')}",
        f"ts={'9' * 5000};h1={hashed(stamp='9' * 5000)}",
        f"ts=;h1={hashed(stamp='')}",
        f"h1={hashed()}",
        f"ts={STAMP}",
        "ts",
        ";;=;",
        "h1=\ud800;ts=1",
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    with pytest.raises(SignatureError) as caught:
        verified(header)
    assert caught.value.code == "bad_signature"
    assert caught.value.status == 400


def test_a_missing_signature_is_said_to_be_missing() -> None:
    with pytest.raises(SignatureError, match="PADDLE_WEBHOOK_SECRET") as caught:
        paddle().verify(unsigned(BODY), NOW)
    assert caught.value.code == "missing_signature"


@pytest.mark.parametrize("tolerance", [5, 300])
@pytest.mark.parametrize("way", [1, -1])
def test_a_signature_is_good_for_the_tolerance_either_way(tolerance: int, way: int) -> None:
    header = f"ts={STAMP};h1={hashed()}"
    edge = NOW + way * tolerance * SECOND
    assert verified(header, now=edge, tolerance_seconds=tolerance)
    with pytest.raises(SignatureError, match="PADDLE_TOLERANCE_SECONDS") as caught:
        verified(header, now=edge + way * SECOND, tolerance_seconds=tolerance)
    assert caught.value.code == "stale_signature"
    assert f"{tolerance + 1} s {'old' if way > 0 else 'in the future'}" in str(caught.value)
    assert "clock" in str(caught.value)


def test_a_body_read_and_written_again_is_another_body() -> None:
    changed = json.dumps(json.loads(BODY))
    with pytest.raises(SignatureError):
        verified(f"ts={STAMP};h1={hashed()}", body=changed)


def test_a_signed_body_that_is_no_text_is_unreadable() -> None:
    signed = paddle().sign(unsigned(b"\xff{}"), NOW)
    with pytest.raises(PayloadError, match="UTF-8"):
        paddle().verify(signed, NOW)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_header_is_refused_in_words(header: str) -> None:
    with pytest.raises(SignatureError):
        verified(header)


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://api.paddle.com"),
        ({"environment": "sandbox"}, "https://sandbox-api.paddle.com"),
        ({"environment": "sandbox", "api_base": "http://127.0.0.1:1/"}, "http://127.0.0.1:1"),
    ],
)
def test_the_api_is_that_of_the_environment(settings: dict[str, str], url: str) -> None:
    assert paddle(**settings).settings.api_url == url


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook_secret": " , "},
        {"environment": "production"},
        {"tolerance_seconds": 0},
        {"api_base": "http://paddle.example"},
        {"api_base": "https://user:key@paddle.example"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PaddleSettings.model_validate({"webhook_secret": KEY} | wrong)


# ── events ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "settings", "test"),
    [
        ({}, {}, False),
        ({"event_id": "ntfsimevt_01m5byaqmn"}, {}, True),
        ({"notification_id": "ntfsimntf_01m5byaqmn"}, {}, True),
        ({"notification_id": None}, {}, False),
        ({}, {"environment": "sandbox"}, True),
    ],
)
def test_simulations_and_the_sandbox_are_tests(
    changes: dict[str, object], settings: dict[str, str], test: bool
) -> None:
    provider = paddle(**settings)
    event = event_of(provider, json.dumps(BODIES["transaction.completed"] | changes))
    assert event.test is test
    assert [each.test for each in provider.normalise(event)] == [test]


@pytest.mark.parametrize("field", ["event_id", "event_type", "occurred_at"])
@pytest.mark.parametrize("odd", [DROP, None, "", 7.5, []])
def test_an_event_needs_its_envelope(field: str, odd: object) -> None:
    body = BODIES["transaction.completed"] | {field: odd}
    if odd is DROP:
        del body[field]
    with pytest.raises(PayloadError):
        event_of(paddle(), json.dumps(body))


@pytest.mark.parametrize("data", [None, [], "x", {}, {"id": None}, {"id": ""}])
def test_an_event_needs_an_entity_with_an_id(data: object) -> None:
    with pytest.raises(PayloadError):
        meaning("transaction.completed", data)


def test_a_lean_event_without_a_time_happened_when_it_came() -> None:
    lean = json.dumps({k: v for k, v in json.loads(BODY).items() if k != "occurred_at"})
    event = paddle().verify(paddle().sign(unsigned(lean), NOW), NOW)
    assert event.occurred_at == NOW
    with pytest.raises(PayloadError, match="occurred_at: 'None' is not a time"):
        paddle().read(unsigned(lean))


def test_asks_for_the_transaction() -> None:
    assert paddle().question({"adj_1", "txn_2", "txn_1"}) == "txn_1"
    assert paddle().question({"adj_1"}) == ""


def meaning(kind: str, data: object, **settings: Any) -> Payment:
    """Return what an event about some entity means."""
    body = {"event_id": "evt_1", "event_type": kind, "occurred_at": NOW.isoformat(), "data": data}
    provider = paddle(**settings)
    (payment,) = provider.normalise(event_of(provider, json.dumps(body)))
    return payment


# ── sales ────────────────────────────────────────────────────────────────────────────────────────


def sale(currency: str = "EUR", **totals: Any) -> dict[str, Any]:
    return {"id": "txn_1", "currency_code": currency, "details": {"totals": totals}}


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


@pytest.mark.parametrize(
    ("totals", "paid", "net"),
    [
        ({"subtotal": "1000", "discount": "100", "tax": "171", "total": "1071"}, 1071, 900),
        ({"subtotal": "1000", "total": "1190"}, 1190, 1000),
        ({"tax": "190", "total": "1190"}, 1190, 1000),
        ({"total": "1190"}, 1190, 1190),
        ({"total": "1190", "grand_total": "190", "credit": "1000", "subtotal": "1000"}, 1190, 1000),
        ({"total": "1190", "grand_total": "0", "credit": "1190", "subtotal": "1000"}, 1190, 1000),
        ({"total": "1190", "grand_total": None, "subtotal": "1000"}, 1190, 1000),
        ({"total": "-1190", "grand_total": "0", "subtotal": "-1000"}, 0, 0),
        ({"total": "-1190"}, 0, 0),
        ({"total": "0"}, 0, 0),
        ({"total": 1190, "subtotal": None, "tax": None}, 1190, 1190),
    ],
)
def test_a_sale_is_what_was_paid_and_of_that_what_is_no_tax(
    totals: dict[str, Any], paid: int, net: int
) -> None:
    payment = meaning("transaction.completed", sale(**totals))
    assert (payment.kind, payment.amount, payment.net) == (PaymentKind.SALE, eur(paid), eur(net))


@pytest.mark.parametrize(
    ("origin", "totals", "reason"),
    [
        ("web", {"total": "1190", "grand_total": "190"}, "web"),
        ("web", {"total": "0", "grand_total": "0"}, "web"),
        (None, {"total": "-5"}, "a total of -0.05 EUR went to the customer's balance"),
        (
            "subscription_update",
            {"total": "-1190", "credit_to_balance": "1190", "grand_total": "0"},
            "subscription_update: a total of -11.90 EUR went to the customer's balance",
        ),
    ],
)
def test_a_sale_of_nothing_says_why(
    origin: str | None, totals: dict[str, str], reason: str
) -> None:
    data = sale(**totals) | {"origin": origin}
    assert meaning("transaction.completed", data).reason == reason


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"id": "txn_1", "currency_code": "EUR"}, "txn_1 has no details.totals.total"),
        (sale(subtotal="100"), "txn_1 has no details.totals.total"),
        (sale("", total="100"), "txn_1 has no currency_code"),
        (sale("EURO", total="100"), "'EURO' is not an ISO 4217"),
        (sale(grand_total="100"), "txn_1 has no details.totals.total"),
        (sale(total="10.5"), "txn_1, total: .* must be|txn_1, total: '10.5' is not a whole number"),
        (sale(total=True), "txn_1, total"),
    ],
)
def test_a_sale_without_its_money_is_refused_loudly(data: dict[str, Any], says: str) -> None:
    with pytest.raises((PayloadError, MoneyError), match=says):
        meaning("transaction.completed", data)


@pytest.mark.parametrize(
    ("fields", "second"),
    [
        ({}, None),
        ({"created_at": 1}, 1),
        ({"created_at": 1, "billed_at": 2}, 2),
        ({"created_at": 1, "billed_at": 2, "payments": [("error", 3)]}, 2),
        ({"created_at": 1, "billed_at": 2, "payments": [("error", 3), ("captured", 4)]}, 4),
        ({"created_at": 1, "payments": [("captured", None)]}, 1),
    ],
)
def test_a_sale_began_when_its_money_was_captured(
    fields: dict[str, Any], second: int | None
) -> None:
    def at(number: int | None) -> str | None:
        return None if number is None else (NOW + number * SECOND).isoformat()

    attempts = fields.pop("payments", [])
    data = sale(total="1") | {name: at(number) for name, number in fields.items()}
    data["payments"] = [{"status": status, "captured_at": at(n)} for status, n in attempts]
    started = meaning("transaction.completed", data).started_at
    assert started == (None if second is None else NOW + second * SECOND)


def test_custom_data_of_any_shape_is_read_as_far_as_it_goes() -> None:
    for custom, read in (
        (None, {}),
        ([], {}),
        ({"user_id": 7, "deep": {"er": 1}, "no": None, "yes": True}, {"user_id": "7"}),
    ):
        payment = meaning("transaction.completed", sale(total="1") | {"custom_data": custom})
        assert payment.context == (Context(metadata=read) if read else None)
