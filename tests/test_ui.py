"""The page without a browser: handlers called as Gradio calls them, files looked at on disk."""

import gc
import json
import os
import re
import subprocess
import sys
import time
import typing
import weakref
import zipfile
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import begin, drawing, generate, merged, run, status_of, swap, swapped, swapping, wait_until
from PIL import Image
from pixels import pixels
from sentences import refusal

from l4f_plugin import runtime
from l4f_plugin.bundles import catalogue
from l4f_plugin.images import parse_infotext, read_infotext
from l4f_ui import __main__ as command
from l4f_ui import app, compat, outputs, seeds, texts
from l4f_ui.controls import colour_as_hex
from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings

UI = Path(app.__file__).parent
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in UI.glob("*.py")}


def test_building_the_page_imports_no_torch(tmp_path):
    """A web UI builds the tab at every start; torch and weights wait for the first click."""
    script = (
        "import sys, l4f_ui; assert 'gradio' not in sys.modules\n"
        "from pathlib import Path\n"
        "from l4f_ui import app, models_forms, outputs, service\n"
        f"owned = service.Service(outputs=outputs.Outputs(Path({str(tmp_path)!r})), manages_classes=True)\n"
        "list(app.build(owned).l4f.models.watch(models_forms.Visit()))\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    environment = {**os.environ, "LABELS4FREE_MODELS": str(tmp_path / "models"), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> gr.Blocks:
    """The page, to be looked at only."""
    return app.build(Service(lambda: Settings(device="cpu"), Outputs(tmp_path_factory.mktemp("built"))))


def test_page_is_built_where_no_class_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(Service, "classes", lambda self: [])
    monkeypatch.setattr(gr, "Warning", lambda words: None)
    parts = app.build(Service(outputs=Outputs(tmp_path))).l4f
    assert "no object class" in parts.generate.choice.describe(None)
    assert "No object class is chosen" in status_of(parts.generate, generate(parts, "1", name=None))


def test_a_class_says_how_large_its_pictures_are_without_the_bars_beside_them(built):
    describe = built.l4f.generate.choice.describe
    assert "96 × 128 px" in describe("garments") and "128 × 128 px" in describe("avatar")


def test_offers_classes_that_draw_with_masks_at_once(page, monkeypatch):
    def entry(name, **state):
        return SimpleNamespace(name=name, **{"installed": True, "masks": True, "problem": None, **state})

    def offered(*entries):
        monkeypatch.setattr(catalogue, "classes", lambda: list(entries))
        return [entry.name for entry in page.service.classes()], page.service.default_class()

    broken = entry("ape", problem="Broken.")
    assert offered(broken, entry("avatar"), entry("bee")) == (["avatar", "bee", "ape"], "avatar")
    assert offered(entry("avatar", installed=False), entry("bee", masks=False), entry("cow")) == (["cow"], "cow")
    assert offered(broken) == (["ape"], "ape")
    assert not page.service.is_usable("ape")
    assert offered() == ([], None)


def test_a_class_added_later_is_offered_after_a_reload(page, monkeypatch):
    known = page.service.classes()
    monkeypatch.setattr(page.service, "classes", lambda: [*known, SimpleNamespace(**{**vars(known[0]), "name": "new"})])
    offered = page.swap.choice.refresh()[page.swap.choice.dropdown]
    assert offered["choices"][-1] in ((known[0].title, "new"), "new") and offered["value"] == known[0].name


def test_every_word_comes_from_the_table(tmp_path, monkeypatch):
    """With a table of marked words the whole page is marked: nothing is written into the panels themselves."""
    monkeypatch.setattr(texts, "_table", {key: f"§{words}" for key, words in texts.ENGLISH.items()})
    blocks = app.build(Service(lambda: Settings(device="cpu"), Outputs(tmp_path))).blocks.values()
    shown = []
    for block in blocks:
        shown += [getattr(block, name, None) for name in ("label", "info")]
        shown += [words for words, _ in getattr(block, "choices", [])] if isinstance(block, gr.Radio) else []
        if isinstance(block, gr.Button | gr.Markdown):
            shown.append(block.value)
        elif isinstance(block, gr.HTML):
            shown += re.split("<[^>]*>", block.value or "")
    shown = [words for words in shown if isinstance(words, str) and words.strip()]
    assert len(shown) > 60
    assert [words for words in shown if not words.startswith("§")] == ["HTML"] * shown.count("HTML")


def test_table_holds_no_word_that_nobody_shows(built):
    ids = {block.elem_id for block in built.blocks.values()}
    source = "".join(path.read_text(encoding="utf-8") for path in UI.rglob("*.py") if path.name != "texts.py")

    def is_asked_for(key: str) -> bool:
        group, _, name = key.removesuffix("_info").rpartition(".")
        begun = name.partition("_")[0]
        # As a whole, with its beginning in braces, with its end in braces, or as one of a group.
        starts = f"{group}.{name}", f"{group}.{{", f"{group}.{begun}_{{", f"{begun}_{{"
        spelt = [quote + start for start in starts for quote in "\"'"] + [f"}}.{name}{quote}" for quote in "\"'"]
        chosen = rf'(choices\(|segments\([^,]+, |words=|words: str = )"{group}"'
        shown = "l4f_" + key.replace(".", "_") in ids  # a button that a stage is given by its name
        return shown or any(spelling in source for spelling in spelt) or re.search(chosen, source)

    # A Space has other words for some of the page's own keys.
    asked_for = {key for key in texts.ENGLISH if is_asked_for(key.removeprefix("space.")) or is_asked_for(key)}
    assert set(texts.ENGLISH) == asked_for


def test_missing_translation_stays_english(monkeypatch):
    monkeypatch.setattr(texts, "_table", texts.ENGLISH)
    texts.use_table({"generate.run": "Erzeugen"})
    assert texts.text("generate.run") == "Erzeugen"
    assert texts.text("job.cancel") == "Cancel"


def test_annotations_of_handlers_have_their_names_at_run_time(built):
    """Gradio before 4 evaluates them, and a name that only type checkers see would cost the whole page there."""
    functions = built.fns.values() if isinstance(built.fns, dict) else built.fns
    handlers = [function.fn for function in functions if function.fn is not None]
    assert len(handlers) > 50
    for handler in handlers:
        typing.get_type_hints(handler)


def test_labels_are_unique(built):
    """Web UIs store the values of controls under their labels."""
    controls = gr.Textbox | gr.Slider | gr.Radio | gr.Dropdown | gr.Checkbox | gr.ColorPicker
    inputs = [block for block in built.blocks.values() if isinstance(block, controls)]
    labels = [block.label for block in inputs]
    assert len(labels) == len(set(labels)) > 10
    assert all(block.info for block in inputs), "every control explains itself"


def test_only_one_module_knows_versions():
    knowing = [name for name, source in SOURCES.items() if re.search(r"gr\.__version__|\bMAJOR\b", source)]
    assert knowing == ["compat.py"]


def test_an_empty_answer_changes_nothing():
    """Gradio would show `{}` in the one output, and complain where there are two."""

    def wired(handler):
        return compat.on(lambda **arguments: arguments["fn"], handler, [], [box, other])

    def stepwise():
        yield {}
        yield {other: "new"}

    with gr.Blocks():
        box, other = gr.Textbox(), gr.Textbox()
    assert wired(lambda: {})() == {box: gr.update()}
    assert wired(lambda: {other: "new"})() == {other: "new"}
    assert list(wired(stepwise)()) == [{box: gr.update()}, {other: "new"}]


def test_style_sheet_touches_nothing_of_a_host():
    sheet = re.sub(r"/\*.*?\*/", "", (UI / "style.css").read_text(encoding="utf-8"), flags=re.DOTALL)
    sheet = re.sub(r"@keyframes l4f-\w+ \{.*?\}\s*\}|:is\([^)]*\)", "", sheet)
    selectors = [one.strip() for rule in re.findall(r"([^{};]+)\{", sheet) for one in rule.split(",")]
    assert len(selectors) > 40
    foreign = [one for one in selectors if not re.match(r"(\.dark |#tab_l4f |#sdnext_app )?\.l4f\b|@media", one)]
    assert [one for one in foreign if not one.startswith("(")] == []


def test_one_seed_stands_for_as_many_pictures_as_wanted():
    assert seeds.wanted_seeds("12", 3) == [12, 13, 14]
    assert seeds.wanted_seeds("12, 40", 3) == [12, 40]
    drawn = seeds.wanted_seeds("−1", 5)  # the minus sign that the page itself shows
    assert len(set(drawn)) == 5
    assert seeds.wanted_seed(" 7 ") == 7 and refusal(seeds.wanted_seed, "1-3"), "a subject is one"


def test_bad_seeds_are_refused_in_a_sentence():
    bad = ["", " ", "abc", "-2", "7-3", "1.5", "1;2", "4294967296", "4294967295", "0-64", "4294967295-"]
    for written in [*bad, "9" * 5000, "7" + " " * 1000 + "8"]:
        assert len(refusal(seeds.wanted_seeds, written, 4)) < 200


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=seeds.MOST_PICTURES))
def test_shown_seeds_can_be_typed_again(drawn):
    written = seeds.as_text(drawn)
    assert seeds.parse_seeds(written) == drawn


