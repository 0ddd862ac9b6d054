"""How each vendor's clicks are read, found in a payment's reference, and captured."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import parse_qsl, quote

import pytest
from histories import sale
from test_vendors import made

from bridge.attribution import Rules, identify
from bridge.model import Click, Context
from bridge.vendors.tracify import tracify_hash

CID = "2c1f6f0e-5a0d-4b6e-9c55-0f6a4d1f2b3c"
COOKIE = json.dumps({"tenantId": "lumenshop", "cid": CID})
HASH = "5eb1e8cbb088facd05b90b15adeef011de2c9af43a80af7772c7ced8f8b65d0e"

READ: list[tuple[str, object, Click]] = [
    ("taapit", "rLnWe1uz9t282v7g", {"click_id": "rLnWe1uz9t282v7g"}),
    ("taapit", " 65f1c0ffee65f1c0ffee65f1 ", {"click_id": "65f1c0ffee65f1c0ffee65f1"}),
    ("taapit", {"click_id": "a"}, {"click_id": "a"}),
    ("taapit", "x" * 255, {"click_id": "x" * 255}),
    ("codeqr", "clk_1", {"click_id": "clk_1"}),
    ("trackdesk", CID, {"cid": CID}),
    ("trackdesk", COOKIE, {"cid": CID}),
    ("trackdesk", quote(COOKIE), {"cid": CID}),
    ("trackdesk", f"  {COOKIE}", {"cid": CID}),
    ("trackdesk", json.dumps({"cid": CID}), {"cid": CID}),
    ("trackdesk", json.dumps({"cid": CID, "version": 2, "tenantId": None}), {"cid": CID}),
    ("trackdesk", {"cid": CID, "tenantId": "lumenshop"}, {"cid": CID}),
    ("trackdesk", {"external_cid": "user_1"}, {"external_cid": "user_1"}),
    ("trackdesk", {"cid": CID, "external_cid": "u"}, {"cid": CID, "external_cid": "u"}),
    ("tapfiliate", "cl_1", {"click_id": "cl_1"}),
    ("tapfiliate", {"referral_code": "nwjinmy"}, {"referral_code": "nwjinmy"}),
    ("tapfiliate", {"coupon": "SUMMER26"}, {"coupon": "SUMMER26"}),
    ("tapfiliate", {"asset_id": "1", "source_id": "2"}, {"asset_id": "1", "source_id": "2"}),
    ("tapfiliate", '{"referral_code": "jane"}', {"referral_code": "jane"}),
    ("tapfiliate", ' {"coupon": "C", "tm_a": "1"}', {"coupon": "C", "tm_a": "1"}),
    ("tapfiliate", {"click_id": "c", "tm_Sub_1": " x "}, {"click_id": "c", "tm_Sub_1": "x"}),
    ("tapfiliate", {"click_id": "c", "tm_a": "x" * 255}, {"click_id": "c", "tm_a": "x" * 255}),
    ("tracify", {}, {}),
    ("tracify", {"email_hash": HASH, "url": ""}, {"email_hash": HASH}),
    ("tracify", {"trc_mcmp_id": "1", "utm_source": "fb"}, {"trc_mcmp_id": "1", "utm_source": "fb"}),
]
REFUSED: list[tuple[str, object, str]] = [
    ("taapit", "", "must not be empty"),
    ("taapit", "   ", "must not be empty"),
    ("taapit", None, "must be a string"),
    ("taapit", 17, "must be a string"),
    ("taapit", ["a"], "must be a string"),
    ("taapit", "x" * 256, "at most 255"),
    ("taapit", {}, "needs one of click_id"),
    ("taapit", {"cid": "a"}, "has no field 'cid'"),
    ("codeqr", {"click_id": 1}, "must be a string"),
    ("trackdesk", "{", "neither a cid nor the JSON"),
    ("trackdesk", "%7Bnonsense", "neither a cid nor the JSON"),
    ("trackdesk", '{"a":' * 50_000, "neither a cid nor the JSON"),
    ("trackdesk", '{"tenantId": "lumenshop"}', "neither a cid nor the JSON"),
    ("trackdesk", {"tenantId": "lumenshop"}, "needs cid or external_cid"),
    ("trackdesk", json.dumps({"tenantId": "other", "cid": CID}), "the Trackdesk tenant other"),
    ("trackdesk", {"tenantId": "other", "cid": CID}, "the Trackdesk tenant other"),
    ("tapfiliate", {"asset_id": "1"}, "asset_id and source_id together"),
    ("tapfiliate", {"source_id": "1", "coupon": "C"}, "asset_id and source_id together"),
    ("tapfiliate", {"tap_vid": "1"}, "has no field 'tap_vid'"),
    ("tapfiliate", {"tm_campaign": "autumn"}, "needs one of coupon"),
    ("tapfiliate", {"click_id": "c", "tm_": "x"}, "has no field 'tm_'"),
    ("tapfiliate", {"click_id": "c", "tm_a-b": "x"}, "has no field 'tm_a-b'"),
    ("tapfiliate", {"click_id": "c", "tm_" + "a" * 61: "x"}, "has no field 'tm_a"),
    ("tapfiliate", {"click_id": "c", "tm_a": "x" * 256}, "tm_a must have at most 255"),
    ("tapfiliate", {"click_id": "c", "tm_a": ""}, "tm_a must not be empty"),
    ("tapfiliate", {"click_id": "c", "tm_a": 1}, "tm_a must be a string"),
    ("tapfiliate", '{"referral_code": 7}', "must be a string"),
    ("tapfiliate", '{"ref": "jane"}', "has no field 'ref'"),
    ("tapfiliate", "{jane", "neither an id nor a JSON object"),
    ("tapfiliate", "{" * 50_000, "neither an id nor a JSON object"),
    ("tracify", "a", "must be an object"),
    ("tracify", {"email": "jane@example.com"}, "has no field 'email'"),
    ("tracify", {"email_hash": "jane@example.com"}, "64 hexadecimal digits"),
    ("tracify", {"ip_hash": HASH.upper()}, "64 hexadecimal digits"),
    ("tracify", {"url": 1}, "url must be a string"),
    ("tracify", {"url": "x" * 2049}, "at most 2048"),
    ("tracify", {"utm_": "x"}, "has no field 'utm_'"),
]
REFERENCES: list[tuple[str, str, Click | None]] = [
    ("codeqr", "codeqr_id_clk_1", {"click_id": "clk_1"}),
    ("codeqr", "codeqr_id_", None),
    ("codeqr", "clk_1", None),
    ("codeqr", "my_codeqr_id_clk_1", None),
    ("taapit", "user_1", None),
    ("trackdesk", CID, None),  # it may as well be the merchant's own id of the customer
]


@pytest.mark.parametrize(("name", "raw", "click"), READ)
def test_reads(name: str, raw: object, click: Click) -> None:
    vendor = made(name)
    assert vendor.read_click(raw) == click
    assert vendor.read_click(click) == click


@pytest.mark.parametrize(("name", "raw", "why"), REFUSED)
def test_refuses(name: str, raw: object, why: str) -> None:
    vendor = made(name)
    with pytest.raises(ValueError, match=why):
        vendor.read_click(raw)


@pytest.mark.parametrize(("name", "reference", "click"), REFERENCES)
def test_finds_its_click_in_a_reference(name: str, reference: str, click: Click | None) -> None:
    assert made(name).read_reference(reference) == click


# ── what Tracify makes of a visitor ──────────────────────────────────────────────────────────────

# Digests on which other implementations of the vendor's description agree.
HASHES = {
    "8.8.8.8": "78b860bbd1b3dbeae0fc333d31d78a2431dd260dbde2ecdef86eecbb0314e45f",
    "192.168.1.1|Mozilla/5.0": "6fa4c6102d82c29727f536f606dfa1780df4b188846ff70042cdafbcee84a404",
    "Mozilla/5.0": "fe3fa8b7cb726fc1507885122d8bc5dcb7bfbf0f17f08d8f4dd588bc810c929b",
    "jane@example.com": HASH,
    "test+dev@example.com": "9f7185e0665d28c86f2426af5c2a5c45bc3faba9cdee34ea3ddd5dd3cfa0f0fd",
}


@pytest.mark.parametrize(("raw", "digest"), HASHES.items())
def test_hash(raw: str, digest: str) -> None:
    assert tracify_hash(raw) == digest


@pytest.mark.parametrize("raw", ["Jane@example.com", " jane@example.com"])
def test_hash_takes_text_as_it_is(raw: str) -> None:
    assert tracify_hash(raw) != HASH


WHOLE = Context(
    email="jane@example.com",
    ip="192.168.1.1",
    user_agent="Mozilla/5.0",
    url="https://shop.example/cups?utm_source=fb&trc_mcmp_id=12&size=l&utm_medium=",
    referrer="https://news.example/",
)
CAPTURED: list[tuple[Context, Click | None]] = [
    (Context(), None),
    (Context(url="https://shop.example/?utm_source=fb"), None),
    (Context(email="jane@example.com"), {"email_hash": HASH}),
    (Context(ip="8.8.8.8"), {"ip_hash": HASHES["8.8.8.8"]}),
    (Context(user_agent="Mozilla/5.0"), {"user_agent_hash": HASHES["Mozilla/5.0"]}),
    (
        Context(email="jane@example.com", url="http://[broken?utm_source=fb"),
        {"email_hash": HASH, "url": "http://[broken?utm_source=fb"},
    ),
    (
        WHOLE,
        {
            "email_hash": HASH,
            "session_hash": HASHES["192.168.1.1|Mozilla/5.0"],
            "ip_hash": tracify_hash("192.168.1.1"),
            "user_agent_hash": HASHES["Mozilla/5.0"],
            "url": WHOLE.url,
            "referrer": "https://news.example/",
            "utm_source": "fb",
            "trc_mcmp_id": "12",
        },
    ),
]


@pytest.mark.parametrize(("context", "click"), CAPTURED)
def test_tracify_captures(context: Context, click: Click | None) -> None:
    vendor = made("tracify")
    assert vendor.capture(context) == click
    assert click is None or vendor.read_click(click) == click


def test_no_person_is_captured() -> None:
    captured = json.dumps(dict(made("tracify").capture(WHOLE) or {}))
    for raw in (WHOLE.email, WHOLE.ip, WHOLE.user_agent):
        assert raw not in captured


def test_others_capture_nothing() -> None:
    for name in ("taapit", "codeqr", "trackdesk", "tapfiliate"):
        assert made(name).capture(WHOLE) is None


LANDINGS: list[tuple[str, str, Click | None]] = [
    ("taapit", "ta_tid=rLnWe1uz9t282v7g&utm_source=x", {"click_id": "rLnWe1uz9t282v7g"}),
    ("taapit", "tid=1", None),
    ("codeqr", "cq_id=clk_1", {"click_id": "clk_1"}),
    ("codeqr", "dub_id=clk_2", {"click_id": "clk_2"}),
    ("codeqr", "dub_id=clk_2&cq_id=clk_1", {"click_id": "clk_1"}),
    ("trackdesk", "cid=2c1f6f0e", {"cid": "2c1f6f0e"}),
    ("tapfiliate", "ref=jane", {"referral_code": "jane"}),
    ("tapfiliate", "ref=jane&click_id=c1", {"click_id": "c1"}),
    ("tapfiliate", "tap_a=1-a&tap_s=2-s&ref=jane", {"asset_id": "1-a", "source_id": "2-s"}),
    ("tapfiliate", "tap_a=1-a", None),
    ("tapfiliate", "tap_vid=v1", None),
    ("tapfiliate", "ref=jane&tm_sub=42&tmx=1", {"referral_code": "jane", "tm_sub": "42"}),
    (
        "tapfiliate",
        "click_id=c1&ref=jane&tm_a=1&tm_b=2",
        {"click_id": "c1", "tm_a": "1", "tm_b": "2"},
    ),
    ("tapfiliate", f"ref=jane&tm_a={'x' * 256}&tm_=1&tm_b-c=1&tm_d=+", {"referral_code": "jane"}),
    ("tapfiliate", "tm_sub=42", None),
    ("taapit", "ta_tid=a&tm_sub=42", {"click_id": "a"}),
    ("tracify", "trc_mcmp_id=1", None),
]


@pytest.mark.parametrize(("name", "query", "click"), LANDINGS)
def test_a_visitor_lands_with_a_click(name: str, query: str, click: Click | None) -> None:
    assert made(name).read_landing(dict(parse_qsl(query))) == click


@pytest.mark.parametrize(
    ("context", "carried", "landed"),
    [
        (Context(url="https://a.example/?ta_tid=in"), None, "in"),
        (Context(url="https://a.example/?ta_tid=in", metadata={"ta_tid": "kept"}), "kept", "in"),
        (Context(url="http://[broken?ta_tid=landed"), None, None),
        (Context(url=f"https://a.example/?ta_tid={'x' * 256}"), None, None),
    ],
)
def test_what_a_payment_carries_is_told_from_where_its_buyer_landed(
    context: Context, carried: str | None, landed: str | None
) -> None:
    paid = identify(replace(sale(), context=context), {"taapit": made("taapit")}, Rules())
    assert paid.clicks == ({"taapit": {"click_id": carried}} if carried else {})
    assert paid.landed == ({"taapit": {"click_id": landed}} if landed else {})
