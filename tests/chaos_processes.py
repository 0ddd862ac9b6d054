"""Who takes part in a storm: a provider that does not give up, and a bridge that is kept up.

The bridge is one `bridge serve`, or several web processes and several workers side by side.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Protocol

import requests
from chaos_shop import Visitor, Webhook
from kit import API_KEY
from psutil import Process
from running import Running, free_port, is_alive, kill

THREADS = 8
ANSWER_SECONDS = 10.0
# How soon a provider of ours sends again what was not acknowledged; a real one takes minutes.
AGAIN_SECONDS = 0.05
# How soon a platform starts again what has ended.
WATCH_SECONDS = 0.1


class Provider:
    """Send everything that arrives, from many threads, each until it is acknowledged.

    Where there are several addresses it spreads over them, as what stands before a bridge does:
    who is refused at one tries the next.
    """

    def __init__(self, urls: Sequence[str], arrivals: Sequence[Webhook | Visitor]) -> None:
        self._urls = urls
        self._tries = count()
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
        to = self._urls[next(self._tries) % len(self._urls)]
        with suppress(requests.RequestException):
            if isinstance(each, Visitor):
                return self._post_click(each, to)
            url = f"{to}/webhooks/stripe"
            answer = requests.post(
                url, data=each.body, headers=each.headers(), timeout=ANSWER_SECONDS
            )
            if answer.status_code == 200:
                self.acknowledged.add(each.id)
            return answer.status_code == 200
        return False

    def _post_click(self, visitor: Visitor, to: str) -> bool:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        url = f"{to}/clicks"
        answer = requests.post(url, json=visitor.body, headers=headers, timeout=ANSWER_SECONDS)
        return answer.status_code == 201


class Kept(Protocol):
    """Keep a bridge running as a platform does: what has ended is started again."""

    settings: Mapping[str, str]
    folder: Path
    urls: Sequence[str]
    # What of it may be killed, and how often each.
    targets: Mapping[str, int]
    starts: int

    def wait_ready(self, patience: float) -> None:
        """Wait until webhooks are taken and worked on."""

    def kill(self, target: str) -> None:
        """Kill a part of it outright."""

    def stop(self, patience: float) -> None:
        """Stop all of it in order, and wait for every process."""

    def start(self) -> None:
        """Start it again."""

    def close(self) -> None:
        """End all that was ever started."""


class Served:
    """Keep a `bridge serve` running."""

    targets: Mapping[str, int] = {"work": 5, "events": 5, "web": 4, "all": 3, "serve": 3}

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.starts = 0
        self._port = free_port()
        self.urls: Sequence[str] = [f"http://127.0.0.1:{self._port}"]
        self._seen: set[Process] = set()
        self._serve = self._start()

    def wait_ready(self, patience: float) -> None:
        """Wait until it answers and has a worker, starting it anew wherever it has ended."""
        poll(self._is_ready, patience, "the bridge to be ready")

    def kill(self, target: str) -> None:
        """Kill a part of it outright: web, the two for the work, or serve, alone or with all."""
        workers = set(self._serve.children(" work "))
        webs = set(self._serve.children()) - workers
        events = self._processors(workers)
        self._seen |= workers | webs | events
        victims = {"work": workers, "events": events, "web": webs, "serve": set[Process]()}
        for each in victims.get(target, workers | webs | events):
            kill(each)
        if target in {"serve", "all"}:
            self._serve.process.kill()
            self._serve.process.wait()

    def stop(self, patience: float) -> None:
        """Stop it in order, and wait for every process of it."""
        children = set(self._serve.children())
        self._seen |= children | self._processors(children)
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
        for each in self._seen:
            kill(each)

    def _processors(self, workers: Iterable[Process]) -> set[Process]:
        return {found for each in workers for found in self._serve.children(" --events ", each)}

    def _start(self) -> Running:
        self.starts += 1
        return Running(["serve", "--port", str(self._port)], self.settings, self.folder)

    def _is_ready(self) -> bool:
        if self._serve.process.poll() is not None:
            self.start()
        with suppress(requests.RequestException):
            children = self._serve.children(" work ")
            self._seen |= set(children)
            ready = requests.get(f"{self.urls[0]}/readyz", timeout=ANSWER_SECONDS).ok
            return ready and bool(children)
        return False


class Fleet:
    """Keep so many `bridge web` and `bridge work` running, each on its own.

    A web process is one that supervises and one that answers, a worker one that delivers and one
    that processes events: either may be the one that is killed.
    """

    def __init__(
        self, settings: Mapping[str, str], folder: Path, webs: int, workers: int, seed: int = 0
    ) -> None:
        self.settings, self.folder = settings, folder
        self.starts = 0
        ports = [free_port() for _ in range(webs)]
        self.urls: Sequence[str] = [f"http://127.0.0.1:{port}" for port in ports]
        self._commands = {
            f"web {at}": ["web", "--port", str(port)] for at, port in enumerate(ports)
        }
        self._commands |= {f"work {at}": ["work"] for at in range(workers)}
        self.targets: Mapping[str, int] = dict.fromkeys(self._commands, 1)
        self._dice = random.Random(seed)  # noqa: S311 - the same storm again is what is wanted
        self._running: dict[str, Running] = {}
        self.start()

    def wait_ready(self, patience: float) -> None:
        """Wait until one web process at least answers, and one worker at least works."""
        poll(partial(self._is_ready, any), patience, "the bridge to be ready")

    def kill(self, target: str) -> None:
        """Kill one process outright."""
        one = self._running[target]
        second = one.children()
        if second and self._dice.random() < 0.5:
            kill(second[0])
        else:
            one.process.kill()

    def stop(self, patience: float) -> None:
        """Stop all in order, and wait for every process."""
        poll(partial(self._is_ready, all), patience, "every process to be ready")
        self._rest()
        for one in self._running.values():
            one.process.send_signal(signal.SIGTERM)
        for name, one in self._running.items():
            code = one.process.wait(patience)
            assert code == 0, f"bridge {name} ended with {code}: {one.said()[-2000:]}"

    def start(self) -> None:
        """Start all again, and start each again that ends."""
        self._over = Event()
        for name in self._commands:
            self._start(name)
        self._keeper = Thread(target=self._keep, args=(self._over,), daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """End all that was ever started."""
        self._rest()
        for one in self._running.values():
            one.kill_all()

    def _rest(self) -> None:
        self._over.set()
        self._keeper.join()

    def _keep(self, over: Event) -> None:
        while not over.wait(WATCH_SECONDS):
            for name, one in list(self._running.items()):
                if one.process.poll() is not None:
                    self._start(name)

    def _start(self, name: str) -> None:
        self.starts += 1
        self._running[name] = Running(self._commands[name], self.settings, self.folder)

    def _is_ready(self, how_many: Callable[[Iterable[bool]], bool]) -> bool:
        workers = (one for name, one in self._running.items() if name.startswith("work"))
        return how_many("processing" in one.said() for one in workers) and how_many(
            map(_answers, self.urls)
        )


def _answers(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"{url}/readyz", timeout=ANSWER_SECONDS).ok
    return False


def poll(done: Callable[[], bool], patience: float, what: str, pause: float = 0.02) -> None:
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(pause)
