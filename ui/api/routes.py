"""The routes of the API and their description."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from l4f_plugin import __version__
from l4f_plugin.errors import UserError
from l4f_plugin.runtime import CancelToken

from ..operations import Operations
from ..texts import text
from ..workspace import Workspace
from . import answers, documentation
from .errors import Refusal, answer, json_response
from .jobs import Places, answered
from .models import ClassList, Failure, Generated, Segmented, Swapped
from .requests import GenerateRequest, Model, SegmentRequest, SwapRequest, drawn, read, schema

SECONDS_TO_READ = 60.0
_FAILURES = (400, 401, 403, 406, 413, 415, 422, 503)


def build(workspace: Workspace) -> FastAPI:
    """The API of a workspace, unguarded."""
    api = FastAPI(title=text("http.title"), version=__version__, description=text("http.about"),
                  docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    for kind in (Refusal, UserError, HTTPException, Exception):
        api.add_exception_handler(kind, _answer)
    operations = _Routes(workspace)

    @api.get("/", include_in_schema=False)
    def start() -> Response:
        return RedirectResponse("docs")

    @api.get("", include_in_schema=False)
    def start_without_slash() -> Response:
        return RedirectResponse("v1/docs")

    @api.get("/docs", include_in_schema=False)
    def docs() -> Response:
        page = documentation.page(api.openapi())
        return HTMLResponse(page, headers={"Content-Security-Policy": documentation.POLICY})

    api.get("/classes", summary=text("http.classes"), description=text("http.classes_about"),
            responses={200: {"model": ClassList}, **_failures(401, 403)})(operations.classes)
    for name, takes, gives in (("generate", GenerateRequest, Generated), ("swap", SwapRequest, Swapped),
                               ("segment", SegmentRequest, Segmented)):
        api.post(f"/{name}", summary=text(f"http.{name}"), description=text(f"http.{name}_about"),
                 responses={200: _pictures(gives), **_failures(*_FAILURES)},
                 openapi_extra={"requestBody": _body(takes)})(getattr(operations, name))
    return api


class _Routes:
    """The handlers. Each takes the whole request, which is read only once there is a place for it."""

    def __init__(self, workspace: Workspace):
        self._operations = Operations(workspace.engine)
        self._default_class = workspace.engine.default_class
        self._places = Places()

    def classes(self) -> Response:
        return json_response({"classes": self._operations.classes()})

    async def generate(self, request: Request) -> Response:
        def work(wish: GenerateRequest, files: dict, media: str, token: CancelToken) -> Response:
            seeds = wish.wanted_seeds()
            results = self._operations.generate(self._class(wish), seeds, wish.truncation_psi, token)
            return answers.many(media, results, wish.include)

        return await self._job(request, GenerateRequest, work)

    async def swap(self, request: Request) -> Response:
        def work(wish: SwapRequest, files: dict, media: str, token: CancelToken) -> Response:
            background = files.get("picture", wish.background)
            seed, name = drawn(wish.seed), self._class(wish)
            result = self._operations.swap(name, seed, background, wish.edge(), wish.truncation_psi, token)
            return answers.one(media, result, wish.include)

        return await self._job(request, SwapRequest, work)

    async def segment(self, request: Request) -> Response:
        def work(wish: SegmentRequest, files: dict, media: str, token: CancelToken) -> Response:
            if len(files) + (wish.seed is not None) != 1:
                raise Refusal("invalid", text("http.one_source"))
            seed = None if wish.seed is None else drawn(wish.seed)
            result = self._operations.segment(self._class(wish), seed, wish.truncation_psi, token, **files)
            return answers.one(media, result, wish.include)

        return await self._job(request, SegmentRequest, work)

    async def _job(self, request: Request, model: type[Model], work: Callable[..., Response]) -> Response:
        media = answers.wanted(request.headers.get("accept"))
        with self._places.place():
            try:
                body = await asyncio.wait_for(_body_of(request), SECONDS_TO_READ)
            except asyncio.TimeoutError:
                raise Refusal("too_slow", text("http.too_slow")) from None
            try:
                # Within the thread, as a large body takes a while to read.
                return await answered(request, lambda token: work(*read(model, body), media, token))
            except Exception as error:  # here, as the server would print what reaches it at length once more
                return answer(error)

    def _class(self, wish: Any) -> str | None:
        return wish.class_name if wish.class_name is not None else self._default_class()


async def _answer(_: Request, error: Exception) -> Response:
    return answer(error)


async def _body_of(request: Request) -> bytes | dict[str, Any]:
    """The body as bytes, or the fields of a form. Raises `Refusal`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return await request.body()
    if kind != "multipart/form-data":
        raise Refusal("unsupported_media_type", text("http.unsupported_media_type"))
    try:
        form = await request.form()
    except Refusal:
        raise
    except Exception as error:  # releases differ in what they raise for a form that is none
        raise Refusal("malformed", text("http.bad_form")) from error
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        content = value if isinstance(value, str) else await value.read()
        if isinstance(fields.get(name), str) and isinstance(content, str):
            content = [fields[name], content]
        elif isinstance(fields.get(name), list) and isinstance(content, str):
            content = [*fields[name], content]
        fields[name] = content
    return fields


def _pictures(model: type) -> dict[str, Any]:
    """The description of an answer with pictures."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {"model": model, "description": text("http.answer"), "content": {answers.ZIP: binary, answers.PNG: binary}}


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Failure, "description": text(f"http.status_{status}")} for status in statuses}


def _body(model: type[Model]) -> dict[str, Any]:
    """The two ways of sending a request: JSON with files in base64, a form with files as they are."""
    described = schema(model)
    as_form = {**described, "properties": {
        name: {"type": "string", "format": "binary", "description": part["description"]}
        if name in model.files else part for name, part in described["properties"].items()}}
    content = {"application/json": {"schema": described}}
    if model.files:
        content["multipart/form-data"] = {"schema": as_form}
    return {"required": True, "content": content}
