"""`bridge demo`: what somebody who has just installed bridge sees first."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from kit import CUSTOMER, SALE, bench
from running import Running, is_alive, run, running, until

from bridge.cli.demo import _check
from bridge.cli.demo_story import STORY, customers, fixtures
from bridge.config import Config
from bridge.errors import BridgeError
from bridge.model import PaymentKind

VENDORS = ("CodeQR", "Taapit", "Tapfiliate", "Tracify", "Trackdesk")


def test_the_demo_tells_its_story_and_ends_well(tmp_path: Path) -> None:
    ended = run("demo", settings={}, folder=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    for words in (
        *(scene.title for scene in STORY),
        *(f"What arrives from {name}" for name in ("Stripe", "Paddle", "Shopify")),
        *VENDORS,
        "invoice.paid: duplicate",
        "nothing changes",
        "49.00 → 32.19 → taken back → 32.19 EUR",  # Stripe
        "62.10 → 45.29 → taken back → 45.29 EUR",  # Paddle
        "551234567890123457: 50.00 EUR, customer forgotten",
        "54.00 → 43.68 → 14.80 → taken back → 14.80 EUR",  # Shopify
        "no click stored for this customer",
        "test mode (BRIDGE_TEST_EVENTS=deliver sends it)",
        "None twice, none missing.",
    ):
        assert words in ended.stdout
    # What went back has found its sale.
    assert "(parked)" not in ended.stdout.partition("Who was credited")[2]
    assert list(tmp_path.iterdir()) == []


def test_its_story_is_short_and_whole() -> None:
    assert len(STORY) <= 25
    for scene in STORY:
        assert scene.events
        assert set(scene.fixtures) <= set(fixtures())


def test_who_came_by_a_click_is_known_without_a_providers_layout(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, bench(tmp_path / "bridge.db", patch, ()) as made:
        clicked = customers(made.config, fixtures())
        assert {provider for provider, _ in clicked} == {"stripe", "paddle", "shopify"}
        assert clicked["stripe", CUSTOMER] <= _first_sale(made.config, CUSTOMER)
        unclicked = customers(made.config, fixtures(), [each for each in STORY if not each.clicked])
        assert unclicked == {}


def _drop(sales: list[Any]) -> None:
    sales.pop()


def _double(sales: list[Any]) -> None:
    sales.append(sales[0])


def _swap(sales: list[Any]) -> None:
    sales[0]["order"] = "in_another"


@pytest.mark.parametrize("wrong", [_drop, _double, _swap])
def test_a_demo_that_ends_badly_says_so(
    wrong: Callable[[list[Any]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(tmp_path / "bridge.db", monkeypatch) as made:
        made.click(CUSTOMER)
        made.play(*SALE)
        _check(made.store, made.vendors.ledger.as_json())
        held = made.vendors.ledger.as_json()
        wrong(held["tapfiliate"]["sales"])
        with pytest.raises(BridgeError, match="did not end well"):
            _check(made.store, held)


def test_a_delivery_that_is_not_done_ends_the_demo_badly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(tmp_path / "bridge.db", monkeypatch) as made:
        made.fault("tapfiliate", {"status": 422, "body": "{}"})
        made.click(CUSTOMER)
        made.play(*SALE)
        with pytest.raises(BridgeError, match="did not end well"):
            _check(made.store, made.vendors.ledger.as_json())


def test_it_leaves_the_settings_around_it_alone_and_fits_80_columns(tmp_path: Path) -> None:
    real = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/real.db",
        "TAAPIT_BASE_URL": "https://taapit.example",
        "PORT": "1",
        "HOST": "192.0.2.1",
        "BRIDGE_DRY_RUN": "1",
        "COLUMNS": "80",
    }
    (tmp_path / ".env").write_text("STRIPE_WEBHOOK_SECRET=whsec_real\nBRIDGE_TEST_EVENTS=deliver\n")
    ended = run("demo", settings=real, folder=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [each.name for each in tmp_path.iterdir()] == [".env"]
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_it_stays_up_for_looking_around_until_ctrl_c(tmp_path: Path) -> None:
    with running("demo", "--keep", settings={}, folder=tmp_path) as demo:
        folder, (server,) = _stays(demo), demo.children(" serve ")
        _look_around(demo, folder)
        assert demo.interrupt() == 0
        assert not is_alive(server)
        assert not folder.exists()
        assert "Traceback" not in demo.said()


def test_sigterm_ends_it_too(tmp_path: Path) -> None:
    with running("demo", "--keep", settings={}, folder=tmp_path) as demo:
        folder, (server,) = _stays(demo), demo.children(" serve ")
        assert demo.end(signal.SIGTERM) == 0
        assert not is_alive(server)
        assert not folder.exists()


def test_ctrl_c_in_the_middle_of_it_leaves_nothing_behind(tmp_path: Path) -> None:
    with running("demo", settings={}, folder=tmp_path) as demo:
        (server,) = until(lambda: demo.children(" serve "), "a server")
        assert demo.interrupt() == 130
        until(lambda: not is_alive(server), "the server to end")
        assert "Traceback" not in demo.said()


def test_its_server_ends_with_it_when_it_is_killed(tmp_path: Path) -> None:
    with running("demo", settings={}, folder=tmp_path) as demo:
        (server,) = until(lambda: demo.children(" serve "), "a server")
        demo.end(signal.SIGKILL)
        until(lambda: not is_alive(server), "the server to end")


def _stays(demo: Running) -> Path:
    """Wait until the demo stays up; return its folder."""
    until(lambda: "Ctrl-C ends it" in demo.said() or demo.process.poll(), "the demo to stay")
    return Path(_line(demo, "cd ")[1])


def _look_around(demo: Running, folder: Path) -> None:
    """Do what it says one can do."""
    shown = run("show", _line(demo, " show ")[-1], settings={}, folder=folder)
    assert "What the vendors were told" in shown.stdout
    sent = _line(demo, " replay ")
    replayed = run(*sent[sent.index("replay") :], settings={}, folder=folder)
    assert replayed.returncode == 0, replayed.stderr
    held = _line(demo, "/ledger")[-1].rstrip(".")
    assert set(requests.get(held, timeout=30).json()) == {name.lower() for name in VENDORS}


def _line(demo: Running, holding: str) -> list[str]:
    return next(line for line in demo.said().splitlines() if holding in line).split()


def _first_sale(config: Config, customer: str) -> Any:
    provider = config.providers["stripe"]
    payments = [
        payment
        for name, file in fixtures().items()
        if name.startswith("stripe/")
        for payment in provider.normalise(provider.read(file.request))
    ]
    return min(
        each.occurred_at
        for each in payments
        if each.kind is PaymentKind.SALE and each.customer == customer
    )
