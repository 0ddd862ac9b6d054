"""The fault harness in short, with several web and worker processes on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import postgres
import pytest
from chaos import main
from chaos_audit import VENDORS
from chaos_storm import POSTGRES, Plan, storm
from click.testing import CliRunner

SEED = 6


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_when_some_of_many_processes_are_killed(tmp_path: Path) -> None:
    plan = Plan(
        seed=SEED,
        orders=12,
        webhooks=60,
        kills=5,
        leases_age=True,
        database=POSTGRES,
        webs=2,
        workers=2,
        outages=0 if postgres.GIVEN else 1,
    )
    report = storm(plan, tmp_path)
    assert report.audit.clean, f"seed {SEED}\n{report.audit}"
    assert {name.split()[0] for name in report.kills} == {"web", "work"}
    assert (report.webhooks, report.kills.total()) == (60, 5)
    assert all(report.held[vendor] > 0 for vendor in VENDORS)


@pytest.mark.parametrize(
    "wrong", [["--webs", "2"], ["--webs", "2", "--workers", "2"], ["--outages", "1"]]
)
def test_several_of_each_need_both_and_postgres(wrong: list[str]) -> None:
    ended = CliRunner().invoke(main, ["--storms", "0", *wrong])
    assert (ended.exit_code, "--database postgres" in ended.output) == (2, True)
