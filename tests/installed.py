"""The bridge as it is installed: from its wheel, beside nothing but what pyproject.toml names."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SILENT = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def declared() -> list[Requirement]:
    """Return the dependencies that pyproject.toml names, without those of the extras."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    return [Requirement(each) for each in project["dependencies"]]


def needed_by(name: str, extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """Yield what a distribution needs here, with some of its extras."""
    for each in map(Requirement, metadata.requires(name) or ()):
        environments = [{"extra": extra} for extra in ("", *extras)]
        if not each.marker or any(map(each.marker.evaluate, environments)):
            yield each


def closure() -> dict[str, metadata.Distribution]:
    """Return what an install of the bridge brings along: what it names, and what those need."""
    found: dict[str, metadata.Distribution] = {}
    waiting, seen = declared(), set()
    while waiting:
        each = waiting.pop()
        name, extras = canonicalize_name(each.name), frozenset(each.extras)
        if (name, extras) not in seen:
            seen.add((name, extras))
            found[name] = metadata.distribution(name)
            waiting += needed_by(name, extras)
    return found


def wheel(folder: Path) -> Path:
    """Build the wheel, as `pip install .` does."""
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(REPOSITORY))
    (built,) = folder.glob("*.whl")
    return built


def install(built: Path, folder: Path) -> Path:
    """Install a wheel into an environment of its own; return the folder of its programs.

    What it needs is there already, under this Python: it is linked to instead of fetched.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    packages = Path(asked.stdout.strip())
    for each in closure().values():
        for top in {file.parts[0] for file in each.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(each.locate_file(top)))
    _pip("--python", str(python), "install", "--no-deps", "--no-index", str(built))
    return python.parent


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "-q", *arguments],
        env=os.environ | SILENT,
        cwd=REPOSITORY.anchor,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert not done.returncode, done.stderr
