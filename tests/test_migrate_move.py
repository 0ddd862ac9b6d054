"""bridge migrate --from --to: everything arrives, and nothing is told twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kit import SALE, Bench, bench
from migrated import SETTINGS, content, moved, sale_of, source_of, target_of
from typing_in import listed, printed

from bridge.codec import dumps

PAIRS = [(one, other) for one in ("sqlite", "postgres") for other in ("sqlite", "postgres")]
pairs = pytest.mark.parametrize(("kind", "other"), PAIRS, ids=[" to ".join(each) for each in PAIRS])
across = pytest.mark.parametrize(("kind", "other"), PAIRS[1:3])
LISTINGS = ("events", "conversions", "deliveries")


@pairs
def test_everything_arrives(tmp_path: Path, kind: str, other: str) -> None:
    source, target = source_of(kind, tmp_path, large=True), target_of(other, tmp_path)
    before = content(source)
    assert min(map(len, before.values())) > 0  # every table holds something
    report = moved(source, target)
    assert report.same
    assert report.changed == []
    assert content(target) == content(source) == before
    assert {each.table: each.target.rows for each in report.tables} == {
        name: len(rows) for name, rows in before.items()
    }


def test_what_commands_show_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = source_of("sqlite", tmp_path), target_of("postgres", tmp_path)
    moved(source, target)
    shown = []
    for url in (source, target):
        with bench(tmp_path, monkeypatch, **SETTINGS, DATABASE_URL=url):
            lists = [listed(each, "--limit", "1000") for each in LISTINGS]
            ids = [row["id"] for rows in lists for row in rows[::4]]
            shown.append([lists, [json.loads(printed("show", id, "--json")) for id in ids]])
    assert len(shown[0][1]) > 3
    assert shown[0] == shown[1]


def delivered(made: Bench) -> list[Any]:
    """Do all that is due, a day later; return what vendors were told, and how deliveries stand."""
    made.clock.catch_up()
    made.clock.advance(days=1)
    made.worker.drain()
    made.clock.advance(days=1)
    made.worker.drain()
    told = ("vendor", "method", "path", "body", "status")
    calls = [dumps([call[name] for name in told]) for call in made.vendors.ledger.calls()]
    states = [(row.id, row.state, row.reason) for row in made.store.deliveries.newest(limit=1000)]
    return [sorted(calls), sorted(states)]


def test_the_worker_does_there_what_it_would_have_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That includes calls that were under way, and an event that was not processed yet."""
    stayed, source = source_of("sqlite", tmp_path / "a"), source_of("sqlite", tmp_path)
    target = target_of("postgres", tmp_path)
    moved(source, target)
    done = []
    for url in (stayed, target):
        with bench(tmp_path, monkeypatch, **SETTINGS, DATABASE_URL=url) as made:
            done.append(delivered(made))
    assert len(done[0][0]) > 8
    assert done[0] == done[1]


@across
def test_life_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, other: str
) -> None:
    source, target = source_of(kind, tmp_path), target_of(other, tmp_path)
    moved(source, target)
    with bench(tmp_path, monkeypatch, **SETTINGS, DATABASE_URL=target) as made:
        while made.worker.process_events():
            pass
        made.receive(*SALE)  # a duplicate
        made.click("cus_new")
        made.receive(bodies=[sale_of("new")])
        newest, before = made.store.events.newest(limit=2)
        assert newest.key == "stripe:evt_new"
        assert newest.state == "processed"
        assert before.key == "stripe:evt_waiting"
        row = made.store.deliveries.get("stripe:in_new@tapfiliate")
        assert row
        assert row.state == "due"
