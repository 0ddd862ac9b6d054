"""What every provider's random stories have in common: requests, and what must come of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Protocol

from kit import Sent


class Story(Protocol):
    """Tell the life of a customer's orders as the requests that a provider would send.

    `due` is what must be credited at the end, by order id, in ISO minor units of `currency`: worked
    out by the story itself, not by the code under test.
    """

    @property
    def requests(self) -> Sequence[Sent]:
        """Return the requests in the order in which things happened."""

    @property
    def customer(self) -> str:
        """Return the key under which clicks are stored: "stripe:cus_1"."""

    @property
    def currency(self) -> str:
        """Return the one currency of all orders."""

    @property
    def due(self) -> Mapping[str, int]:
        """Return what must be credited at the end, by order."""


def left(net: int, paid: int, taken: int) -> int:
    """Return what is left of a net in proportion, rounded half to even."""
    return round(Fraction(net * (paid - min(taken, paid)), paid))
