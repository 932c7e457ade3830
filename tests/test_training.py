"""Training on pictures of a few pixels: exact resumption, growing, recipes, collapse, and runs that are killed."""

import copy
import dataclasses
import json
import signal
import subprocess

import numpy as np
import pytest
import torch
from alike import assert_same_weights
from bundles import tiny_bundle
from pages import wait_until
from PIL import Image, ImageOps
from pixels import noise_in
from sentences import refusal
from shell import ended, start_l4f

from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.config import read_config
from l4f_plugin.bundles.training_state import load_training_state
from l4f_plugin.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from l4f_plugin.networks.ops import fir_downsample, fir_upsample
from l4f_plugin.training import alpha_training, augmentation, loop, losses, updates
from l4f_plugin.training.alpha_training import AlphaTrainer, shift_at_random
from l4f_plugin.training.augmentation import AdaptiveProbability, augment
from l4f_plugin.training.distance import RandomFeatureDistance
from l4f_plugin.training.generator_training import GeneratorSettings, GeneratorTrainer
from l4f_plugin.training.growing import grow_discriminator, grow_generator
from l4f_plugin.training.pictures import PictureFolder, letterbox
from l4f_plugin.training.recipes import AlphaSettings, paper_recipe
from l4f_plugin.training.runs import DISTANCE, train_alpha, train_generator

# One thread is also fastest for pictures of a few pixels.
pytestmark = pytest.mark.usefixtures("own_folders", "one_thread")
CHANNELS = {4: 8, 8: 8, 16: 6, 32: 4}
TINY = GeneratorSettings(
    resolution=32,
    channels=CHANNELS,
    discriminator_channels=CHANNELS,
    latent_dim=6,
    style_dim=7,
    mapping_layers=2,
    batch_size=4,
    r1_interval=2,
    path_length_weight=1.0,
    path_length_interval=2,
    augmentation="adaptive",
    feature_dtype="float32",
)


@pytest.fixture()
def picture_folder(tmp_path):
    folder = noise_in(tmp_path / "pictures", 6, 40, 32, 3)
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture
def pictures(picture_folder, tmp_path) -> PictureFolder:
    return PictureFolder(picture_folder, 32, tmp_path / "cache")


def mask_trainer(**changed) -> AlphaTrainer:
    settings = AlphaSettings(**{"batch_size": 4, "feature_dtype": "float32", **changed})
    return AlphaTrainer(settings, tiny_bundle(without=["discriminator"]))


def test_pictures_are_cropped_decoded_once_and_counted(pictures, picture_folder, tmp_path):
    assert (len(pictures), pictures.unreadable) == (6, 1)
    original = np.asarray(Image.open(picture_folder / "0.png"))[4:36]
    assert any(np.array_equal(original, picture) for picture in pictures.array)
    batch = pictures.batch(5, torch.Generator().manual_seed(0))
    assert batch.shape == (5, 3, 32, 32) and -1 <= batch.min() < batch.max() <= 1
    (cached,) = (tmp_path / "cache").glob("*.npy")
    changed = cached.stat().st_mtime_ns
    PictureFolder(picture_folder, 32, tmp_path / "cache")
    assert cached.stat().st_mtime_ns == changed


