"""The benchmarks run, and say what they found; how fast this machine is, is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import environment

REPOSITORY = Path(__file__).parent.parent
FIGURES = {
    "acknowledge": {
        "bridge to empty view, rate": 0.5,
        "bridge to by hand, rate": 6,
        "vendor of 300 ms to instant vendor, rate": 0.9,
    },
    "deliver": {
        "bridge to by hand, instant vendor": 1,
        "bridge to by hand, vendor of 300 ms": 10,
        "bridge to `requests`, 8 at once, instant vendor": 0.5,
    },
    "idle": {"webhook to vendor call when idle, median": None},
    "full": {"sales delivered, full to empty": 0.9, "acknowledged, full to empty": 0.9},
    "memory": {"worker, growth since a fifth of them": None},
    "postgres": {"acknowledged, web of 4 processes": None},
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_benchmark_prints_its_table_and_writes_its_figures(name: str, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = ["-m", "benchmarks", "--tiny", "--only", name, "--json", written]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=REPOSITORY,
        env=environment({"COLUMNS": "120"}),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = {each["name"]: each for each in json.loads(written.read_text())["figures"][name]}
    for figure, wanted in FIGURES[name].items():
        assert found[figure]["measured"] > -100
        assert wanted is None or found[figure]["at_least"] == wanted
        assert figure in done.stdout
