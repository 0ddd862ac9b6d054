"""Many connections at once: each sends its requests one after the other, all begin together."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kit import API_KEY, CUSTOMER, thing_of
from signed import BODY, EVENT_ID, ROUTE, SECRET, v1

ORDER = thing_of("invoice.paid")["id"]

# Far more than any answer takes: whoever hangs for so long is hung up on.
LONGEST = 60.0
CUT = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold what a request was answered; one that was not answered whole has status 0."""

    status: int
    body: bytes = b""
    seconds: float = 0.0

    def json(self) -> Any:
        return json.loads(self.body)


def a_sale(number: int) -> str:
    """Return the body of a paid invoice: each number is another order, of another customer."""
    body = BODY
    for mine, other in (
        (EVENT_ID, f"evt_{number}"),
        (ORDER, f"in_{number}"),
        (CUSTOMER, f"cus_{number}"),
        ("sub_1", f"sub_{number}x"),
        ("jana.muster@", f"person{number}@"),
        ("user_1001", f"user_{number}"),
    ):
        assert mine in body
        body = body.replace(mine, other)
    return body


def request(path: str, body: bytes, **headers: str) -> bytes:
    """Return a request as it goes over a kept connection."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def webhook(body: str, secret: str = SECRET) -> bytes:
    """Return a webhook of Stripe's, signed now."""
    raw = body.encode()
    return request(ROUTE, raw, Stripe_Signature=v1(raw, secret))


def api(path: str, body: object) -> bytes:
    """Return a request of the merchant's server."""
    return request(path, json.dumps(body).encode(), Authorization=f"Bearer {API_KEY}")


def crowd(
    url: str,
    shares: Sequence[Iterable[bytes]],
    meanwhile: Callable[[], object] | None = None,
) -> list[list[Answer]]:
    """Send every connection's share of requests, all at once; return what each was answered.

    A connection that breaks sends no more. `meanwhile` runs in a thread once all have sent their
    first.
    """
    host, _, port = url.rpartition("/")[2].partition(":")
    return asyncio.run(_crowd(host, int(port), shares, meanwhile))


async def _crowd(
    host: str,
    port: int,
    shares: Sequence[Iterable[bytes]],
    meanwhile: Callable[[], object] | None,
) -> list[list[Answer]]:
    begin, sent = asyncio.Event(), asyncio.Semaphore(0)
    opened = [await asyncio.open_connection(host, port) for _ in shares]
    talks = [
        asyncio.create_task(_talk(*each, share, begin, sent))
        for each, share in zip(opened, shares, strict=True)
    ]
    begin.set()
    if meanwhile:
        for _ in talks:
            await sent.acquire()
        await asyncio.to_thread(meanwhile)
    return await asyncio.gather(*talks)


async def _talk(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    share: Iterable[bytes],
    begin: asyncio.Event,
    sent: asyncio.Semaphore,
) -> list[Answer]:
    answers: list[Answer] = []
    await begin.wait()
    for each in share:
        started = time.monotonic()
        try:
            writer.write(each)
            sent.release()
            status, body = await asyncio.wait_for(_read(reader), LONGEST)
        except (OSError, EOFError, TimeoutError):
            answers.append(Answer(CUT, seconds=time.monotonic() - started))
            break
        answers.append(Answer(status, body, time.monotonic() - started))
    writer.close()
    return answers


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(
        int(line.partition(":")[2])
        for line in head.splitlines()
        if line.startswith("content-length:")
    )
    return int(head.split()[1]), await reader.readexactly(length)
