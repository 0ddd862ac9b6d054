"""Tracify, server-side events: https://docs.tracify.ai

Customers are known by hashes of their e-mail, IP address and browser. An order id that is sent
again is ignored, so nothing is counted twice, and nothing can be changed either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Literal
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from pydantic import Field, SecretStr

from bridge.model import (
    Call,
    Click,
    Context,
    Conversion,
    ConversionKind,
    Dead,
    Done,
    Item,
    Plan,
    Response,
    Skip,
    Status,
    Told,
    Unknown,
    Verdict,
)
from bridge.vendors.base import (
    NO_CLICK,
    Capabilities,
    Vendor,
    VendorSettings,
    json_object,
    told_for_good,
    without_call,
)

EVENTS_PATH = "/api/v1/events"
# What each hash is of: https://docs.tracify.ai, identity data.
IDENTITY = {"email_hash": 1, "session_hash": 2, "ip_hash": 3, "user_agent_hash": 4}
PLACE = ("url", "referrer")
LONGEST_TEXT = 2048
CAMPAIGN = re.compile(r"(trc|utm)_[A-Za-z0-9_]{1,60}")
HASH = re.compile(r"[0-9a-f]{64}")
NOBODY = (
    "no identity known for this customer: Tracify needs an e-mail, or IP address and browser, "
    "seen before the purchase"
)

NO_PAGEVIEWS = "Tracify is not told of visits (TRACIFY_PAGEVIEWS=1 tells it)"
NO_REFUNDS = "Tracify has no refund call"
REMEDY = "ask Tracify to correct it"


class TracifySettings(VendorSettings):
    """Read TRACIFY_… settings."""

    token: SecretStr = Field(min_length=1, description="token of the events API")
    customer_site_id: UUID = Field(description="customer site id (CSID)")
    origin: str = Field(min_length=1, description="the shop's address, `https://shop.example`")
    event: Literal["purchase", "conversion"] = Field(
        "purchase", description="send a sale as `purchase` or as `conversion`"
    )
    decimal_mark: Literal[".", ","] = Field(".", description="decimal mark of amounts: `.` or `,`")
    pageviews: bool = Field(False, description="`1`: tell it of captured landings, as `pageview`")


class Tracify(Vendor[TracifySettings]):
    """Tell Tracify of sales, and of visits."""

    name = "tracify"
    title = "Tracify"
    kind = "analytics"
    capabilities = Capabilities(pageview=True, repeatable=True)
    settings_type = TracifySettings
    default_url = "https://api.tracify.ai"
    merges_clicks = True
    sees_visitors = True
    landing_prefix = "trc_"

    @property
    def wants_pageviews(self) -> bool:
        """Tell whether the merchant lets it have visits."""
        return self.settings.pageviews

    def authorize(self) -> Mapping[str, str]:
        """Carry the token in a header of its own."""
        return {"tracify-token": self.settings.token.get_secret_value()}

    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        """Tell a sale or a visit once; say why anything after it is not told."""
        if conversion.kind is ConversionKind.LEAD:
            return Skip("Tracify takes no leads")
        if conversion.kind is ConversionKind.PAGEVIEW:
            return self._visit(conversion, told)
        if not told.nothing:
            return told_for_good(conversion, told, NO_REFUNDS, REMEDY)
        click = conversion.clicks.get(self.name)
        reason = without_call(conversion, click, self.title)
        if reason or click is None:
            return Skip(reason)
        return self._sale(conversion, click) if _is_known(click) else Skip(NOBODY)

    def accept(self, call: Call, response: Response) -> Verdict:
        """Look into a 200: Tracify says there whether it took the event.

        What does not say so comes from something before it: the event may have been counted.
        """
        match json_object(response.body).get("status"):
            case True:
                return call.tells
            case False:
                return Dead(f"Tracify did not take the event: {self.words(response)}")
            case _:
                return Unknown(
                    f"Tracify's answer is not the one it documents: {self.words(response)}"
                )

    def read_click(self, value: object) -> Click:
        """Read an object of hashes, url, referrer and campaign parameters; it may be empty."""
        if not isinstance(value, Mapping):
            raise ValueError("must be an object")
        for name, text in value.items():
            if name not in (*IDENTITY, *PLACE) and not _is_campaign(str(name)):
                raise ValueError(f"has no field {str(name)[:40]!r}")
            if not isinstance(text, str) or len(text) > LONGEST_TEXT:
                raise ValueError(f"{name} must be a string of at most {LONGEST_TEXT} characters")
            if name in IDENTITY and text and not HASH.fullmatch(text):
                raise ValueError(f"{name} must be 64 hexadecimal digits in lower case")
        return {str(name): text for name, text in value.items() if text}

    def capture(self, context: Context) -> Click | None:
        """Keep the hashes of who was seen, and where; the persons themselves are not kept."""
        session = f"{context.ip}|{context.user_agent}"
        seen = {
            "email_hash": context.email,
            "session_hash": session if context.ip and context.user_agent else "",
            "ip_hash": context.ip,
            "user_agent_hash": context.user_agent,
        }
        hashes = {kind: tracify_hash(raw) for kind, raw in seen.items() if raw}
        place = {"url": context.url[:LONGEST_TEXT], "referrer": context.referrer[:LONGEST_TEXT]}
        campaign = {
            name: text[:LONGEST_TEXT]
            for name, text in parse_qsl(_query(context.url))
            if _is_campaign(name)
        }
        return hashes | {k: v for k, v in place.items() if v} | campaign if hashes else None

    # ── calls ──

    def _visit(self, conversion: Conversion, told: Told) -> Plan:
        if not told.nothing:
            return Done()
        click = conversion.clicks.get(self.name)
        if not self.settings.pageviews:
            return Skip(NO_PAGEVIEWS)
        if not click:
            return Skip(NO_CLICK)
        if not _is_known(click):
            return Skip(NOBODY)
        # Nothing says that a repeated visit is told apart. Nobody is paid by one, so one that is
        # counted twice does less harm than one whose campaign is lost.
        tells = Told(steps=("pageview",), status=Status.APPROVED, known_as=conversion.order)
        return self._call("pageview", conversion, click, self._place(click), tells)

    def _sale(self, conversion: Conversion, click: Click) -> Call:
        tells = Told(
            steps=("sale",),
            amount=conversion.value,
            status=Status.APPROVED,
            known_as=conversion.order,
        )
        data = self._data(conversion, click)
        return self._call(self.settings.event, conversion, click, data, tells)

    def _call(
        self,
        kind: str,
        conversion: Conversion,
        click: Click,
        data: Mapping[str, str],
        tells: Told,
    ) -> Call:
        event = {
            "url": self._url(click),
            "customer_site_id": str(self.settings.customer_site_id),
            "identity_data": {click[each]: n for each, n in IDENTITY.items() if click.get(each)},
            "datetime": f"{conversion.occurred_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            "type": kind,
            "data": data,
        }
        return Call(
            step=tells.steps[-1],
            url=self.base_url + EVENTS_PATH,
            json={"events": [event]},
            tells=tells,
        )

    def _url(self, click: Click) -> str:
        """Return a full address, as is required: where the visitor came in, else the shop."""
        origin = self.settings.origin
        shop = origin if "://" in origin else f"https://{origin}"
        url = click.get("url", "")
        return url if url.startswith(("https://", "http://")) else shop

    def _place(self, click: Click) -> dict[str, str]:
        """Return where the visitor was, where they came from, and by which campaign."""
        return {
            "origin": self.settings.origin,
            **({"Referer": click["referrer"]} if click.get("referrer") else {}),
            **{name: text for name, text in click.items() if _is_campaign(name)},
        }

    def _data(self, conversion: Conversion, click: Click) -> dict[str, str]:
        mark = self.settings.decimal_mark
        amount = conversion.value.format(2, mark)
        money = {"currency": conversion.value.currency, "amount": amount}
        data = self._place(click) | money
        if self.settings.event == "conversion":
            # The vendor's page says `amount`, its own clients send `value`.
            return {**data, "conversion_id": conversion.order, "value": amount}
        return {**data, **_lines(conversion.items, mark), "order_id": conversion.order}


def tracify_hash(raw: str) -> str:
    """Anonymise as Tracify asks: SHA-256, five characters cut off its end, SHA-256 again.

    The text is taken as it is, neither trimmed nor folded, as whatever else feeds Tracify does.
    """
    first = hashlib.sha256(raw.encode()).hexdigest()
    return hashlib.sha256(first[:-5].encode()).hexdigest()


def _lines(items: Iterable[Item], mark: str) -> dict[str, str]:
    """Return what was bought; amounts are of one piece: in Tracify's sample 2 x 25 + 50 is 100."""
    lines: dict[str, str] = {}
    sold = (each for each in items if each.name and each.quantity > 0 and each.amount.minor >= 0)
    for at, item in enumerate(sold, start=1):
        lines |= {
            f"ITEM{at}": item.name,
            f"AMT{at}": item.amount.scale(1, item.quantity).format(2, mark),
            f"QTY{at}": str(item.quantity),
        }
    return lines


def _is_known(click: Click) -> bool:
    """Tell whether a click says who it is of."""
    return any(click.get(kind) for kind in IDENTITY)


def _query(url: str) -> str:
    """Return the query of an address, or nothing where it is no address."""
    try:
        return urlsplit(url).query
    except ValueError:
        return ""


def _is_campaign(name: str) -> bool:
    return CAMPAIGN.fullmatch(name) is not None
