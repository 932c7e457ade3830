"""Weights kept in the form in which they are read: never those of before, never longer than the weights."""

import gc

import pytest
import torch

from l4f_plugin.networks.convolution import doubling_convolution, modulated_convolution
from l4f_plugin.networks.prepared import _KEPT, prepared


def frozen(*shape: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(shape), requires_grad=False)


def count(weight: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    calls = []
    prepared(weight, "double", lambda given: calls.append(1) or given * 2)
    return calls, prepared(weight, "double", lambda given: calls.append(1) or given * 2)


def test_a_frozen_weight_is_prepared_once_in_each_form():
    weight = frozen(3, 2)
    calls, result = count(weight)
    assert len(calls) == 1
    assert torch.equal(result, weight * 2)
    assert torch.equal(prepared(weight, "half", lambda given: given / 2), weight / 2)


def test_a_weight_that_is_trained_is_prepared_each_time():
    weight = torch.nn.Parameter(torch.randn(3, 2))
    calls, result = count(weight)
    assert len(calls) == 2
    assert result.requires_grad


@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight.add_(1),
        lambda weight: weight.neg_(),
        lambda weight: weight.data.add_(1),
        lambda weight: setattr(weight, "data", weight.data * 3),
        lambda weight: torch._foreach_lerp_([weight], [torch.zeros(3, 2)], 0.5),
    ],
    ids=["in place", "sign", "through data", "other memory", "many at once"],
)
def test_a_change_is_seen(change):
    weight = frozen(3, 2)
    count(weight)
    change(weight)
    _, result = count(weight)
    assert torch.equal(result, weight * 2)


def test_nothing_is_kept_longer_than_the_weight():
    gc.collect()  # what other tests left
    weight = frozen(3, 2)
    before = len(_KEPT)
    count(weight)
    assert len(_KEPT) == before + 1
    del weight
    gc.collect()
    assert len(_KEPT) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_inference_prepared_serves_gradients_too(dtype):
    weight, style = frozen(2, 3, 3, 3), torch.ones(1, 3)
    x = torch.randn(1, 3, 4, 4).to(dtype).contiguous(memory_format=torch.channels_last)
    runs = (lambda x: doubling_convolution(x, weight), lambda x: modulated_convolution(x, style, weight))
    for run in runs:
        with torch.inference_mode():
            first = run(x)
        wanted = x.clone().requires_grad_(True)
        second = run(wanted)
        second.float().sum().backward()
        torch.testing.assert_close(first.clone(), second.detach())
        assert wanted.grad.abs().max() > 0
