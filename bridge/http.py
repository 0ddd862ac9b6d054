"""Sending calls to vendors: with credentials, time-outs and a connection pool, and no surprises.

A time-out or a lost connection is a result here, not an exception, and it says whether the call may
have reached the vendor: that is what decides whether it may be sent again.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from functools import lru_cache
from http.client import HTTPResponse  # noqa: TID251 - here it may
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from bridge import __version__
from bridge.codec import dumps
from bridge.model import Call, NoAnswer, Response

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from urllib3._base_connection import BaseHTTPConnection

CONNECT_SECONDS = 5.0
READ_SECONDS = 25.0
LONGEST_ANSWER = 64 * 1024


class Sender:
    """Send calls over kept connections; one sender serves all threads of a worker."""

    def __init__(
        self, hosts: int = 8, connections: int = 16, read_seconds: float = READ_SECONDS
    ) -> None:
        self._timeout = (CONNECT_SECONDS, read_seconds)
        # A kept connection may be closed by the other side just as we write to it, and then nobody
        # knows whether the call arrived: what may not be repeated goes over one of its own.
        self._kept = _Adapter(_KEPT, hosts, connections)
        self._fresh = _Adapter(_FRESH, hosts, connections)

    def send(self, call: Call, credentials: Mapping[str, str]) -> Response | NoAnswer:
        """Send one call and return the answer, or why there is none.

        Redirects are never followed, so that credentials go nowhere else.
        """
        if not all(value.isascii() and value.isprintable() for value in credentials.values()):
            return NoAnswer("it cannot be sent: a credential holds what no key has", sent=False)
        try:
            # A session would add what it finds on this machine (proxies, .netrc), and send back the
            # cookies of earlier answers.
            adapter = self._kept if call.repeatable else self._fresh
            request = _prepared(call, credentials)
            with adapter.send(request, stream=True, timeout=self._timeout) as answer:
                return _read(answer)
        except requests.RequestException as error:
            return _explained(error)
        except ReadTimeoutError:
            return NoAnswer("the answer did not end in time", sent=True)
        except HTTPError as error:
            return NoAnswer(f"the answer broke off: {_plain(error)}", sent=True)

    def close(self) -> None:
        """Close the kept connections."""
        self._kept.close()
        self._fresh.close()


def _prepared(call: Call, credentials: Mapping[str, str]) -> requests.PreparedRequest:
    request = requests.PreparedRequest()
    request.prepare_method(call.method)
    request.prepare_url(call.url, dict(call.query))
    request.prepare_headers(_headers(call, credentials))
    request.prepare_body(None if call.json is None else dumps(call.json).encode(), None)
    return request


def _headers(call: Call, credentials: Mapping[str, str]) -> dict[str, str]:
    headers = {
        "User-Agent": f"bridge/{__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "Connection": "keep-alive" if call.repeatable else "close",
    }
    if call.json is not None:
        headers["Content-Type"] = "application/json"
    return headers | dict(credentials)


# ── one deadline for a whole answer ──────────────────────────────────────────────────────────────

# A time-out of requests starts anew with every byte that arrives; a delivery has a lease.


class _Patience(RawIOBase):
    """Read from a socket until the time-out it has at the beginning is over, in all."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._raw = cast(RawIOBase, connection.makefile("rb", buffering=0))
        self._deadline = time.monotonic() + (connection.gettimeout() or READ_SECONDS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = BufferedReader(_Patience(sock))


class _Connection(HTTPConnection):
    response_class = _Answer


class _TlsConnection(HTTPSConnection):
    response_class = _Answer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # To read the authorities anew for each connection takes longer than all the rest of a call.
        if self.ca_certs:
            self.ssl_context, self.ca_certs = _trusting(self.ca_certs), None


@lru_cache(maxsize=8)
def _trusting(authorities: str) -> ssl.SSLContext:
    """Return what verifies every certificate, and its name, by the authorities in a file."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.check_hostname = True
    context.load_verify_locations(authorities)
    return context


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


# ── connections of their own ─────────────────────────────────────────────────────────────────────

# A vendor that is asked to close a connection may leave it open, and not say so.


class _FreshPool(_Pool):
    def _put_conn(self, conn: BaseHTTPConnection | None) -> None:
        if conn:
            conn.close()
        super()._put_conn(None)


class _FreshTlsPool(_TlsPool):
    def _put_conn(self, conn: BaseHTTPConnection | None) -> None:
        if conn:
            conn.close()
        super()._put_conn(None)


_KEPT = {"http": _Pool, "https": _TlsPool}
_FRESH = {"http": _FreshPool, "https": _FreshTlsPool}


class _Adapter(HTTPAdapter):
    def __init__(
        self, pools: Mapping[str, type[HTTPConnectionPool]], hosts: int, connections: int
    ) -> None:
        super().__init__(pool_connections=hosts, pool_maxsize=connections)
        self.poolmanager.pool_classes_by_scheme = dict(pools)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


def _read(answer: requests.Response) -> Response:
    body = answer.raw.read(LONGEST_ANSWER, decode_content=True)
    try:
        text = body.decode(answer.encoding or "utf-8", errors="replace")
    except (LookupError, ValueError):  # the answer names an encoding that is none for a text
        text = body.decode("utf-8", errors="replace")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(status=answer.status_code, headers=headers, body=text)


def _explained(error: requests.RequestException) -> NoAnswer:
    if isinstance(error, requests.ConnectTimeout):
        return NoAnswer("no connection in time", sent=False)
    if isinstance(error, requests.Timeout):
        return NoAnswer("no answer in time", sent=True)
    cause = _root(error)
    # Any other TLS error may come while the answer is read, when the call has long arrived.
    untrusted = isinstance(_root(cause), ssl.SSLCertVerificationError)
    if isinstance(cause, NewConnectionError) or untrusted:
        return NoAnswer(f"no connection: {_plain(cause)}", sent=False)
    if isinstance(error, ValueError):  # an address or a header that cannot be sent at all
        return NoAnswer(f"it cannot be sent: {_plain(error)}", sent=False)
    return NoAnswer(f"the connection broke: {_plain(cause)}", sent=True)


def _root(error: BaseException) -> BaseException:
    """Return what lies at the bottom of what requests and urllib3 wrap."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)  # that of a TLS error is a word
    return next((each for each in (reason, inner) if isinstance(each, BaseException)), error)


def _plain(error: BaseException) -> str:
    text = str(error.args[-1] if error.args else error)
    return text.rpartition(">: ")[2] or type(error).__name__
