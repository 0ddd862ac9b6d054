"""The web processes of `bridge serve` and `bridge web`, and the server that keeps them."""

from __future__ import annotations

import multiprocessing
import os
import signal

from granian import Granian
from granian.constants import Interfaces

from bridge import config as settings
from bridge import logs
from bridge.cli.addresses import ip_of
from bridge.cli.processes import Ending, die_with_parent
from bridge.errors import BridgeError
from bridge.web import create_app
from bridge.web.front import Front

# Requests in flight take milliseconds. A signal in the very instant in which the web starts may be
# missed by it, and then this is how long ending takes.
WEB_STOP_SECONDS = 10


def run_web(host: str, port: int, ending: Ending, count: int = 1) -> None:
    """Serve the web in so many processes until SIGTERM or SIGINT.

    Requests in flight are answered first.
    """
    server = Granian(
        f"{__name__}:application",
        factory=True,
        address=ip_of(host, port),
        port=port,
        interface=Interfaces.ASGINL,
        workers=count,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=WEB_STOP_SECONDS,
        log_enabled=False,
    )
    supervisor = os.getpid()

    def stop() -> None:
        if os.getpid() != supervisor:
            os._exit(0)  # a child just forked, which does not listen to signals itself yet
        server.signal_handler_interrupt()  # type: ignore[no-untyped-call]

    def started() -> None:
        ending.listen()  # it would end the web, and only then the worker
        ending.then(stop)

    server.on_startup(started)
    try:
        server.serve()
    except SystemExit as failure:
        # A platform may ask all processes at once to end, and the web then does so by itself.
        if failure.code and not ending.asked:
            raise BridgeError("a web process ended twice within seconds") from None


def application() -> Front:
    """Build the web application in the process that serves it."""
    os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    die_with_parent(parent.pid if parent else None, signal.SIGKILL)
    config = settings.load()
    logs.configure(logs.Redactor(config.secrets()))
    app = create_app(config)
    return Front(app, app.extensions["bridge"])
