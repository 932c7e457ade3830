"""The plug-in within web UIs: the same folder loaded by stub hosts that have and lack what the real ones do."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from bundles import red_finder, tiny_bundle
from pages import listeners, pixels, wait_until
from PIL import Image
from starlette.testclient import TestClient
from stub_host import ROOT, VARIANTS, StubHost

from l4f_plugin.checkpoints.bundle import save_bundle
from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.provenance import recipe_of
from l4f_plugin.runtime import OutOfMemory
from l4f_ui import app, hosts
from l4f_ui.hosts import queueing, requirements, settings
from l4f_ui.hosts.components import COMPONENTS
from l4f_ui.hosts.workspace import workspace
from l4f_ui.outputs import SavedSample


@pytest.fixture(scope="module", params=VARIANTS)
def started(request, tmp_path_factory, tiny_bundle_folder):
    """A host of each variant with the class "tiny", shared by the tests: building its page takes half a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LABELS4FREE_MODELS", "LABELS4FREE_OFFLINE"):
            patch.setenv(name, "")  # remembered, and put back afterwards
            patch.delenv(name)
        workspace.cache_clear()
        host = StubHost(request.param, tmp_path_factory.mktemp("host"), patch)
        shutil.copytree(tiny_bundle_folder, host.folder / "models" / "labels4free" / "tiny")
        host.options.data["l4f_default_class"] = "tiny"
        host.start()
        if host.variant == "Forge":
            host.wrap_loaders()
        yield host
        workspace().outputs.forget_previews()
        workspace.cache_clear()


@pytest.fixture
def host(started):
    """The host, with the settings that it began with, but for the networks, which stay: the tests take less time."""
    options = dict(started.options.data)
    started.options.data["l4f_release"] = settings.NEVER
    yield started
    started.state.log.clear()
    started.freed.clear()
    started.options.data.clear()
    started.options.data.update(options)


def test_the_tab_is_there(host):
    [(blocks, title, identifier)] = host.tabs
    assert (title, identifier) == ("Labels4Free", "l4f")
    ids = {getattr(block, "elem_id", None) for block in blocks.blocks.values()}
    assert {"l4f", "l4f_generate_run", "l4f_swap_run", "l4f_segment_run"} <= ids and "l4f_notice" not in ids
    assert all(block.do_not_save_to_config for block in blocks.blocks.values())


def test_reload_ui_registers_nothing_twice(host):
    listening = {event: len(answers) for event, answers in host.callbacks.items()}
    engine = workspace().engine
    host.start()
    host.start()
    assert len(host.tabs) == 1 and {event: len(answers) for event, answers in host.callbacks.items()} == listening
    assert workspace().engine is engine and len(COMPONENTS.offers) == 4
    assert host.component("txt2img_send_to_labels4free")  # exactly one


def test_classes_lie_among_the_models_of_the_host_and_results_next_to_its_pictures(host):
    tmp_path = host.folder
    assert Path(os.environ["LABELS4FREE_MODELS"]) == tmp_path / "models" / "labels4free"
    assert workspace().outputs.folder == tmp_path / "outputs" / "labels4free"
    host.options.data["l4f_output_folder"] = "elsewhere"
    assert workspace().outputs.folder == tmp_path / "elsewhere"
    host.options.data["l4f_output_folder"] = "~/pictures"
    assert workspace().outputs.folder == Path.home() / "pictures"


def test_settings_have_words_and_are_read_at_each_job(host):
    added = host.options.data_labels
    assert set(added) == {option.key for option in settings.OPTIONS}
    assert all(info.label and info.comment and info.section == ("labels4free", "Labels4Free")
               for info in added.values())
    del host.options.data["l4f_release"]
    assert settings.engine_settings().release_after == 0
    host.options.data |= {"l4f_release": "when idle", "l4f_idle_seconds": 30, "l4f_device": "cuda:1"}
    assert settings.engine_settings().release_after == 30 and settings.engine_settings().device == "cuda:1"
    host.options.data |= {"l4f_release": "never", "l4f_device": "auto"}
    assert settings.engine_settings().release_after is None and settings.engine_settings().device == "cpu"


