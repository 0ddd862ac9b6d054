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
from typing import Annotated, Any, ClassVar, Generic, NoReturn, TypeVar

from pydantic import AfterValidator, SecretStr

from bridge.errors import PayloadError
from bridge.model import Erasure, Event, Payment, WebhookRequest
from bridge.plugin import PluginSettings

S = TypeVar("S", bound=PluginSettings)


class Provider(ABC, Generic[S]):
    """Turn one payment provider's webhooks into payments."""

    name: ClassVar[str]
    """The file's name and the prefix of its settings: "stripe"."""
    title: ClassVar[str]
    """The provider's own spelling of its name: "Stripe"."""
    settings_type: ClassVar[type[PluginSettings]]
    key_field: ClassVar[str] = ""
    """The field of its settings that lets it be asked what its webhooks leave out, if any."""
    key_needs: ClassVar[tuple[str, ...]] = ()
    """The other fields that must be set with it."""

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
    def read(self, request: WebhookRequest) -> Event:
        """Return the event a request holds, without asking who sent it; raise PayloadError."""

    @abstractmethod
    def normalise(self, event: Event) -> list[Payment]:
        """Return the payments an event tells of; raise PayloadError or MoneyError."""

    @abstractmethod
    def sign(self, request: WebhookRequest, now: datetime) -> WebhookRequest:
        """Return the request as the provider itself would send it now; raise ConfigError."""

    def question(self, references: Iterable[str]) -> str:
        """Return the reference to ask the provider about when these have no sale, or ""."""
        return ""

    def erasure(self, event: Event) -> Erasure | None:
        """Return whose data an event asks to be removed, if it asks that; raise PayloadError."""
        return None

    def advice(self) -> Iterable[str]:
        """Return what a merchant may have forgotten to set, for `bridge doctor`."""
        return ()


AnyProvider = Provider[Any]


def secrets_in(value: SecretStr) -> list[str]:
    """Return the secrets of a setting that may hold several, comma-separated, while rotating."""
    return [each.strip() for each in value.get_secret_value().split(",") if each.strip()]


def _holds_one(value: SecretStr) -> SecretStr:
    if not secrets_in(value):
        raise ValueError("must hold a secret")
    return value


def body_text(request: WebhookRequest) -> str:
    """Return the body as text; raise PayloadError where it is none."""
    try:
        return request.body.decode("utf-8")
    except UnicodeDecodeError:
        raise PayloadError("the body is not UTF-8 text") from None


RotatingSecret = Annotated[SecretStr, AfterValidator(_holds_one)]
"""A setting that holds one secret, or several while rotating."""


# ── reading JSON that somebody else wrote ────────────────────────────────────────────────────────

Json = Mapping[str, Any]

# Before 1970 and after 2099 no payment is made: such a time is a mistake, or was milliseconds.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def parse_json(body: str, provider: str) -> dict[str, Any]:
    """Parse a body that must be a JSON object, numbers exactly; raise PayloadError."""
    try:
        data = json.loads(body, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, ArithmeticError, RecursionError):
        raise PayloadError(f"the body is not JSON, as {provider} sends it") from None
    if not isinstance(data, dict):
        raise PayloadError(f"the body is not a JSON object, as {provider} sends it")
    return data


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


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
    """Return a string (numbers written out), or "" for what is none.

    What no database takes, NUL and half of a surrogate pair (an emoji cut in two), is replaced.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return ""
    return str(value).replace("\0", "?").encode("utf-8", "replace").decode("utf-8")


def texts(value: object) -> dict[str, str]:
    """Return the entries of an object whose values can be written as strings."""
    if not isinstance(value, Mapping):
        return {}
    return {text(key): text(each) for key, each in value.items() if text(each)}


def moment(seconds: object, name: str = "") -> datetime:
    """Read a Unix time, or an ISO 8601 time with its zone; raise PayloadError when it is none.

    `name` is what the field is called, for the error.
    """
    try:
        when = _moment(seconds)
    except (ValueError, OverflowError, OSError):
        when = None
    if when is None or when.tzinfo is None or not EARLIEST <= when < LATEST:
        where = f"{name}: " if name else ""
        raise PayloadError(f"{where}{str(seconds)[:40]!r} is not a time")
    return when.astimezone(UTC)


def _moment(value: object) -> datetime | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    return datetime.fromisoformat(value) if isinstance(value, str) else None