def test_folders_without_pictures_are_refused_in_words(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.png").write_bytes(b"not a picture")
    for folder in ("missing", "empty", "broken"):
        refusal(PictureFolder, tmp_path / folder, 32, tmp_path / "cache")


@pytest.mark.parametrize("kind", ["generator", "alpha"])
def test_a_resumed_run_ends_with_the_weights_of_one_never_stopped(kind, pictures, tmp_path):

    def trainer():
        if kind == "generator":
            return GeneratorTrainer(TINY, pictures)
        torch.manual_seed(5)
        return mask_trainer(steps=6, r1_interval=2)

    whole = trainer()
    loop.train(whole, tmp_path / "whole", 24)
    first = trainer()
    loop.train(first, tmp_path / "parts", 12)
    second = trainer()
    assert loop.resume(second, tmp_path / "parts")
    loop.train(second, tmp_path / "parts", 24)
    assert_same_weights(whole.averaged, second.averaged)
    assert whole.state()["random"].equal(second.state()["random"])


def test_without_noise_the_strengths_stay_zero(pictures):
    source = Generator(TINY.generator_config())
    for convolution in source.synthesis.convolutions:
        torch.nn.init.ones_(convolution.noise_strength)
    trainer = GeneratorTrainer(dataclasses.replace(TINY, noise=False), pictures, generator=source)
    trainer.step()
    for network in (trainer.generator, trainer.averaged):
        assert all(convolution.noise_strength == 0 for convolution in network.synthesis.convolutions)


def test_metrics_that_a_kill_left_behind_are_forgotten(pictures, tmp_path):
    run = tmp_path / "run"
    loop.train(GeneratorTrainer(TINY, pictures), run, 8, log_pictures=4)
    with (run / loop.METRICS_FILE).open("a") as stream:
        stream.write(json.dumps({"pictures": 12}) + '\n{"pictu')
    loop.resume(GeneratorTrainer(TINY, pictures), run)
    lines = [json.loads(line) for line in (run / loop.METRICS_FILE).read_text().splitlines()]
    assert [line["pictures"] for line in lines] == [4, 8]
    assert {"discriminator_loss", "generator_loss"} <= lines[0].keys()
    assert sorted(path.name for path in run.glob("sample_*.png")) == ["sample_000000008.png"]


def test_a_killed_command_goes_on_and_ends_alike(picture_folder, tmp_path):
    """kill -9 in the middle, then the same command again: the same bundle as from an undisturbed run."""
    options = "--resolution 32 --pictures 160 --batch-size 4 --channel-max 8 --threads 1 --dtype float32 --device cpu"

    def training(out):
        words = ["train", "generator", picture_folder, "--out", out, *options.split(), "--save-minutes", 0]
        return start_l4f(*words, stderr=subprocess.DEVNULL)

    process = training(tmp_path / "killed")
    state = tmp_path / "killed" / loop.STATE_FILE
    wait_until(lambda: state.exists() or process.poll() is not None)
    process.kill()
    process.wait()
    _, metadata = load_training_state(state)  # whole, whenever the kill came
    assert metadata["state"]
    assert [ended(training(tmp_path / name)).code for name in ("killed", "whole")] == [0, 0]
    killed, whole = (load_bundle(tmp_path / name / "bundle") for name in ("killed", "whole"))
    assert_same_weights(killed.generator, whole.generator)


def test_a_stop_request_ends_the_step_and_saves(pictures, tmp_path):
    trainer = GeneratorTrainer(TINY, pictures)
    step = trainer.step

    def interrupted_step():
        signal.raise_signal(signal.SIGINT)
        return step()

    trainer.step = interrupted_step
    assert loop.train(trainer, tmp_path / "run", 400) is False
    resumed = GeneratorTrainer(TINY, pictures)
    assert loop.resume(resumed, tmp_path / "run") and resumed.pictures_seen == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_grown_networks_compute_what_they_computed():
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(32, CHANNELS, 6, 7, 2)).requires_grad_(False)
    grown = grow_generator(generator, channels=4)
    z = torch.randn(2, 6)
    torch.testing.assert_close(grown(z), fir_upsample(generator(z)))

    discriminator = Discriminator(DiscriminatorConfig(32, CHANNELS)).requires_grad_(False)
    torch.nn.init.normal_(discriminator.from_rgb.bias)
    larger = grow_discriminator(discriminator, channels=4)
    smooth = torch.nn.functional.interpolate(torch.rand(3, 3, 8, 8) * 2 - 1, size=64, mode="bicubic").clamp(-1, 1)
    old, new = discriminator.features(fir_downsample(smooth)), larger.features(smooth)[1:]
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # borders are padded differently
    torch.testing.assert_close(new[0][inside], old[0][inside], atol=1e-4, rtol=1e-4)
    image = smooth.clone().requires_grad_()
    larger.requires_grad_(True)(image).sum().backward()
    assert all(parameter.grad is not None for parameter in larger.parameters())
    assert "4 channels" in refusal(grow_discriminator, discriminator, channels=3)


def test_r1_is_taken_every_few_rounds_and_weighed_as_much_more():
    pictures, options = [torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, 3, 4, 4)], {"r1_weight": 3.0, "r1_interval": 4}

    def judge(batch):
        return batch.square().sum(dim=(1, 2, 3)).unsqueeze(1)

    told = [losses.verdict_on(*pictures, judge, **options, rounds=rounds) for rounds in range(10)]
    assert [number for number, (_, metrics) in enumerate(told) if "r1_penalty" in metrics] == [0, 4, 8]
    (first, with_penalty), (second, without) = told[:2]
    assert with_penalty["r1_penalty"] == pytest.approx(48)
    assert without["real_logits"] == pytest.approx(12) and without["real_sign"] == 1
    assert (first - second).item() == pytest.approx(48 * 3 / 2 * 4)
    assert second.item() == pytest.approx(np.log1p(np.exp(-12)) + np.log(2))


