"""Trackdesk, conversions by request: https://help.trackdesk.com

Conversions are made and linked under /tracking, statuses changed under /api with a key. An amount
can never be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import unquote

from pydantic import Field, SecretStr

from bridge.model import (
    Call,
    Cause,
    Click,
    Conversion,
    ConversionKind,
    Done,
    Plan,
    Response,
    Skip,
    Status,
    Told,
    Unknown,
    Verdict,
)
from bridge.money import Money
from bridge.vendors.base import (
    Capabilities,
    Vendor,
    VendorSettings,
    json_object,
    kinds_of_id,
    without_call,
)

LINK, LEAD, SALE = "link", "lead", "sale"
CREATES = frozenset({LINK, LEAD, SALE})
CONVERSION_PATH = "/tracking/conversion/v1"
LINK_PATH = "/tracking/external-cid/v1"
STATUS_PATH = "/api/node/conversions/v1/update-status-by-external-id"
APPROVED = "CONVERSION_STATUS_APPROVED"
REFUNDED = "CONVERSION_STATUS_REFUNDED"
REJECTED = "CONVERSION_STATUS_REJECTED"


class TrackdeskSettings(VendorSettings):
    """Read TRACKDESK_… settings."""

    tenant_id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9-]+$", description="tenant id")
    revenue_origin_id: str = Field(min_length=1, description="id of the revenue origin")
    conversion_type: str = Field("sale", description="conversion type code of sales")
    lead_type: str = Field("lead", description="conversion type code of leads")
    api_key: SecretStr | None = Field(
        None,
        min_length=1,
        description="API key; without it status changes are skipped with that reason",
    )
    partial_refund: Literal["skip", "full"] = Field(
        "skip", description="a partial refund: `skip` it, or treat it as a `full` one"
    )


class Trackdesk(Vendor[TrackdeskSettings]):
    """Tell Trackdesk of sales and leads, and change their status."""

    name = "trackdesk"
    title = "Trackdesk"
    capabilities = Capabilities(
        lead=True, update=True, disapprove=True, reapprove=True, repeatable=True
    )
    settings_type = TrackdeskSettings
    default_url = ""
    click_names = ("trackdesk_click_id", "trakdesk_cid", "trackdesk_cid")
    landing_kinds = ({"cid": "cid"},)
    cookie_names = ("trakdesk_cid",)

    @property
    def base_url(self) -> str:
        """Return the tenant's own address, unless another is set."""
        return self.settings.base_url or f"https://{self.settings.tenant_id}.trackdesk.com"

    def authorize(self) -> Mapping[str, str]:
        """Carry the key, where there is one, in a header of its own."""
        key = self.settings.api_key
        return {"x-api-key": key.get_secret_value()} if key else {}

    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        """Make the conversion once, then keep its status true."""
        if conversion.status is Status.PARKED:
            return Skip(without_call(conversion, None, self.title))
        if told.amount is not None:
            return self._keep_status(conversion, told, told.amount)
        if LEAD in told.steps:
            return Done()
        click, lead = conversion.clicks.get(self.name, {}), self.lead_of(conversion)
        if reason := without_call(conversion, click, self.title, lead):
            return Skip(reason)
        if conversion.kind is ConversionKind.LEAD:
            return self._lead(conversion, click, told)
        return self._sale(conversion, click or {"external_cid": lead}, lead, told)

    def judge(self, call: Call, response: Response) -> Verdict:
        """Take a duplicate for what it is, whatever its 4xx: the conversion is there already.

        A conversion type's recurrence limit is refused in similar words, and is no duplicate.
        """
        words = response.body.lower()
        there = any(each in words for each in ("duplicate", "already exist"))
        there &= "recurr" not in words and "limit" not in words
        if there and call.step in CREATES and 400 <= response.status <= 499:
            return call.tells
        return super().judge(call, response)

    def accept(self, call: Call, response: Response) -> Verdict:
        """Believe a 2xx whatever it holds, but a web page: that is not this tenant's interface.

        It is none for now, or the tenant is wrong: the conversion may have been counted.
        """
        if response.body.lstrip().startswith("<"):
            return Unknown(f"{self.words(response)} (a web page: check TRACKDESK_TENANT_ID)")
        return call.tells

    def read_click(self, value: object) -> Click:
        """Read a cid: bare, as the cookie's JSON, or as an object with cid or external_cid."""
        if isinstance(value, str) and unquote(value).lstrip().startswith("{"):
            value = _cookie(unquote(value))
        kinds = kinds_of_id(value, ("cid", "external_cid", "tenantId"), "cid")
        tenant = kinds.pop("tenantId", self.settings.tenant_id)
        if tenant.lower() != self.settings.tenant_id.lower():
            raise ValueError(
                f"belongs to the Trackdesk tenant {tenant}, not to TRACKDESK_TENANT_ID"
            )
        if not kinds:
            raise ValueError("needs cid or external_cid")
        return kinds

    def read_reference(self, reference: str) -> Click | None:
        """Find the cookie's JSON in a client_reference_id; a bare id may be the merchant's own."""
        if not unquote(reference).lstrip().startswith("{"):
            return None
        try:
            return self.read_click(reference)
        except ValueError:
            return None

    # ── calls ──

    def _lead(self, conversion: Conversion, click: Click, told: Told) -> Call:
        """Link the click to the customer's id first, so that later sales find it by that."""
        who = told.known_as or conversion.customer
        if LINK in told.steps or "cid" not in click:
            # Only by an id that is linked can a sale without a click be told.
            linked = LINK in told.steps or click.get("external_cid") == who
            tells = replace(told.also(LEAD, status=Status.APPROVED), known_as=who if linked else "")
            return self._create(tells, conversion, click, who, {})
        body = {
            "cid": click["cid"],
            "externalCid": who,
            "revenueOriginId": self.settings.revenue_origin_id,
        }
        tells = Told(steps=(*told.steps, LINK), known_as=who)
        return Call(step=LINK, url=self.base_url + LINK_PATH, json=body, tells=tells)

    def _sale(self, conversion: Conversion, click: Click, lead: str, told: Told) -> Call:
        value = conversion.value
        tells = replace(
            told.also(SALE, status=Status.APPROVED, amount=value), known_as=conversion.order
        )
        money = {"amount": {"value": value.format()}, "currency": {"code": value.currency}}
        return self._create(tells, conversion, click, lead or conversion.customer, money)

    def _create(
        self,
        tells: Told,
        conversion: Conversion,
        click: Click,
        customer: str,
        money: Mapping[str, object],
    ) -> Call:
        by = {"cid": click["cid"]} if "cid" in click else {"externalCid": click["external_cid"]}
        body = {
            **by,
            "conversionTypeCode": self._type(conversion),
            "externalId": conversion.order,
            "customerId": customer,
            "revenueOriginId": self.settings.revenue_origin_id,
            **money,
        }
        step = tells.steps[-1]
        return Call(step=step, url=self.base_url + CONVERSION_PATH, json=body, tells=tells)

    def _keep_status(self, conversion: Conversion, told: Told, amount: Money) -> Plan:
        gone = self._is_gone(conversion, amount)
        if gone is not (told.status is Status.DISAPPROVED):
            if self.settings.api_key is None:
                wanted = "taken back" if gone else "given again"
                return Skip(f"{amount} is to be {wanted}, but that needs TRACKDESK_API_KEY")
            return self._change_status(conversion, told, gone=gone)
        if gone or conversion.value == amount:
            return Done()
        reason = (
            f"Trackdesk cannot change an amount: {amount} stays credited "
            f"instead of {conversion.value}"
        )
        less = conversion.value.minor < amount.minor
        hint = " (TRACKDESK_PARTIAL_REFUND=full would take all of it back)" if less else ""
        return Skip(reason + hint)

    def _is_gone(self, conversion: Conversion, amount: Money) -> bool:
        """Tell whether all of it is to be taken back: with `full`, also what lost a part."""
        value = conversion.value.minor
        if conversion.status is Status.DISAPPROVED or value <= 0:
            return True
        return self.settings.partial_refund == "full" and value < amount.minor

    def _change_status(self, conversion: Conversion, told: Told, *, gone: bool) -> Call:
        why = REJECTED if conversion.cause is Cause.DISPUTE else REFUNDED
        step = "disapprove" if gone else "reapprove"
        return Call(
            step=step,
            url=self.base_url + STATUS_PATH,
            json={
                "revenue_origin_id": self.settings.revenue_origin_id,
                "external_id": told.known_as or conversion.order,
                "conversion_type_code": self._type(conversion),
                "status": why if gone else APPROVED,
            },
            tells=told.also(step, status=Status.DISAPPROVED if gone else Status.APPROVED),
        )

    def _type(self, conversion: Conversion) -> str:
        lead = conversion.kind is ConversionKind.LEAD
        return self.settings.lead_type if lead else self.settings.conversion_type


def _cookie(text: str) -> dict[str, object]:
    """Read the JSON of the cookie trakdesk_cid, and of that only what concerns us."""
    cookie = json_object(text)
    if not cookie.get("cid"):
        raise ValueError("is neither a cid nor the JSON of the cookie trakdesk_cid")
    return {name: cookie[name] for name in ("cid", "tenantId") if cookie.get(name)}
