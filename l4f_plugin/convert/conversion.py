"""Turns published checkpoints into bundles. Nothing in a checkpoint is ever run: see `pickles`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..bundles.bundle import Bundle, load_bundle, save_bundle
from ..bundles.config import ObjectClass, plain_class_name
from ..bundles.fields import CLASS_NAME
from ..bundles.files import check_replaceable
from ..bundles.model_card import write_model_card
from ..errors import UserError, printable
from ..jobs import Report
from ..networks import AlphaNetwork, Generator
from .checkpoint_files import open_checkpoint
from .nvidia_pytorch import is_pytorch, read_pytorch
from .nvidia_tensorflow import is_tensorflow, read_tensorflow
from .rosinality import read_alpha, read_rosinality

LATENT_SAMPLES = 100_000
LATENT_SEED = 0
PUBLISHED_THRESHOLD = 0.9
UNKNOWN_LICENCE = "unknown"


def convert(
    source: Path,
    destination: Path,
    *,
    alpha: Path | None = None,
    described: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    report: Report = lambda message: None,
) -> ObjectClass:
    """Writes the bundle `destination` from a published checkpoint, or from a bundle that gets a new alpha.

    A checkpoint is rosinality's `.pt` or a `.pkl` of NVIDIA's StyleGAN2 programs, told apart by content. `alpha` is a
    Labels4Free checkpoint in either published layout. `described` is what a person says about the class: fields of
    `ObjectClass`, None takes what the source says. The architecture comes from the tensors and the settings recorded
    with them; a mean latent that the source lacks is estimated from 100,000 z with a fixed seed. `dtype` float32 keeps
    every bit, float16 halves the size; `report` is told each step. Raises `UserError`.
    """
    source, destination = Path(source), Path(destination)
    check_replaceable(destination)
    report(f"Reading {source}")
    bundle = load_bundle(source, with_discriminator=True) if source.is_dir() else read_published(source, report)
    bundle.config = _described(bundle.config, described or {}, destination, alpha is not None)
    if alpha is not None:
        report(f"Reading {alpha}")
        bundle.alpha = read_alpha_network(alpha, bundle.generator)
        bundle.background = None  # it was learned together with another alpha network
    report(f"Writing {destination}")
    return save_bundle(bundle, destination, dtype=dtype, model_card=write_model_card(bundle.config))


def read_published(path: Path, report: Report = lambda message: None) -> Bundle:
    """The networks of a published checkpoint of any layout; `report` is told what is left out or estimated."""
    label = printable(path, 300)
    with open_checkpoint(path) as root:
        limit = path.stat().st_size
        if is_tensorflow(root):
            networks = read_tensorflow(root, label, limit, report)
        elif is_pytorch(root):
            networks = read_pytorch(root, label, limit, report)
        else:
            networks = read_rosinality(root, label, limit)
    generator, discriminator, mean = networks
    config = generator.config
    if discriminator is not None and discriminator.config.resolution != config.resolution:
        raise UserError(f"{label} holds a generator and a discriminator of different sizes; get another copy.")
    if mean is None:
        report(f"Estimating the mean latent from {LATENT_SAMPLES:,} samples")
        mean = generator.estimate_latent_avg(LATENT_SAMPLES, LATENT_SEED)
    elif mean.numel() != config.style_dim:
        raise UserError(f"{label} holds a mean latent that does not fit; get another copy.")
    generator.latent_avg = mean.flatten()
    found = ObjectClass("", licence=UNKNOWN_LICENCE, source=f"converted from {printable(path.name)}", generator=config)
    return Bundle(found, generator, discriminator=discriminator)


def read_alpha_network(path: Path, generator: Generator) -> AlphaNetwork:
    """The alpha network of a Labels4Free `.pt`, which must fit the features of `generator`."""
    label = printable(path, 300)
    with open_checkpoint(path) as root:
        network = read_alpha(root, label, path.stat().st_size)
    channels, expected = tuple(layer.in_channels for layer in network.projections), generator.config.feature_channels
    if channels != expected:
        ours, theirs = (", ".join(map(str, table)) for table in (expected, channels))
        raise UserError(
            f"{label} belongs to another generator: it reads features of {theirs} channels, this "
            f"generator has {ours}; choose the alpha network trained on it."
        )
    return network


def _described(config: ObjectClass, said: Mapping[str, Any], destination: Path, with_alpha: bool) -> ObjectClass:
    name = said.get("name") or config.name or plain_class_name(destination.name)
    if not CLASS_NAME.fullmatch(name):
        raise UserError(f"{printable(name)} is no name for a class; use small letters, digits, - and _.")
    changes = {key: value for key, value in said.items() if value is not None}
    changes |= {"name": name, "title": said.get("title") or config.title or name.capitalize()}
    if with_alpha:
        changes.setdefault("alpha_threshold", PUBLISHED_THRESHOLD)
        changes["alpha_origin"] = "imported"  # not to be passed on: see hub/sharing/terms.py
        changes["masks_follow_colours"] = changes["masks_follow_student"] = False
    return replace(config, **changes)
