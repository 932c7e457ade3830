"""Failures as answers: `{"error": {"code", "message"}}`, with one sentence that says what to do."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import HTTPException, RequestValidationError
from starlette.responses import Response

from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.runtime import OutOfMemory

from .texts import text
from .words import in_words

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
    "cancelled": 499,  # by a web UI that was interrupted; or nobody is left to read it
    "internal": 500,
    "busy": 503,
    "out_of_memory": 503,
    "no_room": 507,
}
_CODES = {status: code for code, status in reversed(STATUS.items())}
_HEADERS = {
    "unauthorised": {"WWW-Authenticate": 'Basic realm="Labels4Free", charset="UTF-8"'},
    "busy": {"Retry-After": "5"},
}


class Refusal(HTTPException):
    """A request that is answered with `code`, one of `STATUS`, and a sentence."""

    def __init__(self, code: str, message: str):
        super().__init__(STATUS[code], message)
        self.code = code


def answer(error: BaseException) -> Response:
    code, message = _described(error)
    headers = {**(getattr(error, "headers", None) or {}), **_HEADERS.get(code, {})}
    return json_response({"error": {"code": code, "message": message}}, STATUS[code], headers)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in plain ASCII, which holds any text that a request may have brought, and no NaN."""
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(body, status, dict(headers or {}), "application/json")


def _described(error: BaseException) -> tuple[str, str]:
    if isinstance(error, Refusal):
        return error.code, error.detail
    if isinstance(error, RequestValidationError):
        return "invalid", _complaint(error)
    if hasattr(error, "status_code"):  # of Starlette's own
        code = _CODES.get(error.status_code, "malformed")
        return code, text(f"http.{code}" if code in ("not_found", "method_not_allowed") else "http.malformed")
    if isinstance(error, Cancelled):
        return "cancelled", text("job.stopped")
    if isinstance(error, OutOfMemory):
        return "out_of_memory", text("problem.out_of_memory")
    return "invalid" if isinstance(error, UserError) else "internal", in_words(error)


def _complaint(error: RequestValidationError) -> str:
    """One sentence about the first field that is wrong. Where it may have several types, a bound tells more."""
    errors = [{**found, "loc": found["loc"][1:] or ("body",)} for found in error.errors()]
    of_one_field = [found for found in errors if found["loc"][0] == errors[0]["loc"][0]]
    bounds = (found for found in of_one_field if "type" not in found["type"])
    told = next(bounds, errors[0])
    problem = str(told["msg"])[:200].rstrip(".")
    return text("http.wrong_value", name=told["loc"][0], problem=problem[:1].lower() + problem[1:])
