"""Input forms: what a network is given, and what its output means. Named in the model file.

All map normalised planes ``x`` of ``(N, planes, h, w)``, not multiplied by the ratio, to clean
planes times the ratio; SID's maps them to sRGB. Training, fine-tuning and denoising share them.
With the adaptive form, exposure diffusion refines its own estimate (Wang et al. 2023, Algorithm 2).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.physics import column, electron_scale, poisson, stabilise, unstabilise

LOCAL_MEAN = 5
"""Side of the local mean's window, plane pixels; the mean carries the stabilised signal's size."""
DETAIL_LIMIT = 8.0
"""Soft limit of the detail planes, in standard deviations of the noise."""
LIMITED_AT_START = -6.0
"""Added to the logits that choose the limited detail: at zero a network takes the full detail."""
COLOURS = 3
MASK_START = 3.0
"""Offset of the mask before the sigmoid: it starts at 95 % image. Started at one half, the noise in
the residual hides what is learnt, and a bias moves slowly: 4 dB less after 600 iterations."""
TWO_STEPS_FROM_RATIO = 200.0
"""Ratio from which a second refinement step pays; at 100 it loses more detail than it restores
(tests/benchmarks/results/exposure.md)."""


Net = Callable[[Tensor], Tensor]
"""A network, or what stands for it."""


class FrameParameters(NamedTuple):
    """Ratio, gain and read variance of each frame of a batch, each ``(N,)``."""

    ratio: Tensor
    gain: Tensor
    read_variance: Tensor


class InputForm(ABC):
    """An input form.

    It is applied in three steps, so that a frame can pass through it strip by strip: `encode`,
    `network_input` and, after the network, `decode`.
    """

    unclipped_input = False
    """Whether the network sees what the ratio brings past white."""
    reach = 0
    """Rows that `encode` takes beyond each row of its result."""

    def __init__(self, in_planes: int) -> None:
        self.in_planes = in_planes
        """Planes that the network takes."""

    def __call__(
        self, net: Net, x: Tensor, ratio: Tensor, gain: Tensor, read_variance: Tensor
    ) -> Tensor:
        """Denoise ``(N, planes, h, w)``; the others are ``(N,)``; return clean x times ratio."""
        parameters = FrameParameters(ratio, gain, read_variance)
        signal = self.encode(x, parameters)
        return self.decode(net(self.network_input(signal, parameters)), signal, parameters)

    @abstractmethod
    def encode(self, x: Tensor, parameters: FrameParameters) -> Tensor:
        """Return what the other two steps need of a frame, ``(N, P, h, w)``."""

    @abstractmethod
    def network_input(self, signal: Tensor, parameters: FrameParameters) -> Tensor:
        """Return the planes for the network, ``(N, in_planes, h, w)``."""

    @abstractmethod
    def decode(self, out: Tensor, signal: Tensor, parameters: FrameParameters) -> Tensor:
        """Turn the network's output into clean x times ratio."""


class GainForm(InputForm):
    """LED's form: the network maps ``min(x * ratio, 1)`` to the clean image."""

    def __init__(self, planes: int = 4) -> None:
        super().__init__(planes)

    def encode(self, x: Tensor, parameters: FrameParameters) -> Tensor:
        """Multiply by the ratio; gain and read variance are not used."""
        return x * column(parameters.ratio)

    def network_input(self, signal: Tensor, parameters: FrameParameters) -> Tensor:
        """Clip at white."""
        return signal.clamp_max(1.0)

    def decode(self, out: Tensor, signal: Tensor, parameters: FrameParameters) -> Tensor:
        """Return the output as it is."""
        return out.float()


