"""Money: exact in every currency, split without loss, rounded half to even, and never a float."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import MoneyError
from bridge.money import Money, divide_half_even, exponent, split

CODES = sorted(each.code for each in iso4217.Currency if each.exponent is not None)
NO_MINOR_UNIT = sorted(each.code for each in iso4217.Currency if each.exponent is None)
MINOR = st.integers(-(10**24), 10**24)
CODE = st.sampled_from(CODES)


# ── currencies ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("currency", "places"),
    [
        ("EUR", 2),
        ("eur", 2),
        ("JPY", 0),
        ("KWD", 3),
        ("ISK", 0),
        ("UGX", 0),
        ("MGA", 2),
        ("CLF", 4),
    ],
)
def test_exponent(currency: str, places: int) -> None:
    assert exponent(currency) == places


@pytest.mark.parametrize("currency", ["", "EU", "EURO", "E R", "€", "123", "ZZZ", "EUR\n"])
def test_unknown_currency(currency: str) -> None:
    with pytest.raises(MoneyError, match="not an ISO 4217"):
        exponent(currency)


@pytest.mark.parametrize("currency", NO_MINOR_UNIT)
def test_currency_without_minor_unit(currency: str) -> None:
    with pytest.raises(MoneyError, match="has no minor unit"):
        Money.parse("1", currency)


# ── reading and writing ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("14.37", "EUR", 1437),
        ("14.37", "eur", 1437),
        ("14.3", "EUR", 1430),
        ("14", "EUR", 1400),
        (14, "EUR", 1400),
        (Decimal("14.37"), "EUR", 1437),
        ("-14.37", "EUR", -1437),
        ("+14.37", "EUR", 1437),
        (" 14.37\n", "EUR", 1437),
        (".5", "EUR", 50),
        ("14.370000", "EUR", 1437),
        ("1.437e1", "EUR", 1437),
        ("0", "EUR", 0),
        ("-0.00", "EUR", 0),
        ("0e-400", "EUR", 0),
        ("1437", "JPY", 1437),
        ("1437.00", "JPY", 1437),
        ("1.437", "KWD", 1437),
        ("0.1437", "CLF", 1437),
        ("9" * 30, "JPY", int("9" * 30)),
    ],
)
def test_parse(amount: str | Decimal | int, currency: str, minor: int) -> None:
    assert Money.parse(amount, currency) == Money(minor, currency.upper())


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("14.375", "EUR"),
        ("14.5", "JPY"),
        ("1.4375", "KWD"),
        ("1e-400", "EUR"),
        ("", "EUR"),
        ("abc", "EUR"),
        ("14,37", "EUR"),
        ("1 000", "EUR"),
        ("1_000", "EUR"),
        ("١٤", "EUR"),
        ("€5", "EUR"),
        ("nan", "EUR"),
        ("-Infinity", "EUR"),
        ("1e30", "EUR"),
        ("1e999999999", "EUR"),
        ("1e99999999999999999999", "EUR"),
        (14.37, "EUR"),
        (True, "EUR"),
        (None, "EUR"),
        ("14.37", "ZZZ"),
    ],
)
def test_does_not_parse(amount: str, currency: str) -> None:
    with pytest.raises(MoneyError):
        Money.parse(amount, currency)


@pytest.mark.parametrize("currency", CODES)
def test_one_minor_unit_of_every_currency(currency: str) -> None:
    one = Money(1, currency)
    assert Money.parse(one.format(), currency) == one
    assert one.major == Fraction(1, 10 ** exponent(currency))
    assert str(one) == f"{one.format()} {currency}"


@given(minor=MINOR, currency=CODE)
def test_what_is_written_can_be_read(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    text = money.format()
    assert Money.parse(text, currency) == Money.parse(money.major, currency) == money
    assert len(text.partition(".")[2]) == exponent(currency)
    assert Fraction(text) == Fraction(minor, 10 ** exponent(currency))


@given(text=st.text() | st.decimals().map(str) | st.floats().map(str))
def test_parse_reads_exactly_or_raises_money_error(text: str) -> None:
    try:
        money = Money.parse(text, "EUR")
    except MoneyError:
        return
    assert Fraction(money.minor, 100) == Fraction(Decimal(text))


@pytest.mark.parametrize(
    ("money", "places", "mark", "text"),
    [
        (Money(1437, "EUR"), None, ".", "14.37"),
        (Money(1430, "EUR"), None, ".", "14.30"),
        (Money(-1, "EUR"), None, ".", "-0.01"),
        (Money(1437, "EUR"), None, ",", "14,37"),
        (Money(1437, "JPY"), None, ".", "1437"),
        (Money(1437, "JPY"), 2, ".", "1437.00"),
        (Money(1437, "KWD"), None, ".", "1.437"),
        (Money(1437, "KWD"), 2, ",", "1,44"),
        (Money(1445, "KWD"), 2, ".", "1.44"),
        (Money(-1445, "KWD"), 2, ".", "-1.44"),
        (Money(1455, "KWD"), 2, ".", "1.46"),
        (Money(-40, "EUR"), 0, ".", "0"),
        (Money(50, "EUR"), 0, ".", "0"),
        (Money(150, "EUR"), 0, ".", "2"),
        (Money(10**29, "EUR"), None, ".", f"1{'0' * 27}.00"),
    ],
)
def test_format(money: Money, places: int | None, mark: str, text: str) -> None:
    assert money.format(places, mark) == text


# ── minor units as others count them ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("minor", "currency", "places", "expected"),
    [
        (1437, "EUR", None, 1437),
        ("1437", "EUR", None, 1437),
        ("-1437", "EUR", None, -1437),
        (Decimal(1437), "EUR", None, 1437),
        (143700, "ISK", 2, 1437),
        (143700, "UGX", 2, 1437),
        (1437, "MGA", 0, 143700),
        (1437, "KWD", 2, 14370),
        (-143700, "ISK", 2, -1437),
    ],
)
def test_from_minor(minor: int | str, currency: str, places: int | None, expected: int) -> None:
    assert Money.from_minor(minor, currency, places) == Money(expected, currency)


@pytest.mark.parametrize(
    "minor",
    [
        "",
        "12.7",
        "12.0",
        "1e3",
        "1_000",
        "١٤",
        "abc",
        "9" * 5000,
        12.0,
        Decimal("12.7"),
        True,
        None,
    ],
)
def test_no_whole_number_of_minor_units(minor: str) -> None:
    with pytest.raises(MoneyError):
        Money.from_minor(minor, "EUR")


def test_a_part_of_a_minor_unit_is_an_error_or_rounded() -> None:
    with pytest.raises(MoneyError, match="550 is not a whole amount of ISK"):
        Money.from_minor(550, "ISK", 2)
    assert Money.from_minor(550, "ISK", 2, exact=False) == Money(6, "ISK")
    assert Money.from_minor(450, "ISK", 2, exact=False) == Money(4, "ISK")
    assert Money.from_minor(-550, "ISK", 2, exact=False) == Money(-6, "ISK")


@given(minor=MINOR, currency=CODE, more=st.integers(0, 4))
def test_more_places_lose_nothing(minor: int, currency: str, more: int) -> None:
    money, places = Money(minor, currency), exponent(currency) + more
    assert money.to_minor(places) == minor * 10**more
    assert Money.from_minor(money.to_minor(places), currency, places) == money
    assert Money.from_minor(str(minor), currency) == money


@given(minor=MINOR, currency=CODE, places=st.integers(0, 4))
def test_fewer_places_are_rounded_half_to_even(minor: int, currency: str, places: int) -> None:
    exact = Fraction(minor, 10 ** exponent(currency)) * 10**places
    assert Money(minor, currency).to_minor(places) == round(exact)
    rounded = Money.from_minor(minor, currency, places, exact=False)
    assert rounded.minor == round(Fraction(minor, 10**places) * 10 ** exponent(currency))


# ── shares ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (100, [0, 0], [50, 50]),
        (101, [0, 0], [51, 50]),
        (100, [1, 0, 2], [33, 0, 67]),
        (-100, [1, 1, 1], [-33, -33, -34]),
        (0, [3, 4], [0, 0]),
        (5, [7], [5]),
        (2, [1, 1, 1], [1, 1, 0]),
        (0, [], []),
    ],
)
def test_split(amount: int, weights: list[int], parts: list[int]) -> None:
    assert split(amount, weights) == parts


@given(amount=MINOR, weights=st.lists(st.integers(0, 10**9), min_size=1, max_size=12))
def test_parts_add_up_and_are_fair(amount: int, weights: list[int]) -> None:
    parts = split(amount, weights)
    assert sum(parts) == amount
    shares = weights if any(weights) else [1] * len(weights)
    for part, share in zip(parts, shares, strict=True):
        assert abs(part - Fraction(amount * share, sum(shares))) < 1
        assert share or part == 0


@given(numerator=st.integers(), denominator=st.integers().filter(bool), currency=CODE, minor=MINOR)
def test_scale_rounds_half_to_even(
    numerator: int, denominator: int, currency: str, minor: int
) -> None:
    exact = Fraction(minor * numerator, denominator)
    assert divide_half_even(minor * numerator, denominator) == round(exact)
    assert Money(minor, currency).scale(numerator, denominator) == Money(round(exact), currency)


def test_nothing_is_divided_by_zero() -> None:
    with pytest.raises(ZeroDivisionError):
        Money(1, "EUR").scale(1, 0)


# ── sums ─────────────────────────────────────────────────────────────────────────────────────────


@given(a=MINOR, b=MINOR, currency=CODE)
def test_sums_are_exact(a: int, b: int, currency: str) -> None:
    one, other = Money(a, currency), Money(b, currency)
    assert one + other == Money(a + b, currency)
    assert (one + other) - other == one


def test_currencies_do_not_mix() -> None:
    with pytest.raises(MoneyError, match="cannot combine EUR with USD"):
        Money(1, "EUR") + Money(1, "USD")
    with pytest.raises(MoneyError, match="cannot combine JPY with EUR"):
        Money(1, "JPY") - Money(1, "EUR")
    assert Money(1, "EUR") != Money(1, "USD")