# ---- between tabs


def answer(host, elem_id: str, *values, event: str = "click"):
    """What the server answers to an event of that component, as the list of its outputs' updates."""
    calls = listeners(host.demo, host.component(elem_id), event)
    [call] = [function for function in calls if function.fn and len(function.inputs) == len(values)]
    outcome = call.fn(*values)
    if isinstance(outcome, dict):
        return {getattr(part, "elem_id", None) or part: update for part, update in outcome.items()}
    return outcome


def saved(host, mode="RGBA", infotext=None) -> dict[str, Path]:
    """Files as a panel hands them out: half of the picture transparent."""
    alpha = Image.new("L", (8, 8), 0)
    alpha.paste(255, (0, 0, 4, 8))
    picture = Image.new("RGB", (8, 8), (10, 200, 30))
    cutout = picture.convert("RGBA")
    cutout.putalpha(alpha)
    names = {"picture.png": cutout if mode == "RGBA" else picture, "mask.png": alpha, "cutout.png": cutout}
    paths = workspace().outputs.preview(names, infotext or "")
    return dict(zip(("picture", "mask", "cutout"), paths, strict=True))


def result(files: dict[str, Path]) -> list[SavedSample]:
    return [SavedSample("tiny", "Tiny", 3, 0.7, files)]


def test_results_go_to_img2img_flat_and_to_extras_as_they_are(host):
    files = saved(host, infotext="Labels4Free picture")
    flat = answer(host, "l4f_generate_to_img2img", result(files), None, "cutout")
    assert flat.mode == "RGB" and flat.getpixel((0, 0)) == (10, 200, 30) and flat.getpixel((7, 7)) == (255, 255, 255)
    whole = answer(host, "l4f_generate_to_extras", result(files), None, "picture")
    assert whole.mode == "RGBA" and whole.getpixel((7, 7)) == (10, 200, 30, 0)
    assert whole.info["parameters"] == "Labels4Free picture"
    assert answer(host, "l4f_generate_to_extras", result(files), None, "mask").mode == "L", "what the page shows"
    tabs = {(binding.tabname, binding.source_image_component.elem_id) for binding in host.copy_paste.bindings}
    assert tabs == {(tab, f"l4f_{panel}_{tab}_carrier") for tab in ("img2img", "extras")
                    for panel in ("generate", "swap", "segment")}


def test_inpaint_gets_the_mask_of_the_background(host):
    picture, mask, *blur = answer(host, "l4f_generate_to_inpaint", result(saved(host)), None, "picture")
    assert blur == ([] if host.variant == "SD.Next" else [0]), "a blurred mask would reach into the subject"
    assert picture.mode == "RGB" and mask.getpixel((0, 0)) == (0, 0, 0) and mask.getpixel((7, 7)) == (255, 255, 255)
    files = saved(host)
    del files["mask"]
    with pytest.raises(gr.Error, match="has no mask"):
        answer(host, "l4f_generate_to_inpaint", result(files), None, "picture")
    with pytest.raises(gr.Error, match="nothing to send"):
        answer(host, "l4f_generate_to_img2img", [], None, "picture")


