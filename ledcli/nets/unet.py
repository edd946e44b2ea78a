"""The UNet of "Learning to See in the Dark" (SID); its tensors are named as LED's are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEGATIVE_SLOPE = 0.2
"""Slope of the leaky ReLU (SID, section 3.3)."""


class UNet(nn.Module):
    """Five levels, two 3x3 convolutions a level, max pooling down, transposed convolutions up.

    The first and the last layer run in float32 whatever the precision in between: the first sees
    signals hundreds of times their noise, and after the last a smooth sky must not band. The
    layers in between run in the type of their weights, or in autocast's.

    Parameters
    ----------
    in_planes, out_planes : int
        Planes of the input (the input form decides) and of the output.
    channels : int
        Channels of the top level; each level below has twice as many.
    """

    size_multiple = 16
    """Height and width of the input must be a multiple of this."""
    float32_layers = ("conv1_1", "conv10_1")
    """Layers that run in float32 whatever the precision of the others."""
    plain_layers = ("conv10_1",)
    """Convolutions that stay plain when the network is converted to RepNR."""
    last_layer = "conv10_1"

    negative_slope = NEGATIVE_SLOPE
    """Every convolution but those of `plain_layers` is followed by a leaky ReLU of this slope; a
    layer with the attribute ``activates`` does that itself."""

    upv9: nn.ConvTranspose2d

    def __init__(self, in_planes: int = 4, out_planes: int = 4, channels: int = 32) -> None:
        super().__init__()
        width = [channels << level for level in range(5)]
        before = in_planes
        for level, here in enumerate(width, start=1):
            self._pair(level, before, here)
            before = here
        for level, here in zip(range(6, 10), reversed(width[:-1]), strict=True):
            self.add_module(f"upv{level}", nn.ConvTranspose2d(2 * here, here, 2, stride=2))
            self._pair(level, 2 * here, here)
        self.conv10_1 = nn.Conv2d(channels, out_planes, 1)

    def _pair(self, level: int, before: int, here: int) -> None:
        self.add_module(f"conv{level}_1", nn.Conv2d(before, here, 3, padding=1))
        self.add_module(f"conv{level}_2", nn.Conv2d(here, here, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_planes, H, W)`` to float32 ``(N, out_planes, H, W)``."""
        with torch.autocast(x.device.type, enabled=False):
            h = self._convolve("conv1_1", x.float())
        h = self._convolve("conv1_2", h.to(self.upv9.weight.dtype))
        skips = [h]
        for level in range(2, 6):
            h = self._double(level, F.max_pool2d(h, 2))
            skips.append(h)
        skips.pop()
        for level in range(6, 10):
            up = self.get_submodule(f"upv{level}")(h)
            h = self._double(level, torch.cat((up, skips.pop()), 1))
        with torch.autocast(x.device.type, enabled=False):
            return self.conv10_1(h.float())

    def _double(self, level: int, h: Tensor) -> Tensor:
        return self._convolve(f"conv{level}_2", self._convolve(f"conv{level}_1", h))

    def _convolve(self, name: str, h: Tensor) -> Tensor:
        layer = self.get_submodule(name)
        h = layer(h)
        if getattr(layer, "activates", False):
            return h
        # In place: the convolution's output is needed by nothing else, its backward included.
        return F.leaky_relu(h, self.negative_slope, inplace=True)
