"""An answer has one time-out in all: a vendor that drips it byte by byte holds nobody for ever."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from bridge.http import Sender
from bridge.model import Call, NoAnswer, Response, Told

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"
BODY = b"x" * 40
PATIENCE, PAUSE = 0.3, 0.05


@contextmanager
def dripping(*parts: bytes, pause: float = PAUSE) -> Iterator[str]:
    """Answer every call with these parts, and a pause after each; one connection at a time."""
    ended = threading.Event()

    def serve() -> None:
        with suppress(OSError):  # the end of the test
            while True:
                connection, _ = server.accept()
                with connection, suppress(OSError):  # the caller left
                    while connection.recv(65536):
                        for part in parts:
                            connection.sendall(part)
                            ended.wait(pause)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/sales"
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def send(url: str) -> Response | NoAnswer:
    sender = Sender(read_seconds=PATIENCE)
    try:
        return sender.send(Call(step="sale", url=url, tells=Told(), json={"amount": 1}), {})
    finally:
        sender.close()


def bytes_of(text: bytes) -> list[bytes]:
    return [text[at : at + 1] for at in range(len(text))]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        pytest.param(bytes_of(HEAD + BODY), "no answer in time", id="all"),
        pytest.param([HEAD[:20], *bytes_of(HEAD[20:]), BODY], "no answer in time", id="headers"),
        pytest.param([HEAD, *bytes_of(BODY)], "the answer did not end in time", id="body"),
    ],
)
def test_a_dripping_answer_is_no_answer_and_may_have_been_counted(
    parts: list[bytes], words: str
) -> None:
    assert len(parts) * PAUSE > 3 * PATIENCE
    with dripping(*parts) as url:
        assert send(url) == NoAnswer(words, sent=True)


def test_an_answer_in_parts_is_whole_where_it_is_in_time() -> None:
    with dripping(HEAD[:9], HEAD[9:], BODY[:7], BODY[7:], pause=0.01) as url:
        answer = send(url)
    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (200, BODY.decode())


def test_a_connection_is_kept_for_the_next_call() -> None:
    with dripping(HEAD + BODY) as url:
        # This server answers one connection at a time: as long as the first is kept, nobody else.
        first, second = Sender(read_seconds=5), Sender(read_seconds=0.2)
        call = Call(step="sale", url=url, tells=Told(), json={})
        answers = [first.send(call, {}) for _ in range(2)]
        kept_out = second.send(call, {})
        first.close()
        second.close()
    assert [type(each) for each in answers] == [Response, Response]
    assert kept_out == NoAnswer("no answer in time", sent=True)
