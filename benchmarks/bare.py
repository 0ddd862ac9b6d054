"""Calls of a vendor with `requests`, and nothing else: python -m benchmarks.bare URL THREADS CALLS

Prints how many were made a second. Each thread makes a call with what `requests` offers to
everybody, as `bridge` does with a call that must not be sent twice: on a connection of its own.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import requests

HEADERS = {"Authorization": "Bearer taapit_sk_made_up"}


def call(url: str, number: int) -> None:
    """Tell Taapit of a sale."""
    sale = {
        "trackingId": f"click{number}",
        "customer": {"externalId": f"cus_{number}"},
        "amount": 49,
        "currency": "eur",
        "metadata": {"orderId": f"in_{number}"},
    }
    answer = requests.post(f"{url}/api/events/sale", json=sale, headers=HEADERS, timeout=30)
    answer.raise_for_status()


def rate(url: str, threads: int, calls: int) -> float:
    """Return how many calls so many threads make a second."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.monotonic()
        for _ in pool.map(lambda number: call(url, number), range(calls)):
            pass
        return calls / (time.monotonic() - began)


if __name__ == "__main__":
    print(rate(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
