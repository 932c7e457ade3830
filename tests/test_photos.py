"""Photographs: found at their own size, edges fitted, colours cleaned, one after another and not twice."""

import dataclasses
import errno
import hashlib
import io
import itertools
import zipfile

import numpy as np
import pytest
import torch
from alike import assert_alike
from bundles import red_finder, saved, tiny_bundle
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pixels import encoded
from sentences import refusal
from shell import assert_refused, run

from l4f_plugin import compositing, matting, photo_batch
from l4f_plugin.arguments import Background, EdgeOptions
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.bundles.files import storage_error
from l4f_plugin.bundles.likeness import Likeness
from l4f_plugin.errors import Cancelled
from l4f_plugin.images import parse_infotext, read_infotext, write_png
from l4f_plugin.jobs import CancelToken
from l4f_plugin.networks import StudentConfig
from l4f_plugin.photos import Rivals, coarse_alpha, digest_of, origin_of
from l4f_plugin.picture_files import find_photos
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.subject import PhotoOrigin, Subject, place

RED, BLUE = np.array([220, 40, 50]), np.array([30, 90, 200])


@pytest.fixture(scope="module")
def pipeline(red):
    return Labels4FreePipeline(load_bundle(red), device="cpu")


def disc(width: int, height: int, softness: float = 1.0) -> np.ndarray:
    """The mask of an ellipse that fills two thirds of the frame: float32 [H, W]."""
    rows, columns = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None] - 0.5
    distance = (0.35 - np.hypot(rows, columns)) * min(width, height)
    return np.clip(distance / softness + 0.5, 0, 1).astype(np.float32)


def photograph(width: int, height: int, softness: float = 1.0) -> np.ndarray:
    alpha = disc(width, height, softness)[..., None]
    return (alpha * RED + (1 - alpha) * BLUE).round().astype(np.uint8)


def test_of_other_classes_the_one_that_fits_best_is_named(tmp_path):
    """By their discriminators and segmenters as they lie on disk; nobody where none fits, or none has a likeness."""
    cpu, source = torch.device("cpu"), encoded(photograph(60, 40))
    entries = []
    for name, verdict in (("usual", 0.0), ("fitting", -9.0), ("strange", 9.0), ("silent", None)):
        likeness = None if verdict is None else Likeness(verdict, 9.0, 0.0, 9.0)
        folder = saved(tmp_path / name, student=red_finder(), likeness=likeness)
        entries.append(dataclasses.replace(read_config(folder), name=name, installed=True, folder=folder))
    best, confidence = Rivals(entries, cpu).best(source)
    assert best.name == "fitting" and confidence > 0.7
    assert Rivals(entries[2:], cpu).best(source) is None and Rivals(entries[3:], cpu).best(source) is None


@pytest.mark.parametrize("size", [(32, 32), (300, 200), (1300, 900), (20, 16)])
def test_the_mask_has_the_size_of_the_photograph_and_its_edge(pipeline, size):
    photo = pipeline.segment_photo(encoded(photograph(*size)))
    truth = disc(*size)
    assert photo.alpha.shape == truth.shape and photo.alpha.dtype == np.float32
    assert photo.alpha.min() >= 0 and photo.alpha.max() <= 1
    overlap = np.minimum(photo.alpha, truth).sum() / np.maximum(photo.alpha, truth).sum()
    assert overlap > (0.97 if min(size) > 100 else 0.9)


def test_thin_and_tiny_pictures_go_through(pipeline):
    for size, colour in itertools.product([(1, 4000), (4000, 1), (1, 1), (2, 3)], (RED, BLUE)):
        photo = pipeline.segment_photo(Image.new("RGB", size, tuple(colour.tolist())))
        assert photo.cutout().size == photo.mask().size == size
        placed = pipeline.swap(photo, "#00ff00", feather=2.0, keep_largest=True)
        assert placed.composite.size == size


