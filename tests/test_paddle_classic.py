"""What Paddle Classic's alerts mean, alone and together."""

from __future__ import annotations

from functools import cache
from urllib.parse import urlencode

import pytest
from cases import case_of, event_of, made
from hypothesis import given
from hypothesis import strategies as st

from bridge import attribution, codec
from bridge.errors import MoneyError, PayloadError
from bridge.ledger import NET, TOTAL, fold
from bridge.model import Context, Payment
from bridge.providers.base import AnyProvider
from bridge.vendors import discover

ALERT = {
    "alert_id": "1",
    "alert_name": "payment_succeeded",
    "currency": "EUR",
    "event_time": "2026-11-20 12:00:00",
    "order_id": "7",
    "payment_tax": "2.00",
    "sale_gross": "12.00",
}
REFUND = {
    **ALERT,
    "alert_id": "2",
    "alert_name": "payment_refunded",
    "amount": "6.00",
    "gross_refund": "6.00",
    "tax_refund": "1.00",
    "refund_type": "partial",
}
DISPUTE = {
    **ALERT,
    "alert_id": "3",
    "alert_name": "payment_dispute_created",
    "amount": "27.00",
    "status": "open",
}
CLOSED = {
    **DISPUTE,
    "alert_id": "4",
    "alert_name": "payment_dispute_closed",
    "event_time": "2026-11-20 13:00:00",
}


@cache
def classic() -> AnyProvider:
    return made("paddle_classic")


def payments(*alerts: dict[str, str]) -> list[Payment]:
    provider = classic()
    return [
        payment
        for alert in alerts
        for payment in provider.normalise(event_of(provider, urlencode(alert)))
    ]


def meaning(**changed: str) -> Payment:
    (payment,) = payments(ALERT | changed)
    return payment


# ── who paid ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("passthrough", "custom_data", "reference", "metadata"),
    [
        ("", "", "", {}),
        ("user_1", "", "user_1", {}),
        ("4711", "", "4711", {}),
        ('{"user_id": "u1", "seats": 3, "no": null}', "", "", {"user_id": "u1", "seats": "3"}),
        ('{"user_id": "u1"}', '{"user_id": "u2", "a": "b"}', "", {"user_id": "u1", "a": "b"}),
        ("user_1", '{"a": "b"}', "user_1", {"a": "b"}),
        ('{"a": "b"}', "user_2", "user_2", {"a": "b"}),
        ("{}", "", "", {}),
        ('{"user_id":"u1"', "", '{"user_id":"u1"', {}),
        ('{"user_id": "u1"', "", "", {}),
        ('"user_1"', "", "user_1", {}),
        (' "user_1" ', "", "user_1", {}),
        ("1.50", "", "1.50", {}),
        ("12345678901234567890", "", "12345678901234567890", {}),
        ("007", "", "007", {}),
        ('{"price": 1.50}', "", "", {"price": "1.50"}),
        ("[]", "", "", {}),
        ('["user_1"]', "", "", {}),
        ("null", "", "", {}),
        ("true", "", "", {}),
        ('""', "", "", {}),
        ("[]", "user_2", "user_2", {}),
        ("Example String", "", "", {}),
        ('"Example String"', "", "", {}),
        ("Example String", "user_2", "user_2", {}),
        ("user_1\n", "", "user_1", {}),
    ],
)
def test_what_the_merchant_attached_is_read(
    passthrough: str, custom_data: str, reference: str, metadata: dict[str, str]
) -> None:
    context = meaning(passthrough=passthrough, custom_data=custom_data, email="a@example.com")
    expected = Context(email="a@example.com", reference=reference, metadata=metadata)
    assert context.context == expected


def test_nothing_attached_is_no_context() -> None:
    assert meaning().context is None


def test_click_ids_are_found_in_what_the_merchant_attached() -> None:
    provider = classic()
    body = case_of("paddle_classic/payment_succeeded@unicode").body
    (sale,) = provider.normalise(event_of(provider, body))
    required = {"taapit": {"api_key": "x"}, "codeqr": {"api_key": "x"}}
    vendors = {
        name: kind(kind.settings_type(**required[name]))
        for name, kind in discover().items()
        if name in required
    }
    known = attribution.identify(sale, vendors, attribution.Rules())
    assert known.clicks == {
        "taapit": {"click_id": "rLnWe1uz9t282v7g"},
        "codeqr": {"click_id": "clk_8mQ2"},
    }
    assert "external_id:user_4714" in known.keys


