"""Pictures as people have them, and PNG files that are never half-written."""

import io
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms
from pixels import encoded, png_that_claims
from sentences import refusal

from l4f_plugin import images
from l4f_plugin.errors import UserError

SIDE = st.integers(1, 5)


def gradient(width=6, height=4) -> Image.Image:
    values = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3) * 3
    return Image.fromarray(values)


def test_every_way_to_hand_over_a_picture_gives_the_same(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(gradient()))
    expected = np.asarray(gradient())
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), gradient()):
        loaded = images.load_picture(source)
        assert loaded.dtype == np.uint8
        assert np.array_equal(loaded, expected)
    assert images.load_picture(encoded(Image.new("RGB", (1, 1), (9, 8, 7)))).tolist() == [[[9, 8, 7]]]


def test_deep_greys_are_scaled():
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    for form in ("PNG", "TIFF"):
        assert images.load_picture(encoded(Image.fromarray(deep), form))[0, :, 0].tolist() == [0, 1, 128, 255]
    floats = Image.fromarray(np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32))
    assert images.load_picture(floats)[0, :, 0].tolist() == [0, 128, 255, 0]
    levels = Image.fromarray(np.array([[0.0, 100.0, 255.0]], dtype=np.float32))
    assert images.load_picture(levels)[0, :, 0].tolist() == [0, 100, 255]
    wide = Image.fromarray(np.array([[-1_000_000, 0, 1_000_000]], dtype=np.int32))
    assert images.load_picture(encoded(wide, "TIFF"))[0, :, 0].tolist() == [0, 127, 255]


def test_transparent_parts_become_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    data = encoded(palette, transparency=bytes([0, 255]))
    assert images.load_picture(data).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    grey = Image.new("LA", (1, 1), (100, 0))
    assert images.load_picture(encoded(grey)).tolist() == [[[255, 255, 255]]]
    colour_key = encoded(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert images.load_picture(colour_key).tolist() == [[[255, 255, 255]]]
    half = images.load_picture(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))
    assert half.tolist() == [[[127, 127, 127]]]


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"]


def test_every_mode_goes_through_or_is_refused_in_words():
    for mode in MODES:
        try:
            loaded = images.load_picture(Image.new(mode, (3, 2)))
        except UserError as error:
            assert mode == "LAB" and str(error).count(".") <= 1
        else:
            assert loaded.shape == (2, 3, 3), mode


