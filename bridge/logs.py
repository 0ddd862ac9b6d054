"""Logs: one structured line a step, to stderr; never a secret, never a body.

What an exception quotes may come from a body, so of exceptions that are not our own only the names
in quotes are told, and where it happened.
"""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import re
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from traceback import format_tb
from types import TracebackType
from typing import Any, TextIO, cast
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, WrappedLogger

from bridge.errors import BridgeError

HIDDEN, LEFT_OUT = "***", "…"
# Shorter ones stand in too many words.
SHORTEST_SECRET, SHORTEST_LINE = 4, 20
# A shorter one may be a word: taken out of an id, it would make it somebody else's.
SHORTEST_IN_IDS = 16
# A shorter one is taken out where it stands alone. As texts are cut off in places, so many of its
# first letters tell of a longer one as much as all of it.
SHORTEST_ANYWHERE, LONGEST_CUT = 12, 100
# Anything shorter is base64 of many things.
SHORTEST_ENCODED = 12
LONGEST_WORDS, LONGEST_QUOTED = 300, 2_000
# So many lines wait where nobody reads them; then the oldest are lost.
MOST_LINES = 10_000
# What is quoted, but for the apostrophe of a word.
QUOTED = re.compile(r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?!\w)""")
NAME = re.compile(r"[A-Za-z_]\w{0,39}", re.ASCII)
ADDRESS = re.compile(r"\S+@\S+")


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────


class Redactor:
    """Replace every configured secret by ***, wherever it appears and however it is written."""

    def __init__(self, secrets: Iterable[str] = (), shortest: int = SHORTEST_SECRET) -> None:
        self._secrets = frozenset(secrets)
        self._pattern = _pattern(self._secrets, shortest)
        self._in_names = _pattern(self._secrets, max(shortest, SHORTEST_IN_IDS))

    def __call__(self, text: str) -> str:
        """Return a text without secrets."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def for_ids(self) -> Redactor:
        """Return what takes secrets out of what is kept and has a meaning, such as an id."""
        return Redactor(self._secrets, SHORTEST_IN_IDS)

    def plain(self, value: Any) -> Any:
        """Return plain data without secrets in its texts and names."""
        match value:
            case str():
                return self(value)
            case dict():
                return {self._name(name): self.plain(each) for name, each in value.items()}
            case list() | tuple():
                return [self.plain(each) for each in value]
            case _:
                return value

    def _name(self, name: Any) -> Any:
        return self._in_names.sub(HIDDEN, name) if self._in_names and name else name

    def processor(self, _: WrappedLogger, __: str, line: EventDict) -> EventDict:
        """Redact a log line: all of it but plain numbers is written out first."""
        return {key: each if _is_plain(each) else self(str(each)) for key, each in line.items()}


@lru_cache(maxsize=16)  # a process has one set of secrets, and many who keep them out of something
def _pattern(secrets: frozenset[str], shortest: int) -> re.Pattern[str] | None:
    known = {part for each in secrets for part in _parts(each) if len(part) >= shortest}
    # Longest first: one secret may begin with another.
    found = sorted(known, key=lambda each: (-len(each), each))
    long = [each for each in found if len(each) >= SHORTEST_ANYWHERE]
    written = [_spellings(each) if each in long else _alone(each) for each in found]
    written += [code for each in found for code in _encoded(each)]
    written += [_cut_off(each, max(SHORTEST_ANYWHERE, shortest)) for each in long]
    return re.compile("|".join(written)) if written else None


def _parts(secret: str) -> Iterator[str]:
    """Yield a secret, and each line of one that has several, as a private key has."""
    yield secret
    lines = secret.replace("\\n", "\n").split("\n")
    if len(lines) > 1:
        yield "\n".join(lines)
        yield from (each for each in lines if len(each) >= SHORTEST_LINE and "-----" not in each)


def _spellings(secret: str) -> str:
    """Return what finds a secret as it is, in JSON, in HTML, in a URL."""
    return "".join(map(_spelling, secret))


def _alone(secret: str) -> str:
    """Return what finds a short secret where it is a word: within an id it is part of a name."""
    return rf"(?<![\w-]){_spellings(secret)}(?![\w-])"


def _cut_off(secret: str, least: int) -> str:
    """Return what finds a secret of which the end is missing."""
    letters = list(map(_spelling, secret[:LONGEST_CUT]))
    rest = letters[least:]
    return "".join(letters[:least] + [f"(?:{each}" for each in rest]) + ")?" * len(rest)


