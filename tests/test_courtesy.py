"""A training makes way for the web UI: it waits between steps, gives its memory back, and says so."""

import threading

import pytest
from pages import in_thread
from test_class_training import begun, pictures, tiny, wait_until  # noqa: F401

from l4f_plugin.bundles.folders import trainings_folder
from l4f_plugin.training import class_run, courtesy
from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def running(pictures, tiny, monkeypatch):  # noqa: F811
    """A training of many steps, in a thread."""
    monkeypatch.setattr(courtesy, "_WORTH_TELLING", 0.0)
    monkeypatch.setattr(courtesy, "LASTS", 1e6)  # until it is taken away
    run = begun(pictures, pictures=20_000)
    thread = in_thread(run.work, lambda line: None)
    wait_until(lambda: run.status().state == "running" and run.curves())
    yield run
    run.wish(class_run.STOP)
    thread.join(60)
    assert run.status().state == "stopped"


def note() -> object:
    return trainings_folder() / courtesy.NOTE


def test_it_waits_between_steps_while_another_program_works(running):
    courtesy.note_use(courtesy.WORKS)
    wait_until(lambda: running.status().state == "waiting")
    before = len(running.curves())
    threading.Event().wait(0.5)
    assert len(running.curves()) == before
    note().unlink()
    wait_until(lambda: running.status().state == "running" and len(running.curves()) > before)
    courtesy.note_use(courtesy.WORKS)
    wait_until(lambda: running.status().state == "waiting")  # and is stopped from there


def test_it_gives_its_memory_back_where_that_is_needed(running, monkeypatch):
    freed: list[bool] = []
    monkeypatch.setattr(class_run, "free_memory", lambda: freed.append(True))
    courtesy.note_use(courtesy.NEEDS_MEMORY)
    wait_until(lambda: running.status().state == "away")
    assert freed and any("needs the memory" in line for line in running.log())
    before = running.curves()
    note().unlink()
    wait_until(lambda: running.status().state == "running" and len(running.curves()) > len(before))


def test_a_note_of_a_program_that_ended_is_worth_nothing(pictures, monkeypatch):  # noqa: F811
    courtesy.note_use(courtesy.WORKS)
    assert courtesy.use_of_others() == courtesy.WORKS
    monkeypatch.setattr(courtesy, "LASTS", 0.0)
    assert courtesy.use_of_others() == ""


def test_a_page_notes_that_it_works_while_a_training_is_there(running, tmp_path, monkeypatch):
    service = Service(lambda: Settings(device="cpu"), Outputs(tmp_path / "out"), manages_classes=True)
    use = ["works"]
    monkeypatch.setattr(service, "device_use", lambda: use[0])
    wait_until(lambda: running.status().state == "waiting")
    use[0] = ""
    wait_until(lambda: note().unlink(missing_ok=True) or running.status().state == "running")
    assert service.trainings.names() == ["dogs"]
    assert Service(lambda: Settings(), Outputs(tmp_path / "out")).trainings._watcher is None
    service.class_jobs.close()