def test_what_is_transparent_stays_so_and_keeps_its_colours(pipeline):
    picture = np.dstack([np.full((64, 64, 3), RED, np.uint8), np.full((64, 64), 255, np.uint8)])
    picture[:20, :, 3] = 0
    picture[20:40, :, 3] = 128
    photo = pipeline.segment_photo(encoded(picture))
    assert np.array_equal(pipeline.segment_photo(picture).image, photo.image)
    assert photo.alpha[:20].max() == 0 and np.allclose(photo.alpha[22:38], 128 / 255, atol=0.01)
    assert photo.alpha[42:].min() > 0.9
    assert np.abs(photo.image.astype(int) - RED).max() == 0


def test_company_changes_nothing(pipeline):
    files = [encoded(photograph(90 + 7 * number, 70)) for number in range(3)]
    alone = [pipeline.segment_photo(file).alpha for file in files]
    for expected, file in zip(reversed(alone), reversed(files), strict=True):
        assert_alike(pipeline.segment_photo(file).alpha, expected)


def test_a_class_without_a_student_says_so(tiny_bundle_folder):
    pipeline = Labels4FreePipeline(load_bundle(tiny_bundle_folder), device="cpu")
    assert "no photo segmenter yet" in refusal(pipeline.segment_photo, encoded(photograph(20, 20)))
    assert "no photo segmenter yet" in refusal(pipeline.recipe_of_picture, encoded(photograph(20, 20)))


def test_a_job_that_was_cancelled_ends(pipeline):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        pipeline.segment_photo(encoded(photograph(20, 20)), cancel=token)


def test_the_fit_moves_a_coarse_edge_to_that_of_the_photograph():
    picture, truth = photograph(900, 700), disc(900, 700)
    coarse = np.asarray(Image.fromarray(truth).resize((43, 33), Image.Resampling.BOX))
    blown_up = np.asarray(Image.fromarray(coarse).resize((900, 700), Image.Resampling.BILINEAR))
    refined = matting.refine(picture, coarse)
    assert np.abs(refined - truth).mean() < 0.3 * np.abs(blown_up - truth).mean()
    assert matting.refine(picture, np.zeros((33, 43), np.float32)).max() == 0
    assert matting.refine(picture, np.ones((33, 43), np.float32)).min() == 1


def test_a_coarse_mask_follows_the_colours_of_its_picture():
    """A piece too many goes and a piece too few comes back; a print of the background's colour deep inside stays."""
    truth = np.zeros((120, 90), bool)
    truth[20:100, 15:75] = True
    picture = np.where(truth[..., None], (200, 40, 40), (60, 80, 200)).astype(np.uint8)
    picture[55:65, 40:50] = (60, 80, 200)
    coarse = truth.astype(np.float32)
    coarse[30:40, 75:85] = 1
    coarse[70:90, 15:25] = 0
    found = matting.follow_colours(picture, coarse)
    assert found.dtype == np.float32 and found.shape == (120, 90)
    assert ((found > 0.5) != truth).mean() < 0.01 < ((coarse > 0.5) != truth).mean()
    assert found[55:65, 40:50].min() > 0.5
    plain = matting.follow_colours(np.full_like(picture, 128), coarse)
    assert ((plain > 0.5) != (coarse > 0.5)).mean() < 0.03, "colours that tell nothing change little"
    large = matting.follow_colours(np.repeat(np.repeat(picture, 4, 0), 4, 1), coarse)
    assert large.shape == (192, 144)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_box_means_are_means_of_what_lies_inside(height, width, radius, seed):
    values = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    found = matting.box_mean(values, radius)
    for i, j in np.ndindex(height, width):
        inside = values[max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]
        assert found[i, j] == pytest.approx(inside.mean(), abs=1e-6)


