"""What Heroku and Render read: every name in it is known, every command is one, and it fits."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

import pytest
from conftest import REPOSITORY
from installed import closure
from packaging.specifiers import SpecifierSet
from test_procfile import PROCFILE

from bridge import config
from bridge.cli import main

yaml: Any = import_module("yaml")  # it comes with pre-commit, without types
APP = json.loads((REPOSITORY / "app.json").read_text("utf-8"))
DISK, POSTGRES = "render.yaml", "render.postgres.yaml"
RENDER = {name: yaml.safe_load((REPOSITORY / name).read_text("utf-8")) for name in (DISK, POSTGRES)}
SERVICES = [(name, each) for name, file in RENDER.items() for each in file["services"]]
KNOWN = {each.name for each in config.known_settings()}
# The ways in which Render comes by a value.
SOURCES = {"value", "generateValue", "sync", "fromDatabase", "fromService"}


def load(monkeypatch: pytest.MonkeyPatch, **settings: str) -> config.Config:
    """Read the settings as the platform sets them."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return config.load()


def is_command(line: str) -> bool:
    """Tell whether a line is one of ours, with nothing that is not there."""
    return bool(re.fullmatch("bridge ([a-z]+)", line)) and line.split()[1] in main.commands


# ── Heroku ───────────────────────────────────────────────────────────────────────────────────────


def test_heroku_is_asked_for_settings_that_there_are() -> None:
    assert set(APP["env"]) <= KNOWN
    secret = {each.name for each in config.known_settings() if each.secret}
    for name, setting in APP["env"].items():
        assert setting.keys() <= {"description", "value", "required", "generator"}
        assert setting["description"]
        assert not (name in secret and "value" in setting)


def test_heroku_makes_up_the_keys_that_nobody_has_to_know() -> None:
    made_up = {name for name, each in APP["env"].items() if each.get("generator") == "secret"}
    assert made_up == {"BRIDGE_SECRET_KEY", "BRIDGE_API_KEY"}


def test_what_heroku_sets_is_enough_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        name: each.get("value", "a" * 64 if "generator" in each else "")
        for name, each in APP["env"].items()
    }
    found = load(monkeypatch, **given, DATABASE_URL="postgres://u:p@host/database")
    assert found.settings.trusted_proxies == 1
    assert (found.providers, found.vendors) == ({}, {})


def test_heroku_runs_the_process_types_of_the_procfile() -> None:
    assert set(APP["formation"]) == set(PROCFILE) - {"release"}
    assert APP["formation"]["web"]["quantity"] == 1
    assert [each["plan"] for each in APP["addons"]] == ["heroku-postgresql:essential-0"]
    assert [each["url"] for each in APP["buildpacks"]] == ["heroku/python"]


def test_a_plan_of_twenty_connections_has_room_for_two_sets_of_dynos() -> None:
    """While dynos are replaced, the old and the new ones are there; a worker has one more."""
    pool = config.BridgeSettings().database_pool
    assert PROCFILE["web"].endswith("bridge serve")
    assert 2 * (int(APP["env"]["WEB_CONCURRENCY"]["value"]) * pool + pool + 1) <= 20


def test_heroku_installs_what_pyproject_names_and_nothing_else() -> None:
    lines = (REPOSITORY / "requirements.txt").read_text("utf-8").splitlines()
    assert [each for each in lines if not each.startswith("#")] == ["."]
    others = ("Pipfile", "Pipfile.lock", "poetry.lock", "uv.lock", "setup.py", "runtime.txt")
    assert not [each for each in others if (REPOSITORY / each).exists()]


def test_both_read_a_version_of_python_that_all_of_it_runs_on() -> None:
    version = (REPOSITORY / ".python-version").read_text("utf-8").strip()
    assert re.fullmatch(r"3\.\d+", version)
    for each in closure().values():
        assert f"{version}.99" in SpecifierSet(str(each.metadata.json.get("requires_python", "")))


