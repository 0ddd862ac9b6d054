"""The least that a webhook can be answered with: an empty Flask view, on the server of the bridge.

Its threads call Flask straight, which is the fastest that it can do.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from wsgiref.types import WSGIApplication

from flask import Flask, request
from granian import Granian
from granian.constants import Interfaces

from bridge.cli import processes

THREADS = 64  # one for each connection that the benchmark has

app = Flask("empty")


@app.post("/webhooks/stripe")
def take() -> str:
    """Read the body, for an answer that leaves it unread is no answer to it."""
    request.get_data(cache=False)
    return ""


def application() -> WSGIApplication:
    """Return it in the process that serves it, which ends with its parent."""
    parent = multiprocessing.parent_process()
    processes.die_with_parent(parent.pid if parent else None, signal.SIGKILL)
    return app


if __name__ == "__main__":
    Granian(
        "benchmarks.empty:application",
        factory=True,
        port=int(sys.argv[1]),
        interface=Interfaces.WSGI,
        blocking_threads=THREADS,
        log_enabled=False,
    ).serve()