def test_guided_coefficients_solve_the_regression_of_each_window():
    random = np.random.default_rng(3)
    guide, mask = random.random((9, 8, 3)).astype(np.float32), random.random((9, 8)).astype(np.float32)
    radius, smoothness = 2, 1e-2
    slopes = np.empty((9, 8, 4))
    for i, j in np.ndindex(9, 8):
        rows, columns = slice(max(0, i - radius), i + radius + 1), slice(max(0, j - radius), j + radius + 1)
        colours, values = guide[rows, columns].reshape(-1, 3).astype(float), mask[rows, columns].ravel()
        centred = colours - colours.mean(axis=0)
        matrix = centred.T @ centred / len(colours) + smoothness * np.eye(3)
        slope = np.linalg.solve(matrix, centred.T @ (values - values.mean()) / len(colours))
        slopes[i, j] = [*slope, values.mean() - slope @ colours.mean(axis=0)]
    expected = matting.box_mean(np.moveaxis(slopes, 2, 0), radius)
    found = matting.GuidedFilter(guide, radius, smoothness).coefficients(mask)
    assert np.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("size", [(200, 150), (900, 700)])
def test_no_halo_of_the_old_background_shows_on_a_new_one(size):
    truth, picture = disc(*size, softness=3.0), photograph(*size, softness=3.0)
    before = picture.copy()
    cleaned = matting.clean_colours(picture, truth)
    assert np.array_equal(picture, before) and cleaned.dtype == np.uint8
    green = np.zeros_like(picture)
    green[..., 1] = 255
    wanted = truth[..., None] * RED + (1 - truth[..., None]) * green
    band = (truth > 0) & (truth < 1)
    halo = np.abs(matting.blend(picture, green, truth)[band] - wanted[band]).mean()
    assert np.abs(matting.blend(cleaned, green, truth)[band] - wanted[band]).mean() < 0.3 * halo
    assert np.array_equal(cleaned[truth >= matting.CONFIDENT], picture[truth >= matting.CONFIDENT])
    assert np.abs(cleaned[truth == 0].astype(int) - RED).max() < 40, "the old background is in the cut-out"


def test_strips_leave_no_trace(monkeypatch):
    random = np.random.default_rng(0)
    picture, other = random.integers(0, 256, (2, 530, 90, 3), np.uint8)
    alpha = disc(90, 530, softness=20.0)
    coarse = np.asarray(Image.fromarray(alpha).resize((9, 53), Image.Resampling.BOX))

    monkeypatch.setattr(matting, "EXACT_SIDE", 64)

    def made() -> list[np.ndarray]:
        cleaned = matting.clean_colours(picture, alpha)
        return [matting.refine(picture, coarse), cleaned, matting.blend(picture, other, alpha)]

    whole = made()
    for rows in (1, 97, 529):
        monkeypatch.setattr(matting, "STRIP_PIXELS", rows * 90 + 7)
        for one, strips in zip(whole, made(), strict=True):
            assert_alike(one, strips)
    monkeypatch.setattr(matting, "STRIP_PIXELS", 5)
    assert_alike(whole[2][:3], matting.blend(picture[:3], other[:3], alpha[:3]))
    exact = compositing.composite(compositing.to_float(picture), compositing.to_float(other), alpha)
    assert_alike(whole[2], compositing.to_bytes(exact))
    for sure, wanted in ((1, picture), (0, other)):
        assert np.array_equal(whole[2][alpha == sure], wanted[alpha == sure])


def test_what_is_done_at_a_smaller_size_comes_near_to_what_is_done_at_once(monkeypatch):
    """Large photographs are done at a smaller size where that hides nothing; smaller pictures are not."""
    size = (200, 1600)
    alpha = disc(*size, softness=40)
    waves = 150 + 50 * np.sin(np.arange(size[0]) / 32)
    background = np.stack(np.broadcast_arrays(30, 90, waves), axis=1)
    picture = (alpha[..., None] * RED + (1 - alpha[..., None]) * background).round().astype(np.uint8)

    def made() -> list[np.ndarray]:
        blurred = [matting.blurred_behind(picture, alpha, radius) for radius in (1, 2.5, 31)]
        return [matting.clean_colours(picture, alpha)[alpha > 0.1], *blurred]

    reduced = made()
    monkeypatch.setattr(matting, "EXACT_SIDE", 1600)
    for found, exact, steps in zip(reduced, made(), (12, 24, 24, 24), strict=True):
        assert_alike(found, exact, steps)


