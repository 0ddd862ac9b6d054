"""The front reads bodies that nobody has vouched for yet: neither for ever nor many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from signed import BODY, ROUTE, SECRET, migrated, stored, v1

from bridge import config
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app, front
from bridge.web.front import Front
from bridge.web.state import MAX_BODY

RAW = BODY.encode()
Message = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with migrated(tmp_path / "bridge.db") as opened:
        yield opened


@pytest.fixture
def made(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> Front:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SECRET)
    app = create_app(config.load(), store)
    return Front(app, app.extensions["bridge"])


async def ask(
    made: Front,
    messages: AsyncIterator[Message],
    *headers: tuple[str, str],
    path: str = ROUTE,
    query: bytes = b"",
) -> tuple[int, bytes]:
    """Post what is received message by message; return the status and the body of the answer."""
    scope: Any = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1),
    }
    said: list[Any] = []

    async def receive() -> Any:
        return await anext(messages)

    async def send(message: Any) -> None:
        said.append(message)

    await made(scope, receive, send)
    return said[0]["status"], b"".join(each.get("body", b"") for each in said[1:])


async def pieces(*bodies: bytes) -> AsyncIterator[Message]:
    """Give a body in pieces, as the server does: the last of them is empty."""
    for each in bodies:
        yield {"type": "http.request", "body": each, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


async def begun(body: bytes, then: Callable[[], Any]) -> AsyncIterator[Message]:
    """Give the beginning of a body, and wait for something."""
    yield {"type": "http.request", "body": body, "more_body": True}
    await then()
    yield {"type": "http.disconnect"}


async def silent() -> AsyncIterator[Message]:
    """Give nothing."""
    await never()
    yield {}


async def never() -> None:
    await asyncio.Event().wait()


def test_a_body_in_pieces_is_put_together(made: Front, store: SqliteStore) -> None:
    halves = pieces(RAW[:9], b"", RAW[9:])
    assert asyncio.run(ask(made, halves, ("stripe-signature", v1(RAW))))[0] == 200
    assert stored(store)[0].body == BODY


def test_a_signature_in_two_headers_is_one(made: Front) -> None:
    headers = [("stripe-signature", each) for each in v1(RAW).split(",")]
    assert asyncio.run(ask(made, pieces(RAW), *headers))[0] == 200


def test_of_a_body_that_is_too_large_the_rest_is_not_read(made: Front) -> None:
    read: list[int] = []

    async def endless() -> AsyncIterator[Message]:
        while True:
            read.append(2**20)
            yield {"type": "http.request", "body": b" " * 2**20, "more_body": True}

    assert asyncio.run(ask(made, endless()))[0] == 413
    assert sum(read) == MAX_BODY + 2**20
    read.clear()
    assert asyncio.run(ask(made, endless(), ("content-length", str(MAX_BODY + 1))))[0] == 413
    assert read == []


def test_a_body_that_is_broken_off_is_to_be_sent_again(made: Front, store: SqliteStore) -> None:
    length = ("content-length", str(len(RAW)))
    status, said = asyncio.run(ask(made, begun(RAW[:-9], lambda: asyncio.sleep(0)), length))
    assert status == 400
    assert b"send it again" in said
    assert stored(store) == []


def test_nobody_sends_for_ever(made: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "BODY_SECONDS", 0.05)
    for path in (ROUTE, "/clicks"):
        for messages in (begun(b"{", never), silent()):
            status, said = asyncio.run(ask(made, messages, ("content-length", "9"), path=path))
            assert status == 400
            assert b"send it again" in said
    assert made._held == 0


def test_large_bodies_are_refused_where_there_are_many_and_small_ones_never(
    made: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = RAW + b" " * front.SMALL
    monkeypatch.setattr(front, "MOST_HELD", 3 * len(large))

    async def many() -> list[int]:
        over = asyncio.Event()
        waiting = [asyncio.create_task(ask(made, begun(large, over.wait))) for _ in range(3)]
        while made._held < front.MOST_HELD:
            await asyncio.sleep(0)
        refused, _ = await ask(made, pieces(large), ("stripe-signature", v1(large)))
        small, _ = await ask(made, pieces(RAW), ("stripe-signature", v1(RAW)))
        over.set()
        await asyncio.gather(*waiting)
        taken, _ = await ask(made, pieces(large), ("stripe-signature", v1(large)))
        return [refused, small, taken]

    assert asyncio.run(many()) == [503, 200, 200]
    assert made._held == 0


def test_a_query_that_is_no_ascii_is_refused(made: Front) -> None:
    assert asyncio.run(ask(made, pieces(b"{}"), path="/clicks", query=b"key=\xe9"))[0] == 400


def test_only_a_proxy_says_where_somebody_comes_from(made: Front) -> None:
    seen: list[str] = []

    async def flask(scope: Any, *_: object) -> None:
        seen.extend(name.decode() for name, _ in scope["headers"])

    made._flask = flask  # type: ignore[assignment]
    headers = [("x-forwarded-for", "192.0.2.1"), ("x_forwarded_for", "198.51.100.7")]
    with pytest.raises(IndexError):  # it has not answered
        asyncio.run(ask(made, pieces(b"{}"), *headers, path="/clicks"))
    assert seen == ["x-forwarded-for"]
