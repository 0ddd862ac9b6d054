"""How many sales are delivered a second, end to end and from the database on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import bare, sales, stage
from benchmarks.crowd import Crowd, Vendor, crowd, vendor
from benchmarks.figures import Figure, Figures, Rounds, Scale

SLOW = 300
# What a merchant sets whose vendor is slow; the default is enough for one that is not.
AT_ONCE_WHEN_SLOW = "256"
# Far less than any delivers in a second.
LEAST_RATE = 10
MOST_BY_HAND = 2_000


def deliver(scale: Scale, folder: Path) -> Figures:
    """Measure sales from webhook to vendor beside the handwritten handler."""
    with vendor() as taapit, crowd(scale) as many:
        with stage.by_hand(folder, taapit.url) as hand:
            yield from _end_to_end(scale, folder / "instant", many, taapit, hand, 0)
            yield from _end_to_end(scale, folder / "slow", many, taapit, hand, SLOW)
        yield from _alone(scale, folder, many, taapit)


def _end_to_end(
    scale: Scale, folder: Path, many: Crowd, taapit: Vendor, hand: tuple[str, Path], delay: int
) -> Figures:
    taapit.slow_down(delay)
    settings = {"TAAPIT_CONCURRENCY": AT_ONCE_WHEN_SLOW} if delay else {}
    before = by_hand(scale, many, hand, f"{folder.name}before")
    bridge = stage.Bridge(folder, stage.taapit(taapit.url) | settings)
    rate = delivered(bridge, folder.name, scale.sales, many, taapit)
    after = by_hand(scale, many, hand, f"{folder.name}after")
    taapit.slow_down(0)
    said = f"vendor of {delay} ms" if delay else "instant vendor"
    beside = (before + after) / 2
    yield Figure(f"by hand, sales delivered, {said}", beside, "/s")
    yield Figure(f"bridge, sales delivered, {said}", rate, "/s")
    wanted = 10.0 if delay else 1.0
    yield Figure(f"bridge to by hand, {said}", rate / beside, at_least=wanted)


def by_hand(scale: Scale, many: Crowd, hand: tuple[str, Path], run: str) -> float:
    """Return how many sales the handwritten handler delivers a second: it tells, then answers."""
    url, database = hand
    count = max(scale.connections, round(MOST_BY_HAND * scale.seconds))
    sales.store_clicks(database, sales.names(run, count))
    return many.send(url, run, count, seconds=scale.seconds).rate


def delivered(bridge: stage.Bridge, run: str, count: int, many: Crowd, taapit: Vendor) -> float:
    """Return how many sales a new bridge delivers a second, from the first webhook on."""
    bridge.do("migrate")
    bridge.know_clicks(sales.names(run, count))
    with bridge.serve() as url:
        return told(url, run, count, many, taapit)


def told(
    url: str | Sequence[str], run: str, count: int, many: Crowd, taapit: Vendor, first: int = 0
) -> float:
    """Return the rate at which the vendor is told of sales whose clicks are known."""
    taapit.forget()
    sent = many.send(url, run, count, first=first)
    await_calls(taapit, count)
    calls = taapit.calls()
    expected = {f"in_{each}" for each in sales.names(run, count, first)}
    if len(calls) != count or {order for order, _ in calls} != expected:
        raise stage.BrokenOffError(
            f"the vendor was told of {len(calls)} sales, not of each of {count} once"
        )
    return count / (calls[-1][1] - sent.began)


def await_calls(taapit: Vendor, count: int) -> None:
    """Wait until the vendor has been called so often."""
    what = f"{count} calls of the vendor"
    stage.wait(lambda: taapit.count() >= count, what, stage.START_SECONDS + count / LEAST_RATE)


def _alone(scale: Scale, folder: Path, many: Crowd, taapit: Vendor) -> Figures:
    """Measure deliveries that are due already, beside calls that nobody keeps account of."""
    for threads, delay in scale.at_once:
        taapit.slow_down(delay)
        # A worker that starts takes up 10,000 planned deliveries at most.
        count = max(scale.sales // 10, threads)
        rounds = Rounds()
        for number in range(min(scale.rounds, 3)):
            place = folder / f"alone{threads}-{number}"
            kept, fresh = _bare(taapit, threads, count)
            bridge = _worked(place, threads, count, many, taapit)
            rounds.add(kept=kept, fresh=fresh, bridge=bridge)
        said = f"{threads} at once, " + (f"vendor of {delay} ms" if delay else "instant vendor")
        yield Figure(f"`requests` alone, {said}", rounds.median("kept"), "/s")
        one_each = f"`requests` alone, a connection for each call, {said}"
        yield Figure(one_each, rounds.median("fresh"), "/s")
        yield Figure(f"bridge, deliveries, {said}", rounds.median("bridge"), "/s")
        yield Figure(f"bridge to `requests`, {said}", rounds.ratio("bridge", "kept"), at_least=0.5)
    taapit.slow_down(0)


def _bare(taapit: Vendor, threads: int, count: int) -> tuple[float, float]:
    command = [sys.executable, "-m", bare.__name__, taapit.url, str(threads), str(count)]
    done = subprocess.run(
        command, cwd=stage.REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    kept, fresh = map(float, done.stdout.split())
    return kept, fresh


def _worked(folder: Path, threads: int, count: int, many: Crowd, taapit: Vendor) -> float:
    """Return how many deliveries a worker makes a second that has nothing else to do.

    A dry run plans them; a worker that starts without takes them up.
    """
    bridge = stage.Bridge(folder, stage.taapit(taapit.url))
    bridge.do("migrate")
    bridge.know_clicks(sales.names(folder.name, count))
    with bridge.serve(BRIDGE_DRY_RUN="1") as url:
        many.send(url, folder.name, count)
        limit = stage.START_SECONDS + count / LEAST_RATE
        stage.wait(lambda: bridge.count("deliveries", "planned") == count, "the plans", limit)
    taapit.forget()
    with bridge.work(TAAPIT_CONCURRENCY=str(threads)):
        await_calls(taapit, count)
    calls = taapit.calls()
    return len(calls) / (calls[-1][1] - calls[0][1])