@pytest.mark.parametrize("source", ["txt2img", "img2img", "extras", "pnginfo"])
def test_other_tabs_send_here(host, source):
    files = saved(host, infotext="a cat\nSteps: 20")
    picture = Image.open(files["picture"])
    words = {"SD.Next": "➠ Labels4Free"}.get(host.variant, "🏷️") if source != "pnginfo" else "Send to Labels4Free"
    assert host.component(f"{source}_send_to_labels4free").value == words
    served = host.folder / "served" / "picture.png"
    served.parent.mkdir(exist_ok=True)
    picture.save(served)
    on_disk = {"name": str(served), "data": None, "is_file": True}
    ways = [picture] if source == "pnginfo" else [[(picture, None)], [on_disk], [[on_disk, None]]]
    for value in ways:
        update = answer(host, f"{source}_send_to_labels4free", value)
        assert update["l4f_inbox"]["visible"] and not update["l4f_host_restore"]["visible"]
        assert Image.open(update["l4f_inbox_picture"]).getpixel((7, 7)) == (10, 200, 30, 0)
    for nothing in (None, [], [{"name": str(files["picture"]), "data": None, "is_file": True}]):
        with pytest.raises(gr.Error, match="no picture to send"):
            answer(host, f"{source}_send_to_labels4free", nothing)


def test_what_arrives_goes_behind_a_subject_or_is_segmented(host):
    path = str(saved(host)["picture"])
    update = answer(host, "l4f_host_use_as_background", path)
    assert update["l4f_swap_kind"] == "picture" and update["l4f_swap_picture"]["value"] == path
    update = answer(host, "l4f_host_segment", path)
    assert update["l4f_segment_source"] == "picture" and update["l4f_segment_picture"]["value"] == path


@pytest.mark.parametrize("background", [None, "seed:9"])
def test_a_picture_of_ours_restores_the_panel_that_made_it(host, background):
    behind = f", Background: {background}" if background else ""
    infotext = f"Class: tiny, Seed: 21, Truncation psi: 0.35{behind}, Version: Labels4Free 0.1"
    path = str(saved(host, infotext=infotext)["picture"])
    update = answer(host, "pnginfo_send_to_labels4free", Image.open(path))
    offered = [update[f"l4f_host_{name}"]["visible"] for name in ("restore", "restore_swap")]
    assert offered == ([False, True] if background else [True, False])
    panel, button = ("swap", "restore_swap") if background else ("generate", "restore")
    update = answer(host, f"l4f_host_{button}", path)
    assert update[f"l4f_{panel}_psi"] == 0.35
    if background:
        assert update["l4f_swap_kind"] == "seed" and update["l4f_swap_background_seed"]["value"] == "9"


# ---- jobs


def generate(host, seeds: str = "3", count: int = 1, view: str = "picture") -> list[dict]:
    """Everything that the page is told after a click on Generate, by names of components."""
    [call] = listeners(host.demo, host.component("l4f_generate_run"), "click")
    values = ["tiny", seeds, 0.7, count, view, *[False] * (len(call.inputs) - 5)]
    return [{getattr(part, "elem_id", None): update for part, update in told.items()} for told in call.fn(*values)]


def newest(host, ending: str) -> Path:
    return max(workspace().outputs.folder.rglob(f"*{ending}.png"), key=lambda path: path.stat().st_mtime_ns)


def is_free(lock) -> bool:
    if not lock.acquire(blocking=False):
        return False
    lock.release()
    return True


def test_results_arrive_transparent_on_disk_and_say_how_they_were_drawn(host):
    generate(host, "11")
    path = newest(host, "seed0011_psi0.70_cutout")
    assert path.is_relative_to(host.folder / "outputs" / "labels4free")
    recipe = recipe_of(path)
    assert (recipe.class_name, recipe.seed, recipe.truncation_psi) == ("tiny", 11, 0.7)
    engine = workspace().engine
    drawn = np.asarray(engine.segment("tiny", recipe, engine.new_token()).cutout())
    assert pixels(path).shape == (32, 32, 4) and np.array_equal(pixels(path), drawn) and drawn[..., 3].min() < 250
    assert host.state.log == ["begin Labels4Free", "end Labels4Free"] * 2 and is_free(host.lock)


@pytest.mark.parametrize("started", ["A1111", "SD.Next"], indirect=True)
def test_the_interrupt_of_the_host_stops_the_job(host):
    engine = workspace().engine
    batches = engine.generate("tiny", list(range(12)), 0.7, engine.new_token())
    assert next(batches) == [] and len(next(batches)) == 4
    host.state.interrupted = True
    with pytest.raises(Cancelled):
        next(batches)
    assert host.state.log[-1] == "end Labels4Free" and is_free(host.lock)
    assert "Stopped" not in str(generate(host)[-2:])  # what was interrupted before is none of the next job's business


