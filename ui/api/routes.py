"""The routes of the API. FastAPI checks and describes them; a body is read only once there is room for it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from l4f_plugin import __version__, runtime
from l4f_plugin.arguments import wanted_spot
from l4f_plugin.errors import UserError
from l4f_plugin.jobs import Job

from ..operations import Operations, wanted_subject
from ..refusals import Refusal, answer, json_response
from ..seeds import wanted_seeds
from ..service import Service
from ..texts import text
from . import answers, bodies
from .answers import Pieces
from .bounds import MOST_UNDER_WAY, Held, Reading, Room
from .guard import MOST_BYTES
from .models import (
    FILES,
    ClassesAnswer,
    Failure,
    GenerateAnswer,
    GenerateRequest,
    SegmentAnswer,
    SegmentRequest,
    SwapAnswer,
    SwapRequest,
    field_names,
)

SMALL_BODY = 1 << 20
"""Bytes of a body that need not wait behind large ones."""
LARGE_BODIES, SMALL_BODIES, WORK = 256 << 20, 32 << 20, 800 << 20
"""Bytes that the bodies of all requests may take together, and their work with its results."""
_OF_A_PIXEL, _OF_A_DRAWN_PIXEL, _OF_ANY = 27, 24, 24 << 20
"""Bytes that work takes: for each pixel of a picture that is sent or drawn, with its results, and besides."""
_EXAMPLES = {  # FastAPI would make one of all fields, which no request may have at once
    "/generate": {"seeds": "0-3"},
    "/swap": {"seed": 3, "background": "seed:7"},
    "/segment": {"seed": 3, "background": "#ffffff"},
}
_SWAGGER = Path(__file__).parent / "swagger_ui"
_PARTS_OF_DOCS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_DOCS_MAY = "default-src 'none'; connect-src 'self'; img-src 'self' data:; " + "; ".join(
    f"{kind}-src 'self' 'unsafe-inline'" for kind in ("script", "style")
)


class BoundedRoute(APIRoute):
    """A route whose body takes a seat before it is read, and is handed to FastAPI as the values of its fields."""

    def get_route_handler(self) -> Callable:
        """FastAPI's own handler, behind what bounds the memory of bodies."""
        checked = super().get_route_handler()
        model = get_type_hints(self.endpoint).get("wish")
        if model is None:
            return checked
        known, parsing = field_names(model), threading.Lock()

        def values_of(body: list, size: int) -> dict[str, Any]:
            with parsing if size > SMALL_BODY else nullcontext():  # large ones one after another
                return bodies.read(body.pop(), known)

        async def handle(request: Request) -> Response:
            answers.wanted(request.headers.get("accept"))  # refused before anything is read
            size = int(request.headers.get("content-length", MOST_BYTES))
            reading = request.app.state.small if size <= SMALL_BODY else request.app.state.large
            async with reading.seat(size) as seat:
                body = [await bodies.received(Request(request.scope, seat.receive(request.receive)))]
                seat.is_read = True
                if not request.app.state.places.acquire(blocking=False):
                    raise Refusal("busy", text("http.busy"))
                try:
                    values = await run_in_threadpool(values_of, body, size)  # a large body takes a while to read
                    return await checked(_ReadRequest(request.scope, request.receive, values))
                finally:
                    request.app.state.places.release()

        return handle


class _ReadRequest(Request):
    """A request whose body has been read; to FastAPI a form and JSON are one."""

    def __init__(self, scope: Any, receive: Any, values: dict[str, Any]):
        kept = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
        super().__init__({**scope, "headers": [*kept, (b"content-type", b"application/json")]}, receive)
        self._values = values

    async def body(self) -> bytes:
        """Something, so that `json` is asked."""
        return b"{}"

    async def json(self) -> dict[str, Any]:
        return self._values


class RequestJob:
    """One request at work: its token, the media type that is wanted, and its share of the memory, which the answer
    keeps until it is sent."""

    def __init__(self, request: Request):
        self._request, self._room = request, request.app.state.room
        self.media = answers.wanted(request.headers.get("accept"))
        self.token = request.app.state.new_token()
        self._held: Held | None = None

    async def answered(self, work: Callable[[], Response]) -> Response:
        """What `work` returns, or the answer to what it raises; given up when the client hangs up.

        A `Job` with a thread of its own: jobs that wait for their turn must not hold up others in the server's pool.
        """
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def guarded(_: Job) -> Response:
            try:
                return work()
            except Exception as error:  # here, as it would keep what it holds, and the server would print it
                return answer(error)

        def end(_: Job) -> None:
            with suppress(RuntimeError):  # the server has stopped
                loop.call_soon_threadsafe(ended.set)

        async def watch() -> None:
            while (await self._request.receive())["type"] != "http.disconnect":  # the body has been read
                pass
            self.token.cancel()

        job = Job(guarded, token=self.token, on_end=end).start()
        watching = asyncio.ensure_future(watch())
        try:
            await ended.wait()  # the place is kept until the job has really ended
            return job.result()
        finally:
            self.token.cancel()
            watching.cancel()

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


JOB = Depends(RequestJob)


