"""Failures as answers: `{"error": {"code", "message"}}`, with one sentence that says what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.runtime import OutOfMemory

from ..texts import text
from ..words import in_words

STATUS = {
    "malformed": 400,
    "unauthorised": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "too_slow": 408,
    "length_required": 411,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid": 422,
    "cancelled": 499,  # nobody is left to read it
    "internal": 500,
    "busy": 503,
    "out_of_memory": 503,
    "no_room": 507,
}
SECONDS_TO_WAIT = "5"


class Refusal(Exception):
    """A request that is answered with `code`, one of `STATUS`, and a sentence."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def answer(error: BaseException) -> Response:
    """The answer to a request that failed with `error`."""
    code, message, headers = _described(error)
    if code == "unauthorised":
        headers = {**headers, "WWW-Authenticate": 'Basic realm="Labels4Free", charset="UTF-8"'}
    if code == "busy":
        headers = {**headers, "Retry-After": SECONDS_TO_WAIT}
    return json_response({"error": {"code": code, "message": message}}, STATUS[code], headers)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in plain ASCII, which holds any text that a request may have brought, and no NaN."""
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(body, status, dict(headers or {}), "application/json")


def _described(error: BaseException) -> tuple[str, str, Mapping[str, str]]:
    if isinstance(error, Refusal):
        return error.code, str(error), {}
    if isinstance(error, HTTPException):
        code = next((code for code, status in STATUS.items() if status == error.status_code), "malformed")
        return (
            code,
            text(f"http.{code}") if code in ("not_found", "method_not_allowed") else text("http.malformed"),
            (error.headers or {}),
        )
    if isinstance(error, Cancelled):
        return "cancelled", text("job.stopped"), {}
    if isinstance(error, OutOfMemory):
        return "out_of_memory", text("problem.out_of_memory"), {}
    return "invalid" if isinstance(error, UserError) else "internal", in_words(error), {}
