"""Acme, a made-up sixth vendor: this one file is all the code it needs.

Copied into bridge/vendors/ as acme.py by test_sixth_vendor.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, SecretStr

from bridge.model import Call, Conversion, Done, Plan, Skip, Status, Told
from bridge.vendors.base import Capabilities, Vendor, VendorSettings


class AcmeSettings(VendorSettings):
    """Read ACME_… settings."""

    api_key: SecretStr = Field(description="API key")


class Acme(Vendor[AcmeSettings]):
    """Tell Acme of sales and take them back."""

    name = "acme"
    title = "Acme"
    capabilities = Capabilities(update=True, disapprove=True, reapprove=True, repeatable=True)
    settings_type = AcmeSettings
    default_url = "https://api.acme.example"
    click_names = ("acme_click_id",)

    def authorize(self) -> Mapping[str, str]:
        """Send the key in a header of its own."""
        return {"X-Acme-Key": self.settings.api_key.get_secret_value()}

    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        """Put the sale where it is not told yet, or its status where that has changed."""
        click = conversion.clicks.get(self.name)
        if told.nothing and click is None:
            return Skip("no click stored for this customer")
        if told.nothing and conversion.status is Status.DISAPPROVED:
            return Skip("all of it was given back before Acme was told")
        if told.status is conversion.status:
            return Done()
        order = told.known_as or conversion.order
        body: dict[str, object] = {"status": str(conversion.status)}
        if told.nothing and click is not None:
            body |= {"amount": conversion.value.format(), "click": click["click_id"]}
        tells = Told(
            steps=(*told.steps, "sale"),
            amount=told.amount or conversion.value,
            status=conversion.status,
            known_as=order,
        )
        url = f"{self.base_url}/sales/{order}"
        return Call(step="sale", method="PUT", url=url, json=body, tells=tells)
