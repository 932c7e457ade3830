"""How much memory requests may take together, and who loses a place first: rooms, floods, slow senders."""

import asyncio
import base64
import gc
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from api_server import V1, client, page_served, refused
from bundles import red_finder, saved
from pages import in_thread, wait_until
from PIL import Image
from pixels import encoded, noise
from shell import ended, start

from l4f_plugin import runtime
from l4f_plugin.errors import Cancelled
from l4f_plugin.jobs import CancelToken
from l4f_ui.api import answers, bodies, bounds
from l4f_ui.api.answers import Pieces
from l4f_ui.api.bounds import Reading, Room
from l4f_ui.outputs import Outputs
from l4f_ui.refusals import Refusal
from l4f_ui.service import Service, Settings

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny class that segments photographs."""
    folder = tmp_path_factory.mktemp("models")
    saved(folder / "tiny", title="Red things", student=red_finder())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELS4FREE_MODELS", str(folder))
        yield


@pytest.fixture(scope="module")
def site(models, tmp_path_factory):
    with page_served(tmp_path_factory.mktemp("out")) as server:
        yield server


def finish(story: Coroutine[Any, Any, None]) -> None:
    """As `asyncio.run`, which takes the thread's loop away: a page built later under Gradio 4 has no locks then."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(story)
    finally:
        loop.close()


def plain(megapixels: float) -> bytes:
    """A PNG that is small as a file and large in memory."""
    side = int((megapixels * 1e6) ** 0.5)
    return encoded(Image.new("RGB", (side, side), (200, 30, 30)))


# What is refused before it takes memory


def test_json_may_be_long_in_its_files_only(site):
    address = site.api
    lists = b'{"seeds": [' + b"[]," * 400_000 + b"[]]}"
    objects, blanks = b'{"class": {' + b'"a":[],' * 300_000 + b'"b": 1}}', b'{"seeds": "1"' + b" " * 1_100_000 + b"}"
    for body in (lists, objects, blanks):
        refused(httpx.post(address + "generate", content=body, headers=JSON, timeout=60), 413, "1 MB")
    for fields in ({"class": "x" * 100_000}, {"seeds": "1" * 100_000}, {"w_plus": 1, "class": "x" * 2_000_000}):
        refused(httpx.post(address + "segment", json=fields, timeout=60), 422)
    form = {"seed": "[" + "[]," * 400_000 + "1]"}
    assert httpx.post(address + "segment", data=form, files={"x": b""}, timeout=60).status_code in (400, 413, 422)


def test_large_files_in_json_are_read_whatever_they_hold(models):
    picture = base64.b64encode(encoded(noise(300, 300, 3))).decode()
    wanted = {"include": ["mask"], "picture": picture, "class": "tiny"}
    escaped = json.dumps(wanted).replace("/", "\\/")  # as some languages write it
    assert bodies.read_json(escaped.encode()) == wanted
    tricky = {"picture": 'a"\\' * 40_000, "w_plus": "b" * 70_000, "class": 'quote " and \\', "seeds": [1]}
    assert bodies.read_json(json.dumps(tricky).encode()) == tricky
    for broken in (b'{"a": "b', b'{"a": "' + b"x" * 70_000, b'"' + b"\\" * 70_001 + b'"'):
        with pytest.raises(Refusal):
            bodies.read_json(broken)


@pytest.mark.parametrize("name", ["segment", "swap"])
def test_pictures_of_programs_have_their_own_limit(models, tmp_path, name):
    limits = {"most": 1.0}
    settings = lambda: Settings(device="cpu", default_class="tiny", api_megapixels=limits["most"])  # noqa: E731
    served = client(Service(settings, Outputs(tmp_path)))
    refused(served.post(V1 + name, files={"picture": plain(1.5)}), 422, "at most 1 megapixels")
    limits["most"] = 2.0
    assert served.post(V1 + name, files={"picture": plain(1.5)}).status_code == 200
    assert Settings().api_megapixels < 64, "the page itself takes more"


# A flood


def test_many_large_requests_at_once_take_little_memory(site):
    """In the small: what one request takes while it is worked on, many at once must not take each."""
    address = site.api
    picture, lists = plain(6), b'{"seeds": [' + b"[]," * 2_000_000 + b"[]]}"
    assert httpx.post(address + "segment", files={"picture": picture}, timeout=120).status_code == 200
    runtime.free_memory()
    before, most, done, answers = runtime.resident_memory(), [0], threading.Event(), []
    if before is None:
        pytest.skip("this system does not tell how much memory a process takes")

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], runtime.resident_memory())

    def ask(number: int) -> None:
        body = {"files": {"picture": picture}} if number % 2 else {"content": lists, "headers": JSON}
        answers.append(httpx.post(address + "segment", timeout=300, **body).status_code)

    watching, threads = in_thread(watch), [in_thread(ask, number) for number in range(16)]
    for thread in threads:
        thread.join()
    normal = httpx.post(address + "segment", json={"seed": 1}, timeout=60).status_code
    done.set()
    watching.join()
    assert normal == 200 and Counter(answers) == {200: 8, 413: 8}
    # The bodies of the clients, which are in this process too, take 8 x 6 MB.
    assert most[0] - before < 900e6, f"{(most[0] - before) / 1e6:.0f} MB"
    del threads, thread
    runtime.free_memory()
    assert runtime.resident_memory() - before < 200e6, "memory is given back"


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of Linux is asked to")
def test_freed_memory_goes_back_to_the_system():
    script = """
from l4f_plugin import runtime
kept = [bytes(50_000) for _ in range(4000)]
last = bytes(50_000)  # above all others, so that the library would not give anything back by itself
full = runtime.resident_memory()
kept.clear()
runtime.give_memory_back()
print(full - runtime.resident_memory())
"""
    assert int(ended(start(script)).out) > 150e6


