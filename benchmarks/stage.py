"""What benchmarks share: a bridge and what it is measured against, as real processes."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import requests

from benchmarks import handwritten, sales
from benchmarks.forked import Forked

REPOSITORY = sales.REPOSITORY
API_KEY = "made up to measure with"
VENDORS = ("codeqr", "taapit", "tapfiliate", "tracify", "trackdesk")
OWN = {
    "BRIDGE_API_KEY": API_KEY,
    "BRIDGE_SECRET_KEY": "made up to measure with, too",
    "STRIPE_WEBHOOK_SECRET": sales.SECRET,
}
TAAPIT = {"TAAPIT_API_KEY": "taapit_sk_made_up"}
ALL_VENDORS = TAAPIT | {
    "CODEQR_API_KEY": "made-up",
    "TRACKDESK_TENANT_ID": "made-up",
    "TRACKDESK_REVENUE_ORIGIN_ID": "4f8f3c1e-6f0b-4b57-9f5e-1d2c3b4a5f60",
    "TAPFILIATE_API_KEY": "made-up",
    "TRACIFY_TOKEN": "made-up",
    "TRACIFY_CUSTOMER_SITE_ID": "7d9f1b52-3c64-4e0f-8a1b-2c3d4e5f6071",
    "TRACIFY_ORIGIN": "https://shop.example",
}
START_SECONDS = 60.0
# What a worker says, and its processor beside it.
WORKING = (b"event=working", b"event=processing")


Process = subprocess.Popen[bytes] | Forked


class BrokenOffError(Exception):
    """Say why a benchmark cannot go on."""


class Trial:
    """Hold whether this only shows that everything runs."""

    on = False


@contextmanager
def running(*arguments: str, settings: Mapping[str, str], log: Path) -> Iterator[Process]:
    """Run a command of bridge's until the block ends, beside its log."""
    if not Trial.on:
        command = [sys.executable, "-m", "bridge", *arguments]
        with program(command, settings, log, log.parent) as process:
            yield process
        return
    log.touch()
    with _until_the_end(Forked(arguments, _environment(settings), log)) as forked:
        yield forked


