"""Every fixture of every provider: request in, event and payments out. New ones add data only."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cases import CASES, Case, made

from bridge import codec, providers
from bridge.model import Erasure, Payment

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize("fixture", CASES, ids=str)
def test_means_what_its_case_says(fixture: Case) -> None:
    case = fixture.case
    provider = made(fixture.provider, **case.get("settings", {}))

    event = provider.verify(provider.sign(fixture.request, NOW), NOW)

    expected = case["event"]
    assert (event.id, event.type) == (expected["id"], expected["type"])
    assert event.occurred_at == codec.from_iso(expected["occurred_at"])
    assert event.account == expected.get("account", "")
    assert event.test == expected.get("test", False)
    assert bool(event.ignored) == expected.get("ignored", False)
    assert bool(event.waits_for) == expected.get("waits", False)
    payments = [] if event.waits_for or event.ignored else provider.normalise(event)
    assert payments == [codec.from_plain(Payment, each) for each in case["payments"]]
    erasure = codec.from_plain(Erasure, case["erasure"]) if "erasure" in case else None
    assert provider.erasure(event) == erasure


def test_every_provider_has_fixtures() -> None:
    assert {each.provider for each in CASES} == set(providers.discover())