def test_generated_pictures_are_saved_and_shown(page):
    seen = generate(page)
    saved = seen[page.generate.stage.results]
    assert [sample.seed for sample in saved] == [3, 4, 5, 6]
    for sample in saved:
        cutout, mask = pixels(sample.files["cutout"]), pixels(sample.files["mask"])
        assert cutout.shape == (32, 32, 4) and pixels(sample.files["picture"]).shape == (32, 32, 3)
        assert np.array_equal(cutout[..., 3], mask) and mask.std() > 1
        assert parse_infotext(read_infotext(sample.files["cutout"]))["Seed"] == str(sample.seed)
        assert sample.files["picture"].parent == page.outputs.today()
    shown = seen[page.generate.stage.gallery]["value"]
    assert [Path(path) for path, _ in shown] == [sample.files["picture"] for sample in saved]
    told = status_of(page.generate, seen)
    assert "4 pictures" in told and "seeds 3-6" in told and str(page.outputs.today().name) in told
    assert not page.notices


def test_many_seeds_are_told_by_the_first_of_them(page):
    written = ",".join(str(4_000_000_000 + 2 * number) for number in range(8))
    seen = generate(page, written)
    told = status_of(page.generate, seen)
    assert "4000000000,4000000002,4000000004" in told and "4000000014" not in told and "…" in told
    assert seen[page.generate.field.last] == written, "Reuse last has all of them"


