"""Forgetting: what is left of a value once the person is taken out of it. Amounts stay."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from urllib.parse import parse_qsl, unquote

from bridge.attribution import email_key
from bridge.identity import EMAIL
from bridge.model import Call, Conversion, ConversionKind, Item, Payment, PaymentKind, Told
from bridge.providers.base import text as storable

REMOVED = "the customer's data was removed"
REDACTED = f"redacted: {REMOVED}"
UNREPEATABLE = "it may have been counted, and cannot be sent again: " + REMOVED

# What a vendor said may name whoever it was told of. See `Vendor.words`.
WORDS = re.compile(r"( answered \d{3}): .*", re.DOTALL)
# Why money went back may be told in the merchant's or the provider's own free words.
TOLD_FREELY = frozenset({PaymentKind.REFUND, PaymentKind.DISPUTE, PaymentKind.CREDIT})
# Shorter ones (a merchant's user 7) stand in too many places where they mean something else.
SHORTEST_NAME = 6
# Where ids stand: {"id": 7}, {"customer": 7}, {"user_id": 7}, {"userId": 7}, a cart's {"value": 7}.
ID = re.compile(r"(?:^|_)(?:ids?|customer|user|value)$|I[dD]s?$")
_WORD = r"[^\s\"'<>()\[\]{},;:=&?/@]"
ADDRESS = re.compile(rf"{_WORD}{{1,64}}@{_WORD}{{0,253}}[^\W_]")
PLAIN = re.compile(r"[a-z0-9]+")


# ── values of the model ──────────────────────────────────────────────────────────────────────────


def forget_payment(payment: Payment, names: Collection[str]) -> Payment:
    """Return a payment without its person: what moved, when, and for which order."""
    reason = "" if payment.kind in TOLD_FREELY else forget_names(payment.reason, names)
    return replace(
        payment,
        customer="",
        context=None,
        keys=(),
        clicks={},
        landed={},
        items=_nameless(payment.items),
        reason=reason,
        redacted=True,
    )


def forget_conversion(conversion: Conversion, names: Collection[str]) -> Conversion:
    """Return a conversion that stands for itself, without a customer."""
    return replace(
        conversion,
        customer=conversion.order,
        keys=(),
        clicks={},
        landed={},
        items=_nameless(conversion.items),
        reason=forget_names(conversion.reason, names),
        redacted=True,
    )


def _nameless(items: Iterable[Item]) -> tuple[Item, ...]:
    """Leave out what was bought: a line may be called after whom it was made for."""
    return tuple(replace(each, name="") for each in items)


def forget_call(call: Call, names: Collection[str]) -> Call:
    """Return a call without what it said; it cannot be sent again, only be accounted for."""
    tells = forget_told(call.tells, names)
    return replace(call, json=None, query={}, repeatable=False, tells=tells)


def forget_told(told: Told, names: Collection[str]) -> Told:
    """Return what a vendor was told; it knows an order by that order's id, a sign-up by a person's.

    The vendor's own id for either stays: by that, what was told can still be taken back.
    """
    known_as = "" if told.known_as in names else told.known_as
    return replace(told, known_as=known_as, details={})


def names_told(told: Told, conversion: Conversion) -> tuple[str, ...]:
    """Return by what a vendor knows a person: a sale by its order's id, all else by whose it is."""
    return () if conversion.kind is ConversionKind.SALE else (told.known_as,)


# ── words ────────────────────────────────────────────────────────────────────────────────────────


def forget_words(reason: str) -> str:
    """Return a reason without the words that a vendor answered."""
    return WORDS.sub(r"\1", reason)


def forget_names(text: str, names: Collection[str]) -> str:
    """Return a text in which each name, where it stands alone, is replaced by dots."""
    for name in sorted(filter(None, names), key=len, reverse=True):
        if name in text:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return text


def ids_of(keys: Iterable[str]) -> set[str]:
    """Return the ids that keys are made of, as providers and merchants write them."""
    return {id for key in keys for kind, _, id in [key.partition(":")] if kind != EMAIL and id}


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────


def values_in(body: str) -> set[str]:
    """Return every value in a JSON or form body, numbers as they are written.

    Digits count only where an id stands, else an amount could be taken for one. A name that is an
    e-mail address counts as a value. All are spelt as they are kept elsewhere.
    """
    try:
        data = json.loads(body, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        data = dict(enumerate([{name: value} for name, value in parse_qsl(body)]))
    return set(map(storable, _leaves(data)))


def _leaves(thing: object) -> Iterator[str]:
    waiting: list[tuple[str, object]] = [("", thing)]
    while waiting:
        match waiting.pop():
            case name, str() as value:
                if not value.isdigit() or ID.search(name):
                    yield value
            case _, dict() as entries:
                waiting += ((str(name), value) for name, value in entries.items())
                yield from (str(name) for name in entries if "@" in str(name))
            case name, list() as items:
                waiting += ((name, each) for each in items)
            case _:
                pass  # true, false, null


def emails_in(values: Iterable[str], keys: Collection[str], secret: bytes) -> set[str]:
    """Return the e-mail addresses in these values, however written, that these keys are of."""
    found: set[str] = set()
    for value in values:
        if "@" in value or "%40" in value:
            found |= {value, *ADDRESS.findall(value), *ADDRESS.findall(unquote(value))}
    return {each for each in found if email_key(each, secret) in keys}


def is_telling(name: str) -> bool:
    """Tell whether an id is long enough to mean the same wherever it stands."""
    return len(name) >= SHORTEST_NAME


def trace_of(name: str) -> str:
    """Return a part of a name, in lower case, that no way of writing bodies escapes."""
    local, _, domain = name.lower().partition("@")
    parts: list[str] = re.findall(PLAIN, local) or re.findall(PLAIN, domain) or [""]
    return max(parts, key=lambda part: (len(part), not part.isalpha()))
