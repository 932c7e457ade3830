"""Seeds in, pictures with masks out: alike on every run, whatever the batch, and checked at the border."""

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from alike import COLOUR_STEPS, assert_alike, assert_alike_samples
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sentences import refusal

from l4f_plugin import compositing, matting
from l4f_plugin.arguments import Background, EdgeOptions, check_seed, check_seeds, check_truncation_psi, parse_seeds
from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.folders import WEIGHTS_FOLDER
from l4f_plugin.drawing import RandomInputs
from l4f_plugin.errors import Cancelled, UserError
from l4f_plugin.images import parse_infotext
from l4f_plugin.jobs import CancelToken
from l4f_plugin.pipeline import Labels4FreePipeline

SEEDS = [7, 0, 2**32 - 1, 12, 7]


@pytest.fixture(scope="module")
def samples(pipeline):
    return pipeline.generate(SEEDS, batch_size=2)


def without(pipeline, *names) -> Labels4FreePipeline:
    return Labels4FreePipeline(replace(pipeline.bundle, **dict.fromkeys(names)), device="cpu")


def test_samples_are_what_they_say(pipeline, samples):
    assert [sample.seed for sample in samples] == SEEDS
    for sample in samples:
        assert sample.image.dtype == sample.background.dtype == np.uint8
        assert sample.image.shape == sample.background.shape == (32, 32, 3)
        assert sample.alpha.dtype == np.float32 and sample.alpha.shape == (32, 32)
        assert sample.alpha.min() >= 0 and sample.alpha.max() <= 1
        assert sample.style.truncation_psi == pipeline.config.truncation_psi == 0.6
    assert pipeline.picture_size == (32, 32) and pipeline.resolution == 32


def test_the_fixture_is_worth_testing_on(samples):
    """Otherwise much below would hold for a pipeline that draws nothing."""
    first, second = samples[0], samples[1]
    assert np.abs(first.image.astype(int) - second.image).mean() > 5
    assert np.abs(first.image.astype(int) - first.background).mean() > 5
    assert 0.02 < first.alpha.mean() < 0.98 and first.alpha.std() > 0.01
    assert np.isin(first.image, (0, 255)).mean() < 0.5


def test_the_batch_does_not_change_a_picture(pipeline, samples):
    for batch_size in (1, 3, 256):
        for one, other in zip(samples, pipeline.generate(SEEDS, batch_size=batch_size), strict=True):
            assert_alike_samples(one, other)
    assert_alike_samples(samples[0], samples[4])


def test_drawing_leaves_the_global_generator_alone(pipeline):
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    pipeline.generate([1])
    assert torch.equal(torch.randn(3), expected)


def test_pictures_are_what_the_networks_compute(pipeline, tiny_bundle_folder):
    """One sample, step by step, without any of the pipeline's own arithmetic."""
    bundle = load_bundle(tiny_bundle_folder)
    generator, config = bundle.generator, bundle.generator.config
    random = torch.Generator().manual_seed(7)
    z = torch.randn(config.latent_dim, generator=random)[None]
    background_z = torch.randn(config.latent_dim, generator=random)[None]
    noise = [torch.randn(1, 1, side, side, generator=random) for side in config.convolution_resolutions]
    with torch.no_grad():
        subject = generator.synthesis(generator.truncate(generator.mapping(z), 0.5, 3), noise)
        alpha = bundle.alpha(subject.features)
        w_plus = bundle.background(generator.truncate(generator.mapping(background_z)))
        scenery = generator.synthesis(w_plus, noise, torch.zeros(1), bundle.background.tensor)
    sample = pipeline.generate([7], 0.5, 3)[0]
    assert np.abs(sample.alpha - alpha[0, 0].numpy()).max() < 1e-5
    for pixels, image in ((sample.image, subject.image), (sample.background, scenery.image)):
        expected = (image[0].permute(1, 2, 0) * 127.5 + 127.5).clamp(0, 255).numpy()
        assert np.abs(pixels - expected).max() < 0.51


