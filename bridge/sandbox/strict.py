"""The words of a call's body: exact numbers, documented types, no unknown field."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

import simplejson
from flask.json.provider import JSONProvider
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic.alias_generators import to_camel

from bridge.money import exponent

_NUMERIC = re.compile(r"[0-9]+(\.[0-9]+)?")


def loads(text: str | bytes) -> Any:
    """Read JSON; raise ValueError for what is not, NaN and Infinity included."""
    text = text.decode() if isinstance(text, bytes) else text
    try:
        return simplejson.loads(text, use_decimal=True, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(document: object) -> str:
    """Write JSON, as short as it can be."""
    separators = (",", ":")
    return simplejson.dumps(document, use_decimal=True, ensure_ascii=False, separators=separators)


class ExactJson(JSONProvider):
    """Read and write JSON numbers as Decimal, so that no amount passes through a float."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Read JSON."""
        return loads(s)

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Write JSON."""
        return dumps(obj)


class Strict(BaseModel):
    """Be the base of a body: no unknown field, and no type but the documented one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Camel(Strict):
    """Be the base of a body whose names are camelCase."""

    model_config = ConfigDict(alias_generator=to_camel)


def _json_number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a JSON number")
    return Decimal(value)


def _number_or_numeric_text(value: object) -> Decimal:
    if isinstance(value, str) and _NUMERIC.fullmatch(value):
        return Decimal(value)
    return _json_number(value)


def _lower_currency(code: str) -> str:
    exponent(code)
    if code != code.lower():
        raise ValueError("must be a lower-case ISO 4217 code")
    return code


def _upper_currency(code: str) -> str:
    exponent(code)
    if code != code.upper():
        raise ValueError("must be an upper-case ISO 4217 code")
    return code


def _any_currency(code: str) -> str:
    exponent(code)
    return code


# Bounds, so that 1e999999999 cannot be written out; no document has a smaller one.
_Plausible = Field(ge=0, max_digits=24, decimal_places=8)
Number = Annotated[Decimal, BeforeValidator(_json_number), _Plausible]
NumberOrText = Annotated[Decimal, BeforeValidator(_number_or_numeric_text), _Plausible]
Text = Annotated[str, StringConstraints(min_length=1)]
LowerCurrency = Annotated[str, AfterValidator(_lower_currency)]
UpperCurrency = Annotated[str, AfterValidator(_upper_currency)]
AnyCurrency = Annotated[str, AfterValidator(_any_currency)]
