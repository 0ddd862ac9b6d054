"""POST /clicks: the merchant's server stores the clicks that brought a customer."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, request
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)

from bridge import attribution, providers, vendors
from bridge.errors import WebhookError
from bridge.intake import Intake
from bridge.model import Context
from bridge.providers.base import EARLIEST
from bridge.vendors.base import MAX_ID_LENGTH, AnyVendor, opaque_id
from bridge.web.state import body as raw_body
from bridge.web.state import state

area = Blueprint("clicks", __name__)

# What would identify a person in clear if it were kept as it came.
RAW = frozenset({"email", "ip", "ip_address", "user_agent", "useragent"})

NUL = rb"\u0000"  # as JSON writes it; no database takes it
LONGEST_NAME = 40

Id = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, strip_whitespace=True)
]
LONGEST_TEXT = 4096
LongText = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
MOST_FIELDS = 20
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class CustomerIds(BaseModel):
    """Name a customer by at least one id; ids that come together are aliases from then on.

    Beside these, a customer may have an id at every provider: `stripe`, `shopify`.
    """

    model_config = STRICT

    external_id: Id | None = None
    email: Id | None = None

    @model_validator(mode="after")
    def _has_one(self) -> CustomerIds:
        if not any(self.model_dump().values()):
            raise ValueError("needs at least one id")
        return self


class Seen(BaseModel):
    """Hold what was seen of the visitor; IP address and user agent are kept only as hashes."""

    model_config = STRICT

    ip: Id | None = None
    user_agent: LongText | None = None
    url: LongText | None = None
    referrer: LongText | None = None


class ClickBody(BaseModel):
    """Hold the body of POST /clicks."""

    model_config = STRICT

    customer: CustomerIds
    clicks: dict[str, Any] = Field(default_factory=dict)
    context: Seen = Seen()
    occurred_at: Annotated[AwareDatetime, Field(ge=EARLIEST)] | None = None


def _with_providers() -> type[ClickBody]:
    """Return the body with the customer ids of every provider there is."""
    ids: dict[str, Any] = dict.fromkeys(providers.discover(), (Id | None, None))
    customer = create_model("Customer", __base__=CustomerIds, **ids)
    return create_model("Body", __base__=ClickBody, customer=(customer, ...))


BODY = _with_providers()


class UnfitError(WebhookError):
    """Refuse a body, with a message per field."""

    code = "invalid"
    status = 422

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in fields.items()))
        self.fields = fields


@area.post("/clicks")
def take() -> tuple[Response, int]:
    """Store clicks for a customer, and credit the orders that waited for them."""
    _authorize()
    body = _read(raw_body())
    clicks = _read_clicks(body)
    now = datetime.now(UTC)
    here = state()
    intake = Intake(here.store, here.config)
    keys = _keys(body.customer, intake.rules)
    # A clock that runs ahead must not put a click after the sale that it led to.
    captured_at = min(body.occurred_at or now, now)
    exact = body.occurred_at is not None
    intake.add_clicks(keys, _completed(clicks, body), captured_at, now, exact=exact)
    given = body.customer.model_dump(exclude_none=True)
    return jsonify(customer=given, clicks=body.clicks), 201


@area.errorhandler(UnfitError)
def refuse(error: UnfitError) -> tuple[Response, int]:
    """Answer with a message per field."""
    described = {"code": error.code, "message": str(error), "fields": dict(error.fields)}
    return jsonify(error=described), error.status


def _authorize() -> None:
    expected = state().config.settings.api_key
    if expected is None:
        raise WebhookError(
            "the click API is off (set BRIDGE_API_KEY)", code="not_configured", status=404
        )
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    key = expected.get_secret_value()
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key.encode()):
        raise WebhookError(
            "the API key is missing or wrong (send Authorization: Bearer $BRIDGE_API_KEY)",
            code="unauthorized",
            status=401,
        )


def _read(raw: bytes) -> ClickBody:
    if NUL in raw:
        raise UnfitError({"body": "must hold no NUL character"})
    try:
        return BODY.model_validate_json(raw)
    except ValidationError as error:
        raise UnfitError(dict(map(_field, error.errors(include_input=False)))) from None


def _field(problem: Any) -> tuple[str, str]:
    name = ".".join(str(part)[:LONGEST_NAME] for part in problem["loc"]) or "body"
    text = problem["msg"].removeprefix("Value error, ")
    return name, "is not a field here" if problem["type"] == "extra_forbidden" else text


def _read_clicks(body: ClickBody) -> dict[str, object]:
    """Check every click as its vendor wants it."""
    configured = state().config.vendors
    known = vendors.discover()
    clicks: dict[str, object] = {}
    problems: dict[str, str] = {}
    for name, value in body.clicks.items():
        try:
            if name not in known:
                raise ValueError(f"no such vendor (there are {', '.join(known)})")
            clicks[name] = _read_click(configured.get(name), value)
        except ValueError as error:
            problems[f"clicks.{name[:LONGEST_NAME]}"] = str(error)
    if problems:
        raise UnfitError(problems)
    return clicks


def _read_click(vendor: AnyVendor | None, value: object) -> object:
    """Check a click; one for a vendor that is off is kept as it came, for when it is on."""
    if vendor is not None:
        return dict(vendor.read_click(value))
    if not isinstance(value, Mapping):
        return opaque_id(value)
    if not all(isinstance(each, str) and len(each) <= LONGEST_TEXT for each in value.values()):
        raise ValueError(f"must hold strings of at most {LONGEST_TEXT} characters")
    if found := sorted(RAW & {name.lower() for name in value}):
        raise ValueError(f"must not hold {found[0]!r} (context takes it, and keeps only a hash)")
    if len(value) > MOST_FIELDS or any(len(name) > MAX_ID_LENGTH for name in value):
        raise ValueError(f"must have at most {MOST_FIELDS} fields with short names")
    return value


def _completed(clicks: Mapping[str, object], body: ClickBody) -> dict[str, object]:
    """Add what vendors make of the context: hashes, that is, which nobody is answered with."""
    completed = dict(clicks)
    for name, vendor in state().config.vendors.items():
        if captured := vendor.capture(_context(body)):
            given = clicks.get(name)
            completed[name] = {**captured, **(given if isinstance(given, Mapping) else {})}
    return completed


def _context(body: ClickBody) -> Context:
    seen = body.context
    return Context(
        email=body.customer.email or "",
        ip=seen.ip or "",
        user_agent=seen.user_agent or "",
        url=seen.url or "",
        referrer=seen.referrer or "",
    )


def _keys(customer: CustomerIds, rules: attribution.Rules) -> list[str]:
    ids = customer.model_dump(exclude_none=True)
    email = ids.pop("email", None)
    keys = [f"{kind}:{value}" for kind, value in ids.items()]
    return keys + ([attribution.email_key(email, rules.email_key)] if email else [])
