"""Every fixture of every provider: body in, event and payments out. New ones add data only."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

from bridge import codec, providers
from bridge.model import Payment, WebhookRequest
from bridge.providers.base import AnyProvider

FIXTURES = REPOSITORY / "fixtures" / "providers"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CASES = sorted(path.parent for path in FIXTURES.glob("*/*/body.json"))


def made(name: str, **settings: Any) -> AnyProvider:
    """Return a provider with made-up values for the settings it requires."""
    kind = providers.discover()[name]
    required = {
        field: "whsec_made_up_for_tests"
        for field, info in kind.settings_type.model_fields.items()
        if info.is_required()
    }
    return kind(kind.settings_type(**(required | settings)))


@pytest.mark.parametrize("folder", CASES, ids=lambda each: f"{each.parent.name}/{each.name}")
def test_means_what_its_case_says(folder: Path) -> None:
    case = json.loads((folder / "case.json").read_text("utf-8"))
    body = (folder / "body.json").read_text("utf-8")
    provider = made(folder.parent.name, **case.get("settings", {}))
    headers = {name.lower(): value for name, value in case["headers"].items()}
    signed = {name.lower(): value for name, value in provider.sign(body, NOW).items()}

    event = provider.verify(WebhookRequest(headers | signed, body.encode()), NOW)

    expected = case["event"]
    assert (event.id, event.type) == (expected["id"], expected["type"])
    assert event.occurred_at == codec.from_iso(expected["occurred_at"])
    assert event.account == expected.get("account", "")
    assert event.test == expected.get("test", False)
    assert bool(event.ignored) == expected.get("ignored", False)
    assert bool(event.waits_for) == expected.get("waits", False)
    payments = [] if event.waits_for else provider.normalise(event)
    assert payments == [codec.from_plain(Payment, each) for each in case["payments"]]


def test_every_provider_has_fixtures() -> None:
    assert {folder.parent.name for folder in CASES} == set(providers.discover())
