"""The storm: a real bridge under load, killed again and again while vendors misbehave.

Webhooks and clicks go to a real `bridge serve` as a provider and a merchant send them: until they
are acknowledged. When all of them are, the storm is over: vendors behave, and what waits comes due.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Condition, Event, Thread

import requests
from chaos_audit import STATE, TAKES_BACK, VENDORS, Audit, Finding, audit
from chaos_shop import Shop, Visitor, Webhook, open_shop
from kit import API_KEY
from running import Running, free_port, is_alive, run, vendors_at

from bridge.codec import iso
from bridge.sandbox import RunningSandbox, serve_sandbox
from bridge.sandbox.faults import Fault

THREADS = 8
ANSWER_SECONDS = 10.0
# How soon a provider of ours sends again what was not acknowledged; a real one takes minutes.
AGAIN_SECONDS = 0.05
DOWN_SHARE = 0.15
# About so many calls does an order take at all vendors together.
CALLS_PER_ORDER = 6
DATABASE = "bridge.db"
# What a process logs where something happens that nobody has thought of.
SURPRISES = ("Traceback", "work failed", "web failed", "store failed")
PAGE = "<!doctype html><html><head><title>Sorry</title></head><body>Back soon</body></html>"

BUSY = Fault(status=429, body='{"message": "slow down"}', headers={"Retry-After": "1"})
FAULTS = (
    BUSY,
    Fault(status=500, body='{"message": "oops"}'),
    Fault(status=503, body=PAGE),
    Fault(status=502, body=PAGE),
    Fault(status=502, body=PAGE, commit=True),
    Fault(status=504, commit=True),
    Fault(reset=True),
    Fault(commit_then_reset=True),
    Fault(commit_then_hang=0.5),
    Fault(delay=0.3),
    Fault(status=200, body=PAGE),
    Fault(status=200, body=PAGE, commit=True),
)
GARBAGE = (Fault(status=200, body='{"sta'), Fault(status=200, body='{"sta', commit=True))
# Of a vendor that cannot take a sale back it is taken that it counts nothing where it fails.
COUNTED = (Fault(status=500, commit=True), Fault(status=503, body=PAGE, commit=True))
# What Trackdesk answers is not documented, so any 2xx but a page must be believed.
SPEECHLESS = {"trackdesk"}
HANG = Fault(commit_then_hang=30)
DOWN = (Fault(reset=True),)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Say how large a storm is to be: the seed decides the rest.

    The `share` is of the calls to each of the `failing` vendors. The leases of killed workers are
    waited for, unless the bridge is stopped in the end, and its `leases_age` at once. With `hangs`,
    some calls are not answered at all.
    """

    seed: int
    orders: int = 40
    webhooks: int = 200
    kills: int = 4
    failing: tuple[str, ...] = VENDORS
    share: float = 1 / 3
    leases_age: bool = False
    hangs: bool = False
    patience: float = 300.0


@dataclass
class Report:
    """Hold what came of a storm."""

    plan: Plan
    audit: Audit
    webhooks: int
    calls: dict[str, int]
    met: dict[str, dict[str, int]]
    kills: Counter[str]
    starts: int
    seconds: float
    held: dict[str, int] = field(default_factory=dict)


class Provider:
    """Send everything that arrives, from many threads, each until it is acknowledged."""

    def __init__(self, url: str, arrivals: Sequence[Webhook | Visitor]) -> None:
        self._url = url
        self._arrivals = arrivals
        self._next = self._allowed = self._done = 0
        self._changed = Condition()
        self._ending = Event()
        self.acknowledged: set[str] = set()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(THREADS)]

    def __enter__(self) -> Provider:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        with self._changed:
            self._changed.notify_all()
        for each in self._threads:
            each.join()

    def allow(self, count: int) -> None:
        """Let so many of them be sent by now."""
        with self._changed:
            self._allowed = count
            self._changed.notify_all()

    def wait_for(self, count: int, seconds: float) -> None:
        """Wait until so many have been acknowledged."""
        with self._changed:
            there = self._changed.wait_for(lambda: self._done >= count, seconds)
        assert there, f"{self._done} of {count} were acknowledged within {seconds:g} s"

    def _work(self) -> None:
        while (each := self._take()) is not None:
            while not self._ending.is_set() and not self._post(each):
                self._ending.wait(AGAIN_SECONDS)
            with self._changed:
                self._done += 1
                self._changed.notify_all()

    def _take(self) -> Webhook | Visitor | None:
        with self._changed:
            self._changed.wait_for(lambda: self._next < self._allowed or self._ending.is_set())
            if self._ending.is_set():
                return None
            self._next += 1
            return self._arrivals[self._next - 1]

    def _post(self, each: Webhook | Visitor) -> bool:
        with suppress(requests.RequestException):
            if isinstance(each, Visitor):
                return self._post_click(each)
            url = f"{self._url}/webhooks/stripe"
            answer = requests.post(
                url, data=each.body, headers=each.headers(), timeout=ANSWER_SECONDS
            )
            if answer.status_code == 200:
                self.acknowledged.add(each.id)
            return answer.status_code == 200
        return False

    def _post_click(self, visitor: Visitor) -> bool:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        url = f"{self._url}/clicks"
        answer = requests.post(url, json=visitor.body, headers=headers, timeout=ANSWER_SECONDS)
        return answer.status_code == 201


