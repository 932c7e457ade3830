"""Segment, restoring from a picture, surprise me, memory on demand and the named endpoints, without a browser."""

import base64
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from alike import COLOUR_STEPS, assert_alike
from pages import begin, drawing, generate, in_thread, merged, run, status_of, swap, swapping, wait_until
from PIL import Image
from pixels import pixels

from l4f_plugin import runtime
from l4f_plugin.exploring import mixed
from l4f_plugin.images import parse_infotext, png_bytes, read_infotext, write_png
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.provenance import WPlus, recipe_of
from l4f_ui import app, compat
from l4f_ui.endpoints import _in_words
from l4f_ui.operations import Operations
from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings


def segment(page, codes, *, view="mask", class_name="tiny") -> dict:
    panel = page.photos
    changed = {panel.choice.dropdown: class_name, panel.codes: codes, panel.stage.view: view}
    return run(panel, panel.segment, changed)


def generated(page, seed="12") -> dict[str, Path]:
    return generate(page, seed)[page.generate.stage.results][0].files


def test_a_saved_picture_and_codes_give_the_same_mask(page):
    files, stage = generated(page), page.photos.stage
    seen = segment(page, SimpleNamespace(name=str(files["cutout"])))
    codes = seen[stage.results][0].files["w_plus"]
    results = [seen, segment(page, SimpleNamespace(name=str(codes))), segment(page, str(codes))]
    expected = pixels(files["mask"])
    assert expected.std() > 1
    for result in results:
        found = result[stage.results][0].files
        assert_alike(pixels(found["mask"]), expected)
        cutout = pixels(found["cutout"])
        assert cutout.shape == (32, 32, 4) and np.array_equal(cutout[..., 3], pixels(found["mask"]))
        assert result[stage.image]["value"] == str(found["mask"])
        offered = {kind: result[part]["value"] for kind, part in stage.downloads.items()}
        wanted = {"result": "cutout", "mask": "mask", "w_plus": "w_plus"}
        assert offered == {kind: str(found[part]) for kind, part in wanted.items()}
        assert WPlus.load(found["w_plus"]).digest == WPlus.load(codes).digest
    assert "seed 12" in status_of(page.photos, results[0]) and "W+ codes" in status_of(page.photos, results[1])
    told = status_of(page.photos, stage.keep(seen[stage.results]))
    assert "Saved 2 files" in told and len([*page.outputs.today().glob("*_0001.png")]) == 2
    assert not page.notices


def test_what_draws_nothing_is_told_without_the_path_of_the_server(page, tmp_path):
    for name, sentence in (("a.png", "no photo segmenter yet"), ("a.safetensors", "is a picture")):
        Image.new("RGB", (60, 40)).save(tmp_path / name, "PNG")
        told = status_of(page.photos, segment(page, str(tmp_path / name)))
        assert sentence in told and str(tmp_path) not in told and page.notices.pop()
    assert not page.service.loaded(), "nothing is loaded for what cannot be answered"


def test_the_picture_knows_its_class_best(page, monkeypatch):
    files = generated(page)
    [tiny] = [entry for entry in page.service.classes() if entry.name == "tiny"]
    other = SimpleNamespace(**{**vars(tiny), "name": "other", "title": "Others"})
    monkeypatch.setattr(page.service, "classes", lambda: [other, tiny])
    seen = segment(page, str(files["picture"]), class_name="other")
    assert seen[page.photos.choice.dropdown] == "tiny"


EDGE = ("hard", 0.4, -2, 1.5, True, 0.25, True)


def test_a_picture_restores_the_panel_it_came_from(page):
    panel = page.swap
    before = {**swapping(panel, "colour", seed="12", edge=EDGE), panel.psi: 0.9}
    drawn = run(panel, panel.swap, before)[panel.stage.results][0].files["result"]
    filled = panel.fill(str(drawn))
    plain = {part: value.get("value", ...) if isinstance(value, dict) else value for part, value in filled.items()}
    told = {part for part, value in plain.items() if part in panel.inputs and value is not ...} - {panel.restored}
    assert {part: plain[part] for part in told} == {
        **{part: before[part] for part in (panel.choice.dropdown, panel.seed, panel.psi, *panel.edge.inputs)},
        panel.background.kind: "colour",
        panel.background.colour: "#336699",
        panel.w_plus: None,
    }
    again = run(panel, panel.draw_restored, {**before, panel.restored: filled[panel.restored]})
    assert_alike(pixels(again[panel.stage.results][0].files["result"]), pixels(drawn), COLOUR_STEPS)
    filled = page.generate.fill(str(drawn))
    assert (filled[page.generate.seeds], filled[page.generate.psi], filled[page.generate.count]) == ("12", 0.9, 1)
    assert not page.notices