def test_time_spent_waiting_is_not_told_as_drawing(page, monkeypatch):
    clock, draw = [1000.0], page.service.generate

    def after_a_minute(name, seeds, psi, token):
        token.on_wait(1)
        clock[0] += 60.0
        token.on_wait(0)
        clock[0] += 2.0
        yield from draw(name, seeds, psi, token)

    monkeypatch.setattr(page.service, "generate", after_a_minute)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert "4 pictures in 2.0 s" in status_of(page.generate, generate(page))


def test_pictures_appear_batch_by_batch(page):
    updates = list(begin(page.generate, page.generate.generate, drawing(page.generate, "0-9", view="mask")))
    growing = [len(update[page.generate.stage.results]) for update in updates if page.generate.stage.results in update]
    assert list(dict.fromkeys(growing)) == [4, 8, 10]
    assert "_alpha.png" in updates[-3][page.generate.stage.gallery]["value"][0][0]


def test_bad_seeds_become_a_notice(page):
    seen = generate(page, "seven")
    assert "'seven' is not a seed" in page.notices[0]
    assert "'seven' is not a seed" in status_of(page.generate, seen)
    assert not page.service.loaded(), "nothing is loaded for a request that cannot be answered"


def test_what_nobody_foresaw_is_not_shown_as_a_traceback(page, monkeypatch, capsys):
    monkeypatch.setattr(page.service, "generate", lambda *_: 1 / 0)
    told = status_of(page.generate, generate(page))
    assert "ZeroDivisionError" in told and "Traceback" not in told
    assert "Traceback" in capsys.readouterr().err, "whoever runs the page can look it up"


