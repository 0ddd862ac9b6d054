"""What a provider is: it verifies webhooks and says what they mean in payments.

A provider is one file in this folder with one subclass of `Provider`. It does no I/O and reads no
clock. What a webhook leaves out is asked by `bridge.provider_api`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import SecretStr

from bridge.errors import PayloadError
from bridge.model import Event, Payment, WebhookRequest
from bridge.plugin import PluginSettings

S = TypeVar("S", bound=PluginSettings)


class Provider(ABC, Generic[S]):
    """Turn one payment provider's webhooks into payments."""

    name: ClassVar[str]
    """The file's name and the prefix of its settings: "stripe"."""
    title: ClassVar[str]
    """The provider's own spelling of its name: "Stripe"."""
    settings_type: ClassVar[type[PluginSettings]]

    def __init__(self, settings: S) -> None:
        self.settings = settings

    @property
    def route(self) -> str:
        """Return the last part of its webhook address: /webhooks/<route>."""
        return self.name.replace("_", "-")

    @abstractmethod
    def verify(self, request: WebhookRequest, now: datetime) -> Event:
        """Return the verified event; raise SignatureError or PayloadError."""

    @abstractmethod
    def read(self, body: str) -> Event:
        """Return the event a body holds, without asking who sent it; raise PayloadError."""

    @abstractmethod
    def normalise(self, event: Event) -> list[Payment]:
        """Return the payments an event tells of; raise PayloadError or MoneyError."""

    @abstractmethod
    def sign(self, body: str, now: datetime) -> Mapping[str, str]:
        """Return the headers with which the provider itself would send this body."""

    @abstractmethod
    def question(self, references: Iterable[str]) -> str:
        """Return the reference to ask the provider about when these have no sale, or ""."""


AnyProvider = Provider[Any]


def secrets_in(value: SecretStr) -> list[str]:
    """Return the secrets of a setting that may hold several, comma-separated, while rotating."""
    return [each.strip() for each in value.get_secret_value().split(",") if each.strip()]


# ── reading JSON that somebody else wrote ────────────────────────────────────────────────────────

Json = Mapping[str, Any]


def parse_json(body: str, provider: str) -> dict[str, Any]:
    """Parse a body that must be a JSON object, numbers exactly; raise PayloadError."""
    try:
        data = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise PayloadError(f"the body is not JSON, as {provider} sends it") from None
    if not isinstance(data, dict):
        raise PayloadError(f"the body is not a JSON object, as {provider} sends it")
    return data


def dig(thing: object, *path: str) -> Any:
    """Return what lies at a path of keys, or None where the path ends early."""
    for key in path:
        if not isinstance(thing, Mapping):
            return None
        thing = thing.get(key)
    return thing


def objects(thing: object) -> list[Json]:
    """Return the objects of a list, and nothing for what is no list."""
    return [each for each in thing if isinstance(each, Mapping)] if isinstance(thing, list) else []


def text(value: object) -> str:
    """Return a string (numbers written out), or "" for what is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return ""
    return str(value)


def texts(value: object) -> dict[str, str]:
    """Return the entries of an object whose values can be written as strings."""
    if not isinstance(value, Mapping):
        return {}
    return {str(key): text(each) for key, each in value.items() if text(each)}


def moment(seconds: object) -> datetime:
    """Read a Unix time; raise PayloadError when it is none."""
    try:
        if isinstance(seconds, int) and not isinstance(seconds, bool):
            return datetime.fromtimestamp(seconds, UTC)
        if isinstance(seconds, str):
            return datetime.fromisoformat(seconds).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise PayloadError(f"{str(seconds)[:40]!r} is not a time")
