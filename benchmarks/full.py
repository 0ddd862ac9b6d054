"""Whether a store that holds much is as fast as an empty one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from benchmarks import sales, stage
from benchmarks.acknowledging import MOST
from benchmarks.crowd import Crowd, Vendor, crowd, vendor
from benchmarks.delivering import told
from benchmarks.figures import Figure, Figures, Rounds, Scale
from benchmarks.filling import fill, forget_waiting

# Stores are kept from one run to the next in the system's temporary folder, if asked.
KEPT = "bridge-benchmarks-store-of-"


def full(scale: Scale, folder: Path, *, keep: bool = False) -> Figures:
    """Measure acknowledgements and deliveries beside an empty store."""
    place = Path(tempfile.gettempdir()) / f"{KEPT}{scale.stored}" if keep else folder / "full"
    with vendor() as taapit, crowd(scale) as many:
        settings = stage.taapit(taapit.url)
        bridges = {
            "empty": stage.Bridge(folder / "empty", settings),
            "full": stage.Bridge(place, settings),
        }
        bridges["empty"].do("migrate")
        if not bridges["full"].path.exists():
            fill(bridges["full"], scale.stored, many, taapit)
        forget_waiting(bridges["full"])
        size = bridges["full"].path.stat().st_size / 1e9
        yield Figure(f"file of {scale.stored:,} conversions", size, "GB")
        yield from _both(
            scale, bridges, stage.Bridge.serve, "sales delivered", _delivering(many, taapit)
        )
        yield from _both(scale, bridges, stage.Bridge.web, "acknowledged", _acknowledging(many))


Measure = Callable[[Scale, stage.Bridge, str, str], float]


def _both(
    scale: Scale,
    bridges: dict[str, stage.Bridge],
    start: Callable[[stage.Bridge], AbstractContextManager[str]],
    what: str,
    measure: Measure,
) -> Figures:
    rounds = Rounds()
    with ExitStack() as stack:
        urls = {name: stack.enter_context(start(bridge)) for name, bridge in bridges.items()}
        for number in range(scale.rounds):
            for name, bridge in bridges.items():
                run = f"{bridge.fresh()}{number}"
                rounds.add(**{name: measure(scale, bridge, urls[name], run)})
    for name in bridges:
        yield Figure(f"{what}, {name} store", rounds.median(name), "/s")
    yield Figure(f"{what}, full to empty", rounds.ratio("full", "empty"), at_least=0.9)


def _delivering(many: Crowd, taapit: Vendor) -> Measure:
    def measure(scale: Scale, bridge: stage.Bridge, url: str, run: str) -> float:
        count = max(1, scale.sales // 20)
        bridge.know_clicks(sales.names(run, count))
        return told(url, run, count, many, taapit)

    return measure


def _acknowledging(many: Crowd) -> Measure:
    def measure(scale: Scale, _: stage.Bridge, url: str, run: str) -> float:
        many.send(url, f"{run}warm", scale.warming)
        count = max(1, round(MOST * scale.seconds))
        return many.send(url, run, count, seconds=scale.seconds).rate

    return measure
