"""Logs: one line a step, without secrets and without bodies."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from bridge import logs
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
