"""Tapfiliate, postback 1.7 and REST 1.6: https://tapfiliate.com/docs

A conversion is known by our order id (`external_id`). Its amount is absolute and its status can
change both ways; after a call of unknown outcome REST 1.6 tells what is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from pydantic import Field, SecretStr

from bridge.errors import MoneyError
from bridge.model import (
    Call,
    Click,
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
from bridge.money import Money
from bridge.vendors.base import (
    MAX_ID_LENGTH,
    Capabilities,
    Vendor,
    VendorSettings,
    json_object,
    json_value,
    kinds_of_id,
    without_call,
)

SALE, LEAD, UPDATE_LEAD, LOOK_UP = "sale", "lead", "update_lead", "look_up"
CREATE_PATH, UPDATE_PATH = "/1.7/pb/con/c/", "/1.7/pb/con/u/"
CUSTOMER_PATH, UPDATE_CUSTOMER_PATH = "/1.7/pb/cus/c/", "/1.7/pb/cus/u/"
REST_PATH = "/1.6/conversions/"
CLICK_KINDS = ("coupon", "click_id", "referral_code", "asset_id", "source_id")
# A link's tm_key=value becomes meta_data {key: value}.
META = "tm_"
META_NAME = re.compile(META + r"[A-Za-z0-9_]{1,60}")
CREATES = frozenset({SALE, LEAD})
TAKEN_WORDS = ("unique", "already", "taken", "exists", "duplicate")


class TapfiliateSettings(VendorSettings):
    """Read TAPFILIATE_… settings."""

    api_key: SecretStr = Field(min_length=1, description="API key")
    reapprove: bool = Field(
        True,
        description="`0`: what was won back is not approved again, as that approves a commission",
    )


class Tapfiliate(Vendor[TapfiliateSettings]):
    """Tell Tapfiliate of sales and leads, and keep amount and status true."""

    name = "tapfiliate"
    title = "Tapfiliate"
    capabilities = Capabilities(
        lead=True, update=True, partial=True, disapprove=True, reapprove=True, askable=True
    )
    settings_type = TapfiliateSettings
    default_url = "https://api.tapfiliate.com"
    click_names = ("tapfiliate_click_id", "tap_click_id")
    # https://docs.tapfiliate.com (parameters of an affiliate's link); its cookie tap_vid names the
    # visitor, not a click.
    landing_kinds = (
        {"click_id": "click_id"},
        {"tap_a": "asset_id", "tap_s": "source_id"},
        {"ref": "referral_code"},
    )
    landing_prefix = META

    def authorize(self) -> Mapping[str, str]:
        """Carry the key in a header of its own."""
        return {"X-Api-Key": self.settings.api_key.get_secret_value()}

    def next_call(self, conversion: Conversion, told: Told) -> Plan:
        """Look up what is in doubt, make the conversion once, then keep amount and status true."""
        if told.doubt == SALE:
            return self._look_up(conversion, told)
        if told.amount is not None:
            return self._keep_true(conversion, told)
        click, lead = conversion.clicks.get(self.name, {}), self.lead_of(conversion)
        if LEAD in told.steps:
            return self._update_lead(conversion, click, told)
        if reason := without_call(conversion, click, self.title, lead):
            return Skip(reason)
        if conversion.kind is ConversionKind.LEAD:
            return self._lead(conversion, click)
        return self._sale(conversion, click, lead, told)

    def accept(self, call: Call, response: Response) -> Verdict:
        """Believe a 2xx only where it holds what was asked for: pages of HTML come with any.

        Only what is made is documented to be shown; a change is answered by its status, and where
        it says more, that is JSON.
        """
        if call.step == LOOK_UP:
            return self._found(call, response)
        reference = json_object(response.body).get("id")
        if reference and call.step in CREATES:
            return replace(call.tells, reference=str(reference))
        broken = response.body.strip() and json_value(response.body) is None
        if call.step in CREATES or broken:
            return Unknown(
                f"Tapfiliate's answer is not the one it documents: {self.words(response)}"
            )
        return call.tells

    def refuse(self, call: Call, response: Response) -> Verdict:
        """See whether a create was refused because the conversion is there already."""
        words = self.words(response)
        taken = any(each in words.lower() for each in TAKEN_WORDS)
        if not taken or response.status not in {400, 409, 422}:
            return Dead(words)
        if call.step == LEAD:
            # There, but who knows with which metadata.
            return replace(call.tells, details={})
        # There, but perhaps not yet found by a look-up: it is looked up (again), for three days.
        return Unknown(words) if call.step == SALE else Dead(words)

    def read_click(self, value: object) -> Click:
        """Read a click id, or an object with a referral code, a coupon, or asset and source.

        The object may be written as a string, as a payment's metadata holds nothing else, and may
        hold the metadata of the link.
        """
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = json_object(value)
            if not value:
                raise ValueError("is neither an id nor a JSON object")
        kinds = kinds_of_id(value, CLICK_KINDS, "click_id", META_NAME)
        if ("asset_id" in kinds) is not ("source_id" in kinds):
            raise ValueError("needs asset_id and source_id together")
        return kinds

    def read_landing(self, parameters: Mapping[str, str]) -> Click | None:
        """Find the click; metadata that cannot be kept is no reason to lose it."""
        kept = {name: text for name, text in parameters.items() if _is_kept(name, text)}
        return super().read_landing(kept)

    # ── calls ──

    def _sale(self, conversion: Conversion, click: Click, lead: str, told: Told) -> Call:
        """Make the sale; REST 1.6 finds the click of one without any by its customer."""
        order = told.known_as or conversion.order
        return Call(
            step=SALE,
            url=self.base_url + (CREATE_PATH if click else REST_PATH),
            json={
                **_attribution(click),
                "external_id": order,
                "amount": conversion.value.major,
                "currency": conversion.value.currency,
                "customer_id": lead or conversion.customer,
                **_meta_data(click),
            },
            repeatable=False,
            tells=Told(
                steps=(*told.steps, SALE),
                amount=conversion.value,
                status=Status.APPROVED,
                known_as=order,
            ),
        )

    def _lead(self, conversion: Conversion, click: Click) -> Call:
        who = conversion.customer
        more = _meta_data(click)
        return Call(
            step=LEAD,
            url=self.base_url + CUSTOMER_PATH,
            json={**_attribution(click), "customer_id": who, "status": "lead", **more},
            tells=Told(steps=(LEAD,), status=Status.APPROVED, known_as=who, details=_meta(click)),
        )

    def _update_lead(self, conversion: Conversion, click: Click, told: Told) -> Plan:
        """Tell of new metadata, together with the old: nothing says whether that would stay.

        What is gone from the link cannot be taken back, and stays.
        """
        meta = {**told.details, **_meta(click)}
        if meta == told.details:
            return Done()
        tells = told.also(UPDATE_LEAD, status=Status.APPROVED)
        return Call(
            step=UPDATE_LEAD,
            url=self.base_url + UPDATE_CUSTOMER_PATH,
            json={"customer_id": told.known_as or conversion.customer, "meta_data": meta},
            tells=replace(tells, details=meta),
        )

    def _look_up(self, conversion: Conversion, told: Told) -> Call:
        """Ask what is there; `tells` is what is told if it is the sale we tried to make."""
        order = told.known_as or conversion.order
        return Call(
            step=LOOK_UP,
            method="GET",
            url=self.base_url + REST_PATH,
            query={"external_id": order},
            asks=True,
            tells=Told(
                steps=(SALE,), amount=conversion.value, status=Status.APPROVED, known_as=order
            ),
        )

    def _found(self, call: Call, response: Response) -> Verdict:
        found = json_value(response.body)
        if not isinstance(found, list):
            return Retry(f"Tapfiliate's answer is no list: {self.words(response)}")
        order = call.query["external_id"]
        mine = [each for each in found if isinstance(each, dict) and _is(each, order)]
        if not mine:
            return Told(steps=(LOOK_UP,), known_as=order)
        held = _amount(mine[0].get("amount"), call.tells.amount)
        if held is None:
            return Dead(f"Tapfiliate holds an amount that cannot be read: {self.words(response)}")
        return replace(call.tells, amount=held, reference=str(mine[0].get("id") or ""))

    def _keep_true(self, conversion: Conversion, told: Told) -> Plan:
        if conversion.status is Status.PARKED:
            return Skip(without_call(conversion, None, self.title))
        body: dict[str, object] = {}
        gone = conversion.status is Status.DISAPPROVED or conversion.value.minor == 0
        if gone:
            if told.status is Status.DISAPPROVED:
                return Done()
            body["status"] = "disapproved"
            return self._update("disapprove", conversion, told, body)
        if told.status is Status.DISAPPROVED:
            if not self.settings.reapprove:
                return Skip(f"{conversion.value} was won back, but TAPFILIATE_REAPPROVE is off")
            body["status"] = "approved"
        if conversion.value != told.amount:
            body["amount"] = conversion.value.major
        if not body:
            return Done()
        return self._update("reapprove" if "status" in body else "amount", conversion, told, body)

    def _update(
        self, step: str, conversion: Conversion, told: Told, body: Mapping[str, object]
    ) -> Call:
        gone = step == "disapprove"
        return Call(
            step=step,
            url=self.base_url + UPDATE_PATH,
            json={"external_id": told.known_as or conversion.order, **body},
            tells=told.also(
                step,
                status=Status.DISAPPROVED if gone else Status.APPROVED,
                amount=told.amount if gone else conversion.value,
            ),
        )


def _attribution(click: Click) -> dict[str, str]:
    """Return the ids of a click in the order in which Tapfiliate prefers them."""
    return {kind: click[kind] for kind in CLICK_KINDS if kind in click}


def _meta(click: Click) -> dict[str, str]:
    """Return the metadata of the link that was clicked."""
    return {name.removeprefix(META): click[name] for name in click if name.startswith(META)}


def _meta_data(click: Click) -> dict[str, object]:
    meta = _meta(click)
    return {"meta_data": meta} if meta else {}


def _is_kept(name: str, text: str) -> bool:
    """Tell whether a parameter of a landing address is fit for a click, if it is metadata."""
    if not name.startswith(META):
        return True
    return (
        META_NAME.fullmatch(name) is not None
        and 0 < len(text.strip()) <= len(text) <= MAX_ID_LENGTH
    )


def _is(conversion: Mapping[str, object], order: str) -> bool:
    return str(conversion.get("external_id", order)) == order


def _amount(value: object, told: Money | None) -> Money | None:
    """Read the amount that Tapfiliate holds, in the currency that it was told."""
    if told is None or isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        return None
    try:
        return Money.parse(value, told.currency)
    except MoneyError:
        return None
