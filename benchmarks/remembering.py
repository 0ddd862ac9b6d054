"""How much memory the web and the worker take while many webhooks come."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

from benchmarks import sales, stage
from benchmarks.crowd import Crowd, Vendor, crowd, vendor
from benchmarks.delivering import LEAST_RATE
from benchmarks.figures import Figure, Figures, Scale

# Webhooks come as fast as they are delivered: so many at once are under way at most.
SLICE, CONNECTIONS = 1_000, 16
# By then all that is made once has been made.
SETTLED_SHARE = 0.2
SAMPLES = 5


def memory(scale: Scale, folder: Path) -> Figures:
    """Watch the processes of `bridge serve`."""
    names = sales.names("memory", scale.steady)
    found: dict[str, list[float]] = {}
    with vendor() as taapit, crowd(scale) as many:
        bridge = stage.Bridge(folder / "bridge", stage.taapit(taapit.url))
        bridge.do("migrate")
        bridge.know_clicks(names)
        with bridge.started("serve") as (url, process):
            slices = max(10, scale.steady // SLICE)
            for number in range(slices):
                _sell(url, scale.steady // slices, number, many, taapit)
                for name, size in sizes(process).items():
                    found.setdefault(name, []).append(size)
    for name, each in found.items():
        early = median(_around(each, SETTLED_SHARE))
        late = median(each[-SAMPLES:])
        yield Figure(f"{name} after {scale.steady:,} webhooks", late, "MiB", at_most=150)
        yield Figure(
            f"{name}, growth since a fifth of them", (late / early - 1) * 100, "%", at_most=5
        )


def _around(samples: list[float], share: float) -> list[float]:
    middle = int(len(samples) * share)
    return samples[max(0, middle - SAMPLES // 2) : middle + SAMPLES // 2 + 1]


def _sell(url: str, count: int, number: int, many: Crowd, taapit: Vendor) -> None:
    """Send a slice, and wait until all but a slice of what was sent is delivered."""
    many.send(url, "memory", count, first=count * number, connections=CONNECTIONS)
    stage.wait(
        lambda: taapit.count() >= count * number,
        "the slice before to be delivered",
        stage.START_SECONDS + count / LEAST_RATE,
    )


def sizes(process: int) -> dict[str, float]:
    """Return how many MiB of memory the processes of a `bridge serve` hold."""
    found = {"supervisor": _resident(process)}
    for child in _children(process):
        command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        name = "worker" if b"work" in command else "web"
        found[name] = max(found.get(name, 0.0), _resident(child))
        for beside in _children(child) if name == "worker" else ():
            found["processor"] = _resident(beside)
    return found


def _children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task")
    found = [(tasks / each / "children").read_text().split() for each in os.listdir(tasks)]
    return [int(child) for some in found for child in some]


def _resident(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
