"""Input forms: what a network is given and what its output means. Named in the model file.

Both forms map normalised planes ``x`` of ``(N, planes, h, w)``, not gained, to clean planes times
the ratio. Training, fine-tuning and denoising all go through here.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.nets.exposure_diffusion import AdaptiveForm
from ledcli.nets.srgb import SrgbForm
from ledcli.noise.outliers import remove_outliers
from ledcli.noise.vst import electron_scale, stabilise, unstabilise

LOCAL_MEAN = 5
"""Side of the window, in plane pixels, whose mean carries the stabilised signal's size."""
DETAIL_LIMIT = 8.0
"""Standard deviations of noise at which the detail planes bend over."""


class Form(Protocol):
    """An input form: how many planes the network takes, and the way in and out."""

    in_planes: int
    unclipped_input: bool
    """Whether the network is given what the ratio brings past white."""

    def __call__(
        self, net: nn.Module, x: Tensor, ratio: Tensor, gain: Tensor, variance: Tensor
    ) -> Tensor:
        """Denoise ``(N, planes, h, w)``; the others are ``(N,)``; return clean x times ratio."""


class GainForm:
    """LED's form: the network maps ``min(x * ratio, 1)`` to the clean image.

    Parameters
    ----------
    planes : int
        Planes of the mosaic; the network takes as many.
    """

    unclipped_input = False

    def __init__(self, planes: int = 4) -> None:
        self.in_planes = planes

    def __call__(
        self, net: nn.Module, x: Tensor, ratio: Tensor, gain: Tensor, variance: Tensor
    ) -> Tensor:
        """Denoise; the noise line is not used."""
        out: Tensor = net((x * _column(ratio)).clamp_max(1.0))
        return out


class StabilisedForm:
    """Ours: the network predicts a residual where the noise has unit variance.

    The stabilised planes reach hundreds while their noise is 1, too much for bfloat16: the
    network is given their detail (difference from the local mean, softly limited), the local mean
    (compressed) and the read noise, made in float32, and its residual is added in float32.

    Parameters
    ----------
    planes : int
        Planes of the mosaic; the network takes ``2 planes + 1``.
    """

    unclipped_input = True

    def __init__(self, planes: int = 4) -> None:
        self.in_planes = 2 * planes + 1

    def __call__(
        self, net: nn.Module, x: Tensor, ratio: Tensor, gain: Tensor, variance: Tensor
    ) -> Tensor:
        """Denoise through the stabilised domain."""
        gain, t0 = electron_scale(_column(gain), _column(variance))
        s = stabilise(x / gain, t0)
        s = self._denoise(net, *remove_outliers(s, _local_mean(s), LOCAL_MEAN), t0)
        return unstabilise(s, t0) * (gain * _column(ratio))

    def denoise(self, net: nn.Module, s: Tensor, t0: Tensor) -> Tensor:
        """Denoise stabilised planes ``(N, planes, h, w)``; ``t0`` is ``(N, 1, 1, 1)``."""
        return self._denoise(net, s, _local_mean(s), t0)

    def _denoise(self, net: nn.Module, s: Tensor, mean: Tensor, t0: Tensor) -> Tensor:
        detail = s - mean
        limited = detail / (1 + (detail / DETAIL_LIMIT).square()).sqrt()
        read = (t0.log() / 4).expand(-1, 1, *s.shape[2:])
        residual: Tensor = net(torch.cat((limited, _asinh(mean), read), 1))
        return s + residual


_KINDS: dict[str, type[GainForm] | type[StabilisedForm]] = {
    "gain": GainForm,
    "stabilised": StabilisedForm,
}
FORMS: dict[str, Form] = {name: kind() for name, kind in _KINDS.items()}
"""Of Bayer planes."""


def form_of(input_form: str, output: str = "planes", planes: int = 4) -> Form:
    """Return a model's form: what its network is given, and what its output means."""
    if output == "adaptive":
        return AdaptiveForm(planes)
    return SrgbForm(planes) if output == "srgb" else _KINDS[input_form](planes)


def _local_mean(s: Tensor) -> Tensor:
    """Mean over the window, one direction after the other; at the border over what there is."""
    side, reach = LOCAL_MEAN, LOCAL_MEAN // 2
    rows = F.avg_pool2d(s, (side, 1), 1, (reach, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, reach), count_include_pad=False)


def _asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine; by log1p, which is several times faster here and as exact."""
    size, square = x.abs(), x.square()
    return torch.log1p(size + square / (1 + (1 + square).sqrt())).copysign(x)


def _column(per_photo: Tensor) -> Tensor:
    return per_photo.reshape(-1, 1, 1, 1)
