"""The worker asks Paddle and Shopify for the sale behind a refund, and goes on from the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cases import case_of
from http_stand_in import HttpStandIn
from kit import Bench, bench
from paddle_stand_in import PaddleStandIn, paddle_stand_in
from shopify_stand_in import ShopifyStandIn, shopify_stand_in
from typing_in import printed

from bridge import config
from bridge.attribution import email_key
from bridge.cli.doctor import advice_on_settings
from bridge.config import Config
from bridge.intake import Intake
from bridge.model import Conversion, Status
from bridge.money import Money
from bridge.providers import discover
from bridge.store.rows import AskState, EventState
from bridge.worker import Worker

KEY = "made_up_key_for_tests_0123456789"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Hold a refund whose sale was lost, and how its provider is asked for it."""

    sale: str
    refund: str
    stand_in: Callable[[], AbstractContextManager[Any]]
    base: str
    keys: dict[str, str]

    def __str__(self) -> str:
        return self.sale.partition("/")[0]

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(case_of(self.sale).body, parse_float=str)
        return body

    @property
    def thing(self) -> dict[str, Any]:
        """Return the sale, as the provider's API is to know it."""
        thing: dict[str, Any] = self.body.get("data", self.body)
        return thing

    @property
    def expected(self) -> dict[str, Any]:
        """Return the payment that its webhook would have told of."""
        payments: list[dict[str, Any]] = case_of(self.sale).case["payments"]
        return payments[0]

    @property
    def order(self) -> str:
        """Return the order's id, by which the provider is asked for it."""
        id: str = self.expected["id"]
        return id

    @property
    def taken_back(self) -> Money:
        payments = case_of(self.refund).case["payments"]
        return Money(**payments[0]["amount"])


def shop_of(name: str) -> str:
    return case_of(name).request.headers["x-shopify-shop-domain"]


LOST = [
    Lost(
        sale="paddle/transaction.completed@before-sale",
        refund="paddle/adjustment.created@before-sale",
        stand_in=paddle_stand_in,
        base="PADDLE_API_BASE",
        keys={"PADDLE_API_KEY": KEY},
    ),
    Lost(
        sale="shopify/orders/paid@before-sale",
        refund="shopify/refunds/create@before-sale",
        stand_in=shopify_stand_in,
        base="SHOPIFY_API_BASE",
        keys={
            "SHOPIFY_ACCESS_TOKEN": KEY,
            "SHOPIFY_SHOP": shop_of("shopify/orders/paid@before-sale"),
        },
    ),
]


@pytest.fixture(params=LOST, ids=str)
def lost(request: pytest.FixtureRequest) -> Lost:
    found: Lost = request.param
    return found


@pytest.fixture
def stand_in(lost: Lost) -> Iterator[Any]:
    with lost.stand_in() as running:
        yield running


