"""Taapit, server-side events: https://docs.taap.it

A sale is counted every time it is sent, nobody can ask what was counted, and nothing takes it back.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, SecretStr

from bridge.model import (
    Call,
    Click,
    Conversion,
    ConversionKind,
    Dead,
    Plan,
    Response,
    Skip,
    Status,
    Told,
    Unknown,
    Verdict,
)
from bridge.vendors.base import (
    Capabilities,
    Vendor,
    VendorSettings,
    json_object,
    told_for_good,
    without_call,
)

SALE, LEAD = "sale", "lead"

NO_REFUNDS = "Taapit has no refund call"
REMEDY = "correct it there by hand"


class TaapitSettings(VendorSettings):
    """Read TAAPIT_… settings."""

    api_key: SecretStr = Field(min_length=1, description="server key of events (`taapit_sk_…`)")
    send_email: bool = Field(
        False,
        description="`1`: leads and sales carry the customer's e-mail address "
        "(needs BRIDGE_SECRET_KEY)",
    )


class Taapit(Vendor[TaapitSettings]):
    """Tell Taapit of sales and leads."""

    name = "taapit"
    title = "Taapit"
    capabilities = Capabilities(lead=True)
    settings_type = TaapitSettings
    default_url = "https://track.taap.it"
    click_names = ("taapit_click_id", "ta_tid", "taapitTrackingId")
    landing_kinds = ({"ta_tid": "click_id"},)
    cookie_names = ("ta_tid",)

    @property
    def wants_email(self) -> bool:
        """Tell whether the merchant lets it have e-mail addresses."""
        return self.settings.send_email

    def authorize(self) -> Mapping[str, str]:
        """Carry the key as a bearer token."""
        return {"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"}

    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        """Tell a lead or a sale once; say why anything after it is not told."""
        if not told.nothing:
            return told_for_good(conversion, told, NO_REFUNDS, REMEDY)
        click, lead = conversion.clicks.get(self.name, {}), self.lead_of(conversion)
        if reason := without_call(conversion, click, self.title, lead):
            return Skip(reason)
        return self._call(conversion, click, lead)

    def accept(self, call: Call, response: Response) -> Verdict:
        """Look into a 2xx: only `{"ok": true}` is known to be a yes, and `false` to be a no."""
        match json_object(response.body).get("ok"):
            case True:
                return call.tells
            case False:
                return Dead(f"Taapit did not take the event: {self.words(response)}")
            case _:
                return Unknown(
                    f"Taapit's answer is not the one it documents: {self.words(response)}"
                )

    def refuse(self, call: Call, response: Response) -> Verdict:
        """Explain a 404: Taapit knows the click no longer, or never did."""
        words = self.words(response)
        if response.status == 404 and "trackingId" in (call.json or {}):
            return Dead(f"the click is unknown to Taapit or has expired: {words}")
        return Dead(words)

    def _call(self, conversion: Conversion, click: Click, lead: str) -> Call:
        """Return the event; a sale needs no click only where a lead brought Taapit the customer."""
        sale = conversion.kind is ConversionKind.SALE
        step = SALE if sale else LEAD
        return Call(
            step=step,
            url=f"{self.base_url}/api/events/{step}",
            json={
                **({"trackingId": click["click_id"]} if click else {}),
                "customer": {"externalId": lead or conversion.customer},
                **(_amount(conversion) if sale else {}),
            },
            address="customer.email" if self.wants_email else "",
            repeatable=False,
            tells=Told(
                steps=(step,),
                amount=conversion.value if sale else None,
                status=Status.APPROVED,
                known_as=conversion.order if sale else conversion.customer,
            ),
        )


def _amount(conversion: Conversion) -> dict[str, object]:
    return {
        "amount": conversion.value.major,
        "currency": conversion.value.currency.lower(),
        "metadata": {"orderId": conversion.order},
    }
