"""The other side of the generator and of the vendor: what a benchmark has them do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from benchmarks import stage
from benchmarks.figures import Scale

FOR_EVER = 10_000.0


@dataclass(frozen=True, slots=True)
class Sent:
    """Hold what a crowd was answered; times in milliseconds."""

    began: float
    seconds: float
    answered: int
    failed: int
    p50: float = 0.0
    p99: float = 0.0

    @property
    def rate(self) -> float:
        """Return how many were answered a second."""
        return self.answered / self.seconds


class Crowd:
    """Have a generator send; one that is prepared begins when it is told to."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.generator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=stage.REPOSITORY,
            text=True,
            start_new_session=True,
        )

    def prepare(
        self,
        urls: str | Sequence[str],
        run: str,
        count: int,
        *,
        first: int = 0,
        connections: int = 0,
        seconds: float = FOR_EVER,
        again: bool = False,
    ) -> None:
        """Have it build the webhooks of a run's sales; `again` sends them over and over."""
        order = {name: each for name, each in locals().items() if name not in {"self", "urls"}}
        order["connections"] = connections or self._connections
        all_urls = [urls] if isinstance(urls, str) else urls
        self._say(order | {"ports": [int(each.rpartition(":")[2]) for each in all_urls]})
        assert self._hear() == "ready"

    def begin(self) -> None:
        """Have it send what is prepared."""
        self._say("go")

    def result(self) -> Sent:
        """Wait until all is sent; break off if something was refused."""
        sent = Sent(**self._hear())
        if sent.failed or not sent.answered:
            raise stage.BrokenOffError(
                f"{sent.failed} of {sent.answered} webhooks were not answered 200"
            )
        return sent

    def send(self, urls: str | Sequence[str], run: str, count: int, **how: Any) -> Sent:
        """Prepare, begin, and wait."""
        self.prepare(urls, run, count, **how)
        self.begin()
        return self.result()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _say(self, what: object) -> None:
        assert self._process.stdin
        print(json.dumps(what), file=self._process.stdin, flush=True)

    def _hear(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise stage.BrokenOffError("the generator broke off")
        return json.loads(line)


@contextmanager
def crowd(scale: Scale) -> Iterator[Crowd]:
    """Run a generator."""
    one = Crowd(scale.connections)
    try:
        yield one
    finally:
        one.close()


class Vendor:
    """Ask the vendor's stand-in."""

    def __init__(self, url: str) -> None:
        self.url = url

    def slow_down(self, milliseconds: int) -> None:
        """Have each call take so long."""
        requests.put(f"{self.url}/delay/{milliseconds}", timeout=10).raise_for_status()

    def forget(self) -> None:
        """Have it forget the calls so far."""
        requests.delete(f"{self.url}/calls", timeout=10).raise_for_status()

    def count(self) -> int:
        """Return how many calls have come."""
        return int(requests.get(f"{self.url}/count", timeout=10).json())

    def calls(self) -> list[tuple[str, float]]:
        """Return the order that each call told of, and when it came."""
        return [(order, at) for order, at in requests.get(f"{self.url}/calls", timeout=10).json()]


@contextmanager
def vendor() -> Iterator[Vendor]:
    """Run a stand-in for Taapit that costs as little as can be."""
    port = stage.free_port()
    one = Vendor(f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "benchmarks.vendor", str(port)]
    with stage.program(command):
        stage.wait(lambda: stage.answers(f"{one.url}/count"), "the vendor to answer")
        yield one
