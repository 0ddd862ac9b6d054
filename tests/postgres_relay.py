"""A network between bridge and PostgreSQL, which a test cuts at a statement of its choice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from urllib.parse import parse_qs, urlsplit

MOST = 65536


class Relay:
    """Pass on what is said between clients and a server, until a connection is to be cut."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._cut: tuple[bytes, bool] | None = None
        self._hush = b""
        self._hushed: set[socket.socket] = set()
        self.cuts = 0
        self._run(self._accept)

    @property
    def url(self) -> str:
        """Return the address of the database, over this network."""
        port = self._listener.getsockname()[1]
        user = self._server.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{port}{self._server.path}"

    def cut_at(self, words: str, *, heard: bool) -> None:
        """Cut the next connection that says this, before the server answers.

        Where it is `heard`, the server still does what it is told.
        """
        self._cut = (words.encode(), heard)

    def hush_at(self, words: str) -> None:
        """Keep from the next connection that says this whatever the server answers from then on."""
        self._hush = words.encode()

    def close(self) -> None:
        """Cut all connections, and accept no more."""
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connected()
                self._sockets += [client, server]
                self._run(partial(self._ask, client, server))
                self._run(partial(self._pass_on, server, client))

    def _connected(self) -> socket.socket:
        host = parse_qs(self._server.query).get("host", [self._server.hostname or ""])[0]
        port = self._server.port or 5432
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while said := client.recv(MOST):
                if self._hush and self._hush in said:
                    self._hush = b""
                    self._hushed.add(client)
                if self._cut and self._cut[0] in said:
                    heard, self._cut = self._cut[1], None
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    if heard:
                        server.sendall(said)
                    break
                server.sendall(said)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _pass_on(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while said := server.recv(MOST):
                if client not in self._hushed:
                    client.sendall(said)
        # Also where the server has reset the connection, as it does if it leaves something unread.
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)


@contextmanager
def relayed(url: str) -> Iterator[Relay]:
    """Put a network before the database at a URL, while a block runs."""
    relay = Relay(url)
    try:
        yield relay
    finally:
        relay.close()
