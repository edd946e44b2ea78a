"""NAFNet (Chen et al. 2022, "Simple Baselines for Image Restoration"): no activation functions.

Instead, two halves of the channels are multiplied (simple gate), and each channel is scaled by a
1x1 convolution of the means over the whole input (simplified channel attention). Tensors are named
as in published checkpoints.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ledcli.nets.network import ChannelNorm, Network, Shapes, count_blocks
from ledcli.nets.registry import NAFNET

NORM_EPS = 1e-6


class NAFBlock(nn.Module):
    """Two residual halves: gated depthwise convolution with channel attention; gated 1x1s.

    Each is scaled by a learnt factor per channel, ``beta`` and ``gamma``, which starts at zero: a
    fresh block is the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        double = 2 * channels
        self.norm1 = ChannelNorm(channels, NORM_EPS)
        self.conv1 = nn.Conv2d(channels, double, 1)
        self.dwconv2 = nn.Conv2d(double, double, 3, padding=1, groups=double)
        self.sca = nn.Sequential(GlobalMean(), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = ChannelNorm(channels, NORM_EPS)
        self.conv4 = nn.Conv2d(channels, double, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape and type."""
        h = _gate(self.dwconv2(self.conv1(self.norm1(x))))
        x = x + self.conv3(h * self.sca(h)) * self.beta.to(x.dtype)
        h = self.conv5(_gate(self.conv4(self.norm2(x))))
        return x + h * self.gamma.to(x.dtype)


class GlobalMean(nn.Module):
    """The mean over all pixels of the input, however large: summed in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, 1, 1)``."""
        return x.mean((2, 3), keepdim=True, dtype=torch.float32).to(x.dtype)


class NAFNet(Network):
    """Levels of NAF blocks with added skips; with as many output planes as input, a residual net.

    The norms and the global means run in float32 as well.

    The top level has `width` channels, and each level below has twice as many. `encoder` has the
    number of blocks of each level on the way down, the top first, `middle` that at the bottom, and
    `decoder` those on the way up, the lowest level first.
    """

    architecture = NAFNET

    def __init__(
        self,
        in_planes: int = 4,
        out_planes: int = 4,
        width: int = 32,
        encoder: Sequence[int] = (2, 2, 2, 2),
        middle: int = 2,
        decoder: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        if not encoder or len(encoder) != len(decoder):
            raise TypeError("encoder and decoder need a number for every level")
        self.adds_input = in_planes == out_planes
        self.architecture = replace(
            NAFNET, size_multiple=2 ** len(encoder), halo=_reach(encoder, middle, decoder)
        )
        channels = [width << level for level in range(len(encoder) + 1)]
        self.intro = nn.Conv2d(in_planes, width, 3, padding=1)
        self.encoders = nn.ModuleList(map(_blocks, channels[:-1], encoder))
        self.downs = nn.ModuleList(
            nn.Sequential(OrderedDict(downconv=nn.Conv2d(c, 2 * c, 2, stride=2)))
            for c in channels[:-1]
        )
        self.middle_blks = _blocks(channels[-1], middle)
        self.ups = nn.ModuleList(
            nn.Sequential(
                OrderedDict(upconv=nn.Conv2d(c, 2 * c, 1, bias=False), shuffle=nn.PixelShuffle(2))
            )
            for c in reversed(channels[1:])
        )
        self.decoders = nn.ModuleList(map(_blocks, reversed(channels[:-1]), decoder))
        self.ending = nn.Conv2d(width, out_planes, 3, padding=1)

    @classmethod
    def published_arguments(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the width off the first layer, and the blocks off the tensors' names."""
        levels = range(count_blocks(shapes, r"downs\.(\d+)\."))
        return {
            "width": shapes["intro.weight"][0],
            "encoder": [count_blocks(shapes, rf"encoders\.{level}\.(\d+)\.") for level in levels],
            "middle": count_blocks(shapes, r"middle_blks\.(\d+)\."),
            "decoder": [count_blocks(shapes, rf"decoders\.{level}\.(\d+)\.") for level in levels],
        }

    def _inner(self, h: Tensor) -> Tensor:
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            h = blocks(h)
            skips.append(h)
            h = down(h)
        h = self.middle_blks(h)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            h = blocks(up(h) + skips.pop())
        return h


def _reach(encoder: Sequence[int], middle: int, decoder: Sequence[int]) -> int:
    """Plane pixels that the convolutions reach: one per block, at its level's scale."""
    counts = [a + b for a, b in zip(encoder, reversed(decoder), strict=True)] + [middle]
    pixels = sum(count << level for level, count in enumerate(counts))
    # First and last layer; the other pixels of a cell at the lowest level.
    return pixels + 2 + (1 << len(encoder)) - 1


def _gate(x: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    return first * second


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(NAFBlock(channels) for _ in range(count)))
