"""The UNet of "Learning to See in the Dark" (SID); tensors are named as in LED's checkpoints."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.nets.network import Network, Shapes
from ledcli.nets.registry import UNET


class UNet(Network):
    """Five levels, two 3x3 convolutions a level, max pooling down, transposed convolutions up.

    The top level has so many channels, and each level below has twice as many.
    """

    architecture = UNET

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
        # In place: nothing else needs the convolution's output, its backward pass included.
        self.activation = nn.LeakyReLU(UNET.activation_slope, inplace=True)

    @classmethod
    def published_arguments(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the channels off the first layer."""
        return {"channels": shapes["conv1_1.weight"][0]}

    def _pair(self, level: int, before: int, here: int) -> None:
        self.add_module(f"conv{level}_1", nn.Conv2d(before, here, 3, padding=1))
        self.add_module(f"conv{level}_2", nn.Conv2d(here, here, 3, padding=1))

    def _first(self, x: Tensor) -> Tensor:
        return self._convolve("conv1_1", x)

    def _inner(self, h: Tensor) -> Tensor:
        h = self._convolve("conv1_2", h)
        skips = [h]
        for level in range(2, 6):
            h = self._double(level, F.max_pool2d(h, 2))
            skips.append(h)
        skips.pop()
        for level in range(6, 10):
            up = self.get_submodule(f"upv{level}")(h)
            h = self._double(level, torch.cat((up, skips.pop()), 1))
        return h

    def _double(self, level: int, h: Tensor) -> Tensor:
        return self._convolve(f"conv{level}_2", self._convolve(f"conv{level}_1", h))

    def _convolve(self, name: str, h: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.get_submodule(name)(h))
        return activated