def test_what_the_coarse_mask_is_sure_of_is_kept_whatever_its_colour():
    """A ring within the subject has the background's colour, and one around it the subject's, near the edge."""
    picture, truth = photograph(800, 600), disc(800, 600)
    coarse = np.asarray(Image.fromarray(truth).resize((80, 60), Image.Resampling.BOX))
    picture[compositing.grow(truth, -64) > compositing.grow(truth, -72)] = BLUE
    picture[compositing.grow(truth, 72) > compositing.grow(truth, 64)] = RED
    refined = matting.refine(picture, coarse)
    assert refined[compositing.grow(truth, -69) == 1].min() > 0.999
    assert refined[compositing.grow(truth, 69) == 0].max() < 0.001


@pytest.mark.parametrize("crop", [None, (0, 32, 4, 28)])
def test_the_student_sees_photographs_as_large_as_what_it_learned_from_and_mirrored(crop):
    seen, shorter, config = [], 24 if crop else 32, dataclasses.replace(tiny_bundle().config, crop=crop)

    class Ramp:
        config, weight = StudentConfig((2, 2), 32), torch.nn.Parameter(torch.tensor(4.0))

        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(batch.shape))
            assert batch.min() >= 0 and 0.4 < batch.max() <= 1
            return batch[:, :1] * self.weight + torch.linspace(-3, 3, batch.shape[3])

    shapes = {(64, 96): (32, 21), (16, 16): (shorter, shorter), (400, 20): (2, 32), (2, 4000): (32, 1)}
    for (width, height), shape in {**shapes, (4000, 2): (1, 32)}.items():
        picture = np.zeros((height, width, 3), np.uint8)
        picture[:, width // 2 :] = 255
        coarse = coarse_alpha(Ramp(), config, picture, torch.device("cpu"))
        assert seen[-2:] == [(1, 3, *shape)] * 2 and coarse.shape == shape and coarse.dtype == np.float32
    ramp = np.linspace(-3, 3, shorter)
    flat = coarse_alpha(Ramp(), config, np.full((shorter, shorter, 3), 255, np.uint8), torch.device("cpu"))
    both = (1 / (1 + np.exp(-4 - ramp)) + 1 / (1 + np.exp(-4 + ramp))) / 2
    assert np.abs(flat - both).max() < 1e-5


def test_a_photograph_is_known_by_its_bytes(tmp_path):
    content = encoded(photograph(20, 10))
    (tmp_path / "a.png").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()[:16]
    stream = io.BytesIO(content)
    stream.seek(5)
    for source in (content, tmp_path / "a.png", str(tmp_path / "a.png"), stream):
        assert digest_of(source) == expected
    assert digest_of(Image.new("RGB", (2, 2))) == hashlib.sha256(bytes(12)).hexdigest()[:16]
    assert "missing.png could not be read" in refusal(digest_of, tmp_path / "missing.png")


def test_a_photograph_is_put_before_any_background(pipeline):
    photo = pipeline.segment_photo(encoded(photograph(300, 200)))
    for wanted in ("#00ff00", "transparent", "blur:20", "seed:3", photograph(40, 90)):
        placed = pipeline.swap(photo, wanted, grow=-2, threshold=0.5)
        assert placed.composite.size == placed.cutout.size == placed.alpha.size == (300, 200)
        assert placed.composite.mode == ("RGBA" if str(wanted) == "transparent" else "RGB")
        assert np.abs(np.asarray(placed.composite)[100, 150, :3].astype(int) - RED).max() < 8
        fields = parse_infotext(placed.infotext)
        assert fields["Class"] == "tiny" and fields["Grow"] == "-2" and len(fields["Photo"]) == 16


@pytest.mark.parametrize("kind", ["small", "large"])
def test_what_a_grown_mask_takes_in_keeps_its_colours(kind, monkeypatch):
    """A red disc in a blue ring before green; the mask is that of the disc alone, until it is grown over the ring."""
    times = 9 if kind == "large" else 1
    monkeypatch.setattr(matting, "EXACT_SIDE", 64)
    rows, columns = (np.mgrid[: 64 * times, : 64 * times] + 0.5) / times - 32
    distance = np.hypot(rows, columns)[..., None]
    image = np.where(distance < 14, RED, np.where(distance < 20, BLUE, [20, 200, 30])).astype(np.uint8)
    alpha = np.clip((14 - distance[..., 0]) * times + 0.5, 0, 1).astype(np.float32)
    subject = Subject(image, alpha, "tiny", photo=PhotoOrigin("0", "0"))

    def colours(grow: int, behind: str = "transparent", **edge) -> np.ndarray:
        placed = place(subject, Background.parse(behind), None, EdgeOptions(grow=grow * times, **edge))
        return np.asarray(placed.composite)[..., :3].astype(int)

    ring = ((distance > 15.5) & (distance < 18.5))[..., 0]
    assert np.abs(colours(7)[ring] - BLUE).max() < 12, "the ring belongs to the subject now"
    assert np.abs(colours(0)[ring] - RED).max() < 40, "what lies outside continues the subject"
    assert np.array_equal(colours(-3), colours(0)), "less of a subject has the colours of all of it"
    assert colours(-12, f"blur:{2 * times}")[ring][:, 2].max() > 60, "the ring is of the background"
    around = ((distance > 22) & (distance < 24))[..., 0]
    assert colours(7, f"blur:{2 * times}")[around][:, 2].max() < 60, "the ring does not shine into the blur"
    crumb = alpha.copy()
    crumb[: 4 * times, : 4 * times] = 1
    subject.alpha = crumb
    corner = (slice(0, 4 * times), slice(0, 4 * times))
    assert np.abs(colours(0)[corner] - [20, 200, 30]).max() == 0
    assert np.abs(colours(0, keep_largest=True)[corner] - RED).max() < 40, "a piece that is dropped is no subject"


def test_many_photographs_go_on_where_they_stopped(pipeline, tmp_path):
    photos = tmp_path / "in"
    photos.mkdir()
    for number, name in enumerate(["b.png", "a.jpg", "a.png"]):
        Image.fromarray(photograph(60 + number, 40)).save(photos / name)
    (photos / "broken.png").write_bytes(b"\x89PNG nothing more")
    (photos / "notes.txt").write_text("no picture")
    sources, out = find_photos([photos]), tmp_path / "out"
    assert [path.name for path in sources] == ["a.jpg", "a.png", "b.png", "broken.png"]
    green, seen = Background.parse("#00ff00"), []

    def segment(**options):
        options["progress"] = lambda *step: seen.append(step)
        return list(photo_batch.segment_photos(pipeline, sources, out, green, EdgeOptions(feather=1.0), **options))

    first = segment()
    assert [len(result.files) for result in first] == [3, 3, 3, 0] and "broken.png is" in first[3].problem
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{stem}_{kind}.png" for stem in ("a", "a-2", "b") for kind in ("alpha", "cutout", "composite")
    )
    assert seen[-1] == (4, 4, "4 of 4 photographs")
    first[1].files["composite"].unlink()
    assert [result.kept for result in segment()] == [True, False, True, False]
    assert [result.kept for result in segment(again=True)] == [False] * 4
    archive = photo_batch.pack(first, tmp_path / "all.zip")
    assert len(zipfile.ZipFile(archive).namelist()) == 9
    Image.fromarray(photograph(61, 41)).save(sources.pictures[2].path)  # another picture of that name
    assert [result.kept for result in segment()] == [True, True, False, False]
    assert "not a file" in refusal(find_photos, [tmp_path / "missing.png"])
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in refusal(find_photos, [tmp_path / "empty"])


