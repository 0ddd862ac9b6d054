"""`bridge clicks import`: what files of clicks may hold, what is refused, and going on."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from kit import CUSTOMER, SALE, Bench, bench
from running import environment, running, until
from stores import opened
from typing_in import bridge, complaint, printed

from bridge import config
from bridge.attribution import StoredClick, email_key
from bridge.store import Store
from bridge.store.sqlite import SqliteStore
from bridge.vault import Vault

AT = "2026-11-02T12:00:00Z"
EMAIL = "Jane.Doe@example.com"
PERSONAL = (EMAIL.lower(), "203.0.113", "jane", "mozilla")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench(tmp_path / "bridge.db", monkeypatch) as made:
        yield made


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(import_module("bridge.cli.clicks"), "BATCH", 4)
    return 4


def write(name: str, *lines: str | bytes, end: str = "\n") -> str:
    """Write a file of these lines into the folder of the test; return its name."""
    whole = b"".join(
        (each if isinstance(each, bytes) else each.encode()) + end.encode() for each in lines
    )
    Path(name).write_bytes(whole)
    return name


def csv_file(*rows: str | bytes, head: str = "external_id,taapit") -> str:
    return write("clicks.csv", head, *rows)


def lines_of(bodies: Iterable[object]) -> list[str]:
    return [json.dumps(each) for each in bodies]


def report(*arguments: str, code: int = 0) -> dict[str, Any]:
    """Import and return the report; what is wrong stands on stderr as well."""
    result = bridge("clicks", "import", *arguments, "--json")
    assert result.exit_code == code, result.output
    assert bool(result.stderr) == bool(code)
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def counts(said: dict[str, Any]) -> tuple[int, ...]:
    return tuple(said[name] for name in ("rows", "taken", "known", "joined", "refused"))


def reasons(said: dict[str, Any]) -> dict[str, list[int]]:
    return {each["reason"]: each["lines"] for each in said["reasons"]}


def stored(shop: Bench, key: str = "external_id:u_1") -> list[StoredClick]:
    return shop.store.customers.clicks(shop.store.customers.aliases([key]))


def everything(store: Store) -> list[list[dict[str, Any]]]:
    """Return all that is stored of customers, without when it was heard."""
    assert isinstance(store, SqliteStore)
    return [
        store.query(f"SELECT {columns} FROM {table} ORDER BY {columns}")  # noqa: S608
        for table, columns in (
            ("clicks", "id, key, vendor, value, keys, exact"),
            ("aliases", "key, customer"),
            ("bonds", "id, keys, claimed, source"),
        )
    ]


def people(count: int, *, twice: int = 0) -> list[str]:
    """Return rows of so many customers, some of whom come once more with another click."""
    rows = [f"u_{n},user{n}@shop.example,cus_{n},click_{n},{AT}" for n in range(count)]
    return rows + [f"u_{n},user{n}@shop.example,cus_{n},again_{n},{AT}" for n in range(twice)]


PEOPLE = "external_id,email,stripe,taapit,occurred_at"

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


# ── refused rows, for mending ────────────────────────────────────────────────────────────────────


def test_refused_rows_of_csv_can_be_mended(shop: Bench) -> None:
    head = "external_id;taapit;occurred_at"
    rows = ["u_1;t_1;", 'u_2;"t;2";today', f"u_3;t_3;{AT}"]
    said = report(csv_file(*rows, head=head), "--refused", "mend.csv", code=1)
    assert counts(said) == (3, 2, 0, 0, 1)
    mend = Path("mend.csv")
    assert mend.stat().st_mode & 0o777 == 0o600
    top, row = mend.read_text("utf-8").splitlines()
    assert top == f'{head};"refused"'
    assert row.startswith('u_2;"t;2";today;"occurred_at: ')
    mend.write_text(mend.read_text("utf-8").replace("today", AT), "utf-8")
    assert counts(report("mend.csv")) == (1, 1, 0, 0, 0)


def test_refused_lines_can_be_mended(shop: Bench) -> None:
    good, bad = lines_of([{"customer": {"external_id": "u_1"}}, {"customer": {"email": "jane"}}])
    report(write("clicks.jsonl", good, bad), "--refused", "mend.jsonl", code=1)
    mend = Path("mend.jsonl")
    remark, line = mend.read_text("utf-8").splitlines()
    assert remark == "# refused, line 2: customer.email: must be an e-mail address"
    assert line == bad
    mend.write_text(mend.read_text("utf-8").replace("jane", EMAIL), "utf-8")
    assert counts(report("mend.jsonl")) == (1, 1, 0, 0, 0)


def test_refused_rows_overwrite_no_file(shop: Bench) -> None:
    file = csv_file("u_1,t_1")
    assert "is there already" in complaint(2, "clicks", "import", file, "--refused", file)
    assert counts(report(file, "--refused", "mend.csv")) == (1, 1, 0, 0, 0)
    assert not Path("mend.csv").exists()


# ── once more, and going on ──────────────────────────────────────────────────────────────────────


def test_a_dry_run_stores_nothing(shop: Bench) -> None:
    before = everything(shop.store)
    file = csv_file("u_1,t_1", "null,t_2", "u_3,t_3")
    said = report(file, "--dry-run", code=1)
    assert (said["dry_run"], *counts(said)) == (True, 3, 2, 0, 0, 1)
    assert everything(shop.store) == before
    shown = bridge("clicks", "import", file, "--dry-run")
    assert shown.stdout.startswith("3 rows: 2 would be taken, 1 refused\n")
    assert counts(report(file, code=1)) == (3, 2, 0, 0, 1)
    assert counts(report(file, "--dry-run", code=1)) == (3, 2, 0, 0, 1)


def test_a_file_is_imported_once(shop: Bench) -> None:
    file = csv_file("u_1,t_1", "u_2,t_2")
    first = report(file)
    again = report(str(Path(file).rename("other.csv")))
    assert again == first | {"file": "other.csv", "already": True}
    assert printed("clicks", "import", "other.csv").startswith("other.csv was imported already (")
    before = everything(shop.store)
    assert counts(report("other.csv", "--again")) == (2, 0, 2, 0, 0)
    assert everything(shop.store) == before


def test_a_file_that_was_refused_in_part_stays_so(shop: Bench) -> None:
    file = csv_file("u_1,t_1", "null,t_2")
    first = report(file, code=1)
    assert report(file, code=1) == first | {"already": True}


FAILS = """CREATE TRIGGER on_{action} BEFORE {action} ON facts WHEN NEW.name LIKE 'import %'
    AND json_extract(NEW.value, '$.rows') > {rows}
    BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END"""


@pytest.mark.parametrize("name", ["clicks.csv", "clicks.jsonl"])
@pytest.mark.parametrize("done", range(6))
def test_it_goes_on_where_it_was_interrupted(
    shop: Bench, tmp_path: Path, small_batches: int, name: str, done: int
) -> None:
    """A disk that fails at any batch costs that batch alone."""
    bodies = [
        {"customer": {"external_id": f"u_{n % 17}"}, "clicks": {"taapit": f"t_{n}"}}
        for n in range(20)
    ]
    bodies[6]["clicks"] = {"nobody": "x"}
    rows = [
        ",".join((each["customer"]["external_id"], *each["clicks"].values())) for each in bodies
    ]
    rows[6] = "null,t_6"
    head = [] if name.endswith("jsonl") else ["external_id,taapit"]
    file = write(name, *head, *(rows if head else lines_of(bodies)))
    database = shop.store
    assert isinstance(database, SqliteStore)
    for action in ("INSERT", "UPDATE"):
        database.execute(FAILS.format(action=action, rows=done * small_batches))
    failed = bridge("clicks", "import", file, "--refused", f"mend{name}")
    assert failed.exit_code == 1
    assert done == 5 or "the disk is gone" in failed.stderr
    kept = max(0, done * small_batches - (done > 1))
    assert database.customers.count()["clicks"] == min(kept, 19)
    for action in ("INSERT", "UPDATE"):
        database.execute(f"DROP TRIGGER on_{action}")
    said = report(file, "--refused", f"mend{name}", code=1)
    assert counts(said) == (20, 19, 0, 0, 1)
    assert list(reasons(said).values()) == [[7 + len(head)]]
    assert Path(f"mend{name}").read_bytes().count(b"refused") >= 1
    with opened(f"sqlite:///{tmp_path / 'other.db'}") as other:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
            report(file, code=1)
        assert everything(other)[1:] == everything(database)[1:]


def test_two_at_once_do_not_get_in_each_others_way(shop: Bench, small_batches: int) -> None:
    assert isinstance(shop.store, SqliteStore)
    shop.store.execute(
        """CREATE TRIGGER other AFTER INSERT ON facts WHEN NEW.name LIKE 'import %'
           BEGIN UPDATE facts SET value = '{"rows": 8}' WHERE name = NEW.name; END"""
    )
    file = csv_file(*(f"u_{n},t_{n}" for n in range(20)))
    assert "is being imported by another process" in complaint(1, "clicks", "import", file)
    assert shop.store.customers.count()["clicks"] == small_batches


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_ended_goes_on(
    shop: Bench, tmp_path: Path, number: signal.Signals
) -> None:
    rows = people(4000, twice=1000)
    file = csv_file(*rows, head=PEOPLE)
    with running("clicks", "import", file, settings=environment({}), folder=tmp_path) as command:
        until(lambda: shop.store.customers.count()["clicks"], "the first batch")
        code = command.end(number)
        assert code == (130 if number is signal.SIGINT else -number), command.said()
        if number is signal.SIGINT:
            assert "rows done; run it again to go on from there" in command.said()
    kept = shop.store.customers.count()["clicks"]
    assert 0 < kept < 9000  # Tracify knows each by the address, as well
    assert kept % 1000 == 0
    assert counts(report(file)) == (5000, 5000, 0, 0, 0)
    assert shop.store.customers.count() == {"customers": 4000, "clicks": 9000}
    keys = shop.store.customers.aliases(["external_id:u_7"])
    secret = Vault(shop.store, config.load()).hash_key
    assert keys == sorted(
        ["external_id:u_7", "stripe:cus_7", email_key("user7@shop.example", secret)]
    )
