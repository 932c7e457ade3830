"""The panel Explore without a browser: what its sliders and boards send, and what the page then shows."""

import copy
import json
import re
import shutil
import threading
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from alike import COLOUR_STEPS, assert_alike
from pages import generate, in_thread, listeners, run, status_of, wait_until
from PIL import Image
from pixels import pixels
from sentences import refusal

from l4f_plugin.exploring import layers
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.provenance import recipe_of
from l4f_ui import app
from l4f_ui.exploration import Exploration
from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings
from l4f_ui.space.limits import Doorkeeper, Limits
from l4f_ui.space.space_service import SpaceService


@pytest.fixture(scope="module")
def models(tiny_bundle_folder, tmp_path_factory):
    """A models folder with the tiny class alone, in which directions may be kept."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_bundle_folder, folder / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELS4FREE_MODELS", str(folder))
        patch.setattr(gr, "Warning", lambda words: None)
        yield folder


@pytest.fixture(scope="module")
def built(models, tmp_path_factory):
    """The page of its owner."""
    chosen = [tmp_path_factory.mktemp("out")]
    outputs = Outputs(lambda: chosen[0])
    service = Service(lambda: Settings(device="cpu"), outputs, manages_classes=True)
    yield SimpleNamespace(blocks=app.build(service), service=service, outputs=outputs, chosen=chosen)
    outputs.forget_previews()


@pytest.fixture
def site(built, tmp_path):
    """The page, one visitor's exploration, and a way of pressing buttons."""
    parts, explored, built.chosen[0] = built.blocks.l4f, Exploration(), tmp_path / "out"
    panel = parts.explore

    def press(work, **changed) -> dict:
        given = {panel.state: explored, panel.choice.dropdown: "tiny", panel.seed: "5"}
        return run(panel, work, given | {getattr(panel, name): value for name, value in changed.items()})

    def order(**said) -> dict:
        return press(panel.obey, order=json.dumps(said))

    made = SimpleNamespace(**vars(parts), panel=panel, explored=explored, press=press, order=order)
    return SimpleNamespace(**vars(made), **vars(built))


def files_of(site, seen: dict) -> dict:
    return seen[site.panel.stage.results][0].files


def settled(site, **wish) -> dict:
    return site.order(do="settle", wish={"variety": 0.7, **wish})


def shelve(site, *seeds: str) -> None:
    for seed in seeds:
        site.press(site.panel.begin, seed=seed)
        site.press(site.panel.put_aside)


def test_a_subject_begins_as_generate_draws_it(site, tiny_bundle_folder):
    seen = site.press(site.panel.first)
    [drawn] = Labels4FreePipeline.from_pretrained(tiny_bundle_folder, device="cpu").generate([5], 0.7)
    files = files_of(site, seen)
    assert set(files) == {"picture", "mask", "cutout", "background", "w_plus"}
    assert_alike(pixels(files["picture"]), drawn.image, COLOUR_STEPS)
    assert_alike(pixels(files["background"]), drawn.background, COLOUR_STEPS)
    assert recipe_of(files["cutout"]).w_plus.digest == site.explored.codes().digest
    board = seen[site.panel.board]
    assert board.count('class="l4f-direction"') == 4 * 7 and "Direction 7" in board
    assert seen[site.panel.sheet].count("background-image") == 2 * 7
    assert site.press(site.panel.first).get(site.panel.board) is None, "there is one already"


def test_the_last_word_is_not_that_of_a_wait(site, monkeypatch):
    draw = site.service.draw

    def after_others(name, codes, token, **options):
        token.on_wait(0)
        return draw(name, codes, token, **options)

    monkeypatch.setattr(site.service, "draw", after_others)
    assert "drag the sliders" in status_of(site.panel, site.press(site.panel.begin))
    site.panel._ends.clear()
    assert "drag the sliders" in status_of(site.panel, site.order(do="range", range="fine"))


