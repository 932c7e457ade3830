"""The plug-in within web UIs: the same folder loaded by stub hosts that have and lack what the real ones do; and
results of ours in the other tabs, theirs in ours."""

import os
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from host_pages import answer, host, started  # noqa: F401, fixtures
from PIL import Image
from shell import ended, start
from starlette.testclient import TestClient
from stub_host import ROOT

from l4f_plugin.bundles.folders import trainings_folder
from l4f_ui import app, hosts
from l4f_ui.hosts import settings, tab
from l4f_ui.hosts.components import COMPONENTS, SIZE
from l4f_ui.hosts.host_service import service
from l4f_ui.outputs import Result


def test_the_tab_is_there(host):  # noqa: F811
    [(blocks, title, identifier)] = host.tabs
    assert (title, identifier) == ("Labels4Free", "l4f")
    ids = {getattr(block, "elem_id", None) for block in blocks.blocks.values()}
    assert not any("<h1>" in str(getattr(block, "value", "")) for block in blocks.blocks.values()), "the tab names us"
    assert {"l4f", "l4f_generate_run", "l4f_swap_run", "l4f_photos_run"} <= ids and "l4f_notice" not in ids
    assert all(block.do_not_save_to_config for block in blocks.blocks.values())


def test_opening_the_page_of_the_host_asks_nothing_of_us(host):  # noqa: F811
    """Each answer makes Gradio 3 draw all of the host's components anew, and a plot is 4.5 MB of scripts."""
    [(blocks, _, _)] = host.tabs
    events = blocks.get_config_file()["dependencies"]
    at_load = [event for event in events if event.get("trigger") == "load" or "'load'" in str(event["targets"])]
    assert at_load and not any(event["backend_fn"] for event in at_load)
    kinds = {block.get_block_name() for block in blocks.blocks.values()}
    assert gr.__version__[0] != "3" or not {"plot", "lineplot"} & kinds


def test_reload_ui_registers_nothing_twice(host):  # noqa: F811
    listening = {event: len(answers) for event, answers in host.callbacks.items()}
    engine = service()
    host.start()
    host.start()
    assert len(host.tabs) == 1 and {event: len(answers) for event, answers in host.callbacks.items()} == listening
    assert service() is engine and len(COMPONENTS.offers) == (5 if host.variant == "SD.Next" else 4)
    assert host.component("txt2img_send_to_labels4free")  # exactly one


def test_classes_lie_among_the_models_of_the_host_and_results_next_to_its_pictures(host):  # noqa: F811
    tmp_path = host.folder
    assert Path(os.environ["LABELS4FREE_MODELS"]) == tmp_path / "models" / "labels4free"
    assert service().outputs.folder == tmp_path / "outputs" / "labels4free"
    host.options.data["l4f_output_folder"] = "elsewhere"
    assert service().outputs.folder == tmp_path / "elsewhere"
    host.options.data["l4f_output_folder"] = "~/pictures"
    assert service().outputs.folder == Path.home() / "pictures"


def test_trainings_lie_in_the_data_folder_that_the_host_is_given(host, monkeypatch):  # noqa: F811
    settings.apply_environment()
    assert "LABELS4FREE_CACHE" not in os.environ, "the host's own folder is none"
    monkeypatch.setattr(host.paths, "data_path", "elsewhere")
    settings.apply_environment()
    assert trainings_folder() == Path.cwd() / "elsewhere/cache/labels4free/trainings"
    monkeypatch.undo()
    settings.apply_environment()
    assert "LABELS4FREE_CACHE" not in os.environ


def test_settings_have_words_and_are_read_at_each_job(host):  # noqa: F811
    added = host.options.data_labels
    assert set(added) == {f"l4f_{name}" for name in settings.OPTIONS}
    assert all(info.label and info.comment for info in added.values())
    assert {info.section for info in added.values()} == {("labels4free", "Labels4Free")}
    assert {info.category_id for info in added.values()} == {"labels4free"}, "under a heading of its own"
    del host.options.data["l4f_release"]
    assert settings.service_settings().release_after == 0
    host.options.data |= {"l4f_release": "when idle", "l4f_idle_seconds": 30, "l4f_device": "cuda:1"}
    assert settings.service_settings().release_after == 30 and settings.service_settings().device == "cuda:1"
    host.options.data |= {"l4f_release": "never", "l4f_device": "auto"}
    assert settings.service_settings().release_after is None and settings.service_settings().device == "cpu"


