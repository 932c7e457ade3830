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

from l4f_plugin import images
from l4f_plugin.errors import UserError


def gradient(width=6, height=4) -> Image.Image:
    values = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3) * 3
    return Image.fromarray(values)


# Reading


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


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"]
)
def test_every_mode_goes_through_or_is_refused_in_words(mode):
    try:
        loaded = images.load_picture(Image.new(mode, (3, 2)))
    except UserError as error:
        assert mode == "LAB" and str(error).count(".") <= 1
    else:
        assert loaded.shape == (2, 3, 3)


def test_cmyk_jpeg_shows_its_colours():
    loaded = images.load_picture(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert loaded[4, 4, 0] > 200 and loaded[4, 4, 1:].max() < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = np.array(Image.new("RGB", (3, 2), (0, 0, 0)))
    upright[0, 0] = 255
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
        8: lambda a: np.rot90(a, 3),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    content = encoded(stored, exif=exif)
    assert np.array_equal(images.load_picture(content), upright)
    assert np.array_equal(images.load_layers(content)[0], upright), "photographs too"


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(
        frames[0], form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "WEBP" else {})
    )
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
    with pytest.raises(UserError, match="10000 x 10000 pixels; at most 64 megapixels"):
        images.load_picture(png_that_claims(10_000, 10_000))
    with pytest.raises(UserError, match="at most 64 megapixels"):
        images.load_picture(png_that_claims(60_000, 60_000))  # beyond PIL's own limit
    assert not recwarn.list


def test_what_is_no_picture_is_refused_in_one_sentence(tmp_path):
    jpeg = encoded(gradient(64, 64), "JPEG")
    png = encoded(gradient(64, 64))
    cases = {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "damaged or cut short"),
        "cut.png": (png[: len(png) // 2], "damaged or cut short"),
        "claims.png": (png_that_claims(500, 500, b"few"), "damaged or cut short"),
        "text.png": (b"hello", "not a picture"),
        "empty.png": (b"", "not a picture"),
        "drawing.svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing"),
        "postscript.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        "document.pdf": (b"%PDF-1.4\n", "not a picture"),
    }
    for name, (content, expected) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=expected) as refusal:
            images.load_picture(path)
        assert str(path) in str(refusal.value)
        with pytest.raises(UserError, match=expected):
            images.load_picture(content)
    for missing in (tmp_path / "none.png", tmp_path, "/dev/null", tmp_path / "text.png" / "below.png"):
        with pytest.raises(UserError, match="not a file"):
            images.load_picture(missing)


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


# Writing


@given(
    st.sampled_from([(), (3,), (4,)]).flatmap(
        lambda channels: hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), *map(st.just, channels)))
    )
)
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
    with pytest.raises(UserError, match="is a file"):
        images.write_png(blocker / "picture.png", gradient())
    with pytest.raises(UserError):
        images.write_png(tmp_path, gradient())
    assert blocker.read_text() == "kept"
    assert os.listdir(tmp_path) == ["file"]
