"""The handler a merchant would write by hand: check, store, tell the vendor, answer.

It keeps what it was sent, so that nothing is told twice, and knows each customer's click. What it
does not do is what the bridge is for: a vendor that is slow or down is its problem, and Stripe's.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing

import requests
import stripe
from flask import Flask, request
from granian import Granian
from granian.constants import Interfaces

DATABASE = os.environ.get("HANDWRITTEN_DATABASE", "handwritten.db")
VENDOR = os.environ.get("HANDWRITTEN_VENDOR", "")
SECRET = os.environ.get("HANDWRITTEN_SECRET", "")
PROCESSES, THREADS = 2, 8
PATIENCE = 30.0

app = Flask("handwritten")


@app.post("/webhooks/stripe")
def take() -> tuple[str, int]:
    """Store a paid invoice, and tell the vendor of it."""
    payload = request.get_data()
    signature = request.headers["Stripe-Signature"]
    event = stripe.Webhook.construct_event(payload, signature, SECRET)
    if event["type"] != "invoice.paid":
        return "", 200
    invoice = event["data"]["object"]
    with closing(sqlite3.connect(DATABASE, timeout=PATIENCE)) as db, db:
        known = db.execute(
            "INSERT INTO events VALUES (?, ?) ON CONFLICT DO NOTHING", (event["id"], payload)
        )
        if not known.rowcount:
            return "", 200
        click = db.execute(
            "SELECT click FROM clicks WHERE customer = ?", (invoice["customer"],)
        ).fetchone()
    if click:
        tell(invoice, click[0])
    return "", 200


def tell(invoice: stripe.Invoice, click: str) -> None:
    """Tell Taapit of a sale."""
    sale = {
        "trackingId": click,
        "customer": {"externalId": invoice["customer"]},
        "amount": invoice["total_excluding_tax"] / 100,
        "currency": invoice["currency"],
        "metadata": {"orderId": invoice["id"]},
    }
    headers = {"Authorization": "Bearer taapit_sk_made_up"}
    answer = requests.post(
        f"{VENDOR}/api/events/sale", json=sale, headers=headers, timeout=PATIENCE
    )
    answer.raise_for_status()


def prepare(path: str) -> None:
    """Make its database."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE events (id TEXT PRIMARY KEY, body BLOB NOT NULL)")
        db.execute("CREATE TABLE clicks (customer TEXT PRIMARY KEY, click TEXT NOT NULL)")


if __name__ == "__main__":
    # Where there is no gunicorn, the server of the bridge with as many processes and threads.
    Granian(
        "benchmarks.handwritten:app",
        port=int(sys.argv[1]),
        interface=Interfaces.WSGI,
        workers=PROCESSES,
        blocking_threads=THREADS,
        log_enabled=False,
    ).serve()
