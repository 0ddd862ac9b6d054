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
    if not can_ask(provider):
        return None
    # Only now: the packages of providers take their time to import.
    api: ProviderApi | None = import_module(_module(provider)).open_api(provider.settings)
    return api


def can_ask(provider: AnyProvider) -> bool:
    """Tell whether a provider's key is set, and there is something that asks with it."""
    key = getattr(provider.settings, provider.key_field, None) if provider.key_field else None
    return bool(key) and find_spec(_module(provider)) is not None


def key_setting(provider: str, given: AnyProvider | None = None) -> str:
    """Return the settings that let a provider be asked, or "" for one that cannot be.

    With the provider as it is `given`, only those that it lacks.
    """
    kind = providers.discover()[provider]
    fields = (kind.key_field, *kind.key_needs) if kind.key_field else ()
    lacking = (each for each in fields if given is None or not getattr(given.settings, each))
    return " and ".join(f"{provider}_{field}".upper() for field in lacking)


def _module(provider: AnyProvider) -> str:
    return f"{__name__}.{provider.name}"