@pytest.fixture
def asking(
    lost: Lost, stand_in: HttpStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A bridge without vendors that may ask the stand-in."""
    settings = {lost.base: stand_in.url, **lost.keys}
    with bench(tmp_path / "bridge.db", monkeypatch, (), **settings) as running:
        yield running


@pytest.fixture
def silent(
    lost: Lost, stand_in: HttpStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A bridge without vendors and without a key."""
    settings = {lost.base: stand_in.url}
    with bench(tmp_path / "bridge.db", monkeypatch, (), **settings) as running:
        yield running


def only(running: Bench) -> Conversion:
    (conversion,) = running.store.orders.newest()
    return conversion


def is_found(running: Bench, lost: Lost) -> None:
    """Check that the sale was found, and the refund with it."""
    sale = only(running)
    assert sale.order == lost.order
    assert sale.paid == Money(**lost.expected["amount"])
    assert sale.taken_back == lost.taken_back
    assert sale.status is Status.APPROVED


def test_a_refund_finds_its_sale_by_asking(lost: Lost, stand_in: Any, asking: Bench) -> None:
    stand_in.know(lost.thing)

    asking.play(lost.refund)

    is_found(asking, lost)
    (row,) = [each for each in asking.store.events.newest() if each.event.fetched]
    assert row.event.id.startswith(f"fetched_{lost.thing['id']}_")
    assert row.state is EventState.PROCESSED
    (ask,) = asking.store.asks.about(lost.order)
    assert ask.state is AskState.ANSWERED


def test_the_webhook_that_comes_after_all_changes_nothing(
    lost: Lost, stand_in: Any, asking: Bench
) -> None:
    stand_in.know(lost.thing)
    asking.play(lost.refund)
    before = only(asking)

    asking.play(lost.sale, lost.refund)

    is_found(asking, lost)
    assert (only(asking).value, only(asking).occurred_at) == (before.value, before.occurred_at)


def test_what_is_not_known_yet_is_asked_again_later(
    lost: Lost, stand_in: Any, asking: Bench
) -> None:
    asking.play(lost.refund)
    assert only(asking).status is Status.PARKED
    stand_in.know(lost.thing)
    asking.worker.drain()
    assert len(stand_in.asked) == 1  # not before its time

    asking.clock.advance(hours=1)
    asking.worker.drain()

    is_found(asking, lost)


def test_without_a_key_it_stays_parked_and_doctor_names_the_setting(
    lost: Lost, stand_in: Any, silent: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.know(lost.thing)
    silent.play(lost.refund)
    assert only(silent).status is Status.PARKED
    assert stand_in.asked == []
    assert f"never arrived: set {' and '.join(lost.keys)} to ask" in printed("doctor")

    for name, value in lost.keys.items():
        monkeypatch.setenv(name, value)
    silent.worker.close()
    silent.worker = Worker(silent.store, config.load(), clock=silent.clock)
    silent.worker.take_up()
    assert "never arrived: it is being asked for" in printed("doctor")
    silent.worker.drain()

    is_found(silent, lost)


def test_a_wrong_key_is_told_and_is_nowhere_in_the_database(
    lost: Lost, stand_in: Any, asking: Bench, tmp_path: Path
) -> None:
    said = f"the key {KEY} is not allowed"
    stand_in.fault = (401, json.dumps({"errors": said, "error": {"detail": said}}).encode())

    asking.play(lost.refund)

    (ask,) = asking.store.asks.about(lost.order)
    assert ask.state is AskState.DUE
    assert f"check {next(iter(lost.keys))}" in ask.reason
    raw = b"".join(each.read_bytes() for each in tmp_path.glob("bridge.db*"))
    assert b"is not allowed" in raw
    assert KEY.encode() not in raw
    assert "is not allowed" in printed("doctor")


@pytest.mark.parametrize("lost", LOST[:1], ids=str, indirect=True)
def test_the_email_that_a_transaction_leaves_out_finds_the_click(
    lost: Lost, stand_in: PaddleStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = json.loads(case_of("paddle/customer.updated").body)["data"]
    stand_in.know(lost.thing, customer | {"id": lost.thing["customer_id"]})
    settings = {lost.base: stand_in.url, **lost.keys}
    with bench(tmp_path / "email.db", monkeypatch, ("codeqr",), **settings) as running:
        rules = Intake(running.store, running.config).rules
        running.click(email_key(customer["email"], rules.email_key))
        running.play(lost.refund)
        assert [each["order"] for each in running.sales("codeqr")] == [lost.thing["id"]]


@pytest.mark.parametrize("lost", LOST[1:], ids=str, indirect=True)
def test_another_shop_is_not_asked_and_doctor_says_so(
    lost: Lost,
    stand_in: ShopifyStandIn,
    silent: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent.play(lost.refund)
    monkeypatch.setenv("SHOPIFY_SHOP", "another.myshopify.com")
    monkeypatch.setenv("SHOPIFY_ACCESS_TOKEN", KEY)
    silent.worker.close()
    silent.worker = Worker(silent.store, config.load(), clock=silent.clock)
    silent.worker.take_up()
    silent.worker.drain()
    assert stand_in.asked == []
    (ask,) = silent.store.asks.about(lost.order)
    assert ask.state is AskState.GIVEN_UP
    assert "SHOPIFY_SHOP is another.myshopify.com" in printed("doctor")


# ── what doctor says where nobody can be asked ───────────────────────────────────────────────────


def test_doctor_has_a_classic_sale_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(tmp_path / "bridge.db", monkeypatch, ()) as running:
        running.play("paddle_classic/payment_refunded@before-sale")
        assert only(running).status is Status.PARKED
        told = printed("doctor")
    assert "never arrived: have its webhook sent again from Paddle Classic" in told


def test_doctor_names_every_way_to_configure_a_provider() -> None:
    (advice, *_) = advice_on_settings(Config(settings=config.BridgeSettings()))
    assert advice.startswith("no provider is configured: set ")
    for each in discover():
        assert f"{each.upper()}_" in advice
    assert " or STRIPE_WEBHOOK_SECRET" in advice