def test_without_a_learned_background_the_published_one_is_drawn(pipeline):
    published = without(pipeline, "background")
    generator = published.bundle.generator
    inputs = RandomInputs.of(3, generator.config, "stored")
    with torch.no_grad():
        w_plus = generator.truncate(generator.mapping(inputs.z[None]))
        image = generator.synthesis(w_plus, "stored", object_gate=torch.zeros(1)).image
    expected = (image[0].permute(1, 2, 0) * 127.5 + 127.5).clamp(0, 255).numpy()
    sample = published.generate([3], 0.3, noise_mode="stored")[0]
    assert np.abs(sample.background - expected).max() < 0.51


def test_backgrounds_are_drawn_when_asked_for_only(pipeline, samples):
    bare = pipeline.generate(SEEDS, with_background=False)
    for one, other in zip(samples, bare, strict=True):
        assert other.background is None
        assert_alike(one.image, other.image)


def test_styles_and_noise_matter(pipeline):
    def image(**style):
        return pipeline.generate([5], **style)[0].image

    styles = ({}, {"truncation_psi": 0.2}, {"truncation_cutoff": 2}, {"noise_mode": "stored"}, {"noise_mode": "none"})
    images = [image(**{"truncation_psi": 0.7, **style}) for style in styles]
    for one, other in itertools.combinations(images, 2):
        assert np.abs(one.astype(int) - other).max() > 1
    assert_alike(image(truncation_psi=0.7, truncation_cutoff=0), image(truncation_psi=1.0))


def test_the_crop_of_the_class_is_applied(pipeline, samples):
    config = replace(pipeline.config, crop=(4, 28, 2, 32))
    cropped = Labels4FreePipeline(replace(pipeline.bundle, config=config), device="cpu")
    sample = cropped.generate(SEEDS, batch_size=2)[0]
    assert cropped.picture_size == (30, 24)
    for part in ("image", "background", "alpha"):
        assert_alike(getattr(sample, part), getattr(samples[0], part)[4:28, 2:])
    picture = Background.parse(np.zeros((9, 9, 3), np.uint8))
    assert cropped.swap(sample, picture).composite.size == (30, 24)


