"""Changes to fixture files before they are sent: values set, ids made fresh, times moved to now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import simplejson

from bridge.cli.fixture_files import FixtureFile
from bridge.codec import loads

# An id, wherever it stands (in_1QNj… also within an address): a prefix, and a tail with a digit or
# a capital in it, which names of fields and states (status_transitions) have not.
ID = re.compile(
    r"(?<![A-Za-z0-9_])([a-z]{2,6}_(?:live_|test_)?)(?=[a-z]*[A-Z0-9])([A-Za-z0-9]{10,})\b"
)
# Customers and accounts stay who they are, so that the clicks stored for them are found; so does
# whatever the merchant attached.
STEADY_PREFIXES = ("cus_", "ctm_", "acct_")
STEADY_FIELDS = {
    *("account", "customer", "customer_details", "client_reference_id", "custom_data"),
    *("metadata", "note_attributes", "passthrough"),
}
TIME = re.compile(r"(created|date|start|end|.*_(at|on|by|date|start|end|anchor))$")
# No amount of seconds since 1970 that a provider writes today is below this one.
EARLIEST = 10**9


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
    documents = [_document(file) for file in files]
    if fresh:
        documents = [_renewed(each, fresh) for each in documents]
    if now is not None:
        newest = max(filter(None, map(_happened, documents)), default=now)
        documents = [_moved(each, now - newest) for each in documents]
    for file, document in zip(files, documents, strict=True):
        for path, value in values:
            try:
                _set(document, path, value)
            except LookupError as error:
                lacking = f"{file.name} has no {error.args[0]!r} there"
                raise click.UsageError(f"--set {path}: {lacking}") from None
    return [
        replace(file, body=dumps_pretty(document))
        for file, document in zip(files, documents, strict=True)
    ]


def dumps_pretty(value: object) -> str:
    """Write JSON as a provider would: indented, numbers exact."""
    text: str = simplejson.dumps(value, use_decimal=True, ensure_ascii=False, indent=2)
    return text


def parse_value(text: str) -> tuple[str, str]:
    """Split `path=value`; raise BadParameter."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise click.BadParameter(
            f"{text!r} is not PATH=VALUE (as in data.object.amount_paid=9900)", param_hint="--set"
        )
    return path, value


def _document(file: FixtureFile) -> Any:
    try:
        return loads(file.body)
    except ValueError:
        raise click.UsageError(f"{file.path} is not JSON, and can only be sent as it is") from None


# ── fresh ids ────────────────────────────────────────────────────────────────────────────────────


def _renewed(value: Any, seed: str) -> Any:
    def renew(match: re.Match[str]) -> str:
        prefix, tail = match.groups()
        if prefix in STEADY_PREFIXES:
            return match.group()
        digest = hashlib.sha256(f"{seed}{tail}".encode()).hexdigest()
        return prefix + digest[: max(len(tail), 24)]

    return _mapped(value, lambda name, text: ID.sub(renew, text), str, STEADY_FIELDS)


# ── times ────────────────────────────────────────────────────────────────────────────────────────


def _happened(document: Any) -> datetime | None:
    """Return when an event happened: `created` at Stripe, `occurred_at` at Paddle."""
    if not isinstance(document, dict):
        return None
    return _moment(document.get("created")) or _moment(document.get("occurred_at"))


def _moved(value: Any, shift: timedelta) -> Any:
    def move_number(name: str, number: int) -> int:
        is_time = TIME.match(name) and number > EARLIEST
        return number + int(shift.total_seconds()) if is_time else number

    def move_text(name: str, text: str) -> str:
        moment = _moment(text) if TIME.match(name) else None
        if moment is None:
            return text
        precision = "milliseconds" if "." in text else "seconds"
        return (moment + shift).isoformat(timespec=precision).replace("+00:00", "Z")

    return _mapped(_mapped(value, move_number, int), move_text, str)


def _moment(value: object) -> datetime | None:
    if isinstance(value, int):
        return datetime.fromtimestamp(value, UTC)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment and moment.tzinfo else None


def _mapped(
    value: Any,
    change: Callable[[str, Any], Any],
    kind: type,
    steady: Iterable[str] = (),
    name: str = "",
) -> Any:
    """Change every value of a kind, wherever it stands, by the name of the field it stands in."""
    if isinstance(value, list):
        return [_mapped(each, change, kind, steady, name) for each in value]
    if isinstance(value, dict):
        return {
            key: each if key in steady else _mapped(each, change, kind, steady, key)
            for key, each in value.items()
        }
    return change(name, value) if type(value) is kind else value


# ── values ───────────────────────────────────────────────────────────────────────────────────────


def _set(document: Any, path: str, value: str) -> None:
    """Set one value (what is no JSON is text); raise LookupError with the part that is missing."""
    try:
        new = loads(value)
    except ValueError:
        new = value
    *parents, last = path.split(".")
    place = document
    for part in parents:
        place = _child(place, part)
    if isinstance(place, dict):
        place[last] = new
    elif _is_index(place, last):
        place[int(last)] = new
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
