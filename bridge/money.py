"""Money: an integer of minor units and its ISO 4217 currency. No float comes near it.

Exponents come from the ISO table in the `iso4217` package. Where a provider or a vendor counts
differently, its own exponent is an argument here and a table in its plugin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from functools import lru_cache

import iso4217

from bridge.errors import MoneyError

EXACT = Context(
    prec=60,
    rounding=ROUND_HALF_EVEN,
    traps=[DivisionByZero, Inexact, InvalidOperation, Overflow],
)
# No amount of money has more; 1e999999 would be written out digit by digit.
MOST_DIGITS = 30


@lru_cache(maxsize=512)
def exponent(currency: str) -> int:
    """Return how many decimals ISO 4217 gives a currency: 2 for EUR, 0 for JPY, 3 for KWD.

    Raises MoneyError for a code that is not in the table or has no minor unit (gold, say).
    """
    try:
        places = iso4217.Currency(currency.upper()).exponent
    except ValueError:
        raise MoneyError(f"{currency!r} is not an ISO 4217 currency code") from None
    if places is None:
        raise MoneyError(f"{currency.upper()} has no minor unit in ISO 4217")
    return places


def divide_half_even(numerator: int, denominator: int) -> int:
    """Divide two integers exactly, rounding half to even.

    Raises ZeroDivisionError for a zero denominator.
    """
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    quotient, rest = divmod(numerator, denominator)
    doubled = 2 * rest
    if doubled > denominator or (doubled == denominator and quotient % 2 == 1):
        quotient += 1
    return quotient


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Split an integer in proportion to non-negative weights; the parts add up to it exactly.

    What rounding leaves over goes to the largest remainders, the first one on a tie. Equal shares
    where all weights are zero.
    """
    shares = list(weights) if any(weights) else [1] * len(weights)
    total = sum(shares)
    parts = [amount * share // total for share in shares]
    order = sorted(range(len(shares)), key=lambda i: (-(amount * shares[i] % total), i))
    for i in order[: amount - sum(parts)]:
        parts[i] += 1
    return parts


@dataclass(frozen=True, slots=True)
class Money:
    """Hold an amount: `minor` ISO minor units of `currency` (an upper-case ISO 4217 code)."""

    minor: int
    currency: str

    @classmethod
    def parse(cls, amount: str | Decimal | int, currency: str) -> Money:
        """Read a decimal amount of major units: "14.37" EUR is 1437 minor units.

        Raises MoneyError when it is not a number or has more decimals than the currency.
        """
        value = _decimal(amount)
        try:
            scaled = value.scaleb(exponent(currency), context=EXACT)
        except ArithmeticError:
            raise MoneyError(f"{amount} cannot be represented exactly") from None
        if scaled != scaled.to_integral_value(context=EXACT):
            raise MoneyError(f"{amount} has more decimals than {currency.upper()} allows")
        return cls(int(scaled), currency.upper())

    @classmethod
    def from_minor(
        cls, minor: int | str, currency: str, places: int | None = None, *, exact: bool = True
    ) -> Money:
        """Read an integer of minor units counted with `places` decimals (default: as ISO does).

        Raises MoneyError when it is not an integer, or not a whole number of ISO minor units
        (Stripe writes 5 ISK as 500; 550 would be no whole króna) unless it need not be `exact`:
        then it is rounded half-even.
        """
        iso = exponent(currency)
        units = _integer(minor)
        shift = iso - (iso if places is None else places)
        if shift >= 0:
            return cls(units * 10**shift, currency.upper())
        if exact and units % 10**-shift:
            raise MoneyError(
                f"{units} is not a whole amount of {currency.upper()} ({iso} decimals)"
            )
        return cls(divide_half_even(units, 10**-shift), currency.upper())

    @property
    def major(self) -> Decimal:
        """Return the amount in major units, with all decimals of its currency: 14.30 EUR."""
        return Decimal(self.minor).scaleb(-exponent(self.currency), context=EXACT)

    def to_minor(self, places: int) -> int:
        """Return the amount as an integer counted with `places` decimals, rounded half-even."""
        shift = places - exponent(self.currency)
        return self.minor * 10**shift if shift >= 0 else divide_half_even(self.minor, 10**-shift)

    def format(self, places: int | None = None, mark: str = ".") -> str:
        """Write the amount in major units: "14.37"; with `places` decimals, rounded half-even."""
        wanted = exponent(self.currency) if places is None else places
        digits = f"{Decimal(self.to_minor(wanted)).scaleb(-wanted, context=EXACT):f}"
        return digits.replace(".", mark)

    def scale(self, numerator: int, denominator: int) -> Money:
        """Return the amount times numerator / denominator, rounded half-even."""
        return Money(divide_half_even(self.minor * numerator, denominator), self.currency)

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other).minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other).minor, self.currency)

    def __str__(self) -> str:
        return f"{self.format()} {self.currency}"

    def _same(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise MoneyError(f"cannot combine {self.currency} with {other.currency}")
        return other


def _decimal(amount: object) -> Decimal:
    """Read a finite decimal of a plausible size; nothing that was ever a binary fraction."""
    if isinstance(amount, bool) or not isinstance(amount, str | Decimal | int):
        raise MoneyError(f"{amount!r} is not an amount")
    try:
        value = Decimal(_plain(amount) if isinstance(amount, str) else amount)
    except InvalidOperation:
        raise MoneyError(f"{str(amount)[:80]!r} is not an amount") from None
    if not value.is_finite():
        raise MoneyError(f"{str(amount)[:80]!r} is not an amount")
    if value.adjusted() >= MOST_DIGITS:
        raise MoneyError(f"an amount of more than {MOST_DIGITS} digits is not plausible")
    return value


def _plain(text: str) -> str:
    """Return the text of a number; Python would read 1_000 and the digits of any script as well."""
    if not text.isascii() or "_" in text:
        raise MoneyError(f"{text[:80]!r} is not an amount")
    return text


def _integer(minor: object) -> int:
    """Read a whole number of a plausible size; 12.7 is none, and is not cut down to 12."""
    try:
        value = _decimal(int(_plain(minor)) if isinstance(minor, str) else minor)
    except MoneyError as error:
        raise MoneyError(f"{error}: minor units must be a whole number") from None
    except ValueError:
        raise MoneyError(f"{str(minor)[:80]!r} is not a whole number of minor units") from None
    if value != value.to_integral_value(context=EXACT):
        raise MoneyError(f"{minor} is not a whole number of minor units")
    return int(value)
