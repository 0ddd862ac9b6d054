"""Asking Paddle for a transaction that never arrived, of a stand-in over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cases import CASES, Case, case_of, event_of
from http_stand_in import closed_url, hanging_url
from hypothesis import given
from hypothesis import strategies as st
from paddle_stand_in import PaddleStandIn, paddle_stand_in, refusal

from bridge.errors import ProviderApiError
from bridge.provider_api import base, key_setting, open_api
from bridge.provider_api.paddle import PaddleApi
from bridge.providers.paddle import Paddle, PaddleSettings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = "pdl_live_apikey_madeUpForTests"
SALE = "paddle/transaction.completed"


def thing_of(name: str) -> dict[str, Any]:
    thing: dict[str, Any] = json.loads(case_of(name).body)["data"]
    return thing


TRANSACTION = thing_of(SALE)
CUSTOMER = thing_of("paddle/customer.updated") | {"id": TRANSACTION["customer_id"]}
ID = TRANSACTION["id"]
SALES = [each for each in CASES if str(each).partition("@")[0] == SALE]


@pytest.fixture
def stand_in() -> Iterator[PaddleStandIn]:
    with paddle_stand_in() as running:
        yield running


@pytest.fixture
def api(stand_in: PaddleStandIn) -> Iterator[PaddleApi]:
    with_key = api_at(stand_in.url)
    yield with_key
    with_key.close()


def settings(**given: Any) -> PaddleSettings:
    return PaddleSettings(webhook_secret="pdl_ntfset_made_up", **given)


def api_at(url: str, **given: Any) -> PaddleApi:
    return PaddleApi(settings(api_base=url, **given), KEY)


# ── looking up ───────────────────────────────────────────────────────────────────────────────────


def test_a_look_up_asks_for_the_transaction_and_who_paid(
    stand_in: PaddleStandIn, api: PaddleApi
) -> None:
    stand_in.know(TRANSACTION, CUSTOMER)

    sale, customer = api.look_up(ID, "", NOW)

    assert stand_in.paths == [f"/transactions/{ID}", f"/customers/{CUSTOMER['id']}"]
    for asked in stand_in.asked:
        assert asked.method == "GET"
        assert asked.headers["Authorization"] == f"Bearer {KEY}"
        assert asked.headers["Paddle-Version"] == "1"
    assert (sale.id, sale.type) == (
        f"fetched_{ID}_{TRANSACTION['updated_at']}",
        "transaction.completed",
    )
    assert (sale.fetched, sale.test, sale.ignored) == (True, False, "")
    assert sale.occurred_at == datetime.fromisoformat(TRANSACTION["updated_at"])
    assert (customer.id, customer.type) == (
        f"fetched_{CUSTOMER['id']}_{CUSTOMER['updated_at']}",
        "customer.updated",
    )
    assert customer.fetched
    assert KEY not in sale.body + customer.body


@pytest.mark.parametrize("case", SALES, ids=str)
def test_what_is_looked_up_means_what_its_webhook_would(
    stand_in: PaddleStandIn, api: PaddleApi, case: Case
) -> None:
    reader = Paddle(settings())
    sent = json.loads(case.body)
    transaction = sent["data"] | {"updated_at": sent["occurred_at"]}
    stand_in.know(transaction)

    (found,) = api.look_up(transaction["id"], "", NOW)

    sent |= {"event_id": "evt_1", "notification_id": "ntf_1"}
    assert reader.normalise(found) == reader.normalise(event_of(reader, json.dumps(sent)))


@pytest.mark.parametrize("hidden", [True, False])
def test_a_customer_that_cannot_be_read_keeps_no_sale_back(
    stand_in: PaddleStandIn, api: PaddleApi, hidden: bool
) -> None:
    stand_in.know(TRANSACTION, *([CUSTOMER] if hidden else []))
    stand_in.hidden = {"customers"} if hidden else set()

    (sale,) = api.look_up(ID, "", NOW)

    assert sale.type == "transaction.completed"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, json.dumps(refusal("x", "slow down"))),
        (500, json.dumps(refusal("x", "oh no"))),
        (400, json.dumps(refusal("x", "unfit"))),
        (200, "<html>"),
        (200, json.dumps({"data": 7})),
        (200, json.dumps({"data": CUSTOMER | {"id": "ctm_another"}})),
        (200, json.dumps({"data": CUSTOMER | {"updated_at": "yesterday"}})),
    ],
)
def test_a_customer_who_cannot_be_had_loses_no_sale(
    stand_in: PaddleStandIn, api: PaddleApi, status: int, body: str
) -> None:
    stand_in.know(TRANSACTION)
    stand_in.faults["customers"] = (status, body.encode())

    (sale,) = api.look_up(ID, "", NOW)

    assert sale.type == "transaction.completed"
    assert len(stand_in.asked) == 2


def test_a_later_answer_is_another_event(stand_in: PaddleStandIn, api: PaddleApi) -> None:
    ids = []
    for changed in ({}, {}, {"updated_at": "2026-11-20T12:00:00.000001Z"}):
        stand_in.know(TRANSACTION | changed | {"customer_id": None})
        (sale,) = api.look_up(ID, "", NOW)
        ids.append(sale.id)
    assert ids[0] == ids[1] != ids[2]


def test_a_transaction_of_nobody_is_a_sale(stand_in: PaddleStandIn, api: PaddleApi) -> None:
    stand_in.know(TRANSACTION | {"customer_id": None})
    assert len(api.look_up(ID, "", NOW)) == 1
    assert stand_in.paths == [f"/transactions/{ID}"]


@pytest.mark.parametrize("status", ["draft", "ready", "billed", "paid", "canceled", "past_due", 7])
def test_what_is_not_completed_is_no_sale_yet(
    stand_in: PaddleStandIn, api: PaddleApi, status: object
) -> None:
    stand_in.know(TRANSACTION | {"status": status}, CUSTOMER)
    assert api.look_up(ID, "", NOW) == []
    assert len(stand_in.asked) == 1


def test_nothing_is_known_of_a_stranger(api: PaddleApi) -> None:
    assert api.look_up("txn_stranger", "", NOW) == []


def test_an_id_cannot_lead_elsewhere(stand_in: PaddleStandIn, api: PaddleApi) -> None:
    assert api.look_up("txn_1/../../customers?x=1", "", NOW) == []
    (asked,) = stand_in.asked
    assert asked.path.startswith("/transactions/")
    assert not asked.args


def test_the_sandbox_is_a_test(stand_in: PaddleStandIn) -> None:
    stand_in.know(TRANSACTION)
    api = api_at(stand_in.url, environment="sandbox")
    (found,) = api.look_up(ID, "", NOW)
    assert found.test
    api.close()


def test_paddle_is_asked_where_its_environment_lies() -> None:
    urls = [PaddleApi(settings(environment=each), KEY)._url for each in ("live", "sandbox")]
    assert urls == ["https://api.paddle.com", "https://sandbox-api.paddle.com"]


def test_half_an_emoji_stops_nobody(stand_in: PaddleStandIn, api: PaddleApi) -> None:
    stand_in.know(TRANSACTION | {"custom_data": {"note": "\ud83d"}})
    (found,) = api.look_up(ID, "", NOW)
    assert Paddle(settings()).normalise(found)


# ── no answer ────────────────────────────────────────────────────────────────────────────────────

WRONG_KEY = refusal("forbidden", f"the key {KEY} is not allowed")


@pytest.mark.parametrize(
    ("status", "body", "says", "retry"),
    [
        pytest.param(401, WRONG_KEY, "check PADDLE_API_KEY", True, id="wrong key"),
        pytest.param(403, WRONG_KEY, "check PADDLE_API_KEY", True, id="restricted key"),
        pytest.param(429, refusal("x", "slow down"), "429 slow down", True, id="too often"),
        pytest.param(500, refusal("x", "oh no"), "did not answer: HTTP 500", True, id="theirs"),
        pytest.param(503, {}, "did not answer", True, id="theirs, without words"),
        pytest.param(400, refusal("x", "unfit"), "refused.*400 unfit", False, id="ours"),
        pytest.param(422, {"error": "odd"}, "refused the question", False, id="ours, oddly"),
        pytest.param(200, [], "cannot be read", True, id="a list"),
        pytest.param(200, {"data": 7}, "cannot be read", True, id="a number"),
        pytest.param(200, {"data": {"id": "txn_1"}}, "got another", True, id="another one"),
        pytest.param(200, {"data": {"id": ID, "status": "completed"}}, "read", True, id="no time"),
        pytest.param(204, "", "did not answer: HTTP 204", True, id="nothing"),
    ],
)
def test_no_answer_is_explained(
    stand_in: PaddleStandIn, api: PaddleApi, status: int, body: object, says: str, retry: bool
) -> None:
    stand_in.fault = (status, json.dumps(body).encode())

    with pytest.raises(ProviderApiError, match=says) as raised:
        api.look_up(ID, "", NOW)

    assert raised.value.retry is retry
    assert str(raised.value).startswith("Paddle ")
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("body", [b"<html>" + b"x" * 10_000, b"", b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize("status", [200, 500])
def test_garbage_is_no_answer(
    stand_in: PaddleStandIn, api: PaddleApi, status: int, body: bytes
) -> None:
    stand_in.fault = (status, body)

    with pytest.raises(ProviderApiError) as raised:
        api.look_up(ID, "", NOW)

    assert raised.value.retry
    assert len(str(raised.value)) < 400


def test_the_key_goes_nowhere_else(stand_in: PaddleStandIn, api: PaddleApi) -> None:
    with paddle_stand_in() as elsewhere:
        stand_in.fault = (302, b"")
        stand_in.headers = {"Location": elsewhere.url}
        with pytest.raises(ProviderApiError, match="did not answer: HTTP 302"):
            api.look_up(ID, "", NOW)
        assert elsewhere.asked == []


def test_proxies_of_the_machine_are_not_asked(
    stand_in: PaddleStandIn, api: PaddleApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", closed_url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert api.look_up("txn_stranger", "", NOW) == []


def test_a_host_that_is_down_is_asked_again() -> None:
    api = api_at(closed_url())
    with pytest.raises(ProviderApiError, match="Paddle did not answer") as raised:
        api.look_up(ID, "", NOW)
    assert raised.value.retry
    api.close()


def test_a_host_that_hangs_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "READ_SECONDS", 0.05)
    with hanging_url() as url:
        api = api_at(url)
        with pytest.raises(ProviderApiError, match="Paddle did not answer") as raised:
            api.look_up(ID, "", NOW)
        assert raised.value.retry
        api.close()


@pytest.mark.parametrize("key", ["pdl_ключ", "pdl_1\nX-Other: 1"])
def test_what_is_no_key_is_not_sent(stand_in: PaddleStandIn, key: str) -> None:
    api = PaddleApi(settings(api_base=stand_in.url), key)
    with pytest.raises(ProviderApiError, match="no key has") as raised:
        api.look_up(ID, "", NOW)
    assert (raised.value.retry, key in str(raised.value)) == (False, False)
    assert stand_in.asked == []
    api.close()


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(TRANSACTION)), ODD, max_size=4))
def test_an_odd_answer_is_an_event_or_no_answer(changes: dict[str, Any]) -> None:
    body = json.dumps({"data": TRANSACTION | {"customer_id": None} | changes})
    with paddle_stand_in() as stand_in:
        stand_in.fault = (200, body.encode())
        api = api_at(stand_in.url)
        try:
            found = api.look_up(ID, "", NOW)
        except ProviderApiError:
            found = []
        finally:
            api.close()
    assert all(each.fetched for each in found)


# ── who can be asked ─────────────────────────────────────────────────────────────────────────────


def test_only_a_paddle_with_a_key_can_be_asked() -> None:
    assert open_api(Paddle(settings())) is None
    with_key = open_api(Paddle(settings(api_key=KEY)))
    assert isinstance(with_key, PaddleApi)
    with_key.close()
    assert key_setting("paddle") == "PADDLE_API_KEY"


def test_paddle_is_not_asked_to_fetch(api: PaddleApi) -> None:
    event = event_of(Paddle(settings()), case_of(SALE).body)
    with pytest.raises(ProviderApiError, match="leaves nothing out") as raised:
        api.fetch(event, NOW)
    assert not raised.value.retry
