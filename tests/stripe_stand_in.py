"""A stand-in for Stripe's API: answers over HTTP what it was given to know."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response


@dataclass
class StandIn:
    """Know invoice payments and other objects, by path; `asked` is what it was asked."""

    url: str = ""
    page: int = 100
    payments: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    fault: tuple[int, bytes] | None = None
    asked: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        self.asked.append(request)
        if self.fault:
            status, body = self.fault
            return Response(body, status, content_type="application/json")
        if request.path == "/v1/invoice_payments":
            return _json(self._list(request))
        known = self.objects.get(request.path)
        message = f"No such object: '{request.path.rpartition('/')[2]}'"
        error = {"type": "invalid_request_error", "code": "resource_missing", "message": message}
        return _json(known) if known else _json({"error": error}, 404)

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


class _Silent(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing."""


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


@contextmanager
def stripe_stand_in() -> Iterator[StandIn]:
    """Serve a stand-in on this machine."""
    stand_in = StandIn()
    application = Request.application(stand_in.answer)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # seconds to a poll
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