# Who loses a place


@pytest.mark.parametrize("length", [100, 25 << 20])
def test_half_sent_bodies_keep_nobody_waiting(site, length):
    host, port = urlsplit(site.address).netloc.split(":")
    headers = ["Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {length}"]
    with ExitStack() as opened:
        for _ in range(48):
            connection = opened.enter_context(socket.create_connection((host, int(port))))
            connection.sendall("\r\n".join([f"POST {V1}segment HTTP/1.1", *headers, "", "{"]).encode())
        assert httpx.post(site.api + "segment", json={"seed": 1}, timeout=30).status_code == 200


def test_the_slowest_sender_makes_room_for_who_waits(monkeypatch):
    monkeypatch.setattr(bounds, "GRACE", 0.1)
    monkeypatch.setattr(bounds, "_LOOK_AGAIN", 0.02)
    reading, lost = Reading(100), []

    async def never() -> dict:
        await asyncio.sleep(60)
        return {}

    async def slow() -> None:
        async with reading.seat(100) as seat:
            try:
                await seat.receive(never)()
            except Refusal as refusal:
                lost.append(refusal.code)

    async def story() -> None:
        stalled = asyncio.ensure_future(slow())
        await asyncio.sleep(0.05)
        async with reading.seat(60) as seat:
            assert lost == ["too_slow"]
            seat.is_read = True
            waiting = asyncio.ensure_future(slow())
            await asyncio.sleep(0.5)
            assert not waiting.done() and not seat.lost, "who has been read keeps the room"
            waiting.cancel()
        await stalled

    finish(story())


def test_work_waits_for_room_in_its_order_and_leaves_when_cancelled():
    room, order = Room(100), []
    first, impatient = room.take(80, CancelToken()), CancelToken()

    def later(name: str, size: int, token: CancelToken) -> threading.Thread:
        def work() -> None:
            try:
                share = room.take(size, token)
            except Cancelled:
                order.append(f"{name} left")
                return
            order.append(name)
            share.give_back()

        thread = in_thread(work)
        wait_until(lambda: len(room._waiting) >= 1)
        return thread

    threads = [later("left", 50, impatient)]
    threads.append(later("huge", 1000, CancelToken()))
    wait_until(lambda: len(room._waiting) == 2)
    impatient.cancel()
    threads[0].join()
    assert order == ["left left"] and first.is_wanted
    first.shrink(30)
    assert order == ["left left"], "one that needs more than there is waits for all of it"
    first.give_back()
    threads[1].join()
    assert order == ["left left", "huge"]
    del first
    gc.collect()
    assert room._free == 100


def test_an_answer_gives_its_room_back_however_it_ends(monkeypatch):
    room, sent = Room(100), []

    async def send(message: dict) -> None:
        sent.append(message.get("body", b""))

    async def fail(message: dict) -> None:
        raise OSError("gone")

    async def answer(how) -> None:
        pieces = Pieces([b"ab", b"cd"], "text/plain")
        pieces.held = room.take(60, CancelToken())
        assert room._free == 40 and pieces.headers["content-length"] == "4"
        await pieces({}, None, how)

    finish(answer(send))
    assert b"".join(sent) == b"abcd" and room._free == 100
    with pytest.raises(OSError):
        finish(answer(fail))
    assert room._free == 100


def test_answers_of_a_slow_reader_end_where_others_wait(monkeypatch):
    monkeypatch.setattr(answers, "_GRACE", 0.1)
    monkeypatch.setattr(answers, "_LOOK_AGAIN", 0.02)
    room, sent = Room(100), []

    async def stuck(message: dict) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)

    async def answer() -> None:
        pieces = Pieces([b"x" * 1000], "text/plain")
        pieces.held = room.take(100, CancelToken())
        waiting = in_thread(lambda: room.take(100, CancelToken()).give_back())
        await pieces({}, None, stuck)
        waiting.join()

    began = time.monotonic()
    finish(answer())
    assert time.monotonic() - began < 30 and [message["type"] for message in sent][-1] == "http.response.body"
