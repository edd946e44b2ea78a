"""Input forms: what a network is given, and what its output means. Named in the model file.

All map normalised planes ``x`` of ``(N, planes, h, w)``, not multiplied by the ratio, to clean
planes times the ratio; SID's maps them to sRGB. Training, fine-tuning and denoising share them.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.nets.exposure_diffusion import AdaptiveForm
from ledcli.noise.vst import electron_scale, stabilise, unstabilise

LOCAL_MEAN = 5
"""Side of the local mean's window, plane pixels; the mean carries the stabilised signal's size."""
DETAIL_LIMIT = 8.0
"""Soft limit of the detail planes, in standard deviations of the noise."""
LIMITED_AT_START = -6.0
"""Added to the logits that choose the limited detail: at zero a network takes the full detail."""
COLOURS = 3


class Form(Protocol):
    """An input form."""

    in_planes: int
    """Planes that the network takes."""
    unclipped_input: bool
    """Whether the network sees what the ratio brings past white."""

    def __call__(
        self, net: nn.Module, x: Tensor, ratio: Tensor, gain: Tensor, read_variance: Tensor
    ) -> Tensor:
        """Denoise ``(N, planes, h, w)``; the others are ``(N,)``; return clean x times ratio."""


class GainForm:
    """LED's form: the network maps ``min(x * ratio, 1)`` to the clean image."""

    unclipped_input = False

    def __init__(self, planes: int = 4) -> None:
        self.in_planes = planes

    def __call__(
        self, net: nn.Module, x: Tensor, ratio: Tensor, gain: Tensor, read_variance: Tensor
    ) -> Tensor:
        """Denoise; gain and read variance are not used."""
        out: Tensor = net((x * _column(ratio)).clamp_max(1.0))
        return out.float()


class StabilisedForm:
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

    def __init__(self, planes: int = 4) -> None:
        self.in_planes = 2 * planes + 1

    def __call__(
        self, net: nn.Module, x: Tensor, ratio: Tensor, gain: Tensor, read_variance: Tensor
    ) -> Tensor:
        """Denoise through the stabilised domain."""
        gain, t0 = electron_scale(_column(gain), _column(read_variance))
        s = self.denoise(net, stabilise(x / gain, t0), t0)
        return unstabilise(s, t0) * (gain * _column(ratio))

    def denoise(self, net: nn.Module, s: Tensor, t0: Tensor) -> Tensor:
        """Denoise stabilised planes ``(N, planes, h, w)``; ``t0`` is ``(N, 1, 1, 1)``."""
        mean = local_mean(s)
        detail = s - mean
        limited = detail / (1 + (detail / DETAIL_LIMIT).square()).sqrt()
        read = (t0.log() / 4).expand(-1, 1, *s.shape[2:])
        out: Tensor = net(torch.cat((limited, _asinh(mean), read), 1))
        if out.shape[1] == s.shape[1]:
            return s + out
        residual, logits = out.split(s.shape[1], 1)
        return s - (logits + LIMITED_AT_START).sigmoid() * (detail - limited) + residual


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


_FORMS: dict[str, type[GainForm] | type[StabilisedForm]] = {
    "gain": GainForm,
    "stabilised": StabilisedForm,
}
FORMS: dict[str, Form] = {name: kind() for name, kind in _FORMS.items()}
"""The forms of Bayer planes."""


def form_of(input_form: str, output: str = "planes", planes: int = 4) -> Form:
    """Return a model's form, by what its header says of input and output."""
    if output == "adaptive":
        return AdaptiveForm(planes)
    return SrgbForm(planes) if output == "srgb" else _FORMS[input_form](planes)


def local_mean(s: Tensor) -> Tensor:
    """Mean of planes over the window; at the border, over the part of the window inside."""
    side, reach = LOCAL_MEAN, LOCAL_MEAN // 2
    rows = F.avg_pool2d(s, (side, 1), 1, (reach, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, reach), count_include_pad=False)


def _asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine; by log1p, which is several times faster here and as exact."""
    size, square = x.abs(), x.square()
    return torch.log1p(size + square / (1 + (1 + square).sqrt())).copysign(x)


def _column(per_photo: Tensor) -> Tensor:
    return per_photo.reshape(-1, 1, 1, 1)