# ---- between our tab and the others


def saved(host, mode="RGBA", infotext=None) -> dict[str, Path]:  # noqa: F811
    """Files as a panel hands them out: half of the picture transparent."""
    alpha = Image.new("L", (8, 8), 0)
    alpha.paste(255, (0, 0, 4, 8))
    picture = Image.new("RGB", (8, 8), (10, 200, 30))
    cutout = picture.convert("RGBA")
    cutout.putalpha(alpha)
    parts = {"picture": cutout if mode == "RGBA" else picture, "mask": alpha, "cutout": cutout}
    return service().outputs.preview("result", parts, infotext or "")


def result(files: dict[str, Path]) -> list[Result]:
    return [Result(files, "Tiny", "tiny", 3, 0.7)]


def test_results_go_to_img2img_flat_and_to_extras_as_they_are(host):  # noqa: F811
    files = saved(host, infotext="Labels4Free picture")
    flat = answer(host, "l4f_generate_to_img2img", result(files), None, "cutout")
    assert flat.mode == "RGB" and flat.size == (512, 512), "as small as Stable Diffusion can use"
    assert flat.getpixel((0, 0)) == (10, 200, 30) and flat.getpixel((511, 511)) == (255, 255, 255)
    whole = answer(host, "l4f_generate_to_extras", result(files), None, "picture")
    assert whole.mode == "RGBA" and whole.getpixel((7, 7)) == (10, 200, 30, 0)
    assert whole.info["parameters"] == "Labels4Free picture"
    assert answer(host, "l4f_generate_to_extras", result(files), None, "mask").mode == "L", "what the page shows"
    tabs = [(binding.tabname, binding.source_image_component.elem_id) for binding in host.copy_paste.bindings]
    assert tabs == [(tab, f"l4f_{tab}_carrier") for tab in ("img2img", "extras")], "one for all panels: pages are heavy"
    assert all(host.component(f"l4f_{panel}_to_extras") for panel in ("explore", "swap", "photos"))


def test_inpaint_gets_the_mask_of_the_background(host):  # noqa: F811
    picture, mask, *rest = answer(host, "l4f_generate_to_inpaint", result(saved(host)), None, "picture")
    assert rest == [0, 512, 512], "a blurred mask would reach into the subject; width and height follow the picture"
    assert [part.label for part in COMPONENTS.named(SIZE)] == ["width", "height"], "the first of two with one id"
    assert picture.size == mask.size == (512, 512) and picture.mode == "RGB"
    assert mask.getpixel((0, 0)) == (0, 0, 0) and mask.getpixel((511, 511)) == (255, 255, 255)
    files = saved(host)
    del files["mask"]
    with pytest.raises(gr.Error, match="has no mask"):
        answer(host, "l4f_generate_to_inpaint", result(files), None, "picture")
    with pytest.raises(gr.Error, match="nothing to send"):
        answer(host, "l4f_generate_to_img2img", [], None, "picture")


@pytest.mark.parametrize("source", ["txt2img", "img2img", "extras", "pnginfo"])
def test_other_tabs_send_here(host, source):  # noqa: F811
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
    opaque = picture.convert("RGB").convert("RGBA")  # as Forge hands over every picture
    update = answer(host, f"{source}_send_to_labels4free", opaque if source == "pnginfo" else [(opaque, None)])
    assert Image.open(update["l4f_inbox_picture"]).mode == "RGB"
    for nothing in (None, [], [{"name": str(files["picture"]), "data": None, "is_file": True}]):
        with pytest.raises(gr.Error, match="no picture to send"):
            answer(host, f"{source}_send_to_labels4free", nothing)


def test_what_arrives_goes_behind_a_subject_or_is_segmented(host):  # noqa: F811
    path = str(saved(host)["picture"])
    update = answer(host, "l4f_host_use_as_background", path)
    assert update["l4f_swap_kind"] == "picture" and update["l4f_swap_picture"] == path
    update = answer(host, "l4f_host_segment", path)
    assert update["l4f_photos_files"]["value"] == [path] and update["l4f_photos_codes"]["value"] is None


@pytest.mark.parametrize("background", [None, "seed:9"])
def test_a_picture_of_ours_restores_the_panel_that_made_it(host, background):  # noqa: F811
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


# ---- programs


