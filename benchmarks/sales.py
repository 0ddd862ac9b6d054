"""Sales to measure with: signed `invoice.paid` webhooks, each of a customer of its own."""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
INVOICE = REPOSITORY / "fixtures" / "providers" / "stripe" / "invoice.paid" / "body.json"
SECRET = "whsec_made_up_to_measure_with"  # noqa: S105
# A click from before the sale, which the fixture dates.
CLICKED = "2026-11-01T12:00:00+00:00"
HEAD = (
    "POST /webhooks/stripe HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    "User-Agent: Stripe/1.0\r\nStripe-Signature: {signature}\r\n"
    "Content-Length: {length}\r\n\r\n"
)


def name_of(run: str, number: int) -> str:
    """Return what names one sale, its customer and its click; in no order, as a provider's ids."""
    return hashlib.sha256(f"{run}/{number}".encode()).hexdigest()[:24]


def names(run: str, count: int, first: int = 0) -> list[str]:
    """Return the names of some sales of a run."""
    return [name_of(run, number) for number in range(first, first + count)]


class Webhooks:
    """Write webhooks of Stripe's, fast."""

    def __init__(self) -> None:
        self._pieces = _template().split("{name}")

    def body(self, name: str) -> bytes:
        """Return the body of a paid invoice."""
        return name.join(self._pieces).encode()

    def request(self, name: str) -> bytes:
        """Return a webhook, signed now, as it goes over a kept connection."""
        body = self.body(name)
        return HEAD.format(signature=signature(body), length=len(body)).encode() + body


def signature(body: bytes) -> str:
    """Return what Stripe says a body is signed with, now."""
    at = int(time.time())
    signed = hmac.new(SECRET.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def _template() -> str:
    text = INVOICE.read_text("utf-8")
    event = json.loads(text)
    invoice = event["data"]["object"]
    details = invoice["lines"]["data"][0]["parent"]["subscription_item_details"]
    ids = {
        event["id"]: "evt_",
        invoice["id"]: "in_",
        invoice["customer"]: "cus_",
        details["subscription"]: "sub_",
        "user_1001": "user_",
        "jana.muster": "person.",
    }
    for theirs, ours in ids.items():
        assert theirs in text, theirs
        text = text.replace(theirs, f"{ours}{{name}}")
    return text


def write_clicks(path: Path, of: Iterable[str]) -> None:
    """Write a file for `bridge clicks import`: one click for each sale's customer."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("external_id", "stripe", "taapit", "occurred_at"))
        writer.writerows((f"user_{each}", f"cus_{each}", f"click{each}", CLICKED) for each in of)


def store_clicks(path: Path, of: Iterable[str]) -> None:
    """Give the handwritten handler the same clicks."""
    with closing(sqlite3.connect(path)) as db, db:
        rows = ((f"cus_{each}", f"click{each}") for each in of)
        db.executemany("INSERT INTO clicks VALUES (?, ?)", rows)
