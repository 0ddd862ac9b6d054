"""POST /clicks and POST /leads with whatever people send: refused by field, and never kept."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import DROP, mutate
from pages import SERVER, Start, client, error_of, nothing_is_stored, post, start, store
from typing_in import bridge
from wrong_bodies import (
    ADDRESS,
    CASES,
    EMAIL,
    MOST_BYTES,
    PATHS,
    RIGHT,
    WHOLE,
    changed,
    is_personal,
)

from bridge import config
from bridge.intake import Intake
from bridge.store.rows import EventState
from bridge.store.sqlite import SqliteStore

__all__ = ["client", "start", "store"]


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", PATHS)
def test_the_right_body_is_right(client: FlaskClient, path: str) -> None:
    answer = post(client, SERVER, RIGHT, path=path)
    assert (answer.status_code, answer.get_json()["customer"]) == (201, RIGHT["customer"])


@pytest.mark.parametrize("path", PATHS)
def test_each_wrong_body_is_refused_by_its_field(
    client: FlaskClient, store: SqliteStore, path: str
) -> None:
    assert len(CASES) > 50
    for name, (body, field) in CASES.items():
        answer = post(client, SERVER, body, path=path)
        text = answer.get_data(as_text=True)
        assert answer.status_code == 422, (name, text)
        error = error_of(answer)
        assert error["code"] == "invalid"
        assert error["message"] == "; ".join(f"{at}: {why}" for at, why in error["fields"].items())
        assert list(error["fields"]) == [field], name
        assert (is_personal(text), len(text) < 2_000) == (False, True), (name, text)
    assert nothing_is_stored(store)
    assert store.events.newest() == []


OFF_CLICKS: dict[str, Any] = {
    "NUL": {"click_id": "a\0b"},
    "NUL in a name": {"click\0": "a"},
    "a bare NUL": "a\0b",
    "deep": {"a": {"b": {"c": "d"}}},
    "a list": {"a": ["x"]},
    "an e-mail": {"email": EMAIL},
    "an address": {"IP": ADDRESS},
    "many fields": {f"f{n}": "x" for n in range(21)},
    "nothing": "undefined",
}


@pytest.mark.parametrize("click", OFF_CLICKS.values(), ids=OFF_CLICKS)
def test_a_click_of_a_vendor_that_is_off_is_refused_likewise(
    start: Start, store: SqliteStore, click: object
) -> None:
    client = start(TAAPIT_API_KEY=None)
    answer = post(client, SERVER, changed("clicks.taapit", click))
    assert answer.status_code == 422
    assert list(error_of(answer)["fields"]) == ["clicks.taapit"]
    assert not is_personal(answer.get_data(as_text=True))
    assert nothing_is_stored(store)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [MOST_BYTES + 1, 10 * MOST_BYTES, 6 * 1024 * 1024])
def test_what_is_too_large_is_refused(
    client: FlaskClient, store: SqliteStore, path: str, size: int
) -> None:
    many = changed("clicks", {f"vendor_{n}": "x" for n in range(10_000)})
    for body in (WHOLE.encode().ljust(size), many):
        answer = post(client, SERVER, body, path=path)
        assert answer.status_code == 422
        assert error_of(answer)["fields"] == {"body": "is larger than 32 KiB"}
    assert nothing_is_stored(store)


@pytest.mark.parametrize(("size", "status"), [(MOST_BYTES, 201), (MOST_BYTES + 1, 422)])
def test_a_body_without_a_length_is_measured(client: FlaskClient, size: int, status: int) -> None:
    stream = BytesIO(WHOLE.encode().ljust(size))
    assert client.post("/clicks", input_stream=stream, headers=SERVER).status_code == status


def test_what_is_just_small_enough_is_read(client: FlaskClient) -> None:
    assert post(client, SERVER, WHOLE.encode().ljust(MOST_BYTES)).status_code == 201


@pytest.mark.parametrize("place", ["", "customer", "context"])
def test_of_very_many_wrong_fields_the_first_are_told(client: FlaskClient, place: str) -> None:
    wrong = {f"x{n}": 1 for n in range(2_000)}
    body = {**RIGHT, **wrong} if not place else {**RIGHT, place: {**RIGHT[place], **wrong}}
    error = error_of(post(client, SERVER, body))
    assert len(error["fields"]) == 50
    assert error["message"].endswith("and 1950 more")


def test_the_last_of_two_counts(client: FlaskClient) -> None:
    body = WHOLE.replace('"user_1"', '7, "external_id": "user_2"').encode()
    answer = post(client, SERVER, body)
    assert answer.get_json()["customer"]["external_id"] == "user_2"


@pytest.mark.parametrize("ahead", ["2099-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"])
def test_a_clock_that_runs_ahead_is_taken_as_now(
    client: FlaskClient, store: SqliteStore, ahead: str
) -> None:
    for path in PATHS:
        assert post(client, SERVER, changed("occurred_at", ahead), path=path).status_code == 201
    for each in store.customers.clicks(store.customers.aliases(["stripe:cus_1"])):
        assert each.captured_at <= datetime.now(UTC)


# ── whatever comes ───────────────────────────────────────────────────────────────────────────────

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # halves of characters too
NAMES = st.sampled_from([*RIGHT, *RIGHT["customer"], *RIGHT["clicks"], *RIGHT["context"], "", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXT, inner, max_size=4),
    max_leaves=10,
)
SHOWN = st.text(st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=255)
ODD = st.one_of(
    st.just(DROP),
    JSON,
    SHOWN,
    st.sampled_from(["-", "--json", "[/]", "[bold]x", "%", "_", "'", '"', "\\", "a:b", "in_1"]),
    st.sampled_from([2**63, -(2**63), 10**30, 10**400, 1e308, "x" * 255, "é" * 255, "🧾" * 63]),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.emails(),
    st.ip_addresses().map(str),
)
ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
each_path = pytest.mark.parametrize("path", PATHS)


def taken(client: FlaskClient, store: SqliteStore, body: bytes, path: str) -> bool:
    """Send a body; tell whether it was taken, and check that it then is processed and shown."""
    answer = post(client, SERVER, body, path=path)
    assert answer.status_code in {201, 422}, answer.get_data(as_text=True)
    if answer.status_code != 201:
        assert error_of(answer)["message"]
        return False
    intake = Intake(store, config.load())
    for row in store.events.newest(limit=10_000):
        intake.process(row.key, datetime.now(UTC))
    states = {row.state for row in store.events.newest(limit=10_000)}
    assert states <= {EventState.PROCESSED}
    for id in answer.get_json()["customer"].values():
        for options in ((), ("--json",)):
            shown = bridge("show", *options, "--", id)
            assert (shown.exit_code, shown.stderr) == (0, "")
    return True


@each_path
@ANY
@given(value=JSON)
def test_any_json_is_taken_or_refused(
    client: FlaskClient, store: SqliteStore, path: str, value: object
) -> None:
    taken(client, store, json.dumps(value).encode(), path)


@each_path
@ANY
@given(body=st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(
    client: FlaskClient, store: SqliteStore, path: str, body: bytes
) -> None:
    taken(client, store, body, path)


@each_path
@ANY
@given(data=st.data())
def test_a_mutated_body_is_taken_or_refused(
    client: FlaskClient, store: SqliteStore, path: str, data: st.DataObject
) -> None:
    body = copy.deepcopy(RIGHT)
    mutate(body, data, ODD, most=3)
    taken(client, store, json.dumps(body).encode(), path)


@each_path
@ANY
@given(
    ids=st.dictionaries(st.sampled_from(sorted(RIGHT["customer"].keys() - {"email"})), SHOWN),
    email=st.emails(),
    clicks=st.dictionaries(st.sampled_from(["taapit", "codeqr", "tapfiliate"]), SHOWN),
)
def test_any_ids_are_taken_or_refused(
    client: FlaskClient, store: SqliteStore, path: str, ids: Any, email: str, clicks: Any
) -> None:
    customer = ids if ids else {"email": email}
    taken(client, store, json.dumps({"customer": customer, "clicks": clicks}).encode(), path)
