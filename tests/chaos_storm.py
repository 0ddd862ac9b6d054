"""The storm: a real bridge under load, killed again and again while vendors misbehave.

Webhooks and clicks go to a real bridge as a provider and a merchant send them: until they are
acknowledged. When all of them are, the storm is over: vendors behave, and what waits comes due.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import postgres
from chaos_audit import STATE, TAKES_BACK, VENDORS, Audit, Finding, audit
from chaos_database import DUE, RECEIVED, SENDING, Address, age, count, is_idle
from chaos_processes import Fleet, Kept, Provider, Served, poll
from chaos_shop import Shop, open_shop
from running import run, vendors_at

from bridge.sandbox import RunningSandbox, serve_sandbox
from bridge.sandbox.faults import Fault

DOWN_SHARE = 0.15
# About so many calls does an order take at all vendors together.
CALLS_PER_ORDER = 6
SQLITE, POSTGRES = "sqlite", "postgres"
# What a process logs where something happens that nobody has thought of.
SURPRISES = {"Traceback", "work failed", "web failed", "store failed"}
EXPECTED_OF_OUTAGES = {"store failed"}
LONGEST_OUTAGE = 3.0
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
    Fault(status=200, body=PAGE),
    Fault(status=200, body=PAGE, commit=True),
)
# Not failures, but it is during such calls that processes are best killed.
SLOW = (Fault(commit_then_hang=0.5), Fault(delay=0.3))
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
    some calls are not answered at all. Vendors that fail `to_the_end` do so until all is told:
    they fail just that share, and are never down altogether.

    With `webs` and `workers` there are so many processes of each, in place of one `bridge serve`.
    The server of PostgreSQL is restarted in each of the `outages`, beside the kills.
    """

    seed: int
    orders: int = 40
    webhooks: int = 200
    kills: int = 4
    failing: tuple[str, ...] = VENDORS
    share: float = 1 / 3
    leases_age: bool = False
    hangs: bool = False
    to_the_end: bool = False
    database: str = SQLITE
    webs: int = 0
    workers: int = 0
    outages: int = 0
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


# ── the storm ────────────────────────────────────────────────────────────────────────────────────


def storm(plan: Plan, folder: Path, say: Callable[[str], None] = lambda _: None) -> Report:
    """Let a storm pass over a bridge in a folder, and audit what it leaves behind."""
    shop = open_shop(plan.seed, plan.orders, plan.webhooks)
    database = folder / "bridge.db" if plan.database == SQLITE else postgres.empty()
    began = time.monotonic()
    with serve_sandbox() as vendors:
        served = _kept(plan, vendors.url, folder, database)
        try:
            served.wait_ready(plan.patience)
            with Provider(served.urls, shop.arrivals) as provider:
                kills = _kill(plan, served, provider, vendors, database, say)
                provider.allow(len(shop.arrivals))
                provider.wait_for(len(shop.arrivals), plan.patience)
            poll(partial(is_idle, database), plan.patience, "every vendor to be tried")
            say("all is acknowledged and was tried")
            if not plan.to_the_end:
                vendors.faults.clear()
            _settle(plan, served, database, say)
            found = _audited(plan, shop, vendors, folder, database, provider)
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


def _kept(plan: Plan, url: str, folder: Path, database: Address) -> Kept:
    where = database if isinstance(database, str) else f"sqlite:///{database}"
    settings = vendors_at(url) | {"DATABASE_URL": where}
    if plan.webs or plan.workers:
        return Fleet(settings, folder, plan.webs, plan.workers, plan.seed)
    return Served(settings, folder)


