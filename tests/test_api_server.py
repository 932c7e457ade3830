"""The HTTP API behind the real page on a real server: its place beside Gradio, the login, the queue, hanging up."""

import http.client
import json
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from api_server import V1, page_served, picture, refused
from gradio_client import Client
from pages import in_thread, run, wait_until

from l4f_plugin import jobs, pipeline
from l4f_plugin.arguments import Style
from l4f_plugin.errors import Cancelled
from l4f_plugin.images import write_png
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.subject import Subject
from l4f_ui.api import guard


@pytest.fixture(scope="module")
def served(tiny_models, tmp_path_factory):
    with page_served(tmp_path_factory.mktemp("out")) as server:
        yield server
        assert not server.service.is_busy()


def connection(served, name: str, values: dict) -> http.client.HTTPConnection:
    """A request that has been sent, and whose answer nobody has read yet."""
    open_ = http.client.HTTPConnection(urlsplit(served.address).netloc, timeout=60)
    open_.request("POST", V1 + name, json.dumps(values), {"Content-Type": "application/json"})
    return open_


# Beside the page


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_body_that_hides_its_length_is_cut_off(served, monkeypatch, kind):
    monkeypatch.setattr(guard, "MOST_BYTES", 100_000)
    start = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="x.png"\r\n\r\n'
    parts = (start if number == 0 else b"x" * 10_000 for number in range(20))
    answer = httpx.post(served.api + "swap", content=parts, headers={"content-type": kind})
    assert answer.request.headers["transfer-encoding"] == "chunked"
    refused(answer, 413, "MB at most")


def test_a_body_as_large_as_may_be_is_taken(served):
    body, kind = b'{"picture": "' + b"A" * (guard.MOST_BYTES - 100) + b'"}', {"content-type": "application/json"}
    refused(httpx.post(served.api + "swap", content=body, timeout=60, headers=kind), 422, "not a picture")


# The queue


def test_twenty_calls_and_clicks_are_answered_first_come_first_served(served, monkeypatch, tmp_path):
    """Seven requests, seven clicks and six calls of the page's own endpoints, in turn."""
    order, answers, loaded, threads = [], {}, [], []
    segment, load = Labels4FreePipeline.segment, Labels4FreePipeline.from_pretrained

    def observed(self, subject, **options):
        order.append(getattr(subject, "seed", subject))
        return segment(self, subject, **options)

    monkeypatch.setattr(Labels4FreePipeline, "segment", observed)
    monkeypatch.setattr(Labels4FreePipeline, "from_pretrained", lambda *a, **k: loaded.append(1) or load(*a, **k))
    served.service.unload()
    base, program = served.api, Client(served.address, verbose=False)
    panel = served.page.photos

    def by_request(seed: int) -> float:
        return httpx.post(base + "segment", json={"class": "tiny", "seed": seed}, timeout=120).json()["mask_area"]

    def by_click(seed: int) -> float:
        saved = tmp_path / f"{seed}.png"
        write_png(saved, np.zeros((4, 4), np.uint8), Subject(None, None, "tiny", seed, Style(0.6)).infotext())
        changed = {panel.choice.dropdown: "tiny", panel.codes: str(saved)}
        seen = run(panel, panel.segment, changed | {panel.stage.view: "mask"})
        with open(seen[panel.stage.results][0].files["mask"], "rb") as file:
            return float(picture(file.read()).mean()) / 255

    def by_client(seed: int) -> float:
        told = program.predict("tiny", str(seed), 0.6, "", "", "", "8%", True, api_name="/segment")[-1]
        if isinstance(told, str):  # the client of Gradio 3 writes JSON into a file
            told = json.loads(Path(told).read_text("utf-8"))
        return told["mask_area"]

    with served.service._cache.turn():  # so that all of them wait
        for seed in range(20):
            ask = (by_request, by_click, by_client)[seed % 3]
            threads.append(in_thread(lambda s=seed, a=ask: answers.update({s: a(s)})))
            wait_until(lambda expected=seed + 2: len(jobs.QUEUE) == expected)
        assert not order and not answers
    for thread in threads:
        thread.join(120)
    assert order == list(range(20))
    assert sorted(answers) == order and len(loaded) == 1, "one model in memory"
    library = load("tiny", device="cpu")
    expected = [segment(library, seed, truncation_psi=0.6).alpha.mean() for seed in range(20)]
    assert np.allclose([answers[seed] for seed in range(20)], expected, atol=5e-3)


def test_who_hangs_up_while_waiting_leaves_the_queue(served):
    with served.service._cache.turn():
        waiting = [connection(served, name, {"seed": 1}) for name in ("swap", "segment")]
        waiting.append(connection(served, "generate", {"seeds": "0-63"}))
        wait_until(lambda: len(jobs.QUEUE) == 4)
        waiting[1].close()
        wait_until(lambda: len(jobs.QUEUE) == 3)
        for left in waiting:
            left.close()
        wait_until(lambda: len(jobs.QUEUE) == 1)


def test_who_hangs_up_in_the_middle_of_a_job_makes_room(served, monkeypatch):
    """The cancelled job ends between two convolutions of the synthesis, not after its last picture."""
    ended, drawing = [], threading.Event()
    synthesise = pipeline.synthesise

    def observed(*arguments):
        if drawing.is_set():
            return synthesise(*arguments)
        drawing.set()
        wait_until(lambda: arguments[-1].cancelled)
        try:
            return synthesise(*arguments)
        except Cancelled:
            ended.append("between convolutions")
            raise

    monkeypatch.setattr(pipeline, "synthesise", observed)
    running = connection(served, "generate", {"seeds": "0-63"})
    assert drawing.wait(60)
    follower = connection(served, "segment", {"seed": 5})
    wait_until(lambda: len(jobs.QUEUE) == 2)
    running.close()
    answer = follower.getresponse()
    assert answer.status == 200 and json.loads(answer.read())["seed"] == 5
    assert ended == ["between convolutions"]
    follower.close()
    wait_until(lambda: not served.service.is_busy())