# ── the money ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changed", "amount", "net"),
    [
        ({}, 1200, 1000),
        ({"payment_tax": ""}, 1200, 1200),
        ({"sale_gross": "12", "payment_tax": "2.0"}, 1200, 1000),
        ({"sale_gross": "0.00", "payment_tax": "0"}, 0, 0),
        ({"payment_tax": "13.00"}, 1200, 0),
        ({"currency": "JPY", "sale_gross": "1200.00", "payment_tax": "200"}, 1200, 1000),
        ({"currency": "KRW", "sale_gross": "12000", "payment_tax": ""}, 12000, 12000),
        ({"currency": "usd"}, 1200, 1000),
    ],
)
def test_a_sale_is_worth_its_gross_less_tax(changed: dict[str, str], amount: int, net: int) -> None:
    sale = meaning(**changed)
    assert sale.amount is not None
    assert sale.net is not None
    assert (sale.amount.minor, sale.net.minor) == (amount, net)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sale_gross": ""}, "no sale_gross"),
        ({"order_id": ""}, "no order_id"),
        ({"sale_gross": "-1"}, "negative sale_gross"),
        ({"alert_name": "payment_refunded"}, "no amount"),
        ({"alert_name": "payment_dispute_created"}, "no amount"),
        ({"alert_name": "payment_refunded", "amount": "-1.00"}, "negative amount"),
    ],
)
def test_money_that_is_not_said_is_refused(changed: dict[str, str], words: str) -> None:
    with pytest.raises(PayloadError, match=words):
        meaning(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"currency": ""},
        {"currency": "EURO"},
        {"sale_gross": "12,00"},
        {"sale_gross": "1e99"},
        {"currency": "JPY", "sale_gross": "12.50"},
    ],
)
def test_money_that_is_none_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(MoneyError, match=r"^payment_succeeded 1, sale_gross: "):
        meaning(**changed)


def test_numbers_of_two_kinds_do_not_meet() -> None:
    """Payment 8 of a subscription and order 8 are two orders."""
    renewal = ALERT | {
        "alert_name": "subscription_payment_succeeded",
        "order_id": "9",
        "subscription_payment_id": "8",
        "subscription_id": "5",
    }
    orders = fold(payments(renewal, ALERT | {"order_id": "8"}))
    assert [each.order for each in orders] == ["8", "subscription_payment_8"]


def test_a_dispute_finds_the_payment_of_a_subscription_by_its_order() -> None:
    renewal = ALERT | {
        "alert_name": "subscription_payment_succeeded",
        "subscription_payment_id": "8",
    }
    (order,) = fold(payments(renewal, DISPUTE))
    assert (order.order, order.status) == ("subscription_payment_8", "disapproved")


FULL = REFUND | {"alert_id": "5", "refund_type": "full"}
VAT = REFUND | {"alert_id": "6", "refund_type": "vat", "gross_refund": "2.00", "tax_refund": "2.00"}
IN_USD = {"balance_amount": "6.00", "balance_fee": "21.00", "balance_currency": "USD"}
REST = FULL | {"gross_refund": "10.00", "tax_refund": "0"}


