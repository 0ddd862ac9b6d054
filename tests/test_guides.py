"""The five-minute guides of the README, done as they say: each ends with a credited payment."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from browser import FLAGS, chromium_path
from playwright.sync_api import sync_playwright
from running import PATIENCE, free_port, until
from test_docs import section

GUIDE = section("Five minutes to a credited test payment")
STAGE, LEAD, *PAYMENTS = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.M | re.S)
LANDING = re.findall(r"`(http://127.0.0.1:8080/\?[^`]+)`", GUIDE)
CLICKS = {"taapit": "rLnWe1uz9t282v7g", "tapfiliate": "jane"}


@dataclass(frozen=True)
class Guide:
    """Follow the guide in a folder of its own, on free ports."""

    folder: Path
    ports: dict[str, str]
    environment: dict[str, str]

    def adapted(self, text: str) -> str:
        """Return a text of the guide with the ports that are free here."""
        text = text.replace("bridge sandbox", f"bridge sandbox --port {self.ports['8100']}")
        return re.sub(r"\b(8000|8080|8100)\b", lambda found: self.ports[found[0]], text)

    def start(self, text: str) -> subprocess.Popen[bytes]:
        """Start a block of commands, and all that it starts, as one group."""
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", self.adapted(text)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def run(self, text: str) -> None:
        """Run a block of commands to its end."""
        process = self.start(text)
        assert process.wait(PATIENCE) == 0, (self.folder / "said").read_text()

    def held(self, vendor: str, kind: str) -> list[dict[str, Any]]:
        """Return the leads or sales that a vendor holds."""
        ledger = requests.get(f"http://127.0.0.1:{self.ports['8100']}/ledger", timeout=PATIENCE)
        held: list[dict[str, Any]] = ledger.json()[vendor][kind]
        return held

    def told(self, vendor: str, count: int) -> list[dict[str, Any]]:
        """Return the sales that a vendor holds, once they are as many."""
        sales = self.held(vendor, "sales")
        return sales if len(sales) >= count else []


@pytest.fixture
def guide(tmp_path: Path) -> Guide:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, start in (("bridge", f"{sys.executable} -m bridge"), ("python3", sys.executable)):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec {start} "$@"\n')
        command.chmod(0o755)
    ports = {each: str(free_port()) for each in ("8000", "8080", "8100")}
    environment = {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "HOST": "127.0.0.1",
        "PORT": ports["8000"],
    }
    return Guide(tmp_path, ports, environment)


@pytest.fixture
def stage(guide: Guide) -> Iterator[Guide]:
    """Set the stage as the guide says, and end all of it."""
    group = guide.start(STAGE)
    try:
        for port, path in (("8000", "readyz"), ("8080", ""), ("8100", "ledger")):
            until(partial(answers, guide, port, path), f"port {port} answers")
        yield guide
    finally:
        os.killpg(group.pid, signal.SIGTERM)
        group.wait(PATIENCE)


def answers(guide: Guide, port: str, path: str) -> bool:
    try:
        url = f"http://127.0.0.1:{guide.ports[port]}/{path}"
        return requests.get(url, timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


def visit(guide: Guide) -> None:
    """Land on the shop's page and sign up, in a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        page = browser.new_page()
        with page.expect_response("**/clicks?*") as landed:
            page.goto(guide.adapted(LANDING[0]))
        with page.expect_response("**/clicks?*") as identified:
            page.get_by_text("Sign up").click()
        assert (landed.value.status, identified.value.status) == (201, 201)
        browser.close()


def test_every_guide_ends_with_a_credited_payment(stage: Guide) -> None:
    assert len(PAYMENTS) == 4
    visit(stage)
    stage.run(LEAD)
    for vendor, click in CLICKS.items():
        (lead,) = until(partial(stage.held, vendor, "leads"), f"a lead at {vendor}")
        assert (lead["customer"], lead["click"]) == ("user_1001", click)
    for count, payment in enumerate(PAYMENTS, start=1):
        stage.run(payment)
        for vendor, click in CLICKS.items():
            *before, sale = until(partial(stage.told, vendor, count), payment)
            assert len(before) == count - 1
            assert (sale["customer"], sale["click"]) == ("user_1001", click)
