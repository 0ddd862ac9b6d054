"""Stand-ins for the vendors on this machine: for the demo, for tests, and to try before connecting.

    with serve_sandbox() as sandbox:
        ...  # TAAPIT_BASE_URL = sandbox.url + "/taapit", and so on
        sandbox.ledger.as_json()

One file in this folder with a blueprint called `vendor` is one stand-in; none is listed anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from threading import Thread
from types import TracebackType
from typing import Any

from flask import Blueprint, Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from bridge.sandbox import asking, faults
from bridge.sandbox.ledger import Sandbox
from bridge.sandbox.strict import ExactJson

__all__ = ["RunningSandbox", "Sandbox", "create_sandbox", "discover", "serve_sandbox"]


def discover() -> dict[str, Blueprint]:
    """Return every vendor's blueprint in this folder by name, in alphabetical order."""
    names = sorted(module.name for module in iter_modules(__path__))
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {name: module.vendor for name, module in modules.items() if hasattr(module, "vendor")}


def create_sandbox(keys: Mapping[str, str] | None = None) -> Flask:
    """Return an app with one stand-in per vendor, each under its own name.

    `keys` holds the one credential a vendor accepts; for the others any well-formed one is good.
    """
    stand_ins = discover()
    app = Flask(__name__, static_folder=None)
    app.json = ExactJson(app)
    app.extensions["sandbox"] = Sandbox(stand_ins, keys)
    app.extensions["sandbox_faults"] = faults.Faults(stand_ins)
    for name, blueprint in stand_ins.items():
        app.register_blueprint(blueprint, url_prefix=f"/{name}")
    app.register_blueprint(asking.pages)
    app.register_blueprint(faults.pages)
    asking.watch(app)
    return app


class RunningSandbox:
    """Hold a sandbox that answers at `url` until it is closed; `ledger` is what it was told."""

    def __init__(self, app: Flask, server: BaseWSGIServer) -> None:
        self.ledger: Sandbox = app.extensions["sandbox"]
        self.faults: faults.Faults = app.extensions["sandbox_faults"]
        self.url = f"http://{server.host}:{server.port}"
        self._server = server
        # A short poll, so that closing does not take half a second.
        self._thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering; calls that hang are let go."""
        self.faults.close()
        self._server.shutdown()
        self._thread.join()

    def __enter__(self) -> RunningSandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Write nothing: what was asked is at /calls."""


def serve_sandbox(
    host: str = "127.0.0.1", port: int = 0, keys: Mapping[str, str] | None = None
) -> RunningSandbox:
    """Serve a sandbox from a thread of this process; port 0 takes a free one."""
    app = create_sandbox(keys)
    server = make_server(host, port, app, threaded=True, request_handler=_QuietHandler)
    return RunningSandbox(app, server)
