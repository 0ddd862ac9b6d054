"""A vendor that costs nothing: it answers every sale as Taapit does, at once or after a while.

It notes when each order's sale came. `GET /calls` tells, `DELETE /calls` forgets, and
`PUT /delay/300` has it take 300 ms from then on.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

ORDER = re.compile(rb'"orderId": ?"([^"]*)"')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSING = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    "Connection: {}\r\nContent-Length: {}\r\n\r\n"
)
WAITING = 4096


@dataclass
class Vendor:
    """Answer on one socket, in one thread."""

    server: socket.socket
    delay: float = 0.0
    calls: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._poll = select.epoll()
        self._poll.register(self.server, select.EPOLLIN)
        self._open: dict[int, socket.socket] = {}
        self._heard: dict[int, bytes] = {}
        # All wait for as long, so who came first is answered first.
        self._later: deque[tuple[float, int, bytes, bool]] = deque()

    def run(self) -> None:
        """Answer until this process is ended."""
        listening = self.server.fileno()
        while True:
            for number, _ in self._poll.poll(self._pause()):
                if number == listening:
                    self._accept()
                else:
                    self._hear(number)
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                _, number, answer, last = self._later.popleft()
                self._say(number, answer, last=last)

    def _pause(self) -> float | None:
        return max(0.0, self._later[0][0] - time.monotonic()) if self._later else None

    def _accept(self) -> None:
        try:
            while True:
                one, _ = self.server.accept()
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open[one.fileno()] = one
                self._poll.register(one, select.EPOLLIN)
        except BlockingIOError:
            pass

    def _hear(self, number: int) -> None:
        try:
            data = self._open[number].recv(65536)
        except OSError:
            data = b""
        if not data:
            self._close(number)
            return
        data = self._heard.pop(number, b"") + data
        head, end, body = data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or len(body) < int(length[1] if length else 0):
            self._heard[number] = data
            return
        last = CLOSING.search(head) is not None
        if head.startswith(b"POST "):
            self._take(number, body, last=last)
        else:
            self._say(number, _answer(self._told(head.decode()), last=last), last=last)

    def _take(self, number: int, body: bytes, *, last: bool) -> None:
        now = time.monotonic()
        order = ORDER.search(body)
        self.calls.append((order[1].decode() if order else "", now))
        answer = _answer({"ok": True}, last=last)
        if self.delay:
            self._later.append((now + self.delay, number, answer, last))
        else:
            self._say(number, answer, last=last)

    def _told(self, head: str) -> object:
        method, path, _ = head.split(" ", 2)
        if method == "DELETE":
            self.calls.clear()
        elif method == "PUT":
            self.delay = int(path.rpartition("/")[2]) / 1000
        elif path == "/calls":
            return self.calls
        return len(self.calls)

    def _say(self, number: int, answer: bytes, *, last: bool) -> None:
        if number in self._open:
            try:
                self._open[number].sendall(answer)
            except OSError:
                last = True
            if last:
                self._close(number)

    def _close(self, number: int) -> None:
        self._heard.pop(number, None)
        self._open.pop(number).close()


def _answer(body: object, *, last: bool) -> bytes:
    written = json.dumps(body)
    return (HEAD.format("close" if last else "keep-alive", len(written)) + written).encode()


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=WAITING)
    listening.setblocking(False)
    Vendor(listening).run()
