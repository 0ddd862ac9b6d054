"""How a stand-in reads a call, and how it refuses one in its vendor's own envelope."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from flask import Blueprint, g, request
from pydantic import BaseModel, ValidationError

from bridge.sandbox.ledger import JsonObject, current_sandbox
from bridge.sandbox.strict import loads


class RefusedError(Exception):
    """Refuse a call with a status and a reason; the stand-in wraps both as its vendor would."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


Envelope: TypeAlias = Callable[[RefusedError], tuple[JsonObject, int]]


def stand_in(module: str, envelope: Envelope) -> Blueprint:
    """Return the blueprint of a vendor, named like its file, that refuses in this envelope."""
    blueprint = Blueprint(module.rpartition(".")[2], module)

    def refuse(error: RefusedError) -> tuple[JsonObject, int]:
        mark_refused(error.message)
        return envelope(error)

    blueprint.register_error_handler(RefusedError, refuse)
    return blueprint


def mark_refused(reason: str) -> None:
    """Note why this call was not accepted, whatever its HTTP status says."""
    g.refused = reason


# ── the body ─────────────────────────────────────────────────────────────────────────────────────

M = TypeVar("M", bound=BaseModel)


def read(model: type[M], *, invalid: int) -> M:
    """Read this request's body (the query of a GET) as a model, or refuse with status `invalid`."""
    document = _nested(request.args) if request.method == "GET" else _json_body()
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise RefusedError(invalid, explain(error)) from None


def explain(error: ValidationError) -> str:
    """Say what is wrong first, and where, without repeating the value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _json_body() -> object:
    if not request.is_json:
        raise RefusedError(400, "the body must be JSON, sent as Content-Type: application/json")
    try:
        return loads(request.get_data())
    except ValueError:
        raise RefusedError(400, "the body is not valid JSON") from None


def _nested(query: Mapping[str, str]) -> JsonObject:
    """Turn `amount.value=1` and `meta_data[key]=1` into objects, as the query forms mean them."""
    document: JsonObject = {}
    for name, value in query.items():
        *parents, last = [part for part in re.split(r"[.\[\]]", name) if part] or [name]
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise RefusedError(400, f"{name}: {parent} is given twice")
        place[last] = value
    return document


# ── credentials and clicks ───────────────────────────────────────────────────────────────────────


def bearer() -> str:
    """Return the key of an `Authorization: Bearer` header, empty without one."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def is_good_key(key: str) -> bool:
    """Tell whether the vendor that this request is addressed to accepts a credential."""
    return current_sandbox().accepts(str(request.blueprint), key)


def known(click: str, problem: str) -> str:
    """Return a click that was made, or refuse: every one was, but "unknown…" and "expired…"."""
    if click.startswith(("unknown", "expired")):
        raise RefusedError(404, problem)
    return click
