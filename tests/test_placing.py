"""Where a subject goes: in the middle of a canvas, on a background picture; and the largest piece of its mask alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sentences import refusal
from shell import assert_refused, run

from l4f_plugin import Labels4FreePipeline, photo_batch
from l4f_plugin.arguments import Background, Canvas, EdgeOptions, Spot, Style
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.compositing import largest_piece, mask_box
from l4f_plugin.images import parse_infotext, read_infotext, timing_of
from l4f_plugin.matting import moved
from l4f_plugin.provenance import read_recipe
from l4f_plugin.subject import PhotoOrigin, Subject, place

RED, BLUE, GREEN = (230, 30, 40), (20, 80, 200), (0, 255, 0)


def boxes(*found: tuple[int, int, int, int], width: int = 160, height: int = 120) -> Image.Image:
    picture = Image.new("RGB", (width, height), BLUE)
    for box in found:
        picture.paste(RED, box)
    return picture


def subject(left=30, top=50, right=70, bottom=70, width=160, height=120) -> Subject:
    alpha = np.zeros((height, width), np.float32)
    alpha[top:bottom, left:right] = 1
    picture = np.asarray(boxes((left, top, (left + right) // 2, bottom), width=width, height=height))
    return Subject(picture, alpha, "tiny", photo=PhotoOrigin("0", "0"))


def box_of(mask: Image.Image) -> tuple[int, int, int, int]:
    return mask_box(np.asarray(mask) / np.float32(255), 0.5)


@settings(max_examples=25)  # of .2 seconds each
@given(
    canvas=st.builds(Canvas, st.integers(16, 300), st.integers(16, 300), st.floats(0, 0.45)),
    left=st.integers(0, 100),
    top=st.integers(0, 80),
    width=st.integers(1, 60),
    height=st.integers(1, 40),
)
def test_the_subject_is_in_the_middle_of_a_canvas_and_fills_it_up_to_the_margin(canvas, left, top, width, height):
    shown = subject(left, top, left + width, top + height)
    placed = place(shown, Background.parse("#00ff00"), None, EdgeOptions(), canvas)
    assert placed.composite.size == placed.alpha.size == placed.cutout.size == (canvas.width, canvas.height)
    free = canvas.margin * min(canvas.width, canvas.height)
    scale = min((canvas.width - 2 * free) / width, (canvas.height - 2 * free) / height)
    if min(width, height) * scale < 2:
        return  # thinner than what can be measured
    found = box_of(placed.alpha)
    soft = max(2, scale / 3)  # what a pixel of the mask becomes
    middle = (found[0] + found[2]) / 2, (found[1] + found[3]) / 2
    assert np.abs(np.subtract(middle, (canvas.width / 2, canvas.height / 2))).max() <= soft
    assert abs(found[2] - found[0] - width * scale) <= soft and abs(found[3] - found[1] - height * scale) <= soft
    corner = np.asarray(placed.composite)[0, 0]
    assert free < 2 * scale + 2 or tuple(corner) == GREEN


def test_a_subject_stands_where_it_was_put_on_a_picture_of_its_own_size():
    behind = Background.parse(np.full((400, 300, 3), GREEN, np.uint8))
    default = place(subject(), behind, None, EdgeOptions(), Spot())
    assert default.composite.size == default.background.size == (300, 400)
    found = box_of(default.alpha)
    assert found[3] == 400 and abs(found[1] - 400 * (1 - 0.67)) <= 1, "two thirds of the height, on the lower edge"
    assert found[0] == 0 and found[2] == 300, "too wide for the picture, and cut off by it"
    small = place(subject(), behind, None, EdgeOptions(), Spot(0.25, 0.5, 0.1))
    assert np.abs(np.subtract(box_of(small.alpha), (75 - 40, 160, 75 + 40, 200))).max() <= 1
    pixels = np.asarray(small.composite).astype(int)
    assert np.abs(pixels[180, 50] - RED).max() < 9 and tuple(pixels[0, 0]) == GREEN
    flipped = np.asarray(place(subject(), behind, None, EdgeOptions(), Spot(0.25, 0.5, 0.1, True)).composite)
    assert np.abs(flipped[180, 100].astype(int) - RED).max() < 9, "the red half is on the other side now"
    off = place(subject(), behind, None, EdgeOptions(), Spot(0.5, 2, 0.05))
    assert not np.asarray(off.alpha).any() and np.array_equal(np.asarray(off.composite), behind.picture)
    own = place(subject(), Background.parse("blur:3"), None, EdgeOptions(), Spot(0.5, 1, 0.5))
    assert own.composite.size == (160, 120) and abs(box_of(own.alpha)[1] - 60) <= 1
    canvas = place(subject(), Background.parse("blur:3"), None, EdgeOptions(), Canvas(300, 200, 0.1))
    assert canvas.composite.size == canvas.background.size == (300, 200)
    assert place(subject(), behind, None, EdgeOptions()).composite.size == (160, 120), "where nothing is said"


def test_only_what_is_seen_is_computed_and_it_is_the_same():
    random = np.random.default_rng(1)
    picture = random.integers(0, 255, (12, 20, 3), np.uint8)
    whole = np.asarray(Image.fromarray(picture).resize((200, 120), Image.Resampling.LANCZOS)).astype(int)
    assert np.array_equal(moved(picture, (200, 120), 0, 0, 10), whole)
    assert np.abs(moved(picture, (40, 30), -80, -50, 10) - whole[50:80, 80:120]).max() <= 1
    assert np.array_equal(moved(picture, (30, 20), 5, 4, 1)[4:16, 5:25], picture)
    huge = moved(random.random((12, 20), np.float32), (64, 64), -1e6, -1e6, 1e6)  # 20 million pixels wide
    assert huge.shape == (64, 64) and np.isfinite(huge).all()
    assert not moved(picture, (30, 20), 31, 0, 1).any()


def test_a_hard_mask_stays_hard_and_an_empty_one_goes_nowhere():
    hard = place(subject(), Background.parse("transparent"), None, EdgeOptions(threshold=0.5), Canvas(333, 500))
    assert set(np.unique(np.asarray(hard.alpha))) == {0, 255}
    white = Background.parse("#fff")
    assert "The mask is empty" in refusal(place, subject(0, 0, 0, 0), white, None, EdgeOptions(), Canvas(100, 100))


@pytest.mark.parametrize(
    ("where", "fields"),
    [
        (Canvas(1600, 1200, 0.08), {"Canvas": "1600x1200", "Margin": "8%"}),
        (Canvas(16, 6000, 0), {"Canvas": "16x6000", "Margin": "0%"}),
        (Spot(), {"Placed": "0.5,1,0.67"}),
        (Spot(0.123456, 2, 0.05, True), {"Placed": "0.123456,2,0.05", "Flipped": "True"}),
    ],
)
def test_infotext_tells_where_and_is_read(where, fields):
    sample = subject()
    sample.photo, sample.seed, sample.style = None, 3, Style(0.7)
    told = sample.infotext(Background="x.png", **where.fields)
    assert parse_infotext(told).items() >= fields.items()
    assert read_recipe(told).where == where
    assert read_recipe(sample.infotext()).where is None
    for wrong in ("Canvas: 9x9, Margin: 8%", "Canvas: 100x100", 'Placed: "0.5,1"', "Placed: 7"):
        assert read_recipe(sample.infotext().replace("Noise", f"{wrong}, Noise")) is None


def test_what_makes_no_sense_is_refused():
    for size in ("", "1600", "1600x", "15x100", "6001x100", "x", "-1x5", "1e3x1e3", "9999999x16"):
        assert refusal(Canvas.parse, size)
    assert "at most 45%, not 60%" in refusal(Canvas.parse, "100x100", "60%")
    for margin in ("46%", "-1", "x", "", "nan", 0.46, None, "8%%"):
        assert "margin" in refusal(Canvas.parse, "100x100", margin)
    for spot in ("", "0.5", "0.5,1", "2,1,1", "0.5,3,1", "0.5,1,0.01", "0.5,1,3", "a,b,c"):
        assert refusal(Spot.parse, spot)


def test_sizes_are_read_as_people_write_them():
    assert Canvas.parse(" 1600 X 1200 ", "8 %") == Canvas(1600, 1200, 0.08) == Canvas.parse("1600×1200", 0.08)
    assert Spot.parse("0.5, 1.0 ,0.67") == Spot()


def test_pieces_that_are_dropped_are_counted_and_specks_are_not():
    alpha = np.zeros((100, 100), np.float32)
    alpha[10:60, 10:60] = 1
    alpha[70:80, 70:80] = alpha[90:95, 10:15] = 0.8
    alpha[0, 99] = 1
    kept, dropped = largest_piece(alpha)
    assert dropped == 2 and kept.sum() == 2500
    assert largest_piece(kept) == (pytest.approx(kept), 0)


def test_the_largest_piece_of_a_photograph_is_kept_and_the_others_are_told(red, tmp_path, capsys):
    pipeline = Labels4FreePipeline(load_bundle(red), device="cpu")
    photo = boxes((20, 20, 100, 100), (120, 30, 140, 50))
    found = pipeline.segment_photo(photo)
    assert found.dropped == 1 and found.alpha[40, 130] == 0 < found.alpha[60, 60]
    whole = pipeline.segment(photo, keep_largest=False)
    assert whole.dropped == 0 and whole.alpha[40, 130] > 0.9
    photo.save(tmp_path / "photo.png")
    command = ["segment", red, tmp_path / "photo.png", "--device cpu --json --out"]
    for _ in range(2):  # the second time nothing is segmented, and the same is told
        said = run(capsys, *command, tmp_path / "out")
        [told] = said.data["photos"]
        assert told["dropped"] == 1 and "1 smaller piece beside the subject left out" in said.err
    assert told["kept"] and np.asarray(Image.open(told["mask"]))[40, 130] == 0
    said = run(capsys, *command, tmp_path / "all", "--no-keep-largest")
    [told] = said.data["photos"]
    assert told["dropped"] == 0 and "left out" not in said.err and np.asarray(Image.open(told["mask"]))[40, 130] > 230


def test_a_mask_along_an_edge_of_its_picture_is_told(red, tmp_path, capsys):
    for name, box, told in (("left", (0, 0, 60, 100), True), ("lower", (20, 70, 140, 120), False)):
        boxes(box).save(tmp_path / f"{name}.png")
        command = ["segment", red, tmp_path / f"{name}.png", "--device cpu --json --out", tmp_path / "out"]
        for _ in range(2):  # the second time nothing is segmented
            said = run(capsys, *command)
            assert said.data["photos"][0]["along_edge"] == told == ("runs along an edge" in said.err)


def test_photographs_are_centred_on_a_canvas(red, tmp_path, capsys):
    boxes((10, 10, 30, 90)).save(tmp_path / "photo.png")
    command = ["segment", red, tmp_path / "photo.png", "--device cpu --out", tmp_path / "shop"]
    shop = [*command, "--background #ffffff --canvas 300x200 --margin"]
    assert run(capsys, *shop, "10%").code == 0
    composite = Image.open(tmp_path / "shop" / "photo_composite.png")
    assert composite.size == (300, 200) and composite.getpixel((0, 0)) == (255, 255, 255)
    found = box_of(Image.open(tmp_path / "shop" / "photo_alpha.png"))
    assert np.abs(np.subtract(found, (130, 20, 170, 180))).max() <= 3
    fields = parse_infotext(read_infotext(tmp_path / "shop" / "photo_cutout.png"))
    assert (fields["Canvas"], fields["Margin"], fields["Largest piece only"]) == ("300x200", "10%", "True")
    assert "1 of them before" in run(capsys, *shop, "10%").out
    assert "before" not in run(capsys, *shop, "0.2").out
    for more, sentence in (
        ("--margin 8%", "belongs to a canvas"),
        ("--jpeg", "no transparency"),
        ("--canvas 90000x10", "from 16 to 6000"),
    ):
        assert_refused(run(capsys, *command, more), sentence)
    for more in ("--background #ffffff", "--canvas 100x100", "--zip", "--grow 3"):
        drawn = ["segment", red, "--seed 1 --out", tmp_path / "drawn", more]
        assert_refused(run(capsys, *drawn), "l4f swap")


def test_what_moves_is_fitted_once(red, tmp_path):
    steps = [boxes((20 + shift, 20, 60 + shift, 60 + shift)) for shift in (0, 40)]
    steps[0].save(tmp_path / "moving.gif", save_all=True, append_images=steps[1:], duration=100, loop=0)
    pipeline, canvas = Labels4FreePipeline(load_bundle(red), device="cpu"), Canvas(160, 160, 0)
    [found] = photo_batch.segment_photos(pipeline, [tmp_path / "moving.gif"], tmp_path, canvas=canvas)
    assert len(timing_of(found.files["mask"]).durations) == 2
    masks = Image.open(found.files["mask"])
    first = box_of(masks.convert("L"))
    masks.seek(1)
    second = box_of(masks.convert("L"))
    assert abs(first[0] - 0) <= 3 and abs(second[2] - 160) <= 3, "the ends of the way fill the canvas"
    assert abs((first[2] - first[0]) - (second[2] - second[0])) <= 3, "the subject keeps its width"


def test_swap_onto_a_picture_has_its_size(tiny_bundle_folder, tmp_path, capsys):
    Image.new("RGB", (90, 70), "green").save(tmp_path / "photo.jpg")
    out = tmp_path / "swapped.png"
    command = ["swap", tiny_bundle_folder, "--seed 3 --device cpu --out", out]
    picture = [*command, "--background", tmp_path / "photo.jpg", "--threshold 0"]

    def drawn(more: str = "") -> tuple[tuple[int, int], dict[str, str]]:
        assert run(capsys, *picture, more).code == 0
        return Image.open(out).size, parse_infotext(read_infotext(out))

    size, fields = drawn()
    assert size == (90, 70) and fields["Placed"] == "0.5,1,0.67" and "Flipped" not in fields
    size, fields = drawn("--placed 0.2,0.9,0.3 --flipped")
    assert size == (90, 70) and (fields["Placed"], fields["Flipped"]) == ("0.2,0.9,0.3", "True")
    size, fields = drawn("--class-size")
    assert size == (32, 32) and "Placed" not in fields
    assert_refused(run(capsys, *command, "--background #fff --flipped"), "Only a subject that is placed")
    assert_refused(run(capsys, *picture, "--placed 5"), "is no place")