def build(service: Service) -> FastAPI:
    """The API of a service, unguarded."""
    handlers = dict.fromkeys((HTTPException, RequestValidationError, UserError, Exception), _answer)
    api = FastAPI(
        title=text("http.title"),
        version=__version__,
        description=text("http.about"),
        docs_url=None,
        redoc_url=None,
        exception_handlers=handlers,
    )
    api.router.route_class = BoundedRoute
    api.router.redirect_slashes = False  # to an address without the path that the guard has taken off
    api.state.small, api.state.large = Reading(SMALL_BODIES), Reading(LARGE_BODIES)
    api.state.new_token = service.new_token
    api.state.places, api.state.room = threading.Semaphore(MOST_UNDER_WAY), Room(WORK)
    operations = Operations(service)
    _add_documentation(api)

    @api.get("/classes", **_described("classes", {200: {"model": ClassesAnswer}}, 401, 403))
    def classes() -> Response:
        return json_response({"classes": operations.classes()})

    @api.post("/generate", **_described("generate", _pictures(GenerateAnswer)))
    async def generate(wish: GenerateRequest, job: RequestJob = JOB) -> Response:
        def work() -> Response:
            written = ",".join(map(str, wish.seeds)) if isinstance(wish.seeds, list) else str(wish.seeds)
            seeds, name = wanted_seeds(written, wish.count), operations.wanted_class(wish.class_name)
            with job.room(_OF_A_DRAWN_PIXEL * len(seeds) * operations.pixels(name)):
                results = operations.generate(name, seeds, wish.truncation_psi, job.token)
                return job.answer(answers.pictures(job.media, results, wish.include, samples=True))

        return await job.answered(work)

    @api.post("/swap", **_described("swap", _pictures(SwapAnswer)))
    async def swap(wish: SwapRequest, job: RequestJob = JOB) -> Response:
        def work() -> Response:
            background = wish.background if wish.picture is None else wish.picture
            name, edge = operations.wanted_class(wish.class_name), wish.edge()
            with job.room(_OF_A_PIXEL * operations.pixels_sent(background)):
                where = wanted_spot(wish.placed, wish.flipped, wish.class_size, wish.picture is not None)
                subject = wanted_subject(wish.seed, wish.w_plus)
                result = operations.swap(name, subject, background, edge, wish.truncation_psi, job.token, where)
                return job.answer(answers.pictures(job.media, [result], wish.include))

        return await job.answered(work)

    @api.post("/segment", **_described("segment", _pictures(SegmentAnswer)))
    async def segment(wish: SegmentRequest, job: RequestJob = JOB) -> Response:
        def work() -> Response:
            if [wish.seed, wish.picture, wish.w_plus].count(None) != 2:
                raise Refusal("invalid", text("http.one_source"))
            canvas = operations.canvas(wish.canvas, wish.margin)
            more = canvas.width * canvas.height if canvas else 0
            with job.room(_OF_A_PIXEL * (operations.pixels_sent(wish.picture) + more)):
                source = wish.picture if wish.picture is not None else wanted_subject(wish.seed, wish.w_plus)
                name = operations.wanted_class(wish.class_name, wish.picture)
                result = operations.segment(
                    name, source, wish.truncation_psi, job.token, wish.keep_largest, canvas, wish.background
                )
                usual = ["picture" if wish.background else "cutout", "mask"]
                return job.answer(answers.pictures(job.media, [result], wish.include or usual))

        return await job.answered(work)

    return api


def _add_documentation(api: FastAPI) -> None:
    """FastAPI's own page, with its parts from here: it needs no network."""

    def add(path: str, response: Callable[[], Response]) -> None:
        api.get(path, include_in_schema=False, response_model=None)(lambda: response())

    def docs() -> Response:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=api.title,
            swagger_js_url="swagger-ui-bundle.js",
            swagger_css_url="swagger-ui.css",
            swagger_favicon_url="data:,",
        )
        page.headers["Content-Security-Policy"] = _DOCS_MAY
        return page

    add("/", partial(RedirectResponse, "docs"))
    add("", partial(RedirectResponse, "v1/docs"))
    add("/docs", docs)
    for name, media in _PARTS_OF_DOCS.items():
        gzipped = {"media_type": media, "headers": {"Content-Encoding": "gzip"}}
        add(f"/{name}", partial(FileResponse, _SWAGGER / f"{name}.gz", **gzipped))

    describe = api.openapi

    def with_forms() -> dict[str, Any]:
        described = describe()
        for path, example in _EXAMPLES.items():
            content = described["paths"][path]["post"]["requestBody"]["content"]
            content["application/json"]["example"] = example
            model = described["components"]["schemas"][content["application/json"]["schema"]["$ref"].rpartition("/")[2]]
            fields = model["properties"]
            about = {name: fields[name]["description"] for name in FILES if name in fields}
            files = {name: {"type": "string", "format": "binary", "description": about[name]} for name in about}
            if files:
                content["multipart/form-data"] = {"schema": {**model, "properties": {**fields, **files}}}
        return described

    api.openapi = with_forms


async def _answer(_: Request, error: Exception) -> Response:
    return answer(error)


def _pictures(model: type) -> dict[int | str, dict[str, Any]]:
    """The description of an answer with pictures."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = dict.fromkeys((answers.ZIP, answers.PNG, answers.JPEG), binary)
    return {200: {"model": model, "description": text("http.answer"), "content": content}}


def _described(name: str, good: dict[int | str, Any], *failures: int) -> dict[str, Any]:
    statuses = failures or (400, 401, 403, 406, 408, 413, 415, 422, 503)
    failed = {status: {"model": Failure, "description": text(f"http.status_{status}")} for status in statuses}
    words = {"summary": text(f"http.{name}"), "description": text(f"http.{name}_about")}
    return {**words, "responses": {**good, **failed}, "response_model": None}