def test_sliders_move_the_picture_and_settle_into_what_can_be_undone(site):
    panel = site.panel
    first = files_of(site, site.press(panel.begin))
    start = site.explored.codes().codes
    wish = {"variety": 0.7, "strengths": {"coarse-1": 2.5, "fine-0": -1.0}}
    live = panel.follow(json.dumps(wish), site.explored, "picture")[panel.stage.live]
    assert "data:image/webp;base64," in live and np.array_equal(site.explored.codes().codes, start)
    moved = files_of(site, settled(site, **wish))
    changed = np.abs(site.explored.codes().codes - start).max(axis=1) > 1e-3
    assert changed.tolist() == [layer not in range(8)[layers("middle", 8)] for layer in range(8)]
    assert np.abs(pixels(moved["picture"]).astype(int) - pixels(first["picture"])).mean() > 0.5
    seen = site.press(panel.step_back)
    assert_alike(pixels(files_of(site, seen)["picture"]), pixels(first["picture"]), COLOUR_STEPS)
    assert 'data-key="coarse-1" data-digits="1" min="-3" max="3" step="0.1" value="0"' in seen[panel.board]
    for _ in range(2):
        last = site.press(panel.step_back)
    assert "nothing to undo" in status_of(panel, last)


def test_each_view_follows_the_sliders(site):
    seen = site.press(site.panel.begin)
    for view in ("picture", "cutout", "mask", "background"):
        followed = site.panel.follow(json.dumps({"variety": 0.3}), site.explored, view)
        looked = site.panel.stage.look(view, seen[site.panel.stage.results])
        assert all("data:image/webp" in shown[site.panel.stage.live] for shown in (followed, looked))


@pytest.mark.parametrize(
    "written",
    [
        "", "[]", "x" * 9000, "null", "[" * 5000, '{"variety": "a"}', '{"variety": null}', '{"variety": NaN}',
        '{"variety": 1, "strengths": {"all-99": 1}}', '{"variety": 1, "strengths": {"all-0": 1e999}}',
        '{"variety": true}', '{"between": 0.5}',
    ],
)  # fmt: skip
def test_what_the_page_would_not_send_is_refused_in_a_sentence(site, written):
    site.press(site.panel.begin)
    told = site.panel.follow(written, site.explored, "picture")
    assert list(told) == [site.panel.job.status] and "l4f-problem" in told[site.panel.job.status]


@pytest.mark.parametrize(
    "said",
    [
        {}, {"do": "drop", "at": "0"}, {"do": "take", "at": "0"}, {"do": "choose", "at": 0},
        {"do": "go_on", "at": "-1"}, {"do": "range", "range": "best"}, {"do": "__class__"},
        {"do": "name", "key": "x", "words": "y"}, {"do": "settle"}, {"do": "settle", "wish": [3]}, {"do": ["settle"]},
    ],
)  # fmt: skip
def test_orders_that_cannot_be_are_refused_in_a_sentence(site, said):
    site.press(site.panel.begin)
    before = site.explored.look
    told = site.order(**said)[site.panel.job.status]
    assert "l4f-problem" in told and "unexpected" not in told and site.explored.look is before


def test_wishes_beyond_the_sliders_end_where_these_do(site):
    site.press(site.panel.begin)
    settled(site, variety=9, strengths={"all-0": -99})
    assert (site.explored.look.variety, dict(site.explored.look.strengths)) == (1.5, {"all-0": -3.0})


def test_only_the_newest_of_many_wishes_is_drawn(site, monkeypatch):
    site.press(site.panel.begin)
    drawn, gate, begun, draw = [], threading.Event(), threading.Event(), site.service.draw

    def slow(name, codes, *rest, **more):
        drawn.append(codes[0].digest)
        begun.set()
        gate.wait(30)
        return draw(name, codes, *rest, **more)

    monkeypatch.setattr(site.service, "draw", slow)
    answers: list[dict] = []

    def follow(written: str) -> None:
        answers.append(site.panel.follow(written, site.explored, "picture"))

    def wish(variety: float) -> threading.Thread:
        return in_thread(follow, json.dumps({"variety": variety}))

    threads = [wish(0.1)]
    assert begun.wait(30)
    assert copy.deepcopy(site.explored).live is not site.explored.live, "each visitor has an own turn"
    for step in range(2, 7):
        before = site.explored.live._newest
        threads.append(wish(step / 10))
        wait_until(lambda before=before: site.explored.live._newest is not before)
    gate.set()
    for thread in threads:
        thread.join(60)
    newest = site.explored.wished({"variety": 0.6})[1].digest
    assert len(drawn) == 2 and drawn[-1] == newest
    assert sum(answer != {} for answer in answers) == 2


