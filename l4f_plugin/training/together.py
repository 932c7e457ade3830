"""Several processes that train one network, each on its share of every batch, as ``torchrun`` starts them.

All of them draw the random numbers of the whole batch from one state and keep every N-th row, so that the pictures of
a step, and the state to go on from, are the same for any number of processes. Gradients are averaged. Two processes
give the weights of one with the same whole batch where each has a multiple of four pictures: the discriminator's
minibatch deviation has groups of four. A process that is alone computes as if nothing of this were here.

Where memory is short, a process computes its share in parts, one after the other, by the same rule.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from ..errors import UserError
from ..runtime import choose_device

_PATIENCE = timedelta(days=1)  # the first process draws pictures while the others wait
_part, _parts = 0, 1  # which part of its share this process computes now, of how many


@contextmanager
def team(device: str | None) -> Iterator[torch.device]:
    """Joins the processes that ``torchrun`` started, by nccl on CUDA and gloo elsewhere; the device of this one.

    All but the first are silent.
    """
    place, count = choose_device(device), int(os.environ.get("WORLD_SIZE", "1"))
    if count < 2:
        yield place
        return
    if place.type == "cuda":
        place = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(place)
    # Read later, the module of all_reduce would hold the group: gloo's threads then outlive it and crash at the end.
    from torch.distributed.nn.functional import all_reduce  # noqa: F401

    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_PATIENCE)
    with ExitStack() as silent:
        if not is_first():
            nowhere = silent.enter_context(open(os.devnull, "w", encoding="utf-8"))
            silent.enter_context(redirect_stdout(nowhere))
            silent.enter_context(redirect_stderr(nowhere))
        try:
            yield place
        finally:
            distributed.destroy_process_group()


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this one writes the files and speaks."""
    return size() == 1 or distributed.get_rank() == 0


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process does something, for example makes files, before the others do it too."""
    if not is_first():
        wait()
    try:
        yield
    finally:
        if is_first():
            wait()


def wait() -> None:
    """Until all have come here."""
    if size() > 1:
        distributed.barrier()


def share_of(count: int, parts: int = 1) -> int:
    """How many of ``count`` pictures each process has at a time. Raises ``UserError`` where that is not even."""
    if count % (size() * parts):
        into = f"computed in {parts} parts" if size() == 1 else f"shared among {size()} processes"
        raise UserError(
            f"A batch of {count} pictures cannot be {into}; give a multiple of {size() * parts} with --batch-size."
        )
    return count // (size() * parts)


@contextmanager
def part(number: int, parts: int) -> Iterator[None]:
    """Computes one of so many parts of this process's share, whose rows ``share`` gives then."""
    global _part, _parts
    _part, _parts = number, parts
    try:
        yield
    finally:
        _part, _parts = 0, 1


def shares() -> int:
    """How many shares like the one that is computed now the whole batch has."""
    return size() * _parts


def share(whole: Tensor) -> Tensor:
    """The rows of the whole batch that are computed here and now."""
    first = _part * size() + (distributed.get_rank() if size() > 1 else 0)
    return whole if shares() == 1 else whole[first :: shares()]


def averaged(values: Mapping[str, float]) -> dict[str, float]:
    """The means over all processes."""
    if size() == 1:
        return dict(values)
    means = torch.tensor(
        list(values.values()), dtype=torch.float64, device="cuda" if distributed.get_backend() == "nccl" else "cpu"
    )
    average([means])
    return dict(zip(values, means.tolist(), strict=True))


def any_of(flag: bool) -> bool:
    """Whether it is so in any process, so that all of them stop after the same step."""
    return averaged({"flag": float(flag)})["flag"] > 0


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Puts the means over all processes in the place of tensors, in one message."""
    tensors = list(tensors)
    if size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def share_statistics(network: nn.Module) -> None:
    """Lets the batch normalisations of a new network see the whole batch."""
    if size() > 1:
        for parent in list(network.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.BatchNorm2d:
                    setattr(parent, name, _SharedNormalisation(child.num_features))


class _SharedNormalisation(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all processes. PyTorch's own does so on CUDA only."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        sums = torch.stack([wide.mean(dim=(0, 2, 3)), wide.square().mean(dim=(0, 2, 3))])
        mean, square = distributed.nn.functional.all_reduce(sums) / size()
        variance = square - mean.square()
        count = wide.numel() // wide.shape[1] * size()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (wide * scale.view(-1, 1, 1) + (self.bias - mean * scale).view(-1, 1, 1)).to(x.dtype)
