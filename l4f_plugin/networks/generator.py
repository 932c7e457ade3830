"""StyleGAN2 generator with skip connections (configurations E and F of Karras et al. 2020).

Two things are added to the published network, both needed by Labels4Free (Abdal et al. 2021):

* ``synthesis`` also returns the feature maps that the alpha network reads;
* a gate per sample switches the object off, so that subjects and backgrounds run as one batch.

Modulation is applied to the activations instead of the weights: with style s, weight W and demodulation d the
published W'_oi = d_o W_oi s_i is a diagonal scaling on either side of one convolution shared by the whole batch,
which is the same sum and several times as fast as one weight per sample. How a convolution is computed is decided in
``convolution.py``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..architecture import GeneratorConfig
from .convolution import doubling_convolution, modulated_convolution
from .ops import ACTIVATION_GAIN, Linear, fir_filter, fir_upsample, leaky_relu_, normalise_second_moment
from .prepared import prepared
from .winograd import LEAST_SIDE

MAPPING_LEARNING_RATE_MULTIPLIER = 0.01
OnStep = Callable[[], None]
SAMPLES_AT_ONCE = 4  # of large maps on a CPU, so that a run can be cancelled soon; fewer cost a tenth of the speed


@dataclass
class SynthesisOutput:
    """``image [N, 3, R, R]`` in about [-1, 1] and the ``features`` the alpha network reads, coarse to fine."""

    image: Tensor
    features: list[Tensor]


class MappingNetwork(nn.Module):
    """z ``[N, latent_dim]`` to w ``[N, style_dim]``."""

    def __init__(self, latent_dim: int, style_dim: int, num_layers: int):
        super().__init__()
        sizes = [latent_dim] + [style_dim] * num_layers
        self.layers = nn.ModuleList(
            Linear(i, o, learning_rate_multiplier=MAPPING_LEARNING_RATE_MULTIPLIER, activate=True)
            for i, o in zip(sizes[:-1], sizes[1:], strict=True)
        )

    def forward(self, z: Tensor) -> Tensor:
        w = normalise_second_moment(z)
        for layer in self.layers:
            w = layer(w)
        return w


class StyledConvolution(nn.Module):
    """Modulated, demodulated 3x3 convolution, noise, bias, leaky ReLU; optionally doubles the resolution."""

    def __init__(
        self, in_channels: int, out_channels: int, style_dim: int, resolution: int, upsample: bool, clamp: float | None
    ):
        super().__init__()
        self.modulation = Linear(style_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))
        self.weight_scale = 1.0 / math.sqrt(in_channels * 9)
        self.upsample = upsample
        self.clamp = clamp

    def forward(
        self, x: Tensor, w: Tensor, noise: Tensor | None, on_step: OnStep = lambda: None, memory: Tensor | None = None
    ) -> Tensor:
        """``x [N, I, h, w]``, style ``w [N, style_dim]`` float32, ``noise [N or 1, 1, H, W]`` -> ``[N, O, H, W]``.

        The result lies in ``memory`` where it is given. ``on_step`` is called at the start, and within the work on
        large maps: see ``_goes_in_parts``.
        """
        on_step()
        if self._goes_in_parts(x):
            height, width = (side * (2 if self.upsample else 1) for side in x.shape[2:])
            y = x.new_empty(len(x), height, width, self.weight.shape[0]).permute(0, 3, 1, 2)
            for first in range(0, len(x), SAMPLES_AT_ONCE):
                part = slice(first, first + SAMPLES_AT_ONCE)
                own_noise = noise if noise is None or len(noise) == 1 else noise[part]
                self(x[part], w[part], own_noise, on_step, y[part])
            return y
        style = self.modulation(w) * self.weight_scale  # [N, I]
        # d_o = 1 / sqrt(sum_i,k (W_oik s_i)^2 + 1e-8), paper equation 3, in float32 whatever the maps are kept in.
        weight_energy = prepared(self.weight, "energy", lambda w: w.float().square().sum(dim=(2, 3)))  # [O, I]
        demodulation = torch.rsqrt(style.square() @ weight_energy.t() + 1e-8)  # [N, O]
        if x.dtype == torch.float16:
            # The maximum of each style moves behind the convolution, so that float16 sums cannot overflow.
            largest = style.abs().amax(dim=1, keepdim=True).clamp_min(1e-8)
            style, demodulation = style / largest, demodulation * largest
        if self.upsample:
            x = doubling_convolution(x * _per_channel(style, x), self.weight)  # [N, O, 2h + 1, 2w + 1]
            x = fir_filter(x, padding=1, gain=4.0)  # [N, O, 2h, 2w]
        else:
            x = modulated_convolution(x, style, self.weight, on_step)
        # The gain of the activation is folded into the three terms before it: lrelu(g x) = g lrelu(x).
        bias = (self.bias.float() * ACTIVATION_GAIN).to(x.dtype).view(1, -1, 1, 1)
        # In place, here if no gradient needs x: large maps cost more to allocate than to compute.
        memory = x if memory is None and not torch.is_grad_enabled() else memory
        x = torch.addcmul(bias, x, _per_channel(demodulation * ACTIVATION_GAIN, x), out=memory)
        if noise is not None:
            x = x.add_((noise * (self.noise_strength * ACTIVATION_GAIN)).to(x.dtype))
        x = leaky_relu_(x)
        return x if self.clamp is None else torch.clamp(x, -self.clamp, self.clamp, out=memory)

    def _goes_in_parts(self, x: Tensor) -> bool:
        """Whether this is a large batch of large maps, over which a CPU takes long; gradients want it whole."""
        side = x.shape[2] * (2 if self.upsample else 1)
        large = len(x) > SAMPLES_AT_ONCE and side >= LEAST_SIDE
        return large and x.device.type == "cpu" and not torch.is_grad_enabled()


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels, without demodulation."""

    def __init__(self, in_channels: int, style_dim: int, clamp: float | None):
        super().__init__()
        self.modulation = Linear(style_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_scale = 1.0 / math.sqrt(in_channels)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``x [N, I, H, W]``, ``w [N, style_dim]`` -> float32 ``[N, 3, H, W]``."""
        # Three outputs only: a weight per sample costs less here than scaling the whole map.
        weight = self.weight.flatten(1) * (self.modulation(w) * self.weight_scale).unsqueeze(1)  # [N, 3, I]
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # [N, H*W, I], a view of channels_last memory
        rgb = torch.bmm(rows, weight.to(x.dtype).transpose(1, 2)).float() + self.bias.float()  # [N, H*W, 3]
        rgb = rgb.view(x.shape[0], x.shape[2], x.shape[3], 3).permute(0, 3, 1, 2)
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


class SynthesisNetwork(nn.Module):
    """W+ codes to pictures and feature maps."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        channels, clamp = config.channels, config.conv_clamp
        self.constant = nn.Parameter(torch.randn(1, channels[4], 4, 4))
        self.convolutions = nn.ModuleList(
            [StyledConvolution(channels[4], channels[4], config.style_dim, 4, upsample=False, clamp=clamp)]
        )
        self.to_rgb = nn.ModuleList([ToRGB(channels[4], config.style_dim, clamp)])
        for resolution in config.resolutions[1:]:
            coarse, fine = channels[resolution // 2], channels[resolution]
            self.convolutions.extend(
                [
                    StyledConvolution(coarse, fine, config.style_dim, resolution, upsample=True, clamp=clamp),
                    StyledConvolution(fine, fine, config.style_dim, resolution, upsample=False, clamp=clamp),
                ]
            )
            self.to_rgb.append(ToRGB(fine, config.style_dim, clamp))
        # Set from outside to run the maps in half precision; styles, RGB and noise strengths stay float32.
        self.feature_dtype = torch.float32

    def forward(
        self,
        w_plus: Tensor,
        noise: str | Sequence[Tensor] = "stored",
        object_gate: Tensor | None = None,
        background_tensor: Tensor | None = None,
        on_step: OnStep = lambda: None,
    ) -> SynthesisOutput:
        """Draw pictures.

        Args:
            w_plus: ``[N, num_styles, style_dim]`` float32.
            noise: ``"stored"`` (the maps kept with the weights), ``"none"``, or one tensor ``[N or 1, 1, h, w]`` for
                each convolution.
            object_gate: ``[N]`` in [0, 1]; 1 draws the object, 0 switches it off (section 3.2 of Labels4Free).
                None draws all objects.
            background_tensor: ``[1, C, 4, 4]`` that takes the place of what the gate switches off; zeros when None.
            on_step: called before each convolution and within those that take a CPU long, so that a run can be
                cancelled soon.
        """
        config, dtype = self.config, self.feature_dtype
        noise_maps = self._noise_maps(noise)
        x = self.constant.to(dtype).expand(w_plus.shape[0], -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        if config.object_switch == "constant":
            x = _switch(x, object_gate, background_tensor)
        x = self.convolutions[0](x, w_plus[:, 0], noise_maps[0], on_step)
        if config.object_switch == "first_convolution":
            x = _switch(x, object_gate, background_tensor)
        rgb = self.to_rgb[0](x, w_plus[:, 1])
        features = []
        for block, resolution in enumerate(config.resolutions[1:]):
            first = 2 * block + 1  # the index of this block's first convolution and of its style
            outputs = []
            for index in (first, first + 1):
                x = self.convolutions[index](x, w_plus[:, index], noise_maps[index], on_step)
                outputs.append(x)
            rgb = fir_upsample(rgb) + self.to_rgb[block + 1](x, w_plus[:, first + 2])
            if resolution in config.feature_resolutions:
                features += outputs
        return SynthesisOutput(rgb, features)

    def _noise_maps(self, noise: str | Sequence[Tensor]) -> Sequence[Tensor | None]:
        if isinstance(noise, str):
            if noise == "stored":
                return [convolution.noise for convolution in self.convolutions]
            if noise == "none":
                return [None] * len(self.convolutions)
            raise ValueError(f"noise must be 'stored', 'none' or a list of tensors, not {noise!r}")
        if len(noise) != len(self.convolutions):
            raise ValueError(f"noise needs {len(self.convolutions)} tensors, one a convolution, not {len(noise)}")
        return noise


class Generator(nn.Module):
    """Mapping and synthesis together. ``latent_avg [style_dim]`` is the mean of w, towards which truncation pulls."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config.latent_dim, config.style_dim, config.mapping_layers)
        self.synthesis = SynthesisNetwork(config)
        self.register_buffer("latent_avg", torch.zeros(config.style_dim), persistent=False)

    def truncate(self, w: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None) -> Tensor:
        """Repeat ``w [N, style_dim]`` for every layer and pull it towards ``latent_avg``.

        ``truncation_psi`` 1 changes nothing, 0 gives the mean; layers from ``truncation_cutoff`` on are left as
        they are. Returns ``[N, num_styles, style_dim]``.
        """
        w_plus = w.unsqueeze(1).repeat(1, self.config.num_styles, 1)
        truncated = torch.lerp(self.latent_avg.to(w_plus), w_plus[:, :truncation_cutoff], truncation_psi)
        return torch.cat([truncated, w_plus[:, truncated.shape[1] :]], dim=1)

    def forward(self, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
        """z ``[N, latent_dim]`` to images ``[N, 3, R, R]`` with stored noise, float32, in about [-1, 1]."""
        return self.synthesis(self.truncate(self.mapping(z), truncation_psi)).image

    @torch.no_grad()
    def estimate_latent_avg(self, samples: int = 100_000, seed: int = 0) -> Tensor:
        """Mean of w over ``samples`` random z with a fixed seed: ``[style_dim]``."""
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros(self.config.style_dim, dtype=torch.float64)
        for start in range(0, samples, 10_000):
            z = torch.randn(min(10_000, samples - start), self.config.latent_dim, generator=generator)
            total += self.mapping(z.to(self.latent_avg.device)).double().sum(dim=0).cpu()
        return (total / samples).float()


def mix_styles(first: Tensor, second: Tensor, crossover: Tensor) -> Tensor:
    """Style mixing: sample n takes layers before ``crossover[n]`` from ``first``, the others from ``second``.

    ``first, second [N, L, style_dim]``, ``crossover [N]`` integers in [0, L].
    """
    layer = torch.arange(first.shape[1], device=first.device)
    return torch.where((layer < crossover.unsqueeze(1)).unsqueeze(2), first, second)


def _per_channel(factors: Tensor, x: Tensor) -> Tensor:
    return factors.to(x.dtype)[:, :, None, None]


def _switch(x: Tensor, object_gate: Tensor | None, background_tensor: Tensor | None) -> Tensor:
    """``x`` where the gate is 1, ``background_tensor`` (or zeros) where it is 0."""
    if object_gate is None:
        return x
    gate = object_gate.to(x.dtype).view(-1, 1, 1, 1)
    if background_tensor is None:
        return x * gate
    return x * gate + background_tensor.to(x.dtype) * (1 - gate)