def test_the_api_is_there_where_the_host_has_one_and_asks_for_its_credentials(host):  # noqa: F811
    if host.variant != "SD.Next":
        assert TestClient(host.app).get("/l4f/v1/classes").status_code == 404
    options = vars(host.cmd_opts)
    login = "auth" if host.variant == "SD.Next" else "gradio_auth"

    def status(credentials: str = "") -> int:
        login = tuple(credentials.split(":")) if credentials else None
        return TestClient(host.app).get("/l4f/v1/classes", auth=login).status_code

    options["api"] = True
    host.serve()
    assert status() == 200
    options[login] = "ann:secret"
    host.serve()
    assert (status(), status("ann:wrong"), status("ann:secret")) == (401, 401, 200)
    if host.variant != "SD.Next":
        options["api_auth"] = "program:key,other:key2"
        host.serve()
        assert (status("ann:secret"), status("program:key"), status("other:key2")) == (401, 200, 200)
        options["api_auth"] = "nonsense"
        host.serve()
        assert (status(), status("nonsense:")) == (401, 401)


def asked_by(running, headers: dict[str, str]):
    """What our named endpoint of the classes answers to a request with these headers, as Gradio calls it."""
    functions = running.demo.fns.values() if isinstance(running.demo.fns, dict) else running.demo.fns
    handlers = {function.fn for function in functions}
    [handler] = [each for each in handlers if getattr(each, "__qualname__", "") == "Endpoints.classes"]
    return handler(gr.Request(SimpleNamespace(headers=headers)))


def test_strangers_names_and_pages_reach_no_handler_of_ours(host):  # noqa: F811
    """A stranger's name that points here (DNS rebinding), and pages of other sites; the host itself asks nobody."""
    own = {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860"}
    evil = {"host": "evil.example:7860", "origin": "http://evil.example:7860"}
    assert asked_by(host, own)
    other_site = {**own, "origin": "http://evil.example"}
    for headers, words in ((evil, "a name of the local network"), (other_site, "another site")):
        with pytest.raises(gr.Error, match=words):
            asked_by(host, headers)
    host.options.data["l4f_allowed_hosts"] = "evil.example, other.example"
    assert asked_by(host, evil)
    host.options.data["l4f_allowed_hosts"] = ""
    login = "auth" if host.variant == "SD.Next" else "gradio_auth"
    for flag, value in ((login, "ann:secret"), ("listen", True)):
        setattr(host.cmd_opts, flag, value)
        assert asked_by(host, evil), "a login, or a page that everybody was to reach"
        setattr(host.cmd_opts, flag, None)


def test_the_api_is_found_under_the_sub_path_of_the_host(host):  # noqa: F811
    vars(host.cmd_opts).update(api=True, subpath="/studio/")
    host.serve()
    for path in ("/l4f/v1/classes", "/studio/l4f/v1/classes"):
        assert TestClient(host.app).get(path).status_code == 200, path
    assert TestClient(host.app).get("/other/l4f/v1/classes").status_code == 404


# ---- what is missing


@pytest.mark.parametrize("started", ["A1111"], indirect=True)
def test_a_missing_package_shows_the_tab_with_its_mend(host, monkeypatch):  # noqa: F811
    monkeypatch.setitem(tab.MODULES, "no_such_module", "no-such-package")
    page = host.build_tab()
    assert "-m pip install no-such-package" in host.component("l4f_notice", page).value
    assert host.component("l4f_generate_run", page)
    monkeypatch.delitem(tab.MODULES, "no_such_module")

    def gone(*values):
        raise ImportError("gone", name="safetensors.torch")

    monkeypatch.setattr(app, "Page", gone)
    assert "-m pip install safetensors" in host.component("l4f_notice", host.build_tab()).value


def test_a_host_that_lacks_everything_still_gets_the_tab(host, monkeypatch):  # noqa: F811
    names = "infotext_utils generation_parameters_copypaste scripts_postprocessing call_queue paths sd_models devices"
    for name in [*names.split(), "images"]:
        monkeypatch.setitem(sys.modules, f"modules.{name}", None)
    events = vars(sys.modules["modules.script_callbacks"])
    for name in [name for name in events if name.startswith("on_") and name != "on_ui_tabs"]:
        monkeypatch.delitem(events, name)
    monkeypatch.setattr(host, "callbacks", defaultdict(list))
    assert hosts.register() is None
    page = host.build_tab()
    assert host.component("l4f_generate_run", page) and settings.service_settings().device is None
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
    said = ended(start(script, "SD.Next", tmp_path, env=environment, cwd=tmp_path))
    assert said.code == 0, said.err
