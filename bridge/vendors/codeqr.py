"""CodeQR, conversion tracking: https://codeqr.mintlify.app (track/sale, track/lead)

CodeQR descends from Dub. A sale is counted once per invoice id; nothing public takes it back.
"""

from __future__ import annotations

import hashlib
import json
import re
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
    Retry,
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
    asked_to_wait,
    json_value,
    told_for_good,
    without_call,
)

SALE, LEAD = "sale", "lead"
# Whole units are sent for these; the vendor divides every other currency by 100.
ZERO_DECIMAL = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"}
    | {"PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}
)
PROCESSORS = {
    "stripe": "stripe",
    "paddle": "paddle",
    "paddle_classic": "paddle",
    "shopify": "shopify",
}
CUSTOMER_LENGTH, INVOICE_LENGTH, METADATA_LENGTH = 100, 255, 10_000
EMAIL_LENGTH = 100
# It checks addresses, but does not say how: what may look wrong to it is better left out.
PLAIN_EMAIL = re.compile(r"[\w+'-]+(\.[\w+'-]+)*@([\w-]+\.)+[A-Za-z]{2,}", re.ASCII)
REFERENCE = "codeqr_id_"

NO_REFUNDS = "CodeQR has no public refund call"
REMEDY = "correct it there by hand"


class CodeqrSettings(VendorSettings):
    """Read CODEQR_… settings."""

    api_key: SecretStr = Field(
        min_length=1, description="API key of a workspace owner, with scope `conversions.write`"
    )
    send_email: bool = Field(
        False,
        description="`1`: leads and sales carry the customer's e-mail address "
        "(needs BRIDGE_SECRET_KEY)",
    )


class Codeqr(Vendor[CodeqrSettings]):
    """Tell CodeQR of sales and leads."""

    name = "codeqr"
    title = "CodeQR"
    capabilities = Capabilities(lead=True, repeatable=True)
    settings_type = CodeqrSettings
    default_url = "https://api.codeqr.io"
    click_names = ("codeqr_click_id", "cq_id", "dub_id")
    landing_kinds = ({"cq_id": "click_id"}, {"dub_id": "click_id"})
    cookie_names = ("cq_id", "dub_id")

    @property
    def wants_email(self) -> bool:
        """Tell whether the merchant lets it have e-mail addresses."""
        return self.settings.send_email

    def takes_email(self, address: str) -> bool:
        """Tell whether an address is as short and plain as its documents demand."""
        return len(address) <= EMAIL_LENGTH and PLAIN_EMAIL.fullmatch(address) is not None

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
        if conversion.kind is ConversionKind.SALE and not units(conversion.value):
            return Skip(f"{conversion.value} is less than the smallest amount CodeQR can count")
        return self._call(conversion, click, lead)

    def accept(self, call: Call, response: Response) -> Verdict:
        """Look into a 2xx: CodeQR also answers 200 where it recorded nothing.

        What is no JSON object comes from something before it: the call may have been counted.
        """
        answer = json_value(response.body)
        if not isinstance(answer, dict):
            return Unknown(f"CodeQR's answer is not the one it documents: {self.words(response)}")
        if _is_recorded(answer):
            return call.tells
        return Dead(f"CodeQR took the call but recorded nothing: {self.words(response)}")

    def refuse(self, call: Call, response: Response) -> Verdict:
        """Try again while the same sale is still being taken in."""
        words = self.words(response)
        if response.status == 409 and "progress" in words.lower():
            return Retry(words, asked_to_wait(response))
        return Dead(words)

    def read_reference(self, reference: str) -> Click | None:
        """Find the click in a client_reference_id of the form codeqr_id_<click>."""
        prefix, mark, click = reference.partition(REFERENCE)
        return {"click_id": click.strip()} if mark and not prefix and click.strip() else None

    def _call(self, conversion: Conversion, click: Click, lead: str) -> Call:
        """Return the event; CodeQR finds the click of a sale without one by the customer's lead."""
        sale = conversion.kind is ConversionKind.SALE
        step = SALE if sale else LEAD
        return Call(
            step=step,
            url=f"{self.base_url}/track/{step}",
            json={
                **({"clickId": click["click_id"]} if click else {}),
                "customerExternalId": within(lead or conversion.customer, CUSTOMER_LENGTH),
                **(_sale(conversion) if sale else {"eventName": "Sign up", "mode": "wait"}),
            },
            address="customerEmail" if self.wants_email else "",
            tells=Told(
                steps=(step,),
                amount=conversion.value if sale else None,
                status=Status.APPROVED,
                known_as=conversion.order if sale else conversion.customer,
            ),
        )


def units(amount: Money) -> int:
    """Return an amount as CodeQR counts it: in whole units by its own list, else in hundredths."""
    return amount.to_minor(0 if amount.currency in ZERO_DECIMAL else 2)


def within(id: str, length: int) -> str:
    """Return an id that fits, never the same for two ids: a long one ends in its own hash.

    Length is counted as JavaScript does, in units of UTF-16.
    """
    units = id.encode("utf-16-le")
    if len(units) <= 2 * length:
        return id
    digest = hashlib.sha256(units).hexdigest()[:32]
    start = units[: 2 * (length - len(digest) - 1)].decode("utf-16-le", errors="ignore")
    return f"{start}-{digest}"


def _sale(conversion: Conversion) -> dict[str, object]:
    return {
        "eventName": "Purchase",
        "amount": units(conversion.value),
        "currency": conversion.value.currency.lower(),
        "invoiceId": within(conversion.order, INVOICE_LENGTH),
        "paymentProcessor": PROCESSORS.get(conversion.provider, "custom"),
        "metadata": _metadata(conversion),
    }


def _metadata(conversion: Conversion) -> dict[str, object]:
    """Return the order and as many names of its items as fit, counted with all escapes."""
    order = within(conversion.id, INVOICE_LENGTH)
    items: list[str] = []
    for item in conversion.items:
        if len(json.dumps({"order": order, "items": [*items, item.name]})) > METADATA_LENGTH:
            break
        items.append(item.name)
    return {"order": order, "items": items} if items else {"order": order}


def _is_recorded(answer: Mapping[str, object]) -> bool:
    """Tell whether an answer names what was recorded: flat as documented, or nested as Dub's."""
    if "sale" in answer:
        return bool(answer["sale"])
    return any(answer.get(name) for name in ("invoiceId", "customerId", "customer", "click"))
