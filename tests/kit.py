"""A bridge to test with: a real store on a temporary file, sandbox vendors over HTTP, a clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cases import case_of, required, unsigned
from conftest import REPOSITORY
from stores import database_at

from bridge import config
from bridge.config import Config
from bridge.http import Sender
from bridge.inbox import receive
from bridge.intake import Intake
from bridge.model import WebhookRequest
from bridge.providers import discover as discover_providers
from bridge.sandbox import RunningSandbox, discover, serve_sandbox
from bridge.sandbox.faults import Fault
from bridge.store import Store, open_store
from bridge.store.rows import Attempt, DeliveryRow, DeliveryState
from bridge.worker import Worker

STRIPE = REPOSITORY / "fixtures" / "providers" / "stripe"
API_KEY = "test-click-api-key"
Sent = tuple[str, WebhookRequest]  # a provider's name, and what it sends
VENDOR_SETTINGS = {
    "TAAPIT_API_KEY": "taapit_sk_test",
    "CODEQR_API_KEY": "codeqr-test-key",
    "TRACKDESK_TENANT_ID": "acme",
    "TRACKDESK_REVENUE_ORIGIN_ID": "4f8f3c1e-6f0b-4b57-9f5e-1d2c3b4a5f60",
    "TRACKDESK_API_KEY": "trackdesk-test-key",
    "TAPFILIATE_API_KEY": "tapfiliate-test-key",
    "TRACIFY_TOKEN": "tracify-test-token",
    "TRACIFY_CUSTOMER_SITE_ID": "7d9f1b52-3c64-4e0f-8a1b-2c3d4e5f6071",
    "TRACIFY_ORIGIN": "https://shop.example",
}
CLICKS = {
    "taapit": "tid_1",
    "codeqr": "clk_1",
    "trackdesk": "2c1f6f0e-5a0d-4b6e-9c55-0f6a4d1f2b3c",
    "tapfiliate": "click_1",
}
IDENTITY = {
    "email_hash": "5eb1e8cbb088facd05b90b15adeef011de2c9af43a80af7772c7ced8f8b65d0e",
    "ip_hash": "78b860bbd1b3dbeae0fc333d31d78a2431dd260dbde2ecdef86eecbb0314e45f",
}


def body_of(name: str) -> str:
    """Return the body of one of Stripe's fixtures."""
    return (STRIPE / name / "body.json").read_text("utf-8")


def thing_of(name: str) -> dict[str, Any]:
    """Return the object in one of Stripe's fixtures."""
    thing: dict[str, Any] = json.loads(body_of(name))["data"]["object"]
    return thing


def sent_as(name: str) -> Sent:
    """Return the provider of a fixture, and the request it makes."""
    provider = name.partition("/")[0]
    known = provider if provider in discover_providers() else "stripe"
    return known, case_of(name if known == provider else f"stripe/{name}").request


def settings_of(*names: str) -> dict[str, str]:
    """Return made-up settings that switch providers on, as environment variables."""
    return {
        f"{name}_{field}".upper(): value
        for name in names
        for field, value in required(name).items()
    }


