"""Logs: one line a step, without secrets and without bodies."""

from __future__ import annotations

import asyncio
import base64
import html
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import structlog

from bridge import logs
from bridge.errors import StoreError
from bridge.logs import Redactor

SECRET = "whsec_planted_1234567890"
LONGER = f"{SECRET}_and_more"
BODY = '{"customer_email": "jane@example.com"}'


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


STREAMS = pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["file", "terminal"])


def configured(
    patch: pytest.MonkeyPatch,
    *secrets: str,
    quiet: bool = False,
    stream: type[io.StringIO] = io.StringIO,
) -> io.StringIO:
    """Set logging up, and return where it goes."""
    output = stream()
    patch.setattr(sys, "stderr", output)
    logs.configure(Redactor(secrets), quiet=quiet)
    return output


class Talkative(Exception):  # noqa: N818
    """An exception, or any object, that says a secret when it is written out."""

    def __str__(self) -> str:
        return f"refused {SECRET}"

    __repr__ = __str__


def fail(body: str) -> None:
    del body
    raise Talkative


@STREAMS
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"Bearer {SECRET}!",
        [SECRET],
        {"key": SECRET},
        {SECRET: 1},
        (1, {"deep": [SECRET]}),
        SECRET.encode(),
        Talkative(),
    ],
)
def test_a_secret_is_never_logged(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], value: object
) -> None:
    output = configured(monkeypatch, SECRET, stream=stream)
    logs.get().info("step", reason=value)
    assert SECRET not in output.getvalue()
    assert logs.HIDDEN in output.getvalue()


@STREAMS
def test_a_secret_in_the_step_itself_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    output = configured(monkeypatch, SECRET, stream=stream)
    logs.get().info(f"step {SECRET}")
    assert SECRET not in output.getvalue()


