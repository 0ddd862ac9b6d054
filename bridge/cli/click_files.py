"""Files of clicks: a row of .csv or a line of .jsonl is the body of one POST /clicks.

What is wrong with a row is said of that row; only a file whose columns are not understood is
refused as a whole.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from bridge.capture import BODY, VENDORS, ClickBody, Seen, UnfitError, parse
from bridge.codec import dumps
from bridge.errors import BridgeError
from bridge.forgetting import ADDRESS
from bridge.web.clicks import MAX_BODY

ENDINGS = (".csv", ".jsonl")
DELIMITERS = ",;\t"
REFUSED = "refused"  # the column, or the comment, that says why a row was refused before
COMMENT = "#"
# 6123456789012345 becomes 6.12346E+15 in a spreadsheet: the same for many customers.
ROUNDED = re.compile(r"\d([.,]\d+)?E\+?\d+")
LONGEST_REASON = 300
Column = tuple[str, ...]  # where a cell belongs in the body: ("customer", "email")


class UnfitLineError(ValueError):
    """Say why a line cannot be read."""


@dataclass(frozen=True, slots=True)
class Row:
    """Hold one row: where it begins, as it stands, and its body as JSON or why there is none."""

    line: int
    raw: bytes = field(repr=False)
    body: str = field(default="", repr=False)
    reason: str = ""

    def read(self) -> ClickBody:
        """Return the body; raise UnfitError."""
        if self.reason:
            raise UnfitError({"row": self.reason})
        return parse(self.body)


class Lines:
    """Give the lines of a file as text; a line that is none is an error of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.number = 0
        self.begin()

    def begin(self) -> None:
        """Begin a row: from here on its lines are kept as they stand."""
        self.first = self.number + 1
        self.raw = b""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_BODY + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.raw += line
        if len(self.raw) > MAX_BODY:
            self.raw = b""
            while line and not line.endswith(b"\n"):
                line = self._file.readline(MAX_BODY)
            raise UnfitLineError(f"is longer than {MAX_BODY} bytes (is a quote left open?)")
        try:
            return line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UnfitLineError("is not UTF-8 (save the file as that)") from None


class ClickFile:
    """Read the rows of one file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._lines = Lines(file)
        self._is_csv = path.suffix.lower() == ".csv"
        self._head = b""
        self._delimiter = ","
        self._reader: Iterator[list[str]] = iter(())
        self._columns = self._read_columns(path) if self._is_csv else ()

    def rows(self) -> Iterator[Row]:
        """Yield the rows; empty ones are left out."""
        read = self._read_cells if self._is_csv else self._read_line
        while True:
            self._lines.begin()
            try:
                body = read()
            except StopIteration:
                return
            except (csv.Error, UnfitError, UnfitLineError) as error:
                yield Row(self._lines.first, self._lines.raw, reason=_said(error))
                continue
            if body:
                yield Row(self._lines.first, self._lines.raw, body)

    # ── refused rows, for mending ──

    def head(self) -> bytes:
        """Return what stands above the rows of a file of refused ones."""
        return _with_cell(self._head, self._delimiter, REFUSED) if self._is_csv else b""

    def refused(self, row: Row, reason: str) -> bytes:
        """Return a row as it stands, with the reason why it was refused; it may be read again."""
        if self._is_csv:
            return _with_cell(row.raw, self._delimiter, reason)
        comment = f"{COMMENT} {REFUSED}, line {row.line}: {reason}\n"
        return comment.encode() + row.raw.rstrip(b"\r\n") + b"\n"

    # ──

    def _read_line(self) -> str:
        text = next(self._lines).strip()
        return "" if text.startswith(COMMENT) else text

    def _read_cells(self) -> str:
        cells = next(self._reader)
        if not any(map(str.strip, cells)):
            return ""
        if len(cells) != len(self._columns):
            raise UnfitLineError(f"has {len(cells)} cells, the first line {len(self._columns)}")
        return dumps(_body(self._columns, cells))

    def _read_columns(self, path: Path) -> Sequence[Column]:
        try:
            head = next(self._lines, "")
            if head.lower().startswith("sep="):  # a spreadsheet's own word
                self._lines.begin()
                head = next(self._lines, "")
            self._delimiter = max(DELIMITERS, key=head.count)
            lines = chain([head], self._lines)
            self._reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            columns = _columns(next(self._reader, []))
        except (csv.Error, UnfitLineError) as error:
            raise BridgeError(f"{path}: line {self._lines.number} {_said(error)}") from None
        except ValueError as error:
            raise BridgeError(f"{path}: {error}") from None
        self._head = self._lines.raw
        return columns


def reason_of(error: UnfitError) -> str:
    """Say why a row is refused, without anybody's address: field names are free in JSON."""
    return ADDRESS.sub("…", str(error))[:LONGEST_REASON].removeprefix("row: ")