def test_bfloat16_is_close_and_masks_stay_float32(pipeline, samples, tiny_bundle_folder):
    half = Labels4FreePipeline.from_pretrained(tiny_bundle_folder, device="cpu", dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    sample = half.generate([SEEDS[0]])[0]
    assert sample.alpha.dtype == np.float32
    assert np.abs(sample.alpha - samples[0].alpha).mean() < 0.05
    assert np.abs(sample.image.astype(int) - samples[0].image).mean() < 5
    assert len(np.unique(sample.alpha)) > 300, "a bfloat16 mask has 256 values between .5 and 1 at most"


def test_a_class_without_masks_draws_and_says_how_to_get_them(pipeline, samples):
    [sample] = without(pipeline, "alpha").generate(SEEDS[:1])
    assert sample.alpha is None
    assert_alike(sample.image, samples[0].image)
    assert_alike(sample.background, samples[0].background)
    for use in (sample.mask, sample.cutout, lambda: without(pipeline, "alpha").swap(sample, "#ffffff")):
        assert "tiny has no masks yet; learn them with: l4f learn-masks tiny" in refusal(use)


def test_samples_come_as_they_are_drawn(pipeline):
    calls = []
    stream = pipeline.stream(range(5), batch_size=2, progress=lambda *call: calls.append(call))
    assert calls == []
    next(stream)
    assert [call[:2] for call in calls] == [(2, 5)]
    assert len(list(stream)) == 4
    assert [call[:2] for call in calls] == [(2, 5), (4, 5), (5, 5)]
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_cancel_between_batches_and_within_one(pipeline):
    token = CancelToken()
    stream = pipeline.stream(range(6), batch_size=2, cancel=token)
    assert next(stream).seed == 0
    token.cancel()
    assert next(stream).seed == 1, "what is drawn is handed over"
    with pytest.raises(Cancelled):
        next(stream)

    class AfterSomeLooks(CancelToken):
        looks = 0

        def check(self):
            self.looks += 1
            if self.looks == 4:
                self.cancel()
            super().check()

    token = AfterSomeLooks()
    with pytest.raises(Cancelled):
        pipeline.generate([1], cancel=token)
    assert token.looks == 4, "looked at once before the batch, then before each convolution"
    with pytest.raises(Cancelled):
        pipeline.swap(1, "seed:2", cancel=token)


def test_every_run_draws_the_same_and_so_does_what_was_unloaded(tiny_bundle_folder, samples):
    torch.manual_seed(99)
    again = Labels4FreePipeline.from_pretrained(str(tiny_bundle_folder), device="cpu")
    assert again.weight_bytes() > 1000 and again.to("cpu") is again
    for _ in range(2):
        for one, other in zip(samples, again.generate(SEEDS, batch_size=2), strict=True):
            assert_alike_samples(one, other)
        again.unload()


def test_swap_puts_the_background_of_another_seed_behind(pipeline, samples):
    result = pipeline.swap(7, "seed:12")
    drawn = np.asarray(result.background).astype(int)
    assert_alike(result.background, samples[3].background)
    assert_alike(result.subject.image, samples[0].image)
    alpha = samples[0].alpha[..., None]
    expected = alpha * matting.clean_colours(samples[0].image, samples[0].alpha) + (1 - alpha) * drawn
    assert result.composite.mode == "RGB"
    assert np.abs(np.asarray(result.composite) - expected).max() < 3
    from_sample = pipeline.swap(samples[0], "seed:12")
    assert_alike(from_sample.composite, result.composite, COLOUR_STEPS)
    own = pipeline.swap(samples[0], "seed:7")
    assert np.array_equal(np.asarray(own.background), samples[0].background)


def test_swap_before_colour_picture_blur_and_nothing(pipeline, samples, tmp_path):
    sample = samples[0]
    colour = pipeline.swap(sample, "#10f")
    assert np.array_equal(np.asarray(colour.background), np.full((32, 32, 3), (17, 0, 255), np.uint8))
    Image.new("RGB", (50, 20), (1, 2, 3)).save(path := tmp_path / "scenery.png")
    for picture in (str(path), path, path.read_bytes(), Image.open(path), np.asarray(Image.open(path))):
        assert pipeline.swap(sample, picture).background.getpixel((5, 5)) == (1, 2, 3)
    blurred = np.asarray(pipeline.swap(sample, "blur:3").background)
    assert np.array_equal(blurred, matting.blurred_behind(sample.image, sample.alpha, 3.0))
    clear = pipeline.swap(sample, "transparent", threshold=0.5)
    assert clear.background is None and clear.composite.mode == "RGBA"
    assert np.array_equal(np.asarray(clear.composite)[..., 3] == 255, sample.alpha > 0.5)


def test_edges_are_edited_before_the_swap(pipeline, samples):
    sample = samples[0]
    edge = {"threshold": 0.6, "grow": 2, "feather": 1.5, "keep_largest": True}
    result = pipeline.swap(sample, "#000000", **edge)
    expected = compositing.edit_alpha(sample.alpha, level=0.6, pixels=2, radius=1.5, keep_largest=True)
    assert np.array_equal(np.asarray(result.alpha), compositing.to_bytes(expected))
    assert np.array_equal(np.asarray(result.cutout)[..., 3], compositing.to_bytes(expected))
    assert EdgeOptions() == EdgeOptions(threshold=None, grow=0, feather=0, keep_largest=False)
    fields = parse_infotext(result.infotext)
    assert fields["Threshold"] == "0.6" and fields["Grow"] == "2" and fields["Background"] == "#000000"
    assert fields["Largest piece only"] == "True" and fields["Feather"] == "1.5"
    plain = parse_infotext(pipeline.swap(sample, "#000000").infotext)
    assert not {"Threshold", "Grow", "Feather", "Largest piece only"} & plain.keys()


def test_a_sample_as_pictures(samples):
    sample = samples[0]
    assert np.array_equal(np.asarray(sample.picture()), sample.image)
    assert np.array_equal(np.asarray(sample.mask()), np.rint(sample.alpha * 255).astype(np.uint8))
    assert set(np.unique(sample.mask(0.5))) <= {0, 255}
    assert len({sample, *samples}) == len(samples), "told apart by what they are, not by their pixels"
    cutout = sample.cutout()
    assert cutout.mode == "RGBA"
    assert np.array_equal(np.asarray(cutout)[..., 3], np.asarray(sample.mask()))
    buffer = io.BytesIO()
    cutout.save(buffer, "PNG")
    assert np.array_equal(np.asarray(Image.open(buffer)), np.asarray(cutout))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("seeds", ([], range(10_001)), "number of pictures .* from 1 to 10000"),
        ("seeds", ([-1], [2**32], [1.5], [True], ["7"]), "A seed must be a whole number from 0 to 4294967295"),
        ("truncation_psi", (2.01, -3, NAN, INF, "1"), "from -2 to 2"),
        ("truncation_cutoff", (-1, 9), "from 0 to 8"),
        ("noise_mode", ("loud",), "random, stored or none"),
        ("batch_size", (0, 257), "from 1 to 256"),
    ],
)
def test_arguments_out_of_bounds_are_refused_before_anything_is_drawn(pipeline, name, values, sentence):
    for value in values:
        with pytest.raises(UserError, match=sentence):
            pipeline.stream(**{"seeds": [1], name: value})


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("subject", (-1,), "A seed"),
        ("background", ("seed:x",), "names no seed"),
        ("background", ("seed:99999999999",), "A seed"),
        ("background", ("blur:", "blur:nan"), "names no radius"),
        ("background", ("#12", "#gggggg"), "is not a colour"),
        ("background", ("",), "No background"),
        ("background", ("no/such/file.png", "a\0b", "x" * 5000), "is not known"),
        ("background", (b"no picture",), "not a picture"),
        ("background", (np.zeros((4, 4, 3)),), "uint8"),
        ("threshold", (1.1, NAN), "from 0 to 1"),
        ("grow", (129, 1.5), "whole number from -128 to 128"),
        ("feather", (-1, INF), "from 0 to 128"),
    ],
)
def test_swap_refuses_what_makes_no_sense(pipeline, name, values, sentence):
    for value in values:
        assert sentence in refusal(pipeline.swap, **{"subject": 1, "background": "transparent", name: value})


