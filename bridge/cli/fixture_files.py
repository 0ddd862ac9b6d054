"""Fixture files: found, changed and signed as their provider would send them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import simplejson

import bridge
from bridge.codec import loads

BODY = "body.json"
PACKAGE = Path(bridge.__file__).parent
# In an installed wheel the fixtures lie in the package, in a checkout beside it.
ROOTS = (PACKAGE / "fixtures", PACKAGE.parent / "fixtures")

# Ids that a fresh run must not share with an earlier one; customers stay who they are, so that the
# clicks stored for them are found.
FRESH_ID = re.compile(r"\b(?!cus_)([a-z]{2,6}_(?:live_|test_)?)([A-Za-z0-9]{10,})\b")
TIME_FIELD = re.compile(r"(created|.*_at|period_start|period_end|start|end|due_date)$")


@dataclass(frozen=True, slots=True)
class FixtureFile:
    """Hold a body to be sent, and the provider it belongs to."""

    path: Path
    provider: str
    body: str


def collect(paths: Iterable[str], providers: Iterable[str]) -> list[FixtureFile]:
    """Find the bodies below files and folders, in order of their names.

    The provider is the folder name that is one: fixtures/providers/stripe/…; raise UsageError.
    """
    names = list(providers)
    found = [file for path in paths for file in _bodies(_resolve(path))]
    return [FixtureFile(path, _provider(path, names), path.read_text("utf-8")) for path in found]


def change(
    files: Sequence[FixtureFile], settings: Iterable[tuple[str, str]], *, fresh: str, now: int
) -> list[FixtureFile]:
    """Return files with values set, and with ids made fresh and times moved to now if asked.

    `fresh` is what the new ids are derived from: the same id becomes the same new one in all files.
    """
    shift = now - max((_latest(loads(file.body)) for file in files), default=now) if fresh else 0
    changed = []
    for file in files:
        body = file.body
        if fresh:
            body = dumps_pretty(_moved(loads(_freshened(body, fresh)), shift))
        for path, value in settings:
            body = _with(body, path, value)
        changed.append(FixtureFile(file.path, file.provider, body))
    return changed


def dumps_pretty(value: object) -> str:
    """Write JSON as a provider would: indented, numbers exact."""
    text: str = simplejson.dumps(value, use_decimal=True, ensure_ascii=False, indent=2)
    return text


def parse_setting(text: str) -> tuple[str, str]:
    """Split `path=value`; raise BadParameter."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise click.BadParameter(f"{text!r} is not path=value (data.object.amount_paid=9900)")
    return path, value


def _resolve(path: str) -> Path:
    if Path(path).exists():
        return Path(path)
    for root in ROOTS:
        bundled = root / path.removeprefix("fixtures/")
        if root.is_dir() and bundled.exists():
            return bundled
    raise click.UsageError(f"there is no file, folder or event {path!r}")


def _bodies(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    bodies = sorted(path.rglob(BODY))
    if not bodies:
        raise click.UsageError(f"no {BODY} lies below {path}")
    return bodies


def _provider(path: Path, names: list[str]) -> str:
    for part in reversed(path.resolve().parts):
        if part in names:
            return part
    raise click.UsageError(
        f"{path}: no folder of its path names a provider ({', '.join(names)}), "
        "as in fixtures/providers/stripe/"
    )


def _freshened(body: str, seed: str) -> str:
    def renew(match: re.Match[str]) -> str:
        prefix, tail = match.groups()
        return prefix + hashlib.sha256(f"{seed}{tail}".encode()).hexdigest()[: max(len(tail), 24)]

    return FRESH_ID.sub(renew, body)


def _latest(body: object) -> int:
    created = body.get("created") if isinstance(body, dict) else None
    return created if isinstance(created, int) else 0


def _moved(value: object, seconds: int) -> object:
    """Move every Unix time by so many seconds."""
    if isinstance(value, list):
        return [_moved(each, seconds) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: each + seconds
        if isinstance(each, int) and each > 10**9 and TIME_FIELD.match(key)
        else _moved(each, seconds)
        for key, each in value.items()
    }


def _with(body: str, path: str, value: str) -> str:
    document = loads(body)
    *parents, last = path.split(".")
    place = document
    for part in parents:
        place = _child(place, part, path)
    try:
        new = loads(value)
    except ValueError:
        new = value
    if isinstance(place, list) and last.isdecimal() and int(last) < len(place):
        place[int(last)] = new
    elif isinstance(place, dict):
        place[last] = new
    else:
        raise click.UsageError(f"--set {path}: there is nothing at {path!r} to set")
    return dumps_pretty(document)


def _child(place: object, part: str, path: str) -> object:
    if isinstance(place, dict) and part in place:
        return place[part]
    if isinstance(place, list) and part.isdecimal() and int(part) < len(place):
        return place[int(part)]
    raise click.UsageError(f"--set {path}: there is no {part!r} on the way")