@pytest.mark.parametrize("started", ["A1111", "SD.Next"], indirect=True)
def test_a_job_that_waits_for_the_host_can_be_cancelled(host):
    engine, token, heard = workspace().engine, workspace().engine.new_token(), []
    host.state.interrupted = True  # the host's own job is: ours has not begun
    ended = []

    def draw():
        try:
            list(engine.generate("tiny", [1], 0.7, token, heard.append))
        except Cancelled:
            ended.append("cancelled")

    host.lock.acquire()
    thread = threading.Thread(target=draw)
    thread.start()
    wait_until(lambda: heard == [1])
    assert engine.is_busy() and not ended
    token.cancel()
    thread.join(20)
    assert ended == ["cancelled"] and not engine.is_busy()
    host.lock.release()
    wait_until(lambda: is_free(host.lock))
    assert host.state.log == []


@pytest.mark.parametrize("started", ["A1111", "SD.Next"], indirect=True)
def test_jobs_wait_for_the_host_and_for_each_other_in_order(host):
    engine, order = workspace().engine, []

    def draw(seed):
        for batch in engine.generate("tiny", [seed], 0.7, engine.new_token()):
            order.extend(sample.seed for sample in batch)

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(4)]
    host.lock.acquire()
    for number, thread in enumerate(threads, 1):
        thread.start()
        wait_until(lambda number=number: len(queueing.DOOR) == number)
    host.lock.release()
    for thread in threads:
        thread.join(60)
    assert order == [0, 1, 2, 3] and is_free(host.lock)


def test_too_little_memory_offers_to_make_room(host, monkeypatch):
    engine = workspace().engine
    engine.unload()
    load = engine._cache._load

    def full(*values, **options):
        raise MemoryError

    monkeypatch.setattr(engine._cache, "_load", full)
    with pytest.raises(OutOfMemory):
        list(engine.generate("tiny", [1], 0.7, engine.new_token()))
    assert engine.ran_out and host.freed == []
    answer(host, "l4f_host_room")
    monkeypatch.setattr(engine._cache, "_load", load)
    host.model_data.sd_model = "a model"
    for _ in range(2):  # once: not for every job from now on
        list(engine.generate("tiny", [1], 0.7, engine.new_token()))
    host.model_data.sd_model = None
    assert host.freed == {"A1111": ["unload", "back"], "SD.Next": ["unload"]}.get(host.variant, ["free"])
    assert not engine.ran_out
    engine.make_room()
    list(engine.generate("tiny", [1], 0.7, engine.new_token()))  # no model loaded: A1111 would load one


@pytest.mark.parametrize("started", [name for name in ("A1111", "Forge") if name in VARIANTS], indirect=True)
def test_a_damaged_file_stays_where_it_is(host):
    folder = host.folder / "models" / "labels4free" / "broken"
    shutil.copytree(folder.with_name("tiny"), folder)
    weights = folder / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    before = sorted(path.name for path in folder.iterdir())
    engine = workspace().engine
    with pytest.raises(UserError):
        list(engine.generate("broken", [1], 0.7, engine.new_token()))
    assert sorted(path.name for path in folder.iterdir()) == before
    shutil.rmtree(folder)


# ---- Extras


class Processed:
    """What an operation in Extras is handed."""

    def __init__(self, image: Image.Image):
        self.image, self.info, self.nametags = image, {}, []


def operation(host):
    [kind] = host.scripts
    return kind()


