"""How many webhooks are acknowledged a second, and how soon."""

from __future__ import annotations

from pathlib import Path

from benchmarks import sales, stage
from benchmarks.crowd import Crowd, Sent, Vendor, crowd, vendor
from benchmarks.figures import Figure, Figures, Rounds, Scale

SLOW = 300
# More than any of them can take in a second: the clock ends a round, not the last webhook.
MOST, MOST_BY_HAND, MOST_DELIVERED = 12_000, 2_000, 1_000
OVER_AND_OVER = 2_000


def acknowledge(scale: Scale, folder: Path) -> Figures:
    """Measure `bridge web` beside an empty view and beside the handwritten handler."""
    rounds = Rounds()
    with vendor() as taapit, crowd(scale) as many, stage.empty() as empty:
        yield Figure("what the load generator can send", _generator(scale, many, taapit), "/s")
        bridge = stage.Bridge(folder / "bridge", stage.taapit(taapit.url))
        with bridge.web() as web, stage.by_hand(folder, taapit.url) as hand:
            for url in (empty, web):
                many.send(url, "warm", scale.warming)
            _by_hand(scale, many, hand, "warm")
            for number in range(scale.rounds):
                run = f"acknowledge{number}"
                one = many.send(empty, run, OVER_AND_OVER, seconds=scale.seconds, again=True)
                two = many.send(web, run, _count(scale, MOST), seconds=scale.seconds)
                three = _by_hand(scale, many, hand, run)
                rounds.add(empty=one.rate, empty_p50=one.p50, empty_p99=one.p99)
                rounds.add(bridge=two.rate, bridge_p50=two.p50, bridge_p99=two.p99)
                rounds.add(hand=three.rate, hand_p99=three.p99)
                taapit.slow_down(SLOW)
                rounds.add(slow_hand=_by_hand(scale, many, hand, f"{run}slow").rate)
                taapit.slow_down(0)
        yield from _of_web(rounds)
        yield from _while_delivering(scale, folder, many, taapit)


def _of_web(rounds: Rounds) -> Figures:
    yield Figure("empty view, webhooks answered", rounds.median("empty"), "/s")
    yield Figure("empty view, p50", rounds.median("empty_p50"), "ms")
    yield Figure("empty view, p99", rounds.median("empty_p99"), "ms")
    yield Figure("by hand, instant vendor", rounds.median("hand"), "/s")
    yield Figure("by hand, vendor of 300 ms", rounds.median("slow_hand"), "/s")
    yield Figure("bridge, webhooks acknowledged", rounds.median("bridge"), "/s")
    yield Figure("bridge, p50", rounds.median("bridge_p50"), "ms")
    yield Figure("bridge, p99", rounds.median("bridge_p99"), "ms")
    yield Figure("bridge to empty view, rate", rounds.ratio("bridge", "empty"), at_least=0.5)
    yield Figure("bridge to empty view, p99", rounds.ratio("bridge_p99", "empty_p99"), at_most=3)
    yield Figure("bridge to by hand, rate", rounds.ratio("bridge", "hand"), at_least=6)


def _while_delivering(scale: Scale, folder: Path, many: Crowd, taapit: Vendor) -> Figures:
    """Measure `bridge serve` while its worker delivers: to an instant vendor, to a slow one."""
    rounds, run, done = Rounds(), "serving", 0
    bridge = stage.Bridge(folder / run, stage.taapit(taapit.url))
    bridge.do("migrate")
    bridge.know_clicks(sales.names(run, _count(scale, MOST_DELIVERED * 2 * scale.rounds)))
    with bridge.serve() as url:
        done += many.send(url, run, scale.warming).answered
        for _ in range(scale.rounds):
            for name, delay in (("instant", 0), ("slow", SLOW)):
                taapit.slow_down(delay)
                count = _count(scale, MOST)
                one = many.send(url, run, count, first=done, seconds=scale.seconds)
                rounds.add(**{name: one.rate, f"{name}_p50": one.p50, f"{name}_p99": one.p99})
                done += one.answered
    taapit.slow_down(0)
    yield Figure("bridge, while it delivers", rounds.median("instant"), "/s")
    yield Figure("bridge, while it delivers, p50", rounds.median("instant_p50"), "ms")
    yield Figure("bridge, while it delivers, p99", rounds.median("instant_p99"), "ms")
    yield Figure("bridge, while it delivers to a vendor of 300 ms", rounds.median("slow"), "/s")
    ratio = rounds.ratio("slow", "instant")
    yield Figure("vendor of 300 ms to instant vendor, rate", ratio, at_least=0.9)


def _by_hand(scale: Scale, many: Crowd, hand: tuple[str, Path], run: str) -> Sent:
    url, database = hand
    count = _count(scale, MOST_BY_HAND)
    sales.store_clicks(database, sales.names(run, count))
    return many.send(url, run, count, seconds=scale.seconds)


def _generator(scale: Scale, many: Crowd, taapit: Vendor) -> float:
    sent = many.send(taapit.url, "generator", OVER_AND_OVER, seconds=scale.seconds, again=True)
    taapit.forget()
    return sent.rate


def _count(scale: Scale, a_second: int) -> int:
    return max(scale.connections, round(a_second * scale.seconds))
