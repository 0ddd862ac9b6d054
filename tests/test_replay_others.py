"""Replay, over the fixtures of every provider: found by name, made fresh, signed, accepted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cases import CASES, FIXTURES, Case, case_of, made
from kit import bench, settings_of
from running import run, serving
from typing_in import complaint, printed

from bridge.cli.fixture_changes import change, parse_value
from bridge.cli.fixture_files import FixtureFile, collect
from bridge.model import Event, Payment
from bridge.providers import discover

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
KNOWN = list(discover())


def fresh(*names: str) -> list[FixtureFile]:
    return change(collect(names, KNOWN), [], fresh="seed", now=NOW)


def verified(file: FixtureFile) -> tuple[Event, list[Payment]]:
    """Return what a provider makes of a file that it signed itself."""
    provider = made(file.provider)
    event = provider.verify(provider.sign(file.request, NOW), NOW)
    return event, [] if event.ignored else provider.normalise(event)


def references(payments: list[Payment]) -> set[str]:
    """Return the ids of what payments belong to; a customer is none of these."""
    refs = {ref for each in payments for ref in each.references | {each.id}}
    return refs - {each.customer for each in payments}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fixture_is_found_by_its_name(case: Case) -> None:
    for name in (str(case), f"fixtures/providers/{case}", str(case.folder)):
        (file,) = collect([name], KNOWN)
        assert (file.provider, file.name) == (case.provider, case.name)
        assert (file.request.body, file.request.headers) == (
            case.request.body,
            {**file.request.headers, **case.request.headers},
        )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fixture_made_fresh_is_another_purchase_by_the_same_customer(case: Case) -> None:
    (old,) = collect([str(case)], KNOWN)
    (new,) = fresh(str(case))
    event, payments = verified(old)
    fresh_event, fresh_payments = verified(new)
    assert fresh_event.id != event.id
    assert (fresh_event.type, fresh_event.account, fresh_event.test, fresh_event.ignored) == (
        event.type,
        event.account,
        event.test,
        event.ignored,
    )
    # Some of Shopify's times are days: a dispute is won on one.
    assert timedelta() <= NOW - fresh_event.occurred_at < timedelta(days=1)
    assert len(fresh_payments) == len(payments)
    for one, other in zip(payments, fresh_payments, strict=True):
        for field in ("kind", "state", "amount", "net", "customer", "test", "account", "items"):
            assert getattr(other, field) == getattr(one, field), field
        assert (one.context and one.context.email) == (other.context and other.context.email)
        assert (one.context and one.context.metadata) == (other.context and other.context.metadata)
    assert not references(payments) & references(fresh_payments)


@pytest.mark.parametrize("provider", sorted({case.provider for case in CASES}))
def test_what_belongs_together_stays_together(provider: str) -> None:
    """The fixtures of a provider, all made fresh at once, share what they shared before."""
    old = collect([str(FIXTURES / provider)], KNOWN)
    new = change(old, [], fresh="seed", now=NOW)
    before = [references(verified(each)[1]) for each in old]
    after = [references(verified(each)[1]) for each in new]
    assert [len(each) for each in after] == [len(each) for each in before]
    for at, refs in enumerate(before):
        shared = [len(refs & each) for each in before]
        assert [len(after[at] & each) for each in after] == shared, old[at].name


def test_a_server_takes_the_fixtures_of_every_provider(tmp_path: Path) -> None:
    settings = settings_of(*KNOWN)
    names = [str(case) for case in CASES if case.provider != "stripe"]
    with serving(tmp_path, command="web", settings=settings) as web:
        sent = run("replay", *names, "--to", web.url, settings=settings, folder=tmp_path)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        again = run(
            *("replay", *names, "--fresh-ids", "--to", web.url), settings=settings, folder=tmp_path
        )
        assert again.returncode == 0, again.stdout + again.stderr
        assert " duplicate" not in again.stdout


def test_an_event_without_its_body_is_not_processed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = case_of("shopify/orders/paid").case["event"]
    till = case_of("shopify/orders/paid@pos").case["event"]
    with bench(tmp_path / "bridge.db", monkeypatch) as shop:
        shop.play("shopify/orders/paid", "shopify/orders/paid@pos", "shopify/customers/redact")
        key = f"shopify:{order['account']}/{order['id']}"
        assert printed("replay", key, till["id"]).splitlines() == [
            "1 event will be processed again",
            "1 event will not: its body was redacted",
        ]
        assert "2 events will not: their bodies were" in printed("replay", key, order["id"])


def test_a_name_that_two_providers_have_is_asked_about() -> None:
    said = complaint(2, "replay", "customer.created")
    assert "may be paddle/customer.created or stripe/customer.created: say which" in said


def test_a_value_set_in_a_form_is_signed_with_it() -> None:
    files = collect(["paddle_classic/payment_succeeded"], KNOWN)
    (file,) = change(files, [parse_value("sale_gross=10.00")])
    _, (payment,) = verified(file)
    assert payment.amount is not None
    assert payment.amount.format().startswith("10.00")


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("stripe/invoice.paid", "STRIPE_WEBHOOK_SECRET"),
        ("paddle/transaction.completed", "PADDLE_WEBHOOK_SECRET"),
        ("paddle_classic/payment_succeeded", "PADDLE_CLASSIC_PUBLIC_KEY"),
        ("orders/paid", "SHOPIFY_API_SECRET"),
    ],
)
def test_without_a_provider_its_required_settings_are_named(
    name: str, setting: str, tmp_path: Path
) -> None:
    ended = run("replay", name, settings={}, folder=tmp_path)
    assert ended.returncode != 0
    assert f"is not configured (set {setting})" in ended.stderr


def test_a_provider_that_cannot_sign_says_what_it_needs(tmp_path: Path) -> None:
    settings = settings_of("paddle_classic")
    del settings["PADDLE_CLASSIC_PRIVATE_KEY"]
    name = "paddle_classic/payment_succeeded"
    ended = run("replay", name, settings=settings, folder=tmp_path)
    assert ended.returncode == 1
    assert "PADDLE_CLASSIC_PRIVATE_KEY" in ended.stderr
