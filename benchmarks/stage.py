"""What benchmarks share: a bridge and its vendors as real processes, and a shop that sells."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from bridge.model import WebhookRequest
from bridge.providers.stripe import Stripe, StripeSettings

REPOSITORY = Path(__file__).resolve().parent.parent
INVOICE = REPOSITORY / "fixtures" / "providers" / "stripe" / "invoice.paid" / "body.json"
SECRET = "whsec_made_up_to_measure_with"  # noqa: S105
API_KEY = "made up to measure with"
VENDORS = ("codeqr", "taapit", "tapfiliate", "tracify", "trackdesk")
SETTINGS = {
    "BRIDGE_API_KEY": API_KEY,
    "BRIDGE_SECRET_KEY": "made up to measure with, too",
    "STRIPE_WEBHOOK_SECRET": SECRET,
    "TAAPIT_API_KEY": "taapit_sk_made_up",
    "CODEQR_API_KEY": "made-up",
    "TRACKDESK_TENANT_ID": "made-up",
    "TRACKDESK_REVENUE_ORIGIN_ID": "4f8f3c1e-6f0b-4b57-9f5e-1d2c3b4a5f60",
    "TAPFILIATE_API_KEY": "made-up",
    "TRACIFY_TOKEN": "made-up",
    "TRACIFY_CUSTOMER_SITE_ID": "7d9f1b52-3c64-4e0f-8a1b-2c3d4e5f6071",
    "TRACIFY_ORIGIN": "https://shop.example",
}
START_SECONDS = 60.0
STRIPE = Stripe(StripeSettings(webhook_secret=SECRET))


@contextmanager
def running(*arguments: str, settings: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run a command of bridge's until the block ends."""
    inherited = {name: each for name, each in os.environ.items() if not _is_setting(name)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", *arguments],
            env=inherited | dict(settings),
            cwd=log.parent,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _is_setting(name: str) -> bool:
    prefixes = ("BRIDGE_", "STRIPE_", "PADDLE_", "SHOPIFY_", *(f"{v.upper()}_" for v in VENDORS))
    return name.startswith(prefixes) or name in {"DATABASE_URL", "HOST", "PORT"}


@contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """Run stand-ins for the vendors in a process of their own; yield their address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running("sandbox", "--port", str(port), settings={}, log=folder / "sandbox.log"):
        wait(lambda: _answers(f"{url}/ledger"), "the sandbox to answer")
        yield url


@contextmanager
def bridge(folder: Path, vendors: str, **settings: str) -> Iterator[str]:
    """Run `bridge serve` on an empty database, with all vendors at an address; yield its own."""
    folder.mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    addresses = {f"{name.upper()}_BASE_URL": f"{vendors}/{name}" for name in VENDORS}
    everything = SETTINGS | addresses | {"DATABASE_URL": f"sqlite:///{folder / 'bridge.db'}"}
    command = ("serve", "--host", "127.0.0.1", "--port", str(port))
    with running(*command, settings=everything | settings, log=folder / "bridge.log"):
        wait(lambda: _answers(f"{url}/readyz"), "the bridge to answer")
        yield url


class Shop:
    """Sell to new customers whose clicks the bridge knows; one connection, as a provider's."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._body = INVOICE.read_text("utf-8")
        self._http = requests.Session()
        self._http.trust_env = False
        self._sold = 0

    def sell(self) -> str:
        """Store a click, send an `invoice.paid`, and return the conversion's id."""
        self._sold += 1
        customer, order = f"cus_{self._sold:06}", f"in_{self._sold:06}"
        self._click(customer)
        self._send(self._invoice(customer, order))
        return f"stripe:{order}"

    def _click(self, customer: str) -> None:
        body = {
            "customer": {"stripe": customer},
            "clicks": {name: f"click_{customer}" for name in VENDORS if name != "tracify"},
            "context": {
                "ip": "203.0.113.7",
                "user_agent": "Mozilla/5.0",
                "url": "https://shop.example/?utm_source=x",
            },
        }
        headers = {"Authorization": f"Bearer {API_KEY}"}
        self._http.post(f"{self._url}/clicks", json=body, headers=headers).raise_for_status()

    def _send(self, body: str) -> None:
        now = datetime.now(UTC)
        request = STRIPE.sign(
            WebhookRequest({"content-type": "application/json"}, body.encode()), now
        )
        answer = self._http.post(
            f"{self._url}/webhooks/stripe", data=request.body, headers=dict(request.headers)
        )
        answer.raise_for_status()

    def _invoice(self, customer: str, order: str) -> str:
        event: dict[str, Any] = json.loads(self._body)
        event["id"] = f"evt_{order}"
        event["created"] = int(time.time())
        body = json.dumps(event).replace(event["data"]["object"]["id"], order)
        body = body.replace("jana.muster@", f"{customer}@").replace("user_1001", f"user_{order}")
        return re.sub(r'"cus_[A-Za-z0-9]+"', f'"{customer}"', body)


def wait(done: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until something is true; end the benchmark if that takes too long."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.05)


def free_port() -> int:
    """Return a port that nobody listens to at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