class StabilisedForm(InputForm):
    """Ours: the network predicts a residual where the noise has unit variance.

    The stabilised planes reach hundreds while their noise is 1, too much for bfloat16. The
    network is therefore given their detail (difference from the local mean, softly limited), the
    local mean (compressed) and the read noise, ``2 planes + 1`` in all, computed in float32; its
    residual is added in float32.

    A network with twice as many outputs also chooses: the sigmoid of the second half is the share
    of the limited detail in what the residual is added to. To cancel an outlier it need not
    reproduce its exact value.
    """

    unclipped_input = True

    reach = LOCAL_MEAN // 2

    def __init__(self, planes: int = 4) -> None:
        super().__init__(2 * planes + 1)

    def encode(self, x: Tensor, parameters: FrameParameters) -> Tensor:
        """Return the stabilised planes and their local means, ``(N, 2 planes, h, w)``."""
        gain, t0 = self._scale(parameters)
        s = stabilise(x / gain, t0)
        return torch.cat((s, local_mean(s)), 1)

    def network_input(self, signal: Tensor, parameters: FrameParameters) -> Tensor:
        """Return limited detail, compressed means and read noise."""
        s, mean = signal.chunk(2, 1)
        return self._input(s, mean, self._scale(parameters)[1])

    def decode(self, out: Tensor, signal: Tensor, parameters: FrameParameters) -> Tensor:
        """Add the residual and invert the transform."""
        gain, t0 = self._scale(parameters)
        s, mean = signal.chunk(2, 1)
        return unstabilise(self._denoised(out, s, mean), t0).mul_(gain * column(parameters.ratio))

    def denoise(self, net: Net, s: Tensor, t0: Tensor) -> Tensor:
        """Denoise stabilised planes ``(N, planes, h, w)``; ``t0`` is ``(N, 1, 1, 1)``."""
        mean = local_mean(s)
        return self._denoised(net(self._input(s, mean, t0)), s, mean)

    @staticmethod
    def _scale(parameters: FrameParameters) -> tuple[Tensor, Tensor]:
        return electron_scale(column(parameters.gain), column(parameters.read_variance))

    @staticmethod
    def _input(s: Tensor, mean: Tensor, t0: Tensor) -> Tensor:
        read = (t0.log() / 4).expand(-1, 1, *s.shape[2:])
        return torch.cat((_limited(s - mean), _asinh(mean), read), 1)

    @staticmethod
    def _denoised(out: Tensor, s: Tensor, mean: Tensor) -> Tensor:
        if out.shape[1] == s.shape[1]:
            return s + out
        residual, logits = out.contiguous().split(s.shape[1], 1)
        detail = s - mean
        share = (logits + LIMITED_AT_START).sigmoid_()
        return torch.addcmul(s + residual, share, detail - _limited(detail), value=-1)


class SrgbForm(GainForm):
    """SID's form (Chen et al. 2018, section 4.1): ``min(x * ratio, 1)`` to an sRGB image.

    The network replaces white balance, demosaicing, colours and the sRGB curve as well. For every
    cell of the mosaic it makes as many pixels in three colours as the cell has: ``3 planes``, which
    `subpixel` arranges. The mosaic must have the standard phase (sensor/cfa.py).
    """

    def __init__(self, planes: int = 4) -> None:
        super().__init__(planes)
        self.out_planes = COLOURS * planes


def subpixel(planes: Tensor) -> Tensor:
    """Arrange the planes of an sRGB image: the sub-pixel layer of Shi et al. (2016).

    Maps ``(..., 12, h, w)``, by colour, then by row and by column in the cell, to
    ``(..., 3, 2h, 2w)``; ``(..., 27, h, w)`` of an X-Trans to ``(..., 3, 3h, 3w)``.
    """
    side = round((planes.shape[-3] / COLOURS) ** 0.5)
    return F.pixel_shuffle(planes, side)


class AdaptiveForm(GainForm):
    """The `gain` form with the adaptive residual layer (Eq. 12).

    The network outputs an image, a residual and one mask plane, ``2 planes + 1`` in all. With
    ``m`` the sigmoid of the mask plus `MASK_START`::

        F(x) = m [image] + (1 - m) [x ratio + residual],  [v] = v clipped to 0..1

    Bright areas have nearly all their signal in the input: there the mask chooses the residual, so
    that a further refinement step does not lose detail.
    """

    def __init__(self, planes: int = 4) -> None:
        super().__init__(planes)
        self.out_planes = 2 * planes + 1

    def decode(self, out: Tensor, signal: Tensor, parameters: FrameParameters) -> Tensor:
        """Blend the image with the sum of the frame and the residual."""
        planes = signal.shape[1]
        image, residual, mask = out.float().split((planes, planes, 1), 1)
        share = (mask + MASK_START).sigmoid()
        return share * _clip(image) + (1 - share) * _clip(signal + residual)


