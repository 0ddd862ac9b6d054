"""demo: the whole bridge at work on this machine, without an account and without a network."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import click
import requests

from bridge import codec, providers, sandbox
from bridge import config as settings
from bridge.cli.fixture_files import FixtureFile, collect
from bridge.cli.replay import post
from bridge.cli.session import console, print_table, styled, told_words
from bridge.config import Config
from bridge.errors import BridgeError
from bridge.model import Conversion
from bridge.store import Store, open_store
from bridge.store.rows import DeliveryRow

START_SECONDS = 30.0
QUIET_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Hold one thing that happens in the demo: what it is, and the fixtures that tell of it."""

    title: str
    events: tuple[str, ...]


STORY = (
    Scene("A customer pays for a subscription", ("invoice_payment.paid", "invoice.paid")),
    Scene(
        "Stripe sends it again, and once more by another name",
        ("invoice.paid", "invoice.payment_succeeded"),
    ),
    Scene("Part of it is refunded", ("refund.created", "refund.updated", "charge.refunded")),
    Scene(
        "The customer's bank disputes it",
        ("charge.dispute.created", "charge.dispute.funds_withdrawn"),
    ),
    Scene("The dispute is won", ("charge.dispute.funds_reinstated", "charge.dispute.closed")),
    Scene("The subscription renews", ("invoice_payment.paid@renewal", "invoice.paid@renewal")),
    Scene("The renewal is refunded in full", ("refund.created@renewal-full",)),
    Scene("Another order: its refund arrives before its sale", ("refund.created@before-sale",)),
    Scene("… and then the sale", ("invoice_payment.paid@before-sale", "invoice.paid@before-sale")),
)


@click.command()
@click.option("--keep", is_flag=True, help="Stay up afterwards, for looking around.")
def demo(keep: bool) -> None:
    """Show a payment's whole life: sandbox vendors, real signatures, real HTTP."""
    with (
        tempfile.TemporaryDirectory(prefix="bridge-demo-") as folder,
        sandbox.serve_sandbox() as vendors,
    ):
        environment = _environment(Path(folder), vendors.url)
        with mock.patch.dict(os.environ, environment, clear=True), _working_in(folder):
            config = settings.load()
            with _serving(environment) as url:
                store = open_store(config.database_url)
                _play(config, store, url)
                _print_result(store, vendors.url)
                if keep:
                    _stay(url, vendors.url, environment)
                store.close()


# ── setting the stage ────────────────────────────────────────────────────────────────────────────


def _environment(folder: Path, vendors_url: str) -> dict[str, str]:
    """Return an environment of the demo's own, so that nothing real is touched."""
    known = {each.name for each in settings.known_settings()} | {"PORT", "HOST"}
    inherited = {name: value for name, value in os.environ.items() if name not in known}
    made_up = {
        "DATABASE_URL": f"sqlite:///{folder}/demo.db",
        "BRIDGE_API_KEY": secrets.token_hex(16),
        "BRIDGE_SECRET_KEY": secrets.token_hex(16),
        "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(16)}",
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
    return inherited | made_up | addresses


@contextmanager
def _working_in(folder: str) -> Iterator[None]:
    """Work in a folder without a .env of somebody's."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _serving(environment: Mapping[str, str]) -> Iterator[str]:
    """Run `bridge serve` on a free port until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = Path("bridge.log")
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "bridge", "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=dict(environment),
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _answers(f"{url}/readyz"), START_SECONDS, lambda: log.read_text()[-2000:])
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _wait(done: Callable[[], bool], seconds: float, explain: Callable[[], str]) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise BridgeError(f"the demo did not get there within {seconds:g} s: {explain()}")
        time.sleep(0.02)


# ── the story ────────────────────────────────────────────────────────────────────────────────────


def _play(config: Config, store: Store, url: str) -> None:
    names = [name for scene in STORY for name in scene.events]
    files = dict(zip(names, _fixtures(names), strict=True))
    _store_clicks(config, url, files.values())
    seen: dict[str, str] = {}
    rows: list[tuple[str, str, str]] = []
    for scene in STORY:
        answers = post([files[name] for name in scene.events], config, url)
        _wait(lambda: _is_quiet(store), QUIET_SECONDS, lambda: str(store.deliveries.count()))
        credited = {each.id: _standing(each) for each in store.orders.newest()}
        changed = [f"{id}: {words}" for id, words in credited.items() if seen.get(id) != words]
        arrived = [
            f"{name} ({answer['answer']})"
            for name, answer in zip(scene.events, answers, strict=True)
        ]
        rows.append((scene.title, "\n".join(arrived), "\n".join(changed) or "nothing changes"))
        seen = credited
    console.rule("What arrived, and what it changed")
    print_table(["what happens", "webhooks (answer)", "the ledger"], rows, "")


