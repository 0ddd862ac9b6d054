"""The command line: what it prints, what it takes, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from kit import Bench, bench
from running import BRIDGE, environment, run
from typing_in import (
    CUSTOMER,
    ISO_UTC,
    ORDER,
    SALE,
    STORY,
    complaint,
    listed,
    printed,
    sell,
)

from bridge.cli import main
from bridge.cli.output import Column, lay_out, shortened, some, told_words
from bridge.model import Status, Told
from bridge.money import Money


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench(tmp_path / "bridge.db", monkeypatch) as made:
        yield made


@pytest.fixture
def sold(shop: Bench) -> Bench:
    return sell(shop)


# ── every command ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", list(main.commands))
def test_a_command_says_what_it_and_each_option_does(name: str) -> None:
    command = main.commands[name]
    assert command.help
    assert command.get_short_help_str(200).endswith((".", "nothing"))
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help and not each.hidden] == []
    assert printed(name, "--help").startswith(f"Usage: main {name}")


def test_a_worker_starts_without_what_only_the_web_needs() -> None:
    ask = "import sys, bridge.cli.work; print(*{'flask', 'granian', 'psycopg'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert ran.stdout == "\n"


def test_a_mistyped_command_is_told_what_was_meant() -> None:
    assert "No such command 'deliverie'. Did you mean 'deliveries'?" in complaint(2, "deliverie")


def test_it_lists_its_commands_and_its_version() -> None:
    helped = printed("-h")
    for name in ("serve", "replay", "deliveries", "doctor"):
        assert f"  {name} " in helped
    assert printed("--version").startswith("bridge, version ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("serve", "--port", "0"),
        ("serve", "--port", "web"),
        ("events", "--state", "nonsense"),
        ("events", "--limit", "0"),
        ("deliveries", "--nonsense"),
        ("show",),
        ("explain",),
        ("retry",),
        ("retry", "id", "--state", "dead"),
        ("retry", "--state", "unknown"),
        ("resolve", "id"),
        ("resolve", "id", "--delivered", "--resend"),
        ("replay",),
        ("replay", "missing/file.json"),
        ("replay", "invoice.payed"),
        ("replay", "invoice.paid", "--set", "amount"),
        ("replay", "invoice.paid", "--set", "no.where=1"),
        ("replay", "invoice.paid", "evt_1"),
        ("replay", "evt_1", "--fresh-ids"),
        ("replay", "evt_1", "--to", "http://127.0.0.1:1"),
        ("replay", "invoice.paid", "--state", "failed"),
        ("replay", "invoice.paid", "--to", "localhost:8000"),
    ],
)
def test_wrong_usage_is_2(shop: Bench, arguments: tuple[str, ...]) -> None:
    said = complaint(2, *arguments)
    assert said.startswith("Usage: ")
    assert "Error: " in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "evt_nobody"),
        ("show", f"{ORDER}x"),
        ("explain", "in_nobody"),
        ("explain", f"{SALE}@nobody"),
        ("retry", "stripe:in_nobody@taapit"),
        ("resolve", "stripe:in_nobody@taapit", "--resend"),
        ("replay", "evt_nobody"),
    ],
)
def test_an_unknown_id_is_repeated_on_stderr(sold: Bench, arguments: tuple[str, ...]) -> None:
    said = complaint(1, *arguments)
    assert said.startswith("Error: ")
    assert arguments[1] in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["events", "conversions", "deliveries", "show x", "explain x"])
def test_a_database_that_is_not_migrated_is_one_clear_line(name: str) -> None:
    (line,) = complaint(1, *name.split()).splitlines()
    assert "run `bridge migrate`" in line


def test_migrating_twice_changes_nothing() -> None:
    assert printed("migrate").startswith("migrated: ")
    assert printed("migrate") == "the database is up to date\n"
    assert listed("events") == []


def test_a_setting_that_is_wrong_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAAPIT_API_KEY", "wrong_key")
    monkeypatch.setenv("TAAPIT_BASE_URL", "http://taapit.example")
    for name in ("migrate", "events", "doctor"):
        (line,) = complaint(1, name).splitlines()
        assert "TAAPIT_BASE_URL: must be an https:// address" in line
        assert "wrong_key" not in line


def test_a_mistake_of_ours_is_no_traceback_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(main.commands["migrate"], "callback", lambda **_: broken(None))
    said = complaint(1, "migrate")
    assert "ZeroDivisionError: by nothing" in said
    assert "Traceback" not in said
    asked = complaint(1, "--traceback", "migrate")
    assert "Traceback" in asked
    assert asked.endswith(said)


def test_whoever_has_read_enough_may_leave(sold: Bench) -> None:
    for arguments in (["events"], ["events", "--json"]):
        reader = subprocess.Popen(
            [*BRIDGE, *arguments],
            env=environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert reader.stdout
        assert reader.stderr
        reader.stdout.close()
        assert reader.wait(60) == 0
        assert reader.stderr.read() == b""
        reader.stderr.close()


# ── listings ─────────────────────────────────────────────────────────────────────────────────────


def test_events_as_json(sold: Bench) -> None:
    sold.receive("customer.deleted")
    ignored, *processed = listed("events")
    assert [row["type"] for row in processed] == [*reversed(STORY)]
    assert {row["state"] for row in processed} == {"processed"}
    assert ignored["state"] == "ignored"
    assert ignored["reason"]
    assert processed[-1]["id"] == "evt_1QNEEZZk4Tp9WvLqloVMQQTC"
    assert processed[-1]["provider"] == "stripe"
    assert processed[-1]["occurred_at"].startswith("2026-11-03T09:00:03")
    assert all(
        ISO_UTC.fullmatch(row[name]) for row in processed for name in ("occurred_at", "received_at")
    )


def test_conversions_as_json(sold: Bench) -> None:
    (row,) = listed("conversions")
    assert row["id"] == SALE
    assert (row["kind"], row["provider"], row["order"]) == ("sale", "stripe", ORDER)
    assert row["customer"] == "user_1001"
    assert row["paid"] == {"minor": 5831, "currency": "EUR", "amount": "58.31"}
    assert row["taken_back"] == {"minor": 2000, "currency": "EUR", "amount": "20.00"}
    assert (row["status"], row["test"]) == ("approved", False)


def test_deliveries_as_json(sold: Bench) -> None:
    rows = {row["vendor"]: row for row in listed("deliveries")}
    assert set(rows) == {"codeqr", "taapit", "tapfiliate", "tracify", "trackdesk"}
    tapfiliate, taapit = rows["tapfiliate"], rows["taapit"]
    assert tapfiliate["id"] == f"{SALE}@tapfiliate"
    assert tapfiliate["conversion"] == SALE
    assert (tapfiliate["state"], tapfiliate["reason"]) == ("settled", "")
    assert tapfiliate["told"]["amount"] == {"minor": 3219, "currency": "EUR", "amount": "32.19"}
    assert tapfiliate["attempts"] == 2
    assert tapfiliate["next_attempt_at"] is None
    assert taapit["state"] == "skipped"
    assert taapit["reason"]


def test_told_is_null_and_a_next_attempt_is_a_time(shop: Bench) -> None:
    shop.fault("tapfiliate", {"status": 429})
    shop.click(CUSTOMER, {"tapfiliate": "click_1"})
    shop.play("invoice.paid")
    rows = {row["vendor"]: row for row in listed("deliveries")}
    assert (rows["tapfiliate"]["state"], rows["tapfiliate"]["told"]) == ("due", None)
    assert ISO_UTC.fullmatch(rows["tapfiliate"]["next_attempt_at"])
    assert (rows["codeqr"]["state"], rows["codeqr"]["told"]) == ("skipped", None)
    assert rows["codeqr"]["reason"] == "no click stored for this customer"
    assert "429" in printed("deliveries", "--state", "due")


@pytest.mark.parametrize("name", ["events", "conversions", "deliveries"])
def test_a_listing_of_nothing_is_an_empty_array(shop: Bench, name: str) -> None:
    assert listed(name) == []
    assert printed(name) == f"no {name} yet\n"


def test_listings_are_filtered_and_limited(sold: Bench) -> None:
    skipped = listed("deliveries", "--state", "skipped")
    assert {row["state"] for row in skipped} == {"skipped"}
    assert listed("deliveries", "--state", "dead") == []
    assert printed("deliveries", "--state", "dead") == "no deliveries are dead\n"
    assert len(listed("events", "--limit", "2")) == 2
    assert listed("conversions", "--status", "parked") == []
    assert len(listed("conversions", "--status", "approved")) == 1


def test_in_a_pipe_every_row_is_one_whole_line(sold: Bench) -> None:
    lines = printed("deliveries").splitlines()
    assert len(lines) == 1 + 5
    (taapit,) = [line for line in lines if line.startswith(f"{SALE}@taapit")]
    assert "Taapit has no refund call" in taapit


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("name", ["events", "conversions", "deliveries", "doctor"])
def test_on_a_terminal_no_id_is_cut(sold: Bench, tmp_path: Path, name: str, width: int) -> None:
    settings = {"COLUMNS": str(width), "DATABASE_URL": "sqlite:///bridge.db"}
    shown = run(name, settings=settings, folder=tmp_path).stdout
    whole = {"events": "evt_1QNEEZZk4Tp9WvLqloVMQQTC", "conversions": SALE}
    assert f"{whole.get(name, '')} " in shown
    if width >= 80:
        assert max(map(len, shown.splitlines())) <= width


def test_a_table_gives_way_in_its_own_order() -> None:
    columns = (Column("a"), Column("b", yields=2), Column("c", yields=1), Column("d", below=True))
    assert lay_out(columns, [4, 4, 4, 4], 22).line == (0, 1, 2, 3)
    assert lay_out(columns, [4, 4, 0, 4], 16).line == (0, 1, 3)
    narrow = lay_out(columns, [4, 4, 4, 4], 21)
    assert (narrow.line, narrow.below) == ((0, 1, 2), 3)
    assert lay_out(columns, [4, 4, 4, 4], 15).line == (0, 2)
    assert lay_out(columns, [4, 4, 4, 4], 1).line == (0,)


def test_words_for_people() -> None:
    assert (some(1, "event"), some(2, "event")) == ("1 event", "2 events")
    assert some(2, "delivery is", "deliveries are") == "2 deliveries are"
    assert told_words(Told()) == "nothing"
    assert told_words(Told(steps=("link",))) == "link"
    told = Told(steps=("sale",), amount=Money(1437, "EUR"), status=Status.APPROVED)
    assert told_words(told) == "14.37 EUR approved"
    assert told_words(Told(doubt="sale")) == "nothing (in doubt: sale)"
    assert shortened("email:" + "0123456789abcdef" * 3) == "email:0123456789…"
    assert shortened("stripe:cus_TZ3yrniwyYL7T5") == "stripe:cus_TZ3yrniwyYL7T5"
