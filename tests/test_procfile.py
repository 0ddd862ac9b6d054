"""Each process type of the Procfile, booted as a platform does, from an installed wheel."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import postgres
import pytest
import requests
from conftest import REPOSITORY
from installed import declared, install, needed_by, wheel
from kit import body_of
from packaging.utils import canonicalize_name
from running import (
    SETTINGS,
    Running,
    free_port,
    is_ready,
    post_click,
    until,
    vendors_at,
)
from signed import BODY, EVENT_ID, ROUTE, v1
from test_serve import assert_each_holds_it_once, sales, vendors

from bridge import config
from bridge.cli import main
from bridge.sandbox import RunningSandbox
from bridge.store import Store, open_store
from bridge.web import create_app

__all__ = ["vendors"]  # a fixture

LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")
LINES = (REPOSITORY / "Procfile").read_text("utf-8").splitlines()
PROCFILE = {found[1]: found[2] for found in map(LINE.fullmatch, LINES) if found}
PAGES = {"BRIDGE_PUBLISHABLE_KEY": "pk_made_up", "BRIDGE_ALLOWED_ORIGINS": "https://shop.example"}
GRACE = 30.0  # after which a platform kills
# Comes with what imports it, which says so itself.
BROUGHT_BY = {"pydantic-core": "pydantic", "urllib3": "requests", "werkzeug": "flask"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(built, tmp_path_factory.mktemp("installed"))


class Dyno(Running):
    """Run a line of the Procfile through a shell, in a folder with nothing in it."""

    def __init__(self, kind: str, environment: Mapping[str, str], folder: Path) -> None:
        place = folder / f"{kind}-{time.monotonic_ns()}"
        place.mkdir()
        self._log = place.with_suffix(".log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", PROCFILE[kind]],
                env=environment,
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.url = f"http://127.0.0.1:{environment['PORT']}"

    def alive(self) -> list[int]:
        """Return whatever it has started and runs: the processes of its session."""
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,sess=,stat="], capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in listed.stdout.splitlines()]
        return [int(pid) for pid, of, state in rows if int(of) == self.pid and state[0] != "Z"]

    def stop(self) -> None:
        """Ask it to end, as Heroku and Render do; all of it has ended before it would be killed."""
        os.killpg(self.pid, signal.SIGTERM)
        # A shell that stayed in between would end at once, and a platform might take that for all.
        assert self.process.wait(GRACE) == 0, self.said()
        until(lambda: not self.alive(), "all processes to end")
        assert "Traceback" not in self.said()
        assert "error" not in self.said()


Environment = Mapping[str, str]


@pytest.fixture(params=["heroku", "elsewhere"])
def environment(
    request: pytest.FixtureRequest, programs: Path, tmp_path: Path, vendors: RunningSandbox
) -> Environment:
    """Return what a platform sets: nothing of this machine but where its programs are."""
    if request.param == "heroku":
        # The buildpack asks for two web processes on the smallest dynos.
        platform = {"DATABASE_URL": postgres.empty(), "DYNO": "any.1", "WEB_CONCURRENCY": "2"}
    else:
        platform = {"DATABASE_URL": f"sqlite:///{tmp_path / 'bridge.db'}"}
    path = os.pathsep.join([str(programs), os.defpath])
    platform |= {"PATH": path, "PORT": str(free_port())}
    return vendors_at(vendors.url) | PAGES | platform


@contextmanager
def dyno(kind: str, environment: Environment, folder: Path) -> Iterator[Dyno]:
    """Run one until the block ends, and let it end in order."""
    one = Dyno(kind, environment, folder)
    try:
        yield one
        one.stop()
    finally:
        for pid in one.alive():
            os.kill(pid, signal.SIGKILL)
        one.process.wait(GRACE)


def header(body: str = BODY) -> dict[str, str]:
    return {"Content-Type": "application/json", "Stripe-Signature": v1(body.encode())}


# ── booted ───────────────────────────────────────────────────────────────────────────────────────


def test_each_process_type_boots_works_and_ends(
    environment: Environment,
    vendors: RunningSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = Dyno("release", environment, tmp_path)
    assert release.wait() == 0, release.said()
    assert release.said().startswith("migrated: ")

    with dyno("web", environment, tmp_path) as web:
        until(partial(is_ready, web), f"the web to be ready; it said {web.said()}")
        assert requests.get(f"{web.url}/bridge.js", timeout=GRACE).ok
        post_click(web.url)
        answer = requests.post(f"{web.url}{ROUTE}", BODY, headers=header(), timeout=GRACE)
        assert answer.json() == {"status": "stored", "id": EVENT_ID}
        until(lambda: all(sales(vendors).values()), "each vendor to be told")
    assert_each_holds_it_once(vendors)
    assert told_of_webhooks(web) == 1

    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SETTINGS["STRIPE_WEBHOOK_SECRET"])
    with closing(open_store(environment["DATABASE_URL"])) as store:
        receive_refund(store)
        with dyno("worker", environment, tmp_path):
            until(lambda: not store.events.received(1), "the refund to be processed")


def told_of_webhooks(web: Running) -> int:
    """Count the lines about webhooks; a server's own log of requests would make more."""
    assert "POST" not in web.said()
    return sum("event=webhook " in line for line in web.said().splitlines())


