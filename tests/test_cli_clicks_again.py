"""clicks import: refused rows, for mending; once more; going on where it was interrupted."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from imports import (
    AT,
    EMAIL,
    PEOPLE,
    counts,
    csv_file,
    everything,
    lines_of,
    people,
    reasons,
    report,
    shop,
    small_batches,
    write,
)
from kit import Bench
from running import environment, running, until
from stores import opened
from typing_in import bridge, complaint, printed

from bridge import config
from bridge.attribution import email_key
from bridge.store.sqlite import SqliteStore
from bridge.vault import Vault

__all__ = ["shop", "small_batches"]

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
