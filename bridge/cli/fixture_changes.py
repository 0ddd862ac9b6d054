"""Changes to fixture files before they are sent: values set, ids made fresh, times moved to now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from bridge.cli import documents
from bridge.cli.documents import Document
from bridge.cli.fixture_files import FixtureFile
from bridge.cli.fresh_ids import renewed
from bridge.cli.fresh_times import moved
from bridge.codec import loads


def change(
    files: Sequence[FixtureFile],
    values: Iterable[tuple[str, str]],
    *,
    fresh: str = "",
    now: datetime | None = None,
) -> list[FixtureFile]:
    """Return files with values set, and with ids made fresh and times moved up to `now` if asked.

    `fresh` is what the new ids are derived from: the same id becomes the same new one in all files.
    """
    values = list(values)
    if not values and not fresh:
        return list(files)
    read = [documents.read(file) for file in files]
    if fresh:
        read = renewed(read, fresh)
    if now is not None:
        read = moved(read, now)
    for document in read:
        for path, value in values:
            _set(document, path, value)
    return [document.written() for document in read]


def parse_value(text: str) -> tuple[str, str]:
    """Split `path=value`; raise BadParameter."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise click.BadParameter(
            f"{text!r} is not PATH=VALUE (as in data.object.amount_paid=9900)", param_hint="--set"
        )
    return path, value


def _set(document: Document, path: str, value: str) -> None:
    """Set one value; raise UsageError with the part of the path that is missing."""
    if document.file.is_form:
        document.value[path] = value
        return
    try:
        _set_at(document.value, path.split("."), _parsed(value))
    except LookupError as error:
        lacking = f"{document.file.name} has no {error.args[0]!r} there"
        raise click.UsageError(f"--set {path}: {lacking}") from None


def _parsed(value: str) -> Any:
    """Read a value as JSON; what is none is text."""
    try:
        return loads(value)
    except ValueError:
        return value


def _set_at(place: Any, path: Sequence[str], value: Any) -> None:
    *parents, last = path
    for part in parents:
        place = _child(place, part)
    if isinstance(place, dict):
        place[last] = value
    elif _is_index(place, last):
        place[int(last)] = value
    else:
        raise LookupError(last)


def _child(place: Any, part: str) -> Any:
    if isinstance(place, dict) and part in place:
        return place[part]
    if _is_index(place, part):
        return place[int(part)]
    raise LookupError(part)


def _is_index(place: Any, part: str) -> bool:
    return isinstance(place, list) and part.isdecimal() and int(part) < len(place)
