"""Real bridge processes for tests: on free ports, with made-up settings, ended in every case."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests
from kit import API_KEY, CLICKS, VENDOR_SETTINGS
from psutil import Process

from bridge.sandbox import discover

BRIDGE = [sys.executable, "-m", "bridge"]
# A busy machine may take its time; a test that goes well does not wait.
PATIENCE = 40.0

SETTINGS = {
    "STRIPE_WEBHOOK_SECRET": "whsec_made_up_for_tests",
    "BRIDGE_API_KEY": API_KEY,
    "BRIDGE_SECRET_KEY": "secret_made_up_for_tests",
}
CLICK = {
    "customer": {"external_id": "user_1001"},
    "clicks": CLICKS,
    "context": {"ip": "203.0.113.7", "user_agent": "Mozilla/5.0", "url": "https://shop.example/"},
    "occurred_at": "2026-11-02T12:00:00Z",
}


def vendors_at(url: str) -> dict[str, str]:
    """Return all settings, with the vendors at a sandbox's address."""
    addresses = {f"{name.upper()}_BASE_URL": f"{url}/{name}" for name in discover()}
    return SETTINGS | VENDOR_SETTINGS | addresses


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with these settings (conftest has removed all others)."""
    return {**os.environ, **settings}


def free_port() -> int:
    """Return a port that nobody listens to at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(done: Callable[[], Any], what: str) -> Any:
    """Wait until something is true and return it; fail with what it was after a while."""
    deadline = time.monotonic() + PATIENCE
    while not (result := done()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)
    return result


def run(
    *arguments: str | Path, settings: Mapping[str, str] = SETTINGS, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*BRIDGE, *map(str, arguments)],
        env=environment(settings),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Running:
    """Hold a command that runs, and what it has said so far."""

    def __init__(self, arguments: Sequence[str], settings: Mapping[str, str], folder: Path) -> None:
        self.command = arguments[0]
        self._log = folder / f"{self.command}-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            # A session of its own: what a terminal's Ctrl-C reaches is this command's group.
            self.process = subprocess.Popen(
                [*BRIDGE, *arguments],
                env=environment(settings),
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.url = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return self._log.read_text("utf-8")

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(PATIENCE)

    def end(self, with_signal: int = signal.SIGTERM) -> int:
        """Signal it alone, and return its exit code."""
        self.process.send_signal(with_signal)
        return self.wait()

    def interrupt(self) -> int:
        """Press Ctrl-C in its terminal, and return its exit code."""
        os.killpg(self.pid, signal.SIGINT)
        return self.wait()

    def children(self, holding: str = "", of: Process | None = None) -> list[Process]:
        """Return the processes that it, or another, has started and whose command holds a text."""
        if of is None and self.process.poll() is not None:
            return []
        with suppress(psutil.NoSuchProcess):
            children = (of or Process(self.pid)).children()
            return [each for each in children if holding in command_of(each) and is_alive(each)]
        return []

    def worker(self) -> Process:
        """Return the worker of `bridge serve`, once it is there."""
        return self._one(lambda: self.children(" work "), "a worker")

    def processor(self) -> Process:
        """Return the process beside a worker that processes events, once it is there."""
        of = Process(self.pid) if self.command == "work" else self.worker()
        return self._one(lambda: self.children(" --events ", of), "a processor")

    def web(self) -> Process:
        """Return the process that answers requests."""
        return self._one(lambda: {*self.children()} - {*self.children(" work ")}, "web")

    def kill_all(self) -> None:
        """End it and all it has started, whatever state they are in."""
        started = self.children()
        beside = [each for one in started for each in self.children(of=one)]
        if self.process.poll() is None:
            self.process.kill()
        for each in (*started, *beside):
            kill(each)
        self.process.wait(PATIENCE)

    def _one(self, found: Callable[[], Iterable[Process]], what: str) -> Process:
        first: Process = next(iter(until(found, what)))
        return first


def is_alive(process: Process) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not.

    Nor does one whose number another has by now.
    """
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def kill(process: Process) -> None:
    """Kill a process outright, if it runs; whoever has its number by now is left alone."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


def command_of(process: Process) -> str:
    """Return the words of a process's command; none if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


@contextmanager
def running(*arguments: str, settings: Mapping[str, str], folder: Path) -> Iterator[Running]:
    """Run a command for as long as the block runs."""
    command = Running(arguments, settings, folder)
    try:
        yield command
    finally:
        command.kill_all()


@contextmanager
def serving(
    folder: Path,
    settings: Mapping[str, str] = SETTINGS,
    *,
    command: str = "serve",
    port: int | None = None,
) -> Iterator[Running]:
    """Run a server until the block ends; at its start it is ready."""
    port = port or free_port()
    with running(command, "--port", str(port), settings=settings, folder=folder) as server:
        server.url = f"http://127.0.0.1:{port}"
        until(lambda: is_ready(server), f"{command} to be ready; it said {server.said()}")
        yield server


def is_ready(server: Running) -> bool:
    """Tell whether a server answers; fail where it has ended."""
    assert server.process.poll() is None, server.said()
    try:
        return requests.get(f"{server.url}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


def post_click(url: str) -> None:
    """Store the click of the customer of invoice.paid, as a merchant's server would."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    answer = requests.post(f"{url}/clicks", json=CLICK, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text