def test_markup_in_a_message_is_shown_not_obeyed(page):
    seen = generate(page, "<img src=x onerror=alert(1)>")
    assert "<img" not in seen[page.generate.job.status]


def test_cancel_of_one_session_leaves_the_other_alone(page):
    mine = begin(page.generate, page.generate.generate, drawing(page.generate, "0-7"))
    next(mine)
    assert generate(page)[page.generate.stage.results]  # another session starts and ends
    page.generate.job.stop(None)  # what a session without a job holds
    assert len(merged(mine)[page.generate.stage.results]) == 8


def test_a_closed_page_frees_the_queue(page, monkeypatch):
    draw = page.service.generate

    def held(name, seeds, psi, token):
        for batch in draw(name, seeds, psi, token):
            yield batch
            while batch and not token.cancelled:
                time.sleep(0.01)

    monkeypatch.setattr(page.service, "generate", held)
    job = begin(page.generate, page.generate.generate, drawing(page.generate, "0-63"))
    seen: dict = {}
    while page.generate.stage.results not in seen:
        seen |= next(job)
    assert page.service.is_busy()
    job.close()  # what Gradio does when the client is gone
    wait_until(lambda: not page.service.is_busy())


def test_view_and_download_follow_each_other(page):
    saved, stage = generate(page)[page.generate.stage.results], page.generate.stage
    shown = stage.downloads["shown"]
    picked = page.generate.pick("cutout", saved, SimpleNamespace(index=2))
    assert picked[stage.picked] == 2 and "5" in picked[stage.about_picked]
    assert picked[shown]["value"] == str(saved[2].files["cutout"])
    masks = stage.look("mask", saved, 2)
    assert masks[shown]["value"] == str(saved[2].files["mask"])
    assert [path for path, _ in masks[stage.gallery]["value"]] == [str(sample.files["mask"]) for sample in saved]
    nothing = stage.look("mask", saved, None)[shown]
    assert nothing["value"] is None and not nothing.get("interactive")
    assert page.generate.pick("cutout", saved, SimpleNamespace(index=9))[stage.picked] is None


def test_a_picture_that_is_open_can_be_used_after_others_were_drawn(page):
    """The gallery goes on enlarging what has its place."""
    panel, stage = page.generate, page.generate.stage
    seen = run(panel, panel.generate, {**drawing(panel, "10-12"), stage.picked: 2})
    assert seen[stage.picked] == 2 and "12" in seen[stage.about_picked] and seen[panel.to_swap]["interactive"]
    assert seen[stage.downloads["shown"]]["value"] == str(seen[stage.results][2].files["picture"])
    seen = run(panel, panel.generate, {**drawing(panel, "10-12"), stage.picked: 3})
    assert seen[stage.picked] == 0 and "10" in seen[stage.about_picked] and seen[panel.to_swap]["interactive"]


def test_seeds_can_be_used_again(page):
    seen, field = generate(page, "3,9-11"), page.generate.field
    saved = seen[page.generate.stage.results]
    assert field.reuse(seen[field.last]) == {page.generate.seeds: "3,9-11"}
    assert field.draw(" −1 ") == {page.generate.seeds: "-1"}
    assert field.draw("12 ") == {page.generate.seeds: "-1", field.last: "12"}, "what dice drives away can come back"
    assert field.reuse("") == {} and "No seed" in page.notices[0]
    assert page.generate.use_picked_seed(saved, 3) == {page.generate.seeds: "11", page.generate.count: 1}
    assert page.generate.use_picked_seed(saved, None) == {}