def test_every_background_is_restored(page):
    background = page.swap.background
    kinds = {"seed:77": ("seed", ["77"]), "blur:12": ("blur", [12]), "blur:0": ("blur", [1])}
    kinds |= {"transparent": ("transparent", []), "beach.png": ("picture", []), "seed:x.png": ("picture", [])}
    for label, (kind, values) in kinds.items():
        filled = background.filled(label)
        updates = [update for update in filled.values() if isinstance(update, dict)]
        assert filled[background.kind] == kind and [each["value"] for each in updates if "value" in each] == values
        shown = [update.get("visible") for part, update in filled.items() if part in background._control.values()]
        assert shown.count(True) == 1 and shown.count(False) == 4


def test_a_place_on_a_picture_is_restored(page, tmp_path):
    Image.new("RGB", (90, 40)).save(tmp_path / "room.png")
    panel, spot = page.swap, page.swap.background.spot
    wanted = {spot.size: "picture", spot.centre: 0.3, spot.bottom: 0.9, spot.height: 0.5, spot.flipped: True}
    given = swapping(panel, "picture", picture=str(tmp_path / "room.png")) | wanted
    for size in ("picture", "class"):
        given[spot.size] = size
        drawn = run(panel, panel.swap, given)[panel.stage.results][0].files["result"]
        filled = panel.fill(str(drawn))
        assert filled[spot.size] == size and filled[spot.frame]["visible"] == (size == "picture")
        assert set(filled) <= set(panel._controls)
        if size == "picture":
            assert {part: filled[part] for part in wanted} == wanted


def test_restoring_says_what_is_missing(page, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    text = "Labels4Free x\nClass: {}, Seed: 1, Truncation psi: {}, Noise: {}, Background: {}, Version: Labels4Free 1"

    def told(panel, *values) -> str:
        write_png(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint8), text.format(*values))
        return status_of(panel, panel.fill(str(tmp_path / "x.png")))

    for panel in (page.generate, page.swap):
        assert "no text of this plug-in" in status_of(panel, panel.fill(str(tmp_path / "plain.png")))
        assert "ape, which is not installed" in told(panel, "ape", 1, "random", "transparent")
        assert "controls do not have" in told(panel, "tiny", 1, "stored", "transparent")
        assert "controls do not have" in told(panel, "tiny", -1, "random", "transparent")
        assert "controls do not have" not in told(panel, "tiny", 1, "random", "transparent")
    assert "Its background was beach.png" in told(page.swap, "tiny", 1, "random", "beach.png")


def test_a_mixed_subject_is_restored_from_the_codes_in_its_text(page, tiny_bundle_folder, tmp_path):
    pipeline = Labels4FreePipeline.from_pretrained(tiny_bundle_folder, device="cpu")
    first, second = pipeline.codes([1, 2], 0.7)
    subject, panel = mixed(first, second, second), page.swap
    swapped = pipeline.swap(pipeline.draw([subject])[0], "#336699")
    write_png(tmp_path / "mixed.png", swapped.composite, swapped.infotext)
    filled = panel.fill(str(tmp_path / "mixed.png"))
    assert set(filled) <= set(panel._controls) and filled[panel.background.kind] == "colour"
    codes = filled[panel.w_plus]["value"]
    assert WPlus.load(codes).digest == subject.digest and WPlus.load(codes).noise_seed == 2
    given = {**swapping(panel, "colour"), panel.w_plus: codes, panel.restored: filled[panel.restored]}
    again = run(panel, panel.draw_restored, given)[panel.stage.results][0].files["result"]
    assert_alike(pixels(again), np.asarray(swapped.composite), COLOUR_STEPS)
    assert recipe_of(again).w_plus.digest == subject.digest
    assert "has no seed" in status_of(page.generate, page.generate.fill(str(again)))


def test_surprises_can_be_drawn_and_are_shown(page):
    kinds = set()
    for _ in range(40):
        surprise = page.swap.surprise_me()
        assert surprise[page.swap.choice.dropdown] in [entry.name for entry in page.service.classes()]
        assert surprise[page.swap.seed] == "-1" and 0.5 <= surprise[page.swap.psi] <= 1
        kinds.add(surprise[page.swap.background.kind])
    assert kinds == {"seed", "colour", "blur"}
    seen = swap(page, "seed", seed="-1", behind="-1")
    shown = recipe_of(seen[page.swap.stage.results][0].files["result"])
    assert seen[page.swap.seed] == str(shown.seed)
    assert f"seed:{seen[page.swap.background.seed]}" == shown.background, "what was drawn is shown, to be kept"


