"""Documents: what a fixture file says, as values that can be walked, changed and written again."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import click
import simplejson

from bridge.cli.fixture_files import FixtureFile
from bridge.codec import loads


@dataclass(frozen=True, slots=True)
class Document:
    """Hold a fixture file with its body as values: JSON, or a form's names and texts."""

    file: FixtureFile
    value: Any
    headers: Mapping[str, str]

    def written(self) -> FixtureFile:
        """Return the file that says what this document says."""
        body = urlencode(self.value) if self.file.is_form else dumps_pretty(self.value)
        return replace(self.file, body=body, headers=dict(self.headers))


def read(file: FixtureFile) -> Document:
    """Read a file's body; raise UsageError where it is neither JSON nor a form."""
    try:
        value = _form(file.body) if file.is_form else loads(file.body)
    except ValueError:
        kind = "a form" if file.is_form else "JSON"
        raise click.UsageError(
            f"{file.path} is not {kind}, and can only be sent as it is"
        ) from None
    return Document(file, value, file.headers)


def dumps_pretty(value: object) -> str:
    """Write JSON as a provider would: indented, numbers exact."""
    text: str = simplejson.dumps(value, use_decimal=True, ensure_ascii=False, indent=2)
    return text


def leaves(value: Any, steady: Container[str] = (), name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value, by the name of the field it stands in, but for what lies below `steady`.

    What stands in a list goes by the name of the list.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in steady:
                yield from leaves(each, steady, key)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, steady, name)
    else:
        yield name, value


def mapped(
    value: Any, change: Callable[[str, Any], Any], steady: Container[str] = (), name: str = ""
) -> Any:
    """Return a copy in which every value that `leaves` yields is changed."""
    if isinstance(value, dict):
        return {
            key: each if key in steady else mapped(each, change, steady, key)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [mapped(each, change, steady, name) for each in value]
    return change(name, value)


def _form(body: str) -> dict[str, str]:
    """Read a form; of a name given twice the first counts."""
    form: dict[str, str] = {}
    for name, value in parse_qsl(body, keep_blank_values=True, errors="strict"):
        form.setdefault(name, value)
    return form
