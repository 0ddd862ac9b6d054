"""Refusals: the one form in which errors are answered, and a line in the log for each."""

from __future__ import annotations

import json
from http import HTTPStatus

from flask import Response
from werkzeug.exceptions import ClientDisconnected, HTTPException

from bridge import logs
from bridge.errors import StoreError, WebhookError
from bridge.web.state import MAX_BODY, WEBHOOKS

JSON = "application/json"
CODES = {413: "too_large"}
log = logs.get()


def answer_to(error: Exception, path: str) -> Response:
    """Return what an error is answered with."""
    match error:
        case WebhookError():
            log.warning("refused", code=error.code, reason=str(error))
            return _said(error.status, error.code, str(error))
        case StoreError():
            log.error("store failed", reason=str(error))
            reason = "the store cannot take this now; send it again later"
            return _said(503, "store_unavailable", reason)
        case HTTPException():
            return _http_error(error, path)
        case _:
            log.error("web failed", exc_info=error)
            return _said(500, "internal_error", "this is our mistake; it has been logged")


def _http_error(error: HTTPException, path: str) -> Response:
    status = HTTPStatus(error.code or 500)
    reason = error.description or status.phrase
    if status == 413:
        reason = f"the body is larger than {MAX_BODY // 2**20} MiB"
    elif isinstance(error, ClientDisconnected):
        reason = "the body was broken off: send it again"
    code = CODES.get(status, status.name.lower())
    if path.startswith(WEBHOOKS):
        log.warning("refused", code=code, reason=reason)
    answer = _said(status, code, reason)
    answer.headers.extend(  # such as Allow, of a 405
        (name, value) for name, value in error.get_headers() if name != "Content-Type"
    )
    return answer


def _said(status: int, code: str, message: str) -> Response:
    said = json.dumps({"error": {"code": code, "message": message}}, separators=(",", ":"))
    return Response(f"{logs.InUse.redact(said)}\n", status, mimetype=JSON)
