"""The stage of the demo: settings of its own, a folder that goes afterwards, a real server."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import requests

from bridge import config as settings
from bridge import sandbox
from bridge.cli.addresses import url_of
from bridge.config import Config
from bridge.errors import BridgeError
from bridge.store import Store, open_store_of

START_SECONDS = 30.0
LOG = "bridge.log"


@contextmanager
def setting(folder: Path, vendors_url: str) -> Iterator[Config]:
    """Work in a folder, with settings made up for it: nothing real is touched."""
    known = {each.name for each in settings.known_settings()} | {"PORT", "HOST", "DYNO"}
    mine = {name: os.environ.pop(name) for name in known & set(os.environ)}
    made_up = _settings(folder, vendors_url)
    lines = [f"{name}={value}" for name, value in made_up.items()]
    (folder / ".env").write_text("\n".join([*lines, ""]), "utf-8")
    try:
        with chdir(folder):
            yield settings.load()
    finally:
        os.environ.update(mine)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run `bridge serve` on a free port until the block ends; its log goes into the folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / LOG
    command = [sys.executable, "-m", "bridge", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--with-parent", str(os.getpid())]
    with log.open("wb") as output:
        # A process group of its own: Ctrl-C reaches the demo, which then ends the server.
        server = subprocess.Popen(command, stderr=output, process_group=0)  # noqa: S603 - this program
    url = url_of("127.0.0.1", port)
    try:
        wait(lambda: server.poll() is not None or _answers(url), START_SECONDS, "no start")
        if server.poll() is not None:
            raise BridgeError(f"the server did not start: {log.read_text('utf-8')[-500:].strip()}")
        yield url
    finally:
        server.terminate()
        server.wait()


@contextmanager
def opened(config: Config) -> Iterator[Store]:
    """Open the demo's database, beside the server that writes it."""
    store = open_store_of(config)
    try:
        yield store
    finally:
        store.close()


def wait(done: Callable[[], bool], seconds: float, complaint: str) -> None:
    """Wait until something is done; raise BridgeError if that takes too long."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise BridgeError(f"the demo ended after {seconds:g} s: {complaint}")
        time.sleep(0.02)


def _settings(folder: Path, vendors_url: str) -> dict[str, str]:
    made_up = {
        "DATABASE_URL": f"sqlite:///{folder}/demo.db",
        "BRIDGE_API_KEY": secrets.token_hex(16),
        "BRIDGE_SECRET_KEY": secrets.token_hex(16),
        "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(16)}",
        "PADDLE_WEBHOOK_SECRET": f"pdl_ntfset_{secrets.token_hex(16)}",
        "SHOPIFY_API_SECRET": secrets.token_hex(16),
        "TAAPIT_API_KEY": f"taapit_sk_{secrets.token_hex(8)}",
        "CODEQR_API_KEY": secrets.token_hex(16),
        "TRACKDESK_TENANT_ID": "demo-shop",
        "TRACKDESK_REVENUE_ORIGIN_ID": "4f8f3c1e-6f0b-4b57-9f5e-1d2c3b4a5f60",
        "TRACKDESK_API_KEY": secrets.token_hex(16),
        "TAPFILIATE_API_KEY": secrets.token_hex(16),
        "TRACIFY_TOKEN": secrets.token_hex(16),
        "TRACIFY_CUSTOMER_SITE_ID": "7d9f1b52-3c64-4e0f-8a1b-2c3d4e5f6071",
        "TRACIFY_ORIGIN": "https://shop.example",
    }
    addresses = {f"{name}_BASE_URL".upper(): f"{vendors_url}/{name}" for name in sandbox.discover()}
    return made_up | addresses


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=2).ok
    except requests.RequestException:
        return False
