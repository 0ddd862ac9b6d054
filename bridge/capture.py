"""Capture: reading what the click API is sent, with a message per field for whatever is wrong.

The body is the same for `POST /clicks`, `POST /leads` and a line of `bridge clicks import`. What is
read of it holds nobody in clear but for the e-mail, which is to be hashed: IP address and browser
have become the hashes that vendors ask for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)

from bridge import providers, vendors
from bridge.attribution import NOBODY, email_key, landing_parameters
from bridge.errors import WebhookError
from bridge.identity import ANONYMOUS
from bridge.model import Click, Context
from bridge.providers.base import EARLIEST
from bridge.vendors.base import MAX_ID_LENGTH, AnyVendor, opaque_id

WORDS = {
    "extra_forbidden": "is not a field here",
    "timezone_aware": "needs its zone, as in 2026-11-20T12:00:00Z",
}
# What would identify a person in clear if it were kept as it came.
NO_ADDRESS = re.compile(r"[\s<>,;]")
RAW = frozenset({"email", "ip", "ip_address", "user_agent", "useragent"})
LONGEST_NAME, LONGEST_TEXT, MOST_FIELDS = 40, 4096, 20
MOST_CLICKS, MOST_TOLD = 50, 50


# ── the form of a body ───────────────────────────────────────────────────────────────────────────


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must hold no control characters")
    return text


def _named(text: str) -> str:
    if text.lower() in NOBODY:
        raise ValueError(f"{text!r} is what programs write where there is no id")
    return text


def _address(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if not (local and at and domain) or NO_ADDRESS.search(text):
        raise ValueError("must be an e-mail address")
    return text


def _ip(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        raise ValueError("must be an IP address") from None
    return text


def _is_written_out(value: Any) -> Any:
    """Refuse a number, in digits too: nobody can tell its unit."""
    if not isinstance(value, str) or value.strip().replace(".", "").lstrip("+-").isdecimal():
        raise ValueError("must be a time as in 2026-11-20T12:00:00Z")
    return value


Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, strip_whitespace=True),
    AfterValidator(_printable),
]
CustomerId = Annotated[Id, AfterValidator(_named)]
# Not strict, for a text is what it is read from.
Moment = Annotated[
    AwareDatetime, Field(strict=False, ge=EARLIEST), BeforeValidator(_is_written_out)
]
LongText = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(_printable)]
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class CustomerIds(BaseModel):
    """Name a customer by at least one id; ids that come together are aliases from then on.

    Beside these, a customer may have an id at every provider: `stripe`, `shopify`.
    """

    model_config = STRICT

    external_id: CustomerId | None = None
    email: Annotated[Id, AfterValidator(_address)] | None = None
    anonymous_id: CustomerId | None = None

    @model_validator(mode="after")
    def _has_one(self) -> CustomerIds:
        if not any(self.model_dump().values()):
            raise ValueError("needs at least one id")
        return self


class Seen(BaseModel):
    """Hold what was seen of the visitor; IP address and user agent are kept only as hashes."""

    model_config = STRICT

    ip: Annotated[Id, AfterValidator(_ip)] | None = None
    user_agent: LongText | None = None
    url: LongText | None = None
    referrer: LongText | None = None


class ClickBody(BaseModel):
    """Hold the body of POST /clicks."""

    model_config = STRICT

    customer: CustomerIds
    clicks: dict[str, Any] = Field(default_factory=dict, max_length=MOST_CLICKS)
    context: Seen = Seen()
    occurred_at: Moment | None = None


def _with_providers() -> type[ClickBody]:
    """Return the body with the customer ids of every provider there is."""
    ids: dict[str, Any] = dict.fromkeys(providers.discover(), (CustomerId | None, None))
    customer = create_model("Customer", __base__=CustomerIds, **ids)
    return create_model("Body", __base__=ClickBody, customer=(customer, ...))


BODY = _with_providers()
ID_FIELDS = frozenset(
    f"customer.{name}" for name in (*providers.discover(), *CustomerIds.model_fields)
)
VENDORS = tuple(vendors.discover())


class UnfitError(WebhookError):
    """Refuse a body, with a message per field."""

    code = "invalid"
    status = 422

    def __init__(self, fields: Mapping[str, str]) -> None:
        told = dict(list(fields.items())[:MOST_TOLD])
        words = [f"{name}: {text}" for name, text in told.items()]
        words += [f"and {len(fields) - len(told)} more"] if len(fields) > len(told) else []
        super().__init__("; ".join(words))
        self.fields = told


# ── what was captured ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Hold what was captured of a visitor: whose it is, and which clicks.

    `clicks` are those given, completed by what vendors make of the context; `landed` those in the
    address of the page; `left_out` says per field what a browser sent that is no click. `given` and
    `clicks_given` are what the sender is answered with. `captured_at` is the time of the click, if
    it is `exact`, else when we heard of it, which is as good if it is `live`.
    """

    keys: tuple[str, ...]
    clicks: Mapping[str, object]
    captured_at: datetime
    exact: bool
    live: bool = False
    email: str = field(default="", repr=False)
    url: str = ""
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    clicks_given: Mapping[str, object] = field(default_factory=dict)
    landed: Mapping[str, Click] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """Hold what became of a capture: whether it was `news`, and `joined` customers we knew."""

    news: bool
    joined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Read bodies as the merchant has set the bridge up: `vendors` are those that are on.

    `keep_out` takes the merchant's secrets out of a text.
    """

    vendors: Mapping[str, AnyVendor]
    email_secret: bytes = field(repr=False)
    keep_out: Callable[[str], str] = field(default=str, repr=False)

    def read(self, body: ClickBody, now: datetime, *, lenient: bool = False) -> Capture:
        """Return what a body says; raise UnfitError where a click is none, or an id is a secret.

        `lenient` leaves such a click out: a browser sends what it finds, and one bad cookie must
        not cost the other clicks, nor what else is said of the visitor.
        """
        self._check_ids(body)
        body = body.model_copy(update={"context": self._without_secrets(body.context)})
        clicks, problems = self._clicks(body)
        if problems and not lenient:
            raise UnfitError(problems)
        ids = body.customer.model_dump(exclude_none=True)
        given = {name: body.clicks[name] for name in clicks}
        # A clock that runs ahead must not put a click after the sale that it led to.
        captured_at = min(body.occurred_at or now, now)
        return Capture(
            keys=keys_of(ids, self.email_secret),
            email=ids.get("email", ""),
            given=ids,
            clicks_given=given,
            clicks=self._completed(clicks, _context(body), believed=not lenient),
            landed=self._landed(body.context.url or "", clicks),
            left_out=problems,
            url=body.context.url or "",
            captured_at=captured_at,
            exact=body.occurred_at is not None,
            live=body.occurred_at is None and lenient,
        )

    def _clicks(self, body: ClickBody) -> tuple[dict[str, object], dict[str, str]]:
        """Check every click as its vendor wants it; return those that fit, and what is wrong."""
        clicks: dict[str, object] = {}
        problems: dict[str, str] = {}
        for name, value in body.clicks.items():
            try:
                if name not in VENDORS:
                    raise ValueError(f"no such vendor (there are {', '.join(VENDORS)})")
                clicks[name] = _read_click(self.vendors.get(name), value)
                self._check_secrets(clicks[name])
            except ValueError as error:
                clicks.pop(name, None)
                problems[f"clicks.{_plain(name)}"] = str(error)
        return clicks, problems

    def _check_ids(self, body: ClickBody) -> None:
        """Refuse a secret for an id: vendors are told ids, and everybody is shown them."""
        problems = {}
        for name, id in body.customer.model_dump(exclude_none=True).items():
            try:
                self._check_secrets(id)
            except ValueError as error:
                problems[f"customer.{name}"] = str(error)
        if problems:
            raise UnfitError(problems)

    def _check_secrets(self, value: object) -> None:
        if any(self.keep_out(each) != each for each in _texts(value)):
            raise ValueError("holds a secret of your settings: that must be nobody's id")

    def _without_secrets(self, seen: Seen) -> Seen:
        found = seen.model_dump(exclude_none=True)
        return seen.model_copy(update={name: self.keep_out(each) for name, each in found.items()})

    def _completed(
        self, clicks: Mapping[str, object], context: Context, *, believed: bool
    ) -> dict[str, object]:
        """Add what vendors make of the context: hashes, that is, which nobody is answered with.

        Whose word is not `believed` cannot say otherwise than what was seen.
        """
        completed = dict(clicks)
        for name, vendor in self.vendors.items():
            if captured := vendor.capture(context):
                click = clicks.get(name)
                given = click if isinstance(click, Mapping) else {}
                completed[name] = {**captured, **given} if believed else {**given, **captured}
        return completed

    def _landed(self, url: str, clicks: Mapping[str, object]) -> dict[str, Click]:
        """Return the clicks in the address of the page, of vendors that none was given for."""
        found: dict[str, Click] = {}
        for name, vendor in self.vendors.items() if url else ():
            try:
                click = vendor.read_landing(landing_parameters(url))
                _check_printable(click or {})
            except ValueError:
                click = None
            if click and name not in clicks:
                found[name] = click
        return found


def parse(raw: bytes | str) -> ClickBody:
    """Read the JSON of a body; raise UnfitError with a message per field."""
    try:
        return BODY.model_validate_json(raw)
    except ValidationError as error:
        raise UnfitError(dict(map(_field, error.errors(include_input=False)))) from None


def parse_leniently(raw: bytes) -> tuple[ClickBody, dict[str, str]]:
    """Read what a browser sent, less those ids that are none; return also why they are none.

    Raises UnfitError where no id is left, or anything else is wrong.
    """
    try:
        return parse(raw), {}
    except UnfitError as error:
        left_out = {name: error.fields[name] for name in error.fields if name in ID_FIELDS}
        if len(left_out) < len(error.fields):
            raise
    body = json.loads(raw)
    for name in left_out:
        del body["customer"][name.removeprefix("customer.")]
    return parse(json.dumps(body)), left_out


def keys_of(ids: Mapping[str, str], email_secret: bytes) -> tuple[str, ...]:
    """Return the keys of a customer with these ids, strongest first."""
    hard = {kind: id for kind, id in ids.items() if kind not in {"email", "anonymous_id"}}
    keys = [f"{kind}:{id}" for kind, id in hard.items()]
    keys += [email_key(ids["email"], email_secret)] if "email" in ids else []
    keys += [f"{ANONYMOUS}:{ids['anonymous_id']}"] if "anonymous_id" in ids else []
    return tuple(keys)


def _field(problem: Any) -> tuple[str, str]:
    name = ".".join(_plain(str(part)) for part in problem["loc"]) or "body"
    text = problem["msg"].removeprefix("Value error, ")
    return name, WORDS.get(problem["type"], text)


def _plain(name: str) -> str:
    """Return a field's name as it may be shown."""
    return "".join(each if each.isprintable() else "?" for each in name[:LONGEST_NAME])