# ── columns ──────────────────────────────────────────────────────────────────────────────────────


def known_columns() -> dict[str, Column]:
    """Return the columns there are, by the short and the whole name of each."""
    ids = BODY.model_fields["customer"].annotation
    assert ids is not None  # noqa: S101
    columns: list[Column] = [("customer", each) for each in ids.model_fields]
    columns += [("clicks", each) for each in VENDORS]
    columns += [("context", each) for each in Seen.model_fields]
    columns += [("occurred_at",), (REFUSED,)]
    return {name: each for each in columns for name in (each[-1], ".".join(each))}


def _columns(names: Sequence[str]) -> list[Column]:
    known = known_columns()
    if not any(map(str.strip, names)):
        raise ValueError("is empty (its first line must name the columns)")
    columns: list[Column] = []
    for name in (each.strip().lower() for each in names):
        column = known.get(name) or _kind(name, known)
        if column is None:
            short = [each for each in known if "." not in each and each != REFUSED]
            raise ValueError(
                f"{_shown(name)} is no column: its first line must name columns of "
                f"{', '.join(short)}, or of a kind of click as in tapfiliate.coupon"
            )
        if column in columns:
            raise ValueError(f"column {_shown(name)} is there twice")
        columns.append(column)
    return columns


def _kind(name: str, known: Mapping[str, Column]) -> Column | None:
    """Return the column of one kind of a vendor's click: "tapfiliate.referral_code"."""
    vendor, _, kind = name.removeprefix("clicks.").partition(".")
    return (*known[vendor], kind) if vendor in VENDORS and kind else None


def _shown(name: str) -> str:
    # Where the first line is a customer already, it must not be shown.
    return repr(ADDRESS.sub("…", name)[:40])


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────


def _body(columns: Sequence[Column], cells: Sequence[str]) -> dict[str, Any]:
    body: dict[str, Any] = {"customer": {}}
    for column, cell in zip(columns, cells, strict=True):
        text = cell.strip()
        if text and column != (REFUSED,):
            _put(body, column, text)
    return body


def _put(body: dict[str, Any], column: Column, text: str) -> None:
    if column[0] in {"customer", "clicks"} and ROUNDED.fullmatch(text):
        name = ".".join(column)
        raise UnfitError({name: "is a number that a spreadsheet has rounded"})
    place = body
    for each in column[:-1]:
        place = place.setdefault(each, {})
        if not isinstance(place, dict):
            raise _ambiguous(column)
    if column[-1] in place:
        raise _ambiguous(column)
    place[column[-1]] = text


def _ambiguous(column: Column) -> UnfitError:
    return UnfitError({".".join(column[:2]): "is given both as one id and by its kind"})


def _said(error: Exception) -> str:
    if isinstance(error, csv.Error):
        return "has a quote in the wrong place, or one that is left open"
    return str(error)


def _with_cell(raw: bytes, delimiter: str, text: str) -> bytes:
    quoted = '"' + text.replace('"', '""') + '"'
    return raw.rstrip(b"\r\n") + (delimiter + quoted + "\n").encode()
