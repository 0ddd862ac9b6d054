"""Stand-ins for the APIs of providers: each answers over HTTP what it was given to know."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response


@dataclass
class HttpStandIn(ABC):
    """Answer as a provider's API; `asked` is what it was asked, `fault` what it answers instead."""

    url: str = ""
    fault: tuple[int, bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        request.get_data()  # it can be read after the connection is gone
        self.asked.append(request)
        if self.fault:
            status, body = self.fault
            return Response(body, status, self.headers, content_type="application/json")
        return self.reply(request)

    @abstractmethod
    def reply(self, request: Request) -> Response:
        """Answer one request."""

    @property
    def paths(self) -> list[str]:
        """Return the paths that were asked for."""
        return [each.path for each in self.asked]


S = TypeVar("S", bound=HttpStandIn)


class _Silent(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing."""


def as_json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


@contextmanager
def served(stand_in: S, tls: ssl.SSLContext | None = None) -> Iterator[S]:
    """Serve a stand-in on this machine."""
    application = Request.application(stand_in.answer)
    server = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=_Silent, ssl_context=tls
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # seconds to a poll
    thread.start()
    stand_in.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def closed_url() -> str:
    """Return an address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


@contextmanager
def hanging_url() -> Iterator[str]:
    """Give an address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"
