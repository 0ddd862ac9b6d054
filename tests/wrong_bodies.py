"""Bodies that POST /clicks and POST /leads refuse: what is sent, and the field that is named."""

from __future__ import annotations

import copy
import json
from typing import Any

EMAIL, ADDRESS, AGENT = "jane.doe@example.com", "203.0.113.77", "Mozilla/5.0 (made up for tests)"
RIGHT: dict[str, Any] = {
    "customer": {
        "external_id": "user_1",
        "email": EMAIL,
        "anonymous_id": "browser_1",
        "stripe": "cus_1",
        "paddle": "ctm_1",
        "paddle_classic": "classic_1",
        "shopify": "6123456789",
    },
    "clicks": {
        "taapit": "tid_1",
        "codeqr": "clk_1",
        "trackdesk": {"cid": "c_1"},
        "tapfiliate": {"asset_id": "a_1", "source_id": "s_1"},
        "tracify": {"utm_source": "x"},
    },
    "context": {
        "ip": ADDRESS,
        "user_agent": AGENT,
        "url": "https://shop.example/landing?utm_source=x",
        "referrer": "https://search.example/",
    },
    "occurred_at": "2026-11-20T12:00:00Z",
}
MOST_BYTES = 32 * 1024
PATHS = ("/clicks", "/leads")


def changed(path: str, value: object) -> bytes:
    """Return the right body as JSON with one field, named by its dotted path, changed."""
    body = copy.deepcopy(RIGHT)
    *folders, name = path.split(".")
    place = body
    for each in folders:
        place = place[each]
    place[name] = value
    return json.dumps(body).encode()


def spliced(path: str, text: str) -> bytes:
    """Return the right body with one value as JSON text that Python would not write."""
    return changed(path, "HERE").replace(b'"HERE"', text.encode())


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


WHOLE = json.dumps(RIGHT)
WRONG_TYPES = {"null": None, "true": True, "number": 7, "list": ["x"], "object": {"id": "x"}}
NOTHINGS = ("undefined", "null", "None", "NaN", "0", "-1", "false", " UNDEFINED ")
CONTROL = {"NUL": "\0", "newline": "\n", "escape": "\x1b", "delete": "\x7f", "bidi": "\u202e"}
IDS = [f"customer.{name}" for name in RIGHT["customer"]]
OPAQUE = [each for each in IDS if each != "customer.email"]
TEXTS = [*IDS, *(f"context.{name}" for name in RIGHT["context"])]
CLICKS = [f"clicks.{name}" for name in RIGHT["clicks"]]

