"""What asking over HTTP has in common, where no package of the provider's does it well.

With time-outs, without redirects, so that a key goes nowhere else, and without a word of the key in
what is said of a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

import requests
from urllib3.exceptions import HTTPError

from bridge import __version__, logs
from bridge.codec import dumps, loads
from bridge.errors import PayloadError, ProviderApiError
from bridge.model import Event, Response, WebhookRequest
from bridge.providers.base import AnyProvider
from bridge.retry import is_retriable

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
# An order of hundreds of lines is some hundred kB.
LONGEST_ANSWER = 8 * 1024 * 1024
LONGEST_REASON = 300
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    PayloadError,
    RecursionError,
    TypeError,
    ValueError,
)


class HttpApi:
    """Ask one provider over HTTP; `_call` sends, `_complain` says what went wrong."""

    def __init__(self, reader: AnyProvider, key: str) -> None:
        self._reader = reader
        self._key = key
        self._session = requests.Session()
        # Proxies and .netrc of the machine must not add to what we send.
        self._session.trust_env = False

    def fetch(self, event: Event, now: datetime) -> list[Event]:
        """Refuse: this provider's events leave nothing out."""
        self._complain("cannot be asked", f"{event.type} leaves nothing out", retry=False)

    def close(self) -> None:
        """Give back the connections."""
        self._session.close()

    def _call(self, method: str, url: str, headers: Mapping[str, str], body: str = "") -> Response:
        """Send one request and return the answer, whatever its status."""
        given = {"User-Agent": f"bridge/{__version__}", "Accept": "application/json", **headers}
        if not all(value.isascii() and value.isprintable() for value in given.values()):
            self._complain("cannot be asked", "the key holds what no key has", retry=False)
        try:
            with self._session.request(
                method,
                url,
                data=body.encode() or None,
                headers=given,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as answer:
                raw = answer.raw.read(LONGEST_ANSWER, decode_content=True)
        except (requests.RequestException, HTTPError) as error:
            self._complain("did not answer", error)
        return Response(status=answer.status_code, body=raw.decode("utf-8", errors="replace"))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Complain of an answer of another shape than expected."""
        try:
            yield
        except UNREADABLE as error:
            self._complain("answered what cannot be read", error)

    def _read_event(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> Event:
        """Read what was answered as the webhook that would have brought it."""
        raw = dumps(body).encode("utf-8", "replace")  # half an emoji is no UTF-8
        return replace(self._reader.read(WebhookRequest(headers, raw)), fetched=True)

    def _read(self, answer: Response) -> Mapping[str, Any]:
        """Return the JSON object that an answer holds; what it holds else is not quoted."""
        data = _json(answer.body)
        if not isinstance(data, Mapping):
            raise PayloadError("no JSON object")
        return data

    def _refused(self, answer: Response, what: str = "", retry: bool | None = None) -> NoReturn:
        """Complain of an answer that is none, by its status unless told otherwise."""
        again = is_retriable(answer.status) or answer.status < 400 if retry is None else retry
        what = what or ("did not answer" if again else "refused the question")
        said = self._words(_json(answer.body)) or answer.body
        self._complain(what, f"HTTP {answer.status} {said}", retry=again)

    def _words(self, data: object) -> str:
        """Return how an answer that is none explains itself, or ""."""
        return ""

    def _complain(self, what: str, said: object, *, retry: bool = True) -> NoReturn:
        """Quote what was said, in one line and without the key."""
        words = " ".join(without_key(str(said), self._key).split())
        raise ProviderApiError(
            f"{self._reader.title} {what}: {words[:LONGEST_REASON]}", retry=retry
        )


def without_key(text: str, key: str) -> str:
    """Return a text without the key, nor any other secret of this process."""
    return logs.InUse.redact(logs.Redactor([key])(text))


def _json(text: str) -> Any:
    try:
        return loads(text)
    except (ValueError, ArithmeticError, RecursionError):
        return None
