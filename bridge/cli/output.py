"""What commands print: tables that fit the terminal, lines that wrap with their indent, JSON.

Piped into something else, every row is one line and nothing is folded or left out.

All that a command says goes out here, and so without the secrets in the settings and without what
a terminal would obey: ids and words of others may hold either.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bridge.codec import dumps
from bridge.logs import InUse
from bridge.model import Status, Told


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Tell the command that whoever read its output has seen enough."""
        raise BrokenPipeError


console = _Console(highlight=False)

STATE_STYLES = {
    "settled": "green",
    "processed": "green",
    "approved": "green",
    "disapproved": "yellow",
    "due": "cyan",
    "sending": "cyan",
    "parked": "yellow",
    "waiting": "yellow",
    "unknown": "bold red",
    "dead": "red",
    "failed": "red",
    "skipped": "dim",
    "ignored": "dim",
    "planned": "magenta",
}
GAP = 2
# What moves a terminal's cursor, turns its text around, or is half a character.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Column:
    """Describe a column, and how it gives way where the terminal is narrow.

    The one that `yields` most is left out first, 0 never is; one of free text goes `below` its row.
    Of ids that are mostly short, one longer than `most` does not widen the column for all: its row
    goes on in the next line.
    """

    title: str
    right: bool = False
    yields: int = 0
    below: bool = False
    most: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Hold which columns stand in the line, and which one below it."""

    line: tuple[int, ...]
    below: int | None


def print_json(value: object) -> None:
    """Print one JSON value; what a terminal would obey is escaped."""
    written = InUse.redact(dumps(value))
    click.echo(OBEYED.sub(lambda found: json.dumps(found[0])[1:-1], written))


def say(text: str, *, err: bool = False) -> None:
    """Print a text as it is, never wrapped."""
    click.echo(harmless(text), err=err)


def complain(text: str) -> None:
    """Print what went wrong to stderr."""
    click.secho(f"Error: {harmless(text)}", fg="red", err=True)


def harmless(text: str) -> str:
    """Return a text as it may be shown: without secrets, and without what a terminal obeys."""
    return OBEYED.sub("?", InUse.redact(text))


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[object]], empty: str = "", indent: int = 0
) -> None:
    """Print rows as a table, or say that there are none."""
    if not rows:
        print_line(empty, style="dim", indent=indent)
        return
    texts = [["" if cell is None else _in_cell(str(cell)) for cell in row] for row in rows]
    room = _width() - indent
    widths = _widths(columns, texts, room)
    layout = lay_out(columns, widths, room)
    heads = [column.title for column in columns]
    _print_row(columns, heads, widths, layout.line, indent, style="bold")
    for row in texts:
        _print_row(columns, row, widths, layout.line, indent)
        if layout.below is not None and row[layout.below]:
            print_line(row[layout.below], style="dim", indent=indent + 2 * GAP)


def lay_out(columns: Sequence[Column], widths: Sequence[int], room: int) -> Layout:
    """Choose the columns for which there is room; those without content have no width."""
    line = [at for at, width in enumerate(widths) if width]
    if _total(line, widths) <= room:
        return Layout(tuple(line), None)
    below = next((at for at in line if columns[at].below), None)
    line = [at for at in line if at != below]
    while _total(line, widths) > room:
        first_to_go = max(line, key=lambda at: columns[at].yields)
        if columns[first_to_go].yields == 0:
            break
        line.remove(first_to_go)
    return Layout(tuple(line), below)


def print_line(text: str = "", *, style: str = "", indent: int = 0) -> None:
    """Print a line that wraps with its indent on a terminal, and does not wrap in a pipe."""
    for line in Text(harmless(text)).wrap(console, max(_width() - indent, 20), overflow="fold"):
        console.print(Text(" " * indent + line.plain.rstrip(), style), soft_wrap=True)


def print_heading(text: str) -> None:
    """Print what stands above a part of an answer."""
    console.print()
    print_line(text, style="bold underline")


def told_words(told: Told) -> str:
    """Say in a few words what a vendor has been told."""
    words = [str(told.amount)] if told.amount else [] if told.status else list(told.steps)
    words += [str(told.status)] if told.status else []
    return " ".join(words or ["nothing"]) + (f" (in doubt: {told.doubt})" if told.doubt else "")


def told_briefly(told: Told) -> str:
    """Say what a vendor then held: an amount, or that it took it back."""
    if told.status is Status.DISAPPROVED:
        return "taken back"
    return str(told.amount) if told.amount else told_words(told)


def shortened(text: str) -> str:
    """Keep hashes short, and whatever names them: nobody reads all of one."""
    kind, colon, value = text.rpartition(":")
    is_hash = len(value) >= 40 and set(value) <= set("0123456789abcdef")
    return f"{kind}{colon}{value[:10]}…" if is_hash else text


def shown_time(moment: object) -> str:
    """Write a time for people, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def some(number: int, thing: str, things: str = "") -> str:
    """Count things: "1 event", "2 events"."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"


def _in_cell(text: str) -> str:
    return harmless(text).replace("\n", " ").replace("\t", " ")


def _is_narrow() -> bool:
    return console.is_terminal or bool(os.environ.get("COLUMNS"))


def _width() -> int:
    return console.width if _is_narrow() else 10_000


def _widths(columns: Sequence[Column], texts: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return how wide each column is; 0 for one without content."""
    widest = [max(cell_len(row[at]) for row in texts) for at in range(len(columns))]
    widths = [
        max(width, len(column.title)) if width else 0
        for column, width in zip(columns, widest, strict=True)
    ]
    if sum(widths) + GAP * (len(widths) - 1) <= room:
        return widths
    return [min(width, column.most or width) for column, width in zip(columns, widths, strict=True)]


def _total(line: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[at] for at in line) + GAP * (len(line) - 1)


def _print_row(
    columns: Sequence[Column],
    row: Sequence[str],
    widths: Sequence[int],
    line: Sequence[int],
    indent: int,
    style: str = "",
) -> None:
    text = Text(" " * indent)
    start = indent
    for at in line:
        width, length = widths[at], cell_len(row[at])
        fill = Text(" " * (width - length))
        cell = Text(row[at], style or STATE_STYLES.get(row[at], ""))
        text += fill + cell if columns[at].right else cell + fill
        start += width + GAP
        text += Text(" " * GAP if length <= width else f"\n{' ' * start}")
    text.rstrip()
    # Where not even this fits, the terminal may fold it: an id is never cut.
    console.print(text, soft_wrap=True)