@contextmanager
def program(
    command: Sequence[str],
    settings: Mapping[str, str] | None = None,
    log: Path | None = None,
    folder: Path = REPOSITORY,
) -> Iterator[Process]:
    """Run a program with these settings alone until the block ends."""
    with open(log or os.devnull, "ab") as output:
        process = subprocess.Popen(
            command,
            env=_environment(settings or {}),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with _until_the_end(process):
        yield process


@contextmanager
def _until_the_end(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: each for name, each in os.environ.items() if not _is_setting(name)}
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {**inherited, "PYTHONPATH": path, **settings}


def _is_setting(name: str) -> bool:
    prefixes = ("BRIDGE_", "STRIPE_", "PADDLE_", "SHOPIFY_", *(f"{v.upper()}_" for v in VENDORS))
    return name.startswith(prefixes) or name in {
        "DATABASE_URL",
        "HOST",
        "PORT",
        "WEB_CONCURRENCY",
    }


@contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """Run the sandbox's stand-ins for all vendors; yield their address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running("sandbox", "--port", str(port), settings={}, log=folder / "sandbox.log"):
        wait(lambda: answers(f"{url}/ledger"), "the sandbox to answer")
        yield url


class Bridge:
    """A bridge with a database of its own, of which any part may run."""

    def __init__(self, folder: Path, settings: Mapping[str, str], database: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.path = folder / "bridge.db"
        self.settings = OWN | {"DATABASE_URL": database or f"sqlite:///{self.path}"}
        self.settings |= settings

    def do(self, *arguments: str) -> None:
        """Run one command to its end."""
        with self._running(*arguments) as process:
            if process.wait():
                raise BrokenOffError(f"`bridge {' '.join(arguments)}` failed; see {self._log}")

    def know_clicks(self, names: Sequence[str]) -> None:
        """Have it know the click of each sale's customer."""
        path = self.folder / "clicks.csv"
        sales.write_clicks(path, names)
        self.do("clicks", "import", str(path))

    def count(self, table: str, state: str) -> int:
        """Return how many rows of a table are in a state."""
        sql = f"SELECT count(*) FROM {table} WHERE state = ?"  # noqa: S608
        with closing(sqlite3.connect(self.path)) as db:
            return int(db.execute(sql, [state]).fetchone()[0])

    def fresh(self) -> str:
        """Return a name for a run that no other run on its database has."""
        return f"{self.folder.name}{secrets.token_hex(4)}"

    @contextmanager
    def serve(self, **settings: str) -> Iterator[str]:
        """Run web and worker, and wait until both are there; yield the address."""
        if Trial.on:  # a worker that is forked is there sooner than one that is a program
            with self.web(**settings) as url, self.work(**settings):
                yield url
            return
        with self.started("serve", **settings) as (url, _):
            yield url

    @contextmanager
    def web(self, **settings: str) -> Iterator[str]:
        """Run `bridge web`; yield its address."""
        with self.started("web", **settings) as (url, _):
            yield url

    @contextmanager
    def started(self, command: str, **settings: str) -> Iterator[tuple[str, int]]:
        """Run `bridge serve` or `bridge web`; yield its address, and its process id."""
        port, before = free_port(), self._workers_begun()
        url = f"http://127.0.0.1:{port}"
        arguments = (command, "--host", "127.0.0.1", "--port", str(port))
        with self._running(*arguments, **settings) as process:
            wait(lambda: answers(f"{url}/readyz"), f"`bridge {command}` to answer")
            if command == "serve":
                wait(lambda: self._workers_begun() > before, "its worker to begin")
            yield url, process.pid

    @contextmanager
    def work(self, **settings: str) -> Iterator[None]:
        """Run `bridge work`, and wait until it takes what is due."""
        before = self._workers_begun()
        with self._running("work", **settings):
            wait(lambda: self._workers_begun() > before, "`bridge work` to begin")
            yield

    def _running(self, *arguments: str, **settings: str) -> AbstractContextManager[Process]:
        return running(*arguments, settings=self.settings | settings, log=self._log)

    def _workers_begun(self) -> int:
        said = self._log.read_bytes() if self._log.exists() else b""
        return min(map(said.count, WORKING))

    @property
    def _log(self) -> Path:
        return self.folder / "bridge.log"


def taapit(url: str) -> dict[str, str]:
    """Return the settings of a merchant whose only vendor is Taapit."""
    return TAAPIT | {"TAAPIT_BASE_URL": url}


def all_vendors(url: str) -> dict[str, str]:
    """Return the settings of a merchant with all vendors, at a sandbox's address."""
    return ALL_VENDORS | {f"{name.upper()}_BASE_URL": f"{url}/{name}" for name in VENDORS}


@contextmanager
def empty() -> Iterator[str]:
    """Run the empty view; yield its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with program([sys.executable, "-m", "benchmarks.empty", str(port)]):
        wait(lambda: _is_empty(url), "the empty view to answer")
        yield url


@contextmanager
def by_hand(folder: Path, vendor: str) -> Iterator[tuple[str, Path]]:
    """Run the handwritten handler; yield its address and its database."""
    port = free_port()
    url, database = f"http://127.0.0.1:{port}", folder / "handwritten.db"
    handwritten.prepare(str(database))
    settings = {
        "HANDWRITTEN_DATABASE": str(database),
        "HANDWRITTEN_VENDOR": vendor,
        "HANDWRITTEN_SECRET": sales.SECRET,
    }
    with program(_served(port), settings, folder / "handwritten.log"):
        wait(lambda: answers(url, 404), "the handwritten handler to answer")
        yield url, database


def has_gunicorn() -> bool:
    """Tell whether the handwritten handler runs under gunicorn, as most do."""
    return find_spec("gunicorn") is not None


def _served(port: int) -> list[str]:
    if not has_gunicorn():
        return [sys.executable, "-m", "benchmarks.handwritten", str(port)]
    how = ["-w", str(handwritten.PROCESSES), "--threads", str(handwritten.THREADS)]
    where = ["-b", f"127.0.0.1:{port}", "--no-control-socket", "benchmarks.handwritten:app"]
    return [sys.executable, "-m", "gunicorn", *how, *where]


def wait(done: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until something is true; break off if that takes too long."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise BrokenOffError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.05)


def free_port() -> int:
    """Return a port that nobody listens to at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str, status: int = 200) -> bool:
    """Tell whether somebody answers at an address, and so."""
    try:
        return requests.get(url, timeout=2).status_code == status
    except requests.RequestException:
        return False


def _is_empty(url: str) -> bool:
    try:
        answer = requests.post(f"{url}/webhooks/stripe", data=b"{}", timeout=2)
    except requests.RequestException:
        return False
    return answer.status_code == 200 and not answer.content
