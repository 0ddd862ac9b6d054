"""A provider's file with a mistake in it, and the same file mended: what failed is replayed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from conftest import REPOSITORY
from copied_tree import run

# Through the web, and then the worker; prints how the orders stand.
WORK = """
import sys
from datetime import UTC, datetime
from bridge import config, logs
from bridge.model import WebhookRequest
from bridge.store import open_store
from bridge.web import create_app
from bridge.worker import Worker

settings = config.load()
logs.configure(logs.Redactor(settings.secrets()), quiet=True)
store = open_store(settings.database_url)
store.migrate()
web = create_app(settings, store).test_client()
provider = settings.providers["acmepay"]
for body in sys.argv[1:]:
    sent = provider.sign(WebhookRequest({}, body.encode()), datetime.now(UTC))
    answer = web.post("/webhooks/acmepay", data=sent.body, headers=dict(sent.headers))
    assert answer.status_code == 200, answer.text
Worker(store, settings).drain()
for each in store.orders.newest():
    print(each.id, each.value, each.status)
store.close()
"""
RIGHT = 'amount = Money.parse(data["amount"], data["currency"])'
WRONG = 'amount = Money.parse(data["total"], data["currency"])'


def event(id: str, kind: str, amount: str, day: int) -> str:
    at = f"2026-11-{day}T12:00:00Z"
    return json.dumps(
        {"id": id, "type": kind, "at": at, "order": "o_1", "amount": amount, "currency": "EUR"}
        | ({"total": amount} if id != "ev_refund" else {})
    )


def test_what_an_old_version_could_not_process_a_new_one_can(tmp_path: Path) -> None:
    shutil.copytree(
        REPOSITORY / "bridge", tmp_path / "bridge", ignore=shutil.ignore_patterns("__pycache__")
    )
    source = (REPOSITORY / "tests" / "acme_provider.py").read_text("utf-8")
    plugin = tmp_path / "bridge" / "providers" / "acmepay.py"
    settings = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/poison.db",
        "ACMEPAY_WEBHOOK_SECRET": "made-up-for-tests",
    }

    def bridge(*command: str) -> str:
        ran = run(tmp_path, *command, **settings)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout

    assert source.count(RIGHT) == 1
    plugin.write_text(source.replace(RIGHT, WRONG))
    events = (
        event("ev_sale", "paid", "49.00", 20),
        event("ev_refund", "refunded", "9.00", 21),
        event("ev_more", "refunded", "1.00", 22),
    )
    assert bridge("-c", WORK, *events) == "acmepay:o_1 48.00 EUR approved\n"
    (story,) = json.loads(bridge("-m", "bridge", "show", "ev_refund", "--json"))
    (failed,) = story["events"]
    assert failed["state"] == "failed"
    assert failed["reason"].startswith("KeyError: 'total' (bridge ")
    assert "`bridge replay ev_refund`" in failed["reason"]

    plugin.write_text(source)
    again = bridge("-m", "bridge", "replay", "ev_refund")
    assert again == "1 event will be processed again\n"
    assert bridge("-c", WORK) == "acmepay:o_1 39.00 EUR approved\n"
