"""Fixture files: found, changed and made fresh before they are sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from kit import STRIPE, body_of

from bridge.cli.fixture_changes import change, parse_value
from bridge.cli.fixture_files import FixtureFile, collect, find

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
KNOWN = ["stripe"]
CREATED = 1_793_696_403


def made(body: object, name: str = "a.json") -> FixtureFile:
    text = body if isinstance(body, str) else json.dumps(body)
    return FixtureFile(Path("stripe") / name, "stripe", text)


def changed(body: object, *values: str, fresh: str = "", now: datetime | None = None) -> Any:
    (file,) = change([made(body)], map(parse_value, values), fresh=fresh, now=now)
    return json.loads(file.body)


def refreshed(*names: str, fresh: str = "seed") -> list[Any]:
    files = [made(body_of(name), name) for name in names]
    return [json.loads(file.body) for file in change(files, [], fresh=fresh, now=NOW)]


# ── finding ──────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_gives_its_bodies_in_order_of_their_names() -> None:
    files = collect([str(STRIPE)], KNOWN)
    assert [file.name for file in files] == sorted(each.name for each in STRIPE.iterdir())
    assert {file.provider for file in files} == {"stripe"}


def test_a_body_brings_the_headers_of_its_case() -> None:
    (file,) = collect([str(STRIPE / "invoice.paid" / "body.json")], KNOWN)
    assert file.name == "invoice.paid"
    assert file.headers["user-agent"].startswith("Stripe/1.0")


@pytest.mark.parametrize(
    "name",
    [
        "fixtures/providers/stripe/invoice.paid",
        "fixtures/providers/stripe/invoice.paid/",
        "fixtures/providers/stripe/invoice.paid/body.json",
        "providers/stripe/invoice.paid",
        "stripe/invoice.paid",
        "invoice.paid",
    ],
)
def test_a_fixture_that_comes_with_bridge_is_found_by_name(name: str) -> None:
    (file,) = collect([name], KNOWN)
    assert file.body == body_of("invoice.paid")


def test_what_lies_here_comes_before_what_comes_with_bridge(tmp_path: Path) -> None:
    own = tmp_path / "stripe" / "invoice.paid"
    own.mkdir(parents=True)
    (own / "body.json").write_text('{"mine": true}')
    (file,) = collect(["stripe/invoice.paid"], KNOWN)
    assert file.body == '{"mine": true}'
    assert file.headers == {}


def test_a_file_by_any_name_is_sent_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "stripe").mkdir()
    (tmp_path / "stripe" / "captured.json").write_bytes('{"a": "é"}\r\n'.encode())
    (file,) = collect(["stripe/captured.json"], KNOWN)
    assert (file.name, file.body) == ("captured.json", '{"a": "é"}\r\n')


def test_nothing_is_found_by_no_name() -> None:
    assert find("") == find("invoice.payed") == []


def test_what_cannot_be_sent_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "stripe").mkdir()
    (tmp_path / "stripe" / "picture.png").write_bytes(b"\x89PNG\xff")
    (tmp_path / "elsewhere.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "stripe" / "broken"
    broken.mkdir()
    (broken / "body.json").write_text("{}")
    (broken / "case.json").write_text("[]")
    for path, words in {
        "missing/file.json": "there is no fixture 'missing/file.json'",
        "empty": "no body.* lies below 'empty'",
        "elsewhere.json": "no folder of its path names a provider (stripe)",
        "stripe/picture.png": "cannot be read",
        "stripe/broken": "is not an object with headers",
    }.items():
        with pytest.raises(click.UsageError) as raised:
            collect([path], KNOWN)
        assert words in raised.value.message


# ── --set ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data.amount=9900", 9900),
        ("data.amount=14.37", 14.37),
        ("data.amount=true", True),
        ("data.amount=null", None),
        ("data.amount=text", "text"),
        ('data.amount="9900"', "9900"),
        ('data.amount={"a": [1]}', {"a": [1]}),
        ("data.amount=a=b", "a=b"),
        ("data.amount=", ""),
        ("data.amount=NaN", "NaN"),
    ],
)
def test_a_value_is_set_as_json_or_else_as_text(setting: str, value: object) -> None:
    assert changed({"data": {"amount": 1, "kept": 2}}, setting) == {
        "data": {"amount": value, "kept": 2}
    }


def test_a_path_goes_into_lists_and_may_end_in_a_new_name() -> None:
    body = {"lines": [{"amount": 1}, {"amount": 2}]}
    assert changed(body, "lines.1.amount=3", "lines.0.new=x") == {
        "lines": [{"amount": 1, "new": "x"}, {"amount": 3}]
    }
    assert changed({"list": [1, 2]}, "list.0=5") == {"list": [5, 2]}


@pytest.mark.parametrize(
    "path", ["nowhere.amount", "list.2", "list.-1", "list.x", "text.more", "list.0.more", "a..b"]
)
def test_a_path_that_leads_nowhere_is_wrong_usage(path: str) -> None:
    with pytest.raises(click.UsageError, match=f"--set {path}: a.json has no"):
        changed({"list": [1, 2], "text": "x", "a": {}}, f"{path}=1")


@pytest.mark.parametrize("text", ["amount", "=9900", ""])
def test_a_setting_is_a_path_and_a_value(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not PATH=VALUE"):
        parse_value(text)


def test_exact_numbers_stay_exact() -> None:
    body = '{"amount": 0.10000000000000000001, "rate": 1437.000}'
    (file,) = change([made(body)], [("x", "1")])
    assert "0.10000000000000000001" in file.body
    assert "1437.000" in file.body


def test_only_json_can_be_changed() -> None:
    assert change([made("a=1&b=2")], [])[0].body == "a=1&b=2"
    with pytest.raises(click.UsageError, match="is not JSON"):
        change([made("a=1&b=2")], [("a", "1")])


def test_without_changes_a_body_stays_as_it_is() -> None:
    body = '{"a":1 ,\n "b": 2}'
    assert change([made(body)], [])[0].body == body


# ── fresh ids ────────────────────────────────────────────────────────────────────────────────────


def test_the_same_id_becomes_the_same_new_one_in_all_files_of_a_run() -> None:
    sale, link, refund = refreshed("invoice.paid", "invoice_payment.paid", "refund.created")
    invoice = sale["data"]["object"]["id"]
    assert invoice != "in_1QNjVgZk4Tp9WvLqVyR24PLZ"
    assert invoice.startswith("in_")
    assert link["data"]["object"]["invoice"] == invoice
    intent = link["data"]["object"]["payment"]["payment_intent"]
    assert refund["data"]["object"]["payment_intent"] == intent
    assert len({each["id"] for each in (sale, link, refund)}) == 3
    assert sale["data"]["object"]["lines"]["url"] == f"/v1/invoices/{invoice}/lines"


def test_another_run_has_other_ids() -> None:
    (one,) = refreshed("invoice.paid", fresh="one")
    (two,) = refreshed("invoice.paid", fresh="two")
    assert one["id"] != two["id"]


def test_customers_accounts_and_what_the_merchant_attached_keep_theirs() -> None:
    body = {
        "account": "acct_1QNabcdefghij",
        "data": {
            "object": {
                "customer": "cus_TZ3yrniwyYL7T5",
                "client_reference_id": "user_2abcDEF12345678",
                "metadata": {"user_id": "user_2abcDEF12345678", "order": "in_1QNjVgZk4Tp9WvLq"},
                "items": [{"owner": "cus_TZ3yrniwyYL7T5"}],
            }
        },
    }
    assert changed(body, fresh="seed") == body


def test_names_of_fields_and_states_are_no_ids() -> None:
    (before,) = [json.loads(body_of("invoice.paid"))]
    (after,) = refreshed("invoice.paid")
    assert after["type"] == before["type"]
    old, new = before["data"]["object"], after["data"]["object"]
    assert list(new) == list(old)
    assert new["collection_method"] == old["collection_method"] == "charge_automatically"
    assert new["status_transitions"].keys() == old["status_transitions"].keys()


def test_every_fixture_can_be_made_fresh() -> None:
    names = sorted(each.name for each in STRIPE.iterdir())
    before = [json.loads(body_of(name)) for name in names]
    after = refreshed(*names)
    assert not {each["id"] for each in before} & {each["id"] for each in after}
    assert [each["type"] for each in before] == [each["type"] for each in after]


# ── times ────────────────────────────────────────────────────────────────────────────────────────


def test_times_move_so_that_the_newest_event_is_now() -> None:
    sale, refund = refreshed("invoice.paid", "refund.created")
    assert refund["created"] == int(NOW.timestamp())
    before = json.loads(body_of("refund.created"))["created"] - CREATED
    assert refund["created"] - sale["created"] == before
    paid_at = sale["data"]["object"]["status_transitions"]["paid_at"]
    assert sale["created"] - paid_at == CREATED - 1_793_696_399


def test_written_times_move_too_and_keep_their_form() -> None:
    body = {"created": "2026-11-05T10:00:05.318Z", "other": {"paid_at": "2026-11-05T10:00:00Z"}}
    assert changed(body, fresh="seed", now=NOW) == {
        "created": "2026-12-01T12:00:00.000Z",
        "other": {"paid_at": "2026-12-01T11:59:54Z"},
    }


def test_what_is_no_time_does_not_move() -> None:
    body = {
        "created": CREATED,
        "amount_paid": 1_793_696_397,
        "paid_at": None,
        "due_date": 5,
        "updated_on": "soon",
        "at": "2026-11-05",
    }
    assert changed(body, fresh="seed", now=NOW) == body | {"created": int(NOW.timestamp())}


def test_a_body_without_a_time_stays_where_it_is() -> None:
    assert changed({"paid_at": CREATED}, fresh="seed", now=NOW) == {"paid_at": CREATED}
    assert changed([1], fresh="seed", now=NOW) == [1]