@dataclass
class Clock:
    """Tell a time that only moves when it is told to."""

    now: datetime = field(default_factory=lambda: datetime(2026, 11, 21, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)

    def catch_up(self) -> None:
        """Go on to the time that commands tell, if it is later."""
        self.now = max(self.now, datetime.now(UTC))


@dataclass
class Bench:
    """Hold a bridge and its vendors."""

    config: Config
    store: Store
    vendors: RunningSandbox
    clock: Clock
    worker: Worker

    def click(self, customer: str, clicks: Mapping[str, object] | None = None) -> None:
        """Store clicks for a customer of Stripe's, as heard of now."""
        given = {**CLICKS, "tracify": IDENTITY} if clicks is None else clicks
        known = {name: each for name, each in given.items() if name in self.config.vendors}
        keys = [customer if ":" in customer else f"stripe:{customer}"]
        now = self.clock()
        Intake(self.store, self.config).add_clicks(keys, known, now, now, exact=False)

    def receive(
        self, *names: str, bodies: Iterable[str] = (), requests: Iterable[Sent] = ()
    ) -> None:
        """Take in fixtures, bodies of Stripe's, or requests; process them, deliver nothing yet.

        A fixture of Stripe's is named by its event, others by their provider, too:
        "paddle/transaction.completed".
        """
        sent = [*map(sent_as, names), *(("stripe", unsigned(body)) for body in bodies), *requests]
        for provider, request in sent:
            receive(self.store, self.config.providers[provider].read(request), self.clock())
        self.worker.process_events()

    def play(self, *names: str, bodies: Iterable[str] = (), requests: Iterable[Sent] = ()) -> None:
        """Take in fixtures, bodies or requests, and deliver what is due."""
        self.receive(*names, bodies=bodies, requests=requests)
        self.worker.drain()

    def delivery(self, vendor: str) -> DeliveryRow:
        """Return the only delivery to a vendor."""
        (row,) = [row for row in self.store.deliveries.newest() if row.vendor == vendor]
        return row

    def attempts(self, vendor: str) -> list[Attempt]:
        """Return the attempts at the only delivery to a vendor."""
        return self.store.deliveries.attempts(self.delivery(vendor).id)

    def sales(self, vendor: str) -> list[dict[str, Any]]:
        """Return the sales that a sandbox vendor holds."""
        sales: list[dict[str, Any]] = self.vendors.ledger.as_json()[vendor]["sales"]
        return sales

    def fault(self, vendor: str, *answers: dict[str, Any]) -> None:
        """Have a vendor answer its next calls badly."""
        self.vendors.faults.add(vendor, [Fault.model_validate(answer) for answer in answers])


@contextmanager
def bench(
    path: Path, patch: pytest.MonkeyPatch, vendors: Iterable[str] | None = None, **settings: str
) -> Iterator[Bench]:
    """Set up a bridge with sandbox vendors (all of them, or some), and take it down."""
    wanted = tuple(discover() if vendors is None else vendors)
    with serve_sandbox() as running:
        values = {
            "DATABASE_URL": database_at(path),
            "BRIDGE_API_KEY": API_KEY,
            **settings_of(*discover_providers()),
            **{f"{name}_BASE_URL".upper(): f"{running.url}/{name}" for name in wanted},
            **{
                name: value
                for name, value in VENDOR_SETTINGS.items()
                if name.partition("_")[0].lower() in wanted
            },
            **settings,
        }
        for name, value in values.items():
            patch.setenv(name, value)
        loaded = config.load()
        store = open_store(loaded.database_url)
        store.migrate()
        clock = Clock()
        worker = Worker(store, loaded, sender=Sender(read_seconds=0.5), clock=clock)
        try:
            yield Bench(loaded, store, running, clock, worker)
        finally:
            worker.close()
            store.close()


Make = Callable[..., Bench]
CUSTOMER = thing_of("invoice.paid")["customer"]
SALE = ("invoice_payment.paid", "invoice.paid")
EVERYTHING = body_of("refund.created").replace('"amount": 2000', '"amount": 5831')
REFUND = ("refund.created", "refund.updated", "charge.refunded")


@contextmanager
def benches(path: Path, patch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Give a function that sets up a bridge with some of the vendors; take all of them down."""
    with ExitStack() as made:

        def set_up(*vendors: str, **settings: str) -> Bench:
            return made.enter_context(bench(path, patch, vendors or None, **settings))

        yield set_up


def state(made: Bench, vendor: str) -> tuple[DeliveryState, str]:
    """Return how the only delivery to a vendor stands, and why."""
    row = made.delivery(vendor)
    return row.state, row.reason


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a function that sets up a bridge with some of the vendors."""
    with benches(tmp_path / "bridge.db", monkeypatch) as set_up:
        yield set_up
