"""Real bridge processes for tests: on free ports, with made-up settings, ended in every case."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from kit import API_KEY, CLICKS, VENDOR_SETTINGS

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

    def children(self, holding: str = "", of: int = 0) -> list[int]:
        """Return the processes that it, or another, has started and whose command holds a text."""
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,stat=,args="],
            capture_output=True,
            text=True,
            check=True,
        )
        rows = [line.split(maxsplit=3) for line in listed.stdout.splitlines()]
        return [
            int(row[0])
            for row in rows
            if int(row[1]) == (of or self.pid) and not row[2].startswith("Z") and holding in row[-1]
        ]

    def worker(self) -> int:
        """Return the worker of `bridge serve`, once it is there."""
        return int(until(lambda: self.children(" work "), "a worker")[0])

    def processor(self) -> int:
        """Return the process beside a worker that processes events, once it is there."""
        of = self.pid if self.command == "work" else self.worker()
        return int(until(lambda: self.children(" --events ", of), "a processor")[0])

    def web(self) -> int:
        """Return the process that answers requests."""
        return int(until(lambda: set(self.children()) - set(self.children(" work ")), "web").pop())

    def kill_all(self) -> None:
        """End it and all it has started, whatever state they are in."""
        started = self.children()
        beside = [pid for each in started for pid in self.children(of=each)]
        for pid in [self.pid, *started, *beside]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not."""
    listed = subprocess.run(
        ["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True, check=False
    )
    return bool(listed.stdout.strip()) and not listed.stdout.strip().startswith("Z")


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