def test_extras_cut_out_our_pictures_while_the_host_holds_its_queue(host):
    generate(host, "5")
    picture = Image.open(newest(host, "seed0005_psi0.70"))
    script, engine = operation(host), workspace().engine
    with gr.Blocks() as blocks, gr.Accordion("ours") if host.variant == "SD.Next" else gr.Row():
        assert set(script.ui()) == {"enable", "class_name", "result"}
    assert sum(isinstance(block, gr.Accordion) for block in blocks.blocks.values()) == 1  # and not one in another
    waiting = threading.Thread(target=lambda: list(engine.generate("tiny", [1], 0.7, engine.new_token())))
    host.lock.acquire()  # the host does, around Extras
    waiting.start()  # and one of ours waits for that already
    wait_until(lambda: len(queueing.DOOR) == 1)
    host.state.log.clear()
    same, larger, off = Processed(picture), Processed(picture.convert("RGB")), Processed(picture)
    script.process(same, enable=True, class_name="tiny", result="cutout")
    script.process_firstpass(larger, enable=True)
    larger.image = larger.image.resize((64, 64))  # an upscaler came between
    larger.image.info.clear()
    script.process(larger, enable=True, class_name=None, result=None)
    script.process(off, enable=None, class_name=None, result=None)
    assert host.state.log == []  # it is the host's job
    host.lock.release()
    waiting.join(60)
    plain = host.variant in ("Forge", "reForge")  # which get the transparency as they save
    assert plain or np.array_equal(np.asarray(same.image), pixels(newest(host, "psi0.70_cutout")))
    assert larger.image.size == (64, 64) and larger.image.mode == ("RGB" if plain else "RGBA") and off.image is picture
    saved_as = next(workspace().outputs.folder.rglob(same.info["Labels4Free"].removeprefix("saved as ")))
    assert recipe_of(saved_as).seed == 5
    shown = host.folder / "extras.png"
    host.save_image(same.image, str(shown), info="Labels4Free tiny")
    assert np.array_equal(pixels(saved_as), np.asarray(same.image)), "the host's gallery shows it transparent"
    if host.variant != "SD.Next":  # which keeps no transparency
        assert np.array_equal(pixels(shown), pixels(saved_as))


def test_what_extras_hands_over_survives_text_hidden_in_the_pixels(host):
    generate(host, "5")
    newest_picture = newest(host, "seed0005_psi0.70")
    for stealth in ("Alpha", "RGB", "None"):
        for wanted in ("cutout", "mask"):
            handed, path = Processed(Image.open(newest_picture)), host.folder / f"{stealth}_{wanted}.png"
            operation(host).process(handed, enable=True, class_name="tiny", result=wanted)
            host.save_image(handed.image, str(path), info="Labels4Free tiny", stealth=stealth)
            if wanted == "cutout" and host.variant != "SD.Next":
                assert np.array_equal(pixels(path), pixels(newest(host, "psi0.70_cutout")))


@pytest.mark.parametrize("started", ["A1111"], indirect=True)
def test_extras_say_why_a_photograph_has_no_mask(host, monkeypatch):
    told = []
    monkeypatch.setattr(gr, "Warning", told.append)
    photograph = Image.new("RGB", (40, 30))
    handed = Processed(photograph)
    operation(host).process(handed, enable=True, class_name="tiny", result="cutout")
    assert handed.image is photograph and told == [handed.info["Labels4Free"]] and "no photo segmenter" in told[0]


@pytest.mark.parametrize("started", ["A1111"], indirect=True)
def test_extras_segment_a_photograph_where_the_class_can(host):
    save_bundle(replace(tiny_bundle(title="Red things"), student=red_finder()), host.folder / "models/labels4free/red")
    picture = np.full((30, 40, 3), (20, 80, 200), np.uint8)
    picture[8:22, 10:30] = (230, 30, 40)
    handed = Processed(Image.fromarray(picture))
    operation(host).process(handed, enable=True, class_name="red", result="cutout")
    alpha = np.asarray(handed.image)[..., 3]
    assert handed.image.mode == "RGBA" and alpha[15, 20] > 200 and alpha[2, 2] < 50
    saved_as = next(workspace().outputs.folder.rglob(handed.info["Labels4Free"].removeprefix("saved as ")))
    assert np.array_equal(pixels(saved_as), np.asarray(handed.image))


