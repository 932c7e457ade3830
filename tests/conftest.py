"""What several test files share: hypothesis settings and a tiny object class with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Derandomised: a commit passes or fails on every machine alike. No deadline: CI machines stall.
settings.register_profile("l4f", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("l4f")


@pytest.fixture(scope="session")
def tiny_bundle_folder(tmp_path_factory) -> Path:
    """The folder of a 32 px class "tiny" with masks and learned backgrounds. Read only: tests share it."""
    import torch
    from bundles import tiny_bundle

    from l4f_plugin.checkpoints.bundle import save_bundle

    bundle = tiny_bundle(truncation_psi=0.6, alpha_threshold=0.4)
    with torch.no_grad(), torch.random.fork_rng():
        # Untrained networks ignore noise and offsets: tests would pass whatever those are.
        torch.manual_seed(1)
        for convolution in bundle.generator.synthesis.convolutions:
            convolution.noise_strength.fill_(0.3)
        for to_rgb in bundle.generator.synthesis.to_rgb:
            to_rgb.weight.mul_(0.3)  # pictures within the range, so that few pixels are clipped
        torch.nn.init.normal_(bundle.background.style_offset)
        bundle.alpha.output.weight.mul_(4.0)
    folder = tmp_path_factory.mktemp("classes") / "tiny"
    save_bundle(bundle, folder, dtype=torch.float32)
    return folder
