"""GET /bridge.js: the script that captures clicks on the merchant's pages.

The script itself is static/bridge.js. What it looks for is written into it here, from the vendors
that are configured, so that a further vendor needs no line of JavaScript.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState

from bridge import providers
from bridge.attribution import NOBODY
from bridge.errors import WebhookError
from bridge.vendors.base import AnyVendor

area = Blueprint("script", __name__)

ROUTE = "/bridge.js"
HELD = "bridge.script"
TABLE = "__TABLE__"
CAMPAIGN = "utm_"
LONGEST_NAME = 60
# What stands in quotes is passed over; + and - are left alone, for "a - -b" needs its spaces.
SPACED = re.compile(r""""[^"]*"|'[^']*'| ?([=<>&|?:,(){}]) ?""")
A_YEAR = 31_536_000
HOURLY = "public, max-age=3600, stale-while-revalidate=86400"
FOR_GOOD = f"public, max-age={A_YEAR}, immutable"


@dataclass(frozen=True, slots=True)
class Script:
    """Hold the script as it is served."""

    plain: bytes
    zipped: bytes
    version: str


@area.record
def _build(setup: BlueprintSetupState) -> None:
    """Build the script once for an application."""
    config = setup.app.extensions["bridge"].config
    setup.app.extensions[HELD] = build(config.vendors)


@area.get(ROUTE)
def serve() -> Response:
    """Answer with the script; an address with the right version is good for ever."""
    if not current_app.extensions["bridge"].config.settings.publishable_key:
        raise WebhookError(
            "browsers cannot report clicks (set BRIDGE_PUBLISHABLE_KEY and BRIDGE_ALLOWED_ORIGINS)",
            code="not_configured",
            status=404,
        )
    script: Script = current_app.extensions[HELD]
    zipped = request.accept_encodings.quality("gzip") > 0
    answer = Response(script.zipped if zipped else script.plain)
    answer.content_type = "text/javascript; charset=utf-8"
    # Strong, so each coding has its own.
    answer.set_etag(f"{script.version}-gzip" if zipped else script.version)
    if zipped:
        answer.content_encoding = "gzip"
    answer.vary.add("Accept-Encoding")
    answer.headers["Cache-Control"] = (
        FOR_GOOD if request.args.get("v") == short(script.version) else HOURLY
    )
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    answer.headers["Access-Control-Allow-Origin"] = "*"
    return answer.make_conditional(request)  # type: ignore[return-value]


def build(vendors: Mapping[str, AnyVendor]) -> Script:
    """Return the script for these vendors."""
    source = (files("bridge.web") / "static" / "bridge.js").read_text("utf-8")
    table = json.dumps(table_of(vendors), separators=(",", ":"))
    plain = served(source).replace(TABLE, table, 1).encode()
    version = hashlib.sha256(plain).hexdigest()
    return Script(plain, gzip.compress(plain, mtime=0), version)


def tag(url: str, key: str, vendors: Mapping[str, AnyVendor]) -> str:
    """Return the script tag for the merchant's pages, with the versioned address."""
    address = f"{url.rstrip('/')}{ROUTE}?{urlencode({'v': short(build(vendors).version)})}"
    return f'<script src="{escape(address)}" data-key="{escape(key)}"></script>'


def short(version: str) -> str:
    """Return as much of a version as stands in an address."""
    return version[:12]


def served(source: str) -> str:
    """Leave out lines of comment, indentation and spaces around operators."""
    lines = (line.strip() for line in source.splitlines())
    code = (line for line in lines if line and not line.startswith("//"))
    return "\n".join(SPACED.sub(lambda found: found[1] or found[0], each) for each in code) + "\n"


def table_of(vendors: Mapping[str, AnyVendor]) -> dict[str, Any]:
    """Return what the script needs to know.

    `ids` are the names by which a customer may be known; `nobody` is the pattern of what is no id;
    `campaigns` is that of addresses that make a visit worth a report, where a vendor sees visitors.
    """
    rows = {name: _row(vendor) for name, vendor in vendors.items()}
    used = {name: row for name, row in rows.items() if row.keys() & {"landing", "cookies"}}
    watching = [vendor for vendor in vendors.values() if vendor.sees_visitors]
    table: dict[str, Any] = {
        "vendors": used,
        "ids": ["external_id", "email", *providers.discover()],
        "nobody": f"^({'|'.join(map(re.escape, sorted(NOBODY)))})$",
    }
    if watching:
        prefixes = {CAMPAIGN, *(each.landing_prefix for each in watching if each.landing_prefix)}
        table["campaigns"] = f"[?&]({'|'.join(map(re.escape, sorted(prefixes)))})"
    return table


def _row(vendor: AnyVendor) -> dict[str, object]:
    row = {
        "name": next(iter(vendor.click_names), ""),
        "kind": _usual_kind(vendor),
        "landing": [dict(kinds) for kinds in vendor.landing_kinds],
        "more": _pattern(vendor.landing_prefix),
        "cookies": list(vendor.cookie_names),
    }
    return {name: value for name, value in row.items() if value}


def _pattern(prefix: str) -> str:
    return f"^{re.escape(prefix)}\\w{{1,{LONGEST_NAME}}}$" if prefix else ""


def _usual_kind(vendor: AnyVendor) -> str:
    """Return the kind of id that a vendor takes a bare string for, if it takes one."""
    try:
        kinds = vendor.read_click("x")
    except ValueError:
        return ""
    return next(iter(kinds)) if len(kinds) == 1 else ""