FORMS: dict[str, type[GainForm] | type[StabilisedForm]] = {
    "gain": GainForm,
    "stabilised": StabilisedForm,
}


def form_of(input_form: str, output: str = "planes", planes: int = 4) -> InputForm:
    """Return a model's form, by what its header says of input and output."""
    if output == "adaptive":
        return AdaptiveForm(planes)
    return SrgbForm(planes) if output == "srgb" else FORMS[input_form](planes)


def exposure_schedule(ratio: float, steps: int) -> list[float]:
    """Return the exposure at which each refinement step starts: 1/ratio to 1 in equal factors."""
    if steps < 2:
        return [1 / ratio]
    return [ratio ** (number / (steps - 1) - 1) for number in range(steps)]


def add_photons(
    x: Tensor,
    clean: Tensor,
    exposure: Tensor,
    target: Tensor,
    gain: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Sample the frame at a longer exposure (Eq. 10).

    Adds the photons still missing, drawn for the estimated clean image:
    ``x + gain Poisson((target - exposure) clean / gain)``.

    The frame ``x`` is ``(N, planes, h, w)`` and not multiplied by the ratio; the clean image is at
    the reference's exposure, and the exposures ``(N,)`` are over it. The gain ``(N,)`` is K over
    white - black: the size of one electron.
    """
    k = column(gain)
    missing = column(target - exposure) * clean.clamp_min(0)
    return x + k * poisson(missing / k, generator)


def default_steps(ratio: float) -> int:
    """Return the default number of refinement steps at a ratio."""
    return 2 if ratio >= TWO_STEPS_FROM_RATIO else 1


def refine(
    denoise: Callable[[Tensor, float], Tensor],
    frame: Tensor,
    ratio: float,
    noise: NoiseProfile,
    steps: int,
) -> Tensor:
    """Denoise a frame ``(planes, h, w)`` in refinement steps; the same frame, the same result.

    After each step but the last, the photons of the estimate are added up to the next exposure, on
    the whole frame at once, so that tiles agree where they meet.

    `denoise` maps planes, not multiplied by the ratio, and a ratio to clean planes times the ratio.
    The gain of the noise is the size of one electron. One step is the plain network; at ratio 1 and
    below there is never more than one.
    """
    gain, generator = frame.new_tensor([noise.gain]), torch.Generator(frame.device).manual_seed(0)
    schedule = exposure_schedule(ratio, steps) if ratio > 1 else [1 / ratio]
    clean = denoise(frame, ratio)
    for exposure, target in pairwise(schedule):
        before, after = frame.new_tensor([exposure]), frame.new_tensor([target])
        frame = add_photons(frame[None], clean[None], before, after, gain, generator)[0]
        clean = denoise(frame, 1 / target)
    return clean


def local_mean(s: Tensor, side: int = LOCAL_MEAN) -> Tensor:
    """Mean of planes over an odd window; at the border, over the part of the window inside."""
    sums, reach = F.pad(s, (side // 2,) * 4), (side // 2,) * 2
    rows, cols = (window_sums(F.pad(s.new_ones(n), reach), side, 0) for n in s.shape[-2:])
    return window_sums(window_sums(sums, side, -2), side, -1).mul_(1 / (rows[:, None] * cols))


def window_sums(values: Tensor, side: int, axis: int) -> Tensor:
    """Sum over every window along an axis; the result has ``side - 1`` fewer values there."""
    count = values.shape[axis] - side + 1
    sums = values.narrow(axis, 0, count) + values.narrow(axis, 1, count)
    for first in range(2, side):
        sums += values.narrow(axis, first, count)
    return sums


def _limited(detail: Tensor) -> Tensor:
    """Limit the detail softly to `DETAIL_LIMIT`."""
    return detail / (detail / DETAIL_LIMIT).square_().add_(1).sqrt_()


def _asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine; by log1p, which is several times faster here and as exact."""
    square = x.square()
    ratio = (1 + square).sqrt_().add_(1)
    return torch.log1p(x.abs().add_(square.div_(ratio))).copysign_(x)


def _clip(x: Tensor) -> Tensor:
    """Clip to 0..1, but let the gradient pass: a value outside could not return otherwise."""
    return x + (x.clamp(0, 1) - x).detach()