class Served:
    """Keep a `bridge serve` running as a platform does: what has ended is started again."""

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.starts = 0
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._seen: set[int] = set()
        self._serve = self._start()

    def wait_ready(self, patience: float) -> None:
        """Wait until it answers and has a worker, starting it anew wherever it has ended."""
        _poll(self._is_ready, patience, "the bridge to be ready")

    def kill(self, target: str) -> None:
        """Kill a part of it outright: web, work, serve (which takes the others along), or all."""
        workers = set(self._serve.children(" work "))
        webs = set(self._serve.children()) - workers
        self._seen |= workers | webs
        victims = {"work": workers, "web": webs, "serve": {self._serve.pid}}
        for pid in victims.get(target, {self._serve.pid} | workers | webs):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if target in {"serve", "all"}:
            self._serve.process.wait()

    def stop(self, patience: float) -> None:
        """Stop it in order, and wait for every process of it."""
        self._seen |= set(self._serve.children())
        if self._serve.process.poll() is None:
            code = self._serve.end()
            assert code == 0, f"bridge serve ended with {code}: {self._serve.said()[-2000:]}"
        _poll(lambda: not any(map(is_alive, self._seen)), patience, "all processes to end")

    def start(self) -> None:
        """Start it again."""
        self._serve = self._start()

    def close(self) -> None:
        """End all that was ever started."""
        self._serve.kill_all()
        for pid in filter(is_alive, self._seen):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _start(self) -> Running:
        self.starts += 1
        return Running(["serve", "--port", str(self._port)], self.settings, self.folder)

    def _is_ready(self) -> bool:
        if self._serve.process.poll() is not None:
            self.start()
        with suppress(requests.RequestException):
            children = self._serve.children(" work ")
            self._seen |= set(children)
            ready = requests.get(f"{self.url}/readyz", timeout=ANSWER_SECONDS).ok
            return ready and bool(children)
        return False


# ── the storm ────────────────────────────────────────────────────────────────────────────────────

TARGETS = {"work": 9, "web": 4, "all": 4, "serve": 3}


def storm(plan: Plan, folder: Path, say: Callable[[str], None] = lambda _: None) -> Report:
    """Let a storm pass over a bridge in a folder, and audit what it leaves behind."""
    shop = open_shop(plan.seed, plan.orders, plan.webhooks)
    began = time.monotonic()
    with serve_sandbox() as vendors:
        served = Served(vendors_at(vendors.url), folder)
        try:
            served.wait_ready(plan.patience)
            with Provider(served.url, shop.arrivals) as provider:
                kills = _kill(plan, served, provider, vendors, say)
                provider.allow(len(shop.arrivals))
                provider.wait_for(len(shop.arrivals), plan.patience)
            _poll(partial(_is_idle, folder / DATABASE), plan.patience, "every vendor to be tried")
            say("all is acknowledged and was tried; the vendors behave again")
            vendors.faults.clear()
            _settle(plan, served, folder / DATABASE, say)
            found = _audited(shop, vendors, folder, provider)
        finally:
            served.close()
        ledger = vendors.ledger.as_json()
        return Report(
            plan=plan,
            audit=found,
            webhooks=shop.webhooks,
            calls={name: account["calls"] for name, account in ledger.items()},
            met=vendors.faults.met(),
            kills=kills,
            starts=served.starts,
            seconds=time.monotonic() - began,
            held={name: len(account["sales"]) for name, account in ledger.items()},
        )