def test_more_like_this_offers_eight_to_go_on_with(site):
    site.press(site.panel.begin)
    seen = site.press(site.panel.more_like_this)
    assert seen[site.panel.grid].count('data-do="take"') == len(site.explored.offers) == 8
    taken = site.order(do="take", at="3")
    assert np.allclose(site.explored.codes().codes, site.explored.offers[3].codes, atol=5e-3)
    assert site.explored.look.variety == 0.7 and "data:image" in taken[site.panel.stage.live]


def test_two_are_mixed_and_led_between(site):
    panel = site.panel
    shelve(site, "5", "6")
    first, second = (kept.codes for kept in site.explored.shelf)
    seen = site.press(panel.mix_chosen)
    assert seen[panel.grid].count('data-do="take"') == 6 and "Coarse of A, middle of A, fine of B" in seen[panel.grid]
    fine = layers("fine", 8)
    assert np.array_equal(site.explored.offers[0].codes[fine], second.codes[fine])
    assert np.array_equal(site.explored.offers[0].codes[: fine.start], first.codes[: fine.start])
    for share, end in ((0, first), (1, second)):
        live = panel.follow(json.dumps({"between": share}), site.explored, "picture")
        assert "data:image" in live[panel.stage.live]
        site.order(do="settle", wish={"between": share})
        assert np.allclose(site.explored.codes().codes, end.codes, atol=5e-3)
    assert not site.explored.look.strengths


def test_the_shelf_is_chosen_from_in_the_order_of_clicks(site):
    shelve(site, "5", "6", "7")
    assert site.explored.chosen == [0, 1, 2]
    shown = site.order(do="choose", at="0")
    assert site.explored.chosen == [1, 2] and 'data-key="between"' in shown[site.panel.shelf]
    site.order(do="choose", at="0")
    assert site.explored.chosen == [1, 2, 0]
    kept = site.explored.shelf[2]
    shown = site.order(do="drop", at="1")
    assert site.explored.chosen == [1, 0] and site.explored.shelf[1] is kept
    assert re.findall("<b>([A-Z])</b></button>", shown[site.panel.shelf]) == ["B", "A"]
    site.order(do="go_on", at="1")
    assert np.allclose(site.explored.codes().codes, kept.codes.codes, atol=5e-3)
    site.order(do="drop", at="0")
    assert "from 2 to 3 subjects" in status_of(site.panel, site.press(site.panel.mix_chosen))

    while len(site.explored.shelf) < 16:
        site.press(site.panel.put_aside)
    assert "holds 16 subjects" in status_of(site.panel, site.press(site.panel.put_aside))
    assert len(site.explored.shelf) == 16


def test_names_are_kept_with_the_class(site, models):
    site.press(site.panel.begin)
    seen = site.order(do="name", key="coarse-2", words='  Looks "left" ')
    assert 'value="Looks &quot;left&quot;"' in seen[site.panel.board]
    assert "1 to 40" in status_of(site.panel, site.order(do="name", key="coarse-2", words="x" * 41))
    site.service.unload()  # they are read again
    again = Exploration()
    seen = site.press(site.panel.begin, state=again)
    assert again.directions.names == {"coarse-2": 'Looks "left"'} and "Looks &quot;left&quot;" in seen[site.panel.board]
    site.order(do="name", key="coarse-2", words="")
    assert site.explored.directions.names == {}