def test_path_lengths_are_those_of_the_gradient_of_a_random_picture():
    """For pictures that are linear in w, picture_n = sum over layers and styles of w A / 2, the gradient is A noise."""
    random = torch.Generator().manual_seed(0)
    w_plus = torch.randn(2, 5, 6, generator=random).requires_grad_()
    matrix, noise = torch.randn(5, 6, 3, 4, 7, generator=random), torch.randn(2, 3, 4, 7, generator=random)
    images = torch.einsum("nls,lschw->nchw", w_plus**2 / 2, matrix)
    expected = w_plus.detach() * torch.einsum("nchw,lschw->nls", noise, matrix) / np.sqrt(28)
    expected = expected.square().sum(dim=2).mean(dim=1).sqrt()
    penalty, lengths = losses.path_length_penalty(images, w_plus, torch.tensor(0.7), noise)
    torch.testing.assert_close(lengths, expected)
    assert penalty.item() == pytest.approx(((expected - 0.7) ** 2).mean().item(), rel=1e-5)
    penalty.backward()
    assert w_plus.grad.abs().min() > 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_convolutions_compute_in_the_precision_that_is_asked_for(dtype):
    with updates.autocast(torch.device("cpu"), dtype):
        assert torch.nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 2, 2)).dtype == getattr(torch, dtype)


@pytest.mark.parametrize("decay", [0.05, 0.9])
def test_masks_are_kept_as_their_average_over_the_training(decay):
    trainer = mask_trainer(batch_size=2, ema_decay=decay)
    pairs = [(trainer.averaged, trainer.alpha), (trainer.averaged_background, trainer.background)]
    for round_number in range(3):
        before = [[value.clone() for value in kept.parameters()] for kept, _ in pairs]
        trainer.step()
        share = 1 - min(decay, (1 + round_number) / (10 + round_number))
        for old, (kept, current) in zip(before, pairs, strict=True):
            for start, average, now in zip(old, kept.parameters(), current.parameters(), strict=True):
                torch.testing.assert_close(average, start + share * (now.detach() - start))


def test_augmentation_repeats_keeps_gradients_and_can_be_off():
    images = torch.rand(8, 3, 32, 32, requires_grad=True)
    assert augment(images, 0.0, torch.Generator()) is images
    first, second = (augment(images, 0.8, torch.Generator().manual_seed(4)) for _ in range(2))
    torch.testing.assert_close(first, second)
    assert not torch.allclose(first, images, atol=0.1)
    first.sum().backward()
    assert images.grad.abs().sum() > 0


def test_augmentation_leaves_bars_and_greys_and_what_is_not_chosen():
    random = torch.Generator().manual_seed(4)
    images = torch.rand(64, 3, 32, 32, generator=random) * 2 - 1
    unlucky = augment(images, 1e-9, random)
    torch.testing.assert_close(unlucky, images, atol=1e-4, rtol=0)
    crop = letterbox(32, 3 / 4)
    assert crop == (0, 32, 4, 28)
    boxed = augment(images, 1.0, random, crop)
    assert torch.equal(boxed[..., :4], images[..., :4]) and torch.equal(boxed[..., 28:], images[..., 28:])
    assert ((boxed - images)[..., 4:28].abs().amax(dim=(1, 2, 3)) > 0.1).all()
    greys = augment(images[:, :1].expand(-1, 3, -1, -1), 1.0, random)
    torch.testing.assert_close(greys[:, :1].expand(-1, 3, -1, -1), greys, atol=1e-4, rtol=1e-4)


def test_augmentation_moves_a_mark_where_its_map_says():
    """Quarter turns and mirrors alone, so that each result is one of eight known pictures."""

    class Turns(augmentation._Draws):
        def _if_chosen(self, draw, probability):
            self.asked = getattr(self, "asked", 0) + 1
            chosen = draw if self.asked in (1, 2) else torch.zeros_like(draw)  # mirror, quarter turns
            return chosen.to(self.images)

    mark = torch.zeros(64, 3, 16, 16)
    mark[:, :, 2, 5] = 1.0
    moved = augmentation._warp(mark, Turns(mark, 1.0, torch.Generator().manual_seed(0)))
    turned = [image.rot90(quarters, (1, 2)) for image in (mark[0], mark[0].flip(2)) for quarters in range(4)]
    found = [min(range(8), key=lambda which: (result - turned[which]).abs().sum().item()) for result in moved]
    assert set(found) == set(range(8))
    torch.testing.assert_close(moved, torch.stack([turned[which] for which in found]), atol=1e-4, rtol=0)


