"""Calls of a vendor with `requests`, and nothing else: python -m benchmarks.bare URL THREADS CALLS

Prints how many were made a second: each thread over a connection that it keeps, and then each call
over one of its own, as `bridge` makes a call that must not be sent twice.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import requests

HEADERS = {"Authorization": "Bearer taapit_sk_made_up"}


class Own(threading.local):
    """Hold each thread's session."""

    def __init__(self) -> None:
        self.session = requests.Session()


OWN = Own()


def call(url: str, number: int, *, kept: bool) -> None:
    """Tell Taapit of a sale."""
    sale = {
        "trackingId": f"click{number}",
        "customer": {"externalId": f"cus_{number}"},
        "amount": 49,
        "currency": "eur",
        "metadata": {"orderId": f"in_{number}"},
    }
    post = OWN.session.post if kept else requests.post
    post(f"{url}/api/events/sale", json=sale, headers=HEADERS, timeout=30).raise_for_status()


def rate(url: str, threads: int, calls: int, *, kept: bool) -> float:
    """Return how many calls so many threads make a second."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.monotonic()
        for _ in pool.map(partial(call, url, kept=kept), range(calls)):
            pass
        return calls / (time.monotonic() - began)


if __name__ == "__main__":
    for each in (True, False):
        print(rate(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), kept=each))
