"""Photographs: found at their own size, edges fitted, colours cleaned, one after another and not twice."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
from bundles import red_finder, tiny_bundle
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from l4f_plugin import cli, compositing, matting, photo_batch
from l4f_plugin.arguments import Background, EdgeOptions
from l4f_plugin.checkpoints.bundle import load_bundle, save_bundle
from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.images import parse_infotext, read_infotext
from l4f_plugin.photos import Photo
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.runtime import CancelToken

RED, BLUE = np.array([220, 40, 50]), np.array([30, 90, 200])


@pytest.fixture(scope="module")
def class_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographed") / "red"
    bundle = dataclasses.replace(tiny_bundle(), student=red_finder())
    save_bundle(bundle, folder)
    return folder


@pytest.fixture(scope="module")
def pipeline(class_folder):
    return Labels4FreePipeline(load_bundle(class_folder), device="cpu")


def disc(width: int, height: int, softness: float = 1.0) -> np.ndarray:
    """The mask of an ellipse that fills two thirds of the frame: float32 [H, W]."""
    rows, columns = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None] - 0.5
    distance = (0.35 - np.hypot(rows, columns)) * min(width, height)
    return np.clip(distance / softness + 0.5, 0, 1).astype(np.float32)


def photograph(width: int, height: int, softness: float = 1.0) -> np.ndarray:
    alpha = disc(width, height, softness)[..., None]
    return (alpha * RED + (1 - alpha) * BLUE).round().astype(np.uint8)


def encoded(picture: np.ndarray | Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(32, 32), (300, 200), (1300, 900), (20, 16)])
def test_the_mask_has_the_size_of_the_photograph_and_its_edge(pipeline, size):
    photo = pipeline.segment_photo(encoded(photograph(*size)))
    truth = disc(*size)
    assert photo.alpha.shape == truth.shape and photo.alpha.dtype == np.float32
    assert photo.alpha.min() >= 0 and photo.alpha.max() <= 1
    overlap = np.minimum(photo.alpha, truth).sum() / np.maximum(photo.alpha, truth).sum()
    assert overlap > (0.97 if min(size) > 100 else 0.9)


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1), (2, 3)])
def test_thin_and_tiny_pictures_go_through(pipeline, size):
    for colour in (RED, BLUE):
        photo = pipeline.segment_photo(Image.new("RGB", size, tuple(colour.tolist())))
        assert photo.cutout().size == photo.mask().size == size
        placed = pipeline.swap(photo, "#00ff00", feather=2.0, keep_largest=True)
        assert placed.composite.size == size


def test_files_as_people_have_them(pipeline):
    picture = photograph(120, 80)
    grey = pipeline.segment_photo(encoded(Image.fromarray(picture).convert("L")))
    assert grey.image.shape == (80, 120, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    turned = pipeline.segment_photo(encoded(picture, "JPEG", quality=95, exif=exif))
    assert turned.alpha.shape == (120, 80)
    pages = pipeline.segment_photo(
        encoded(picture, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    )
    assert pages.alpha.shape == (80, 120)
    deep = Image.fromarray(np.full((30, 40), 40_000, np.uint16))
    assert pipeline.segment_photo(encoded(deep)).image.max() < 200
    whole = encoded(picture)
    with pytest.raises(UserError, match="cut short"):
        pipeline.segment_photo(whole[: len(whole) // 2])


def test_what_is_transparent_stays_so_and_keeps_its_colours(pipeline):
    picture = np.dstack([np.full((64, 64, 3), RED, np.uint8), np.full((64, 64), 255, np.uint8)])
    picture[:20, :, 3] = 0
    picture[20:40, :, 3] = 128
    photo = pipeline.segment_photo(encoded(picture))
    assert photo.alpha[:20].max() == 0 and np.allclose(photo.alpha[22:38], 128 / 255, atol=0.01)
    assert photo.alpha[42:].min() > 0.9
    assert np.abs(photo.image.astype(int) - RED).max() == 0


def test_company_changes_nothing(pipeline):
    files = [encoded(photograph(90 + 7 * number, 70)) for number in range(3)]
    alone = [pipeline.segment_photo(file).alpha for file in files]
    for expected, file in zip(reversed(alone), reversed(files), strict=True):
        assert np.array_equal(pipeline.segment_photo(file).alpha, expected)


def test_a_class_without_a_student_says_so(tiny_bundle_folder):
    pipeline = Labels4FreePipeline(load_bundle(tiny_bundle_folder), device="cpu")
    with pytest.raises(UserError, match="no photo segmenter yet"):
        pipeline.segment_photo(encoded(photograph(20, 20)))
    token = CancelToken()
    token.cancel()
    with pytest.raises(UserError, match="no photo segmenter yet"):
        pipeline.recipe_of_picture(encoded(photograph(20, 20)))


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


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_box_means_are_means_of_what_lies_inside(height, width, radius, seed):
    values = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    expected = [[values[max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1].mean()
                 for j in range(width)] for i in range(height)]
    assert np.allclose(matting.box_mean(values, radius), expected, atol=1e-6)


def test_guided_coefficients_solve_the_regression_of_each_window():
    random = np.random.default_rng(3)
    guide, mask = random.random((9, 8, 3)).astype(np.float32), random.random((9, 8)).astype(np.float32)
    radius, smoothness = 2, 1e-2
    slopes = np.empty((9, 8, 4))
    for i in range(9):
        for j in range(8):
            rows, columns = slice(max(0, i - radius), i + radius + 1), slice(max(0, j - radius), j + radius + 1)
            colours, values = guide[rows, columns].reshape(-1, 3).astype(float), mask[rows, columns].ravel()
            centred = colours - colours.mean(axis=0)
            matrix = centred.T @ centred / len(colours) + smoothness * np.eye(3)
            slope = np.linalg.solve(matrix, centred.T @ (values - values.mean()) / len(colours))
            slopes[i, j] = [*slope, values.mean() - slope @ colours.mean(axis=0)]
    expected = np.stack([matting.box_mean(slopes[..., k], radius) for k in range(4)], axis=2)
    assert np.allclose(matting.guided_coefficients(guide, mask, radius, smoothness), expected, atol=1e-3)


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
    assert np.array_equal(cleaned[truth >= compositing.CONFIDENT], picture[truth >= compositing.CONFIDENT])
    assert np.abs(cleaned[truth == 0].astype(int) - RED).max() < 40, "the old background is in the cut-out"


def test_blends_are_exact_where_the_mask_is_decided():
    picture, alpha = photograph(70, 50), np.zeros((50, 70), np.float32)
    alpha[:, 30:] = 1
    blended = matting.blend(picture, 255 - picture, alpha)
    assert np.array_equal(blended[:, 30:], picture[:, 30:]) and np.array_equal(blended[:, :30], 255 - picture[:, :30])


@pytest.mark.parametrize("wanted", ["#00ff00", "transparent", "blur:20", "seed:3", photograph(40, 90)])
def test_a_photograph_is_put_before_any_background(pipeline, wanted):
    photo = pipeline.segment_photo(encoded(photograph(600, 400)))
    placed = pipeline.swap(photo, wanted, grow=-2, threshold=0.5)
    assert placed.composite.size == placed.cutout.size == placed.alpha.size == (600, 400)
    assert placed.composite.mode == ("RGBA" if isinstance(wanted, str) and wanted == "transparent" else "RGB")
    assert np.abs(np.asarray(placed.composite)[200, 300, :3].astype(int) - RED).max() < 8
    fields = parse_infotext(placed.infotext)
    assert fields["Class"] == "tiny" and fields["Grow"] == "-2" and len(fields["Photo"]) == 16


def test_many_photographs_go_on_where_they_stopped(pipeline, tmp_path):
    photos = tmp_path / "in"
    photos.mkdir()
    for number, name in enumerate(["b.png", "a.jpg", "a.png"]):
        Image.fromarray(photograph(60 + number, 40)).save(photos / name)
    (photos / "broken.png").write_bytes(b"\x89PNG nothing more")
    (photos / "notes.txt").write_text("no picture")
    sources, out = photo_batch.find_photos([photos]), tmp_path / "out"
    assert [path.name for path in sources] == ["a.jpg", "a.png", "b.png", "broken.png"]
    green, seen = Background.parse("#00ff00"), []

    def segment(**options):
        return list(photo_batch.segment_photos(
            pipeline, sources, out, green, EdgeOptions(feather=1.0), progress=lambda *step: seen.append(step), **options
        ))

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
    with pytest.raises(UserError, match="not a file"):
        photo_batch.find_photos([tmp_path / "missing.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        photo_batch.find_photos([tmp_path / "empty"])


def test_the_command_line_segments_files_and_folders(class_folder, tmp_path, capsys):
    Image.fromarray(photograph(64, 48)).save(tmp_path / "one.png")
    (tmp_path / "two.jpg").write_bytes(b"nothing")
    out = tmp_path / "out"
    command = ["segment", str(class_folder), str(tmp_path), "--out", str(out), "--device", "cpu", "--json", "--zip"]
    assert cli.main([*command, "--background", "blur:4"]) == 2
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert "two.jpg: " in printed.err and [bool(photo["problem"]) for photo in answer["photos"]] == [False, True]
    assert Image.open(answer["photos"][0]["composite"]).size == (64, 48)
    assert len(zipfile.ZipFile(answer["zip"]).namelist()) == 3
    one = ["segment", str(class_folder), "--picture", str(tmp_path / "one.png"), "--out", str(out), "--device", "cpu"]
    assert cli.main(one) == 0
    assert "1 of 1 photographs" in capsys.readouterr().out
    assert "Photo" in parse_infotext(read_infotext(out / "one_alpha.png"))
    assert cli.main([*command, "--seed", "3"]) == 2
    assert "is required" in capsys.readouterr().err


def test_a_photo_is_what_it_says(pipeline):
    photo = pipeline.segment_photo(encoded(photograph(40, 30)))
    assert isinstance(photo, Photo) and photo.picture().size == (40, 30)
    assert np.array_equal(np.asarray(photo.cutout())[..., 3], np.asarray(photo.mask()))
    assert set(np.unique(np.asarray(photo.mask(0.5)))) <= {0, 255}
    assert photo.required_alpha() is photo.alpha
