"""`bridge clicks import`: what files of clicks may hold, what is refused, and going on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from imports import (
    AT,
    EMAIL,
    PERSONAL,
    counts,
    csv_file,
    lines_of,
    reasons,
    report,
    shop,
    stored,
    write,
)
from kit import CUSTOMER, SALE, Bench
from typing_in import bridge, complaint, printed

__all__ = ["shop"]

# ── what is taken ────────────────────────────────────────────────────────────────────────────────

BODY = {
    "customer": {"external_id": "u_1", "email": EMAIL, "anonymous_id": "b_1", "stripe": "cus_1"},
    "clicks": {
        "taapit": "tid_1",
        "tapfiliate": {"asset_id": "a_1", "source_id": "s_1"},
        "tracify": {"utm_source": "newsletter"},
    },
    "context": {
        "ip": "203.0.113.7",
        "user_agent": "Mozilla/5.0 (X11; Linux)",
        "url": "https://shop.example/?cid=c_1",
        "referrer": "https://search.example/",
    },
    "occurred_at": AT,
}
CELLS = (
    f'u_1,{EMAIL},b_1,cus_1,tid_1,a_1,s_1,newsletter,203.0.113.7,"Mozilla/5.0 (X11; Linux)",'
    f"https://shop.example/?cid=c_1,https://search.example/,{AT}"
)
SHORT = (
    "external_id,email,anonymous_id,stripe,taapit,tapfiliate.asset_id,tapfiliate.source_id,"
    "tracify.utm_source,ip,user_agent,url,referrer,occurred_at"
)
WHOLE = (
    "customer.external_id,customer.email,customer.anonymous_id,customer.stripe,clicks.taapit,"
    "clicks.tapfiliate.asset_id,clicks.tapfiliate.source_id,clicks.tracify.utm_source,"
    "context.ip,context.user_agent,context.url,context.referrer,occurred_at"
)


@pytest.mark.parametrize("head", [SHORT, WHOLE])
def test_a_row_of_csv_is_the_body_of_a_request(shop: Bench, head: str) -> None:
    assert counts(report(csv_file(CELLS, head=head))) == (1, 1, 0, 0, 0)
    found = stored(shop)
    assert {each.vendor for each in found} == {"taapit", "tapfiliate", "trackdesk", "tracify"}
    assert counts(report(write("clicks.jsonl", json.dumps(BODY)))) == (1, 0, 1, 0, 0)
    assert stored(shop) == found


def test_it_is_shown_where_a_bond_comes_from(shop: Bench) -> None:
    report(csv_file("u_1,cus_1,tid_1", head="external_id,stripe,taapit"))
    assert "by import clicks.csv" in printed("show", "cus_1")


FORMS: dict[str, bytes] = {
    "plain": b"external_id,taapit\nu_1,t_1\n",
    "no last line break": b"external_id,taapit\nu_1,t_1",
    "windows": b"external_id,taapit\r\nu_1,t_1\r\n",
    "byte order mark": b"\xef\xbb\xbfexternal_id,taapit\r\nu_1,t_1\r\n",
    "semicolons": b"external_id;taapit\nu_1;t_1\n",
    "tabs": b"external_id\ttaapit\nu_1\tt_1\n",
    "quotes": b'"external_id","taapit"\n"u_1","t_1"\n',
    "mark and quotes": b'\xef\xbb\xbf"external_id";"taapit"\n"u_1";"t_1"\n',
    "spaces": b" external_id , taapit \n u_1 ,  t_1\n",
    "empty rows": b"external_id,taapit\n\n,\nu_1,t_1\n  ,\n\n",
    "empty cells": b"email,external_id,url,taapit\n,u_1,,t_1\n",
    "delimiter in a cell": b'external_id,taapit,url\nu_1,t_1,"https://shop.example/?a=1,2"\n',
    "doubled quote": b'external_id,taapit,user_agent\nu_1,t_1,"a ""b"" c"\n',
    "upper case ending": b"external_id,taapit\nu_1,t_1\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_csv(shop: Bench, form: str) -> None:
    file = Path("CLICKS.CSV" if form == "upper case ending" else "clicks.csv")
    file.write_bytes(FORMS[form])
    assert counts(report(str(file))) == (1, 1, 0, 0, 0)
    assert [each.value for each in stored(shop) if each.vendor == "taapit"] == [{"click_id": "t_1"}]


def test_forms_of_jsonl(shop: Bench) -> None:
    good = lines_of([{"customer": {"external_id": "u_1"}, "clicks": {"taapit": "t_1"}}])[0]
    file = write(
        "c.jsonl", b"\xef\xbb\xbf" + good.encode(), "", "  ", "# a remark", good, end="\r\n"
    )
    assert counts(report(file)) == (2, 1, 1, 0, 0)


@pytest.mark.parametrize("name", ["clicks.csv", "clicks.jsonl"])
def test_a_file_without_rows(shop: Bench, name: str) -> None:
    file = write(name, *(["external_id"] if name.endswith("csv") else []))
    assert counts(report(file)) == (0, 0, 0, 0, 0)


def test_a_click_without_a_time_may_have_happened_any_time(shop: Bench) -> None:
    report(csv_file("u_1,t_1"))
    assert [each.exact for each in stored(shop)] == [False]


def test_a_sale_that_waited_is_credited(shop: Bench) -> None:
    shop.play(*SALE)
    assert shop.sales("taapit") == []
    head = "stripe,taapit,occurred_at"
    assert counts(report(csv_file(f"{CUSTOMER},tid_9,{AT}", head=head))) == (1, 1, 0, 0, 0)
    shop.clock.catch_up()
    shop.worker.drain()
    assert len(shop.sales("taapit")) == 1
    assert shop.delivery("taapit").state == "settled"


def test_customers_that_turn_out_to_be_one_are_counted(shop: Bench) -> None:
    rows = ["u_1,a@shop.example,", ",b@shop.example,cus_1", "u_1,,cus_1", "u_1,,cus_1"]
    said = report(csv_file(*rows, head="external_id,email,stripe"))
    assert counts(said) == (4, 3, 1, 1, 0)
    assert shop.store.customers.count()["customers"] == 1
    assert "known customers joined by 1 of them" in printed("clicks", "import", "clicks.csv")


def test_many_rows_with_joins(shop: Bench) -> None:
    rows = [f"u_{n},,c_{n}" for n in range(800)] + [f",p_{n},d_{n}" for n in range(800)]
    rows += [f"u_{n},p_{n}," for n in range(0, 800, 2)]
    assert counts(report(csv_file(*rows, head="external_id,paddle,taapit"))) == (
        2000,
        2000,
        0,
        400,
        0,
    )
    assert shop.store.customers.count() == {"customers": 1200, "clicks": 1600}
    values = {str(each.value) for each in stored(shop, "paddle:p_2")}
    assert values == {"{'click_id': 'c_2'}", "{'click_id': 'd_2'}"}


# ── what is refused as a whole ───────────────────────────────────────────────────────────────────

HEADS = {
    "external_id,tapit\nu_1,t_1\n": "'tapit' is no column: its first line must name columns of "
    "external_id, email, anonymous_id, ",
    "external_id,customer.name\n": "'customer.name' is no column",
    "external_id,nobody.click_id\n": "'nobody.click_id' is no column",
    "external_id,\n": "'' is no column",
    "email,external_id,customer.email\n": "column 'customer.email' is there twice",
    "taapit,external_id,taapit\n": "column 'taapit' is there twice",
    "": "is empty (its first line must name the columns)",
    "\nexternal_id\nu_1\n": "is empty (its first line must name the columns)",
    f"u_1,{EMAIL},t_1\n": "is no column",
    f"{EMAIL},t_1\n": "'…' is no column",
    'external_id,"taapit"x\n': "line 1 has a quote in the wrong place",
    "external_id," + "x" * 40_000: "line 1 is longer than 32768 bytes",
}


@pytest.mark.parametrize("content", HEADS, ids=lambda each: each[:30])
def test_columns_that_are_not_understood(shop: Bench, content: str) -> None:
    Path("clicks.csv").write_text(content, "utf-8")
    said = complaint(1, "clicks", "import", "clicks.csv")
    assert said.startswith("Error: clicks.csv: ")
    assert HEADS[content] in said
    assert EMAIL not in said
    assert shop.store.customers.count() == {"customers": 0, "clicks": 0}


def test_columns_in_another_encoding(shop: Bench) -> None:
    Path("clicks.csv").write_bytes("external_id,taapit\nu_1,t_1\n".encode("utf-16"))
    assert "line 1 is not UTF-8" in complaint(1, "clicks", "import", "clicks.csv")


@pytest.mark.parametrize("name", ["clicks.txt", "clicks", "clicks.xlsx", "clicks.csv.gz"])
def test_other_files_are_wrong_usage(shop: Bench, name: str) -> None:
    assert "must end in .csv or .jsonl" in complaint(2, "clicks", "import", write(name, "x"))


@pytest.mark.parametrize("arguments", [(), ("missing.csv",), (".",), ("a.csv", "b.csv")])
def test_wrong_usage(shop: Bench, arguments: Sequence[str]) -> None:
    assert complaint(2, "clicks", "import", *arguments).startswith("Usage: ")


# ── what is refused of a row ─────────────────────────────────────────────────────────────────────

ROWS = {
    "email,taapit": {
        "jane,t_1": "customer.email: must be an e-mail address",
        ",t_1": "customer: needs at least one id",
    },
    "external_id,occurred_at": {
        "u_2,2026-11-02": "occurred_at: ",
        "u_2,2026-11-02T12:00:00": "occurred_at: ",
        "u_2,02.11.2026 12:00": "occurred_at: ",
        "u_2,1762084800": "occurred_at: ",
        "u_2,yesterday": "occurred_at: ",
        "u_2,0999-01-01T00:00:00Z": "occurred_at: ",
        "null,": "customer.external_id: 'null' is what programs write where there is no id",
        "x" * 256 + ",": "customer.external_id: ",
        "u\x07_2,": "customer.external_id: ",
        "u\x00_2,": "customer.external_id: ",
        "u_2": "has 1 cells, the first line 2",
        f"u_2,{AT},jane": "has 3 cells, the first line 2",
        'u_2,"jane"s': "has a quote in the wrong place, or one that is left open",
    },
    "shopify,taapit": {"6.12346E+12,t_1": "customer.shopify: is a number that a spreadsheet has"},
    "external_id,ip": {"u_2,203.0.113": "context.ip: must be an IP address"},
    "external_id,tapfiliate,tapfiliate.coupon": {
        "u_2,c_1,JANE10": "clicks.tapfiliate: is given both as one id and by its kind"
    },
    "external_id,tapfiliate.coupon,tapfiliate": {
        "u_2,JANE10,c_1": "clicks.tapfiliate: is given both as one id and by its kind"
    },
    "external_id,tapfiliate.nonsense": {"u_2,jane": "clicks.tapfiliate: has no field 'nonsense'"},
    "external_id,tapfiliate.asset_id": {"u_2,a_1": "clicks.tapfiliate: needs asset_id and source_"},
    "external_id,tracify": {"u_2,t_1": "clicks.tracify: must be an object"},
}
CASES = [(head, row) for head, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(("head", "row"), CASES, ids=lambda each: each[:24])
def test_a_row_that_is_wrong(shop: Bench, head: str, row: str) -> None:
    good = ",".join("u_1@shop.example" if not n else "" for n, _ in enumerate(head.split(",")))
    file = csv_file(good, row, good, head=head)
    said = report(file, code=1)
    assert counts(said) == (3, 1, 1, 0, 1)
    ((reason, lines),) = reasons(said).items()
    assert reason.startswith(ROWS[head][row])
    assert lines == [3]
    shown = bridge("clicks", "import", file, "--again")
    assert shown.exit_code == 1
    assert shown.stderr == "Error: 1 of 3 rows of clicks.csv were refused\n"
    assert f"1: {ROWS[head][row]}" in shown.stdout
    assert not any(each in shown.output.lower() for each in PERSONAL)


LINES: dict[str | bytes, str] = {
    "{": "body: Invalid JSON",
    "[]": "body: ",
    "7": "body: ",
    "{}": "customer: ",
    '{"customer": {}}': "customer: needs at least one id",
    '{"customer": {"external_id": 7}}': "customer.external_id: ",
    '{"customer": {"external_id": "u", "jane.doe@example.com": 1}}': "…: is not a field",
    '{"customer": {"external_id": "u"}, "clicks": {"nobody": "x"}}': "clicks.nobody: no such vend",
    '{"customer": {"external_id": "u"}, "clicks": {"taapit": ""}}': "clicks.taapit: ",
    '{"customer": {"external_id": "u\\ud800"}}': "body: Invalid JSON",
    "[" * 20_000: "body: ",
    b'{"customer": {"external_id": "\xe4"}}': "is not UTF-8",
    json.dumps({"customer": {"external_id": "x" * 100_000}}): "is longer than 32768 bytes",
}


def test_lines_that_are_wrong(shop: Bench) -> None:
    (good,) = lines_of([{"customer": {"external_id": "u_1"}}])
    said = report(write("clicks.jsonl", *LINES, good), code=1)
    assert counts(said) == (len(LINES) + 1, 1, 0, 0, len(LINES))
    told = {line: reason for reason, lines in reasons(said).items() for line in lines}
    for line, start in enumerate(LINES.values(), 1):
        assert told[line].startswith(start)
    assert not any(each in json.dumps(said) for each in PERSONAL)


def test_lines_of_csv_that_cannot_be_read(shop: Bench) -> None:
    rows: list[str | bytes] = ["u_1,t_1", b"u_2,\xe4"]
    rows += ['u_3,"two\nlines"', "u_4," + "x" * 300_000, "u_5,t_5"]
    said = report(csv_file(*rows, 'u_6,"left open', "u_7,t_7"), code=1)
    assert counts(said) == (6, 2, 0, 0, 4)
    assert reasons(said) == {
        "is not UTF-8 (save the file as that)": [3],
        "clicks.taapit: must hold no control characters": [4],
        "is longer than 32768 bytes (is a quote left open?)": [6],
        "has a quote in the wrong place, or one that is left open": [8],
    }


def test_a_quote_left_open_costs_no_more_than_a_body_may_have(shop: Bench) -> None:
    rows = [f"u_{n},t_{n}" for n in range(4000)]
    said = report(csv_file('u_x,"t_x', *rows), code=1)
    assert said["refused"] == 1
    assert said["taken"] > 500


def test_reasons_are_counted_and_only_the_first_lines_named(shop: Bench) -> None:
    lines = [json.dumps({"customer": {"external_id": "u"}, f"field{n}": 1}) for n in range(100)]
    lines += ["{}"] * 7
    said = report(write("clicks.jsonl", *lines), code=1)
    assert said["refused"] == 107
    assert len(said["reasons"]) == 21
    others = said["reasons"][-1]
    assert others == {"reason": "other reasons", "rows": 87, "lines": [21, 22, 23, 24, 25]}
    assert (
        "  87: other reasons (line 21, 22, 23, 24, 25, …)"
        in bridge("clicks", "import", "clicks.jsonl").stdout
    )