def test_each_neighbour_gets_a_button_and_the_files(page, tmp_path):
    met = []
    neighbours = {"img2img": lambda button, stage: met.append((button, stage))}
    service = Service(lambda: Settings(device="cpu"), Outputs(tmp_path))
    service.neighbours = neighbours
    parts = app.build(service).l4f
    files_of = {button.elem_id: stage.files_to_send for button, stage in met}
    assert set(files_of) == {f"l4f_{panel}_to_img2img" for panel in ("generate", "explore", "swap", "photos")}
    results = generate(parts, "1-2")[parts.generate.stage.results]
    files, swapped = (files_of[f"l4f_{panel}_to_img2img"] for panel in ("generate", "swap"))
    second, first = files(results, 1, "mask"), files(results, None, "picture")
    assert second == {**results[1].files, "shown": results[1].files["mask"]}
    assert first == {**results[0].files, "shown": results[0].files["picture"]}
    assert files([], None, "picture") == files(results, 5, "picture") == {}
    shown = swap(page, "colour")[page.swap.stage.results]
    sent = swapped(shown, None, "compare")
    assert sent["shown"] == sent["picture"] == shown[0].files["result"] and pixels(sent["cutout"]).shape[2] == 4
    assert swapped(shown, None, "mask")["shown"] == sent["mask"]
    assert swapped([], None, "mask") == {}


def test_settings_are_asked_at_each_job(page):
    settings = [Settings(device="cpu", release_after=0), Settings(device="cpu", dtype="bfloat16")]
    engine = Service(lambda: settings[-1])
    assert engine.sample("tiny", 1, 0.7, engine.new_token()).seed == 1
    assert engine.loaded()
    settings.pop()
    assert engine.segment("tiny", 1, engine.new_token()).seed == 1
    assert not engine.loaded() and engine.memory() == 0, "released after the job"
    settings[-1] = Settings(device="cpu", release_after=0.05)
    engine.segment("tiny", 1, engine.new_token())
    wait_until(lambda: not engine.loaded() and not engine._samples)


def test_a_new_edge_and_a_new_background_need_no_network(page, monkeypatch):
    engine = Service(lambda: Settings(device="cpu", release_after=0))
    page.swap._service = engine
    swap(page, "blur", edge=EDGE)
    monkeypatch.setattr(Labels4FreePipeline, "from_pretrained", lambda *_, **__: pytest.fail("loaded again"))
    assert page.swap.stage.results in swap(page, "colour")
    assert not page.notices


def test_the_gate_of_a_host_is_entered_and_left_in_one_thread(page):
    lock, threads = threading.RLock(), []

    class Gate:
        def __init__(self, cancel):
            pass

        def __enter__(self):
            lock.acquire()
            threads.append(threading.get_ident())

        def __exit__(self, *_):
            lock.release()
            threads.append(threading.get_ident())

    page.service._cache._gate = Gate
    updates = begin(page.generate, page.generate.generate, drawing(page.generate, "0-7"))
    seen: list[dict | None] = [{}]
    while seen[-1] is not None:  # Gradio asks for each in whatever thread is free
        in_thread(lambda: seen.append(next(updates, None))).join()
    assert len(seen) > 4 and len(threads) == 2 and len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_memory_that_runs_out_for_four_suffices_for_one(page, monkeypatch):
    sizes = []

    def refuse_batches(pipeline):
        draw = pipeline.generate

        def generate(seeds, *arguments, batch_size, **options):
            sizes.append(batch_size)
            if batch_size > 1 and len(sizes) > 1:
                raise runtime.OutOfMemory("no room")
            return draw(seeds, *arguments, batch_size=batch_size, **options)

        monkeypatch.setattr(pipeline, "generate", generate)

    with page.service._cache.job("tiny", device="cpu") as pipeline:
        refuse_batches(pipeline)
    seen = generate(page, "0-6")
    assert [sample.seed for sample in seen[page.generate.stage.results]] == list(range(7))
    assert sizes == [4, 4, 1, 1, 1]
    monkeypatch.setattr(pipeline, "generate", lambda *_, **__: (_ for _ in ()).throw(runtime.OutOfMemory("no room")))
    told = status_of(page.generate, generate(page, "0-6"))
    assert "press unload" in told.lower() and "batch size" not in told
    assert not page.service.loaded() and not page.service.is_busy()


def test_waiting_can_be_cancelled_and_is_told(page):
    panel = page.generate
    with page.service._cache.turn():
        job = begin(panel, panel.generate, drawing(panel, "3"))
        seen = next(job)
        token = seen[panel.job.token]
        while "Waiting: one job" not in seen.get(panel.job.status, ""):
            seen = next(job)
        panel.job.stop(token)
        assert status_of(panel, merged(job)) == "Stopped before the first picture."
    assert not page.service.is_busy()


def encoded(path) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


def raise_through(handler, *values):
    return _in_words(handler)(*values)