def test_adaptive_augmentation_follows_overfitting():
    adaptive = AdaptiveProbability()
    for _ in range(4):
        assert adaptive.probability == 0.0
        adaptive.update(1.0, 250)
    assert (adaptive.overfitting, adaptive.probability) == (1.0, pytest.approx(0.01))
    adaptive.update(-1.0, 100)
    other = AdaptiveProbability(*dataclasses.astuple(adaptive))
    for _ in range(3):
        other.update(-1.0, 100)
    assert (other.overfitting, other.probability) == (-1.0, pytest.approx(0.006))


def test_letter_boxed_pictures_keep_their_proportions(picture_folder, tmp_path):
    pictures = PictureFolder(picture_folder, 32, tmp_path / "cache", letterbox(32, 3 / 4))
    assert pictures.array.shape == (6, 32, 32, 3)
    assert not pictures.array[:, :, :4].any() and not pictures.array[:, :, 28:].any()
    original = np.asarray(Image.open(picture_folder / "0.png"))
    height, width = original.shape[:2]
    wanted = ImageOps.fit(Image.fromarray(original), (24, 32), Image.Resampling.LANCZOS)
    assert (width, height) != (24, 32) and any(np.array_equal(wanted, one[:, 4:28]) for one in pictures.array)


def test_the_state_nearest_to_the_real_pictures_is_kept(picture_folder, tmp_path):
    """A generator that a huge learning rate ruins: the first measurement is its best."""
    settings = dataclasses.replace(TINY, path_length_weight=0.0, learning_rate=0.3, crop=letterbox(32, 3 / 4))
    options = {"report": lambda line: None, "grid_pictures": 4, "log_pictures": 4}
    assert train_generator(picture_folder, tmp_path / "run", settings, 12, **options)
    measured = [line[DISTANCE] for line in loop.read_metrics(tmp_path / "run")]
    best = load_bundle(tmp_path / "run" / "best")
    assert best.config.crop == (0, 32, 4, 28)
    assert f"{(measured.index(min(measured)) + 1) * 4} of them shown" in best.config.source
    train_generator(picture_folder, tmp_path / "run", settings, 16, **options)
    measured = [line[DISTANCE] for line in loop.read_metrics(tmp_path / "run")]
    assert f"{(measured.index(min(measured)) + 1) * 4} of them" in read_config(tmp_path / "run" / "best").source


def test_where_somebody_keeps_other_files_nothing_is_trained(picture_folder, tmp_path):
    for name in ("best", "bundle"):
        others = tmp_path / name / "out" / name
        others.mkdir(parents=True)
        (others / "notes.txt").write_text("mine")
        assert "holds other files" in refusal(train_generator, picture_folder, tmp_path / name / "out", TINY, 4)
        assert [path.name for path in (tmp_path / name / "out").rglob("*")] == [name, "notes.txt"]


def test_the_distance_tells_near_from_far():
    random = torch.Generator().manual_seed(0)

    def draw(count, noise=0.0):
        smooth = torch.nn.functional.interpolate(torch.rand(count, 3, 4, 4, generator=random), 32, mode="bilinear")
        return smooth + noise * torch.randn(count, 3, 32, 32, generator=random)

    distance = RandomFeatureDistance([draw(600)])
    same, near, far = (distance(lambda count, noise=noise: draw(count, noise), 100) for noise in (0.0, 0.2, 0.4))
    assert 2 * same < near < far / 2


def test_shifts_repeat_the_border():
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(64, 1, 8, 8)
    shifted = shift_at_random(ramp, 2, torch.Generator().manual_seed(0))[:, 0, 0]
    for row in shifted:
        offset = round(row[4].item()) - 4
        assert row.tolist() == [min(max(column + offset, 0), 7) for column in range(8)]
    assert {round(row[4].item()) - 4 for row in shifted} == {-2, -1, 0, 1, 2}


