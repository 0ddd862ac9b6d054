"""The model as JSON, and back: how values are stored, shown and written in fixtures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, get_origin, get_type_hints

import simplejson
from pydantic import TypeAdapter

from bridge.model import Call
from bridge.money import Money

T = TypeVar("T")


_adapters: dict[Any, TypeAdapter[Any]] = {}
_encoder = simplejson.JSONEncoder(use_decimal=True, ensure_ascii=False)


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def to_plain(value: object) -> Any:
    """Return a model value as plain dicts, lists and strings; numbers of a call stay exact."""
    kind: Any = type(value)
    if kind is Call:
        return _plain(_adapter(kind).dump_python(value, exclude_defaults=True))
    plain = _adapter(kind).dump_python(value, mode="json", exclude_defaults=True)
    for name in _sets_of(kind):
        if name in plain:
            plain[name].sort()
    return plain


def from_plain(kind: type[T], plain: object) -> T:
    """Return the model value that plain data describes; raise pydantic's ValidationError."""
    value: T = _adapter(kind).validate_python(plain)
    return value


def dumps(value: object) -> str:
    """Write plain data as JSON: Decimals as exact numbers, keys in the order given."""
    text: str = _encoder.encode(value)
    return text


def loads(text: str) -> Any:
    """Read JSON, with fractions as exact Decimals."""
    return simplejson.loads(text, use_decimal=True)


def dump(value: object) -> str:
    """Write a model value as JSON; equal values give equal text."""
    return dumps(to_plain(value))


def load(kind: type[T], text: str) -> T:
    """Read a model value from JSON."""
    return from_plain(kind, loads(text))


def money(amount: Money | None) -> dict[str, object] | None:
    """Return an amount as listings print it: minor units, currency, amount in major units."""
    if amount is None:
        return None
    return {"minor": amount.minor, "currency": amount.currency, "amount": amount.format()}


def iso(moment: datetime) -> str:
    """Write a time in UTC so that text sorts as time does: 2026-11-20T12:00:00.000000Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def from_iso(text: str) -> datetime:
    """Read an ISO 8601 time with its zone."""
    return datetime.fromisoformat(text)


@cache
def _sets_of(kind: type[Any]) -> Sequence[str]:
    """Return the fields whose values come in no order."""
    hints = get_type_hints(kind) if is_dataclass(kind) else {}
    return [name for name, hint in hints.items() if get_origin(hint) is frozenset]


def _plain(value: object) -> object:
    """Make lists of tuples."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