def receive_refund(store: Store) -> None:
    """Store a webhook, as a web process would, while no worker runs."""
    body = body_of("refund.created")
    client = create_app(config.load(), store).test_client()
    assert client.post(ROUTE, data=body, headers=header(body)).status_code == 200
    assert store.events.received(1)


# ── what is installed ────────────────────────────────────────────────────────────────────────────


def test_the_procfile_names_what_platforms_run() -> None:
    assert len(PROCFILE) == len(LINES)
    assert set(PROCFILE) == {"release", "web", "worker"}
    for command in PROCFILE.values():
        program, name = command.removeprefix("exec ").split()
        assert program == "bridge"
        assert name in main.commands


def test_what_is_booted_is_the_wheel(programs: Path) -> None:
    ask = "import bridge; print(bridge.__file__)"
    command = [str(programs / "python"), "-c", ask]
    asked = subprocess.run(command, capture_output=True, text=True, env={}, check=True)
    assert Path(asked.stdout).is_relative_to(programs.parent)


def test_the_wheel_holds_all_that_is_needed(built: Path) -> None:
    held = {each for each in ZipFile(built).namelist() if ".dist-info/" not in each}
    package = _files("bridge", "bridge")
    fixtures = _files("fixtures", "bridge/fixtures")
    assert "bridge/web/static/bridge.js" in package
    assert held == package | fixtures


def _files(folder: str, into: str) -> set[str]:
    found = (each for each in (REPOSITORY / folder).rglob("*") if each.is_file())
    return {
        f"{into}/{each.relative_to(REPOSITORY / folder).as_posix()}"
        for each in found
        if each.parent.name != "__pycache__"
    }


def test_whatever_the_bridge_imports_is_named_in_pyproject() -> None:
    named = {canonicalize_name(each.name) for each in declared()}
    for each in declared():  # psycopg[pool] names psycopg-pool
        plain = {need.name for need in needed_by(each.name)}
        more = {need.name for need in needed_by(each.name, frozenset(each.extras))}
        named |= set(map(canonicalize_name, more - plain))
    for name, bringer in BROUGHT_BY.items():
        needs = {canonicalize_name(need.name) for need in needed_by(bringer)}
        assert {bringer} <= named
        assert {name} <= needs
    homes = metadata.packages_distributions()
    astray = {
        module: homes.get(module, [])
        for module in _imported()
        if not named | set(BROUGHT_BY) >= set(map(canonicalize_name, homes.get(module, ["?"])))
    }
    assert astray == {}


def _imported() -> set[str]:
    """Return the packages of others that the code imports, wherever in a file it does so."""
    found = set()
    for path in (REPOSITORY / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found |= {name.partition(".")[0] for name in _names(node)}
    return found - sys.stdlib_module_names - {"bridge", "_typeshed"}


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [each.name for each in names]
        case ast.ImportFrom(module=str(module)):
            return [module]
        case ast.Call(func=ast.Name(id="import_module"), args=[ast.Constant(value=str(name))]):
            return [name]
        case _:
            return []