@STREAMS
def test_an_exception_is_logged_without_secrets_and_bodies(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    output = configured(monkeypatch, SECRET, stream=stream)
    try:
        fail(BODY)
    except Talkative:
        logs.get().exception("failed")
    said = output.getvalue()
    assert "Traceback" in said
    assert "refused ***" in said
    assert SECRET not in said
    assert "jane@example.com" not in said


def test_the_longest_secret_goes_first() -> None:
    redact = Redactor([SECRET, LONGER])
    assert redact(f"{LONGER} {SECRET}") == "*** ***"


def test_what_is_too_short_to_be_a_secret_stays() -> None:
    assert Redactor(["", "a", "abc"])("an abc") == "an abc"


def test_a_short_secret_is_hidden_where_it_stands_alone() -> None:
    redact = Redactor(["acme", SECRET])
    assert redact(f"Bearer acme, 'acme'. acme_1 {SECRET}") == "Bearer ***, '***'. acme_1 ***"
    assert redact.for_ids()(f"acme {SECRET}") == "acme ***"
    assert redact.plain({"acme": ["acme", 4900]}) == {"acme": ["***", 4900]}


@pytest.mark.parametrize("end", range(12, len(SECRET)))
def test_a_secret_that_is_cut_off_is_hidden(end: int) -> None:
    assert Redactor([SECRET])(f"no {SECRET[:end]}") == "no ***"


def test_a_few_first_letters_are_no_secret() -> None:
    assert Redactor([SECRET])(f"no {SECRET[:11]}") == f"no {SECRET[:11]}"


@pytest.mark.parametrize(
    "odd", ["a\"b<c>&'d/e+f=%41 gh", "%2541%41&amp;&lt;xyz", "\\\\n\\u0041xyzäöü🧾"]
)
def test_a_secret_of_odd_letters_is_found_as_it_is_and_escaped(odd: str) -> None:
    redact = Redactor([odd])
    once = json.dumps(odd)[1:-1]
    written = (odd, once, json.dumps(once)[1:-1], html.escape(odd), quote(odd, safe=""))
    for text in written:
        assert redact(f"<{text}>") == "<***>", text


@pytest.mark.parametrize("before", range(4))
def test_a_secret_in_base64_is_hidden(before: int) -> None:
    text = base64.b64encode(b"u" * before + SECRET.encode() + b":").decode()
    hidden = Redactor([SECRET])(text)
    assert logs.HIDDEN in hidden
    assert len(hidden) < 12


# ── exceptions ───────────────────────────────────────────────────────────────────────────────────

WORDS: list[tuple[Exception, str]] = [
    (KeyError("amount"), "KeyError: 'amount'"),
    (KeyError("Jane Doe"), "KeyError: '…'"),
    (ValueError("no 'jane@example.com' in \"a b\""), "ValueError: no '…' in \"…\""),
    (ValueError("it can't read 'x y' nor 'z'"), "ValueError: it can't read '…' nor 'z'"),
    (ValueError("of jane@example.com, too"), "ValueError: of … too"),
    (ValueError("two\nlines"), "ValueError: two lines"),
    (ValueError(), "ValueError"),
    (AttributeError("'dict' object has no attribute 'x'"),
     "AttributeError: 'dict' object has no attribute 'x'"),
    (StoreError("bridge.db: 'disk' is full"), "bridge.db: 'disk' is full"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "words"), WORDS, ids=[words for _, words in WORDS])
def test_an_error_is_told_without_values(error: Exception, words: str) -> None:
    assert logs.words_of(error) == words


def test_what_stands_behind_an_error_is_told_likewise() -> None:
    name = "".join(["jane", " ", "doe"])  # source lines are told as they are
    try:
        try:
            int(name)
        except ValueError as error:
            raise LookupError(f"no {name!r} here") from error
    except LookupError as error:
        said = logs.told(error)
    assert "jane" not in said.lower()
    assert said.count("Traceback (most recent call last)") == 2
    assert said.endswith("LookupError: no '…' here")


def test_errors_behind_each_other_in_a_circle_come_to_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert logs.told(one).count("ValueError") == 2


def test_a_file_gets_logfmt(monkeypatch: pytest.MonkeyPatch) -> None:
    output = configured(monkeypatch)
    logs.get().info("webhook", event_id="stripe:evt_1", reason="two words", took=3, test=True)
    (line,) = output.getvalue().splitlines()
    timestamp, _, rest = line.partition(" ")
    assert timestamp.startswith("timestamp=20")
    assert timestamp.endswith("Z")
    assert rest == 'level=info event=webhook event_id=stripe:evt_1 reason="two words" took=3 test'


def test_a_line_stays_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    output = configured(monkeypatch)
    logs.get().info("webhook", reason="forged\nlevel=error event=stolen")
    assert len(output.getvalue().splitlines()) == 1


def test_context_is_part_of_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    output = configured(monkeypatch, SECRET)
    with structlog.contextvars.bound_contextvars(request_id="r1", key=SECRET):
        logs.get().info("step")
    assert "request_id=r1" in output.getvalue()
    assert SECRET not in output.getvalue()


def test_quiet_leaves_errors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    output = configured(monkeypatch, quiet=True)
    logs.get().info("step")
    logs.get().warning("odd")
    assert output.getvalue() == ""
    logs.get().error("wrong")
    assert "event=wrong" in output.getvalue()


def test_debug_is_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    output = configured(monkeypatch)
    logs.get().debug("details", body=BODY)
    assert output.getvalue() == ""
    assert logging.getLogger().level == logging.WARNING  # that of others is left alone


def test_where_nobody_reads_the_log_an_event_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()

    async def talk() -> None:
        for number in range(300):
            logs.get().info("webhook", number=number, reason="x" * 1000)
            await asyncio.sleep(0)
        # All that fits has been written by now, and the loop has turned on nevertheless.
        read.start()

    def read_on() -> None:
        while some := os.read(reader, 2**20):  # until the file is closed
            seen.append(some)

    seen: list[bytes] = []
    read = threading.Thread(target=read_on)
    before = structlog.get_config()
    with os.fdopen(writer, "w", buffering=1) as file:
        monkeypatch.setattr(sys, "stderr", file)
        logs.configure(logs.Redactor())
        asyncio.run(talk())  # which waits for the thread that writes
        structlog.configure(**before)
    read.join()
    os.close(reader)
    said = b"".join(seen)
    numbers = [int(each) for each in re.findall(rb" number=(\d+)", said)]
    assert numbers == list(range(300))
