"""E-mail addresses: found by a keyed hash, told where the merchant says so, on no record."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog
from kit import CLICKS, CUSTOMER, SALE, Bench, Make, body_of
from merchant import SOON, post, sign_up, told, visit
from redactions import EMAIL, on_disk, written
from test_logs import configured
from typing_in import printed

from bridge import config
from bridge.config import Config
from bridge.errors import ConfigError
from bridge.store import Store
from bridge.store.rows import DeliveryState
from bridge.vault import Vault

OLD, NEW = "an old secret", "a new secret"
SENDERS = {"taapit": "TAAPIT_SEND_EMAIL", "codeqr": "CODEQR_SEND_EMAIL"}
sending = pytest.mark.parametrize("vendor", SENDERS)
PERSON = {EMAIL, EMAIL.upper(), EMAIL.replace("@", "%40"), "jana", "JANA"}


# ── addresses that are told ──────────────────────────────────────────────────────────────────────


def telling(make: Make, *vendors: str, secret: str = OLD, **settings: str) -> Bench:
    """Set up a bridge that tells vendors of e-mail addresses."""
    on = {SENDERS[name]: "1" for name in vendors}
    return make(*vendors, BRIDGE_SECRET_KEY=secret, **on, **settings)


def addresses(made: Bench, vendor: str) -> list[object]:
    """Return the address in every call that a vendor saw, or None where there was none."""
    return [
        body["customer"].get("email") if vendor == "taapit" else body.get("customerEmail")
        for body in told(made, vendor)
    ]


@sending
def test_leads_and_sales_carry_the_address(make: Make, vendor: str) -> None:
    made = telling(make, vendor)
    sign_up(made, customer={"stripe": CUSTOMER, "email": "Jana.Muster@Example.com"})
    made.play(*SALE)
    assert addresses(made, vendor) == ["Jana.Muster@Example.com", EMAIL]
    assert made.vendors.ledger.as_json()[vendor]["refused"] == 0


@sending
@pytest.mark.parametrize("source", ["payment", "click", "lead", "alias"])
def test_wherever_the_address_was_heard_of(make: Make, vendor: str, source: str) -> None:
    made = telling(make, vendor)
    nameless = json.loads(body_of("invoice.paid"))
    nameless["data"]["object"]["customer_email"] = None
    who = {"stripe": CUSTOMER, **({} if source in {"payment", "alias"} else {"email": EMAIL})}
    if source == "alias":
        made.play("customer.created")
    click = {"customer": who, "clicks": {vendor: CLICKS[vendor]}, "occurred_at": SOON}
    post(made, "/leads" if source == "lead" else "/clicks", click)
    body = body_of("invoice.paid") if source == "payment" else json.dumps(nameless)
    made.play(bodies=[body])
    assert addresses(made, vendor)[-1] == EMAIL


@sending
def test_nobody_is_told_an_address_unasked(make: Make, vendor: str) -> None:
    other = next(name for name in SENDERS if name != vendor)
    made = make(vendor, other, **{SENDERS[other]: "1", "BRIDGE_SECRET_KEY": OLD})
    sign_up(made, customer={"stripe": CUSTOMER, "email": EMAIL})
    made.play(*SALE)
    assert addresses(made, vendor) == [None, None]
    assert addresses(made, other) == [EMAIL, EMAIL]
    off = make(vendor, BRIDGE_SECRET_KEY=OLD, **{SENDERS[other]: "0"})
    assert EMAIL not in json.dumps(off.vendors.ledger.as_json())


def test_no_address_is_kept_where_nobody_is_told_it(make: Make) -> None:
    made = make(BRIDGE_SECRET_KEY=OLD)
    sign_up(made, customer={"stripe": CUSTOMER, "email": EMAIL})
    made.play(*SALE)
    assert made.store.addresses.all() == {}


@sending
def test_sending_addresses_needs_a_key(monkeypatch: pytest.MonkeyPatch, vendor: str) -> None:
    monkeypatch.setenv(f"{vendor.upper()}_API_KEY", "a-key")
    monkeypatch.setenv(SENDERS[vendor], "1")
    with pytest.raises(ConfigError, match=f"{SENDERS[vendor]}.*BRIDGE_SECRET_KEY"):
        config.load()


# ── kept nowhere ─────────────────────────────────────────────────────────────────────────────────

SAYINGS = [
    json.dumps({"ok": False, "error": f"no customer {EMAIL} in {EMAIL.upper()}"}),
    json.dumps({"error": EMAIL}).replace("@", "\\u0040"),
    f"<p>mailto:{EMAIL.replace('@', '%40')}</p>",
]


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@sending
@pytest.mark.parametrize("said", SAYINGS)
@pytest.mark.parametrize("status", [200, 422, 503])
@pytest.mark.usefixtures("_logging_as_before")
def test_the_address_is_on_no_record(
    make: Make, monkeypatch: pytest.MonkeyPatch, vendor: str, said: str, status: int
) -> None:
    """Whatever a vendor answers: it may repeat what it was told."""
    made = telling(make, vendor)
    output = configured(monkeypatch)
    made.fault(vendor, {"status": status, "body": said})
    sign_up(made, customer={"external_id": "user_1", "email": EMAIL})
    assert addresses(made, vendor) == [EMAIL]
    row = made.delivery(vendor)
    assert row.state in {DeliveryState.DEAD, DeliveryState.DUE, DeliveryState.UNKNOWN}
    (attempt,) = made.attempts(vendor)
    assert "***" in attempt.answer
    kept = f"{attempt} {row} {output.getvalue()} {printed('show', row.id)}"
    assert [name for name in PERSON if name in kept] == []
    assert written(made, *PERSON) == set()
    assert vendor in output.getvalue()


@sending
def test_a_call_in_flight_is_written_down_without_it(make: Make, vendor: str) -> None:
    made = telling(make, vendor)
    made.fault(vendor, {"commit_then_reset": True})
    sign_up(made, customer={"external_id": "user_1", "email": EMAIL})
    row = made.delivery(vendor)
    assert row.in_flight is not None
    assert row.in_flight.address
    assert written(made, *PERSON) == set()


def test_a_dry_run_needs_no_address(make: Make) -> None:
    made = telling(make, *SENDERS, BRIDGE_DRY_RUN="1")
    sign_up(made, customer={"external_id": "user_1", "email": EMAIL})
    (lead,) = made.store.orders.newest()
    assert EMAIL not in printed("explain", lead.id)
    assert written(made, *PERSON) == set()


# ── for how long ─────────────────────────────────────────────────────────────────────────────────


def signed_up(make: Make, **settings: str) -> Bench:
    made = telling(make, "taapit", **settings)
    post(made, "/clicks", {"customer": {"stripe": CUSTOMER, "email": EMAIL}})
    return made


def test_addresses_are_dropped_by_retention(make: Make) -> None:
    made = signed_up(make, BRIDGE_RETENTION_DAYS="30")
    token = next(iter(made.store.addresses.all().values()))
    made.clock.advance(days=29)
    made.worker.tidy()
    assert made.store.addresses.all()
    made.clock.advance(days=2)
    made.worker.tidy()
    assert made.store.addresses.all() == {}
    made.worker.drain()
    assert written(made, token) == set()


def test_an_address_that_is_seen_again_stays(make: Make) -> None:
    made = signed_up(make, BRIDGE_RETENTION_DAYS="30")
    made.clock.advance(days=29)
    made.play("invoice.paid")
    made.clock.advance(days=29)
    made.worker.tidy()
    assert len(made.store.addresses.all()) == 1


def test_addresses_are_dropped_by_a_redaction(make: Make) -> None:
    made = signed_up(make)
    (token,) = made.store.addresses.all().values()
    assert written(made, token)
    printed("redact", CUSTOMER, "--yes")
    assert made.store.addresses.all() == {}
    assert written(made, token) == set()
    assert on_disk(made) == set()


def test_what_comes_of_a_redacted_order_later_keeps_no_address(make: Make) -> None:
    made = signed_up(make)
    made.play(*SALE)
    printed("redact", CUSTOMER, "--yes")
    made.play("invoice.payment_succeeded", "charge.succeeded")
    assert made.store.addresses.all() == {}


def test_addresses_are_encrypted_anew_under_a_new_key(make: Make) -> None:
    old = signed_up(make)
    before = old.store.addresses.all()
    both = telling(make, "taapit", secret=f"{NEW},{OLD}")
    both.worker.tidy()
    after = both.store.addresses.all()
    assert after.keys() == before.keys()
    assert set(after.values()).isdisjoint(before.values())
    both.worker.tidy()
    assert both.store.addresses.all() == after
    new = telling(make, "taapit", secret=NEW)
    assert Vault(new.store, new.config).address(after) == EMAIL


def test_an_address_under_a_lost_key_is_as_good_as_dropped(make: Make) -> None:
    signed_up(make)
    Vault(*_opened(make, f"{NEW},{OLD}"))  # the hashes go over, but nobody encrypts anew
    made = telling(make, "taapit", secret=NEW)
    assert Vault(made.store, made.config).address(made.store.addresses.all()) == ""
    made.worker.tidy()
    visit(made, customer={"stripe": CUSTOMER}, clicks={"taapit": "tid_1"}, occurred_at=SOON)
    made.play(*SALE)
    assert len(made.sales("taapit")) == 1


def _opened(make: Make, secret: str) -> tuple[Store, Config]:
    made = telling(make, "taapit", secret=secret)
    return made.store, made.config


# ── what a vendor does not take ──────────────────────────────────────────────────────────────────

UNFIT = {
    "long": "a" * 92 + "@shop.com",
    "of a machine": "jana@localhost",
    "quoted": '"jana..muster"@example.com',
    "with two dots": "jana..muster@example.com",
    "of two names": "jana@muster@example.com",
    "in other letters": "jäna@exämple.com",
}


@pytest.mark.parametrize("address", UNFIT.values(), ids=UNFIT)
def test_codeqr_is_told_without_an_address_that_it_would_refuse(make: Make, address: str) -> None:
    made = telling(make, *SENDERS)
    sign_up(made, customer={"external_id": "user_1", "email": address})
    assert made.delivery("codeqr").state is DeliveryState.SETTLED
    assert addresses(made, "codeqr") == [None]
    assert addresses(made, "taapit") == [address]


@pytest.mark.parametrize(
    "address", ["a" * 91 + "@shop.com", "o'neill+x@mail.example.co.uk", "a.b-c_d@x-y.example.com"]
)
def test_codeqr_is_told_what_fits(make: Make, address: str) -> None:
    made = telling(make, "codeqr")
    sign_up(made, customer={"external_id": "user_1", "email": address})
    assert addresses(made, "codeqr") == [address]
    assert made.vendors.ledger.as_json()["codeqr"]["refused"] == 0
