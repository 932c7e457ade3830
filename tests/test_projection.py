"""Inversion: a picture that the class drew is found again, with its mask; what cannot be projected is told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from alike import assert_alike
from bundles import red_finder, tiny_bundle
from PIL import Image
from sentences import refusal
from shell import assert_refused, run

from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.errors import Cancelled
from l4f_plugin.jobs import CancelToken
from l4f_plugin.mask_probe import SIDE, MaskProbe
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.projection import project
from l4f_plugin.provenance import WPlus


@pytest.fixture(scope="module")
def pipeline(tiny_bundle_folder):
    return Labels4FreePipeline(load_bundle(tiny_bundle_folder, with_discriminator=True), device="cpu")


def test_a_drawn_picture_is_found_again_with_its_mask(pipeline, tmp_path):
    [drawn] = pipeline.generate([5], noise_mode="stored", with_background=False)
    seen, previews = [], []
    start = project(pipeline, drawn.picture(), steps=2)
    found = project(
        pipeline, drawn.picture(), steps=80, progress=lambda *step: seen.append(step), preview=previews.append
    )
    assert found.distance < 0.5 * start.distance
    error = np.abs(found.sample.image.astype(int) - drawn.image).mean()
    assert error < np.abs(start.sample.image.astype(int) - drawn.image).mean()
    assert np.abs(found.sample.alpha - drawn.alpha).mean() < np.abs(drawn.alpha.mean() - drawn.alpha).mean()
    assert seen[-1][:2] == (80, 80) and len(previews) == 4 and previews[0].shape == (32, 32, 3)
    found.sample.w_plus.save(tmp_path / "found.safetensors")
    again = pipeline.segment(WPlus.load(tmp_path / "found.safetensors"))
    assert_alike(again.image, found.sample.image)
    swapped = pipeline.swap(found.sample, "#00ff00")
    assert swapped.composite.size == (32, 32)


def test_the_same_again_and_any_shape(pipeline):
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 70, 3), dtype=np.uint8))
    first, second = (project(pipeline, wide, steps=3) for _ in range(2))
    assert first.target.shape == (32, 32, 3) and first.photo.image.shape == (20, 20, 3)
    assert first.photo.alpha.shape == (20, 20)
    assert_alike(first.photo.alpha, second.photo.alpha, steps=3)  # a search adds up the last bits
    assert np.abs(first.sample.w_plus.codes - second.sample.w_plus.codes).mean() < 1e-2


def test_it_stops_when_asked_and_says_what_it_needs(pipeline, tiny_bundle_folder):
    picture, token = Image.new("RGB", (32, 32)), CancelToken()
    with pytest.raises(Cancelled):
        project(pipeline, picture, steps=50, cancel=token, progress=lambda *step: token.cancel())
    assert "no discriminator" in refusal(
        project, Labels4FreePipeline(load_bundle(tiny_bundle_folder), device="cpu"), picture
    )
    assert "number of steps" in refusal(project, pipeline, picture, steps=1)
    bare = load_bundle(tiny_bundle_folder, with_discriminator=True)
    bare.alpha = None
    assert "no masks yet" in refusal(project, Labels4FreePipeline(bare, device="cpu"), picture)
    assert not any(parameter.requires_grad for parameter in pipeline.bundle.generator.parameters())
    assert torch.is_grad_enabled()


def test_the_probe_learns_masks_that_are_a_function_of_the_features():
    def draw(seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        random = torch.Generator().manual_seed(seed)
        fine, coarse = torch.randn(4, 3, 64, 64, generator=random), torch.randn(4, 5, 8, 8, generator=random)
        angle = torch.nn.functional.normalize(coarse, dim=1)[:, 2:3]
        sized = torch.nn.functional.interpolate(angle, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        rows = torch.linspace(-1, 1, SIDE).view(1, 1, SIDE, 1)
        return [fine, coarse], 0.5 + 0.2 * sized + 0.1 * rows**2

    probe = MaskProbe()
    for seed in range(8):
        features, masks = draw(seed)
        probe.add(features, masks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3))
    probe.solve()
    features, masks = draw(9)
    found = probe.mask(features)
    assert found.shape == (4, 1, SIDE, SIDE)
    assert (found - masks).abs().mean() < 0.01


def test_the_command_line_writes_codes_that_can_be_drawn_again(tiny_bundle_folder, tmp_path, capsys):
    Image.new("RGB", (40, 40), (200, 90, 30)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    command = ["project", tiny_bundle_folder, tmp_path, "--device cpu --json --out", tmp_path / "out"]
    said = run(capsys, *command, "--steps 3")
    [first, second] = said.data["pictures"]
    assert said.code == 2 and "not a picture" in second["problem"] and first["problem"] is None
    assert Image.open(first["cutout"]).size == (40, 40) and Image.open(first["projected"]).size == (32, 32)
    again = ["--w-plus", first["w_plus"], "--out", tmp_path / "again", "--device cpu"]
    assert run(capsys, "segment", tiny_bundle_folder, *again).code == 0
    assert_alike(Image.open(tmp_path / "again" / f"{Path(first['w_plus']).stem}.png"), Image.open(first["projected"]))
    assert_refused(run(capsys, *command, "--steps 0"), "The number of steps")


def test_a_class_whose_pictures_are_cropped_is_projected_within_its_crop():
    bundle = tiny_bundle(crop=(4, 28, 0, 32), student=red_finder())
    picture = Image.new("RGB", (64, 48), (230, 40, 40))
    found = project(Labels4FreePipeline(bundle, device="cpu"), picture, steps=3)
    assert found.target.shape == found.sample.image.shape == (24, 32, 3)
    assert found.sample.alpha.shape == (24, 32)
