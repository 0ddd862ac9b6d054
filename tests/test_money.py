"""Money: exact in, exact out, for every currency there is."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import MoneyError
from bridge.money import MOST_DIGITS, Money, divide_half_even, exponent, split

CURRENCIES = sorted(each.code for each in iso4217.Currency if each.exponent is not None)
WITHOUT_MINOR_UNIT = sorted(each.code for each in iso4217.Currency if each.exponent is None)
MINOR = st.integers(-(10**24), 10**24)
AMOUNTS = st.builds(Money, MINOR, st.sampled_from(CURRENCIES))
WEIGHTS = st.lists(st.integers(0, 10**12), max_size=12)

each_currency = pytest.mark.parametrize("currency", CURRENCIES)


# ── currencies ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("currency", "places"),
    [
        ("EUR", 2),
        ("usd", 2),
        ("JPY", 0),
        ("KRW", 0),
        ("ISK", 0),  # Stripe writes it with two
        ("UGX", 0),  # likewise
        ("MGA", 2),  # Stripe writes it with none
        ("KWD", 3),
        ("bhd", 3),
        ("CLF", 4),
    ],
)
def test_exponent_is_that_of_iso_4217(currency: str, places: int) -> None:
    assert exponent(currency) == places


@pytest.mark.parametrize(
    "currency", ["", "EU", "EURO", " EUR", "978", "Euro", "ABC", "\uff25\uff35\uff32"]
)
def test_unknown_currency_is_refused(currency: str) -> None:
    with pytest.raises(MoneyError, match="not an ISO 4217 currency code"):
        exponent(currency)


@pytest.mark.parametrize("currency", WITHOUT_MINOR_UNIT)
def test_currency_without_minor_unit_is_refused(currency: str) -> None:
    with pytest.raises(MoneyError, match=f"{currency} has no minor unit"):
        exponent(currency)


# ── reading and writing ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("14.37", "EUR", 1437),
        ("14.37", "eur", 1437),
        ("14.3", "EUR", 1430),
        ("14", "EUR", 1400),
        ("14.3700", "EUR", 1437),
        (" 14.37 ", "EUR", 1437),
        ("-14.37", "EUR", -1437),
        ("-0", "EUR", 0),
        ("1.437e1", "EUR", 1437),
        ("0.01", "EUR", 1),
        ("1437", "JPY", 1437),
        ("1437.00", "JPY", 1437),
        ("1.437", "KWD", 1437),
        ("0.0001", "CLF", 1),
        (Decimal("14.37"), "EUR", 1437),
        (14, "EUR", 1400),
        ("1." + "0" * 90, "EUR", 100),
        ("9" * 28 + ".99", "EUR", 10**30 - 1),
    ],
)
def test_parse(amount: str | Decimal | int, currency: str, minor: int) -> None:
    assert Money.parse(amount, currency) == Money(minor, currency.upper())


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("14.375", "EUR"),
        ("14.370000000000001", "EUR"),
        ("0.5", "JPY"),
        ("1.4375", "KWD"),
        ("1e-999999", "EUR"),
        ("1." + "0" * 60 + "1", "EUR"),  # more digits than decimal works with by default
    ],
)
def test_parse_never_rounds(amount: str, currency: str) -> None:
    with pytest.raises(MoneyError, match=r"more decimals|cannot be represented exactly"):
        Money.parse(amount, currency)


@pytest.mark.parametrize(
    "amount",
    [
        "", " ", "EUR", "14,37", "1.000,00", "1_000", "\uff11\uff14", "0x10", "12.3.4", "--1",
        "NaN", "-nan", "sNaN", "Infinity", "-inf", "1" * 31, "1e30", "1e999990", "1e999999",
        "9e9999999999999999999", "0e999999", 10**30, 10**5000, Decimal("Infinity"),
        14.5, True, None, [14], {"amount": 1}, b"14",
    ],
    ids=lambda each: repr(each)[:24] if not isinstance(each, int) or each < 2 else "a huge integer",
)  # fmt: skip
def test_what_is_no_amount_is_refused(amount: object) -> None:
    with pytest.raises(MoneyError, match=r"is not an amount|is not plausible"):
        Money.parse(amount, "EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minor", "currency", "places", "expected"),
    [
        (1437, "EUR", None, 1437),
        ("1437", "eur", None, 1437),
        (" 1437 ", "EUR", None, 1437),
        (Decimal(1437), "EUR", None, 1437),
        (-1437, "EUR", None, -1437),
        (1437, "JPY", None, 1437),
        (1437, "KWD", None, 1437),
        (500, "ISK", 2, 5),  # as Stripe writes it
        (500, "UGX", 2, 5),
        (5, "MGA", 0, 500),
        (-500, "ISK", 2, -5),
    ],
)
def test_from_minor(
    minor: int | str | Decimal, currency: str, places: int | None, expected: int
) -> None:
    read = Money.from_minor(minor, currency, places)  # type: ignore[arg-type]
    assert read == Money(expected, currency.upper())


@pytest.mark.parametrize("minor", [1, 50, 550, -1, -550])
def test_part_of_a_minor_unit_is_refused(minor: int) -> None:
    with pytest.raises(MoneyError, match="not a whole amount of ISK"):
        Money.from_minor(minor, "ISK", 2)


@pytest.mark.parametrize(
    ("minor", "expected"), [(549, 5), (550, 6), (551, 6), (450, 4), (-550, -6), (-450, -4), (1, 0)]
)
def test_part_of_a_minor_unit_is_rounded_half_even_where_that_is_asked(
    minor: int, expected: int
) -> None:
    assert Money.from_minor(minor, "ISK", 2, exact=False) == Money(expected, "ISK")


@pytest.mark.parametrize(
    "minor",
    [
        "", "12.0", "12.7", "1e3", "1_000", "\uff11\uff12", "x", "9" * 5000, 10**30, 10**5000, 12.0,
        12.7, Decimal("12.7"), Decimal("NaN"), Decimal("Infinity"), Decimal("1e999999"),
        True, None, [12], b"12",
    ],
    ids=lambda each: repr(each)[:24] if not isinstance(each, int) or each < 2 else "a huge integer",
)  # fmt: skip
def test_what_is_no_number_of_minor_units_is_refused(minor: object) -> None:
    with pytest.raises(MoneyError, match="whole number"):
        Money.from_minor(minor, "EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minor", "currency", "places", "mark", "expected"),
    [
        (1437, "EUR", None, ".", "14.37"),
        (1430, "EUR", None, ".", "14.30"),
        (5, "EUR", None, ".", "0.05"),
        (-5, "EUR", None, ".", "-0.05"),
        (0, "EUR", None, ".", "0.00"),
        (1437, "EUR", 2, ",", "14,37"),
        (1437, "JPY", None, ".", "1437"),
        (1437, "JPY", 2, ".", "1437.00"),
        (1437, "KWD", None, ".", "1.437"),
        (1435, "KWD", 2, ".", "1.44"),  # half to even: 143.5 is 144
        (1445, "KWD", 2, ".", "1.44"),  # 144.5 is 144
        (-1445, "KWD", 2, ".", "-1.44"),
        (150, "EUR", 0, ".", "2"),
        (250, "EUR", 0, ".", "2"),
        (10**29, "EUR", None, ".", "1" + "0" * 27 + ".00"),
    ],
)
def test_format(minor: int, currency: str, places: int | None, mark: str, expected: str) -> None:
    assert Money(minor, currency).format(places, mark) == expected


@pytest.mark.parametrize(
    ("minor", "currency", "expected"),
    [(1430, "EUR", "14.30"), (1437, "JPY", "1437"), (1437, "KWD", "1.437"), (0, "EUR", "0.00")],
)
def test_major_keeps_all_decimals(minor: int, currency: str, expected: str) -> None:
    assert str(Money(minor, currency).major) == expected


def test_an_amount_is_shown_with_its_currency() -> None:
    assert str(Money(1437, "EUR")) == "14.37 EUR"


@each_currency
@given(minor=MINOR)
def test_what_is_written_reads_the_same(currency: str, minor: int) -> None:
    amount = Money(minor, currency)
    assert Money.parse(amount.format(), currency) == amount
    assert Money.parse(amount.format().lower(), currency.lower()) == amount
    assert Money.parse(amount.major, currency) == amount
    assert Money.from_minor(amount.minor, currency) == amount
    assert Money.from_minor(str(amount.minor), currency) == amount
    places = exponent(currency) + 2
    assert Money.from_minor(amount.to_minor(places), currency, places) == amount


@given(amount=AMOUNTS, places=st.integers(0, 6))
def test_format_has_the_decimals_asked_for(amount: Money, places: int) -> None:
    _, mark, decimals = amount.format(places, ",").partition(",")
    assert (len(decimals), mark) == (places, "," if places else "")


@given(amount=AMOUNTS, places=st.integers(0, 6))
def test_other_places_are_rounded_half_even(amount: Money, places: int) -> None:
    power = Fraction(10) ** (places - exponent(amount.currency))
    assert amount.to_minor(places) == round(amount.minor * power)
    read = Money.from_minor(amount.minor, amount.currency, places, exact=False)
    assert read == Money(round(amount.minor / power), amount.currency)


@given(text=st.text() | st.from_regex(r"[-+0-9.,eE_ ]{0,20}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (Money.parse, Money.from_minor):
        try:
            amount = read(text, "EUR")
        except MoneyError:
            continue
        assert abs(amount.minor) < 10 ** (MOST_DIGITS + 2)


# ── arithmetic ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (0, 3, 0), (1, 3, 0), (2, 3, 1), (1, 2, 0), (3, 2, 2), (5, 2, 2), (7, 2, 4),
        (-1, 2, 0), (-3, 2, -2), (-5, 2, -2), (-2, 3, -1), (3, -2, -2), (-3, -2, 2), (6, 3, 2),
    ],
)  # fmt: skip
def test_divide_half_even(numerator: int, denominator: int, expected: int) -> None:
    assert divide_half_even(numerator, denominator) == expected


def test_division_by_zero_is_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        divide_half_even(1, 0)


@given(numerator=MINOR, denominator=st.integers(1, 10**12))
def test_division_is_the_nearest_and_on_a_tie_even(numerator: int, denominator: int) -> None:
    quotient = divide_half_even(numerator, denominator)
    distance = abs(2 * (numerator - quotient * denominator))
    assert distance <= denominator
    assert distance < denominator or quotient % 2 == 0
    assert divide_half_even(-numerator, denominator) == -quotient


@pytest.mark.parametrize(
    ("minor", "numerator", "denominator", "expected"),
    [
        (1437, 7, 10, 1006),  # 1005.9
        (1437, 1, 2, 718),  # 718.5 to the even 718
        (1439, 1, 2, 720),  # 719.5 to the even 720
        (1437, 0, 1719, 0),
        (1437, 1719, 1719, 1437),
        (1, 1, 3, 0),
    ],
)
def test_scale(minor: int, numerator: int, denominator: int, expected: int) -> None:
    assert Money(minor, "EUR").scale(numerator, denominator) == Money(expected, "EUR")


@given(amount=AMOUNTS, part=st.integers(0, 10**12), whole=st.integers(1, 10**12))
def test_scale_rounds_half_even(amount: Money, part: int, whole: int) -> None:
    exact = Fraction(amount.minor * part, whole)
    assert amount.scale(part, whole) == Money(round(exact), amount.currency)
    assert amount.scale(whole, whole) == amount


@pytest.mark.parametrize(
    ("amount", "weights", "expected"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (101, [1, 1, 1], [34, 34, 33]),
        (10, [1, 2], [3, 7]),
        (5, [0, 0], [3, 2]),
        (5, [0, 1], [0, 5]),
        (0, [1, 2], [0, 0]),
        (-100, [1, 1, 1], [-33, -33, -34]),
        (7, [], []),
        (7, [3], [7]),
    ],
)
def test_split(amount: int, weights: list[int], expected: list[int]) -> None:
    assert split(amount, weights) == expected


@given(amount=MINOR, weights=WEIGHTS.filter(bool))
def test_split_adds_up_and_is_fair(amount: int, weights: list[int]) -> None:
    parts = split(amount, weights)
    assert sum(parts) == amount
    shares = weights if any(weights) else [1] * len(weights)
    for part, share in zip(parts, shares, strict=True):
        assert abs(part * sum(shares) - amount * share) < sum(shares)
        assert share or not part


@given(one=MINOR, other=MINOR, currency=st.sampled_from(CURRENCIES))
def test_sums_and_differences(one: int, other: int, currency: str) -> None:
    total = Money(one, currency) + Money(other, currency)
    assert total == Money(one + other, currency)
    assert total - Money(other, currency) == Money(one, currency)


def test_two_currencies_are_not_combined() -> None:
    with pytest.raises(MoneyError, match="cannot combine EUR with USD"):
        Money(1, "EUR") + Money(1, "USD")
    with pytest.raises(MoneyError, match="cannot combine EUR with USD"):
        Money(1, "EUR") - Money(1, "USD")