@pytest.mark.parametrize(
    ("alerts", "net", "total"),
    [
        ([], 1000, 1200),
        ([REFUND], 500, 600),
        ([REFUND, REFUND], 500, 600),
        ([REFUND | {"gross_refund": "", "tax_refund": ""}], 500, 600),
        ([REFUND | {"alert_name": "subscription_payment_refunded"}], 500, 600),
        ([REFUND, FULL], 0, 0),
        ([VAT], 1000, 1000),
        ([VAT | {"tax_refund": ""}], 1000, 1000),
        ([VAT | {"refund_type": "partial"}], 1000, 1000),
        ([VAT, REST], 0, 0),
        ([DISPUTE], 0, 0),
        ([DISPUTE, CLOSED | {"status": "closed"}], 1000, 1200),
        ([DISPUTE, CLOSED | {"status": "won"}], 1000, 1200),
        ([DISPUTE, CLOSED | {"status": ""}], 1000, 1200),
        ([DISPUTE, CLOSED | {"status": "lost"}], 0, 0),
        ([DISPUTE, CLOSED | {"status": "perhaps"}], 0, 0),
        ([CLOSED | {"status": "closed"}], 1000, 1200),
        ([REFUND, DISPUTE], 0, 0),
        ([REFUND, DISPUTE, CLOSED | {"status": "closed"}], 500, 600),
        # The fee of a dispute is no part of the order: here only half of it is disputed.
        ([DISPUTE | {"balance_amount": "6.00", "balance_currency": "EUR"}], 500, 600),
        ([DISPUTE | {"balance_amount": "6.00", "balance_currency": "USD"}], 0, 0),
        # In another currency the balance tells what share of it the fee is: 27.00 x 6 / 27.
        ([DISPUTE | IN_USD], 500, 600),
        ([DISPUTE | IN_USD, CLOSED | IN_USD | {"status": "won"}], 1000, 1200),
        ([DISPUTE | IN_USD | {"balance_amount": ""}], 0, 0),
        ([DISPUTE | IN_USD | {"balance_amount": "0", "balance_fee": "0"}], 0, 0),
        ([DISPUTE | IN_USD | {"balance_currency": ""}], 0, 0),
    ],
)
def test_what_is_left(alerts: list[dict[str, str]], net: int, total: int) -> None:
    told = payments(ALERT, *alerts)
    for order in (told, told[::-1]):
        assert [each.value.minor for each in fold(order, NET)] == [net]
        assert [each.value.minor for each in fold(order, TOTAL)] == [total]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"balance_fee": "1,00"}, "payment_dispute_created 3, balance_fee: "),
        ({"balance_amount": "-1"}, "payment_dispute_created 3 has a negative balance_amount"),
        ({"balance_currency": "DOLLAR"}, "payment_dispute_created 3, balance_amount: 'DOLLAR'"),
    ],
)
def test_an_odd_fee_is_refused(changed: dict[str, str], words: str) -> None:
    with pytest.raises((MoneyError, PayloadError), match=words):
        payments(DISPUTE | IN_USD | changed)


def test_an_unknown_end_of_a_dispute_is_shown() -> None:
    (payment,) = payments(CLOSED | {"status": "Perhaps"})
    assert payment.reason == "unknown status 'perhaps': nothing is given back"


def test_a_refund_without_a_sale_is_parked() -> None:
    (order,) = fold(payments(REFUND))
    assert (order.status, order.taken_back.minor) == ("parked", 600)


@pytest.mark.parametrize(
    ("names", "value", "status"),
    [
        (["succeeded", "refunded"], 4000, "approved"),
        (["succeeded", "refunded", "dispute_created"], 0, "disapproved"),
        (["succeeded", "refunded", "dispute_created", "dispute_closed"], 4000, "approved"),
        (["succeeded@refunded", "refunded@partial", "refunded@second-partial"], 1000, "approved"),
        (
            ["succeeded@refunded", "refunded@partial", "refunded@second-partial", "refunded@full"],
            0,
            "disapproved",
        ),
        (["succeeded@jpy", "refunded@jpy"], 4000, "approved"),
        (["succeeded@jpy", "dispute_created@jpy"], 2000, "approved"),
        (["succeeded@jpy", "refunded@jpy", "dispute_created@jpy"], 0, "disapproved"),
        (["succeeded@vat", "refunded@vat"], 10000, "approved"),
        (["refunded@before-sale", "succeeded@before-sale"], 3000, "approved"),
        (["succeeded@lost", "dispute_created@lost", "dispute_closed@lost"], 0, "disapproved"),
        (["succeeded@won", "dispute_created@won", "dispute_closed@won"], 2500, "approved"),
        (["succeeded@free"], 0, "approved"),
    ],
)
def test_the_fixtures_tell_whole_stories(names: list[str], value: int, status: str) -> None:
    provider = classic()
    bodies = (case_of(f"paddle_classic/payment_{name}").body for name in names)
    told = [each for body in bodies for each in provider.normalise(event_of(provider, body))]
    (order,) = fold(told)
    assert (order.value.minor, order.status) == (value, status)


# ── whatever comes ───────────────────────────────────────────────────────────────────────────────

NAMES = st.sampled_from(
    [*ALERT, *REFUND, *DISPUTE, *IN_USD, "passthrough", "custom_data", "user_id", "x"]
)
VALUES = st.text(max_size=12) | st.sampled_from(
    ["", "0", "-1", "1e999", "NaN", "\0", "{", '{"a":[1e400]}', "[" * 500, "9" * 60, "XAU", "½"]
)


@given(
    st.sampled_from([ALERT, REFUND, DISPUTE, CLOSED]), st.dictionaries(NAMES, VALUES, max_size=4)
)
def test_a_mutated_alert_is_read_or_refused(alert: dict[str, str], changed: dict[str, str]) -> None:
    try:
        told = payments(alert | changed)
    except (PayloadError, MoneyError):
        return
    for payment in told:
        stored = codec.dump(payment)
        stored.encode("utf-8")
        assert codec.load(Payment, stored) == payment