def test_the_published_recipe_is_the_published_one():
    """What its losses are and what a step does is held in test_paper_recipe.py."""
    horse = paper_recipe("horse")
    assert paper_recipe("unheard-of") == paper_recipe("as yet unheard-of") == horse
    for name, steps, psi, rate, mask, adversarial, background, area in [
        ("ffhq", 2000, 1.0, 2e-4, 1.2, 1.0, 3.0, 0.40),
        ("horse", 2000, 1.0, 2e-4, 3.0, 1.0, 6.0, 0.60),
        ("cat", 2000, 0.5, 2e-4, 3.0, 1.0, 4.0, 0.35),
        ("car", 750, 0.3, 8e-4, 20.0, 0.1, 40.0, 0.75),
    ]:
        recipe = paper_recipe(name)
        assert recipe.discriminator_from_bundle == (name == "car")
        assert (recipe.steps, recipe.truncation_psi, recipe.adversarial_weight) == (steps, psi, adversarial)
        assert recipe.learning_rate == pytest.approx(rate * 4 / 5)
        assert recipe.discriminator_learning_rate == pytest.approx(rate * 16 / 17)
        assert recipe.binarisation_weight == recipe.least_area_weight == mask
        assert (recipe.most_area_weight, recipe.most_area) == (background, pytest.approx(1 - area))
    channels = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128}
    assert horse.discriminator_config(GeneratorConfig(256, channels)) == DiscriminatorConfig(256, channels)
    own = AlphaSettings().discriminator_config(GeneratorConfig(256, channels))
    assert own.channels == {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8} and own.resolution == 256
    assert AlphaSettings().discriminator_config(GeneratorConfig(512, {**channels, 512: 64})).channels[512] == 8


def test_the_wish_for_decided_masks_rises():
    settings = AlphaSettings(steps=100, binarisation_ramp=0.5, binarisation_weight=3.0, most_area_weight=0.25)
    weights = [settings.binarisation_weight_at(step) for step in (0, 25, 50, 99)]
    assert weights == pytest.approx([0, 1.5, 3, 3])
    assert dataclasses.replace(settings, binarisation_ramp=0.0).binarisation_weight_at(0) == 3


def test_the_class_s_own_discriminator_teaches_the_masks_and_stays_as_it_is():
    torch.manual_seed(0)
    bundle = tiny_bundle()
    settings = AlphaSettings(batch_size=4, feature_dtype="float32", background_share=0.0)
    before = copy.deepcopy(bundle.discriminator.state_dict())
    trainer = AlphaTrainer(settings, bundle)
    assert_same_weights(before, trainer.discriminator)
    trainer.step()
    assert not torch.equal(trainer.discriminator.output.weight, bundle.discriminator.output.weight)
    assert_same_weights(before, bundle.discriminator)
    new = AlphaTrainer(dataclasses.replace(settings, discriminator_from_bundle=False), bundle)
    assert new.discriminator.config == settings.discriminator_config(bundle.generator.config)
    assert paper_recipe("car").discriminator_from_bundle and not paper_recipe("cat").discriminator_from_bundle
    without = dataclasses.replace(bundle, discriminator=None)
    assert AlphaTrainer(settings, without).discriminator.config == new.discriminator.config


def test_masks_are_learned_into_a_bundle_that_keeps_the_generator(tiny_bundle_folder, tmp_path):
    settings = AlphaSettings(steps=2, batch_size=2, feature_dtype="float32", discriminator_channel_max=8)
    assert train_alpha(tiny_bundle_folder, tmp_path / "run", settings, report=lambda line: None)
    before, after = load_bundle(tiny_bundle_folder), load_bundle(tmp_path / "run" / "bundle")
    assert_same_weights(before.generator, after.generator)
    assert not torch.equal(before.alpha.output.weight, after.alpha.output.weight)
    assert "real pictures" in refusal(train_alpha, tiny_bundle_folder, tmp_path / "paper", paper_recipe("horse"))


def test_learned_backgrounds_start_and_stay_near_the_colours_of_the_corners():
    """The masks wait meanwhile, and letter-box bars are no part of it."""
    settings = AlphaSettings(steps=80, batch_size=4, feature_dtype="float32", background_share=0.5)
    bundle = tiny_bundle()
    trainer = AlphaTrainer(settings, bundle)
    trainer.crop = (0, 32, 4, 28)
    before = copy.deepcopy(trainer.alpha.state_dict())
    errors = [trainer.step()["background_error"] for _ in range(40)]
    assert sum(errors[-8:]) < 0.9 * sum(errors[:8])
    assert_same_weights(before, trainer.alpha)
    composite, alpha, image = trainer._composite()
    assert alpha.shape[2:] == (32, 24) and composite.shape == image.shape
    assert torch.equal(composite[..., :4], image[..., :4]) and torch.equal(composite[..., 28:], image[..., 28:])
    assert not torch.equal(composite[..., 4:28], image[..., 4:28])
    assert "alpha_loss" in trainer.step()