@lru_cache
def _spelling(each: str) -> str:
    if each.isascii() and each.isalnum():
        return each
    code, escaped = ord(each), quote(each, safe="")
    in_json = {each, json.dumps(each)[1:-1].lstrip("\\"), f"u{code:04x}", f"u{code:04X}"} - {""}
    written = {html.escape(each), escaped, "".join(f"%{byte:02X}" for byte in each.encode())}
    written |= {f"&#{code};", f"&#x{code:x};", f"&#x{code:X};", *("+" if each == " " else "")}
    written |= {each.lower() for each in written if each[0] == "%"}
    # JSON within JSON escapes what is escaped already.
    deeper = _any_of(in_json).replace("\\\\", "\\\\+")
    return rf"(?:{_any_of(written)}|\\*(?:{deeper}))"


def _any_of(written: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(written, key=lambda each: (-len(each), each))))


def _encoded(secret: str) -> Iterator[str]:
    """Yield what stands in base64 of any text that holds a secret, wherever in it that begins."""
    raw = secret.encode("utf-8", "replace")
    for before in range(3) if len(raw) >= SHORTEST_ENCODED else ():
        # The first and the last letters are made of what stands beside it, too.
        first, whole = (0, 2, 3)[before], (before + len(raw)) * 8 // 6
        code = base64.b64encode(b"\0" * before + raw).decode()[first:whole]
        yield re.escape(code).replace(r"\+", "+").replace("+", "[+-]").replace("/", "[/_]")


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float))


class InUse:
    """Hold what takes the secrets of this process out of what it says, and out of ids."""

    redact = Redactor()
    keep_out = Redactor()


def hide(redact: Redactor) -> None:
    """Keep secrets out of whatever this process says from now on."""
    InUse.redact, InUse.keep_out = redact, redact.for_ids()


# ── exceptions ───────────────────────────────────────────────────────────────────────────────────


def words_of(error: BaseException) -> str:
    """Say what went wrong, in one line and without values.

    Our own errors are told as they are: they hold none. Of others, what stands in quotes may be a
    value of a body: names alone are told.
    """
    if isinstance(error, BridgeError):
        return str(error)
    said = ADDRESS.sub(LEFT_OUT, QUOTED.sub(_without_value, str(error)[:LONGEST_QUOTED]))
    kind = type(error).__name__
    return f"{kind}: {' '.join(said.split())[:LONGEST_WORDS]}" if said.strip() else kind


def _without_value(found: re.Match[str]) -> str:
    quoted = found[0]
    return quoted if NAME.fullmatch(quoted[1:-1]) else f"{quoted[0]}{LEFT_OUT}{quoted[0]}"


def told(error: BaseException) -> str:
    """Return the traceback of an exception and of those behind it, without values."""
    chain: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and behind not in chain:
        chain.insert(0, behind)
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
    return "\n\nand then:\n\n".join(
        f"Traceback (most recent call last):\n{''.join(format_tb(each.__traceback__))}"
        f"{words_of(each)}"
        for each in chain
    )


def _told(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    return told(exc_info[1])


# ── this process ─────────────────────────────────────────────────────────────────────────────────


class _BestEffort:
    """Write lines where they can be written: on a full disk, work goes on without its log.

    While one thread writes, the others leave their lines to it, and go on. What is said in one turn
    of an event loop is written together, by a thread: where nobody reads, the loop must go on.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._writing = threading.Lock()
        self._asked = False

    def write(self, text: str) -> None:
        self._lines.append(text)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # none
            self._write_out()
            return
        if not self._asked:
            self._asked = True
            loop.call_soon(self._have_written, loop)

    def flush(self) -> None:
        """Leave it to who writes: for one that nobody reads, everybody would wait here."""

    def _have_written(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asked = False
        with suppress(RuntimeError):  # no thread can be started: with the next line, perhaps
            loop.run_in_executor(None, self._write_out)

    def _write_out(self) -> None:
        while self._lines and self._writing.acquire(blocking=False):
            try:
                self._write_all()
            finally:
                self._writing.release()

    def _write_all(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._file.write("".join(lines))
            self._file.flush()


def configure(redact: Redactor, *, quiet: bool = False) -> None:
    """Set logging up for this process: readable on a terminal, logfmt otherwise."""
    hide(redact)
    pretty = sys.stderr.isatty()
    render: Any = (
        # Not its pretty tracebacks: they show local variables, and so bodies and secrets.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_told),
            redact.processor,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.ERROR if quiet else logging.INFO
        ),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _BestEffort(sys.stderr))),
    )


def get() -> Any:
    """Return the logger."""
    return structlog.get_logger()