def _fixtures(names: list[str]) -> list[FixtureFile]:
    known = providers.discover()
    return [collect([f"fixtures/providers/stripe/{name}"], known)[0] for name in names]


def _store_clicks(config: Config, url: str, files: Iterable[FixtureFile]) -> None:
    """Store, for every customer of the story, the clicks that a merchant's pages would have."""
    key = config.settings.api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value() if key else ''}"}
    for customer, sold_at in _customers(files).items():
        tail = customer[-6:]
        body = {
            "customer": {"stripe": customer},
            "clicks": {
                "taapit": f"tid{tail}",
                "codeqr": f"clk_{tail}",
                "trackdesk": {"cid": f"2c1f6f0e-0000-4000-8000-000000{tail.encode().hex()[:6]}"},
                "tapfiliate": f"click_{tail}",
            },
            "context": {
                "ip": "203.0.113.7",
                "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0",
                "url": "https://shop.example/?utm_source=newsletter",
            },
            "occurred_at": codec.iso(sold_at - timedelta(days=1)),
        }
        answer = requests.post(f"{url}/clicks", json=body, headers=headers, timeout=10)
        if answer.status_code != 201:
            raise BridgeError(f"the demo's clicks were refused: {answer.text}")


def _customers(files: Iterable[FixtureFile]) -> dict[str, datetime]:
    """Return the customers of the story, with the time of their first event."""
    first: dict[str, datetime] = {}
    for file in files:
        body = codec.loads(file.body)
        customer = body["data"]["object"].get("customer")
        at = datetime.fromtimestamp(body["created"], UTC)
        if customer:
            first[customer] = min(at, first.get(customer, at))
    return first


def _is_quiet(store: Store) -> bool:
    busy = {"due", "sending"}
    states = (state for counts in store.deliveries.count().values() for state in counts)
    return not store.events.received(1) and not busy.intersection(states)


def _standing(conversion: Conversion) -> str:
    return f"{conversion.status}, {conversion.value} credited"


# ── what a merchant sees ─────────────────────────────────────────────────────────────────────────


def _print_result(store: Store, vendors_url: str) -> None:
    console.rule("Who was credited, and what each vendor was told")
    rows: list[tuple[object, ...]] = []
    for conversion in reversed(store.orders.newest()):
        deliveries = store.deliveries.of_conversion(conversion.id)
        for at, row in enumerate(deliveries):
            order = (
                f"{conversion.id}\n{conversion.paid} paid\n{conversion.taken_back} taken back\n"
                f"{conversion.value} to credit"
                if at == 0
                else ""
            )
            rows.append((order, row.vendor, told_words(row.told), row.state, row.reason))
    print_table(["order", "vendor", "was told", "state", "why"], rows, "nothing was credited")
    held = requests.get(f"{vendors_url}/ledger", timeout=10).json()
    counts = ", ".join(f"{name} {len(each['sales'])}" for name, each in held.items())
    console.print(f"\nSales that the sandbox vendors hold: {counts}.")
    problems = [row for row in store.deliveries.newest() if _is_problem(row)]
    for row in problems:
        console.print(f"{styled(str(row.state))} {row.id}: {row.reason}")
    if problems:
        raise BridgeError("the demo did not end well")


def _is_problem(row: DeliveryRow) -> bool:
    return row.state not in {"settled", "skipped"}


def _stay(url: str, vendors_url: str, environment: Mapping[str, str]) -> None:
    console.print(f"\nThe bridge stays up at {url}, the vendors at {vendors_url} (Ctrl-C ends).")
    console.print("Look around with:")
    console.print(
        f"  export DATABASE_URL={environment['DATABASE_URL']}", markup=False, soft_wrap=True
    )
    console.print("  bridge conversions; bridge deliveries; bridge show ID")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print()
