"""Fixture files: found, and changed before they are sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from kit import STRIPE, body_of

from bridge.cli import fixture_files
from bridge.cli.fixture_changes import change, parse_value
from bridge.cli.fixture_files import FixtureFile, collect, find

KNOWN = ["stripe"]


def made(body: object, name: str = "a.json") -> FixtureFile:
    text = body if isinstance(body, str) else json.dumps(body)
    return FixtureFile(Path("stripe") / name, "stripe", text)


def changed(body: object, *values: str) -> Any:
    (file,) = change([made(body)], map(parse_value, values))
    return json.loads(file.body)


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


def test_an_event_may_have_a_slash_in_its_name(tmp_path: Path) -> None:
    for name in ("orders/paid", "orders/paid@jpy", "refunds/create"):
        folder = tmp_path / "shop" / name
        folder.mkdir(parents=True)
        (folder / "body.json").write_text("{}")
    for path, names in {
        "shop/orders/paid": ["orders/paid"],
        "shop/orders/paid@jpy/body.json": ["orders/paid@jpy"],
        "shop/orders": ["orders/paid", "orders/paid@jpy"],
        "shop": ["orders/paid", "orders/paid@jpy", "refunds/create"],
    }.items():
        assert [file.name for file in collect([path], ["shop"])] == names


def test_a_name_that_two_providers_have_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixture_files, "ROOTS", (tmp_path / "fixtures",))
    for provider in ("stripe", "acme"):
        folder = tmp_path / "fixtures" / "providers" / provider / "sale"
        folder.mkdir(parents=True)
        (folder / "body.json").write_text("{}")
    with pytest.raises(click.UsageError) as raised:
        collect(["sale"], ["acme", "stripe"])
    assert raised.value.message == "'sale' may be acme/sale or stripe/sale: say which"
    assert [file.provider for file in collect(["acme/sale"], ["acme", "stripe"])] == ["acme"]
    assert len(collect(["sale*"], ["acme", "stripe"])) == 2


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


def test_what_is_set_in_a_form_is_text() -> None:
    form = "sale_gross=59.00&coupon=&passthrough=%7B%22user_id%22%3A+%22%C3%A9%22%7D&sale_gross=1"
    (file,) = change(
        [made(form, "a.form")], map(parse_value, ["sale_gross=10.00", "new.name=null"])
    )
    assert file.body == (
        "sale_gross=10.00&coupon=&passthrough=%7B%22user_id%22%3A+%22%C3%A9%22%7D&new.name=null"
    )
    assert file.request.headers["content-type"] == "application/x-www-form-urlencoded"


def test_a_form_that_is_none_can_only_be_sent_as_it_is() -> None:
    with pytest.raises(click.UsageError, match="is not a form"):
        change([made("name=%FF", "a.form")], [("a", "1")])


def test_without_changes_a_body_stays_as_it_is() -> None:
    body = '{"a":1 ,\n "b": 2}'
    assert change([made(body)], [])[0].body == body