CHECKS = {
    "threshold": (0, 1, 1e-9, lambda value: EdgeOptions(threshold=value).threshold),
    "grow": (-128, 128, 1, lambda value: EdgeOptions(grow=value).grow),
    "feather": (0, 128, 1e-9, lambda value: EdgeOptions(feather=value).feather),
    "seed": (0, 2**32 - 1, 1, check_seed),
    "psi": (-2, 2, 1e-9, check_truncation_psi),
    "blur": (0, 128, 1e-3, lambda value: Background.parse(f"blur:{value}").radius),
}


@pytest.mark.parametrize("name", CHECKS)
def test_bounds_belong_to_what_is_allowed(name):
    least, most, step, check = CHECKS[name]
    assert check(least) == least and check(most) == most and check(np.int64(most)) == most
    nonsense = [True, np.bool_(False), "1", "x" if name == "threshold" else None] if name != "blur" else []
    for outside in (least - step, most + step, *nonsense):
        refusal(check, outside)


def test_ten_thousand_seeds_are_the_most():
    assert parse_seeds("0-9999") == list(range(10_000)) and len(parse_seeds("0-4998, 1,2 ,3 ,5000-9996")) == 9999
    assert parse_seeds(" 4294967295, ,000000000007,") == [2**32 - 1, 7] and check_seeds(range(10_000))[-1] == 9999
    for written in ("0-9999,1", "1,0-9999", "0-4999,0-4999,7"):
        assert "The number of pictures must be a whole number from 1 to 10000" in refusal(parse_seeds, written)


