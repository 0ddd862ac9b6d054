"""Every commit boundary of one order's life: stop there for good, come back, and audit.

A driver without threads imports everything once. For each boundary it forks a process that lives
the life until the boundary and ends there, outright, and then one that finishes the life as the
provider and another worker would. A boundary is just before or just after a commit; one just before
the record of a call is also one between the vendor's answer and anything we know of it.

Run as a program it is the driver: chaos_boundaries.py SANDBOX_URL LIFE SIDE STEP FIRST
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import requests
from chaos_audit import VENDORS, Audit, Database, Finding, audit
from chaos_shop import Order, Teller, Visitor, Webhook
from click.testing import CliRunner
from kit import API_KEY
from running import environment, vendors_at

from bridge import config, logs
from bridge.cli import main as bridge
from bridge.http import Sender
from bridge.sandbox import serve_sandbox
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app
from bridge.worker import Worker

SIDES = ("before", "after")
STOPPED, FAILED = 99, 98
connect = sqlite3.connect
# Longer than any lease, and than any wait for a retry.
LATER = timedelta(days=1)
MOST_ROUNDS = 10
WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "VACUUM")
Stages = list[list[Webhook | Visitor]]


@dataclass(frozen=True)
class Case:
    """Hold what came of stopping at one boundary."""

    life: str
    side: str
    number: int
    stopped: bool
    unknown: tuple[str, ...]
    findings: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        return f"{self.life}, {self.side} commit {self.number}: {'; '.join(self.findings)}"


# ── lives ────────────────────────────────────────────────────────────────────────────────────────


def life_of(name: str) -> tuple[Order, Stages]:
    """Return an order and what arrives of it, in stages between which the worker is done."""
    order = Order(1, Visitor(1), "EUR", paid=4900, tax=800)
    teller = Teller(order)
    stages: Stages = [[order.visitor]]
    for act in LIVES[name]:
        told = len(teller.webhooks)
        act(teller)
        stages.append(list(teller.webhooks[told:]))
    stages[:2] = [[*stages[0], *stages[1]]]
    return order, stages


Act = Callable[[Teller], object]
LIVES: Mapping[str, tuple[Act, ...]] = {
    "refunded": (
        Teller.sale,
        partial(Teller.refund, amount=900),
        partial(Teller.refund, amount=4000),
    ),
    "won back": (
        Teller.sale,
        partial(Teller.refund, amount=900),
        Teller.withdraw,
        partial(Teller.decide, won=True),
    ),
    "lost": (partial(Teller.sale, more=2), Teller.withdraw, partial(Teller.decide, won=False)),
}


# ── asking for it ────────────────────────────────────────────────────────────────────────────────


def enumerate_boundaries(life: str, *, step: int = 1, first: int = 1) -> list[Case]:
    """Stop at every boundary of a life (or every so many), and return what came of each."""
    with ThreadPoolExecutor(len(SIDES)) as pool:
        both = pool.map(lambda side: _enumerate(life, side, step, first), SIDES)
        return [case for cases in both for case in cases]


def _enumerate(life: str, side: str, step: int, first: int) -> list[Case]:
    with serve_sandbox() as vendors:
        command = [sys.executable, __file__, vendors.url, life, side, str(step), str(first)]
        ended = subprocess.run(
            command,
            env=environment(vendors_at(vendors.url)),
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    return [_case(json.loads(line)) for line in ended.stdout.splitlines()]


def _case(plain: dict[str, Any]) -> Case:
    lists = {name: tuple(plain[name]) for name in ("unknown", "findings")}
    return Case(**{**plain, **lists})


# ── the driver ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Driver:
    """Fork a process for each boundary, and one that comes after it."""

    url: str
    life: str
    folder: Path
    config: config.Config = field(default_factory=config.load)

    def __post_init__(self) -> None:
        logs.configure(logs.Redactor(self.config.secrets()), quiet=True)
        self.template = self.folder / "template.db"
        store = SqliteStore(str(self.template))
        store.migrate()
        store.close()
        # What is worked out only once need not be worked out in every fork.
        self._rehearse()

    def cases(self, side: str, step: int, first: int) -> Iterator[Case]:
        """Go through all boundaries, until the life runs through without meeting one."""
        number, stopped = first, True
        while stopped:
            case = self.case(side, number)
            yield case
            number, stopped = number + step, case.stopped

    def case(self, side: str, number: int) -> Case:
        """Stop at one boundary, come back, and look."""
        place = self._place(f"{side}-{number}")
        requests.delete(f"{self.url}/ledger", timeout=10).raise_for_status()
        ended = _in_a_fork(partial(self._live, place, side, number))
        finished = _in_a_fork(partial(self._finish, place))
        if ended not in {0, STOPPED} or finished != 0:
            raise RuntimeError(f"{side} {number}: the processes ended with {ended}, {finished}")
        found = json.loads((place / "found.json").read_text("utf-8"))
        shutil.rmtree(place)
        return Case(self.life, side, number, ended == STOPPED, **found)

    def _place(self, name: str) -> Path:
        place = self.folder / name
        place.mkdir()
        shutil.copy(self.template, place / "bridge.db")
        return place

    def _rehearse(self) -> None:
        one = Place(self._place("rehearsal"), self.config)
        one.live(life_of(self.life)[1])
        one.close()

    def _live(self, place: Path, side: str, number: int) -> None:
        watch(side, number)
        Place(place, self.config).live(life_of(self.life)[1])

    def _finish(self, place: Path) -> None:
        connect_as(Hasty)
        acknowledged = Place.acknowledged(place)
        order, stages = life_of(self.life)
        database = place / "bridge.db"
        stored = {each["id"] for each in Database(database).events}
        findings = [Finding("bridge", "lost", id) for id in sorted(acknowledged - stored)]
        one = Place(place, self.config)
        one.live(stages, meanwhile=LATER)  # the provider cannot know what of it has arrived
        one.settle()
        found = self._audit(order, one)
        unknown = found.unknown
        findings += found.findings
        for id in unknown:
            self._resolve(id, order, database)
        one.settle()
        found = self._audit(order, one)
        findings += found.findings
        findings += [Finding("bridge", "unknown after it was resolved", id) for id in found.unknown]
        words = list(dict.fromkeys(map(str, findings)))
        result = {"unknown": unknown, "findings": words}
        (place / "found.json").write_text(json.dumps(result), "utf-8")

    def _audit(self, order: Order, one: Place) -> Audit:
        return audit([order], self._ledger(), one.database, one.acknowledged(one.folder))

    def _resolve(self, id: str, order: Order, database: Path) -> None:
        """Look at the vendor, and say what became of the call, as the merchant would."""
        sales = self._ledger()[id.rpartition("@")[2]]["sales"]
        there = any(each["order"] == order.id for each in sales)
        os.environ["DATABASE_URL"] = f"sqlite:///{database}"
        answer = "--delivered" if there else "--resend"
        done = CliRunner().invoke(bridge, ["resolve", id, answer])
        if done.exit_code:
            raise RuntimeError(done.output)

    def _ledger(self) -> dict[str, Any]:
        ledger: dict[str, Any] = requests.get(f"{self.url}/ledger", timeout=10).json()
        return ledger


class Place:
    """Hold a bridge over the database in a folder, whose worker's clock can be moved on."""

    def __init__(self, folder: Path, settings: config.Config) -> None:
        self.folder = folder
        self.database = folder / "bridge.db"
        self._ahead = timedelta(0)
        self._store = SqliteStore(str(self.database))
        self._web = create_app(settings, self._store).test_client()
        self.worker = Worker(self._store, settings, sender=Sender(), clock=self._now)
        self._notes = os.open(folder / "acknowledged", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def send(self, each: Webhook | Visitor) -> None:
        """Send a webhook or a click, and note that it was acknowledged."""
        if isinstance(each, Visitor):
            key = {"Authorization": f"Bearer {API_KEY}"}
            answer = self._web.post("/clicks", json=each.body, headers=key)
        else:
            answer = self._web.post("/webhooks/stripe", data=each.body, headers=each.headers())
        if answer.status_code not in {200, 201}:
            raise RuntimeError(answer.get_data(as_text=True))
        if isinstance(each, Webhook):
            os.write(self._notes, f"{each.id}\n".encode())

    @staticmethod
    def acknowledged(folder: Path) -> set[str]:
        """Return the webhooks that have been acknowledged so far."""
        notes = folder / "acknowledged"
        return set(notes.read_text("utf-8").split()) if notes.exists() else set()

    def live(self, stages: Stages, meanwhile: timedelta = timedelta(0)) -> None:
        """Live a life, with some time before each stage of it."""
        for stage in stages:
            self._ahead += meanwhile
            for each in stage:
                self.send(each)
            self.worker.drain()

    def settle(self) -> None:
        """Work until nothing is left to do."""
        for _ in range(MOST_ROUNDS):
            self._ahead += LATER
            self.worker.drain()
            if self._store.deliveries.next_at(VENDORS) is None:
                return

    def close(self) -> None:
        """Leave nothing open."""
        self.worker.close()
        self._store.close()
        os.close(self._notes)

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._ahead


def _in_a_fork(work: Callable[[], None]) -> int:
    """Do some work in a process of its own, and return its exit code."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = FAILED
        try:
            work()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ── boundaries ───────────────────────────────────────────────────────────────────────────────────


class Boundary:
    """Count the commits of this process, and end it just before or after one of them."""

    def __init__(self, side: str, number: int) -> None:
        self._side, self._number = side, number
        self._reached = 0

    def before(self) -> None:
        self._reached += 1
        self._stop("before")

    def after(self, cursor: sqlite3.Cursor) -> None:
        if self._reached == self._number:
            cursor.fetchall()  # a statement that returns rows commits with the last of them
        self._stop("after")

    def _stop(self, side: str) -> None:
        if (side, self._reached) == (self._side, self._number):
            os._exit(STOPPED)


class Hasty(sqlite3.Connection):
    """Wait for no disk: the machine stays up, whatever process ends."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        hasty = "PRAGMA synchronous = OFF" if sql.startswith("PRAGMA synchronous") else sql
        return super().execute(hasty, parameters)


class Watched(Hasty):
    """Tell a boundary of each commit, whether asked for or made by a single statement."""

    boundary: Boundary

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if not self._commits(sql.split(maxsplit=1)[0].upper()):
            return super().execute(sql, parameters)
        self.boundary.before()
        cursor = super().execute(sql, parameters)
        self.boundary.after(cursor)
        return cursor

    def _commits(self, word: str) -> bool:
        return word == "COMMIT" or (word in WRITES and not self.in_transaction)


def watch(side: str, number: int) -> None:
    """Have this process end at a boundary: with every connection that it opens from now on."""
    Watched.boundary = Boundary(side, number)
    connect_as(Watched)


def connect_as(kind: type[sqlite3.Connection]) -> None:
    """Have this process open its databases with another class of connections."""
    sqlite3.connect = cast(Any, partial(connect, factory=kind))


def _drive(arguments: Iterable[str]) -> None:
    url, life, side, step, first = arguments
    with tempfile.TemporaryDirectory(prefix="bridge-boundaries-") as folder:
        for case in Driver(url, life, Path(folder)).cases(side, int(step), int(first)):
            print(json.dumps(case.__dict__), flush=True)


if __name__ == "__main__":
    _drive(sys.argv[1:])
