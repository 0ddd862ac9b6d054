"""The bell of PostgreSQL: NOTIFY wakes the workers of all machines, polling those it cannot reach.

A ring is sent by a thread of its own, once for all that were rung meanwhile: nobody who has stored
something waits for it. Who sleeps in the same process is woken directly.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from queue import SimpleQueue

import psycopg

from bridge.errors import StoreError
from bridge.store.connections import Connection, Connections, heard_from

CHANNEL = "bridge"
# How long somebody sleeps at most who cannot be woken.
POLL_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class PostgresBell:
    """Ring the workers of a database, or wait to be rung."""

    def __init__(self, connections: Connections, *, listen: bool) -> None:
        self._connections = connections
        self._listens = listen
        self._token = secrets.token_hex(8)
        self._rings: SimpleQueue[bool] = SimpleQueue()
        self._lock = threading.Lock()
        self._ringer: threading.Thread | None = None
        self._wakes: socket.socket | None = None
        self._woken: socket.socket | None = None
        self._listener: Connection | None = None
        self._was_lost = False

    def ring(self) -> None:
        """Wake every worker; never fails and never blocks, even in a signal's handler."""
        if self._wakes:
            with contextlib.suppress(OSError):  # its buffer is full: it is awake anyway
                self._wakes.send(b"!")
        if self._listens:
            self._rings.put(True)
            self._start()

    def wait(self, seconds: float) -> bool:
        """Sleep until rung, at most so long; tell whether it was rung."""
        if self._woken is None:
            self._wakes, self._woken = socket.socketpair()
            self._wakes.setblocking(False)
            self._woken.setblocking(False)
        if self._listens and self._listener is None and self._listen():
            return True
        if self._listener is None:
            seconds = min(seconds, POLL_SECONDS)
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if self._heard(self._woken, max(left, 0.0)):
                return True
            if left <= 0:
                return False

    def close(self) -> None:
        """Send what was rung, and stop listening."""
        with self._lock:
            ringer, self._ringer = self._ringer, None
        if ringer:
            self._rings.put(False)
            ringer.join(CLOSE_SECONDS)
        for each in (self._listener, self._wakes, self._woken):
            if each:
                each.close()
        self._listener = self._wakes = self._woken = None
        self._was_lost = False

    # ── hearing ──

    def _listen(self) -> bool:
        """Start to listen; tell whether rings may have been missed since the last time."""
        try:
            listener = self._connections.connect()
        except StoreError:
            self._was_lost = True
            return False
        try:
            listener.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error:
            listener.close()
            self._was_lost = True
            return False
        self._listener, lost = listener, self._was_lost
        self._was_lost = False
        return lost

    def _heard(self, woken: socket.socket, seconds: float) -> bool:
        heard = False
        sources = (woken, self._listener) if self._listener else (woken,)
        ready = heard_from(seconds, *sources)
        if woken.fileno() in ready:
            heard = True
            with contextlib.suppress(BlockingIOError):
                while woken.recv(4096):
                    pass
        if self._listener and len(ready) > heard:
            heard |= self._notified(self._listener)
        return heard

    def _notified(self, listener: Connection) -> bool:
        """Tell whether somebody else rang; one that is gone may have had something to say."""
        try:
            listener.pgconn.consume_input()
            rung = False
            while notice := listener.pgconn.notifies():
                rung |= notice.extra.decode() != self._token
        except psycopg.Error:
            listener.close()
            self._listener = None
            self._was_lost = True
            return True
        return rung

    # ── ringing ──

    def _start(self) -> None:
        if self._ringer is None and self._lock.acquire(blocking=False):
            try:
                if self._ringer is None:
                    self._ringer = threading.Thread(target=self._run, name="bell", daemon=True)
                    self._ringer.start()
            finally:
                self._lock.release()

    def _run(self) -> None:
        try:
            self._send_all()
        finally:
            # Whatever ended it, the next ring starts another.
            with self._lock:
                if self._ringer is threading.current_thread():
                    self._ringer = None

    def _send_all(self) -> None:
        go_on = True
        while go_on:
            rung = go_on = self._rings.get()
            while not self._rings.empty():
                each = self._rings.get()
                rung |= each
                go_on &= each
            if rung:
                # Workers look by themselves, too, when they have not heard anything for a while.
                with contextlib.suppress(StoreError, psycopg.Error), self._connections.lend() as to:
                    to.execute("SELECT pg_notify($1, $2)", [CHANNEL, self._token])
