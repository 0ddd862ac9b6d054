"""Leads as typed: listed, shown, explained, replayed, and removed with whom they are of."""

from __future__ import annotations

import pytest
from kit import CLICKS, CUSTOMER, SALE, Bench, Make
from merchant import USER, WHO, conversions, counted, sign_up
from redactions import EMAIL, on_disk, written
from typing_in import bridge, listed, printed

AFFILIATES = sorted(CLICKS)


@pytest.fixture
def known(make: Make) -> Bench:
    """A customer with a lead, told to every vendor."""
    made = make()
    sign_up(made, customer={**WHO, "email": EMAIL, "stripe": CUSTOMER})
    return made


def test_a_lead_is_listed_as_one(known: Bench) -> None:
    (lead,) = conversions(known)
    (row,) = listed("conversions")
    assert (row["id"], row["kind"], row["provider"]) == (lead.id, "lead", "bridge")
    assert (row["customer"], row["status"], row["test"]) == (USER, "approved", False)
    assert row["paid"]["minor"] == row["taken_back"]["minor"] == 0
    (event,) = listed("events")
    assert (event["type"], event["state"]) == ("lead", "processed")


@pytest.mark.parametrize("id", [USER, EMAIL, CUSTOMER, "lead", "order"])
def test_a_lead_is_shown_by_any_id(known: Bench, id: str) -> None:
    (lead,) = conversions(known)
    id = {"lead": lead.id, "order": lead.order}.get(id, id)
    (story,) = listed("show", id)
    assert [each["id"] for each in story["conversions"]] == [lead.id]
    assert {row["vendor"]: row["state"] for row in story["deliveries"]} == {
        **dict.fromkeys(AFFILIATES, "settled"),
        "tracify": "skipped",
    }
    text = printed("show", id)
    for word in (lead.id, "tid_1", f"external_id:{USER}"):
        assert word in text


def test_a_lead_is_explained(known: Bench) -> None:
    (lead,) = conversions(known)
    assert {each["delivery"]: each["steps"][-1] for each in listed("explain", lead.id)} == {
        **{f"{lead.id}@{name}": {"done": True} for name in AFFILIATES},
        f"{lead.id}@tracify": {"skip": "Tracify takes no leads"},
    }


def test_a_lead_may_be_replayed(known: Bench) -> None:
    (event,) = listed("events")
    assert event["id"].startswith("lead_")
    before = counted(known)
    assert "1 event will be processed again" in printed("replay", event["id"])
    known.worker.drain()
    (again,) = listed("events")
    assert (again["state"], len(conversions(known))) == ("processed", 1)
    assert counted(known) == before


@pytest.mark.parametrize("sold", [False, True])
def test_nothing_of_a_redacted_lead_is_left_on_the_disk(known: Bench, sold: bool) -> None:
    if sold:
        known.play(*SALE)
    person = {USER, CUSTOMER, EMAIL, *CLICKS.values()}
    assert on_disk(known, person) >= {USER, CUSTOMER, *CLICKS.values()}
    assert printed("redact", USER, "--yes").startswith("removed: 3 ids, ")
    assert on_disk(known, person) == set()
    (lead,) = conversions(known)
    assert lead.redacted
    before = counted(known)
    known.worker.drain()
    (event,) = [each for each in listed("events") if each["type"] == "lead"]
    assert "will not" in printed("replay", event["id"])
    assert counted(known) == before
    assert written(known, USER) == set()


def test_who_comes_back_after_a_redaction_is_a_new_lead(known: Bench) -> None:
    printed("redact", USER, "--yes")
    sign_up(known, occurred_at="2026-11-05T00:00:00Z", clicks={"taapit": "tid_9"})
    assert bridge("show", USER).exit_code == 0
    new = [each for each in conversions(known) if not each.redacted]
    assert [each.clicks["taapit"] for each in new] == [{"click_id": "tid_9"}]
