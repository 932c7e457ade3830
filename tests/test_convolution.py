"""Every way of computing a convolution against PyTorch's own operator, which is the definition."""

from functools import partial

import pytest
import torch
import torch.nn.functional as functional

from l4f_plugin import processor
from l4f_plugin.networks import convolution as ways
from l4f_plugin.networks.convolution import (
    DoublingByParities,
    HalvingByParities,
    convolution,
    doubling_convolution,
    modulated_convolution,
)
from l4f_plugin.processor import Bfloat16, bfloat16_is_native
from l4f_plugin.training.updates import fastest_dtype

CPU = torch.device("cpu")
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 0.02}  # largest error, as a part of the largest value


def transposed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)


# The way chosen, the definition and what both are given beside map and weight; shape of the weight, side of the map.
KINDS = {
    "3x3": (convolution, functional.conv2d, {"padding": 1}, (5, 4, 3, 3), 8),
    "halving": (convolution, functional.conv2d, {"stride": 2}, (5, 4, 3, 3), 9),
    "halving of even sides": (convolution, functional.conv2d, {"stride": 2}, (5, 4, 3, 3), 8),
    "doubling": (doubling_convolution, transposed, {}, (5, 4, 3, 3), 6),
    "filter of each channel": (convolution, functional.conv2d, {"padding": 2, "groups": 4}, (4, 1, 4, 4), 8),
}


@pytest.fixture(params=list(Bfloat16), ids=lambda support: support.name)
def support(request, monkeypatch) -> Bfloat16:
    """A processor that computes bfloat16 in this manner."""
    monkeypatch.setattr(ways, "bfloat16_support", lambda: request.param)
    return request.param


def assert_near(value: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert value.shape == expected.shape
    assert (value.double() - expected).abs().max() <= tolerance * expected.abs().max()


def up_to_second_gradients(convolve, x: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    """The output, its gradients, and those of a penalty on the gradient of ``x``, as R1 takes it."""
    x, weight = x.clone().requires_grad_(True), weight.clone().requires_grad_(True)
    y = convolve(x, weight)
    seen = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape).to(y.dtype)
    gradients = torch.autograd.grad((y * seen).sum(), (x, weight), retain_graph=True)
    square = y.float().square() if y.dtype == torch.bfloat16 else y.square()
    [of_square] = torch.autograd.grad(square.sum(), x, create_graph=True)
    second = torch.autograd.grad(of_square.to(torch.float64).square().sum(), (x, weight))
    return [y.detach(), *gradients, *second]


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize("kind", list(KINDS))
def test_value_gradients_and_second_gradients_are_those_of_the_library(kind, dtype, support):
    convolve, definition, options, shape, side = KINDS[kind]
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, side, side, generator=random).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = (torch.randn(shape, generator=random) / 6).to(dtype)
    found = up_to_second_gradients(partial(convolve, **options), x, weight)
    assert all(tensor.dtype == dtype for tensor in found)
    expected = up_to_second_gradients(partial(definition, **options), x.double(), weight.double())
    for number, (value, exact) in enumerate(zip(found, expected, strict=True)):
        assert_near(value, exact, TOLERANCES[dtype] * (1 if number < 3 else 3))


@pytest.mark.parametrize("way, side", [(DoublingByParities, 3), (HalvingByParities, 5)])
def test_parities_have_exact_gradients_twice(way, side):
    random = torch.Generator().manual_seed(0)
    how = {"generator": random, "dtype": torch.float64, "requires_grad": True}
    operands = [torch.randn(shape, **how) for shape in ((2, 2, side, side), (2, 2, 3, 3))]
    assert torch.autograd.gradcheck(way.apply, operands)
    assert torch.autograd.gradgradcheck(way.apply, operands)


def test_a_bias_is_added_in_every_way(support):
    x = torch.randn(1, 3, 5, 5).bfloat16().requires_grad_(True)
    weight, bias = torch.randn(2, 3, 3, 3), torch.randn(2, requires_grad=True)
    y = convolution(x, weight, bias, stride=2)
    assert_near(y.detach(), functional.conv2d(x.double(), weight.double(), bias.double(), stride=2).detach(), 0.02)
    y.sum().backward()
    assert bias.grad.tolist() == [4, 4]


