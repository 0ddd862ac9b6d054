"""All that a command says goes out through one door, which lets no secret and no escape pass."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY
from logged import logged

from bridge.cli import output

SECRET = "taapit_sk_made_up_for_tests"
DOOR = "output.py"
OTHERS = sorted(path for path in (REPOSITORY / "bridge" / "cli").glob("*.py") if path.name != DOOR)
SAYING = re.compile(r"(?:.*\.)?(?:s?echo|print|echo_via_pager)|.*\bstd(?:out|err)\.write.*")
OBEYED = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eabc\ud800\r\b"


def said_elsewhere(source: str) -> Iterator[str]:
    """Yield each call that writes to the terminal past the door."""
    for node in ast.walk(ast.parse(source)):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if SAYING.fullmatch(called):
            yield ast.unparse(node)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.name)
def test_no_command_says_anything_by_itself(path: Path) -> None:
    assert list(said_elsewhere(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "past", ["click.echo(x)", "print(x)", "sys.stdout.write(x)", "console.print(x)", "secho(x)"]
)
def test_whoever_goes_past_the_door_is_seen(past: str) -> None:
    assert list(said_elsewhere(past)) == [past]


@pytest.fixture(autouse=True)
def _secrets() -> Iterator[None]:
    with logged([SECRET]):
        yield


def test_a_line_or_a_table_shows_no_secret_and_obeys_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    odd = f"before {SECRET} {OBEYED} after"
    output.print_line(odd)
    output.print_table((output.Column("one"), output.Column("other")), [(odd, f"x\ny\t{SECRET}")])
    output.print_heading(odd)
    output.say(odd)
    said = capsys.readouterr().out
    assert SECRET not in said
    assert said.count("before *** ?[2J?]0;title??31m?abc???") == 4
    assert "x y ***" in said


def test_json_says_the_same_and_shows_no_escape(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"odd": OBEYED, "secret": f"x{SECRET}y", "both": [SECRET], SECRET: 1})
    said = capsys.readouterr().out
    assert said.isascii()
    assert not set(said) & set("\x1b\x07\x9b\r\b")
    assert json.loads(said) == {"odd": OBEYED, "secret": "x***y", "both": ["***"], "***": 1}


def test_a_complaint_is_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    output.complain(f"no {SECRET}{OBEYED}")
    said = capsys.readouterr().err
    assert SECRET not in said
    assert "Error: no ***?[2J" in said


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("Zoë 你好 🧾", "1\xa0000,00 €", "👩\u200d💻", "a\nb", "שלום"):
        assert output.harmless(text) == text