# What is sent, and the field that the answer names.
Cases = dict[str, tuple[bytes, str]]
NO_JSON: Cases = {
    "empty": (b"", "body"),
    "blank": (b" \n", "body"),
    "text": (b"hello", "body"),
    "a form": (b"customer=user_1&clicks=x", "body"),
    "broken": (WHOLE[:-1].encode(), "body"),
    "two": ((WHOLE + WHOLE).encode(), "body"),
    "a comma too many": ((WHOLE[:-1] + ",}").encode(), "body"),
    "single quotes": (WHOLE.replace('"', "'").encode(), "body"),
    "a comment": (("// x\n" + WHOLE).encode(), "body"),
    "byte order mark": (b"\xef\xbb\xbf" + WHOLE.encode(), "body"),
    "UTF-16": (WHOLE.encode("utf-16"), "body"),
    "UTF-32": (WHOLE.encode("utf-32"), "body"),
    "Latin-1": (WHOLE.replace("user_1", "jürgen").encode("latin-1"), "body"),
    "NUL": (b"\0" + WHOLE.encode(), "body"),
    "a raw control character": (WHOLE.replace("user_1", "user\x01").encode(), "body"),
    "a raw surrogate": (WHOLE.encode().replace(b"user_1", b"\xed\xa0\x80"), "body"),
    "half a character": (spliced("customer.external_id", r'"a\ud800"'), "body"),
    "the other half": (spliced("context.url", r'"\udc00a"'), "body"),
    "half a name": (WHOLE.replace("external_id", r"\ud800").encode(), "body"),
    "deep lists": (b"[" * MOST_BYTES, "body"),
    "deep objects": (nested(5000).encode(), "body"),
    "a deep click": (spliced("clicks.taapit", nested(5000)), "body"),
    "a list": (f"[{WHOLE}]".encode(), "body"),
    "an empty list": (b"[]", "body"),
    "a string": (json.dumps(WHOLE).encode(), "body"),
    "a number": (b"7", "body"),
    "a huge number": (b"9" * 10_000, "body"),
    "a number that nobody reads": (spliced("customer.stripe", "9" * 20_000), "body"),
    "null": (b"null", "body"),
    "true": (b"true", "body"),
    "Infinity": (b"Infinity", "body"),
}
WRONG_FIELDS: Cases = {
    "nothing": (b"{}", "customer"),
    "no customer": (b'{"clicks": {"taapit": "tid_1"}}', "customer"),
    "no id": (changed("customer", {}), "customer"),
    "null ids": (changed("customer", dict.fromkeys(RIGHT["customer"])), "customer"),
    "an id for a customer": (changed("customer", "user_1"), "customer"),
    "customers": (changed("customer", [RIGHT["customer"]]), "customer"),
    "a customer twice": (
        WHOLE.replace('"clicks"', '"customer": {}, "clicks"', 1).encode(),
        "customer",
    ),
    "an unknown field": (changed("order", "x"), "order"),
    "an unknown id": (changed("customer.name", "Jane"), "customer.name"),
    "an unknown context": (changed("context.screen", "x"), "context.screen"),
    "an unknown vendor": (changed("clicks.nobody", "x"), "clicks.nobody"),
    "an unknown kind": (changed("clicks.trackdesk.mystery", "x"), "clicks.trackdesk"),
    "other case": (changed("Customer", RIGHT["customer"]), "Customer"),
    "a name in UTF-8": (changed("kündin", "x"), "kündin"),
    "a control character in a name": (changed("or\0der", "x"), "or?der"),
    "one in an id's name": (changed("customer.na\nme", "x"), "customer.na?me"),
    "one in a vendor's name": (changed("clicks.no\x1bbody", "x"), "clicks.no?body"),
    "a long name": (changed("n" * 20_000, "x"), "n" * 40),
    "a name of the prototype": (changed("__proto__", {"x": 1}), "__proto__"),
    "a list for clicks": (changed("clicks", ["tid_1"]), "clicks"),
    "a string for clicks": (changed("clicks", "tid_1"), "clicks"),
    "null for clicks": (changed("clicks", None), "clicks"),
    "a string for context": (changed("context", "x"), "context"),
    "null for context": (changed("context", None), "context"),
    "many clicks": (changed("clicks", {f"v{n}": 1 for n in range(2_500)}), "clicks"),
    "a deep click of a vendor": (spliced("clicks.codeqr", nested(150)), "clicks.codeqr"),
    "a deep context": (spliced("context.url", nested(150)), "context.url"),
}
NUMBERS = {
    "huge": "9" * 4_000,
    "a huge exponent": "1e999999",
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "a fraction": "0.1",
}
TIMES: dict[str, object] = {
    "a number": 1_794_823_440,
    "a fraction": 1_794_823_440.5,
    "true": True,
    "no zone": "2026-11-20T12:00:00",
    "a day": "2026-11-20",
    "an hour": "12:00:00Z",
    "words": "yesterday",
    "empty": "",
    "no such day": "2026-02-30T12:00:00Z",
    "no such hour": "2026-11-20T25:00:00Z",
    "no such zone": "2026-11-20T12:00:00+99:00",
    "another form": "Fri, 20 Nov 2026 12:00:00 GMT",
    "long ago": "0001-01-01T00:00:00+14:00",
    "before there was any": "1969-12-31T23:59:59Z",
    "five figures": "12026-11-20T12:00:00Z",
    "digits": "1794823440",
    "milliseconds": "1794823440000",
    "control character": "2026-11-20T12:00:00Z\0",
}
ADDRESSES = (
    *("jane.doe", "@", "jane.doe@", "@example.com", "jane doe@example.com", "a@b c", "null", " "),
    *("Jane Doe <jane.doe@example.com>", "jane.doe@example.com, joe@example.com"),
)
PLACES = (
    *("203.0.113", "203.0.113.256", "203.0.113.77:80", "203.0.113.77/32", "203.0.113.77, 10.0.0.1"),
    *("203.0.113.077", "0xCB007145", "::g", "[::1]", "localhost", ""),
)
CASES: Cases = {
    **NO_JSON,
    **WRONG_FIELDS,
    **{
        f"{kind} for {each}": (changed(each, value), each)
        for each in TEXTS
        for kind, value in WRONG_TYPES.items()
        if value is not None
    },
    **{
        f"{kind} for {each}": (changed(each, value), each)
        for each in CLICKS
        for kind, value in WRONG_TYPES.items()
    },
    **{
        f"{kind} in {each}": (changed(each, f"a{text}b@c.example"), each)
        for each in (*TEXTS, *(each for each in CLICKS if each != "clicks.tracify"))
        for kind, text in CONTROL.items()
    },
    **{
        f"{kind} in {each}": (changed(each, f"a{text}b"), each.rpartition(".")[0])
        for each in ("clicks.trackdesk.cid", "clicks.tapfiliate.asset_id", "clicks.tracify.url")
        for kind, text in CONTROL.items()
    },
    **{f"a blank {each}": (changed(each, " \n "), each) for each in (*IDS, *CLICKS)},
    **{f"a long {each}": (changed(each, EMAIL * 13), each) for each in (*IDS, *CLICKS)},
    **{f"a long {each}": (changed(each, "x" * 4097), each) for each in TEXTS if each not in IDS},
    **{f"{text!r} for {each}": (changed(each, text), each) for each in OPAQUE for text in NOTHINGS},
    **{f"{text!r} for a click": (changed("clicks.taapit", text), "clicks.taapit")
       for text in NOTHINGS},
    **{f"e-mail {text!r}": (changed("customer.email", text), "customer.email")
       for text in ADDRESSES},
    **{f"address {text!r}": (changed("context.ip", text), "context.ip") for text in PLACES},
    **{f"time: {kind}": (changed("occurred_at", each), "occurred_at")
       for kind, each in TIMES.items()},
    **{f"{kind} for {each}": (spliced(each, text), each)
       for each in ("customer.stripe", "clicks.taapit", "occurred_at", "order")
       for kind, text in NUMBERS.items()},
}  # fmt: skip


def is_personal(text: str) -> bool:
    return any(each in text for each in (EMAIL, "jane.doe", ADDRESS, "203.0.113", AGENT))
