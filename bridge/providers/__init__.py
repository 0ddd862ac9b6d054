"""The providers, found by looking into this folder: one file is one provider."""

from __future__ import annotations

from bridge import plugin
from bridge.providers.base import AnyProvider, Provider


def discover() -> dict[str, type[AnyProvider]]:
    """Return every provider class in this folder by name, in alphabetical order."""
    return plugin.discover(__name__, __path__, Provider)  # type: ignore[type-abstract]
