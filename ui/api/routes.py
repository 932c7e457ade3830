"""The routes of the API and their description."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from l4f_plugin import __version__, runtime
from l4f_plugin.errors import UserError
from l4f_plugin.jobs import CancelToken

from ..operations import Operations
from ..service import Service
from ..texts import text
from . import answers, documentation
from .errors import Refusal, answer, json_response
from .guard import MOST_BYTES
from .jobs import Places, answered
from .memory import Held, Reading, Room, Seat
from .models import ClassList, Failure, Generated, Segmented, Swapped
from .requests import GenerateRequest, Model, SegmentRequest, SwapRequest, drawn, read, schema
from .sending import Pieces

SMALL_BODY = 1 << 20
"""Bytes of a body that need not wait behind large ones."""
LARGE_BODIES, SMALL_BODIES, WORK = 256 << 20, 32 << 20, 800 << 20
"""Bytes that the bodies of all requests may take together, and their work with its results."""
_OF_A_PIXEL, _OF_A_DRAWN_PIXEL, _OF_ANY = 27, 24, 24 << 20
"""Bytes that work takes: for each pixel of a picture that is sent or drawn, with its results, and besides."""
_FAILURES = (400, 401, 403, 406, 408, 413, 415, 422, 503)


def build(service: Service) -> FastAPI:
    """The API of a service, unguarded."""
    api = FastAPI(
        title=text("http.title"),
        version=__version__,
        description=text("http.about"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    for kind in (Refusal, UserError, HTTPException, Exception):
        api.add_exception_handler(kind, _answer)
    operations = _Routes(service)

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

    api.get(
        "/classes",
        summary=text("http.classes"),
        description=text("http.classes_about"),
        responses={200: {"model": ClassList}, **_failures(401, 403)},
    )(operations.classes)
    for name, takes, gives in (
        ("generate", GenerateRequest, Generated),
        ("swap", SwapRequest, Swapped),
        ("segment", SegmentRequest, Segmented),
    ):
        api.post(
            f"/{name}",
            summary=text(f"http.{name}"),
            description=text(f"http.{name}_about"),
            responses={200: _pictures(gives), **_failures(*_FAILURES)},
            openapi_extra={"requestBody": _body(takes)},
        )(getattr(operations, name))
    return api


class _Routes:
    """The handlers. Each takes the whole request, which is read only once there is room for it."""

    def __init__(self, service: Service):
        self._operations = Operations(service)
        self._default_class = service.default_class
        self._places, self._room = Places(), Room(WORK)
        self._small, self._large = Reading(SMALL_BODIES), Reading(LARGE_BODIES)
        self._parsing = threading.Lock()

    def classes(self) -> Response:
        return json_response({"classes": self._operations.classes()})

    async def generate(self, request: Request) -> Response:
        def work(wish: GenerateRequest, files: dict, media: str, job: _Job) -> Response:
            seeds, name = wish.wanted_seeds(), self._class(wish)
            with job.room(_OF_A_DRAWN_PIXEL * len(seeds) * self._operations.pixels(name)):
                results = self._operations.generate(name, seeds, wish.truncation_psi, job.token)
                return job.answer(answers.many(media, results, wish.include))

        return await self._job(request, GenerateRequest, work)

    async def swap(self, request: Request) -> Response:
        def work(wish: SwapRequest, files: dict, media: str, job: _Job) -> Response:
            background = files.pop("picture", wish.background)
            seed, name = drawn(wish.seed), self._class(wish)
            with job.room(_OF_A_PIXEL * self._operations.pixels_sent(background)):
                result = self._operations.swap(name, seed, background, wish.edge(), wish.truncation_psi, job.token)
                return job.answer(answers.one(media, result, wish.include))

        return await self._job(request, SwapRequest, work)

    async def segment(self, request: Request) -> Response:
        def work(wish: SegmentRequest, files: dict, media: str, job: _Job) -> Response:
            if len(files) + (wish.seed is not None) != 1:
                raise Refusal("invalid", text("http.one_source"))
            seed = None if wish.seed is None else drawn(wish.seed)
            with job.room(_OF_A_PIXEL * self._operations.pixels_sent(files.get("picture"))):
                result = self._operations.segment(self._class(wish), seed, wish.truncation_psi, job.token, **files)
                return job.answer(answers.one(media, result, wish.include))

        return await self._job(request, SegmentRequest, work)

    async def _job(self, request: Request, model: type[Model], work: Callable[..., Response]) -> Response:
        media = answers.wanted(request.headers.get("accept"))
        size = int(request.headers.get("content-length", MOST_BYTES))
        reading = self._small if size <= SMALL_BODY else self._large
        async with reading.seat(size) as seat:
            body = [await _body_of(request, seat)]
            seat.is_read = True
            with self._places.place():

                def work_on_it(token: CancelToken) -> Response:
                    # Within the thread, as a large body takes a while to read; and one after another.
                    try:
                        with self._parsing if size > SMALL_BODY else nullcontext():
                            wish, files = read(model, body.pop())
                        return work(wish, files, media, _Job(self._room, token))
                    except Exception as error:  # here, as it would keep the body, and the server would print it
                        return answer(error)
                    finally:
                        if size > SMALL_BODY:
                            runtime.give_memory_back()

                return await answered(request, work_on_it)

    def _class(self, wish: Any) -> str | None:
        return wish.class_name if wish.class_name is not None else self._default_class()


class _Job:
    """One request at work: its token, and its share of the memory, which the answer keeps until it is sent."""

    def __init__(self, room: Room, token: CancelToken):
        self._room, self.token = room, token
        self._held: Held | None = None

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """The body of the `with` may take `size` bytes and some more, once it is its turn."""
        self._held = self._room.take(_OF_ANY + size, self.token)
        try:
            yield
        except BaseException:
            self._held.give_back()
            raise
        finally:
            if size > runtime.WORTH_GIVING_BACK:
                runtime.give_memory_back()

    def answer(self, response: Pieces) -> Pieces:
        """The response, which keeps of the memory what it takes."""
        self._held.shrink(min(response.size, self._held.size))
        response.held = self._held
        return response


async def _answer(_: Request, error: Exception) -> Response:
    return answer(error)


async def _body_of(whole: Request, seat: Seat) -> bytes | dict[str, Any]:
    """The body as bytes, or the fields of a form, read at that seat. Raises `Refusal`."""
    request = Request(whole.scope, seat.receive(whole.receive))  # goes with what it keeps of the body
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            return await request.body()
        except ClientDisconnect:
            raise Refusal("cancelled", text("job.stopped")) from None
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
    as_form = {
        **described,
        "properties": {
            name: {"type": "string", "format": "binary", "description": part["description"]}
            if name in model.files
            else part
            for name, part in described["properties"].items()
        },
    }
    content = {"application/json": {"schema": described}}
    if model.files:
        content["multipart/form-data"] = {"schema": as_form}
    return {"required": True, "content": content}
