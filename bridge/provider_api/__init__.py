"""What we ask the providers: look-ups of what a webhook left out, one file a provider."""

from __future__ import annotations

from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from bridge import providers
from bridge.model import Event
from bridge.providers.base import AnyProvider


class ProviderApi(Protocol):
    """Ask one provider; every method raises ProviderApiError when there is no answer."""

    def fetch(self, event: Event, now: datetime) -> list[Event]:
        """Return the events that an event without its object stands for."""

    def look_up(self, reference: str, account: str, now: datetime) -> list[Event]:
        """Return, as events, what the provider knows of a reference without a sale."""

    def close(self) -> None:
        """Give back the connections."""


def open_api(provider: AnyProvider) -> ProviderApi | None:
    """Return what asks a provider, or None where no key is set or nothing can be asked."""
    name = f"{__name__}.{provider.name}"
    if find_spec(name) is None:
        return None
    api: ProviderApi | None = import_module(name).open_api(provider.settings)
    return api


def key_setting(provider: str) -> str:
    """Return the setting that lets a provider be asked, or "" for one that cannot be."""
    field = providers.discover()[provider].key_field
    return f"{provider}_{field}".upper() if field else ""