def test_ends_are_drawn_once_for_each_range(site, monkeypatch):
    site.press(site.panel.begin)
    first = site.order(do="range", range="fine")[site.panel.sheet]
    assert first.count("background-image") == 2 * 2 * 7 and 'data-key="fine-6"' in first
    monkeypatch.setattr(site.service, "draw", lambda *_, **__: pytest.fail("drawn again"))
    assert site.order(do="range", range="all")[site.panel.sheet] == first


def test_a_saved_subject_is_explored_further(site):
    panel = site.panel
    site.press(panel.begin)
    files = files_of(site, settled(site, strengths={"middle-1": 2}))
    digest = site.explored.codes().digest
    again = Exploration()
    given = {panel.state: again, panel.choice.dropdown: "tiny", panel.restore.picture: str(files["mask"])}
    seen = run(panel, panel.restored, given)
    assert recipe_of(files["mask"]).w_plus.digest == digest
    assert np.allclose(again.codes().codes, site.explored.codes().codes, atol=5e-3)
    assert_alike(pixels(files_of(site, seen)["picture"]), pixels(files["picture"]), COLOUR_STEPS)
    of_seed = generate(site, "9")[site.generate.stage.results][0].files["picture"]
    run(panel, panel.restored, {**given, panel.restore.picture: str(of_seed)})
    assert again.look.base.noise_seed == 9


def test_a_subject_goes_to_the_gallery_and_from_there_to_swap(site, monkeypatch):
    site.press(site.panel.begin)
    settled(site, strengths={"all-1": 1})
    shown = generate(site, "3")[site.generate.stage.results]
    [to_gallery] = listeners(site.blocks, site.panel.stage.buttons["to_gallery"], "click")
    bring = to_gallery.fn
    seen = bring(site.explored, shown, "picture")
    assert set(seen) <= {*site.generate.shown, site.tabs} and seen[site.tabs]["selected"] == "generate"
    saved = seen[site.generate.stage.results]
    assert [sample.seed for sample in saved] == [None, 3] and saved[0].files["picture"].parent == site.outputs.today()
    assert "Explore" in seen[site.generate.stage.about_picked]
    assert seen[site.generate.use_seed]["interactive"] is False and seen[site.generate.to_swap]["interactive"]
    settled(site, strengths={"all-1": 2})
    others = bring(site.explored, saved, "picture")[site.generate.stage.results]
    assert others[0].files["picture"] != saved[0].files["picture"], "another subject replaces no file"
    [wired] = listeners(site.blocks, site.generate.to_swap, "click")
    sent = wired.fn(saved, 0)
    assert sent[site.swap.w_plus]["value"] == str(saved[0].files["w_plus"])


def test_generate_s_pictures_are_explored_and_animated(site):
    panel = site.panel
    saved = generate(site, "3-6")[site.generate.stage.results]
    results, picked = site.generate.stage.results, site.generate.stage.picked
    given = {panel.state: site.explored, results: saved, picked: 2}
    seen = run(panel, panel.take_picked, given)
    assert site.explored.look.base.noise_seed == 5
    assert_alike(pixels(files_of(site, seen)["picture"]), pixels(saved[2].files["picture"]), COLOUR_STEPS)
    run(panel, panel.take_all, given)
    assert [kept.codes.noise_seed for kept in site.explored.shelf] == [3, 4, 5, 6] and len(site.explored.chosen) == 4
    [to_gallery] = listeners(site.blocks, site.panel.stage.buttons["to_gallery"], "click")
    brought = to_gallery.fn(site.explored, saved, "picture")[results]
    seen = run(panel, panel.take_all, {**given, results: brought[:1]})
    assert len(site.explored.chosen) == 1 and seen[panel.shelf].count('class="l4f-kept"') == 5
    assert site.explored.shelf[-1].codes.digest == site.explored.codes().digest


