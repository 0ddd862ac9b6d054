"""POST /clicks: who may, what is taken, what is refused, and what is never kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit import API_KEY, VENDOR_SETTINGS
from pages import store
from werkzeug.test import TestResponse

from bridge import config, vendors
from bridge.attribution import StoredClick
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app

__all__ = ["store"]

CUSTOMER = {"external_id": "user_123", "stripe": "cus_123"}
CONTEXT = {
    "ip": "203.0.113.77",
    "user_agent": "Mozilla/5.0 (made up for tests)",
    "url": "https://shop.example/landing?utm_source=x",
    "referrer": "https://search.example/",
}
EMAIL = "Jane.Doe@example.com"
KNOWN = sorted(vendors.discover())
# What each vendor's click may look like; a string, where it may be one, is its click id.
CLICKS: dict[str, list[object]] = {
    "taapit": ["rLnWe1uz9t282v7g", {"click_id": "rLnWe1uz9t282v7g"}],
    "codeqr": ["clk_1", {"click_id": "clk_1"}],
    "trackdesk": ["2c1f6f0e-5a0d-4b6e-9c55-0f6a4d1f2b3c", {"cid": "c_1"}, {"external_cid": "x_1"}],
    "tapfiliate": [
        "click_1",
        {"click_id": "click_1"},
        {"referral_code": "jane"},
        {"coupon": "JANE10"},
        {"asset_id": "a_1", "source_id": "s_1"},
    ],
    "tracify": [{}, {"utm_source": "newsletter"}],
}
KINDS = [(vendor, click) for vendor in KNOWN for click in CLICKS.get(vendor, ())]


@pytest.fixture
def client(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """A bridge on which every vendor is on."""
    for name, value in {"BRIDGE_API_KEY": API_KEY, **VENDOR_SETTINGS}.items():
        monkeypatch.setenv(name, value)
    return create_app(config.load(), store).test_client()


@pytest.fixture
def without_vendors(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setenv("BRIDGE_API_KEY", API_KEY)
    return create_app(config.load(), store).test_client()


def post(client: FlaskClient, body: object, key: str = f"Bearer {API_KEY}") -> TestResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": key} if key else {}
    return client.post("/clicks", data=raw, headers=headers, content_type="application/json")


def body(**changed: object) -> dict[str, Any]:
    return {"customer": CUSTOMER, "clicks": {KNOWN[0]: "click_1"}, **changed}


def stored(store: SqliteStore) -> list[StoredClick]:
    return store.customers.clicks(store.customers.aliases(["external_id:user_123"]))


def fields_of(answer: TestResponse) -> dict[str, str]:
    """Return the message per field of a refusal, which has the one form of errors."""
    assert answer.status_code == 422, answer.get_data(as_text=True)
    (name,) = answer.get_json()
    assert name == "error"
    error = answer.get_json()["error"]
    assert error["code"] == "invalid"
    assert all(field in error["message"] for field in error["fields"])
    fields: dict[str, str] = error["fields"]
    return fields


# ── who may ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="none"),
        pytest.param("Bearer", id="no key"),
        pytest.param("Bearer ", id="blank key"),
        pytest.param(f"Bearer {API_KEY}x", id="longer"),
        pytest.param(f"Bearer {API_KEY[:-1]}", id="shorter"),
        pytest.param(f"Bearer {API_KEY.upper()}", id="other case"),
        pytest.param(f"Basic {API_KEY}", id="other scheme"),
        pytest.param(API_KEY, id="no scheme"),
        pytest.param("Bearer \xe9", id="not ascii"),
    ],
)
def test_a_missing_or_wrong_key_is_refused(
    client: FlaskClient, store: SqliteStore, key: str
) -> None:
    answer = post(client, body(), key)
    assert answer.status_code == 401
    error = answer.get_json()["error"]
    assert error["code"] == "unauthorized"
    assert "BRIDGE_API_KEY" in error["message"]
    assert API_KEY not in answer.get_data(as_text=True)
    assert stored(store) == []


@pytest.mark.parametrize("key", [f"bearer {API_KEY}", f"Bearer  {API_KEY} "])
def test_the_scheme_is_written_in_any_case(client: FlaskClient, key: str) -> None:
    assert post(client, body(), key).status_code == 201


def test_the_key_comes_before_the_body(client: FlaskClient) -> None:
    assert post(client, b"{", "Bearer wrong").status_code == 401


def test_without_a_key_of_its_own_the_click_api_is_off(store: SqliteStore) -> None:
    client = create_app(config.load(), store).test_client()
    for key in ("", "Bearer ", "Bearer x"):
        answer = post(client, body(), key)
        assert answer.status_code == 404
        assert answer.get_json()["error"]["code"] == "not_configured"
        assert "BRIDGE_API_KEY" in answer.get_json()["error"]["message"]


def test_only_post_is_allowed(client: FlaskClient) -> None:
    answer = client.get("/clicks")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (405, "method_not_allowed")


# ── what is taken ────────────────────────────────────────────────────────────────────────────────


def test_the_answer_repeats_what_was_taken(client: FlaskClient, store: SqliteStore) -> None:
    given = body(customer={**CUSTOMER, "email": EMAIL}, context=CONTEXT)
    answer = post(client, given)
    assert answer.status_code == 201
    assert answer.get_json() == {"customer": given["customer"], "clicks": given["clicks"]}
    assert KNOWN[0] in {each.vendor for each in stored(store)}


@pytest.mark.parametrize(("vendor", "click"), KINDS)
def test_every_kind_of_click_is_taken(
    client: FlaskClient, store: SqliteStore, vendor: str, click: object
) -> None:
    answer = post(client, body(clicks={vendor: click}))
    assert answer.status_code == 201, answer.get_data(as_text=True)
    assert answer.get_json()["clicks"] == {vendor: click}
    (kept,) = stored(store)
    assert kept.vendor == vendor
    assert isinstance(kept.value, dict)


@pytest.mark.parametrize(("vendor", "click"), KINDS)
def test_a_click_for_a_vendor_that_is_off_is_kept_for_when_it_is_on(
    without_vendors: FlaskClient, store: SqliteStore, vendor: str, click: object
) -> None:
    assert post(without_vendors, body(clicks={vendor: click})).status_code == 201
    (kept,) = stored(store)
    assert (kept.vendor, kept.value) == (vendor, click)


def test_surrounding_blanks_are_no_part_of_an_id(client: FlaskClient, store: SqliteStore) -> None:
    given = body(customer={"external_id": "  user_123\n"}, clicks={KNOWN[0]: " click_1 "})
    answer = post(client, given)
    assert answer.status_code == 201
    assert answer.get_json()["customer"] == {"external_id": "user_123"}
    (kept,) = stored(store)
    assert "click_1" in kept.value.values()  # type: ignore[attr-defined]


def test_an_id_may_have_255_characters(client: FlaskClient) -> None:
    given = {"customer": {"external_id": "u" * 255}, "clicks": {KNOWN[0]: "c" * 255}}
    assert post(client, given).status_code == 201


def test_ids_that_arrive_together_are_aliases(client: FlaskClient, store: SqliteStore) -> None:
    post(client, {"customer": CUSTOMER})
    assert set(store.customers.aliases(["stripe:cus_123"])) == {
        "external_id:user_123",
        "stripe:cus_123",
    }


def test_posting_twice_changes_nothing(client: FlaskClient, store: SqliteStore) -> None:
    at = "2026-11-20T12:00:00+01:00"
    for given in (body(), body(occurred_at=at), body(), body(occurred_at=at)):
        assert post(client, given).status_code == 201
    kept = stored(store)
    assert len(kept) == 2
    assert {each.exact for each in kept} == {True, False}
    assert datetime(2026, 11, 20, 11, tzinfo=UTC) in {each.captured_at for each in kept}


def test_a_time_in_the_future_is_now(client: FlaskClient, store: SqliteStore) -> None:
    ahead = datetime.now(UTC) + timedelta(days=2)
    assert post(client, body(occurred_at=ahead.isoformat())).status_code == 201
    (kept,) = stored(store)
    assert abs(kept.captured_at - datetime.now(UTC)) < timedelta(minutes=1)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param(b"", "body", id="empty"),
        pytest.param(b"{", "body", id="broken JSON"),
        pytest.param(b"\xff", "body", id="not UTF-8"),
        pytest.param(b'{"customer":' * 2_000, "body", id="deep"),
        pytest.param(b'{"customer": {"stripe": "a\\u0000b"}}', "customer.stripe", id="NUL"),
        pytest.param(b'{"customer": {"stripe": "a\\ud800b"}}', "body", id="half a character"),
        pytest.param([], "body", id="an array"),
        pytest.param(7, "body", id="a number"),
        pytest.param(None, "body", id="null"),
        pytest.param({}, "customer", id="no customer"),
        pytest.param({"customer": {}}, "customer", id="no id"),
        pytest.param({"customer": {"stripe": None}}, "customer", id="a null id"),
        pytest.param({"customer": "user_123"}, "customer", id="a string for a customer"),
        pytest.param({"customer": {"stripe": ""}}, "customer.stripe", id="an empty id"),
        pytest.param({"customer": {"stripe": "  "}}, "customer.stripe", id="a blank id"),
        pytest.param({"customer": {"stripe": 7}}, "customer.stripe", id="a number for an id"),
        pytest.param({"customer": {"stripe": ["a"]}}, "customer.stripe", id="a list for an id"),
        pytest.param({"customer": {"stripe": "c" * 256}}, "customer.stripe", id="a long id"),
        pytest.param({"customer": {"email": "e" * 256}}, "customer.email", id="a long e-mail"),
        pytest.param(body(customer={"name": "x"}), "customer.name", id="an unknown id"),
        pytest.param(body(extra=1), "extra", id="an unknown field"),
        pytest.param(body(clicks=[]), "clicks", id="a list for clicks"),
        pytest.param(body(clicks=None), "clicks", id="null for clicks"),
        pytest.param(body(clicks={"nobody": "x"}), "clicks.nobody", id="an unknown vendor"),
        pytest.param(body(context={"screen": "x"}), "context.screen", id="an unknown context"),
        pytest.param(body(context={"ip": 7}), "context.ip", id="a number for an address"),
        pytest.param(body(context={"url": "u" * 4097}), "context.url", id="a long address"),
        pytest.param(body(context="x"), "context", id="a string for context"),
        pytest.param(body(occurred_at="2026-11-20T12:00:00"), "occurred_at", id="no zone"),
        pytest.param(body(occurred_at="yesterday"), "occurred_at", id="no time"),
        pytest.param(body(occurred_at=1_794_823_440), "occurred_at", id="a number for a time"),
        pytest.param(body(occurred_at="0001-01-01T00:00:00+14:00"), "occurred_at", id="long ago"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(
    client: FlaskClient, store: SqliteStore, given: object, field: str
) -> None:
    assert list(fields_of(post(client, given))) == [field]
    assert stored(store) == []


@pytest.mark.parametrize("vendor", KNOWN)
@pytest.mark.parametrize("click", [7, None, [], "", "  ", "c" * 256, {"mystery": "x"}, {"a": 7}])
def test_a_click_of_the_wrong_shape_is_named_by_its_vendor(
    client: FlaskClient, store: SqliteStore, vendor: str, click: object
) -> None:
    assert list(fields_of(post(client, body(clicks={vendor: click})))) == [f"clicks.{vendor}"]
    assert stored(store) == []


@pytest.mark.parametrize(
    "click",
    [
        7,
        None,
        [],
        "",
        "c" * 256,
        {"a": 7},
        {"a": "c" * 4097},
        {"n" * 256: "c"},
        {f"kind_{number}": "c" for number in range(21)},
    ],
)
def test_a_click_for_a_vendor_that_is_off_has_its_limits_too(
    without_vendors: FlaskClient, click: object
) -> None:
    answer = post(without_vendors, body(clicks={KNOWN[0]: click}))
    assert list(fields_of(answer)) == [f"clicks.{KNOWN[0]}"]


def test_everything_wrong_is_told_at_once(client: FlaskClient) -> None:
    given = {"customer": {"stripe": 7, "x": 1}, "context": {"ip": 7}, "y": 1}
    assert set(fields_of(post(client, given))) == {
        "customer.stripe",
        "customer.x",
        "context.ip",
        "y",
    }
    many = dict.fromkeys((*KNOWN, "nobody"), 7)
    assert set(fields_of(post(client, body(clicks=many)))) == {f"clicks.{name}" for name in many}


@pytest.mark.parametrize(
    "wrong", [{"extra": 1}, {"occurred_at": "soon"}, {"clicks": {"nobody": EMAIL}}, {"clicks": []}]
)
def test_a_refusal_repeats_no_personal_data(client: FlaskClient, wrong: dict[str, object]) -> None:
    customer = {**CUSTOMER, "email": EMAIL}
    answer = post(client, {"customer": customer, "context": CONTEXT, **wrong})
    assert fields_of(answer)
    said = answer.get_data(as_text=True)
    assert not [each for each in (EMAIL, *CONTEXT.values()) if each in said]


@pytest.mark.parametrize("field", ["ip", "user_agent", "email"])
def test_a_refusal_repeats_no_wrong_value(client: FlaskClient, field: str) -> None:
    value = "jane@example.com" * 500
    given = {"customer": {"email": value}} if field == "email" else body(context={field: value})
    answer = post(client, given)
    assert fields_of(answer)
    assert "jane" not in answer.get_data(as_text=True)


# ── what is never kept ───────────────────────────────────────────────────────────────────────────


def raw(store: SqliteStore) -> bytes:
    """Return every byte of the database, and of what is not yet in its main file."""
    path = Path(store.path)
    return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))


def test_who_was_seen_is_nowhere_in_the_database(client: FlaskClient, store: SqliteStore) -> None:
    given = body(
        customer={**CUSTOMER, "email": EMAIL},
        clicks={vendor: kinds[0] for vendor, kinds in CLICKS.items() if vendor in KNOWN},
        context=CONTEXT,
    )
    assert post(client, given).status_code == 201

    data = raw(store)
    assert b"user_123" in data  # it is the right file
    for personal in (EMAIL, EMAIL.lower(), CONTEXT["ip"], CONTEXT["user_agent"]):
        assert personal.encode() not in data


@pytest.mark.skipif("tracify" not in KNOWN, reason="no vendor that captures")
def test_what_is_captured_is_kept_but_not_answered(client: FlaskClient, store: SqliteStore) -> None:
    answer = post(client, body(clicks={"tracify": {"utm_source": "mine"}}, context=CONTEXT))
    assert answer.get_json()["clicks"] == {"tracify": {"utm_source": "mine"}}
    (kept,) = stored(store)
    assert isinstance(kept.value, dict)
    assert kept.value["utm_source"] == "mine"
    assert kept.value.keys() > {"ip_hash", "user_agent_hash"}


def test_a_store_that_fails_is_answered_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_API_KEY", API_KEY)
    store = SqliteStore(str(tmp_path / "not" / "here.db"))
    answer = post(create_app(config.load(), store).test_client(), body())
    assert answer.status_code == 503
    assert answer.get_json()["error"]["code"] == "store_unavailable"
    store.close()
