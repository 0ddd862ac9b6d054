"""Sixty-four connections at once, while the worker and commands write to the same database."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from threading import Event
from typing import Any

import pytest
from crowd import Answer, a_sale, api, crowd, webhook
from running import CLICK, Running, run, serving, until, vendors_at
from signed import BODY, EVENT_ID
from stores import together

from bridge.sandbox import RunningSandbox, serve_sandbox

CONNECTIONS, IMPORTED = 64, 500
VENDORS = ("TAAPIT", "CODEQR")


@pytest.fixture(scope="module")
def vendors() -> Iterator[RunningSandbox]:
    with serve_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def settings(vendors: RunningSandbox) -> dict[str, str]:
    return {
        name: value
        for name, value in vendors_at(vendors.url).items()
        if name.startswith((*VENDORS, "STRIPE", "BRIDGE"))
    }


@pytest.fixture
def server(tmp_path: Path, settings: dict[str, str]) -> Iterator[Running]:
    with serving(tmp_path, settings) as server:
        yield server
        assert server.end() == 0
        assert "locked" not in server.said()
        assert "Traceback" not in server.said()
        assert "level=error" not in server.said()


def rows(folder: Path, sql: str) -> list[Any]:
    """Read the database as somebody else would."""
    other = sqlite3.connect(folder / "bridge.db")
    found = other.execute(sql).fetchall()
    other.close()
    return found


def settle(folder: Path) -> None:
    """Wait until every event is processed and every vendor is told."""
    until(
        lambda: (
            not rows(folder, "SELECT 1 FROM events WHERE state = 'received'")
            and not rows(folder, "SELECT 1 FROM deliveries WHERE state IN ('due', 'sending')")
        ),
        "everything to be processed and told",
    )


def statuses(answers: Sequence[Sequence[Answer]]) -> Counter[int]:
    return Counter(each.status for share in answers for each in share)


def test_the_same_event_from_everybody_is_one_row(server: Running, tmp_path: Path) -> None:
    answers = crowd(server.url, [[webhook(BODY)] * 10] * CONNECTIONS)
    assert statuses(answers) == {200: 10 * CONNECTIONS}
    said = Counter(each.json()["status"] for share in answers for each in share)
    assert said == {"stored": 1, "duplicate": 10 * CONNECTIONS - 1}
    settle(tmp_path)
    assert rows(tmp_path, "SELECT id, state FROM events") == [(EVENT_ID, "processed")]


def test_events_of_one_order_and_of_many_are_each_one_row(server: Running, tmp_path: Path) -> None:
    """One order's events are the slowest to process: each looks at all that came before."""

    def share(number: int) -> Iterator[bytes]:
        for each in (number, CONNECTIONS + number):
            yield webhook(BODY.replace(EVENT_ID, f"evt_again_{each}"))
            yield webhook(a_sale(each))

    answers = crowd(server.url, [share(number) for number in range(CONNECTIONS)])
    assert statuses(answers) == {200: 4 * CONNECTIONS}
    assert {each.json()["status"] for share in answers for each in share} == {"stored"}
    settle(tmp_path)
    assert rows(tmp_path, "SELECT state, count(*), count(DISTINCT id) FROM events GROUP BY 1") == [
        ("processed", 4 * CONNECTIONS, 4 * CONNECTIONS)
    ]
    assert rows(tmp_path, "SELECT count(*) FROM conversions") == [(2 * CONNECTIONS + 1,)]


def test_clicks_leads_and_webhooks_while_commands_write_are_each_kept_once(
    server: Running, tmp_path: Path, vendors: RunningSandbox, settings: dict[str, str]
) -> None:
    imported = tmp_path / "clicks.csv"
    lines = [f"imported_{number},tid_imported_{number}" for number in range(IMPORTED)]
    imported.write_text("\n".join(["external_id,taapit", *lines]))
    commands: list[tuple[str | Path, ...]] = [
        ("clicks", "import", imported),
        ("redact", "user_0", "--yes"),
    ]
    commands.append(("doctor",))
    over = Event()

    def run_command(at: int) -> CompletedProcess[str]:
        return run(*commands[at], settings=settings, folder=tmp_path)

    def run_commands() -> None:
        try:
            for ended in together(len(commands), run_command):
                assert ended.returncode == 0, ended.stdout + ended.stderr
        finally:
            over.set()

    def share(number: int) -> Iterator[bytes]:
        yield api("/clicks", click_of(number))
        yield webhook(a_sale(number))
        yield api("/leads", click_of(CONNECTIONS + number))
        while not over.is_set():
            yield webhook(a_sale(number))

    # The person who is removed by a command is somebody who was here before.
    first = crowd(server.url, [[api("/clicks", click_of(0)), webhook(a_sale(0))]])
    settle(tmp_path)
    answers = crowd(server.url, [share(1 + number) for number in range(CONNECTIONS)], run_commands)
    assert set(statuses([*first, *answers])) == {200, 201}
    settle(tmp_path)
    assert_each_is_kept_once(tmp_path)
    for name in VENDORS:
        told = [each["order"] for each in vendors.ledger.as_json()[name.lower()]["sales"]]
        sold = [order for order in told if order.startswith("in_")]
        assert sorted(sold) == sorted(f"in_{number}" for number in range(CONNECTIONS + 1))


def assert_each_is_kept_once(folder: Path) -> None:
    found = rows(folder, "SELECT id FROM events WHERE provider = 'stripe'")
    assert sorted(id for (id,) in found) == sorted(f"evt_{n}" for n in range(CONNECTIONS + 1))
    states = dict(rows(folder, "SELECT state, count(*) FROM events GROUP BY 1"))
    assert set(states) <= {"processed", "ignored"}
    clicks = rows(
        folder, "SELECT count(*), count(DISTINCT value) FROM clicks WHERE value LIKE '%imported%'"
    )
    assert clicks == [(IMPORTED, IMPORTED)]


def click_of(number: int) -> dict[str, object]:
    """Return the clicks of one of many customers."""
    return {
        **CLICK,
        "customer": {"external_id": f"user_{number}"},
        "clicks": {"taapit": f"tid_{number}", "codeqr": f"clk_{number}"},
    }
