"""Mutations of a body, for fuzzing: of its values, of its JSON text, and of its bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

DROP = object()
NAMES = st.sampled_from(["id", "object", "amount", "status", "data", "currency", "x"])
ODD: st.SearchStrategy[Any] = st.one_of(
    st.just(DROP),
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**63, -(2**63), 10**30, 10**400, -(10**4000)]),
    st.floats(),
    st.sampled_from([1e308, float("nan"), float("-inf")]),
    st.text(st.characters(exclude_categories=()), max_size=20),  # halves of surrogate pairs too
    st.sampled_from(["", "0", "12.5", "\0", "eur", "XAU", "paid", "🧾" * 300]),
    st.lists(st.integers() | st.none() | st.text(max_size=3), max_size=3),
    st.dictionaries(NAMES, st.integers() | st.none() | st.text(max_size=3), max_size=3),
)

# ── what only a text can say ─────────────────────────────────────────────────────────────────────

TOKENS = {
    "10,000 brackets": "[" * 10_000 + "]" * 10_000,
    "900 brackets": "[" * 900 + "1" + "]" * 900,
    "objects in objects": '{"id":' * 300 + "1" + "}" * 300,
    "more digits than Python reads": "9" * 5_001,
    "most digits": "9" * 4_299,
    "a huge negative number": "-" + "9" * 4_000,
    "a huge exponent": "1e999999999",
    "a tiny exponent": "1e-999999999",
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "half a pair": r'"\ud800abcdefgh"',
    "the other half": r'"abcdefgh\udc00"',
    "half an address": r'"\ud800@example.com"',
    "NUL": r'"a\u0000bcdefgh"',
    "an escape": r'"\u001b[2J\u001b]0;x\u0007abcdefgh"',
    "right to left": r'"\u202eabcdefgh"',
    "100 kB": '"' + "x" * 100_000 + '"',
    "many numbers": f"[{','.join(['1'] * 5_000)}]",
    "many names": json.dumps([f"name{n}" for n in range(5_000)]),
    "an object of half a pair": r'{"id": "\ud800abcdefgh", "\udfff": 1}',
    "after the last time": '"9999-12-31T23:59:59-23:59"',
    "before the first time": '"0001-01-01T00:00:00+23:59"',
    "Arabic digits": '"١٢٣"',
    "a fraction": "0.1",
    "minus nothing": "-0",
    "a quote": r'"\"\\ \u0027 ; -- $(x) %s {0}"',
}
WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body: body.decode("utf-8", "replace").encode("utf-16"),
    "no UTF-8": lambda body: body[:-1] + b"\xff" + body[-1:],
    "NUL at the end": lambda body: body + b"\0",
    "NUL within": lambda body: body[: len(body) // 2] + b"\0" + body[len(body) // 2 :],
    "cut short": lambda body: body[: len(body) // 2],
    "twice": lambda body: body + body,
    "in a list": lambda body: b"[" + body + b"]",
    "in a string": lambda body: json.dumps(body.decode("utf-8", "replace")).encode(),
    "an id twice": lambda body: body.replace(b"{", b'{"id": 7, "id": "evt_twice", ', 1),
    "the last twice": lambda body: body[:-1] + b', "data": [], "id": null}',
    "nothing": lambda _: b"",
    "blanks": lambda _: b" \n" * 500,
    "brackets": lambda _: b"[" * 10_000,
    "5 MiB": lambda _: b'{"id": "' + b"x" * (5 * 2**20 - 10) + b'"}',
    "more than 5 MiB": lambda _: b'{"id": "' + b"x" * (5 * 2**20) + b'"}',
}


def places(thing: object) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a body: what it lies in, and its key or index there."""
    if isinstance(thing, (dict, list)):
        for key, value in thing.items() if isinstance(thing, dict) else enumerate(thing):
            yield thing, key
            yield from places(value)


def mutate(thing: object, data: st.DataObject, odd: st.SearchStrategy[Any], most: int) -> None:
    """Change at most so many places of a body; DROP among the odd values takes one out."""
    for _ in range(data.draw(st.integers(1, most))):
        found = list(places(thing))
        if not found:
            return
        where, key = found[data.draw(st.integers(0, len(found) - 1))]
        value = data.draw(odd)
        if value is DROP:
            del where[key]
        else:
            where[key] = copy.deepcopy(value)


def spliced(thing: Any, where: Any, key: Any, token: str) -> str:
    """Return a body as JSON with a text at one of its places; the body stays as it was."""
    kept, where[key] = where[key], "\0here\0"
    try:
        return json.dumps(thing).replace(json.dumps("\0here\0"), token)
    finally:
        where[key] = kept
