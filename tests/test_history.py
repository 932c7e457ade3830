"""What was drawn earlier, marks on it, and what a class has ready: on the page Generate, without a browser."""

import pytest
from pages import generate, run, status_of, swapping
from PIL import Image
from pixels import pixels
from sentences import refusal

from l4f_plugin.bundles import catalogue
from l4f_plugin.images import read_infotext
from l4f_plugin.provenance import recipe_of
from l4f_ui import app, compat
from l4f_ui.generate_panel import MARKS
from l4f_ui.history import FAVOURITE, HIDDEN, History
from l4f_ui.outputs import Outputs
from l4f_ui.service import Service, Settings


@pytest.fixture
def own(page, tmp_path):
    """The panel Generate of a page that only its owner reaches."""
    settings = Settings(device="cpu", default_class="tiny")
    service = Service(lambda: settings, Outputs(tmp_path / "own"), manages_classes=True)
    yield app.build(service).l4f
    service.outputs.forget_previews()


def seeds(results) -> list[int]:
    return sorted(sample.seed for sample in results)


def marked(panel, name, seen, picked, which="now"):
    results = seen[panel.stage.results]
    return {**seen, **panel.mark(name, which, seen.get(panel.drawn, results), "picture", results, picked)}


def test_a_reload_shows_what_was_drawn_before(own):
    panel = own.generate
    assert panel.first("tiny", "picture") == {}
    generate(own)
    seen = panel.first("tiny", "mask")
    assert seen[panel.which] == "earlier" and seeds(seen[panel.stage.results]) == [3, 4, 5, 6]
    first = seen[panel.stage.results][0]
    assert first.name == own.generate._service.entry("tiny").title != "tiny"
    assert set(first.files) >= {"picture", "mask", "cutout"} and str(first.seed) in seen[panel.stage.about_picked]
    assert str(first.files["picture"].parent) in own.generate.history._outputs.served_folders


def test_favourites_hidden_and_deleted_pictures(own):
    panel = own.generate
    seen = generate(own)
    assert "favourite now" in status_of(panel, marked(panel, FAVOURITE, seen, 2))
    assert seeds(panel.look_at("favourites", [], "picture")[panel.stage.results]) == [5]
    left = marked(panel, HIDDEN, seen, 1)
    assert seeds(left[panel.stage.results]) == seeds(left[panel.drawn]) == [3, 5, 6]
    assert left[panel.stage.picked] == 0
    gone = left[panel.stage.results][0].files
    left = marked(panel, "delete", left, 0)
    assert not any(file.exists() for file in gone.values()) and seeds(panel.history.recent()) == [5, 6]
    favourite = panel.look_at("favourites", [], "picture")
    assert seeds(marked(panel, FAVOURITE, favourite, 0, "favourites")[panel.stage.results]) == []
    assert panel.look_at("favourites", [], "picture")[panel.stage.results] == []


def test_only_results_are_deleted(own, tmp_path):
    panel, seen = own.generate, generate(own)
    foreign = tmp_path / "foreign.png"
    Image.new("RGB", (8, 8)).save(foreign)
    sample = seen[panel.stage.results][0]
    sample.files["picture"] = foreign
    assert "left alone" in refusal(panel.history.delete, sample)
    assert foreign.exists()
    for shown, allowed in ((sample, False), (seen[panel.stage.results][1], True)):
        told = panel._tell(shown)
        assert [told[panel.stage.buttons[name]]["interactive"] for name in MARKS] == [allowed] * 3


@pytest.mark.parametrize("kind", ["mask", "cutout"])
def test_a_mask_or_cutout_that_was_kept_is_no_picture(own, kind):
    panel, outputs = own.generate, own.generate.history._outputs
    [first, *_] = generate(own)[panel.stage.results]
    with Image.open(first.files["picture"]) as drawn:
        preview = outputs.preview("tiny_seed0003", {kind: drawn.convert("L")}, read_infotext(drawn))
    assert outputs.keep(preview[kind]).stem.endswith("_0001")
    assert seeds(panel.history.recent()) == [3, 4, 5, 6]


def test_where_others_reach_the_page_nobody_sees_what_somebody_drew(page):
    generate(page)
    assert page.generate.first("tiny", "picture") == {} and not page.generate.which.visible


def test_a_class_brings_pictures_that_are_used_as_if_they_were_drawn(tmp_path):
    entry = next(entry for entry in catalogue.classes() if entry.name == "avatar")
    ready = History(Service(lambda: Settings(device="cpu"), Outputs(tmp_path))).ready(entry)
    assert len(ready) == 8 and all(sample.files.keys() >= {"picture", "mask", "cutout"} for sample in ready)
    assert recipe_of(ready[0].files["picture"]).seed == ready[0].seed
    mask = pixels(ready[0].files["mask"])
    assert mask.max() > 250 and mask.min() < 5 and pixels(ready[0].files["cutout"]).shape == (128, 128, 4)


def test_a_class_that_is_chosen_shows_what_it_draws(own, page):
    panel = own.generate
    seen = run(panel, panel.welcome, {panel.choice.dropdown: "tiny"})
    assert seeds(seen[panel.stage.results]) == list(range(8)) and panel.history.recent() == []
    assert seen[panel.which] == "now" and "pictures to begin with" in status_of(panel, seen)
    drawn = generate(own)[panel.drawn]
    for chosen in ({panel.drawn: drawn}, {panel.choice.dropdown: "nothing"}):
        assert panel.stage.results not in run(panel, panel.welcome, {panel.choice.dropdown: "tiny"} | chosen)
    panel = page.generate
    assert panel.stage.results not in run(panel, panel.welcome, {panel.choice.dropdown: "tiny"})


def test_the_address_brings_settings_back(page):
    panel = page.generate
    told = panel.read_address("class=tiny&seeds=0-7%2C12&psi=0.4&count=9")
    assert list(told.values()) == ["tiny", "0-7,12", 0.4, 9]
    assert panel.read_address("class=..%2F..&seeds=x&psi=nan%21&count=999") == {panel.count: panel.count.maximum}
    assert panel.read_address("") == panel.read_address(None) == {}


def test_the_address_brings_the_settings_of_swap_back(page):
    panel = page.swap
    given = swapping(panel, "picture", picture=str(panel.samples[1]), seed="7", edge=("hard", 0.2, 2))
    given |= {panel.background.spot.flipped: True, panel.background.spot.height: 0.4}
    told = panel.read_address(run(panel, panel.swap, given)[panel.kept])
    assert told[panel.seed] == "7" and told[panel.choice.dropdown] == "tiny" and panel.job.status not in told
    spot, edge = panel.background.spot, panel.edge
    assert told[spot.flipped] is True and told[spot.height] == 0.4
    assert told[edge.kind] == "hard" and told[edge.grow] == 2
    assert told[panel.background.kind] == "picture"
    if compat.MAJOR >= 4:  # Gradio 3 does not tell what a picture is called
        assert told[panel.background.picture] == str(panel.samples[1])
    assert panel.read_address("") == panel.read_address("Seed: x") == {}
