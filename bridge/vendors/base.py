"""What a vendor is: a pure function from (conversion, told) to the next call, and a judge.

A vendor is one file in this folder with one subclass of `Vendor`. It does no I/O and reads no
clock; `bridge.outbox` sends what it plans and records what it judges.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from pydantic import Field, field_validator

from bridge import retry
from bridge.model import (
    Call,
    Click,
    Context,
    Conversion,
    ConversionKind,
    Dead,
    Done,
    Plan,
    Response,
    Retry,
    Skip,
    Status,
    Told,
    Unknown,
    Verdict,
)
from bridge.plugin import PluginSettings, safe_url

MAX_ID_LENGTH = 255
MAX_WORDS = 500

Kind: TypeAlias = Literal["affiliate", "analytics"]
NO_CLICK = "no click stored for this customer"
NO_CUSTOMER = "no id of this customer is known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Say what a vendor can express: shown in the README and the dashboard, and tested.

    `pageview` is being told of visits; `update` is changing what it was told at all, `partial`
    changing the amount of a sale (partial refunds), `disapprove` taking a sale back, `reapprove`
    giving it again, `repeatable` that a repeated sale call is not counted twice, `askable` that it
    can be asked what it holds.
    """

    sale: bool = True
    lead: bool = False
    pageview: bool = False
    update: bool = False
    partial: bool = False
    disapprove: bool = False
    reapprove: bool = False
    repeatable: bool = False
    askable: bool = False