# ---- programs


def test_the_api_is_there_where_the_host_has_one_and_asks_for_its_credentials(host):
    if host.variant != "SD.Next":
        assert TestClient(host.app).get("/l4f/v1/classes").status_code == 404
    options = vars(host.cmd_opts)
    before = dict(options)
    login = "auth" if host.variant == "SD.Next" else "gradio_auth"

    def status(**credentials) -> int:
        headers = {"Authorization": "Basic " + base64.b64encode(credentials["basic"].encode()).decode()} \
            if credentials else {}
        return TestClient(host.app).get("/l4f/v1/classes", headers=headers).status_code

    try:
        options["api"] = True
        host.serve()
        assert status() == 200
        options[login] = "ann:secret"
        host.serve()
        assert (status(), status(basic="ann:wrong"), status(basic="ann:secret")) == (401, 401, 200)
        if host.variant != "SD.Next":
            options["api_auth"] = "program:key,other:key2"
            host.serve()
            assert (status(basic="ann:secret"), status(basic="program:key"), status(basic="other:key2")) == \
                (401, 200, 200)
            options["api_auth"] = "nonsense"
            host.serve()
            assert (status(), status(basic="nonsense:")) == (401, 401)
    finally:
        options.clear()
        options.update(before)


# ---- what is missing


@pytest.mark.parametrize("started", ["A1111"], indirect=True)
def test_a_missing_package_shows_the_tab_with_its_mend(host, monkeypatch):
    monkeypatch.setitem(requirements.MODULES, "no_such_module", "no-such-package")
    page = host.build_tab()
    assert "-m pip install no-such-package" in host.component("l4f_notice", page).value
    assert host.component("l4f_generate_run", page)
    monkeypatch.delitem(requirements.MODULES, "no_such_module")

    def gone(*values):
        raise ImportError("gone", name="safetensors.torch")

    monkeypatch.setattr(app, "Page", gone)
    assert "-m pip install safetensors" in host.component("l4f_notice", host.build_tab()).value


def test_a_host_that_lacks_everything_still_gets_the_tab(host, monkeypatch):
    for name in ("infotext_utils", "generation_parameters_copypaste", "scripts_postprocessing", "call_queue", "paths",
                 "sd_models", "devices", "images"):
        monkeypatch.setitem(sys.modules, f"modules.{name}", None)
    events = vars(sys.modules["modules.script_callbacks"])
    for name in [name for name in events if name.startswith("on_") and name != "on_ui_tabs"]:
        monkeypatch.delitem(events, name)
    monkeypatch.setattr(host, "callbacks", defaultdict(list))
    assert hosts.register() is None
    page = host.build_tab()
    assert host.component("l4f_generate_run", page) and settings.engine_settings().device is None
    assert not [block for block in page.blocks.values() if "generate_to_img2img" in str(getattr(block, "elem_id", ""))]


def test_loading_the_tab_imports_no_torch_and_leaks_no_name(tmp_path):
    """In a Python where the plug-in is not installed, as in a web UI."""
    script = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
import gradio, numpy, PIL.Image, pytest
from stub_host import StubHost
from pathlib import Path
with pytest.MonkeyPatch.context() as patch:
    host = StubHost(sys.argv[1], Path(sys.argv[2]), patch)
    path, before = list(sys.path), set(sys.modules)
    assert "l4f_ui" not in before
    host.start()
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert "torch" not in sys.modules and not new & {"ui", "scripts", "hosts", "labels4free"}, new
    assert sys.path == path and sys.modules["l4f_ui"].__file__.endswith("ui/__init__.py")
    assert host.component("l4f_generate_run")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    subprocess.run([sys.executable, "-c", script, "SD.Next", str(tmp_path)], check=True, timeout=200, env=environment,
                   cwd=tmp_path)
