"""Fixture files: found, read, and given to whoever sends them as their provider would."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import click

import bridge
from bridge.codec import loads
from bridge.model import WebhookRequest

BODY = "body.*"
CASE = "case.json"
JSON = "application/json; charset=utf-8"
FORM = "application/x-www-form-urlencoded"
CONTENT_TYPES = {".form": FORM}
PACKAGE = Path(bridge.__file__).parent
# In an installed wheel the fixtures lie in the package, in a checkout beside it.
ROOTS = (PACKAGE / "fixtures", PACKAGE.parent / "fixtures")
# "fixtures/providers/stripe/invoice.paid", "stripe/invoice.paid" or just "invoice.paid";
# "shopify/orders/paid" or just "orders/paid".
BUNDLED = ("", "providers/", "providers/*/")


@dataclass(frozen=True, slots=True)
class FixtureFile:
    """Hold a body to be sent, the provider it belongs to, and the headers that come with it."""

    path: Path
    provider: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def request(self) -> WebhookRequest:
        """Return the request it makes, unsigned."""
        headers = {"content-type": CONTENT_TYPES.get(self.path.suffix, JSON)} | self.headers
        return WebhookRequest(headers, self.body.encode())

    @property
    def is_form(self) -> bool:
        """Tell whether its body is a form; else it is JSON."""
        return self.request.headers["content-type"].startswith(FORM)

    @property
    def name(self) -> str:
        """Return what people call it: the folder of a body.json, else the file.

        Below the provider's folder, as events may be called "orders/paid".
        """
        named = (self.path.parent if self.path.match(BODY) else self.path).resolve()
        parts = named.parts
        below = parts[::-1].index(self.provider) if self.provider in parts else 0
        return "/".join(parts[len(parts) - below :]) or named.name


def find(path: str) -> list[Path]:
    """Return the bodies at a path of this machine, else of the fixtures that come with bridge."""
    if Path(path).exists():
        return _bodies(Path(path))
    name = path.strip("/").removeprefix("fixtures/")
    for root in ROOTS:
        for place in BUNDLED:
            if found := sorted(root.glob(f"{place}{name}")) if name else []:
                return [body for each in found for body in _bodies(each)]
    return []


def collect(paths: Iterable[str], providers: Iterable[str]) -> list[FixtureFile]:
    """Read the bodies at files and folders, in order of their names; raise UsageError.

    The provider is the folder name that is one: fixtures/providers/stripe/…
    """
    names = list(providers)
    files = []
    for path in paths:
        bodies = find(path)
        if not bodies:
            lacking = f"no {BODY} lies below" if Path(path).is_dir() else "there is no fixture"
            raise click.UsageError(f"{lacking} {path!r}")
        found = [
            FixtureFile(body, _provider(body, names), _read(body), _headers(body))
            for body in bodies
        ]
        _refuse_several(path, found)
        files += found
    return files


def _refuse_several(path: str, found: list[FixtureFile]) -> None:
    """Refuse a name that events of several providers have: who it is must be said."""
    several = sorted(f"{each.provider}/{each.name}" for each in found if each.name == path)
    if len(several) > 1:
        raise click.UsageError(f"{path!r} may be {' or '.join(several)}: say which")


def _bodies(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(each for each in path.rglob(BODY) if each.is_file())


def _read(path: Path) -> str:
    try:
        # Not read_text(): a signature is over every byte, line ends included.
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from None


def _headers(body: Path) -> dict[str, str]:
    """Return the headers that a fixture's case says its body came with."""
    case = body.with_name(CASE)
    if not body.match(BODY) or not case.is_file():
        return {}
    try:
        headers = loads(_read(case)).get("headers", {})
        return {str(name).lower(): str(value) for name, value in headers.items()}
    except (ValueError, AttributeError):
        raise click.UsageError(f"{case} is not an object with headers") from None


def _provider(path: Path, names: list[str]) -> str:
    for part in reversed(path.resolve().parts):
        if part in names:
            return part
    raise click.UsageError(
        f"{path}: no folder of its path names a provider ({', '.join(names)}), "
        "as in fixtures/providers/stripe/"
    )