def test_the_class_of_a_picture_need_not_be_named(page, monkeypatch):
    settings, operations = page.service.settings, Operations(page.service)
    drawn = generated(page)["picture"].read_bytes()
    photograph = png_bytes(Image.new("RGB", (40, 30)))
    classes = [SimpleNamespace(name=name, problem=None) for name in ("avatar", "garments", "tiny")]
    monkeypatch.setattr(page.service, "classes", lambda: classes)
    for chosen, of_photographs in (("avatar", "garments"), ("tiny", "tiny")):
        monkeypatch.setattr(page.service, "settings", lambda chosen=chosen: replace(settings(), default_class=chosen))
        usual = [operations.wanted_class(None, picture) for picture in (None, photograph, drawn)]
        assert usual == [chosen, of_photographs, "tiny"]


def test_endpoints_answer_plain_values(page, tmp_path):
    api = page.endpoints
    assert [entry["name"] for entry in api.classes()].count("tiny") == 1
    pictures, masks, cutouts, details = api.generate("tiny", "3,9", 0.7, 1)
    assert details == {"class": "tiny", "seeds": [3, 9], "truncation_psi": 0.7}
    assert [parse_infotext(read_infotext(path))["Seed"] for path in cutouts] == ["3", "9"]
    assert pixels(masks[0]).ndim == 2 and pixels(pictures[0]).shape == (32, 32, 3)
    assert api.generate("tiny", "3", None, 2.0)[-1] == {"class": "tiny", "seeds": [3, 4], "truncation_psi": 0.6}
    result, mask, details = api.swap("tiny", "3", "#ff0000", "", 0.7, 0.5, 0.0, 0.0, False)
    assert details["background"] == "#ff0000" and set(np.unique(pixels(mask))) <= {0, 255}
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "own.png")
    own = encoded(tmp_path / "own.png")
    assert api.swap("tiny", "3", "", own, None, None, 0, 0, False)[-1]["background"] == "picture"
    sample = page.service.segment("tiny", 3, page.service.new_token(), truncation_psi=0.7)
    sample.w_plus.save(tmp_path / "codes.safetensors")
    drawn, codes = "data:image/png;base64," + encoded(masks[0]), encoded(tmp_path / "codes.safetensors")
    for inputs in (("3", 0.7, "", ""), ("", None, drawn, ""), ("", None, "", codes)):
        mask, cutout, details = api.segment("tiny", *inputs)
        assert details["seed"] == (None if inputs[3] else 3) and 0 < details["mask_area"] < 1
        assert_alike(pixels(mask), pixels(masks[0]))
        assert pixels(cutout).shape[2] == 4


def test_endpoints_name_no_file_of_the_server(page, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    for wanted in (str(tmp_path / "secret.png"), "file:///etc/passwd", ""):
        with pytest.raises(gr.Error):
            raise_through(page.endpoints.swap, "tiny", "3", wanted, "", None, None, 0, 0, False)
    for wanted in (str(tmp_path / "secret.png"), "AAAA", "*"):
        with pytest.raises(gr.Error):
            raise_through(page.endpoints.segment, "tiny", "3", None, wanted, "")
        with pytest.raises(gr.Error):
            raise_through(page.endpoints.segment, "tiny", "3", None, "", wanted)


def test_endpoints_refuse_what_is_out_of_bounds_in_a_sentence(page):
    nan, infinite = float("nan"), float("inf")
    names = [(name, "1", None, 1) for name in ("../..", "owner/name", None)]
    counts = [("tiny", "1", None, count) for count in (nan, 1.5, 10_000, infinite)]
    for values in [*names, *counts, ("tiny", "0-9999", None, 1), ("tiny", "1", nan, 1)]:
        with pytest.raises(gr.Error) as refused:
            raise_through(page.endpoints.generate, *values)
        sentence = str(refused.value.message).replace(str(values[0]), "it")
        assert sentence.count(". ") == 0 and "Traceback" not in sentence
        assert not page.service.is_busy()


def api_info(blocks) -> dict:
    if compat.MAJOR >= 4:
        return blocks.get_api_info()
    return gr.blocks.get_api_info(blocks.get_config_file())


def test_all_but_four_endpoints_are_private(page, tmp_path):
    """Their names are what programs rely on."""
    blocks = app.build(Service(lambda: Settings(device="cpu"), Outputs(tmp_path)))
    described = api_info(blocks)
    assert set(described["named_endpoints"]) == {"/classes", "/generate", "/swap", "/segment"}
    assert not described["unnamed_endpoints"] or compat.MAJOR < 4
    with compat.blocks("host", "") as host:
        app.Page(Service(lambda: Settings(device="cpu"), Outputs(tmp_path)), endpoint_prefix="labels4free_")
    assert "/labels4free_generate" in api_info(host)["named_endpoints"]