# ── Render ───────────────────────────────────────────────────────────────────────────────────────


def variables(file: str, service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the variables of a service by their name, those of its groups among them."""
    groups = {each["name"]: each["envVars"] for each in RENDER[file].get("envVarGroups", [])}
    found = {}
    for each in service["envVars"]:
        for one in groups[each["fromGroup"]] if "fromGroup" in each else [each]:
            assert one["key"] not in found
            found[one["key"]] = {name: value for name, value in one.items() if name != "key"}
    return found


@pytest.mark.parametrize(("file", "service"), SERVICES, ids=[each["name"] for _, each in SERVICES])
def test_render_runs_our_commands_with_settings_that_there_are(
    file: str, service: dict[str, Any]
) -> None:
    assert service["runtime"] == "python"
    assert service["buildCommand"] == "pip install ."
    assert is_command(service["startCommand"])
    assert service.get("preDeployCommand", PROCFILE["release"]) == PROCFILE["release"]
    found = variables(file, service)
    assert found.keys() <= KNOWN
    for one in found.values():
        (source,) = one
        assert source in SOURCES
        assert isinstance(one.get("value", ""), str)


@pytest.mark.parametrize("file", RENDER)
def test_render_makes_up_what_nobody_has_to_know_and_asks_for_secrets(file: str) -> None:
    secret = {each.name for each in config.known_settings() if each.secret} - {"DATABASE_URL"}
    for service in RENDER[file]["services"]:
        for name, one in variables(file, service).items():
            if name in {"BRIDGE_SECRET_KEY", "BRIDGE_API_KEY"}:
                assert one == {"generateValue": True}
            elif name in secret:
                assert one == {"sync": False} or set(one) == {"fromService"}


@pytest.mark.parametrize("file", RENDER)
def test_what_render_refers_to_is_there(file: str) -> None:
    services = {each["name"]: each for each in RENDER[file]["services"]}
    databases = {each["name"] for each in RENDER[file].get("databases", [])}
    for service in services.values():
        for name, one in variables(file, service).items():
            if database := one.get("fromDatabase"):
                assert database["name"] in databases
            if other := one.get("fromService"):
                there = services[other["name"]]
                assert there["type"] == other["type"]
                assert name == other["envVarKey"]
                assert variables(file, there)[name] == {"sync": False}


def test_on_a_disk_the_ledger_lies_on_the_disk_and_migrates_where_it_is_mounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (service,) = RENDER[DISK]["services"]
    assert (service["type"], service["startCommand"]) == ("web", "bridge serve")
    given = {name: one.get("value", "") for name, one in variables(DISK, service).items()}
    found = load(monkeypatch, **given)
    assert found.database_url.startswith(f"sqlite:///{service['disk']['mountPath']}/")
    assert service["disk"]["mountPath"].startswith("/")
    # Render mounts the disk for the start command alone, and takes no longer grace with one.
    assert not {"preDeployCommand", "numInstances", "maxShutdownDelaySeconds"} & set(service)


def test_on_postgresql_web_and_worker_run_apart_with_the_same_settings() -> None:
    found = {each["type"]: each for each in RENDER[POSTGRES]["services"]}
    assert {kind: each["startCommand"] for kind, each in found.items()} == {
        "web": "bridge web",
        "worker": "bridge work",
    }
    names = [variables(POSTGRES, each).keys() for each in found.values()]
    assert names[0] == names[1]
    assert {each.get("preDeployCommand") for each in found.values()} == {"bridge migrate"}


@pytest.mark.parametrize("file", RENDER)
def test_render_asks_whether_the_process_answers(file: str) -> None:
    """It restarts what does not, which would bring no database back."""
    webs = [each for each in RENDER[file]["services"] if each["type"] == "web"]
    assert [each["healthCheckPath"] for each in webs] == ["/healthz"]
