"""What holds for every test: no outside world, no settings of this machine, a folder of its own."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# pytest knows this file by its package; to those who import it by its bare name it is the same.
sys.modules["conftest"] = sys.modules[__name__]

# Fixtures that many tests share.
pytest_plugins = ["kit"]

REPOSITORY = Path(__file__).resolve().parent.parent

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Run one more than there are processors: a third of the time tests wait for processes.

    Unless somebody has said how many, which xdist then answers itself.
    """
    said = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    return None if said else (os.cpu_count() or 1) + 1


class OutsideWorldError(RuntimeError):
    """Say that a test reached for a host other than this machine.

    It is no OSError on purpose: code under test must not take it for a host that is down.
    """


def _is_number(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_here(host: str) -> bool:
    if not _is_number(host):
        return host.rstrip(".").lower() == "localhost"
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_local(family: int, address: object) -> bool:
    if family == getattr(socket, "AF_UNIX", None):
        return True
    return isinstance(address, tuple) and bool(address) and _is_here(_text(address[0]))


def _check_name(host: object) -> None:
    """Let pass what needs no look-up: no name at all, a number, or this machine."""
    name = _text(host)
    if name and not _is_number(name) and not _is_here(name):
        raise OutsideWorldError(f"tests only look up this machine (localhost), not {name!r}")


def _text(host: object) -> str:
    return host.decode() if isinstance(host, bytes) else str(host or "")


def _guard_method(name: str) -> Callable[..., Any]:
    original = getattr(socket.socket, name)

    def guarded(self: socket.socket, *args: Any) -> Any:
        address = args[-1]  # connect(address), sendto(data, address), sendto(data, flags, address)
        if not _is_local(self.family, address):
            self.close()  # its owner expects an OSError, and would leave it open
            raise OutsideWorldError(f"tests only talk to this machine (loopback), not {address!r}")
        return original(self, *args)

    return guarded


def _guard_lookup(name: str) -> Callable[..., Any]:
    original = getattr(socket, name)

    def guarded(host: Any, *args: Any, **kwargs: Any) -> Any:
        _check_name(host)
        return original(host, *args, **kwargs)

    return guarded


@pytest.fixture(scope="session", autouse=True)
def _no_outside_world() -> Iterator[None]:
    """Refuse every connection and look-up that leaves this machine (not those of subprocesses)."""
    with pytest.MonkeyPatch.context() as patch:
        for method in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, method, _guard_method(method))
        for lookup in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            patch.setattr(socket, lookup, _guard_lookup(lookup))
        yield


def _plugin_prefixes() -> set[str]:
    """Return TAAPIT_, STRIPE_ and so on: the name of a plugin's file begins its settings."""
    folders = (REPOSITORY / "bridge" / "vendors", REPOSITORY / "bridge" / "providers")
    names = {each.stem for folder in folders for each in folder.iterdir()}
    return {f"{name.upper()}_" for name in names if not name.startswith("_") and name != "base"}


PREFIXES = ("BRIDGE_", *sorted(_plugin_prefixes()))
NAMES = {
    "COLUMNS",
    "LINES",
    "DATABASE_URL",
    "DYNO",
    "HOST",
    "PORT",
    "WEB_CONCURRENCY",
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
}


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start each test without settings: none in the environment, no .env in the folder it is in."""
    for name in list(os.environ):
        if name.upper() in NAMES or name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
