"""Where a server of ours listens: whether it can, and how that is written."""

from __future__ import annotations

import errno
import socket

from bridge.errors import ConfigError


def require_free(host: str, port: int) -> None:
    """Raise ConfigError where nothing can listen at an address."""
    address = ip_of(host, port)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            reason = "is in use" if in_use else f"cannot be used: {error.strerror}"
            raise ConfigError(
                f"port {port} on {host} {reason} (choose with --host and --port, or HOST and PORT)"
            ) from None


def url_of(host: str, port: int) -> str:
    """Return the address of a server as one writes it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ip_of(host: str, port: int) -> str:
    """Return the first address that a host name stands for."""
    try:
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ConfigError(f"host {host!r} is no address: {error.strerror}") from None
