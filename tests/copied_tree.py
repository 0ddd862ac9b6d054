"""A copy of the tree, to add a plugin to it as a contributor would, and programs run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY


def copy_tree(to: Path) -> Path:
    """Copy what a plugin is added to: code, fixtures, tests and README."""
    for name in ("bridge", "fixtures", "tests"):
        shutil.copytree(REPOSITORY / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, to / name)
    return to


def add_row(tree: Path, row: str, before: str) -> None:
    """Add one row to the README's table, before another."""
    readme = (tree / "README.md").read_text("utf-8")
    at = readme.index(before)
    (tree / "README.md").write_text(f"{readme[:at]}{row}\n{readme[at:]}", "utf-8")


def run(tree: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the tree, with nothing but these settings in its environment."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tree), **settings}
    return subprocess.run(
        [sys.executable, *command],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def run_tests(tree: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Run some of the test files in the tree."""
    files = [f"tests/{name}.py" for name in names]
    return run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files)
