"""Two UNets: that of "Learning to See in the Dark" (SID), and that of the bundled models.

SID's has its tensors named as in LED's checkpoints; ours is of residual blocks with added skips.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.nets.network import Shapes, Stage, StagedNetwork, middle_rows
from ledcli.nets.registry import RESUNET, UNET

NEGATIVE_SLOPE = 0.1
"""Slope of the leaky ReLU inside a block."""
START_SCALE = 0.3
"""Scale of a block's last kernel at the start: a block starts near the identity."""


class UNet(StagedNetwork):
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

    def stages(self) -> list[Stage]:
        """Return a stage for each level on the way down and up."""
        stages = [Stage(self._top, (0,), 0, reach=2)]
        for level in range(2, 6):
            stages.append(Stage(partial(self._down, level), (level - 1,), level - 1, reach=2))
        for level in range(6, 10):
            inputs = level - 1, 10 - level
            stages.append(Stage(partial(self._up, level), inputs, 9 - level, reach=2))
        return [*stages[:-1], stages[-1].then(self._leave, reach=0)]

    def _top(self, x: Tensor) -> Tensor:
        return self._convolve("conv1_2", self._enter(x))

    def _down(self, level: int, h: Tensor) -> Tensor:
        return self._double(level, F.max_pool2d(h, 2))

    def _up(self, level: int, h: Tensor, skip: Tensor) -> Tensor:
        return self._double(level, torch.cat((self.get_submodule(f"upv{level}")(h), skip), 1))

    def _double(self, level: int, h: Tensor) -> Tensor:
        return self._convolve(f"conv{level}_2", self._convolve(f"conv{level}_1", h))

    def _convolve(self, name: str, h: Tensor) -> Tensor:
        return self.activation(self.get_submodule(name)(h))


BLOCK_REACH = 2
"""Rows that a block's two convolutions reach."""


class ResidualBlock(nn.Module):
    """``x + second(leaky_relu(first(x)))`` with two 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight *= START_SCALE

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape, less the rows that are not padded."""
        y: Tensor = self.second(F.leaky_relu(self.first(x), NEGATIVE_SLOPE, inplace=True))
        return middle_rows(x, y.shape[2]) + y


class ResizeConv(nn.Conv2d):
    """A 1x1 convolution, then bilinear interpolation to twice the size.

    Unlike a transposed convolution it treats all pixels alike and leaves no pattern of period two
    on smooth areas (Odena et al. 2016, "Deconvolution and checkerboard artifacts"). It needs a
    quarter of the multiplications.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, H, W)`` to ``(N, C_out, 2H, 2W)``."""
        return F.interpolate(super().forward(x), scale_factor=2, mode="bilinear")


class ResUNet(StagedNetwork):
    """Levels of residual blocks; 2x2 convolutions down, one of two ways up, skips added.

    Few channels at the top, where a convolution is bound by memory, and many below, where it is
    bound by the matrix units (models/EXPERIMENTS.md).

    `channels` has those of each level, the top first; `encoder` and `decoder` have the number of
    blocks of each level on the way down and (one level less) up. The way `up` is ``transposed``
    (2x2 transposed convolutions) or ``bilinear`` (`ResizeConv`).

    With a `stride` of 2 the top level has half the size: the first convolution goes there at once,
    and the last makes four pixels of each. All channels then take part in the finest detail, at a
    quarter of the memory traffic.
    """

    architecture = RESUNET

    def __init__(
        self,
        in_planes: int = 4,
        out_planes: int = 4,
        channels: Sequence[int] = (16, 64, 128, 256),
        encoder: Sequence[int] = (1, 2, 2, 4),
        decoder: Sequence[int] = (1, 2, 2),
        up: str = "transposed",
        stride: int = 1,
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise TypeError("stride must be 1 or 2")
        if up not in ("transposed", "bilinear"):
            raise TypeError("up must be transposed or bilinear")
        if not len(channels) == len(encoder) == len(decoder) + 1:
            raise TypeError("encoder needs a number for every level, decoder one less")
        self.architecture = replace(RESUNET, size_multiple=stride * 2 ** len(decoder))
        self.stride = stride
        steps = list(pairwise(channels))
        self.head = nn.Conv2d(in_planes, channels[0], 2 + stride, stride=stride, padding=1)
        self.encoder = nn.ModuleList(map(_blocks, channels, encoder))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in steps)
        self.up: nn.ModuleList = nn.ModuleList(
            ResizeConv(b, a) if up == "bilinear" else nn.ConvTranspose2d(b, a, 2, stride=2)
            for a, b in steps
        )
        self.decoder = nn.ModuleList(map(_blocks, channels[:-1], decoder))
        self.tail = nn.Conv2d(channels[0], out_planes * stride**2, 3, padding=1)

    def _first(self, x: Tensor) -> Tensor:
        if self.stride > 1 and self.head.padding[0] == 0:
            x = middle_rows(x, x.shape[2] - 2)  # as far as the kernel reaches beyond a row's pixels
        return super()._first(x)

    def _leave(self, h: Tensor) -> Tensor:
        return F.pixel_shuffle(super()._leave(h), self.stride)

    def stages(self) -> list[Stage]:
        """Return a stage for each block, with the way into its level before the first."""
        stages: list[Stage] = []
        top = self.stride - 1

        def add(way_in: Stage, blocks: nn.Module) -> int:
            """Add a level's stages; return the number of the last."""
            first, *others = [*blocks.children()] or [nn.Identity()]
            stages.append(way_in.then(first, BLOCK_REACH))
            for block in others:
                stages.append(Stage(block, (len(stages),), way_in.level, BLOCK_REACH))
            return len(stages)

        last = add(Stage(self._enter, (0,), top, reach=1), self.encoder[0])
        skips = []
        for level, down in enumerate(self.down, start=1):
            skips.append(last)
            last = add(Stage(down, (last,), top + level, reach=0), self.encoder[level])
        for level in reversed(range(len(skips))):
            way_in = partial(self._up, level)
            reach = int(isinstance(self.up[level], ResizeConv))
            last = add(Stage(way_in, (last, skips[level]), top + level, reach), self.decoder[level])
        if self.stride > 1:
            return [*stages, Stage(self._leave, (last,), 0, reach=2)]
        return [*stages[:-1], stages[-1].then(self._leave, reach=1)]

    def _up(self, level: int, h: Tensor, skip: Tensor) -> Tensor:
        up: Tensor = self.up[level](h)
        return up + skip


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))
