"""One more provider is one file, one fixture folder and one README row, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from copied_tree import add_row, copy_tree, run, run_tests

SALE = {
    "id": "ev_1",
    "type": "paid",
    "at": "2026-11-20T12:00:00Z",
    "order": "o_1",
    "customer": "c_1",
    "amount": "49.00",
    "currency": "EUR",
}
REFUND = SALE | {"id": "ev_2", "type": "refunded", "at": "2026-11-21T12:00:00Z", "amount": "9.00"}
AMOUNT = {"minor": 4900, "currency": "EUR"}
CASE = {
    "description": "An order is paid.",
    "headers": {"content-type": "application/json"},
    "event": {"id": "ev_1", "type": "paid", "occurred_at": "2026-11-20T12:00:00Z"},
    "payments": [
        {
            "id": "o_1",
            "provider": "acmepay",
            "kind": "sale",
            "occurred_at": "2026-11-20T12:00:00Z",
            "references": ["o_1"],
            "amount": AMOUNT,
            "net": AMOUNT,
            "customer": "c_1",
        }
    ],
}
# Through the command line and the web: what a merchant and the provider would do.
STORY = """
import json, sys
from datetime import UTC, datetime
from bridge import config, logs
from bridge.cli.fixture_files import collect
from bridge.store import open_store
from bridge.web import create_app
from bridge.worker import Worker

logs.configure(logs.Redactor(), quiet=True)
settings = config.load()
store = open_store(settings.database_url)
store.migrate()
web = create_app(settings, store).test_client()
for file in collect(sys.argv[1:], settings.providers):
    provider = settings.providers[file.provider]
    sent = provider.sign(file.request, datetime.now(UTC))
    answer = web.post(f"/webhooks/{provider.route}", data=sent.body, headers=dict(sent.headers))
    assert answer.status_code == 200, answer.text
assert web.post("/webhooks/acmepay", data=b"{}").status_code == 400
Worker(store, settings).drain()
for each in store.orders.newest():
    print(json.dumps([each.id, str(each.paid), str(each.value), each.status]))
store.close()
"""


def add_fixture(tree: Path, name: str, body: dict[str, str], case: dict[str, Any]) -> None:
    folder = tree / "fixtures" / "providers" / "acmepay" / name
    folder.mkdir(parents=True)
    (folder / "body.json").write_text(json.dumps(body))
    (folder / "case.json").write_text(json.dumps(case))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy the tree and add the provider: one file, one fixture folder, one row."""
    copy_tree(tmp_path)
    source = REPOSITORY / "tests" / "acme_provider.py"
    shutil.copy(source, tmp_path / "bridge/providers/acmepay.py")
    add_fixture(tmp_path, "paid", SALE, CASE)
    row = (
        "| AcmePay (`acmepay`) | `/webhooks/acmepay` | orders and refunds | nothing | "
        "`ACMEPAY_WEBHOOK_SECRET`: signing secret (required) |"
    )
    add_row(tmp_path, row, before="| Stripe (`stripe`)")
    return tmp_path


def test_passes_every_check_on_plugins(tree: Path) -> None:
    names = "test_providers", "test_fixtures", "test_docs", "test_architecture"
    result = run_tests(tree, *names)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]


def test_works_end_to_end(tree: Path, tmp_path: Path) -> None:
    refund = tmp_path / "acmepay" / "refund.json"
    refund.parent.mkdir()
    refund.write_text(json.dumps(REFUND))
    result = run(
        tree,
        "-c",
        STORY,
        "acmepay/paid",
        str(refund),
        DATABASE_URL=f"sqlite:///{tmp_path}/fifth.db",
        ACMEPAY_WEBHOOK_SECRET="made-up",
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert json.loads(result.stdout) == ["acmepay:o_1", "49.00 EUR", "40.00 EUR", "approved"]


@pytest.mark.parametrize("missing", ["fixtures", "row"])
def test_is_missed_where_one_of_the_three_is_missing(tree: Path, missing: str) -> None:
    if missing == "fixtures":
        shutil.rmtree(tree / "fixtures" / "providers" / "acmepay")
    else:
        shutil.copy(REPOSITORY / "README.md", tree / "README.md")
    assert run_tests(tree, "test_providers", "test_docs").returncode == 1
