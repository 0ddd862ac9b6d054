"""Events that our code cannot process: kept, shown with why, replayed once mended; others go on."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from acme_provider import AcmePay, AcmePaySettings
from cases import unsigned
from kit import API_KEY, bench
from logged import logged
from running import until
from stores import NOW, a_conversion, a_payment, an_event, opened
from typing_in import bridge, listed, printed

from bridge import __version__
from bridge.config import BridgeSettings, Config
from bridge.inbox import receive
from bridge.intake import Intake
from bridge.model import Event, Payment, PaymentKind, Status
from bridge.money import Money
from bridge.outbox import utc_now
from bridge.processor import Processor
from bridge.store import Store
from bridge.store.events import key_of
from bridge.store.rows import EventState
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app
from bridge.worker import Worker

SECRET = "acme_secret_made_up_for_tests"
PERSON = "jane.doe@example.com"
SALE = {
    "id": "ev_1",
    "type": "paid",
    "at": "2026-11-20T12:00:00Z",
    "order": "o_1",
    "customer": "c_1",
    "amount": "49.00",
    "currency": "EUR",
    "email": PERSON,
    "note": "Jane's “gift”: 'call her'",
}
REFUND = SALE | {"id": "ev_2", "type": "refunded", "at": "2026-11-21T12:00:00Z", "amount": "9.00"}


def sinks(depth: int = 0) -> int:
    return sinks(depth + 1)


def quotes(data: dict[str, Any]) -> None:
    try:
        int(data["email"])
    except ValueError:
        raise LookupError(f"no {data['email']!r} here") from None


def raises(error: Exception) -> None:
    raise error


FAILURES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a field that is missing": lambda data: data["gross_total"],
    "a value of another type": lambda data: data["order"] + 1,
    "a value that cannot be read": lambda data: raises(
        ValueError(f"cannot read {data['email']!r} of {data['note']!r}, nor {PERSON}")
    ),
    "a mistake that quotes a secret": lambda _: raises(RuntimeError(f"it was made with {SECRET}")),
    "money deep inside": lambda _: Money.parse("1.234", "EUR"),
    "a function without an end": lambda _: sinks(),
    "nothing at all": lambda _: raises(AssertionError()),
    "words about half a character": lambda _: raises(KeyError("\ud800")),
    "many words": lambda _: raises(ValueError("far too much to say " * 1_000)),
    "an error behind another": quotes,
    "what no table takes": lambda _: [replace(a_payment("o_9"), id=None)],  # type: ignore[arg-type]
    "what no column takes": lambda _: [a_payment("\ud800")],
}


REASONS = {
    "a field that is missing": "KeyError: 'gross_total'",
    "a value of another type": "TypeError: can only concatenate str",
    "a value that cannot be read": "ValueError: cannot read '…' of",
    "a mistake that quotes a secret": "RuntimeError: it was made with ***",
    "money deep inside": "1.234 has more decimals than EUR allows",
    "a function without an end": "RecursionError: maximum recursion depth exceeded",
    "what no table takes": "IntegrityError: NOT NULL constraint failed: payments.id",
    "what no column takes": "UnicodeEncodeError: '…' codec can't encode character '…' in position",
    "nothing at all": "AssertionError",
    "words about half a character": "KeyError: '…'",
    "many words": "ValueError: far too much to say",
    "an error behind another": "LookupError: no '…' here",
}


class Old(AcmePay):
    """Be the provider as it was before the upgrade."""

    def normalise(self, event: Event) -> list[Payment]:
        """Fail on what has `fail`."""
        data = json.loads(event.body)
        if kind := data.get("fail"):
            return cast(list[Payment], FAILURES[kind](data))
        return super().normalise(event)


@dataclass
class Desk:
    """Hold a bridge with one provider."""

    store: Store
    folder: Path
    kind: type[AcmePay] = Old

    @property
    def config(self) -> Config:
        provider = self.kind(AcmePaySettings(webhook_secret=SECRET))
        settings = BridgeSettings(api_key=API_KEY)
        return Config(settings=settings, providers={"acmepay": provider})

    def take(self, *bodies: dict[str, Any]) -> list[EventState]:
        """Store events and process them; return what became of each."""
        events = [self.config.providers["acmepay"].read(unsigned(json.dumps(b))) for b in bodies]
        for event in events:
            receive(self.store, event, NOW)
        self.work()
        rows = (self.store.events.find(event.id) for event in events)
        return [row.state for (row,) in rows]

    def work(self) -> None:
        worker = Worker(self.store, self.config)
        worker.drain()
        worker.close()

    def standing(self, order: str = "o_1") -> tuple[str, str]:
        conversion = self.store.orders.conversion(f"acmepay:{order}")
        return (str(conversion.value), conversion.status) if conversion else ("", "")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    url = f"sqlite:///{tmp_path / 'bridge.db'}"
    monkeypatch.setenv("DATABASE_URL", url)
    with opened(url) as store:
        yield Desk(store, tmp_path)


# ── one event ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", REASONS)
def test_poison_is_kept_with_words_to_act_on_and_the_next_goes_through(
    desk: Desk, kind: str
) -> None:
    poison = SALE | {"id": "ev_p", "order": "o_9", "fail": kind}
    with logged([SECRET]) as log:
        states = desk.take(SALE, poison, REFUND)

    assert states == [EventState.PROCESSED, EventState.FAILED, EventState.PROCESSED]
    assert desk.standing() == ("40.00 EUR", "approved")
    (row,) = desk.store.events.newest(EventState.FAILED)
    assert row.reason.startswith(REASONS[kind])
    assert f"(bridge {__version__}; once mended: `bridge replay ev_p`)" in row.reason
    assert len(row.reason) < 400
    assert json.loads(row.event.body) == poison
    said = row.reason + log.getvalue() + printed("events") + printed("show", "ev_p")
    for each in (PERSON, "Jane", "gift", SECRET, "o_9"):
        assert each not in said
    if kind != "money deep inside":  # an error of our own says all there is
        assert "Traceback (most recent call last)" in log.getvalue()


class Listing(AcmePay):
    """Be a provider whose ids are no texts, by mistake."""

    def normalise(self, event: Event) -> list[Payment]:
        """Make a list of the id of what is poison."""
        (payment,) = super().normalise(event)
        poison = event.id == "ev_p"
        return [replace(payment, id=[payment.id]) if poison else payment]  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_what_a_database_cannot_be_asked_is_no_fault_of_the_database(desk: Desk) -> None:
    desk.kind = Listing
    poison = SALE | {"id": "ev_p", "order": "o_9"}
    assert desk.take(poison, SALE) == [EventState.FAILED, EventState.PROCESSED]
    (row,) = desk.store.events.newest(EventState.FAILED)
    assert row.reason.startswith("ProgrammingError: Error binding parameter")


def test_poison_is_shown_wherever_one_looks(desk: Desk) -> None:
    desk.take(SALE | {"fail": "a field that is missing"})
    (row,) = listed("events", "--state", "failed")
    assert (row["id"], row["state"]) == ("ev_1", "failed")
    assert "KeyError: 'gross_total'" in row["reason"]
    assert "gross_total" in printed("events", "--state", "failed")
    assert "gross_total" in printed("show", "ev_1")
    assert "1 event could not be processed: `bridge events --state failed`" in printed("doctor")


@pytest.mark.parametrize("which", [("ev_2",), ("acmepay:ev_2",), ("--state", "failed")])
def test_after_an_upgrade_poison_is_replayed_and_the_order_is_right(
    desk: Desk, which: tuple[str, ...]
) -> None:
    # The refund is poison, and money goes back once more after it.
    last = REFUND | {"id": "ev_3", "at": "2026-11-22T12:00:00Z", "amount": "1.00"}
    desk.take(SALE, REFUND | {"fail": "a field that is missing"}, last)
    assert desk.standing() == ("48.00 EUR", "approved")
    printed("replay", *which)
    desk.work()
    assert desk.store.events.count() == {"processed": 2, "failed": 1}  # not mended as yet

    desk.kind = AcmePay
    desk.work()
    assert desk.store.events.count() == {"processed": 2, "failed": 1}  # nobody asked for it
    assert printed("replay", *which) == "1 event will be processed again\n"
    desk.work()

    assert desk.store.events.count() == {"processed": 3}
    assert [row.reason for row in desk.store.events.newest()] == ["", "", ""]
    assert desk.standing() == ("39.00 EUR", "approved")
    assert bridge("replay", "--state", "failed").output == "0 events will be processed again\n"


def test_a_thousand_poisoned_events_hold_up_nobody(desk: Desk) -> None:
    poison = [SALE | {"id": f"ev_{n}", "fail": "nothing at all"} for n in range(1_000, 1_150)]
    assert desk.take(*poison, SALE)[-1] is EventState.PROCESSED
    assert desk.store.events.count() == {"failed": 150, "processed": 1}


# ── one order ────────────────────────────────────────────────────────────────────────────────────

DOLLARS = REFUND | {"currency": "USD"}


def break_order(store: Store, order: str, key: str = "acmepay:c_1") -> None:
    """Store what cannot be worked out, as a version that could may have left it."""
    events = [an_event(f"ev_{order}_{n}", provider="acmepay", type="paid") for n in (1, 2)]
    for event, currency in zip(events, ("EUR", "USD"), strict=True):
        money = Money(4900, currency)
        told = a_payment(order, provider="acmepay", amount=money, net=money, keys=(key,))
        kind = PaymentKind.SALE if currency == "EUR" else PaymentKind.REFUND
        store.events.add(event, NOW)
        store.orders.add(f"acmepay:{event.id}", [replace(told, kind=kind, id=event.id)])
        store.events.mark(f"acmepay:{event.id}", EventState.PROCESSED)
    conversion = a_conversion(order, id=f"acmepay:{order}", provider="acmepay", keys=(key,))
    store.orders.put(conversion, NOW)


def test_an_event_that_spoils_its_order_leaves_it_as_it_was(desk: Desk) -> None:
    assert desk.take(SALE, DOLLARS) == [EventState.PROCESSED, EventState.FAILED]
    assert desk.standing() == ("49.00 EUR", "approved")
    assert desk.take(REFUND | {"id": "ev_3"}) == [EventState.PROCESSED]
    assert desk.standing() == ("40.00 EUR", "approved")


def test_a_broken_order_holds_up_no_other_of_its_customer(desk: Desk) -> None:
    break_order(desk.store, "o_8")
    before = desk.standing("o_8")
    with logged() as log:
        # A new id of the same customer: all the customer's orders are looked at again.
        desk.kind = Known
        assert desk.take(SALE) == [EventState.PROCESSED]
    assert desk.standing() == ("49.00 EUR", "approved")
    assert desk.standing("o_8") == before
    assert "order failed" in log.getvalue()
    (row,) = desk.store.events.newest(EventState.FAILED)
    assert row.key == "acmepay:ev_o_8_2"
    assert row.reason.startswith("its order cannot be worked out: ")
    assert "`bridge replay ev_o_8_2`" in row.reason


def test_a_click_is_taken_though_an_order_of_its_customer_is_broken(desk: Desk) -> None:
    break_order(desk.store, "o_8", "external_id:user_1")
    client = create_app(desk.config, desk.store).test_client()
    headers = {"Authorization": f"Bearer {API_KEY}"}
    # Joined with a customer who has bought: that is what makes the bridge look at the orders.
    Intake(desk.store, desk.config).add_clicks(["external_id:user_1"], {}, NOW, NOW, exact=True)
    body = {"customer": {"external_id": "user_1", "anonymous_id": "b_1"}}
    for path in ("/clicks", "/leads"):
        assert client.post(path, json=body, headers=headers).status_code == 201
    desk.work()
    assert "anonymous:b_1" in desk.store.customers.aliases(["external_id:user_1"])
    assert desk.store.events.count()["failed"] == 1


class Known(Old):
    """Be a provider whose events say another id of the customer, too."""

    def normalise(self, event: Event) -> list[Payment]:
        """Add the id."""
        found = super().normalise(event)
        return [replace(each, keys=(f"acmepay:{each.customer}", "external_id:u")) for each in found]


def test_the_worker_starts_though_a_parked_order_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"STRIPE_API_KEY": "sk_made_up_for_tests", "STRIPE_API_BASE": "http://127.0.0.1:9"}
    with bench(tmp_path / "bridge.db", monkeypatch, (), **keys) as made:
        break_order(made.store, "o_8")
        parked = a_conversion("o_8", provider="acmepay", status=Status.PARKED, id="acmepay:o_8")
        made.store.orders.put(replace(parked, provider="stripe"), NOW)
        with logged() as log:
            made.worker.take_up()
        assert "order failed" in log.getvalue()


# ── the store ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("started", [True, False], ids=["at work", "at its start"])
def test_a_store_that_is_busy_for_longer_than_anybody_waits_is_no_fault_of_an_event(
    desk: Desk, tmp_path: Path, *, started: bool
) -> None:
    path = str(tmp_path / "bridge.db")
    impatient = SqliteStore(path, patience=0.05)
    processor = Processor(impatient, desk.config, clock=utc_now)
    processing = threading.Thread(target=processor.run)
    blocker = sqlite3.connect(path, isolation_level=None, timeout=30)
    event = desk.config.providers["acmepay"].read(unsigned(json.dumps(SALE)))
    desk.store.events.add(event, NOW)
    desk.store.events.mark(key_of(event), EventState.PROCESSED)
    with logged() as log:
        if started:
            processing.start()
            until(lambda: "processing" in log.getvalue(), "the processor to begin")
        blocker.execute("UPDATE events SET state = 'received'")  # which wakes nobody
        blocker.execute("BEGIN IMMEDIATE")
        desk.store.ring()
        if not started:
            processing.start()
        until(lambda: "store failed" in log.getvalue(), "a failure of the store")
        assert desk.store.events.count() == {"received": 1}
        blocker.execute("COMMIT")
        until(lambda: desk.store.events.count() == {"processed": 1}, "the event to be processed")
        processor.stop()
        processing.join()
    blocker.close()
    impatient.close()