def test_what_the_opened_tab_draws_takes_nothing_off_the_shelf(site, monkeypatch):
    """Both jobs find the directions of a class; the later one has put subjects on the shelf by then."""
    panel, results = site.panel, site.generate.stage.results
    saved, find = generate(site, "3-4")[results], site.service.directions

    def directions(name, token):
        found = find(name, token)
        monkeypatch.setattr(site.service, "directions", find)
        run(panel, panel.take_all, {panel.state: site.explored, results: saved})
        return found

    monkeypatch.setattr(site.service, "directions", directions)
    site.press(panel.first)
    assert [kept.codes.noise_seed for kept in site.explored.shelf] == [3, 4]
    seen = run(panel, panel.take_all, {panel.state: site.explored, results: []})
    assert "no pictures to animate" in seen[panel.job.status]


# Motion


def motion(site, kind="webp", seconds=0.5, fps=12, side="own", loop=True) -> dict:
    form = site.panel.motion
    changed = {form.seconds: seconds, form.fps: fps, form.format: kind, form.side: side, form.loop: loop}
    return run(form, form.make, {site.panel.state: site.explored, **changed})


@pytest.mark.parametrize(("kind", "ending"), [("webp", "webp"), ("apng", "png")])
def test_a_motion_through_chosen_subjects_is_made_and_offered(site, kind, ending):
    form = site.panel.motion
    shelve(site, "5", "6", "7")
    seen = motion(site, kind, side="256")
    [path] = site.outputs.today().iterdir()
    assert path.name == f"tiny_motion_0001.{ending}" and seen[form.stage.image]["value"] == str(path)
    assert status_of(form, seen).startswith("6 frames, 0.5 s · saved as ")
    with Image.open(path) as moving:
        assert moving.n_frames == 6 and moving.size == (256, 256) and moving.mode == "RGBA"
    motion(site, kind)
    assert len(list(site.outputs.today().iterdir())) == 2


@pytest.mark.parametrize(
    ("seeds", "changed", "sentence"),
    [
        ("5", {}, "from 2 to 16 subjects"),
        ("56", {"seconds": 20, "fps": 60}, "number of frames"),
        ("56789", {"seconds": 0.5, "fps": 8}, "too few"),
    ],
)
def test_a_motion_that_cannot_be_is_said(site, seeds, changed, sentence):
    shelve(site, *seeds)
    seen = motion(site, **changed)
    assert sentence in status_of(site.panel.motion, seen) and not site.outputs.today().exists()


# Where others reach the page


@pytest.fixture
def space(models, tmp_path):
    """A page as a Space has it: every request counts."""
    keeper = Doorkeeper(Limits(pictures_per_request=8, pictures_per_window=40))
    service = SpaceService("tiny", keeper, Outputs(tmp_path / "out"))
    yield SimpleNamespace(blocks=app.build(service), service=service)
    service.outputs.forget_previews()


def test_a_space_draws_when_a_slider_is_let_go_and_within_its_limits(space, site):
    panel, explored = space.blocks.l4f.explore, Exploration()
    assert not space.service.follows_drags and not listeners(space.blocks, panel.wish, "change")
    [wired] = listeners(site.blocks, site.panel.wish, "change")  # a page of one's own follows every step
    assert wired.fn.__name__ == "follow"
    given = {panel.state: explored, panel.choice.dropdown: "tiny", panel.seed: "5"}
    seen = run(panel, panel.begin, given)
    assert "drag the sliders" in status_of(panel, seen) and "readonly" in seen[panel.board]
    told = ""
    for step in range(60):
        order = json.dumps({"do": "settle", "wish": {"variety": 0.7, "strengths": {"all-0": step / 60}}})
        told = status_of(panel, run(panel, panel.obey, {**given, panel.order: order}))
    assert "this Space gives each visitor" in told
    assert "whoever runs this page" in refusal(space.service.name_direction, "tiny", "all-0", "Mine")


def test_an_order_that_is_told_twice_is_obeyed_once(site):
    shelve(site, "1", "2")
    for _ in range(2):  # as Gradio 5 does
        site.order(do="choose", at="0", now=1)
    assert site.explored.chosen == [1]
    site.order(do="choose", at="0", now=2)
    assert site.explored.chosen == [1, 0]
