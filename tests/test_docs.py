"""The README is held to the code: what exists is documented, and what is documented exists."""

from __future__ import annotations

import dataclasses
import re

import click
import pytest
from conftest import REPOSITORY

from bridge import config, providers, vendors
from bridge.cli import main
from bridge.config import Setting
from bridge.vendors.base import Capabilities, VendorSettings

# What every vendor has is told once: TAAPIT_RATE as <VENDOR>_RATE.
SHARED = {
    f"{vendor}_{field}".upper(): f"<VENDOR>_{field.upper()}"
    for vendor in vendors.discover()
    for field in VendorSettings.model_fields
}
README = (REPOSITORY / "README.md").read_text("utf-8")


def section(title: str) -> str:
    """Return the text of one section of the README."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert found, f"the README has no section {title!r}"
    return found[1]


def rows(title: str) -> dict[str, list[str]]:
    """Return the rows of a section's table by their first cell."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    return {row[0]: row[1:] for row in cells}


@pytest.mark.parametrize("title", ["Run it", "Test it"])
def test_commands_are_one_line(title: str) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", section(title), re.M | re.S)
    assert len(blocks) == 1
    assert len(blocks[0].splitlines()) == 1


@pytest.mark.parametrize("setting", config.known_settings(), ids=lambda each: each.name)
def test_every_setting_is_in_the_readme(setting: Setting) -> None:
    assert setting.meaning, f"{setting.name} has no description"
    if setting.owner == "bridge" or setting.name in SHARED:
        name = SHARED.get(setting.name, setting.name)
        where = " ".join(rows("Settings").get(f"`{name}`", []))
    else:
        where = plugin_row(setting.owner)
        assert f"`{setting.name}`" in where, f"{setting.name} is missing from its plugin's row"
    assert where, f"{setting.name} is missing from the README's settings"
    if setting.default:
        assert f"`{setting.default}`" in where


def plugin_row(name: str) -> str:
    """Return the one row of a plugin, all its cells."""
    tables = rows("Providers") | rows("Vendors")
    return " ".join(each for title, row in tables.items() if f"(`{name}`)" in title for each in row)


def test_no_setting_is_made_up() -> None:
    known = {setting.name for setting in config.known_settings()}
    assert set(rows("Settings")) <= {f"`{name}`" for name in known | set(SHARED.values())}
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", section("Providers") + section("Vendors")))
    assert named <= known


@pytest.mark.parametrize("command", main.commands)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`bridge {command}" in section("Commands")


def test_no_command_is_made_up() -> None:
    named = set(re.findall(r"`bridge ([a-z]+)", README))
    assert named <= set(main.commands)


@pytest.mark.parametrize("name", main.commands)
def test_every_option_has_help(name: str) -> None:
    command = main.commands[name]
    assert command.help
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert all(each.help or each.hidden for each in options)


@pytest.mark.parametrize("name", vendors.discover())
def test_vendor_row_says_what_the_code_can(name: str) -> None:
    vendor = vendors.discover()[name]
    row = rows("Vendors").get(f"{vendor.title} (`{name}`)")
    assert row is not None, f"{vendor.title} is missing from the README's vendors"
    said = {
        field.name: said == "yes"
        for field, said in zip(dataclasses.fields(Capabilities), row[1:], strict=False)
    }
    assert row[0] == vendor.kind
    assert said == dataclasses.asdict(vendor.capabilities)
    can = vendor.capabilities
    assert can.update == (can.partial or can.disapprove or can.reapprove)


@pytest.mark.parametrize("name", providers.discover())
def test_every_provider_is_in_the_readme(name: str) -> None:
    title = providers.discover()[name].title
    assert any(f"{title} (`{name}`)" in row for row in rows("Providers"))


@pytest.mark.parametrize("name", vendors.discover())
def test_names_of_click_ids_are_in_the_readme(name: str) -> None:
    for each in vendors.discover()[name].click_names:
        assert f"`{each}`" in plugin_row(name), f"{each} is missing from the README"
