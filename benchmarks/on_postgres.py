"""What several web processes and workers do on PostgreSQL, one that is as durable as SQLite is."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks import sales, stage
from benchmarks.acknowledging import MOST
from benchmarks.crowd import Crowd, Vendor, crowd, vendor
from benchmarks.delivering import told
from benchmarks.figures import Figure, Figures, Rounds, Scale
from tests import postgres as server

# What tests do without: everything is on the disk before it is said to be.
DURABLE = ("fsync=on", "full_page_writes=on", "max_connections=200", "shared_buffers=256MB")


def postgres(scale: Scale, folder: Path) -> Figures:
    """Measure acknowledgements and deliveries with more and more processes."""
    server.FAST = DURABLE
    database = server.lasting()
    rounds = Rounds()
    with vendor() as taapit, crowd(scale) as many:
        bridge = stage.Bridge(folder / "bridge", stage.taapit(taapit.url), database)
        for number in range(min(scale.rounds, 3)):
            for each in scale.processes:
                rate, p99 = _acknowledged(scale, bridge, each, f"acknowledge{number}-{each}", many)
                rounds.add(**{f"rate{each}": rate, f"p99_{each}": p99})
                server.clear(database)
                run = f"deliver{number}-{each}"
                rounds.add(**{f"sales{each}": _delivered(scale, bridge, each, run, many, taapit)})
                server.clear(database)
    for each in scale.processes:
        many_of = f"{each} process{'es' if each > 1 else ''}"
        yield Figure(f"acknowledged, web of {many_of}", rounds.median(f"rate{each}"), "/s")
        yield Figure(f"p99, web of {many_of}", rounds.median(f"p99_{each}"), "ms")
        yield Figure(
            f"sales delivered, web and worker of {many_of}", rounds.median(f"sales{each}"), "/s"
        )


def _acknowledged(
    scale: Scale, bridge: stage.Bridge, processes: int, run: str, many: Crowd
) -> tuple[float, float]:
    with ExitStack() as stack:
        urls = [stack.enter_context(bridge.web()) for _ in range(processes)]
        many.send(urls, f"{run}warm", scale.warming)
        count = max(1, round(MOST * scale.seconds))
        sent = many.send(urls, run, count, seconds=scale.seconds)
    return sent.rate, sent.p99


def _delivered(
    scale: Scale, bridge: stage.Bridge, processes: int, run: str, many: Crowd, taapit: Vendor
) -> float:
    count = max(1, scale.sales // 10)
    bridge.know_clicks(sales.names(run, count))
    with ExitStack() as stack:
        urls = [stack.enter_context(bridge.web()) for _ in range(processes)]
        for _ in range(processes):
            stack.enter_context(bridge.work())
        return told(urls, run, count, many, taapit)
