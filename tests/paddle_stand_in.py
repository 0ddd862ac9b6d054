"""A stand-in for Paddle's API: transactions and customers, by id."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from http_stand_in import HttpStandIn, as_json, served
from werkzeug.wrappers import Request, Response


@dataclass
class PaddleStandIn(HttpStandIn):
    """Know transactions and customers; `hidden` are the kinds that the key may not read.

    `faults` are what is answered instead, by kind.
    """

    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    faults: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def know(self, *things: dict[str, Any]) -> None:
        """Take in things by their ids."""
        self.things |= {each["id"]: each for each in things}

    def reply(self, request: Request) -> Response:
        kind, _, id = request.path.lstrip("/").partition("/")
        if kind in self.faults:
            status, body = self.faults[kind]
            return Response(body, status, content_type="application/json")
        if kind in self.hidden:
            return as_json(refusal("forbidden", "You don't have permission"), 403)
        if id not in self.things:
            return as_json(refusal("not_found", f"Unable to find {kind} {id}"), 404)
        return as_json({"data": self.things[id], "meta": {"request_id": "a-made-up-one"}})


def refusal(code: str, detail: str) -> dict[str, Any]:
    """Return how Paddle explains that it does not answer."""
    error = {"type": "request_error", "code": code, "detail": detail}
    return {"error": error, "meta": {"request_id": "a-made-up-one"}}


def paddle_stand_in() -> AbstractContextManager[PaddleStandIn]:
    """Serve a stand-in on this machine."""
    return served(PaddleStandIn())