def test_composites_as_jpeg(pipeline, tmp_path):
    photo, moving, out = tmp_path / "one.png", tmp_path / "two.gif", tmp_path / "out"
    Image.fromarray(photograph(60, 40)).save(photo)
    frames = [Image.fromarray(photograph(60, 40 + step)).resize((60, 40)) for step in range(2)]
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    out.mkdir()
    (out / "one_composite.jpg").write_bytes(encoded(photograph(9, 9)))  # of somebody else

    def segment(*photos):
        how = Background.parse("#00ff00"), EdgeOptions(feather=1.0)
        return list(photo_batch.segment_photos(pipeline, photos, out, *how, jpeg=True))

    still, refused = segment(photo, moving)
    names = {kind: path.name for kind, path in still.files.items()}
    assert names == {"mask": "one-2_alpha.png", "cutout": "one-2_cutout.png", "composite": "one-2_composite.jpg"}
    assert "left alone" in still.notes[0] and "two.gif moves" in refused.problem
    with Image.open(still.files["composite"]) as composite:
        assert (composite.format, composite.size) == ("JPEG", (60, 40))
    assert segment(photo)[0].kept
    assert find_photos([out]).passed_over == {"results of this program": 3}


def test_a_mask_that_says_nonsense_is_made_anew(pipeline, tmp_path):
    Image.fromarray(photograph(40, 30)).save(tmp_path / "one.png")

    def segment():
        [result] = photo_batch.segment_photos(pipeline, [tmp_path / "one.png"], tmp_path / "out")
        return result

    mask = segment().files["mask"]
    told = read_infotext(mask).replace(", Version", ", Confidence: 1.2.3, Version")
    write_png(mask, Image.open(mask), told)
    assert not segment().kept and segment().kept


