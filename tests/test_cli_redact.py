"""redact, and show as the export of all that is stored of a person, as typed."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import case_of
from kit import Bench, bench, sent_as
from redactions import EMAIL, SHOPIFY_CUSTOMER, written
from running import BRIDGE, environment
from typing_in import CUSTOMER, ORDER, SALE, complaint, listed, printed, sell

from bridge.inbox import receive


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench(tmp_path / "bridge.db", monkeypatch) as made:
        yield made


@pytest.fixture
def sold(shop: Bench) -> Bench:
    return sell(shop)


# ── redact ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("id", [EMAIL, EMAIL.upper(), "user_1001", CUSTOMER, f"stripe:{CUSTOMER}"])
def test_a_customer_is_removed_by_any_id(sold: Bench, id: str) -> None:
    said = printed("redact", id, "--yes")
    assert said.startswith("removed: 3 ids, ")
    assert said.endswith("the content of 3 events, the customer of 1 order (the amounts stay)\n")
    assert written(sold, EMAIL, "Jana", CUSTOMER, "user_1001") == set()
    (row,) = listed("conversions")
    assert (row["id"], row["customer"], row["clicks"]) == (SALE, ORDER, {})
    assert (row["paid"]["minor"], row["taken_back"]["minor"]) == (5831, 2000)
    assert {each["state"] for each in listed("deliveries")} == {"due"}
    assert repr(id) in complaint(1, "redact", id)


def test_a_stranger_is_an_error(sold: Bench) -> None:
    for id in ("nobody@example.com", "cus_nobody", "", "@", ORDER, SALE):
        assert repr(id) in complaint(1, "redact", id)
    assert written(sold, EMAIL) == {EMAIL}


def test_an_id_of_several_customers_is_asked_back_about(shop: Bench) -> None:
    for key in ("stripe:12345", "external_id:12345"):
        with shop.store.atomic():
            shop.store.customers.join([key, f"email:{key}"])
    said = complaint(2, "redact", "12345", "--yes")
    assert "stripe:12345" in said
    assert "external_id:12345" in said
    assert printed("redact", "stripe:12345", "--yes").startswith("removed: 2 ids")


@pytest.mark.parametrize(
    ("name", "email"),
    [
        ("paddle_classic/payment_dispute_created@lost", "lou@example.com"),
        ("paddle_classic/payment_refunded@before-sale", "per@example.com"),
    ],
)
def test_somebody_of_whom_only_a_parked_refund_tells(shop: Bench, name: str, email: str) -> None:
    shop.play(name)
    assert written(shop, email.replace("@", "%40"))
    assert printed("redact", email, "--yes").startswith("removed: ")
    assert written(shop, email.replace("@", "%40")) == set()
    assert repr(email) in complaint(1, "redact", email)


def test_it_does_not_ask_where_nobody_can_answer(sold: Bench) -> None:
    assert printed("redact", CUSTOMER).startswith("removed: ")


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_it_asks_on_a_terminal(sold: Bench, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    asked = subprocess.run(
        [*BRIDGE, "redact", CUSTOMER],
        env=environment({}),
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )
    os.close(ours)
    os.close(theirs)
    assert asked.returncode == code, asked.stderr
    said = " ".join((asked.stdout + asked.stderr).split())
    for words in ("the customer of 1 order (the amounts stay)", "3 events", "clicks and 3 ids"):
        assert words in said
    assert bool(written(sold, EMAIL)) is (answer == "n")


def test_what_has_arrived_is_understood_first(shop: Bench) -> None:
    for name in ("customer.created", "invoice.paid", "invoice.paid@renewal"):
        provider, request = sent_as(name)
        receive(shop.store, shop.config.providers[provider].read(request), shop.clock())
    assert "the customer of 2 orders" in printed("redact", EMAIL)
    assert written(shop, EMAIL, "Jana", CUSTOMER) == set()
    assert {row["state"] for row in listed("events")} == {"processed"}


@pytest.mark.parametrize("arguments", [("redact", EMAIL), ("clicks", "import", "clicks.csv")])
def test_a_shell_without_the_settings_of_the_worker_decides_nothing(
    shop: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """Processed without a vendor's settings, a sale would never be told to that vendor."""
    monkeypatch.chdir(tmp_path)
    Path("clicks.csv").write_text("external_id,codeqr\nuser_1001,clk_1\n")
    shop.worker.take_up()
    provider, request = sent_as("invoice.paid")
    receive(shop.store, shop.config.providers[provider].read(request), shop.clock())
    for name in [each for each in os.environ if each.startswith(("TAAPIT_", "SHOPIFY_"))]:
        monkeypatch.delenv(name)
    said = complaint(1, *arguments)
    assert "the bridge works for shopify, taapit, whose settings are missing here" in said
    assert [row["state"] for row in listed("events")] == ["received"]


def test_while_the_database_is_read_the_rest_is_left_to_the_worker(sold: Bench) -> None:
    path = sold.config.database_url.removeprefix("sqlite:///")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchall()
    assert "overwritten on the disk by the worker" in printed("redact", EMAIL)
    assert written(sold, EMAIL) == {EMAIL}
    reader.close()
    sold.worker.step()
    assert written(sold, EMAIL) == set()


# ── show, as the export ──────────────────────────────────────────────────────────────────────────


def test_the_export_is_all_that_is_stored_of_a_person(shop: Bench) -> None:
    shop.click(f"shopify:{SHOPIFY_CUSTOMER}")
    names = ("customers/create", "orders/paid", "refunds/create", "customers/data_request")
    shop.play(*(f"shopify/{name}" for name in names))
    request = shop.config.providers["shopify"].read(case_of(f"shopify/{names[-1]}").request)
    order, person = listed("show", request.id)
    assert listed("show", SHOPIFY_CUSTOMER) == listed("show", EMAIL) == [order, person]
    assert [row["type"] for row in order["events"]] == ["orders/paid", "refunds/create"]
    assert [row["type"] for row in person["events"]] == ["customers/create", names[-1]]
    for row in (*order["events"], *person["events"]):
        assert row["body"] == json.loads(case_of(f"shopify/{row['type']}").body)
    assert {row["vendor"] for row in order["deliveries"]} == set(shop.config.vendors)
    for story in (order, person):
        assert f"shopify:{SHOPIFY_CUSTOMER}" in story["customer"]
        assert {each["vendor"] for each in story["clicks"]} == set(shop.config.vendors)
    assert {each["customer"] for each in order["payments"]} >= {SHOPIFY_CUSTOMER}


def test_an_order_of_shopifys_is_found_by_its_plain_id_and_by_its_refunds(shop: Bench) -> None:
    shop.play("shopify/orders/paid", "shopify/refunds/create@pending")
    (story,) = listed("show", "5570123456789")
    assert story["conversions"][0]["id"] == "shopify:acme.myshopify.com/5570123456789"
    waiting = [each for each in story["payments"] if each["state"] == "open"]
    for each in waiting:
        assert listed("show", each["id"]) == [story]
        assert each["reason"]
        assert each["reason"] in printed("show", "5570123456789")
    assert waiting


def test_a_body_that_is_no_json_is_exported_as_text(shop: Bench) -> None:
    shop.play("paddle_classic/payment_succeeded")
    (row,) = listed("events")
    (story,) = listed("show", row["id"])
    assert story["events"][0]["body"] == case_of("paddle_classic/payment_succeeded").body
