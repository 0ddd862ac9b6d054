"""The bell: wakes the workers of one SQLite file when there is something to do.

Each worker listens on a datagram socket of its own, named after the database, in a folder for them
in the temporary directory; whoever has stored something rings them all. A lost ring only means that
the work is found at the next look, seconds later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import select
import socket
import tempfile
from pathlib import Path

from bridge.errors import StoreError


class Bell:
    """Ring the workers of a database, or wait to be rung."""

    def __init__(self, path: str) -> None:
        # Socket addresses are limited to about a hundred bytes, wherever the database itself lies.
        self._folder = Path(tempfile.gettempdir()) / f"bridge-{os.getuid()}"
        self._name = hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:16]
        self._address = self._folder / f"{self._name}-{secrets.token_hex(4)}"
        self._listener: socket.socket | None = None

    def ring(self) -> None:
        """Wake every worker that listens; never fails and never blocks."""
        with contextlib.suppress(OSError):  # nobody has ever listened
            for name in os.listdir(self._folder):
                if name.startswith(self._name):
                    _ring(self._folder / name)

    def listen(self) -> socket.socket:
        """Start to listen, so that no ring from now on is missed."""
        if self._listener is None:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            listener.setblocking(False)
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                listener.bind(str(self._address))
            except OSError as error:
                listener.close()
                raise StoreError(f"{self._address}: {error} (check TMPDIR)") from error
            self._listener = listener
        return self._listener

    def wait(self, seconds: float) -> bool:
        """Sleep until rung, at most so long; tell whether it was rung."""
        listener = self.listen()
        ready, _, _ = select.select([listener], [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            while ready:
                listener.recv(16)
        return bool(ready)

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._address.unlink(missing_ok=True)


def _ring(address: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ringer:
        ringer.setblocking(False)
        try:
            ringer.sendto(b"!", str(address))
        except ConnectionRefusedError:
            address.unlink(missing_ok=True)  # its worker is gone
        except OSError:  # its buffer is full: it is awake anyway
            pass
