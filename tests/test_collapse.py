"""Masks that collapse: seen within 100 steps, told, and learned anew from another start."""

import dataclasses

import pytest
import torch
import torch.nn.functional as functional
from bundles import tiny_bundle

from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.errors import UserError
from l4f_plugin.training import loop
from l4f_plugin.training.alpha_training import AlphaTrainer
from l4f_plugin.training.guessing import guess_masks, inversion, spill
from l4f_plugin.training.recipes import AlphaSettings
from l4f_plugin.training.runs import train_alpha

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = AlphaSettings(
    steps=100, batch_size=2, learning_rate=0.3, discriminator_channel_max=8, feature_dtype="float32", r1_interval=1000
)


def discs(count: int = 8, side: int = 32, background: float = -0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [N, 3, S, S] of bright discs that lie apart, and their masks [N, 1, S, S]."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    middles = torch.linspace(0.35, 0.65, count).view(-1, 1, 1) * side
    alpha = (((rows - middles) ** 2 + (columns - side / 2) ** 2).sqrt() < side / 4).float().unsqueeze(1)
    return torch.where(alpha > 0, 0.8, background).expand(-1, 3, -1, -1), alpha


WANTED = {
    "cover everything": lambda images: torch.ones_like(images[:, :1]),
    "cover nothing": lambda images: torch.zeros_like(images[:, :1]),
    "are the same in all pictures": lambda images: discs(1)[1].expand(len(images), -1, -1, -1),
    "hold the background, not the subject": lambda images: 1 - guess_masks(images).round(),
}


@pytest.fixture
def draws_discs(monkeypatch):
    """Trainers whose generator draws discs: the feature maps stay those of the tiny class."""
    original = AlphaTrainer._draw_subjects

    def draw(trainer):
        subject, w, noise = original(trainer)
        rolls = torch.randint(-5, 6, (len(w),), generator=torch.Generator().manual_seed(trainer.rounds)).tolist()
        one = discs(1)[0][0]
        return dataclasses.replace(subject, image=torch.stack([one.roll(by, 1) for by in rolls])), w, noise

    monkeypatch.setattr(AlphaTrainer, "_draw_subjects", draw)


@pytest.mark.parametrize("collapse", WANTED)
def test_each_collapse_is_seen_within_100_steps(draws_discs, collapse):
    trainer = AlphaTrainer(SETTINGS, tiny_bundle())
    for step in range(100):
        images = trainer._draw_subjects()[0].image
        trainer.rounds = step
        mask = WANTED[collapse](images)
        trainer._follow({"area": mask.mean().item(), "undecided": 0.0} | trainer._look(mask, images))
        if trainer.collapsed:
            break
    assert trainer.collapsed == collapse


@pytest.mark.parametrize("background", [-0.5, 0.4])
def test_right_masks_are_no_collapse(draws_discs, background):
    images, masks = discs(background=background)
    trainer = AlphaTrainer(SETTINGS, tiny_bundle())
    near = functional.max_pool2d(masks, 15, stride=1, padding=7)  # an object that all but fills the picture
    for wanted in (masks, near, masks * 0.6 + 0.2):
        for _ in range(150):
            undecided = torch.minimum(wanted, 1 - wanted).mean().item()
            seen = {"area": wanted.mean().item(), "undecided": undecided}
            trainer._follow(seen | trainer._look(wanted, images))
        assert trainer.collapsed is None
    assert inversion(masks, images) == 0 and inversion(1 - masks, images) > 0.5
    assert spill(masks, images) == 0 and spill(near, images) > 0.4 and spill(near * 0 + 1, images) == 1


def test_a_guess_by_the_corners_finds_what_lies_before_a_plain_background():
    images, masks = discs()
    found = guess_masks(images) > 0.5
    both, either = (found & (masks > 0)).sum(), (found | (masks > 0)).sum()
    assert both / either > 0.6
    torch.testing.assert_close(guess_masks(images, images * 0 - 0.5), guess_masks(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("fails", "last"), [(0, "attempt1-corners"), (1, "attempt2-switch")])
def test_a_collapse_is_answered_by_another_start(tiny_bundle_folder, tmp_path, monkeypatch, draws_discs, fails, last):
    """Where earlier attempts want nothing but area, the last keeps the guess it begins with, and limits around it."""
    said = []

    def failing(trainer, alpha, images):
        return alpha.mean() * (-50 if trainer.settings.seed < fails else 0)

    monkeypatch.setattr(AlphaTrainer, "_area_loss", failing)
    settings = dataclasses.replace(SETTINGS, adversarial_weight=0.0, binarisation_weight=0.0, background_share=0.0)
    run = tmp_path / "run"
    assert train_alpha(tiny_bundle_folder, run, settings, report=said.append)
    assert sum("collapsed" in line for line in said) == sum("they cover everything" in line for line in said) == fails
    assert load_bundle(run / "bundle").alpha is not None
    assert [path.name for path in sorted(run.glob("attempt*"))][-1] == last
    bundle = load_bundle(tiny_bundle_folder, with_discriminator=True)
    resumed = AlphaTrainer(dataclasses.replace(settings, seed=fails), bundle)
    sha256 = bundle.config.files["generator.safetensors"].sha256
    resumed.settings = dataclasses.replace(resumed.settings, generator_sha256=sha256)
    assert loop.resume(resumed, run / last)
    least, most = resumed.area_limits
    assert 0 < least < most < 1 and (least, most) != (settings.least_area, settings.most_area)


def test_what_collapses_from_every_start_is_told(tiny_bundle_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(AlphaTrainer, "_area_loss", lambda trainer, alpha, images: 50 * alpha.mean())
    said = []
    settings = dataclasses.replace(SETTINGS, adversarial_weight=0.0, binarisation_weight=0.0, background_share=0.0)
    with pytest.raises(UserError, match="collapsed in 3 attempts"):
        train_alpha(tiny_bundle_folder, tmp_path / "run", settings, report=said.append)
    assert sum("they cover nothing" in line for line in said) == 3
    assert not (tmp_path / "run" / "bundle").exists()


def test_a_run_that_began_as_nothing_goes_on_so(tiny_bundle_folder, tmp_path):
    run = tmp_path / "run"
    (run / "attempt1").mkdir(parents=True)
    settings = dataclasses.replace(SETTINGS, steps=2)
    assert train_alpha(tiny_bundle_folder, run, settings, report=lambda line: None)
    assert (run / "attempt1" / loop.STATE_FILE).exists() and not (run / "attempt1-corners").exists()
