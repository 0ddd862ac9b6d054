"""A stand-in for Stripe's API: answers over HTTP what it was given to know."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from http_stand_in import HttpStandIn, as_json, served
from werkzeug.wrappers import Request, Response


@dataclass
class StandIn(HttpStandIn):
    """Know invoice payments and other objects, by path."""

    page: int = 100
    payments: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)

    def reply(self, request: Request) -> Response:
        if request.path == "/v1/invoice_payments":
            return as_json(self._list(request))
        known = self.objects.get(request.path)
        message = f"No such object: '{request.path.rpartition('/')[2]}'"
        error = {"type": "invalid_request_error", "code": "resource_missing", "message": message}
        return as_json(known) if known else as_json({"error": error}, 404)

    def _list(self, request: Request) -> dict[str, object]:
        wanted = request.args["payment[payment_intent]"]
        found = [each for each in self.payments if each["payment"]["payment_intent"] == wanted]
        if after := request.args.get("starting_after"):
            found = found[[each["id"] for each in found].index(after) + 1 :]
        size = min(self.page, int(request.args["limit"]))
        return {
            "object": "list",
            "url": request.path,
            "has_more": len(found) > size,
            "data": found[:size],
        }


def stripe_stand_in() -> AbstractContextManager[StandIn]:
    """Serve a stand-in on this machine."""
    return served(StandIn())
