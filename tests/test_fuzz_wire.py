"""Anything at all on the wire of a real server: answered or hung up on, and never our fault."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import requests
from kit import API_KEY
from running import Running, serving
from signed import BODY, v1

SERVER = f"Authorization: Bearer {API_KEY}"
CLICK = b'{"customer": {"external_id": "user_1"}}'
RAW = BODY.encode()
SECONDS = 3.0


def signed() -> bytes:
    return f"Stripe-Signature: {v1(RAW)}".encode()


def sent(
    body: bytes = RAW,
    *headers: bytes,
    line: bytes = b"POST /webhooks/stripe HTTP/1.1",
    length: bytes | None = None,
) -> bytes:
    told = b"Content-Length: " + (str(len(body)).encode() if length is None else length)
    return b"\r\n".join([line, b"Host: bridge.example", *headers, told, b"", body])


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", to: bytes = b"/webhooks/stripe") -> bytes:
    parts = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks)
    head = (b"POST " + to + b" HTTP/1.1", b"Host: x", signed(), SERVER.encode())
    return b"\r\n".join([*head, b"Transfer-Encoding: chunked", b"", parts + end])


LINES = (
    *(b"GET /webhooks/stripe", b"HEAD /clicks", b"OPTIONS /webhooks/stripe", b"TRACE /clicks"),
    *(b"BREW /clicks", b"post /clicks", b"POST *", b"POST http://evil.example/clicks", b"POST "),
    *(b"POST /webhooks/%ff", b"POST /webhooks/%00", b"POST /webhooks/..%2f..%2fetc", b"POST //"),
    *(b"POST /webhooks/stripe/", b"POST //webhooks/stripe", b"POST /clicks?key=%ff&key=%00&=&&"),
    *(b"POST /" + b"x" * 60_000, b"POST /clicks?" + b"x" * 60_000, b"POST /\xff\xfe", b"OPTIONS *"),
    *(b"POST /clicks#x", b"POST /bridge.js", b"GET /bridge.js?v=%ff", b"GET /readyz?\xff"),
)


def odd() -> dict[str, bytes]:
    """Return what is sent, by a name to show; signed now."""
    return {
        **{repr(line[:40]): sent(line=line + b" HTTP/1.1") for line in LINES},
        "HTTP/1.0": sent(RAW, signed(), line=b"POST /webhooks/stripe HTTP/1.0"),
        "HTTP/0.9": b"POST /clicks\r\n",
        "HTTP/9.9": sent(line=b"POST /clicks HTTP/9.9"),
        "no line": b"\r\n\r\n",
        "noise": bytes(range(256)) * 8 + b"\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 505,
        "no host": b"POST /clicks HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "letters beyond ASCII": sent(RAW, b"Stripe-Signature: t=1,v1=\xff\xfe\xe9"),
        "UTF-8": sent(RAW, "Stripe-Signature: t=1,v1=é".encode()),
        "an empty signature": sent(RAW, b"Stripe-Signature:"),
        "signatures": sent(RAW, *[b"Stripe-Signature: t=1,v1=a"] * 50),
        "two kinds of type": sent(RAW, signed(), b"Content-Type: a/b", b"Content-Type: \xff"),
        "a control character": sent(RAW, b"X-Odd: a\x01b"),
        "NUL": sent(RAW, b"X-Odd: a\x00b"),
        "a folded line": sent(RAW, b"X-Odd: a\r\n b"),
        "no colon": sent(RAW, b"X-Odd"),
        "a blank name": sent(RAW, b" : x"),
        "a long header": sent(RAW, signed(), b"X-Odd: " + b"x" * 100_000),
        "a thousand headers": sent(RAW, signed(), *[b"X-Odd: x"] * 1_000),
        "an odd key": sent(CLICK, b"Authorization: Bearer \xff\xfe", line=b"POST /clicks HTTP/1.1"),
        "an odd browser": sent(
            CLICK, SERVER.encode(), b"User-Agent: \xff\xfe", line=b"POST /clicks HTTP/1.1"
        ),
        "a length below zero": sent(RAW, signed(), length=b"-1"),
        "a length of words": sent(RAW, signed(), length=b"many"),
        "a length of digits that are none": sent(RAW, signed(), length="١٢".encode()),
        "a length without end": sent(RAW, signed(), length=b"9" * 40),
        "two lengths": sent(RAW, signed(), b"Content-Length: 3"),
        "a length and chunks": sent(RAW, signed(), b"Transfer-Encoding: chunked"),
        "a body cut short": sent(RAW, signed(), length=str(len(RAW) + 9).encode()),
        "a body that goes on": sent(RAW, signed(), length=b"10"),
        "too large": sent(b"", signed(), length=str(6 * 2**20).encode()),
        "an unknown coding": sent(RAW, signed(), b"Transfer-Encoding: gzip"),
        "chunks that are none": chunked(RAW, end=b"x\r\n"),
        "a chunk without end": chunked(RAW, end=b"ffffffffffffffffff\r\n"),
        "a chunk below zero": chunked(RAW, end=b"-1\r\n\r\n"),
        "chunks cut short": chunked(RAW[:50], end=b""),
        "chunks and more": chunked(RAW, end=b"0\r\nX-Odd: \xff\r\n\r\n"),
        "chunks of a click": chunked(CLICK, to=b"/clicks"),
        "too much in chunks": chunked(*[b"x" * 2**16] * 81),
    }


UNFINISHED = {"a body cut short", "chunks that are none", "a chunk without end", "no line"} | {
    "a chunk below zero",
    "chunks cut short",
    "HTTP/0.9",
}


def answered(server: Running, raw: bytes, *, unfinished: bool) -> int | None:
    """Send bytes and return the status of the answer; None where the server hangs up instead.

    A server that waits for more of what is `unfinished` is told that no more comes.
    """
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), SECONDS) as connection:
        try:
            connection.sendall(raw)
            if unfinished:
                connection.shutdown(socket.SHUT_WR)
            first = connection.recv(64)
        except ConnectionError:
            return None
    words = first.split(b" ", 2)
    return int(words[1]) if words[0].startswith(b"HTTP/") and len(words) > 1 else None


def test_a_real_server_answers_anything_and_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path, command="web") as server:
        answers = {
            name: answered(server, raw, unfinished=name in UNFINISHED)
            for name, raw in odd().items()
        }
        assert sum(each is not None for each in answers.values()) > len(answers) // 2
        assert {name: each for name, each in answers.items() if each and each >= 500} == {}
        headers = {"Stripe-Signature": v1(RAW)}
        good = requests.post(f"{server.url}/webhooks/stripe", RAW, headers=headers, timeout=SECONDS)
        assert (good.status_code, good.json()["id"]) == (200, "evt_1QNEEZZk4Tp9WvLqloVMQQTC")
        pieces = iter([RAW[:100], RAW[100:]])
        again = requests.post(
            f"{server.url}/webhooks/stripe", pieces, headers=headers, timeout=SECONDS
        )
        assert again.json()["status"] == "duplicate"
        assert requests.get(f"{server.url}/readyz", timeout=SECONDS).status_code == 200
        said = server.said()
    assert "web failed" not in said
    assert "panic" not in said
    assert API_KEY not in said
