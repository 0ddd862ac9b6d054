"""The shape of the code: floors, small rooms, and what may lie at the top of the repository."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "bridge"
PLUGIN_FOLDERS = (PACKAGE / "providers", PACKAGE / "vendors")
TEXT = {".py", ".html", ".js", ".css", ".sql"}
LONGEST_FILE = 400
LONGEST_PLUGIN_FILE = 330
LONGEST_FUNCTION = 50
TOP_LEVEL = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Procfile",
    "README.md",
    "app.json",
    "benchmarks",
    "bridge",
    "fixtures",
    "pyproject.toml",
    "render.postgres.yaml",
    "render.yaml",
    "requirements.txt",
    "tests",
}


def _files(folder: Path, suffixes: set[str]) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.suffix in suffixes)


def _name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def _length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _longer_than(limit: int, paths: list[Path]) -> list[str]:
    lengths = {each: _length(each) for each in paths}
    return [f"{_name(each)}: {length} lines" for each, length in lengths.items() if length > limit]


def test_imports_keep_to_their_floors() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [tool, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_there_is_something_to_look_at() -> None:
    assert PACKAGE / "money.py" in _files(PACKAGE, TEXT)
    assert all(folder.is_dir() for folder in PLUGIN_FOLDERS)


def test_files_are_short() -> None:
    assert _longer_than(LONGEST_FILE, _files(PACKAGE, TEXT)) == []


def test_plugin_files_are_shorter() -> None:
    plugins = [each for folder in PLUGIN_FOLDERS for each in _files(folder, {".py"})]
    assert _longer_than(LONGEST_PLUGIN_FILE, plugins) == []


def test_functions_are_short() -> None:
    long = [
        f"{_name(path)}:{node.lineno} {node.name}"
        for path in _files(PACKAGE, {".py"})
        for node in _nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


def test_no_float_touches_money() -> None:
    floats = [
        node.lineno
        for node in _nodes(PACKAGE / "money.py")
        if (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
    ]
    assert floats == []


def test_the_lower_floors_read_no_clock_and_no_file() -> None:
    """See what an import cannot show: `datetime.now()` and `open()` need none of their own."""
    upstairs = _modules_upstairs()
    pure = [
        each
        for each in _files(PACKAGE, {".py"})
        if each.relative_to(PACKAGE).parts[0].removesuffix(".py") not in upstairs
    ]
    assert "config" in upstairs
    assert PACKAGE / "ledger" / "movements.py" in pure
    impure = [
        f"{_name(path)}:{node.lineno} {called}"
        for path in pure
        for node in _nodes(path)
        if isinstance(node, ast.Call)
        and (called := _called(node)) in {"now", "utcnow", "today", "open", "input", "print"}
    ]
    assert impure == []


def _modules_upstairs() -> set[str]:
    """Return what the contract of the pure floors exempts: "bridge.web.** -> *" says web."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    exempt = next(each for each in contracts if each["id"] == "pure")["ignore_imports"]
    return {each.split(" ->")[0].split(".")[1] for each in exempt}


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def test_the_repository_is_tidy_at_the_top() -> None:
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    top = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    assert sorted(each for each in top - TOP_LEVEL if not each.startswith(".")) == []