def _audited(
    plan: Plan,
    shop: Shop,
    vendors: RunningSandbox,
    folder: Path,
    database: Address,
    provider: Provider,
) -> Audit:
    surprises = SURPRISES - (EXPECTED_OF_OUTAGES if plan.outages else set())
    ledger = vendors.ledger.as_json()
    found = audit(shop.orders, ledger, database, provider.acknowledged)
    for log in sorted(folder.glob("*.log")):
        lines = log.read_text("utf-8").splitlines()
        bad = (line for line in lines if any(words in line for words in surprises))
        found.findings += [Finding("bridge", STATE, "log", line[:300]) for line in bad]
    return found


def _kill(
    plan: Plan,
    served: Kept,
    provider: Provider,
    vendors: RunningSandbox,
    database: Address,
    say: Callable[[str], None],
) -> Counter[str]:
    """Kill something now and then, each time under load.

    More is sent after each kill, and the vendors are told some more before the next.
    """
    dice = random.Random(plan.seed)  # noqa: S311 - the same storm again is what is wanted
    killed: Counter[str] = Counter()
    blows = plan.kills + plan.outages
    outages = set(dice.sample(range(blows), plan.outages))
    for number in range(blows):
        _misbehave(plan, vendors, dice)
        begin, end = (plan.webhooks * each // (blows + 1) for each in (number, number + 1))
        provider.allow(end)
        provider.wait_for(dice.randrange(begin, end), plan.patience)
        _wait_for_calls(plan, vendors, dice, database)
        target = dice.choices(list(served.targets), list(served.targets.values()))[0]
        if number in outages:
            say(f"blow {number + 1} of {blows}: the database")
            _restart_database(dice)
        else:
            say(f"blow {number + 1} of {blows}: {target}")
            served.kill(target)
            killed[target] += 1
        served.wait_ready(plan.patience)
    _misbehave(plan, vendors, dice)
    return killed


def _restart_database(dice: random.Random) -> None:
    """Have the database away for a while; those who need it wait, or come again."""
    postgres.server().stop()
    time.sleep(dice.uniform(0, LONGEST_OUTAGE))
    postgres.server().start()


def _wait_for_calls(
    plan: Plan, vendors: RunningSandbox, dice: random.Random, database: Address
) -> None:
    """Wait until some calls more have been made, or no more are to be made now."""
    more = dice.randint(1, max(plan.orders * CALLS_PER_ORDER // (plan.kills + plan.outages), 1))
    enough = _calls(vendors) + more
    poll(
        lambda: _calls(vendors) >= enough or is_idle(database), plan.patience, f"{more} more calls"
    )


def _calls(vendors: RunningSandbox) -> int:
    return sum(account["calls"] for account in vendors.ledger.as_json().values())


def _misbehave(plan: Plan, vendors: RunningSandbox, dice: random.Random) -> None:
    for vendor in plan.failing:
        faults = [*FAULTS, *([] if vendor in SPEECHLESS else GARBAGE)]
        faults += COUNTED if vendor in TAKES_BACK else []
        faults += [HANG] * plan.hangs
        faults += [] if plan.to_the_end else SLOW
        down = dice.random() < DOWN_SHARE and not plan.to_the_end
        vendors.faults.begin(
            vendor,
            DOWN if down else faults,
            1.0 if down else plan.share,
            seed=dice.getrandbits(32),
        )


# ── after the storm ──────────────────────────────────────────────────────────────────────────────


def _settle(plan: Plan, served: Kept, database: Address, say: Callable[[str], None]) -> None:
    """Wait until nothing is left to do, having what waits for its retry come due now."""
    if plan.leases_age:
        served.stop(plan.patience)
        say(f"{age(database)} leases of killed workers have run out")
        served.start()
        served.wait_ready(plan.patience)

    def settled() -> bool:
        if count(database, RECEIVED):
            return False
        if not (waiting := count(database, DUE)):
            return not count(database, SENDING)
        ended = run("retry", "--state", "due", settings=served.settings, folder=served.folder)
        assert ended.returncode == 0, ended.stderr
        say(f"{waiting} deliveries were due")
        return False

    poll(settled, plan.patience, "everything to be told", pause=0.5)