class VendorSettings(PluginSettings):
    """Be the base of a vendor's settings: its address, and how hard it may be called."""

    base_url: str = Field("", description="the vendor's address, for tests and proxies")
    concurrency: int = Field(4, ge=1, le=256, description="how many calls may run at once")
    rate: Decimal | None = Field(
        None, gt=0, le=10_000, description="how many calls a second at most; no limit by default"
    )

    @field_validator("base_url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        return safe_url(url)


S = TypeVar("S", bound=VendorSettings)


class Vendor(ABC, Generic[S]):
    """Keep one attribution vendor true to a conversion."""

    name: ClassVar[str]
    """The file's name and the prefix of its settings: "taapit"."""
    title: ClassVar[str]
    """The vendor's own spelling of its name: "Taapit"."""
    kind: ClassVar[Kind] = "affiliate"
    """What crediting means there: "affiliate" (commissions are paid) or "analytics" (measured)."""
    capabilities: ClassVar[Capabilities]
    settings_type: ClassVar[type[VendorSettings]]
    default_url: ClassVar[str]
    click_names: ClassVar[tuple[str, ...]] = ()
    """Names under which a payment's metadata may carry its click id, best first."""
    landing_kinds: ClassVar[tuple[Mapping[str, str], ...]] = ()
    """URL parameters with which a visitor that it sent lands, and the kind of id in each, best
    first: all those of one group must be there."""
    landing_prefix: ClassVar[str] = ""
    """Further parameters that begin so belong to that click, under their own names."""
    cookie_names: ClassVar[tuple[str, ...]] = ()
    """First-party cookies in which its own script keeps a click, best first."""
    sees_visitors: ClassVar[bool] = False
    """Whether it makes a click of who was seen and where (`capture`), without any id."""
    merges_clicks: ClassVar[bool] = False
    """Whether what a payment carries completes the stored click instead of replacing it."""

    def __init__(self, settings: S) -> None:
        self.settings = settings

    @property
    def base_url(self) -> str:
        """Return the vendor's address, without a trailing slash."""
        return self.settings.base_url or self.default_url

    @property
    def wants_email(self) -> bool:
        """Tell whether a call is to carry the customer's e-mail address."""
        return False

    def takes_email(self, address: str) -> bool:
        """Tell whether it takes such an address; a call goes without one that it would refuse."""
        return True

    @property
    def wants_pageviews(self) -> bool:
        """Tell whether it is to be told of visits."""
        return False

    def authorize(self) -> Mapping[str, str]:
        """Return the headers that carry the credentials; attached at send time and never stored."""
        return {}

    @abstractmethod
    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        """Return the call that brings the vendor one step nearer to the conversion."""

    def judge(self, call: Call, response: Response) -> Verdict:
        """Read the vendor's answer to a call.

        A 2xx goes to `accept`, "not now" statuses become Retry, a status by which a gateway says
        that it timed out is Unknown unless the call is repeatable, and all else is Dead.
        """
        if 200 <= response.status <= 299:
            return self.accept(call, response)
        words = self.words(response)
        if retry.is_retriable(response.status):
            if response.status in retry.AMBIGUOUS and not call.repeatable:
                return Unknown(words)
            return Retry(words, asked_to_wait(response))
        if 300 <= response.status <= 399:
            return Dead(f"{words} (a redirect is not followed: check {self.name.upper()}_BASE_URL)")
        if response.status in {401, 403}:
            return Dead(f"{words} (check the {self.name.upper()}_… credentials)")
        return self.refuse(call, response)

    def accept(self, call: Call, response: Response) -> Verdict:
        """Judge a 2xx answer; by default the vendor has now been told what the call tells."""
        return call.tells

    def refuse(self, call: Call, response: Response) -> Verdict:
        """Judge a 4xx answer that no retry helps; by default a dead letter with its words."""
        return Dead(self.words(response))

    def words(self, response: Response) -> str:
        """Quote an answer for the record: "Taapit answered 404: click not found"."""
        body = " ".join(response.body.split())
        quoted = body if len(body) <= MAX_WORDS else body[:MAX_WORDS] + "…"
        return f"{self.title} answered {response.status}" + (f": {quoted}" if quoted else "")

    def read_click(self, value: object) -> Click:
        """Read a click as a merchant or a payment's metadata gives it; raise ValueError if wrong.

        By default one opaque id, kept under "click_id". What it returns can be read again.
        """
        return kinds_of_id(value, ("click_id",), "click_id")

    def read_reference(self, reference: str) -> Click | None:
        """Return the click that a payment's free reference carries, if it is of this vendor."""
        return None

    def read_landing(self, parameters: Mapping[str, str]) -> Click | None:
        """Return the click in the parameters of the address where a visitor came in, if any.

        Raises ValueError for a value that is no click.
        """
        for kinds in self.landing_kinds:
            if all(map(parameters.get, kinds)):
                found = {kind: parameters[name] for name, kind in kinds.items()}
                further = {each: parameters[each] for each in filter(self._is_further, parameters)}
                return self.read_click(found | further)
        return None

    def _is_further(self, name: str) -> bool:
        return bool(self.landing_prefix) and name.startswith(self.landing_prefix)

    def lead_of(self, conversion: Conversion) -> str:
        """Return the id under which it accepted the customer of a sale as a lead before, or ""."""
        is_sale = conversion.kind is ConversionKind.SALE
        return conversion.leads.get(self.name, "") if is_sale else ""

    def capture(self, context: Context) -> Click | None:
        """Make a click of what was seen beside a payment, for a vendor that has no click ids."""
        return None


def without_call(conversion: Conversion, click: Click | None, title: str, lead: str = "") -> str:
    """Return why a vendor that has been told nothing is told nothing now, or "".

    Where it accepted the customer as a `lead` before, a sale needs no click.
    """
    if conversion.kind is ConversionKind.PAGEVIEW:
        return f"{title} is not told of visits"
    if conversion.status is Status.PARKED:
        return conversion.reason or "its sale has not arrived"
    if conversion.status is Status.DISAPPROVED:
        return f"all of it was given back before {title} was told"
    if conversion.kind is ConversionKind.SALE and conversion.value.minor <= 0:
        return "nothing was paid"
    if not (click or lead):
        return NO_CLICK
    return "" if lead or conversion.customer else NO_CUSTOMER


def told_for_good(conversion: Conversion, told: Told, why: str, remedy: str) -> Done | Skip:
    """Answer for a vendor that cannot change what it was told: Done, or why it stays wrong."""
    true = conversion.status is Status.APPROVED and conversion.value == told.amount
    if true or conversion.kind is not ConversionKind.SALE:
        return Done()
    return Skip(f"{why}: {told.amount} stays credited instead of {conversion.value}; {remedy}")


def asked_to_wait(response: Response) -> str:
    """Return how long an answer asks to wait, raw; some only tell when their limit starts anew."""
    headers = response.headers
    return headers.get("retry-after") or headers.get("x-ratelimit-reset", "")


def json_value(text: str) -> object:
    """Return what a JSON text holds, fractions exactly, or None where it is no JSON."""
    try:
        value: object = json.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return value


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a text holds, or an empty one where it holds none."""
    value = json_value(text)
    return value if isinstance(value, dict) else {}


def opaque_id(value: object) -> str:
    """Return an id that is a non-empty string of at most 255 characters; raise ValueError if not.

    Its format is never checked: vendors change theirs.
    """
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if not value.strip():
        raise ValueError("must not be empty")
    if len(value) > MAX_ID_LENGTH:
        raise ValueError(f"must have at most {MAX_ID_LENGTH} characters")
    return value.strip()


def kinds_of_id(
    value: object, allowed: tuple[str, ...], default: str, further: re.Pattern[str] | None = None
) -> dict[str, str]:
    """Read a click that is a string (of the default kind) or an object of several kinds of id.

    Beside at least one kind of id, such an object may hold `further` fields.
    """
    if not isinstance(value, Mapping):
        return {default: opaque_id(value)}
    fields = {str(name): each for name, each in value.items()}
    more = {name for name in fields if further and further.fullmatch(name)}
    unknown = sorted(fields.keys() - set(allowed) - more)
    if unknown:
        raise ValueError(f"has no field {unknown[0]!r} (it may have {', '.join(allowed)})")
    if not fields.keys() - more:
        raise ValueError(f"needs one of {', '.join(allowed)}")
    return {name: _named_id(name, each) for name, each in fields.items()}


def _named_id(name: str, value: object) -> str:
    try:
        return opaque_id(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


AnyVendor = Vendor[Any]
