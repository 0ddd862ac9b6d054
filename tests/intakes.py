"""An intake to test with: Stripe's fixtures go in; behind it a store on a file, and two vendors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cases import unsigned
from conftest import REPOSITORY
from stores import LATER, NOW, a_call, an_attempt, database_at, opened

from bridge import attribution, codec
from bridge.config import BridgeSettings, Config
from bridge.inbox import receive
from bridge.intake import Intake
from bridge.model import Conversion, Done, Event, Plan, Status, Told
from bridge.providers.stripe import Stripe, StripeSettings
from bridge.store import Store
from bridge.store.events import key_of
from bridge.store.rows import DeliveryRow, DeliveryState, EventRow, EventState
from bridge.vault import HASH_KEY, SEALED
from bridge.vendors.base import Capabilities, Vendor, VendorSettings

STRIPE = REPOSITORY / "fixtures" / "providers" / "stripe"
NAMES = sorted(folder.name for folder in STRIPE.iterdir())


class Acme(Vendor[VendorSettings]):
    """Be a vendor that has nothing to say: what it is told is the outbox's business."""

    name = "acme"
    title = "Acme"
    capabilities = Capabilities()
    settings_type = VendorSettings
    default_url = "https://api.acme.example"
    click_names = ("acme_click_id",)

    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        return Done()


class Zeta(Acme):
    """Be a second vendor."""

    name = "zeta"
    title = "Zeta"
    click_names = ("zeta_click_id",)


VENDORS = {"acme": Acme(VendorSettings()), "zeta": Zeta(VendorSettings())}


def config_of(**stripe: Any) -> Config:
    """Return settings with Stripe and both vendors switched on."""
    settings = StripeSettings(webhook_secret="whsec_made_up_for_tests", **stripe)
    return Config(
        settings=BridgeSettings(secret_key="made up for tests"),
        providers={"stripe": Stripe(settings)},
        vendors=VENDORS,
    )


def body_of(name: str) -> str:
    return (STRIPE / name / "body.json").read_text("utf-8")


def changed(name: str, id: str = "evt_changed", **fields: object) -> str:
    """Return the body of a fixture as another event, with fields of its object changed."""
    body = json.loads(body_of(name))
    body["id"] = id
    body["data"]["object"] |= fields
    return json.dumps(body)


def thing_of(name: str) -> dict[str, Any]:
    """Return the object in a fixture."""
    thing: dict[str, Any] = json.loads(body_of(name))["data"]["object"]
    return thing


@dataclass
class Desk:
    """Hold a store and its intake."""

    store: Store
    config: Config
    intake: Intake

    def read(self, body: str) -> Event:
        return self.config.providers["stripe"].read(unsigned(body))

    def take(
        self, *names: str, bodies: Iterable[str] = (), now: datetime = NOW
    ) -> list[EventState]:
        """Store fixtures and bodies, and process each; return what became of them."""
        events = [self.read(body) for body in (*map(body_of, names), *bodies)]
        for event in events:
            receive(self.store, event, now)
        return [self.intake.process(key_of(event), now) for event in events]

    def replay(self, *names: str) -> list[EventState]:
        """Process fixtures again that were stored before."""
        for name in names:
            self.store.events.mark(self.row(name).key, EventState.RECEIVED)
        return self.take(*names)

    def row(self, name: str) -> EventRow:
        row = self.store.events.get(key_of(self.read(body_of(name))))
        assert row is not None
        return row

    def with_settings(self, **stripe: Any) -> Desk:
        """Return the same desk after a start with other settings of Stripe's."""
        return desk_of(self.store, config_of(**stripe))

    def click(
        self, *keys: str, at: datetime = NOW, exact: bool = True, acme: object = "click_1"
    ) -> None:
        """Store a click of a customer's, or only that these keys are one customer's."""
        self.intake.add_clicks(keys, {"acme": acme} if acme else {}, at, NOW, exact=exact)

    def email(self, address: str) -> str:
        return attribution.email_key(address, self.intake.rules.email_key)

    # ── what there is ──

    def conversion(self, order: str) -> Conversion:
        found = self.store.orders.conversion(f"stripe:{order}")
        assert found is not None
        return found

    def written(self) -> dict[str, str]:
        """Return every conversion as it is written."""
        return {each.id: codec.dump(each) for each in self.store.orders.newest(limit=10_000)}

    def ids(self) -> set[str]:
        return {each.id for each in self.store.orders.newest(limit=10_000)}

    def delivery(self, order: str, vendor: str = "acme") -> DeliveryRow:
        row = self.store.deliveries.get(f"stripe:{order}@{vendor}")
        assert row is not None
        return row

    def states(self) -> Mapping[str, str]:
        """Return the state of every delivery at Acme, by its order."""
        rows = self.store.deliveries.newest(limit=10_000)
        return {
            row.conversion.removeprefix("stripe:"): str(row.state)
            for row in rows
            if row.vendor == "acme"
        }

    # ── what workers do ──

    def lease(self, order: str, vendor: str = "acme") -> DeliveryRow:
        """Lease what is due at a vendor; return one delivery of it."""
        rows = self.store.deliveries.lease(vendor, LATER, LATER, "worker", 1000)
        return next(row for row in rows if row.conversion == f"stripe:{order}")

    def tell(self, order: str, vendor: str = "acme", status: Status = Status.APPROVED) -> Told:
        """Let a vendor accept a conversion as it stands, and be settled."""
        row = self.lease(order, vendor)
        told = Told(steps=("sale",), amount=self.conversion(order).value, status=status)
        self.store.deliveries.start(row, a_call(order), LATER)
        self.store.deliveries.record(an_attempt(row.id, "accepted"))
        self.store.deliveries.tell(row, told, NOW)
        self.store.deliveries.release(replace(row, told=told), DeliveryState.SETTLED, NOW)
        return told

    def settle(self) -> None:
        """Let every delivery be settled."""
        for vendor in self.config.vendors:
            for row in self.store.deliveries.lease(vendor, LATER, LATER, "worker", 10_000):
                self.store.deliveries.release(row, DeliveryState.SETTLED, NOW)


def desk_of(store: Store, config: Config, askable: Iterable[str] = ()) -> Desk:
    if not store.facts.get(SEALED):  # all databases alike, so that they can be compared
        store.facts.put(HASH_KEY, "made up for all tests")
    return Desk(store, config, Intake(store, config, askable))


@contextmanager
def desk(folder: Path, *, askable: Iterable[str] = (), **stripe: Any) -> Iterator[Desk]:
    """Set up a desk with a store in a folder."""
    with opened(database_at(folder / "bridge.db")) as store:
        yield desk_of(store, config_of(**stripe), askable)
