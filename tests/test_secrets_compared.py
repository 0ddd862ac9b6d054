"""Whoever measures how long an answer takes learns nothing of a secret: nothing compares by ==."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY
from flask.testing import FlaskClient
from pages import KEY, ORIGIN, client, start, store

__all__ = ["client", "start", "store"]

VERIFYING = [
    path
    for folder in ("providers", "web", "provider_api")
    for path in sorted((REPOSITORY / "bridge" / folder).rglob("*.py"))
    if path.name != "settings.py"  # read at the start, when nobody waits for an answer
]
SECRET = re.compile(
    r"(?:^|_)(signatures?|digest|hmac|mac|hexdigest|tokens?|passwords?|secrets?|keys?|"
    r"credentials?|bearer|authorization)(?:_|$)"
)
BY_VALUE = ast.Eq | ast.NotEq | ast.In | ast.NotIn


def compared(source: str) -> Iterator[str]:
    """Yield each comparison by value in which something is called as a secret is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(isinstance(each, BY_VALUE) for each in node.ops):
            sides = (node.left, *node.comparators)
            if any(SECRET.search(name) for side in sides for name in names(side)):
                yield ast.unparse(node)


def names(thing: ast.expr) -> Iterator[str]:
    """Yield the names in an expression; those in capitals are of what is no secret."""
    for node in ast.walk(thing):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) if not name.isupper():
                yield name


@pytest.mark.parametrize(
    "path", VERIFYING, ids=lambda path: path.relative_to(REPOSITORY).as_posix()
)
def test_no_secret_is_compared_by_value(path: Path) -> None:
    assert list(compared(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "mistake",
    [
        "given == signature",
        "signature != header['x']",
        "self.settings.api_key == given",
        "digest(body) == given",
        "request.headers['Authorization'] in (token, other)",
        "hmac.new(a, b).hexdigest() == given",
        "a == b == password",
    ],
)
def test_a_comparison_by_value_would_be_found(mistake: str) -> None:
    assert list(compared(f"if {mistake}: pass"))


def test_there_is_what_verifies() -> None:
    sources = [path.read_text("utf-8") for path in VERIFYING]
    assert sum("compare_digest" in each for each in sources) >= 4


ODD = ["é", "ÿ" * 300, "\x80", "Bearer é", "¼", "key\xad"]


@pytest.mark.parametrize("odd", ODD)
def test_a_key_of_odd_letters_is_refused(client: FlaskClient, odd: str) -> None:
    body = {"customer": {"external_id": "user_1"}}
    for headers in (
        {"Authorization": odd},
        {"Authorization": f"Bearer {odd}"},
        {"Origin": ORIGIN, "X-Publishable-Key": odd},
        {"Origin": ORIGIN, "X-Publishable-Key": KEY + odd},
        {"Origin": odd, "X-Publishable-Key": KEY},
    ):
        assert client.post("/clicks", json=body, headers=headers).status_code in {401, 403}
    path = f"/clicks?key={odd}&key=%ed%a0%80"
    assert client.post(path, json=body, headers={"Origin": ORIGIN}).status_code == 401
