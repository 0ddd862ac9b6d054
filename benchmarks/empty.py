"""The least that a webhook can be answered with: an empty Flask view, served as the bridge is."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from wsgiref.types import WSGIApplication

from flask import Flask, request

from bridge.cli import processes

app = Flask("empty")


@app.post("/webhooks/stripe")
def take() -> str:
    """Read the body, for an answer that leaves it unread is no answer to it."""
    request.get_data(cache=False)
    return ""


def application() -> WSGIApplication:
    """Return it in the process that serves it."""
    parent = multiprocessing.parent_process()
    processes.die_with_parent(parent.pid if parent else None, signal.SIGKILL)
    return app


if __name__ == "__main__":
    # The very server that `bridge web` runs, whatever its settings are, with another application.
    processes.application = application
    processes.run_web("127.0.0.1", int(sys.argv[1]), processes.Ending())