@pytest.mark.skipif(compat.MAJOR >= 4, reason="newer ones keep examples for programs out of the page")
def test_a_page_carries_no_examples_for_programs(page):
    config = json.dumps(app.build(page.service).get_config_file(), default=str)
    assert len(config) < 400_000


def test_zip_holds_every_file(page):
    saved = generate(page)[page.generate.stage.results]
    with zipfile.ZipFile(page.generate.stage.pack(saved)) as packed:
        assert packed.testzip() is None
        assert len(packed.namelist()) == 16
        assert packed.read(saved[0].files["cutout"].name) == saved[0].files["cutout"].read_bytes()
    assert "no pictures to pack" in refusal(page.generate.stage.pack, [])


def test_output_folder_under_a_file_is_told(page, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    page.service.outputs = Outputs(tmp_path / "file" / "out")
    told = status_of(page.generate, generate(page))
    assert "is a file" in told and page.notices


def test_one_subject_before_many_pictures_gives_a_result_each(page, tmp_path):
    """Files, archives and what cannot be read among them; the same subject in each, at the size of each picture."""
    for number, size in enumerate([(40, 60), (70, 30)]):
        Image.new("RGB", size, (10, 200, 30 * number)).save(tmp_path / f"{number}.png")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as packed:
        packed.write(tmp_path / "1.png", "inside.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    panel, stage = page.swap, page.swap.stage
    files = [str(tmp_path / name) for name in ("1.png", "more.zip", "broken.png")]
    given = swapping(panel, "picture", picture=str(tmp_path / "0.png")) | {panel.background.several: files}
    seen = run(page.swap, page.swap.swap, given)
    results = seen[stage.results]
    assert [pixels(result.files["result"]).shape[:2] for result in results] == [(60, 40), (30, 70), (30, 70)]
    assert "3 of 4 backgrounds" in status_of(panel, seen) and "broken.png (" in status_of(panel, seen)
    assert seen[stage.steps]["visible"] and len(seen[stage.grid]["value"]) == 3
    with zipfile.ZipFile(stage.pack(results)) as packed:
        assert sum("swapped" in name and "_alpha" in name for name in packed.namelist()) == 3
    behind = panel.add_another(results, 1, 0.5)
    assert behind[panel.background.picture] == str(results[1].files["result"])
    assert behind[panel.background.several] is None


def test_one_subject_before_our_pictures_and_before_several_seeds(page):
    panel, stage = page.swap, page.swap.stage
    chosen = panel.background.with_samples()
    given = swapping(panel, "picture", picture=chosen[panel.background.picture])
    given |= {panel.background.several: chosen[panel.background.several]["value"], panel.background.spot.size: "class"}
    seen = run(panel, panel.swap, given)
    assert len(seen[stage.results]) == len(panel.samples) > 1
    seen = run(panel, panel.swap, swapping(panel, "seed", behind="1-3"))
    assert len(seen[stage.results]) == 3 and seen.get(panel.background.seed, "1-3") == "1-3"
    assert not seen[stage.results][0].better and not stage.use_better.visible


def test_each_background_gives_a_picture(page):
    stage = page.swap.stage
    for kind in ("seed", "colour", "blur", "transparent"):
        seen = swap(page, kind)
        [result] = seen[stage.results]
        file = result.files["result"]
        assert pixels(file).shape == (32, 32, 4 if kind == "transparent" else 3)
        assert seen[stage.image]["value"] == seen[stage.downloads["shown"]]["value"] == str(file)
        assert "Background" in parse_infotext(read_infotext(file))
    assert not page.notices


def test_uploaded_picture_is_the_background(page, tmp_path):
    Image.new("RGB", (90, 40), (10, 200, 30)).save(tmp_path / "green.png")
    given = swapping(page.swap, "picture", picture=str(tmp_path / "green.png"))
    own = run(page.swap, page.swap.swap, given)[page.swap.stage.results][0].files
    assert pixels(own["result"]).shape == (40, 90, 3) and pixels(own["cutout"]).shape == (40, 90, 4)
    given[page.swap.background.spot.size] = "class"
    files = run(page.swap, page.swap.swap, given)[page.swap.stage.results][0].files
    plain = swapped(page, "colour", colour="#0ac81e")
    assert np.abs(pixels(files["result"]).astype(int) - pixels(plain["result"])).max() < 2
    told = "green.png" if compat.MAJOR >= 4 else "your picture"  # Gradio 3 sends no name
    assert parse_infotext(read_infotext(files["result"]))["Background"] == told


def test_damaged_upload_is_told_without_the_path_of_the_server(page, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    told = status_of(page.swap, swap(page, "picture", picture=str(tmp_path / "broken.png")))
    assert "not a picture" in told and str(tmp_path) not in told


@pytest.mark.skipif(compat.MAJOR < 4, reason="Gradio 3 uploads no files but their content")
def test_upload_field_hands_over_the_file_as_it_is(tmp_path):
    """Gradio's own reading would turn a damaged picture into an error of PIL."""
    field = compat.uploaded_image(label="picture")
    assert field.preprocess(SimpleNamespace(path=str(tmp_path / "broken.png"))) == str(tmp_path / "broken.png")
    assert field.preprocess(None) is None


def test_no_upload_yet_is_told_on_the_click_but_not_while_following(page):
    assert "drop one" in status_of(page.swap, swap(page, "picture"))
    page.notices.clear()
    followed = run(page.swap, page.swap.follow, {**swapping(page.swap, "picture"), page.swap.wanted: True})
    assert page.swap.stage.results not in followed and not page.notices


def test_edge_controls_change_the_mask(page):
    edges = [("soft", 0.5, 0, 0), ("hard", 0.4, 0, 0), ("soft", 0.5, 3, 0), ("soft", 0.5, -3, 0), ("soft", 0.5, 0, 4)]
    masks = [pixels(swapped(page, "blur", edge=(*edge, False))["mask"]) for edge in edges]
    soft, hard, grown, shrunk, feathered = masks
    assert page.swap.edge.show_threshold("hard")[page.swap.edge.threshold]["visible"]
    assert set(np.unique(hard)) <= {0, 255} and len(np.unique(soft)) > 2
    assert grown.astype(int).sum() > soft.sum() > shrunk.sum()
    assert np.abs(np.diff(feathered.astype(int))).max() < np.abs(np.diff(soft.astype(int))).max()


def test_preview_shows_result_mask_or_both(page):
    stage = page.swap.stage
    shown = swap(page, "colour")[stage.results]
    assert stage.look("mask", shown)[stage.image]["value"] == str(shown[0].files["mask"])
    both = stage.look("compare", shown)
    assert both[stage.comparison.frame]["visible"] and not both[stage.image]["visible"]
    assert both[stage.downloads["shown"]]["value"] == str(shown[0].files["result"])
    assert stage.look("mask", []) == {}


def test_nothing_is_loaded_before_the_first_click(page):
    panel, wanted = page.swap, swapping(page.swap, "blur")
    run(panel, panel.follow, wanted)
    page.header.refresh()
    assert not page.service.loaded()
    assert panel.stage.results in run(panel, panel.swap, wanted)
    assert len(page.service.loaded()) == 1


def test_result_is_kept_under_a_free_name(page):
    shown = swap(page, "colour")[page.swap.stage.results]
    told = [status_of(page.swap, page.swap.stage.keep(shown)) for _ in range(2)]
    kept = sorted(page.outputs.today().glob("*_swapped_*.png"))
    assert len(kept) == 2 and all(path.name in words for path, words in zip(kept, told, strict=True))
    assert kept[0].read_bytes() == shown[0].files["result"].read_bytes()
    assert "no result to save" in status_of(page.swap, page.swap.stage.keep([]))


def test_unload_empties_memory_and_says_so(page):
    assert not page.header.refresh()[page.header.unload]["interactive"]
    state = generate(page)
    assert "in memory" in state[page.header.state] and state[page.header.unload]["interactive"]
    released = page.header.release()
    assert not page.service.loaded() and not released[page.header.unload]["interactive"]
    assert "MB" in page.notices[0]
    page.header.release()
    assert "nothing to unload" in page.notices[1]


def test_the_status_line_tells_what_the_server_takes(page, monkeypatch):
    monkeypatch.setattr(runtime, "resident_memory", lambda: 700 << 20)
    assert "server: 700 MB" in page.header.refresh()[page.header.state]
    monkeypatch.setattr(runtime, "resident_memory", lambda: None)
    assert "server:" not in page.header.refresh()[page.header.state]


def test_idle_card_is_pointed_out(page, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "nvidia_hint", lambda: "A card is idle; do `this <now>`.")
    header = app.build(Service(lambda: Settings(device="cpu"), Outputs(tmp_path))).l4f.header
    assert header.hint.visible and "<code>this &lt;now&gt;</code>" in header.hint.value
    assert not page.header.hint.visible


def test_only_folders_of_results_are_served(page, monkeypatch):
    assert page.outputs.served_folders == [str(page.outputs.today())]
    assert not page.outputs.today().exists(), "no folder before the first picture"
    monkeypatch.setattr(outputs, "date", SimpleNamespace(today=lambda: date(2031, 1, 1)))
    page.outputs.today()
    assert page.outputs.served_folders[1:] == [str(page.outputs.folder / "2031-01-01")]


def test_previews_of_killed_programs_go_and_those_of_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.tempfile, "tempdir", str(tmp_path))
    killed, runs = (Outputs(tmp_path).preview_folder().parent for _ in range(2))
    os.utime(killed, (0, 0))
    Outputs(tmp_path)
    assert not killed.exists() and runs.exists()


def test_old_previews_make_room(page, monkeypatch):
    monkeypatch.setattr(outputs, "FOLDERS_KEPT", 3)
    picture = Image.new("RGB", (2, 2))
    paths = [page.outputs.preview("x", {"picture": picture}, "text")["picture"] for _ in range(5)]
    assert [path.exists() for path in paths] == [False, False, True, True, True]


def test_default_folder_is_the_desktops_picture_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert outputs.default_output_folder() == tmp_path / "labels4free-output"
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "user-dirs.dirs").write_text('XDG_PICTURES_DIR="$HOME/Bilder"\n')
    (tmp_path / "Bilder").mkdir()
    assert outputs.default_output_folder() == tmp_path / "Bilder" / "Labels4Free"


def test_class_names_become_plain_file_names():
    names = {"avatar": "avatar", "someone/l4f-dogs": "l4f-dogs", "../..": "class", "a b\\..\\c": "c", "/x/y/": "y"}
    assert {name: outputs.slug(name) for name in names} == names


def test_colour_pickers_of_all_versions_are_understood():
    for picked in ("#336699", "rgb(51,102,153)", "rgba(51.2, 102, 152.9, 0.4)"):
        assert colour_as_hex(picked) == "#336699"
    assert colour_as_hex(None) == "#"


def test_command_answers_bad_options_in_a_sentence(capsys):
    for option, value in (("--auth", "ann"), ("--auth", ":secret"), ("--port", "70000")):
        assert command.main(["--no-browser", option, value]) == 2
        complaint = capsys.readouterr().err
        assert complaint.startswith("l4f: ") and complaint.count("\n") == 1


def test_unload_looks_at_no_foreign_objects(page, monkeypatch):
    """In a web UI a full collection takes seconds; the networks leave memory without one."""
    generate(page)
    network = weakref.ref(page.service._cache._pipeline.bundle.generator)
    monkeypatch.setattr(gc, "collect", lambda: pytest.fail("a full collection"))
    page.service.unload()
    assert network() is None