def _read_click(vendor: AnyVendor | None, value: object) -> object:
    """Check a click; one for a vendor that is off is kept as it came, for when it is on."""
    if isinstance(value, str) and value.strip():
        _named(value.strip())
    click = _kept_as_it_came(value) if vendor is None else dict(vendor.read_click(value))
    _check_printable(click)
    return click


def _kept_as_it_came(value: object) -> object:
    if not isinstance(value, Mapping):
        return opaque_id(value)
    if not all(isinstance(each, str) and len(each) <= LONGEST_TEXT for each in value.values()):
        raise ValueError(f"must hold strings of at most {LONGEST_TEXT} characters")
    if found := sorted(RAW & {name.lower() for name in value}):
        raise ValueError(f"must not hold {found[0]!r} (context takes it, and keeps only a hash)")
    if len(value) > MOST_FIELDS or any(len(name) > MAX_ID_LENGTH for name in value):
        raise ValueError(f"must have at most {MOST_FIELDS} fields with short names")
    return value


def _check_printable(click: Any) -> None:
    for text in _texts(click):
        _printable(text)


def _texts(click: Any) -> Iterator[str]:
    yield from (*click, *click.values()) if isinstance(click, Mapping) else (click,)


def _context(body: ClickBody) -> Context:
    seen = body.context
    return Context(
        email=body.customer.email or "",
        ip=seen.ip or "",
        user_agent=seen.user_agent or "",
        url=seen.url or "",
        referrer=seen.referrer or "",
    )
