"""How soon the vendor hears of a sale when nothing else is to be done."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from benchmarks import sales, stage
from benchmarks.crowd import crowd, vendor
from benchmarks.delivering import await_calls
from benchmarks.figures import Figure, Figures, Scale

PAUSE_SECONDS = 0.1


def idle(scale: Scale, folder: Path) -> Figures:
    """Measure the time from a webhook to the call that tells the vendor."""
    names = sales.names("idle", scale.idle)
    sent: dict[str, float] = {}
    with vendor() as taapit, crowd(scale) as one:
        bridge = stage.Bridge(folder / "bridge", stage.taapit(taapit.url))
        bridge.do("migrate")
        bridge.know_clicks(names)
        with bridge.serve() as url:
            for number, name in enumerate(names):
                at = one.send(url, "idle", 1, first=number, connections=1).began
                sent[f"in_{name}"] = at
                await_calls(taapit, number + 1)
                time.sleep(PAUSE_SECONDS)
        took = [(at - sent[order]) * 1000 for order, at in taapit.calls()]
    yield Figure("webhook to vendor call when idle, median", median(took), "ms", at_most=50)
    yield Figure("webhook to vendor call when idle, worst", max(took), "ms")
