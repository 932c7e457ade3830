"""Winograd's convolution against the plain one, which is the definition."""

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as some
from test_convolution import assert_near

from l4f_plugin.networks import convolution, winograd
from l4f_plugin.networks.convolution import modulated_convolution
from l4f_plugin.networks.winograd import winograd_convolution

# Largest error, as a part of the largest output. Maps kept in bfloat16 are rounded twice, the sums are not.
TOLERANCES = {torch.float32: 3e-5, torch.bfloat16: 0.01}


def operands(samples: int, channels: int, outputs: int, height: int, width: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(channels + outputs)
    shapes = [(samples, channels, height, width), (samples, channels), (outputs, channels, 3, 3)]
    x, style, weight = (torch.randn(shape, generator=random) for shape in shapes)
    return [x.contiguous(memory_format=torch.channels_last), style, weight]


def plain(x: torch.Tensor, style: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(x.double() * style.double()[:, :, None, None], weight.double(), padding=1)


@settings(max_examples=40)
@given(
    samples=some.integers(1, 3),
    channels=some.integers(1, 9),
    outputs=some.integers(1, 9),
    height=some.integers(1, 12).map(lambda count: 4 * count),
    width=some.integers(1, 12).map(lambda count: 4 * count),
    dtype=some.sampled_from(list(TOLERANCES)),
    tiles_per_channel=some.integers(1, 8),
)
def test_equals_the_plain_convolution(samples, channels, outputs, height, width, dtype, tiles_per_channel):
    x, style, weight = operands(samples, channels, outputs, height, width)
    x = x.to(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "TILES_PER_CHANNEL", tiles_per_channel)
        y = winograd_convolution(x, style, weight)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert_near(y, plain(x, style, weight), TOLERANCES[dtype])


def test_the_matrices_give_the_convolution_without_rounding():
    tile, taps = torch.randn(6, 6, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    A, B, G = (matrix.double() for matrix in (winograd.A, winograd.B, winograd.G))
    expected = functional.conv2d(tile[None, None], taps[None, None])[0, 0]
    torch.testing.assert_close(A @ ((G @ taps @ G.T) * (B @ tile @ B.T)) @ A.T, expected, atol=1e-5, rtol=1e-5)


def test_large_maps_take_the_fast_way_and_agree_with_the_way_that_has_gradients(monkeypatch):
    calls = []
    fast = winograd_convolution
    monkeypatch.setattr(convolution, "winograd_convolution", lambda *given: calls.append(1) or fast(*given))
    x, style, weight = operands(1, 256, 256, 64, 64)
    weight.requires_grad_(True)
    with_gradient = modulated_convolution(x, style, weight)
    assert with_gradient.requires_grad
    assert not calls
    with torch.no_grad():
        without = modulated_convolution(x, style, weight)
        assert len(calls) == 1
        assert_near(without, with_gradient.detach().double(), TOLERANCES[torch.float32])
        modulated_convolution(x[:, :, :32], style, weight)
        modulated_convolution(x[:, :, :-1], style, weight)
        modulated_convolution(x[:, :8], style[:, :8], weight[:, :8])
        modulated_convolution(x.double(), style.double(), weight.double())
    assert len(calls) == 1


def test_gradients_are_those_of_the_plain_convolution():
    x, style, weight = (operand.double().requires_grad_(True) for operand in operands(2, 3, 2, 4, 4))
    assert torch.autograd.gradcheck(modulated_convolution, (x, style, weight))
    assert torch.autograd.gradgradcheck(modulated_convolution, (x, style, weight))
