"""show, explain, retry, resolve, doctor and replay, as typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from kit import STRIPE, Bench, bench, body_of, thing_of
from running import SETTINGS, run, serving
from typing_in import (
    CUSTOMER,
    ORDER,
    SALE,
    STORY,
    bridge,
    complaint,
    listed,
    printed,
    sell,
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench(tmp_path / "bridge.db", monkeypatch) as made:
        yield made


@pytest.fixture
def sold(shop: Bench) -> Bench:
    return sell(shop)


# ── show and explain ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "id",
    [
        "evt_1QNEEZZk4Tp9WvLqloVMQQTC",
        SALE,
        ORDER,
        f"{SALE}@tapfiliate",
        thing_of("refund.created")["id"],
        CUSTOMER,
        "user_1001",
        "jana.muster@example.com",
    ],
)
def test_show_takes_any_id(sold: Bench, id: str) -> None:
    (story,) = listed("show", id)
    assert [row["id"] for row in story["conversions"]] == [SALE]
    assert [row["type"] for row in story["events"]] == [
        "invoice.paid",
        "invoice_payment.paid",
        "refund.created",
    ]
    (tapfiliate,) = [row for row in story["deliveries"] if row["vendor"] == "tapfiliate"]
    first, second = tapfiliate["history"]
    assert (first["number"], first["outcome"], first["status"]) == (1, "accepted", 200)
    assert first["call"]["json"]["amount"] == 49.0
    assert second["call"]["json"]["amount"] == 32.19
    assert {click["vendor"] for click in story["clicks"]} >= {"taapit", "codeqr"}


def test_show_tells_the_story_in_words(sold: Bench) -> None:
    told = printed("show", ORDER)
    for words in (
        f"{SALE}: approved",
        "58.31 EUR paid, 20.00 EUR taken back, 32.19 EUR to credit",
        "refund.created",
        "external_id:user_1001",
        "tapfiliate: settled; told 32.19 EUR approved",
        "Taapit has no refund call",
        '"amount": 49.00',
    ):
        assert words in told
    assert "tapfiliate-test-key" not in told


def test_show_tells_of_an_event_without_an_order(shop: Bench) -> None:
    shop.receive("customer.deleted")
    told = printed("show", "evt_1QNNR4Zk4Tp9WvLqQX9THllB")
    assert "customer.deleted says nothing about money" in told


def test_explain_says_what_it_would_send_and_sends_nothing(shop: Bench) -> None:
    shop.click(CUSTOMER)
    shop.receive("invoice.paid")
    plans = {plan["delivery"]: plan["steps"] for plan in listed("explain", SALE)}
    sale, done = plans[f"{SALE}@taapit"]
    assert sale["call"]["method"] == "POST"
    assert sale["call"]["json"]["amount"] == 49.0
    assert done == {"done": True}
    assert len(plans) == 5
    assert list(listed("explain", f"{SALE}@codeqr")[0]) == ["delivery", "held_up", "steps"]
    assert "then the vendor is up to date" in printed("explain", ORDER)
    assert shop.vendors.ledger.calls() == []
    assert {row["state"] for row in listed("deliveries")} == {"due"}


def test_explain_says_why_nothing_would_be_sent(shop: Bench) -> None:
    shop.receive("invoice.paid")
    (plan,) = listed("explain", f"{SALE}@taapit")
    assert plan["steps"] == [{"skip": "no click stored for this customer"}]
    assert "skipped: no click stored for this customer" in printed("explain", SALE)


# ── retry and resolve ────────────────────────────────────────────────────────────────────────────


def test_a_dead_delivery_is_retried(shop: Bench) -> None:
    shop.fault("tapfiliate", {"status": 422, "body": '{"errors": ["no"]}'})
    shop.click(CUSTOMER)
    shop.play("invoice.paid")
    (dead,) = listed("deliveries", "--state", "dead")
    assert "422" in dead["reason"]
    assert printed("retry", dead["id"]) == "1 delivery is due now\n"
    shop.clock.catch_up()
    shop.worker.drain()
    assert len(shop.sales("tapfiliate")) == 1
    assert listed("deliveries", "--state", "dead") == []
    assert printed("retry", "--state", "dead") == "0 deliveries are due now\n"


@pytest.mark.parametrize(("answer", "sales"), [("--delivered", 0), ("--resend", 1)])
def test_an_unknown_outcome_is_resolved_by_a_person(shop: Bench, answer: str, sales: int) -> None:
    shop.fault("taapit", {"reset": True})
    shop.click(CUSTOMER)
    shop.play("invoice.paid")
    (unknown,) = listed("deliveries", "--state", "unknown")
    assert "bridge resolve" in complaint(1, "retry", unknown["id"])
    assert unknown["id"] in printed("resolve", unknown["id"], answer)
    shop.clock.catch_up()
    shop.worker.drain()
    assert len(shop.sales("taapit")) == sales
    assert listed("deliveries", "--state", "unknown") == []
    assert "nothing to resolve" in complaint(1, "resolve", unknown["id"], answer)


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────


def test_doctor_shows_settings_without_secrets(sold: Bench) -> None:
    told = printed("doctor")
    for words in (
        "BRIDGE_ATTRIBUTION_DAYS",
        "providers: paddle, paddle_classic, shopify, stripe",
        "taapit",
        "1 approved",
    ):
        assert words in told
    assert "whsec_made_up_for_tests" not in told
    report = json.loads(printed("doctor", "--json"))
    assert report["errors"] == []
    assert report["counts"]["events"] == {"processed": 3}
    assert "whsec_made_up_for_tests" not in json.dumps(report)


def test_doctor_says_what_to_do_about_a_database_that_is_not_migrated() -> None:
    result = bridge("doctor")
    assert result.exit_code == 1
    assert "run `bridge migrate`" in result.output
    assert json.loads(bridge("doctor", "--json").stdout)["errors"] != []


def test_doctor_advises(shop: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRIDGE_API_KEY")
    shop.fault("tapfiliate", {"status": 422})
    shop.fault("taapit", {"reset": True})
    shop.click(CUSTOMER)
    shop.play("invoice.paid", "refund.created@before-sale", "v1.charge.refunded")
    told = printed("doctor")
    for words in (
        "set BRIDGE_API_KEY",
        "set BRIDGE_SECRET_KEY",
        "1 delivery to tapfiliate came to nothing: `bridge deliveries --state dead`",
        "1 delivery to taapit may or may not have been counted",
        "1 order of Stripe had money taken back, but the sale never arrived",
        "1 event waits, the newest of them because it leaves out its object",
    ):
        assert words in told


# ── replay ───────────────────────────────────────────────────────────────────────────────────────


def test_replay_answers_for_every_file(tmp_path: Path) -> None:
    with serving(tmp_path, command="web") as web:
        one = run("replay", "invoice.paid", "--to", web.url, folder=tmp_path)
        assert one.returncode == 0
        assert one.stdout.split() == ["sent", "status", "answer", "invoice.paid", "200", "stored"]
        every = run("replay", STRIPE, "--to", f"{web.url}/", "--json", folder=tmp_path)
        answers = {each["file"]: each for each in json.loads(every.stdout)}
        assert len(answers) == len(list(STRIPE.iterdir()))
        assert {each["status"] for each in answers.values()} == {200}
        assert answers["invoice.paid"]["answer"] == "duplicate"
        assert answers["customer.deleted"]["answer"] == "ignored"

        wrong = SETTINGS | {"STRIPE_WEBHOOK_SECRET": "whsec_another"}
        refused = run("replay", "invoice.paid", "refund.created", "--to", web.url, settings=wrong)
        assert refused.returncode == 1
        assert "check STRIPE_WEBHOOK_SECRET" in refused.stdout
        assert refused.stdout.endswith("2 webhooks sent: 2 refused\n")

        here = SETTINGS | {"PORT": web.url.rpartition(":")[2]}
        assert "duplicate" in run("replay", "invoice.paid", settings=here).stdout


def test_replay_sends_what_was_set_and_made_fresh(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        sent = run(
            *("replay", "invoice.paid", "invoice_payment.paid", "refund.created", "--fresh-ids"),
            *("--set", "data.object.livemode=true", "--to", server.url),
            folder=tmp_path,
        )
        assert sent.returncode == 0, sent.stderr
        events = json.loads(run("events", "--json", folder=tmp_path).stdout)
    assert len(events) == 3
    assert not {json.loads(body_of(name))["id"] for name in STORY} & {each["id"] for each in events}
    newest = max(datetime.fromisoformat(each["occurred_at"]) for each in events)
    assert abs((datetime.now(newest.tzinfo) - newest).total_seconds()) < 120


def test_replay_without_a_server_is_one_clear_line(shop: Bench) -> None:
    (line,) = complaint(1, "replay", "invoice.paid", "--to", "http://127.0.0.1:1").splitlines()
    assert "http://127.0.0.1:1/webhooks/stripe does not answer" in line
    assert "bridge serve" in line


def test_replay_without_the_providers_settings_names_them(
    shop: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRIPE_WEBHOOK_SECRET")
    assert "set STRIPE_WEBHOOK_SECRET" in complaint(1, "replay", "invoice.paid")


def test_stored_events_are_processed_again(sold: Bench) -> None:
    sold.receive("customer.deleted")
    id = "evt_1QNEEZZk4Tp9WvLqloVMQQTC"
    assert printed("replay", id) == "1 event will be processed again\n"
    assert [row["id"] for row in listed("events", "--state", "received")] == [id]
    sold.worker.drain()
    assert listed("events", "--state", "received") == []
    assert len(sold.sales("taapit")) == 1
    assert "1 event will not" in printed("replay", "evt_1QNNR4Zk4Tp9WvLqQX9THllB")


def test_failed_events_are_processed_again(shop: Bench) -> None:
    broken = json.loads(body_of("invoice.paid"))
    broken["data"]["object"]["currency"] = "xyz"
    shop.receive(bodies=[json.dumps(broken)])
    (failed,) = listed("events", "--state", "failed")
    assert failed["reason"]
    assert printed("replay", "--state", "failed") == "1 event will be processed again\n"
    assert [row["state"] for row in listed("events")] == ["received"]
