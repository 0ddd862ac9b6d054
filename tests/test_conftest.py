from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from conftest import REPOSITORY, OutsideWorldError

PUBLIC = ("192.0.2.1", 443)  # an address that RFC 5737 keeps for examples
PUBLIC_6 = ("2001:db8::1", 443)


@pytest.mark.parametrize(
    "reach",
    [
        pytest.param(lambda each: each.connect(PUBLIC), id="connect"),
        pytest.param(lambda each: each.connect_ex(PUBLIC), id="connect_ex"),
        pytest.param(lambda each: each.connect(("example.com", 443)), id="connect to a name"),
        pytest.param(lambda each: each.sendto(b"", PUBLIC), id="sendto"),
        pytest.param(lambda each: each.sendto(b"", 0, PUBLIC), id="sendto with flags"),
    ],
)
def test_a_public_address_is_refused(reach: Callable[[socket.socket], object]) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as each,
        pytest.raises(OutsideWorldError, match="only talk to this machine"),
    ):
        reach(each)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_a_public_ipv6_address_is_refused() -> None:
    with pytest.raises(OutsideWorldError, match=r"2001:db8::1"):
        socket.create_connection(PUBLIC_6)


@pytest.mark.parametrize(
    "look_up",
    [
        pytest.param(lambda: socket.getaddrinfo("api.stripe.com", 443), id="getaddrinfo"),
        pytest.param(lambda: socket.gethostbyname("api.stripe.com"), id="gethostbyname"),
        pytest.param(lambda: socket.gethostbyname_ex("api.stripe.com"), id="gethostbyname_ex"),
    ],
)
def test_a_public_name_is_not_looked_up(look_up: Callable[[], object]) -> None:
    with pytest.raises(OutsideWorldError, match=r"api\.stripe\.com"):
        look_up()


@pytest.mark.parametrize("url", ["https://api.stripe.com/v1", "http://192.0.2.1/"])
def test_the_refusal_is_not_taken_for_a_host_that_is_down(url: str) -> None:
    with pytest.raises(OutsideWorldError):
        requests.get(url, timeout=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost"])
def test_this_machine_answers(host: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104
        port = server.getsockname()[1]
        with socket.create_connection((host, port), timeout=5) as client:
            server.accept()[0].close()
            assert client.recv(1) == b""


def test_a_unix_socket_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may have about 100 characters
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("here")
        server.listen()
        client.connect("here")
        server.accept()[0].close()
        assert client.recv(1) == b""


@pytest.fixture(scope="module", autouse=True)
def _a_machine_with_settings() -> object:
    """Set what a developer's shell may hold, before each test's own clearing."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATABASE_URL", "BRIDGE_API_KEY", "STRIPE_API_KEY", "https_proxy"):
            patch.setenv(name, "of this machine")
        yield


def test_settings_of_this_machine_are_not_seen() -> None:
    assert "of this machine" not in os.environ.values()
    assert "PATH" in os.environ


def test_each_test_runs_in_a_folder_of_its_own(tmp_path: Path) -> None:
    assert Path.cwd() == tmp_path
    assert not list(tmp_path.iterdir())
    assert not Path.cwd().is_relative_to(REPOSITORY)
