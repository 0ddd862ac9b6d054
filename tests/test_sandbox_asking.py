"""The sandbox asked for what it was told, and told to misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from stand_ins import (
    CODEQR_SALE,
    GOOD,
    KEYS,
    TAAPIT_SALE,
    TAPFILIATE_NEW,
    TRACIFY_EVENTS,
    TRACKDESK_NEW,
    Client,
    fresh_client,
)

from bridge.sandbox import RunningSandbox, discover, serve_sandbox
from bridge.sandbox.faults import Fault, Faults


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSandbox]:
    with serve_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def client(running: RunningSandbox) -> Iterator[Client]:
    with fresh_client(running) as ready:
        yield ready


SALES = [TAAPIT_SALE, CODEQR_SALE, TRACKDESK_NEW, TAPFILIATE_NEW, TRACIFY_EVENTS]


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


def test_the_index_names_the_settings(client: Client) -> None:
    url = client.sandbox.url
    assert client.get("/")["settings"] == {
        f"{name.upper()}_BASE_URL": f"{url}/{name}" for name in discover()
    }
    assert set(discover()) == set(KEYS)


def test_calls_are_shown_without_credentials(client: Client) -> None:
    for path in SALES:
        client.send(path)
    client.send(TAAPIT_SALE, amount="14.37")
    calls = client.get("/calls")
    assert [call["vendor"] for call in calls] == [*KEYS, "taapit"]
    text = client.http.get(client.sandbox.url + "/calls", timeout=10).text
    assert not [key for keys in KEYS.values() for key in keys.values() if key in text]
    last = client.get("/calls", vendor="taapit")[-1]
    assert (last["method"], last["path"], last["status"]) == ("POST", TAAPIT_SALE, 400)
    assert last["body"]["amount"] == "14.37"
    assert last["headers"]["Authorization"] == "***"
    assert "amount" in last["error"]


def test_the_ledger_can_be_emptied(client: Client) -> None:
    client.send(TAAPIT_SALE)
    client.call("/ledger", None, method="DELETE")
    empty = {"sales": [], "leads": [], "pageviews": [], "calls": 0, "refused": 0}
    assert client.get("/ledger") == dict.fromkeys(KEYS, empty)
    assert client.get("/calls") == []


def test_an_unknown_vendor_is_not_found(client: Client) -> None:
    assert client.call("/ledger/acme", None, method="GET").status_code == 404
    assert client.call("/faults", {"vendor": "acme", "answers": []}).status_code == 404


def test_many_threads_lose_nothing(client: Client) -> None:
    def sell(n: int) -> int:
        body = {"click_id": "k", "external_id": f"in_{n % 20}", "amount": 1}
        url = client.sandbox.url + TAPFILIATE_NEW
        return requests.post(url, json=body, headers=KEYS["tapfiliate"], timeout=10).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(sell, range(60)))
    assert (answers.count(200), answers.count(422)) == (20, 40)
    account = client.get("/ledger/tapfiliate")
    assert (len(account["sales"]), account["calls"], account["refused"]) == (20, 60, 40)


# ── faults ───────────────────────────────────────────────────────────────────────────────────────


def test_faults_are_met_once_and_in_order(client: Client) -> None:
    busy = {"status": 429, "body": '{"message": "slow down"}', "headers": {"Retry-After": "7"}}
    client.plan("taapit", busy, {"status": 500, "body": "oops"})
    first, second, third = (client.send(TAAPIT_SALE) for _ in range(3))
    assert (first.status_code, first.headers["Retry-After"]) == (429, "7")
    assert first.json() == {"message": "slow down"}
    assert (second.status_code, second.text) == (500, "oops")
    assert third.json() == {"ok": True}
    account = client.get("/ledger/taapit")
    assert (len(account["sales"]), account["calls"], account["refused"]) == (1, 3, 2)


def test_faults_meet_their_own_vendor_only(client: Client) -> None:
    client.plan("taapit", {"status": 500})
    assert client.send(CODEQR_SALE).status_code == 200
    assert client.get("/faults")["waiting"]["taapit"] == 1
    client.call("/faults", None, method="DELETE")
    assert client.send(TAAPIT_SALE).status_code == 200


def test_a_call_that_hangs_was_counted(client: Client) -> None:
    client.plan("taapit", {"commit_then_hang": 5})
    body = GOOD[TAAPIT_SALE]
    with pytest.raises(requests.ReadTimeout):
        client.call(TAAPIT_SALE, body, timeout=0.3)
    assert len(client.sales("taapit")) == 1


def test_a_delayed_call_is_handled_in_the_end(client: Client) -> None:
    client.plan("taapit", {"delay": 0.01})
    assert client.send(TAAPIT_SALE).json() == {"ok": True}


@pytest.mark.parametrize(("fault", "counted"), [("reset", 0), ("commit_then_reset", 1)])
def test_a_connection_is_dropped_before_or_after_it_counted(
    client: Client, fault: str, counted: int
) -> None:
    client.plan("taapit", {fault: True})
    with pytest.raises(requests.ConnectionError):
        client.send(TAAPIT_SALE)
    assert len(client.sales("taapit")) == counted
    assert client.get("/calls")[0]["status"] is None
    assert client.send(TAAPIT_SALE).status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"status": 99},
        {"status": 500, "reset": True},
        {"body": "x", "delay": 1},
        {"delay": -1},
        {"explode": True},
        {"commit": True},
        {"commit": True, "delay": 1},
    ],
)
def test_a_fault_that_means_nothing_is_refused(client: Client, fault: dict[str, Any]) -> None:
    answer = client.call("/faults", {"vendor": "taapit", "answers": [fault]})
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert client.get("/faults")["waiting"]["taapit"] == 0


@pytest.mark.parametrize(("commit", "counted"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("status", [200, 502])
def test_a_page_of_a_gateway_may_hide_that_a_call_was_counted(
    client: Client, status: int, commit: bool, counted: int
) -> None:
    client.plan("codeqr", {"status": status, "body": "<html>oops</html>", "commit": commit})
    answer = client.send(CODEQR_SALE)
    assert (answer.status_code, answer.text) == (status, "<html>oops</html>")
    assert answer.headers["Content-Type"] == "text/html"
    assert len(client.sales("codeqr")) == counted


# ── spells ───────────────────────────────────────────────────────────────────────────────────────


def test_a_vendor_is_down_until_it_is_not(client: Client) -> None:
    client.begin("taapit", {"reset": True}, share=1)
    for _ in range(3):
        with pytest.raises(requests.ConnectionError):
            client.send(TAAPIT_SALE)
    assert client.send(CODEQR_SALE).status_code == 200
    client.call("/faults", None, method="DELETE")
    assert client.send(TAAPIT_SALE).status_code == 200
    assert len(client.sales("taapit")) == 1


def test_a_share_of_the_calls_meets_a_mix_of_faults(client: Client) -> None:
    busy: dict[str, object] = {"status": 429, "headers": {"Retry-After": "1"}}
    runs = []
    for _ in range(2):
        client.begin("codeqr", busy, {"status": 500}, {"delay": 0.001}, share=0.5, seed=7)
        runs.append([client.send(CODEQR_SALE).status_code for _ in range(40)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 429, 500}
    assert 10 <= sum(status != 200 for status in runs[0]) <= 25


def test_what_is_queued_is_met_before_what_the_spell_brings(client: Client) -> None:
    client.begin("taapit", {"status": 500}, share=1)
    client.plan("taapit", {"status": 429})
    assert [client.send(TAAPIT_SALE).status_code for _ in range(3)] == [429, 500, 500]


def test_faults_and_spells_are_shown(client: Client) -> None:
    before = client.get("/faults")["met"]["taapit"].get("503 committed", 0)
    client.begin("taapit", {"status": 503, "commit": True}, {"reset": True}, share=0.25)
    client.begin("tracify", {"status": 503, "commit": True}, share=1, seconds=3600)
    client.plan("taapit", {"status": 503, "commit": True})
    client.send(TAAPIT_SALE)
    shown = client.get("/faults")
    assert shown["waiting"]["taapit"] == 0
    assert shown["met"]["taapit"]["503 committed"] == before + 1
    assert shown["spells"]["taapit"] == {"answers": 2, "share": 0.25, "seconds_left": None}
    assert 3500 < shown["spells"]["tracify"]["seconds_left"] <= 3600
    client.call("/faults", None, method="DELETE")
    assert client.get("/faults")["spells"] == {}


def test_a_spell_is_over_after_its_time() -> None:
    times = iter([0.0, 0.0, 29.9, 30.0, 31.0])
    faults = Faults(["acme"], clock=lambda: next(times, 31.0))
    faults.begin("acme", [Fault(reset=True)], seconds=30)
    assert [faults.take("acme") is not None for _ in range(4)] == [True, True, False, False]
    assert faults.spells() == {}
    assert faults.met() == {"acme": {"reset": 2}}


@pytest.mark.parametrize(
    "change",
    [
        {"share": 0},
        {"share": 1.1},
        {"share": "often"},
        {"share": 0.5, "answers": []},
        {"share": 0.5, "seconds": 0},
        {"share": 0.5, "seed": "x"},
        {"seconds": 5},
        {"seed": 1},
        {"lasting": True},
    ],
)
def test_a_spell_that_means_nothing_is_refused(client: Client, change: dict[str, Any]) -> None:
    order = {"vendor": "taapit", "answers": [{"reset": True}], **change}
    answer = client.call("/faults", order)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert client.get("/faults")["spells"] == {}


def test_closing_lets_hanging_calls_go() -> None:
    with serve_sandbox() as sandbox, ThreadPoolExecutor(1) as pool:
        client = Client(sandbox)
        client.plan("taapit", {"commit_then_hang": 600})
        with client.http, requests.Session() as other:
            hanging = pool.submit(client.send, TAAPIT_SALE)
            while not other.get(sandbox.url + "/ledger/taapit", timeout=10).json()["sales"]:
                assert not hanging.done()
            sandbox.close()
            assert hanging.result(timeout=10).json() == {"ok": True}