def test_learning_rates_of_masks_fall_in_the_second_half():
    trainer = mask_trainer(steps=100, batch_size=2, discriminator_channel_max=8)
    settings = trainer.settings
    optimizers, seen = (trainer.alpha_optimizer, trainer.discriminator_optimizer), {}
    for rounds in (50, 75, 99):
        trainer.rounds = rounds
        trainer.step()
        seen[rounds] = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    assert seen[50] == [settings.learning_rate, settings.background_learning_rate, settings.discriminator_learning_rate]
    assert seen[75] == pytest.approx([rate / 2 for rate in seen[50]]) and max(seen[99]) < 0.01 * min(seen[50])
    assert {paper_recipe("cat").learning_rate_share_at(step) for step in (0, 1000, 2000)} == {1.0}


def test_limits_on_the_area_are_let_go_once_masks_have_formed(monkeypatch):
    monkeypatch.setattr(alpha_training, "guess_masks", lambda images: images)
    trainer = mask_trainer(steps=100)
    half, full, none = (torch.full((2, 1, 4, 4), area) for area in (0.4, 0.9, 0.0))
    left = torch.cat([torch.ones(2, 1, 4, 1), torch.zeros(2, 1, 4, 3)], dim=3)  # three quarters look like background
    assert trainer._area_loss(half, left) == 0
    assert trainer._area_loss(full, left).item() == pytest.approx(8 * 0.4)
    trainer.rounds = 35
    assert trainer._area_loss(half, left).item() == pytest.approx(8 * 0.4 * 3 / 4)
    assert trainer._area_loss(full * left, left) == 0
    assert trainer._area_loss(none, left).item() == pytest.approx(8 * 0.05)
    trainer.rounds = 75  # half way from the middle, where rates begin to fall
    assert trainer._area_loss(half, left).item() == pytest.approx(4 * 0.4 * 3 / 4)
    published = AlphaTrainer(paper_recipe("horse"), tiny_bundle())
    published.rounds = published.settings.steps - 1
    assert published._area_loss(full, left).item() == pytest.approx(6 * 0.5)


def test_a_bundle_is_grown_to_twice_its_resolution(picture_folder, tmp_path):
    small = dataclasses.replace(TINY, path_length_weight=0.0, augmentation="none")
    train_generator(picture_folder, tmp_path / "small", small, 4, report=lambda line: None)
    table = {**CHANNELS, 64: 4}
    large = dataclasses.replace(small, resolution=64, channels=table, discriminator_channels=table)
    bundle = tmp_path / "small" / "bundle"
    assert train_generator(picture_folder, tmp_path / "large", large, 4, source=bundle, report=lambda line: None)
    assert load_bundle(tmp_path / "large" / "bundle").config.generator.resolution == 64
    other = dataclasses.replace(large, channels={**table, 4: 9})
    assert "another shape" in refusal(train_generator, picture_folder, tmp_path / "other", other, 4, source=bundle)


def test_frozen_blocks_of_the_discriminator_stay_as_they_are(pictures):
    trainer = GeneratorTrainer(dataclasses.replace(TINY, frozen_blocks=2), pictures)
    before = copy.deepcopy(trainer.discriminator.state_dict())
    for _ in range(2):
        trainer.step()
    frozen = ("from_rgb.", "blocks.0.", "blocks.1.")
    moved = {name for name, value in trainer.discriminator.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith(frozen) for name in moved)
    assert any(name.startswith("blocks.2.") for name in moved)


def test_curves_become_event_files(tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"
    (run / "attempt1").mkdir(parents=True)
    for folder in (run, run / "attempt1"):
        (folder / loop.METRICS_FILE).write_text('{"pictures": 8, "area": 0.5}\n{"pictures": 16, "area": 0.25}\n{"pic')
    loop.write_events(run)
    loop.write_events(run)  # anew, not twice
    for folder in (run / "curves", run / "curves/attempt1"):
        found = reading.EventAccumulator(str(folder))
        found.Reload()
        assert [(event.step, event.value) for event in found.Scalars("area")] == [(8, 0.5), (16, 0.25)]