def test_backgrounds_are_read_as_people_write_them():
    assert Background.parse(" #A0f ").colour == (0xAA, 0, 0xFF) and Background.parse("#A0f").label == "#aa00ff"
    assert Background.parse("#010203").colour == (1, 2, 3)
    for written, radius, label in (("0", 0, "0"), ("7.50", 7.5, "7.5"), ("128", 128, "128")):
        parsed = Background.parse(f"blur:{written}")
        assert (parsed.kind, parsed.radius, parsed.label) == ("blur", radius, f"blur:{label}")
    assert Background.parse(" Transparent").kind == Background.parse("transparent").label == "transparent"
    assert [Background.parse("White").label for _ in range(2)] == 2 * ["#ffffff"]
    seed = Background.parse("seed:4294967295")
    assert (seed.kind, seed.seed, seed.label) == ("seed", 2**32 - 1, "seed:4294967295")
    assert Background.parse(seed) is seed
    grey = Background.parse(np.full((3, 4), 9, np.uint8))
    assert len({grey, seed}) == 2 and grey.kind == grey.label == "picture"
    assert grey.picture.shape == (3, 4, 3) and (grey.picture == 9).all()
    for shape, dtype in (((4,), np.uint8), ((2, 2, 2, 3), np.uint8), ((4, 4, 3), np.float32)):
        assert "must be uint8" in refusal(Background.parse, np.zeros(shape, dtype))


def test_text_from_a_network_names_no_file(tmp_path):
    path = tmp_path / "secret.png"
    Image.new("RGB", (2, 2)).save(path)
    assert Background.parse(str(path)).kind == "picture"
    assert "is not known" in refusal(Background.parse, str(path), files=False)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 50), st.integers(0, 40)), min_size=1, max_size=6))
def test_written_seeds_are_read(ranges):
    written = ", ".join(f"{first}-{first + more}" if more else str(first) for first, more in ranges)
    assert parse_seeds(written) == [seed for first, more in ranges for seed in range(first, first + more + 1)]


def test_minus_one_draws_a_seed(monkeypatch):
    drawn = parse_seeds("-1,-1 4")
    assert drawn[2] == 4 and drawn[0] != drawn[1]
    assert all(0 <= seed < 2**32 for seed in drawn)
    background = Background.parse("seed:-1")
    assert background.label == f"seed:{background.seed}" and 0 <= background.seed < 2**32
    monkeypatch.setattr("secrets.randbelow", lambda most: most - 1)
    assert parse_seeds("-1") == [Background.parse("seed:-1").seed] == [2**32 - 1]


def test_networks_that_a_drawing_brings_back_can_be_learned_from_later(tiny_bundle_folder):
    """On a GPU the first drawing after `unload` moves them, within inference mode; projection wants gradients."""
    pipeline = Labels4FreePipeline.from_pretrained(tiny_bundle_folder, device="cpu")
    pipeline.device = torch.device("meta")  # stands for a GPU: moving there makes new tensors
    with torch.inference_mode(), pipeline._ready(CancelToken()):
        pass
    assert not any(weight.is_inference() for weight in pipeline.bundle.generator.parameters())


SHIPPED = WEIGHTS_FOLDER / "avatar" / "config.json"


@pytest.mark.skipif(not SHIPPED.is_file(), reason="no weights are shipped here")
def test_the_shipped_class_draws():
    for sample in Labels4FreePipeline.from_pretrained("avatar", device="cpu").generate([0, 1, 2, 3]):
        assert sample.image.std() > 10
        assert 0.1 < sample.alpha.mean() < 0.9
        assert (np.minimum(sample.alpha, 1 - sample.alpha) < 0.1).mean() > 0.7, "masks are mostly decided"
