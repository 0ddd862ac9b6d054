"""A crowd in a process of its own: many connections, each with one request under way at a time.

Reads orders from standard input, a JSON object a line. What is to be sent is built and signed
before it says "ready"; the clock starts with the next line. Then it writes what it found.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from benchmarks.sales import Webhooks, names

LONGEST_WAIT = 60.0


@dataclass
class Found:
    """Hold what a crowd was answered."""

    began: float
    ended: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    failed: int = 0

    def plain(self) -> dict[str, Any]:
        """Return it as it is written."""
        times = sorted(self.milliseconds)
        return {
            "began": self.began,
            "seconds": self.ended - self.began,
            "answered": len(times),
            "failed": self.failed,
            **{f"p{share}": times[int(len(times) * share / 100)] for share in (50, 99) if times},
        }


class Crowd:
    """Send requests over some connections for as long as there are any, or until the time is up."""

    def __init__(self, ports: Sequence[int], connections: int) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._sent: dict[int, float] = {}
        self._heard: dict[int, bytes] = {}
        self._poll = select.epoll()
        for port in islice(cycle(ports), connections):
            one = socket.create_connection(("127.0.0.1", port))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[one.fileno()] = one
            self._poll.register(one, select.EPOLLIN)

    def send(self, requests: Iterator[bytes], until: float) -> Found:
        """Send them; return what was answered."""
        found = Found(time.monotonic())
        for number in self._sockets:
            self._next(number, requests, until)
        while self._sent:
            ready = self._poll.poll(LONGEST_WAIT)
            if not ready:
                found.failed += len(self._sent)
                break
            for number, _ in ready:
                self._hear(number, requests, until, found)
        found.ended = time.monotonic()
        return found

    def close(self) -> None:
        """Hang up."""
        for each in self._sockets.values():
            each.close()
        self._poll.close()

    def _next(self, number: int, requests: Iterator[bytes], until: float) -> None:
        now = time.monotonic()
        if now < until and (request := next(requests, None)) is not None:
            self._sent[number] = now
            self._sockets[number].sendall(request)

    def _hear(self, number: int, requests: Iterator[bytes], until: float, found: Found) -> None:
        data = self._sockets[number].recv(65536)
        if not data:
            self._poll.unregister(number)
            found.failed += self._sent.pop(number, None) is not None
            return
        data = self._heard.pop(number, b"") + data
        if not _is_whole(data):
            self._heard[number] = data
            return
        found.milliseconds.append((time.monotonic() - self._sent.pop(number)) * 1000)
        found.failed += not data.startswith(b"HTTP/1.1 200")
        self._next(number, requests, until)


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return len(body) >= int(rest.partition(b"\r\n")[0] or 0)


def _obey(order: dict[str, Any], begin: Callable[[], object]) -> dict[str, Any]:
    webhooks = Webhooks()
    some = names(order["run"], order["count"], order["first"])
    requests = [webhooks.request(each) for each in some]
    crowd = Crowd(order["ports"], order["connections"])
    begin()
    until = time.monotonic() + order["seconds"]
    try:
        found = crowd.send(cycle(requests) if order["again"] else iter(requests), until)
    finally:
        crowd.close()
    return found.plain()


def _begin() -> None:
    print('"ready"', flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    gc.disable()
    for line in sys.stdin:
        print(json.dumps(_obey(json.loads(line), _begin)), flush=True)
        gc.collect()