def called(monkeypatch, run) -> set[str]:
    """The ways that ``run`` took, and the precision in which the library was asked."""
    names = set()

    def watch(owner, name, label):
        original = getattr(owner, name)

        def watched(x, *args, **options):
            names.add(label or str(x.dtype).removeprefix("torch."))
            return original(x, *args, **options)

        monkeypatch.setattr(owner, name, watched)

    watch(ways, "winograd_convolution", "winograd")
    watch(DoublingByParities, "apply", "doubling by parities")
    watch(HalvingByParities, "apply", "halving by parities")
    watch(functional, "conv_transpose2d", None)
    watch(functional, "conv2d", None)
    run()
    return names


@pytest.mark.parametrize(
    ("dtype", "support", "expected"),
    [
        (torch.float32, Bfloat16.MATRICES, [{"winograd"}, {"float32"}, {"float32"}]),
        (torch.float64, Bfloat16.MATRICES, [{"float64"}] * 3),
        (torch.bfloat16, Bfloat16.VECTORS, [{"bfloat16"}] * 3),
        (
            torch.bfloat16,
            Bfloat16.MATRICES,
            [{"bfloat16"}, {"bfloat16", "doubling by parities"}, {"bfloat16", "halving by parities"}],
        ),
        (torch.bfloat16, Bfloat16.EMULATED, [{"winograd"}, {"float32"}, {"float32"}]),
    ],
    indirect=["support"],
)
def test_the_way_follows_from_processor_and_precision(dtype, support, expected, monkeypatch):
    x = torch.randn(1, 128, 64, 64).to(dtype).contiguous(memory_format=torch.channels_last)
    weight, style = torch.randn(128, 128, 3, 3), torch.ones(1, 128)
    runs = [
        lambda: modulated_convolution(x, style, weight),
        lambda: doubling_convolution(x[:, :, :8, :8], weight),
        lambda: convolution(x[:, :, :9, :9], weight, stride=2),
    ]
    for run, ways_taken in zip(runs, expected, strict=True):
        with monkeypatch.context() as patch:
            assert called(patch, run) == ways_taken


def test_the_choice_is_fixed_within_a_process(monkeypatch):
    """Neither the batch, nor threads, nor a setting that oneDNN has already read changes it."""

    def choices(samples: int) -> list[bool]:
        chosen = [processor.bfloat16_support()]
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.empty(samples, 128, 64, 64, dtype=dtype)
            chosen += [ways.in_float32(x), ways.by_parities(x)]
            chosen.append(ways.by_winograd(x, torch.empty(samples, 128), torch.empty(128, 128, 3, 3)))
        return chosen

    first = choices(1)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert choices(8) == first


@pytest.mark.parametrize("limit", ["AVX2", "AVX512_CORE", "AVX512_CORE_BF16", "DEFAULT"])
def test_what_onednn_may_not_use_or_an_old_pytorch_cannot_tell_is_not_counted_on(limit, monkeypatch):
    questions = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    for question in questions:
        monkeypatch.setattr(torch.cpu, question, lambda: True, raising=False)
    expected = {"AVX512_CORE_BF16": Bfloat16.VECTORS, "DEFAULT": Bfloat16.MATRICES}.get(limit, Bfloat16.EMULATED)
    assert processor._bfloat16_support.__wrapped__() is expected
    for question in questions:
        monkeypatch.delattr(torch.cpu, question)
    assert processor._bfloat16_support.__wrapped__() is Bfloat16.EMULATED


def test_bfloat16_is_not_chosen_without_onednn():
    with torch.backends.mkldnn.flags(enabled=False):
        assert processor.bfloat16_support() is Bfloat16.EMULATED
        assert not bfloat16_is_native(CPU)
        assert fastest_dtype(CPU) == "float32"
        assert not bfloat16_is_native(torch.device("meta"))
