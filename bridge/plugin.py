"""What providers and vendors share: they are found in a folder, and declare their settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")
HOST = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")
THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "[::1]"})


class PluginSettings(BaseModel):
    """Be the base of a plugin's settings: field `api_key` of `taapit` is read from TAAPIT_API_KEY.

    Fields without a default are required once any of them is set. Secrets are `SecretStr`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


def safe_url(url: str) -> str:
    """Return an address without its trailing slash; raise ValueError unless it is safe to call.

    Credentials go there: it must be https, or http to this very machine. It is shown, so it must
    hold none itself.
    """
    parts = urlsplit(url)
    # Not parts.hostname, which passes over what follows a bracket.
    host = HOST.fullmatch(parts.netloc.rpartition("@")[2])
    local = host is not None and host[1].lower() in THIS_MACHINE and "@" not in parts.netloc
    secure = parts.scheme == "https" or (parts.scheme == "http" and local)
    if url and not (host and secure and url.isprintable() and "\\" not in url):
        raise ValueError("must be an https:// address (http:// only for this machine)")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be a plain address, without credentials or query")
    return url.rstrip("/")


def discover(package: str, path: Iterable[str], base: type[T]) -> dict[str, type[T]]:
    """Return every subclass of `base` in the files of a package, by its name, in order of files."""
    found: dict[str, type[T]] = {}
    for module in sorted(iter_modules(path), key=lambda each: each.name):
        home = f"{package}.{module.name}"
        for each in vars(import_module(home)).values():
            if isinstance(each, type) and issubclass(each, base) and each.__module__ == home:
                name = getattr(each, "name", None)
                if isinstance(name, str):
                    found[name] = each
    return found