def test_cmyk_jpeg_shows_its_colours():
    loaded = images.load_picture(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert loaded[4, 4, 0] > 200 and loaded[4, 4, 1:].max() < 60


def test_a_jpeg_is_no_wider_than_the_format_allows():
    widest = images.load_picture(images.jpeg_bytes(Image.new("RGB", (65_500, 1)), "text"))
    assert widest.shape == (1, 65_500, 3)
    assert "65,501" in refusal(lambda: images.jpeg_bytes(Image.new("RGB", (1, 65_501)), "text"))


def test_exif_orientation_is_applied():
    upright = np.array(Image.new("RGB", (3, 2), (0, 0, 0)))
    upright[0, 0] = 255
    turned, mirrored = upright.swapaxes(0, 1), np.fliplr(upright)
    stored = [upright, mirrored, np.rot90(upright, 2), np.flipud(upright)]
    stored += [turned, np.rot90(upright, 1), np.rot90(turned, 2), np.rot90(upright, 3)]
    for orientation, pixels in enumerate(stored, start=1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = encoded(np.ascontiguousarray(pixels), exif=exif)
        for loaded in (images.load_picture(content), images.load_layers(content)[0]):
            assert np.array_equal(loaded, upright), orientation


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    exact = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **exact)
    animation = Image.open(io.BytesIO(data))
    animation.seek(1)
    for source in (data, animation):
        assert images.load_picture(source)[2, 2].tolist() == [255, 0, 0]


def test_colour_profile_is_applied_and_a_broken_one_ignored():
    plain = Image.new("RGB", (2, 2), (200, 100, 50))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # no profile for RGB pictures
    for profile in (b"nonsense", lab, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        assert images.load_picture(encoded(plain, icc_profile=profile))[0, 0].tolist() == [200, 100, 50]


def test_a_hundred_megapixels_are_refused_from_the_header(recwarn):
    told = refusal(images.load_picture, png_that_claims(10_000, 10_000))
    assert "10000 x 10000 pixels; at most 64 megapixels" in told
    beyond_pil_s_own_limit = png_that_claims(60_000, 60_000)
    assert "at most 64 megapixels" in refusal(images.load_picture, beyond_pil_s_own_limit)
    assert not recwarn.list


def test_what_is_no_picture_is_refused_in_one_sentence(tmp_path):
    jpeg = encoded(gradient(64, 64), "JPEG")
    png = encoded(gradient(64, 64))
    cases = {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "damaged or cut short"),
        "cut.png": (png[: len(png) // 2], "damaged or cut short"),
        "claims.png": (png_that_claims(500, 500, b"few"), "damaged or cut short"),
        "text.png": (b"hello", "not a picture"),
        "empty.png": (b"", "is empty"),
        "drawing.svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing"),
        "postscript.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        "document.pdf": (b"%PDF-1.4\n", "not a picture"),
    }
    for name, (content, expected) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        told = refusal(images.load_picture, path)
        assert expected in told and str(path) in told
        assert expected in refusal(images.load_picture, content)
    for missing in (tmp_path / "none.png", tmp_path, "/dev/null", tmp_path / "text.png" / "below.png"):
        assert "not a file" in refusal(images.load_picture, missing)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL comments on what it finds
@given(st.binary(max_size=200), st.integers(0, 100), st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
def test_damaged_bytes_never_raise_anything_else(noise, position, form):
    data = bytearray(encoded(gradient(8, 8), form))
    position %= len(data)
    data[position : position + len(noise)] = noise
    try:
        loaded = images.load_picture(bytes(data))
    except UserError:
        return
    assert loaded.dtype == np.uint8 and loaded.ndim == 3


def test_cover_fit_fills_the_frame_and_keeps_proportions():
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 200  # the centre square that must remain
    assert (images.cover_fit(wide, 8, 8) > 150).all()
    assert images.cover_fit(wide.swapaxes(0, 1), 7, 5).shape == (5, 7, 3)
    same = np.asarray(gradient())
    assert np.array_equal(images.cover_fit(same, 6, 4), same)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.integers(1, 40))
def test_cover_fit_takes_any_shape(width, height, target_width, target_height):
    picture = np.full((height, width, 3), 77, np.uint8)
    fitted = images.cover_fit(picture, target_width, target_height)
    assert fitted.shape == (target_height, target_width, 3)
    assert (fitted == 77).all()


@given(hnp.arrays(np.uint8, st.tuples(SIDE, SIDE) | st.tuples(SIDE, SIDE, st.sampled_from([3, 4]))))
def test_png_keeps_every_pixel(tmp_path_factory, picture):
    path = tmp_path_factory.mktemp("png") / "picture.png"
    images.write_png(path, picture)
    with Image.open(path) as stored:
        assert np.array_equal(np.asarray(stored), picture)


def test_infotext_survives_and_is_where_the_web_uis_look(tmp_path):
    path = tmp_path / "deep" / "picture.png"
    text = images.infotext("Labels4Free avatar", {"Class": "avatar", "Seed": 7, "Background": 'a "b", c: d'})
    images.write_png(path, gradient(), infotext=text + "é漢")
    with Image.open(path) as stored:
        assert stored.info["parameters"] == text + "é漢"
    assert images.read_infotext(path) == text + "é漢"
    assert images.read_infotext(path.read_bytes()) == text + "é漢"
    assert images.read_infotext(encoded(gradient(), "JPEG")) is None
    assert images.parse_infotext(text) == {"Class": "avatar", "Seed": "7", "Background": 'a "b", c: d'}


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z][A-Za-z \-/]{0,9}[a-z]", fullmatch=True),
        st.text(max_size=20).map(str.strip),
        min_size=1,
        max_size=5,
    )
)
def test_infotext_reads_back(fields):
    assert images.parse_infotext(images.infotext("Title: no field", fields)) == fields


def test_writing_replaces_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "picture.png"
    path.write_text("old")
    images.write_png(path, np.zeros((2, 2), np.uint8))
    assert Image.open(path).mode == "L"
    images.write_png(path, Image.new("CMYK", (2, 2)))
    assert Image.open(path).mode == "RGB"
    assert os.listdir(tmp_path) == ["picture.png"]
    with pytest.raises(ValueError, match="uint8"):
        images.write_png(path, np.zeros((2, 2)))


def test_paths_that_cannot_be_written_are_refused_in_words(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("kept")
    assert "is a file" in refusal(images.write_png, blocker / "picture.png", gradient())
    assert refusal(images.write_png, tmp_path, gradient())
    assert blocker.read_text() == "kept"
    assert os.listdir(tmp_path) == ["file"]
