"""The benchmarks run, and say what they found; how fast this machine is, is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from running import environment

REPOSITORY = Path(__file__).parent.parent
# What the figures are to be at least, or at most.
WANTED: dict[str, dict[str, tuple[float | None, float | None]]] = {
    "acknowledge": {
        "bridge to empty view, rate": (0.5, None),
        "bridge to empty view, p99": (None, 3),
        "bridge to by hand, rate": (6, None),
        "vendor of 300 ms to instant vendor, rate": (0.9, None),
    },
    "deliver": {
        "bridge to by hand, instant vendor": (1, None),
        "bridge to by hand, vendor of 300 ms": (10, None),
        "bridge to `requests`, 8 at once, instant vendor": (0.5, None),
    },
    "idle": {"webhook to vendor call when idle, median": (None, 50)},
    "full": {
        "sales delivered, full to empty": (0.9, None),
        "acknowledged, full to empty": (0.9, None),
    },
    "memory": {
        "web after 20 webhooks": (None, 150),
        "worker, growth since a fifth of them": (None, 5),
    },
    "postgres": {"sales delivered, web and worker of 1 process": (None, None)},
}


def test_every_benchmark_prints_its_table_and_writes_its_figures(tmp_path: Path) -> None:
    written, disk = tmp_path / "figures.json", tmp_path / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "benchmarks", "--tiny"]
    done = subprocess.run(
        [*command, "--json", str(written), "--folder", str(disk)],
        cwd=REPOSITORY,
        env=environment({"COLUMNS": "120"}),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(written.read_text())["figures"]
    assert list(found) == list(WANTED)
    assert not list(disk.iterdir())
    for name, figures in WANTED.items():
        by_name = {each["name"]: each for each in found[name]}
        for figure, (least, most) in figures.items():
            assert (by_name[figure]["at_least"], by_name[figure]["at_most"]) == (least, most)
            assert figure in done.stdout
