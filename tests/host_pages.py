"""A stub host of each kind with the plug-in loaded, and what tests ask of its page."""

import shutil
from pathlib import Path

import pytest
from pages import listeners
from stub_host import VARIANTS, StubHost

from l4f_ui.hosts import settings
from l4f_ui.hosts.host_service import service


@pytest.fixture(scope="module", params=VARIANTS)
def started(request, tmp_path_factory, tiny_bundle_folder):
    """A host of each variant with the class "tiny", shared by the tests: building its page takes half a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name in settings.VARIABLES:
            patch.setenv(name, "")  # remembered, and put back afterwards
            patch.delenv(name)
        service.cache_clear()
        host = StubHost(request.param, tmp_path_factory.mktemp("host"), patch)
        shutil.copytree(tiny_bundle_folder, host.folder / "models" / "labels4free" / "tiny")
        host.options.data["l4f_default_class"] = "tiny"
        host.start()
        if host.variant == "Forge":
            host.wrap_loaders()
        yield host
        service().outputs.forget_previews()
        service.cache_clear()


@pytest.fixture
def host(started):
    """The host, with the settings that it began with, but for the networks, which stay: the tests take less time."""
    kept = [(values, dict(values)) for values in (started.options.data, vars(started.cmd_opts))]
    started.options.data["l4f_release"] = settings.NEVER
    yield started
    started.state.log.clear()
    started.freed.clear()
    for values, before in kept:
        values.clear()
        values.update(before)


def answer(host, elem_id: str, *values, event: str = "click"):
    """What the server answers to an event of that component, as the list of its outputs' updates."""
    calls = listeners(host.demo, host.component(elem_id), event)
    [call] = [function for function in calls if function.fn and len(function.inputs) == len(values)]
    outcome = call.fn(*values)
    if isinstance(outcome, dict):
        return {getattr(part, "elem_id", None) or part: update for part, update in outcome.items()}
    return outcome


def generate(host, seeds: str = "3", count: int = 1, view: str = "picture") -> list[dict]:
    """Everything that the page is told after a click on Generate, by names of components."""
    [call] = listeners(host.demo, host.component("l4f_generate_run"), "click")
    given = {part: getattr(part, "value", None) for part in call.inputs}
    wanted = {"class": "tiny", "seeds": seeds, "psi": 0.7, "count": count, "view": view}
    given |= {host.component(f"l4f_generate_{name}"): value for name, value in wanted.items()}
    return [{getattr(part, "elem_id", None): update for part, update in told.items()} for told in call.fn(given)]


def newest(host, ending: str) -> Path:
    return max(service().outputs.folder.rglob(f"*{ending}.png"), key=lambda path: path.stat().st_mtime_ns)
