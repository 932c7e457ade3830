"""What a job tells its page; the handlers of the panels are tried in test_ui.py and its neighbours."""

import sys
import threading
import traceback
from pathlib import Path

import gradio as gr
import pytest
from pages import asked, drawing, listeners

from l4f_plugin.errors import Cancelled
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_ui import app, run_buttons


@pytest.fixture(autouse=True)
def _a_page_that_gets_differences(monkeypatch):
    monkeypatch.setattr(run_buttons.compat, "SENDS_DIFFERENCES", True)


def told_at(seconds: float, monkeypatch) -> None:
    monkeypatch.setattr(run_buttons.time, "monotonic", lambda: seconds)


def test_what_a_job_tells_is_repeated_while_its_click_may_be_unanswered(monkeypatch):
    told_at(10.0, monkeypatch)
    said, field = run_buttons.FirstUpdates(), gr.Textbox(render=False)
    said.repeated({"picture": "a.png", "status": "drawing", field: "7"})
    told_at(10.9, monkeypatch)
    assert said.repeated({"status": "done"}) == {"picture": "a.png", "status": "done", field: "7"}
    told_at(11.1, monkeypatch)
    assert said.repeated({}) == {"picture": "a.png", "status": "done"}, "a person may write in a field meanwhile"
    told_at(15.1, monkeypatch)
    assert said.repeated({"status": "late"}) == {"status": "late"}
    assert said.repeated({}) == {}


def test_updates_of_one_component_add_up_and_are_never_handed_out_twice(monkeypatch):
    told_at(10.0, monkeypatch)
    said = run_buttons.FirstUpdates()
    shown = gr.update(value="a.png")
    first = said.repeated({"picture": shown})
    assert first["picture"] is not shown, "Gradio takes apart what it is given"
    first["picture"].clear()
    second = said.repeated({"picture": gr.update(visible=True)})
    assert second["picture"] == gr.update(value="a.png", visible=True)
    assert said.repeated({"picture": None}) == {"picture": None}

    said.repeated({"state": {"a": 1}})
    assert said.repeated({"state": {"b": 2}})["state"] == {"b": 2}, "data that only looks like an update"


def test_gradio_3_gets_each_update_alone(monkeypatch):
    monkeypatch.setattr(run_buttons.compat, "SENDS_DIFFERENCES", False)
    said = run_buttons.FirstUpdates()
    said.repeated({"picture": "a.png"})
    assert said.repeated({"status": "done"}) == {"status": "done"}


def test_a_click_passes_few_functions_on_its_way_to_the_pipeline(page, monkeypatch):
    """The way from Gradio to the job's thread, and from there to the pipeline."""
    passed: list[str] = []

    def note(frame) -> None:
        codes = [one.f_code for one, _ in traceback.walk_stack(frame)][::-1]
        passed.extend(
            code.co_name for code in codes if {"ui", "l4f_ui", "l4f_plugin"} & set(Path(code.co_filename).parts)
        )

    start = threading.Thread.start

    def noted_start(thread) -> None:
        if thread.name.startswith("l4f job"):
            note(sys._getframe())
        start(thread)

    def generate(self, *arguments, **options):
        note(sys._getframe(1))
        raise Cancelled

    monkeypatch.setattr(threading.Thread, "start", noted_start)
    monkeypatch.setattr(Labels4FreePipeline, "generate", generate)
    built = app.build(page.service)
    panel = built.l4f.generate
    [click] = listeners(built, panel.job.run, "click")
    list(click.fn(asked(panel, drawing(panel, "3"))))
    assert 4 <= len(passed) <= 6, passed
