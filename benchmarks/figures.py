"""What a benchmark finds, how much of it is enough, and how much is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """Hold one thing that was measured, and what was wanted of it, if anything."""

    name: str
    measured: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Tell whether it is as wanted; None where nothing was."""
        if self.at_least is not None:
            return self.measured >= self.at_least
        return None if self.at_most is None else self.measured <= self.at_most

    @property
    def said(self) -> str:
        """Return what was measured, as one reads it."""
        return _said(self.measured, self.unit)

    @property
    def wanted(self) -> str:
        """Return what was wanted, as one reads it."""
        if self.at_least is not None:
            return f"at least {_said(self.at_least, self.unit)}"
        return "" if self.at_most is None else f"at most {_said(self.at_most, self.unit)}"

    def plain(self) -> dict[str, Any]:
        """Return it as it is written to a file."""
        return asdict(self) | {"met": self.met}


def _said(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}".replace(" /s", "/s")


@dataclass(frozen=True, slots=True)
class Scale:
    """Say how much is measured."""

    rounds: int  # of things side by side
    seconds: float  # that each is measured in a round
    sales: int  # that are delivered in a row
    idle: int  # webhooks that come one by one
    stored: int  # conversions that a full store has
    steady: int  # webhooks over which memory is watched
    connections: int = 64  # that webhooks come over
    warming: int = 500  # webhooks that come first: threads are started, files are opened
    at_once: tuple[tuple[int, int], ...] = ((8, 0), (32, 100))  # calls, and how long each takes
    processes: tuple[int, ...] = (1, 2, 4)  # that share the work on PostgreSQL


FULL = Scale(rounds=5, seconds=5, sales=20_000, idle=100, stored=1_000_000, steady=100_000)
QUICK = Scale(
    rounds=2,
    seconds=1.5,
    sales=1_000,
    idle=20,
    stored=10_000,
    steady=2_000,
    processes=(1, 2),
)
TINY = Scale(
    rounds=1,
    seconds=0.1,
    sales=20,
    idle=2,
    stored=100,
    steady=20,
    connections=8,
    warming=1,
    at_once=((8, 0),),
    processes=(1,),
)


class Rounds:
    """Gather what was measured in rounds, and compare within each round: machines are noisy."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}

    def add(self, **values: float) -> None:
        """Note what was measured next."""
        for name, value in values.items():
            self._found.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """Return what is typical."""
        return median(self._found[name])

    def ratio(self, one: str, other: str) -> float:
        """Return what is typical of the ratio of two."""
        pairs = zip(self._found[one], self._found[other], strict=True)
        return median(a / b for a, b in pairs)


Figures = Iterator[Figure]
