"""A sixth vendor is one file, one fixture folder and one README row: shown on a copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from threading import Thread

import pytest
from conftest import REPOSITORY
from copied_tree import add_row, copy_tree, run, run_tests
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

CALL = {
    "description": "A sale that Acme has not been told of.",
    "conversion": {"clicks": {"acme": {"click_id": "a1"}}},
    "told": {},
    "expect": {"skip": "filled in below"},
}
ANSWER = {
    "description": "Acme accepts a sale.",
    "call": {
        "step": "sale",
        "method": "PUT",
        "url": "https://api.acme.example/sales/in_1",
        "json": {"status": "approved"},
        "tells": {"steps": ["sale"], "status": "approved"},
    },
    "response": {"status": 204},
    "expect": {"told": {"steps": ["sale"], "status": "approved"}},
}
STORY = """
import json, sys
from datetime import UTC, datetime
from bridge import config, logs
from bridge.inbox import receive
from bridge.intake import Intake
from bridge.model import WebhookRequest
from bridge.store import open_store
from bridge.worker import Worker

logs.configure(logs.Redactor(), quiet=True)
settings = config.load()
store = open_store(settings.database_url)
store.migrate()
for name in ("invoice_payment.paid", "invoice.paid", "refund.created@everything"):
    path = f"fixtures/providers/stripe/{name.partition('@')[0]}/body.json"
    body = open(path).read()
    if name.endswith("@everything"):
        body = body.replace('"amount": 2000', '"amount": 5831')
    event = settings.providers["stripe"].read(WebhookRequest({}, body.encode()))
    receive(store, event, datetime.now(UTC))
    if name == "invoice_payment.paid":
        customer = json.loads(open("fixtures/providers/stripe/invoice.paid/body.json").read())
        keys = ["stripe:" + customer["data"]["object"]["customer"]]
        at = event.occurred_at
        Intake(store, settings).add_clicks(keys, {"acme": "a1"}, at, at, exact=False)
    Worker(store, settings).drain()
for row in store.deliveries.newest():
    print(json.dumps([row.vendor, row.state, row.reason, row.told.status]))
store.close()
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy the tree and add the vendor: one file, one fixture folder, one row."""
    copy_tree(tmp_path)
    shutil.copy(REPOSITORY / "tests" / "acme_vendor.py", tmp_path / "bridge/vendors/acme.py")
    folder = tmp_path / "fixtures" / "vendors" / "acme"
    for part in ("calls", "answers"):
        (folder / part).mkdir(parents=True)
    call = CALL | {"told": {"steps": ["sale"], "status": "approved"}, "expect": {"done": True}}
    (folder / "calls" / "told.json").write_text(json.dumps(call))
    (folder / "answers" / "accepted.json").write_text(json.dumps(ANSWER))
    (folder / "settings.json").write_text(json.dumps({"api_key": "made-up"}))
    row = (
        "| Acme (`acme`) | affiliate | yes | no | no | yes | no | yes | yes | yes | no | "
        "`acme_click_id` | "
        "`ACME_API_KEY`: API key (required) |"
    )
    add_row(tmp_path, row, before="| Taapit")
    return tmp_path


def test_passes_every_check_on_plugins(tree: Path) -> None:
    result = run_tests(tree, "test_vendors", "test_docs")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]


def test_works_end_to_end(tree: Path, tmp_path: Path) -> None:
    told: list[tuple[str, str, object]] = []

    @Request.application
    def acme(request: Request) -> Response:
        told.append((request.method, request.path, json.loads(request.get_data())))
        return Response(status=204 if request.headers.get("X-Acme-Key") == "k1" else 401)

    server = make_server("127.0.0.1", 0, acme)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        result = run(
            tree,
            "-c",
            STORY,
            DATABASE_URL=f"sqlite:///{tmp_path}/sixth.db",
            STRIPE_WEBHOOK_SECRET="whsec_made_up",
            ACME_API_KEY="k1",
            ACME_BASE_URL=f"http://127.0.0.1:{server.server_port}",
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert result.returncode == 0, result.stderr[-2000:]
    assert json.loads(result.stdout) == ["acme", "settled", "", "disapproved"]
    order = told[0][1]
    assert told == [
        ("PUT", order, {"status": "approved", "amount": "49.00", "click": "a1"}),
        ("PUT", order, {"status": "disapproved"}),
    ]


def test_is_missed_where_one_of_the_three_is_missing(tree: Path) -> None:
    shutil.rmtree(tree / "fixtures" / "vendors" / "acme")
    result = run_tests(tree, "test_vendors")
    assert result.returncode == 1
    assert "acme" in result.stdout
