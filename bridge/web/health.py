"""GET /healthz and /readyz: is this process alive, and can it do its work."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from bridge.errors import StoreError
from bridge.web.state import state

area = Blueprint("health", __name__)


@area.get("/healthz")
def healthz() -> Response:
    """Say that the process answers."""
    return jsonify(status="ok")


@area.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Say whether the store can be written and its schema is up to date."""
    try:
        state().store.check(writable=True)
    except StoreError as failure:
        return jsonify(status="unavailable", reason=str(failure)), 503
    return jsonify(status="ok"), 200
