"""Who takes part in a storm: a provider that does not give up, and a bridge that is kept up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Condition, Event, Thread

import requests
from chaos_shop import Visitor, Webhook
from kit import API_KEY
from running import Running, free_port, is_alive

THREADS = 8
ANSWER_SECONDS = 10.0
# How soon a provider of ours sends again what was not acknowledged; a real one takes minutes.
AGAIN_SECONDS = 0.05


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
        poll(self._is_ready, patience, "the bridge to be ready")

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
        poll(lambda: not any(map(is_alive, self._seen)), patience, "all processes to end")

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


def poll(done: Callable[[], bool], patience: float, what: str, pause: float = 0.02) -> None:
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(pause)
