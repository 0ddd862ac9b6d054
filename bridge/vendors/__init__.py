"""The vendors, found by looking into this folder: one file is one vendor."""

from __future__ import annotations

from bridge import plugin
from bridge.vendors.base import AnyVendor, Vendor


def discover() -> dict[str, type[AnyVendor]]:
    """Return every vendor class in this folder by name, in alphabetical order."""
    return plugin.discover(__name__, __path__, Vendor)  # type: ignore[type-abstract]