def test_a_full_disk_ends_the_work(pipeline, tmp_path, monkeypatch):
    """Each further photograph would be computed only to be told the same."""
    Image.fromarray(photograph(40, 30)).save(tmp_path / "one.png")

    def full(folder, *_):
        raise storage_error(OSError(errno.ENOSPC, "full"), folder)

    monkeypatch.setattr(photo_batch, "write_parts", full)
    assert "disk is full" in refusal(
        list, photo_batch.segment_photos(pipeline, [tmp_path / "one.png"], tmp_path / "out")
    )


def test_the_command_line_segments_files_and_folders(red, tmp_path, capsys):
    Image.fromarray(photograph(64, 48)).save(tmp_path / "one.png")
    (tmp_path / "two.jpg").write_bytes(b"nothing")
    out = tmp_path / "out"
    command = ["segment", red, tmp_path, "--out", out, "--device cpu --json --zip"]
    said = run(capsys, *command, "--background blur:4")
    answer = said.data
    assert said.code == 2 and "two.jpg is not a picture" in said.err
    assert [bool(photo["problem"]) for photo in answer["photos"]] == [False, True]
    assert Image.open(answer["photos"][0]["composite"]).size == (64, 48)
    assert len(zipfile.ZipFile(answer["zip"]).namelist()) == 3
    one = ["segment", red, "--picture", tmp_path / "one.png", "--out", out, "--device cpu"]
    assert "1 of 1 photographs" in run(capsys, *one).out
    assert "Photo" in parse_infotext(read_infotext(out / "one_alpha.png"))
    assert_refused(run(capsys, *command, "--seed 3"), "not several")


def test_a_photo_is_what_it_says(pipeline):
    photo = pipeline.segment_photo(encoded(photograph(40, 30)))
    assert isinstance(photo, Subject) and photo.picture().size == (40, 30)
    assert np.array_equal(np.asarray(photo.cutout())[..., 3], np.asarray(photo.mask()))
    assert set(np.unique(np.asarray(photo.mask(0.5)))) <= {0, 255}
    assert photo.required_alpha() is photo.alpha and photo in {photo}
    student = pipeline.config.files["student.safetensors"].sha256
    assert photo.photo.student == student[:8] and photo.class_name == "tiny"
    assert origin_of(b"", dataclasses.replace(pipeline.config, files={})).student == "none"
