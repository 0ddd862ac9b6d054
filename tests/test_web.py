"""The web: webhooks are verified, put on disk, and answered in the words of the interface."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from kit import body_of
from signed import (
    BODY,
    EVENT_ID,
    OLD_SECRET,
    ROUTE,
    SECRET,
    client_of,
    error_of,
    migrated,
    post,
    stored,
    v1,
)
from werkzeug.test import EnvironBuilder, run_wsgi_app

from bridge import config
from bridge.store.rows import EventState
from bridge.store.sqlite import SqliteStore
from bridge.web import create_app
from bridge.web.state import MAX_BODY


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with migrated(tmp_path / "bridge.db") as opened:
        yield opened


@pytest.fixture
def client(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    return client_of(store, monkeypatch)


# ── taken ────────────────────────────────────────────────────────────────────────────────────────


def test_a_signed_webhook_is_stored_as_it_came(client: FlaskClient, store: SqliteStore) -> None:
    answer = post(client)

    assert answer.status_code == 200
    assert answer.get_json() == {"status": "stored", "id": EVENT_ID}
    (row,) = store.events.newest()
    assert (row.event.body, row.state) == (BODY, EventState.RECEIVED)


def test_a_second_delivery_is_a_duplicate(client: FlaskClient, store: SqliteStore) -> None:
    post(client)
    answer = post(client)
    assert (answer.status_code, answer.get_json()["status"]) == (200, "duplicate")
    assert len(stored(store)) == 1


def test_the_same_event_of_two_accounts_is_no_duplicate(
    client: FlaskClient, store: SqliteStore
) -> None:
    for account in ("acct_1", "acct_2"):
        body = json.dumps({**json.loads(BODY), "account": account})
        assert post(client, body).get_json()["status"] == "stored"
    assert len(stored(store)) == 2


def test_an_unused_type_is_kept_and_ignored(client: FlaskClient, store: SqliteStore) -> None:
    answer = post(client, body_of("product.updated"))
    assert (answer.status_code, answer.get_json()["status"]) == (200, "ignored")
    (row,) = store.events.newest()
    assert row.state is EventState.IGNORED
    assert "product.updated" in row.reason


def test_a_thin_event_is_stored(client: FlaskClient) -> None:
    answer = post(client, body_of("v1.charge.refunded"))
    assert (answer.status_code, answer.get_json()["status"]) == (200, "stored")


@pytest.mark.parametrize("age", [295, 0, -295])
def test_a_signature_within_its_tolerance_is_taken(client: FlaskClient, age: int) -> None:
    header = v1(BODY.encode(), at=int(time.time()) - age)
    assert post(client, header=header).status_code == 200


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_each_secret_is_taken_while_rotating(client: FlaskClient, secret: str) -> None:
    assert post(client, header=v1(BODY.encode(), secret)).status_code == 200


def test_one_good_signature_of_several_is_enough(client: FlaskClient) -> None:
    moment = int(time.time())
    good = v1(BODY.encode(), at=moment).partition(",")[2]
    header = f"t={moment},v0={'0' * 64},v1={'0' * 64},{good},v2=x"
    assert post(client, header=header).status_code == 200


# ── refused ──────────────────────────────────────────────────────────────────────────────────────

RAW = BODY.encode()


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("nonsense", id="nonsense"),
        pytest.param("t=,v1=", id="empty parts"),
        pytest.param("t=now,v1=00", id="no time"),
        pytest.param(f"t={int(time.time())}", id="no signature"),
        pytest.param("v1=" + "0" * 64, id="no t"),
        pytest.param(",=,=,", id="commas"),
        pytest.param(f"t={int(time.time())},v1=\xe9", id="not ascii"),
        pytest.param(f"t={int(time.time())},v1=" + "0" * 64, id="wrong"),
        pytest.param(v1(RAW, scheme="v0"), id="wrong scheme"),
        pytest.param(v1(RAW, "whsec_a_third"), id="another secret"),
        pytest.param(v1(RAW, f"{SECRET}, {OLD_SECRET}"), id="the whole setting"),
        pytest.param(v1(RAW, ""), id="no secret"),
        pytest.param(v1(RAW + b" "), id="another body"),
        pytest.param(v1(RAW).replace("t=", "t=1"), id="another time"),
    ],
)
def test_a_bad_signature_is_refused(client: FlaskClient, store: SqliteStore, header: str) -> None:
    answer = post(client, header=header)
    assert answer.status_code == 400
    error = error_of(answer)
    assert error["code"] == "bad_signature"
    assert "STRIPE_WEBHOOK_SECRET" in error["message"]
    assert stored(store) == []


def test_a_missing_signature_is_refused(client: FlaskClient, store: SqliteStore) -> None:
    answer = client.post(ROUTE, data=BODY)
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "missing_signature"
    assert "STRIPE_WEBHOOK_SECRET" in error_of(answer)["message"]
    assert stored(store) == []


@pytest.mark.parametrize(("age", "says"), [(301, "old"), (-305, "in the future")])
def test_a_signature_outside_its_tolerance_is_refused(
    client: FlaskClient, store: SqliteStore, age: int, says: str
) -> None:
    answer = post(client, header=v1(RAW, at=int(time.time()) - age))
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "stale_signature"
    assert says in error_of(answer)["message"]
    assert "clock" in error_of(answer)["message"]
    assert stored(store) == []


def _with(**changed: Any) -> str:
    return json.dumps({**json.loads(BODY), **changed})


def _without(name: str) -> str:
    return json.dumps({key: each for key, each in json.loads(BODY).items() if key != name})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
        pytest.param(b"{", id="broken"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"7", id="number"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"evt_1"', id="string"),
        pytest.param(b"{}", id="empty object"),
        pytest.param(b"[" * 10_000, id="deep arrays"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="deep objects"),
        pytest.param(b'{"id": NaN}', id="NaN"),
        pytest.param(_without("id"), id="no id"),
        pytest.param(_without("type"), id="no type"),
        pytest.param(_without("created"), id="no created"),
        pytest.param(_with(id=None), id="null id"),
        pytest.param(_with(id=""), id="blank id"),
        pytest.param(_with(id=7), id="number as id"),
        pytest.param(_with(id=["evt_1"]), id="list as id"),
        pytest.param(_with(type={}), id="object as type"),
        pytest.param(_with(created=None), id="null created"),
        pytest.param(_with(created=True), id="true created"),
        pytest.param(_with(created=1.5), id="fraction created"),
        pytest.param(_with(created="yesterday"), id="words created"),
        pytest.param(_with(created="2026-11-20T12:00:00"), id="created without zone"),
        pytest.param(_with(created=-1), id="created before 1970"),
        pytest.param(_with(created=1_794_823_440_000), id="created in milliseconds"),
        pytest.param(_with(created=10**30), id="created beyond time"),
        pytest.param('{"id": "evt_1", "created": %s}' % ("9" * 5_000), id="huge int"),
        pytest.param(_with(created=0)[:-2] + "1e" + "9" * 30 + "}", id="huge exponent"),
    ],
)
def test_what_is_signed_but_unreadable_is_refused(
    client: FlaskClient, store: SqliteStore, body: str | bytes
) -> None:
    answer = post(client, body)
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "unreadable"
    assert len(error_of(answer)["message"]) < 200
    assert stored(store) == []


def test_text_that_no_database_takes_is_mended(client: FlaskClient, store: SqliteStore) -> None:
    assert post(client, _with(id="evt_\ud800\0")).status_code == 200
    assert [each.id for each in stored(store)] == ["evt_??"]


def test_a_body_of_5_mib_is_read(client: FlaskClient, store: SqliteStore) -> None:
    padding = MAX_BODY - len(_with(padding=""))
    body = _with(padding="x" * padding)
    assert len(body) == MAX_BODY == 5 * 1024 * 1024

    assert post(client, body).status_code == 200
    assert len(stored(store)) == 1


@pytest.mark.parametrize(("body", "status"), [(BODY.encode(), 200), (b" " * (MAX_BODY + 1), 413)])
def test_a_body_without_a_length_is_measured(
    client: FlaskClient, store: SqliteStore, body: bytes, status: int
) -> None:
    answer = client.post(ROUTE, input_stream=BytesIO(body), headers={"Stripe-Signature": v1(body)})
    assert answer.status_code == status
    assert len(stored(store)) == (status == 200)


@pytest.mark.parametrize("size", [MAX_BODY + 1, 6 * 1024 * 1024])
def test_a_larger_body_is_refused(client: FlaskClient, store: SqliteStore, size: int) -> None:
    answer = post(client, b" " * size)
    assert answer.status_code == 413
    assert error_of(answer) == {
        "code": "too_large",
        "message": "the body is larger than 5 MiB",
    }
    assert stored(store) == []


# ── routes ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/webhooks/nobody", "/webhooks/STRIPE", "/webhooks/paddle_x"])
def test_an_unknown_provider_is_not_found(client: FlaskClient, path: str) -> None:
    answer = client.post(path, data=BODY)
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "not_found"
    assert "/webhooks/stripe" in error_of(answer)["message"]


@pytest.mark.parametrize("path", ["/", "/webhooks", "/webhooks/", "/nothing", "/webhooks/a/b"])
def test_an_unknown_address_is_not_found(client: FlaskClient, path: str) -> None:
    answer = client.post(path, data=BODY)
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "not_found"


def test_a_provider_that_is_not_configured_names_its_setting(store: SqliteStore) -> None:
    client = create_app(config.load(), store).test_client()
    answer = client.post(ROUTE, data=BODY, headers={"Stripe-Signature": v1(RAW)})
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "not_configured"
    assert "STRIPE_WEBHOOK_SECRET" in error_of(answer)["message"]


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_only_post_is_allowed(client: FlaskClient, method: str) -> None:
    answer = client.open(ROUTE, method=method.upper())
    assert answer.status_code == 405
    assert error_of(answer)["code"] == "method_not_allowed"
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("path", [f"{ROUTE}/", f"/{ROUTE}", "//webhooks//stripe", f"{ROUTE}/?a=b"])
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
def test_nothing_is_redirected(client: FlaskClient, path: str, method: str) -> None:
    headers = {"Stripe-Signature": v1(RAW)}
    base = "http://bridge.example"
    answer = client.open(path, base_url=base, method=method, data=RAW, headers=headers)
    assert not 300 <= answer.status_code <= 399


def test_a_webhook_that_comes_to_flask_itself_is_taken_just_so(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SECRET)
    client = create_app(config.load(), store).test_client()
    assert [post(client).get_json()["status"] for _ in range(2)] == ["stored", "duplicate"]
    assert error_of(post(client, header="nonsense"))["code"] == "bad_signature"
    assert post(client, b" " * (MAX_BODY + 1)).status_code == 413


def test_a_body_that_is_broken_off_is_to_be_sent_again(
    client: FlaskClient, store: SqliteStore
) -> None:
    environ = EnvironBuilder(ROUTE, method="POST", data=RAW).get_environ()
    environ |= {"HTTP_STRIPE_SIGNATURE": v1(RAW), "CONTENT_LENGTH": str(len(RAW) + 1)}
    said, status, _ = run_wsgi_app(client.application, environ)
    assert status == "400 BAD REQUEST"
    assert b"send it again" in b"".join(said)
    assert stored(store) == []


def test_a_trailing_slash_makes_no_difference(client: FlaskClient) -> None:
    headers = {"Stripe-Signature": v1(RAW)}
    assert client.post(f"{ROUTE}/", data=RAW, headers=headers).status_code == 200


def test_a_mistake_of_ours_is_answered_as_an_error(
    client: FlaskClient, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(store, "events")
    answer = post(client)
    assert answer.status_code == 500
    assert error_of(answer)["code"] == "internal_error"


def test_a_refused_body_is_not_held_in_memory(client: FlaskClient) -> None:
    """Anybody can send one: nothing may keep it until the garbage is collected."""
    body = b'{"id": "' + b"x" * 2**21 + b'"}'
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(5):
            environ = EnvironBuilder("/webhooks/stripe", method="POST", data=body).get_environ()
            environ["HTTP_STRIPE_SIGNATURE"] = "t=1,v1=none"
            said, status, _ = run_wsgi_app(client.application, environ)
            assert status == "400 BAD REQUEST"
            assert b"bad_signature" in b"".join(said)
            del environ
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held < len(body)
