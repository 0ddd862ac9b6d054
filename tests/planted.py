"""Secrets planted wherever one can be set, in every spelling, and a search that finds them."""

from __future__ import annotations

import base64
import html
import json
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from urllib.parse import quote, quote_plus

from cases import required

from bridge import config

# Letters that are written differently in JSON, in HTML, in a URL and in base64.
ODD = '/"&<+ \\%é?>'
# What goes into a header holds no more than these.
PLAIN = "/+=~"
SENT = ("_API_KEY", "_TOKEN")


@cache
def secrets() -> dict[str, str]:
    """Return a made-up value for every setting that is secret; of rotating ones, several."""
    names = [each.name for each in config.known_settings() if each.secret]
    made = {name: _made(name) for name in names if name != "DATABASE_URL"}
    private = required("paddle_classic")
    made["PADDLE_CLASSIC_PRIVATE_KEY"] = private["private_key"]
    return made


def _made(name: str) -> str:
    sent = name.endswith(SENT)
    value = f"planted{PLAIN if sent else ODD}{name.lower()}-1234567890"
    return value if sent else f"{value},{value}-the-one-before"


def parts(secret: str) -> list[str]:
    """Return what is secret of a setting: each of several values, each line of a key."""
    if "PRIVATE KEY" in secret:
        return [line for line in secret.split("\n") if len(line) > 40]
    return secret.split(",")


def spellings(secret: str) -> list[str]:
    """Return a secret as it is, in JSON, in HTML, in a URL, in base64, in a form."""
    raw = secret.encode()
    escaped = quote(secret, safe="")
    return [
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        html.escape(secret),
        html.escape(secret, quote=False),
        escaped,
        re.sub("%..", lambda found: found[0].lower(), escaped),
        json.dumps(json.dumps(secret))[3:-3],
        quote(secret),
        quote_plus(secret),
        *(base64.b64encode(b"x" * n + raw + b"y" * n).decode() for n in range(3)),
        base64.urlsafe_b64encode(raw).decode(),
    ]


def all_spellings() -> list[str]:
    """Return every secret in every spelling."""
    return [
        each for value in secrets().values() for part in parts(value) for each in spellings(part)
    ]


@cache
def _pieces() -> list[tuple[str, str]]:
    """Return what tells a secret: its middle (base64 mixes its ends with what is beside it).

    One that is cut off tells as much, unless it is in base64.
    """
    known = [
        (name, part, each)
        for name, value in secrets().items()
        for part in parts(value)
        for each in spellings(part)
    ]
    cut = [(name, each[: len(each) * 2 // 3]) for name, part, each in known if part[:9] in each]
    return [(name, each[4:-4]) for name, _, each in known] + cut


def found_in(text: str) -> set[str]:
    """Return the secrets that a text holds, however spelt."""
    return {name for name, piece in _pieces() if piece in text}


def cells(path: Path) -> Iterable[tuple[str, str, str]]:
    """Yield every value in a database: its table, its column, and the value as text."""
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in db.execute(f"SELECT * FROM [{table}]"):  # noqa: S608
                yield from ((table, name, str(row[name])) for name in row.keys())  # noqa: SIM118
