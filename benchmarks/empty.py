"""The least that a webhook can be answered with: an empty Flask view, on the server of the bridge.

Its threads call Flask straight, which is the fastest that it can do.
"""

from __future__ import annotations

import sys

from flask import Flask, request
from granian import Granian
from granian.constants import Interfaces

THREADS = 64  # one for each connection that the benchmark has

app = Flask("empty")


@app.post("/webhooks/stripe")
def take() -> str:
    """Read the body, for an answer that leaves it unread is no answer to it."""
    request.get_data(cache=False)
    return ""


if __name__ == "__main__":
    Granian(
        "benchmarks.empty:app",
        port=int(sys.argv[1]),
        interface=Interfaces.WSGI,
        blocking_threads=THREADS,
        log_enabled=False,
    ).serve()
