"""The judge: a small supervised U-Net that finds the object in a picture, to measure masks that were learned without
labels. It is trained on pictures whose true masks are known and never takes part in training anything else.

Trained on composites and asked about generated pictures, it must not trust fine texture: the training
pictures are distorted, recoloured, blurred, given noise and block artefacts (`distortion.py`). Two seeds give
two judges, whose agreement on generated pictures is the best a mask can be expected to reach.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ..bundles.training_state import load_training_state, save_training_state
from ..errors import UserError
from ..jobs import Progress, unseen
from ..networks import UNet
from ..training.updates import autocast, fastest_dtype, learning_rate_share
from .distortion import distort
from .labelled import LabelledPictures, fingerprint, load_split

REVISION = 2  # raised when network, training or distortions change, so that older judges are not taken for new ones
BATCH = 32  # pictures that are judged at once
RISE = 0.1  # of the steps, over which the learning rate rises


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge is built and trained. Its files are keyed by these numbers and the data set."""

    resolution: int  # edge of the square pictures in pixels, a multiple of what the deepest stage divides it by
    channels: tuple[int, ...] = (8, 24, 48, 96, 96, 96)  # of the stages at full, 1/2, 1/4, ... resolution
    coarse_steps: int = 1600  # at half resolution, which cost a quarter; at full where half is too small for the stages
    steps: int = 500  # at full resolution, after those
    batch_size: int = 32
    learning_rate: float = 4e-3  # the highest of a one-cycle schedule (AdamW)
    weight_decay: float = 1e-2
    pictures: int = 12_000  # of the training split that are held in memory at most


@torch.no_grad()
def judge_masks(judge: UNet, pictures: np.ndarray) -> np.ndarray:
    """Masks float32 [N, H, W] in [0, 1], foreground from .5, of pictures uint8 [N, H, W, 3] of the judge's size.

    Each is the mean of what the judge sees in the picture and in its mirror image.
    """
    masks = []
    for batch in _batches(judge, pictures):
        mask, mirrored = torch.sigmoid(judge(batch)), torch.sigmoid(judge(batch.flip(-1)))
        masks.append(((mask + mirrored.flip(-1)) / 2)[:, 0].cpu().numpy())
    return np.concatenate(masks)


@torch.no_grad()
def judge_features(judge: UNet, pictures: np.ndarray) -> np.ndarray:
    """Features float32 [N, C], for a Frechet distance, of pictures as `judge_masks` takes them."""
    return np.concatenate([judge.features(batch).cpu().numpy() for batch in _batches(judge, pictures)])


def _batches(judge: UNet, pictures: np.ndarray) -> Iterator[torch.Tensor]:
    device = next(judge.parameters()).device
    return (_as_batch(pictures[at : at + BATCH], device) for at in range(0, len(pictures), BATCH))


def _as_batch(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W] in [0, 1], channels last in memory."""
    batch = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2)
    return (batch.float() / 255).contiguous(memory_format=torch.channels_last)


def train_judge(
    data: LabelledPictures,
    settings: JudgeSettings,
    seed: int,
    device: torch.device | str = "cpu",
    feature_dtype: str | None = None,
    progress: Progress = unseen,
) -> UNet:
    """Trains a judge on labelled pictures at `settings.resolution`, binary cross-entropy against the soft mask.

    The seed decides the first weights, the order of the pictures and their distortions. Convolutions are computed in
    `feature_dtype`, None for the fastest on the device. `progress(done, total, message)` is called after each step.
    """
    device = torch.device(device)
    feature_dtype = feature_dtype or fastest_dtype(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(settings.channels).to(device, memory_format=torch.channels_last).train()
    random = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=settings.weight_decay)
    total = settings.coarse_steps + settings.steps
    coarse_fits = settings.resolution // 2 % network.stride == 0
    for step in range(total):
        rows = torch.randint(len(data.pictures), (settings.batch_size,), generator=random).numpy()
        pictures, masks = _as_batch(data.pictures[rows], device), _as_batch(data.masks[rows][..., None], device)
        if step < settings.coarse_steps and coarse_fits:
            pictures, masks = functional.avg_pool2d(pictures, 2), functional.avg_pool2d(masks, 2)
        pictures, masks = distort(pictures, masks, random)
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * learning_rate_share((step + 1) / total, RISE)
        with autocast(device, feature_dtype):
            logits = network(pictures.contiguous(memory_format=torch.channels_last))
        loss = functional.binary_cross_entropy_with_logits(logits.float(), masks)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        progress(step + 1, total, f"judge of seed {seed}: step {step + 1:4} of {total}, loss {loss.item():.3f}")
    return network.eval()


def judge_path(folder: Path, dataset: Path, settings: JudgeSettings, seed: int) -> Path:
    """Where the judge of this data set, these settings and this seed is kept in `folder`."""
    key = json.dumps([REVISION, fingerprint(dataset), asdict(settings)], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return folder / f"judge-{settings.resolution}-{digest}-seed{seed}.safetensors"


def load_or_train_judge(
    dataset: Path,
    settings: JudgeSettings,
    seed: int,
    folder: Path,
    device: torch.device | str = "cpu",
    progress: Progress = unseen,
) -> UNet:
    """The judge kept in `folder`, or, where there is none or its file is damaged, one trained now and kept there.

    `dataset` is a folder as `labelled.py` describes it. UserError: no such data set, or the disk refuses.
    """
    path = judge_path(folder, dataset, settings, seed)
    with suppress(UserError):  # missing, or cut short or edited, which is as good: training it anew replaces the file
        return load_judge(path, settings, device)
    data = load_split(dataset, "train", settings.resolution, limit=settings.pictures)
    judge = train_judge(data, settings, seed, device, progress=progress)
    save_training_state(path, judge.state_dict(), {"settings": asdict(settings), "seed": seed})
    return judge


def load_judge(path: Path, settings: JudgeSettings, device: torch.device | str = "cpu") -> UNet:
    """Reads what `load_or_train_judge` kept. UserError where the file is missing, damaged or no such judge."""
    tensors, _ = load_training_state(path)
    network = UNet(settings.channels)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path} holds no judge of this version; delete it, and it is trained anew.") from error
    return network.to(device, memory_format=torch.channels_last).eval()
