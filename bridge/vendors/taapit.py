"""Taapit, server-side events: https://docs.taap.it

A sale is counted every time it is sent, nobody can ask what was counted, and nothing takes it back.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, SecretStr

from bridge.model import (
    Call,
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


class Taapit(Vendor[TaapitSettings]):
    """Tell Taapit of sales and leads."""

    name = "taapit"
    title = "Taapit"
    capabilities = Capabilities(lead=True)
    settings_type = TaapitSettings
    default_url = "https://track.taap.it"
    click_names = ("taapit_click_id", "ta_tid", "taapitTrackingId")
    landing_names = ("ta_tid",)

    def authorize(self) -> Mapping[str, str]:
        """Carry the key as a bearer token."""
        return {"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"}

    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        """Tell a lead or a sale once; say why anything after it is not told."""
        if not told.nothing:
            return told_for_good(conversion, told, NO_REFUNDS, REMEDY)
        click = conversion.clicks.get(self.name)
        reason = without_call(conversion, click, self.title)
        if reason or click is None:
            return Skip(reason)
        if conversion.kind is ConversionKind.LEAD:
            return self._call(LEAD, conversion, click, {})
        amount = {
            "amount": conversion.value.major,
            "currency": conversion.value.currency.lower(),
            "metadata": {"orderId": conversion.order},
        }
        return self._call(SALE, conversion, click, amount)

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
        if response.status == 404:
            return Dead(f"the click is unknown to Taapit or has expired: {words}")
        return Dead(words)

    def _call(
        self, step: str, conversion: Conversion, click: Mapping[str, str], more: dict[str, object]
    ) -> Call:
        sale = step == SALE
        return Call(
            step=step,
            url=f"{self.base_url}/api/events/{step}",
            json={
                "trackingId": click["click_id"],
                "customer": {"externalId": conversion.customer},
                **more,
            },
            repeatable=False,
            tells=Told(
                steps=(step,),
                amount=conversion.value if sale else None,
                status=Status.APPROVED,
                known_as=conversion.order,
            ),
        )