def _audited(shop: Shop, vendors: RunningSandbox, folder: Path, provider: Provider) -> Audit:
    ledger = vendors.ledger.as_json()
    found = audit(shop.orders, ledger, folder / DATABASE, provider.acknowledged)
    for log in sorted(folder.glob("*.log")):
        lines = log.read_text("utf-8").splitlines()
        bad = (line for line in lines if any(words in line for words in SURPRISES))
        found.findings += [Finding("bridge", STATE, "log", line[:300]) for line in bad]
    return found


def _kill(
    plan: Plan,
    served: Served,
    provider: Provider,
    vendors: RunningSandbox,
    say: Callable[[str], None],
) -> Counter[str]:
    """Kill something now and then, each time under load.

    More is sent after each kill, and the vendors are told some more before the next.
    """
    dice = random.Random(plan.seed)  # noqa: S311 - the same storm again is what is wanted
    killed: Counter[str] = Counter()
    for number in range(plan.kills):
        _misbehave(plan, vendors, dice)
        begin, end = (plan.webhooks * each // (plan.kills + 1) for each in (number, number + 1))
        provider.allow(end)
        provider.wait_for(dice.randrange(begin, end), plan.patience)
        _wait_for_calls(plan, vendors, dice, served.folder / DATABASE)
        target = dice.choices(list(TARGETS), list(TARGETS.values()))[0]
        say(f"kill {number + 1} of {plan.kills}: {target}")
        served.kill(target)
        killed[target] += 1
        served.wait_ready(plan.patience)
    _misbehave(plan, vendors, dice)
    return killed


def _wait_for_calls(
    plan: Plan, vendors: RunningSandbox, dice: random.Random, database: Path
) -> None:
    """Wait until some calls more have been made, or no more are to be made now."""
    more = dice.randint(1, max(plan.orders * CALLS_PER_ORDER // plan.kills, 1))
    enough = _calls(vendors) + more
    _poll(
        lambda: _calls(vendors) >= enough or _is_idle(database), plan.patience, f"{more} more calls"
    )


def _calls(vendors: RunningSandbox) -> int:
    return sum(account["calls"] for account in vendors.ledger.as_json().values())


def _misbehave(plan: Plan, vendors: RunningSandbox, dice: random.Random) -> None:
    for vendor in plan.failing:
        faults = [*FAULTS, *([] if vendor in SPEECHLESS else GARBAGE)]
        faults += COUNTED if vendor in TAKES_BACK else []
        faults += [HANG] * plan.hangs
        down = dice.random() < DOWN_SHARE
        vendors.faults.begin(
            vendor,
            DOWN if down else faults,
            1.0 if down else plan.share,
            seed=dice.getrandbits(32),
        )


# ── after the storm ──────────────────────────────────────────────────────────────────────────────


def _settle(plan: Plan, served: Served, database: Path, say: Callable[[str], None]) -> None:
    """Wait until nothing is left to do, having what waits for its retry come due now."""
    if plan.leases_age:
        served.stop(plan.patience)
        say(f"{_age(database)} leases of killed workers have run out")
        served.start()
        served.wait_ready(plan.patience)

    def settled() -> bool:
        if _count(database, RECEIVED):
            return False
        if not (waiting := _count(database, "deliveries WHERE state = 'due'")):
            return not _count(database, "deliveries WHERE state = 'sending'")
        ended = run("retry", "--state", "due", settings=served.settings, folder=served.folder)
        assert ended.returncode == 0, ended.stderr
        say(f"{waiting} deliveries were due")
        return False

    _poll(settled, plan.patience, "everything to be told", pause=0.5)


def _age(database: Path) -> int:
    """Let the time pass of what nobody sees to any more: the workers that did were killed."""
    now = [iso(datetime.now(UTC))]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE gates SET paused_until = ? WHERE paused_until != ''", now)
        leases = "UPDATE deliveries SET leased_until = ? WHERE state = 'sending'"
        return connection.execute(leases, now).rowcount


RECEIVED = "events WHERE state = 'received'"
DUE_NOW = """deliveries WHERE state = 'due' AND next_attempt_at <= '{now}'
    AND vendor NOT IN (SELECT vendor FROM gates WHERE paused_until > '{now}')"""


def _is_idle(database: Path) -> bool:
    """Tell whether there is nothing that the worker could do now."""
    return not _count(database, RECEIVED) and not _count(database, DUE_NOW)


def _count(database: Path, what: str) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        sql = f"SELECT count(*) FROM {what}".format(now=iso(datetime.now(UTC)))  # noqa: S608
        (count,) = connection.execute(sql).fetchone()
        return int(count)


def _poll(done: Callable[[], bool], patience: float, what: str, pause: float = 0.02) -> None:
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(pause)
