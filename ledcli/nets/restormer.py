"""Restormer (Zamir et al. 2022): a transformer whose attention is between channels.

In every head the attention is the cosine between the maps of two channels, over the whole input
("transposed attention"): its cost grows with the number of pixels, not with its square. Tensors are
named as in published checkpoints.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.nets.network import ChannelNorm, Network, Shapes, count_blocks
from ledcli.nets.registry import RESTORMER

NORM_EPS = 1e-5
EXPANSION = 2.66
"""Channels inside a feed-forward part, over its own (Restormer, section 4)."""
MIN_NORM = 1e-12
"""Keeps the cosine of a silent channel at 0."""


class ChannelAttention(nn.Module):
    """Attention between the channels of a head, over all pixels (section 3.1)."""

    def __init__(self, channels: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.qkv_dwconv = _depthwise(3 * channels)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        heads = self.qkv_dwconv(self.qkv(x)).chunk(3, 1)
        query, key, value = (t.unflatten(1, (self.heads, -1)).flatten(3) for t in heads)
        weights = self.weights(query, key).to(value.dtype)
        return self.project_out((weights @ value).reshape(x.shape))

    def weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Map two ``(N, heads, C/heads, HW)`` to ``(N, heads, C/heads, C/heads)``, in float32."""
        with torch.autocast(query.device.type, enabled=False):
            query, key = query.float(), key.float()
            # By sums of squares, not norm(): that is slow across channels_last memory.
            rows, columns = (
                each.square().sum(-1, keepdim=True).sqrt().clamp_min(MIN_NORM)
                for each in (query, key)
            )
            cosines = query @ key.transpose(-2, -1) / rows / columns.transpose(-2, -1)
            return (cosines * self.temperature.float()).softmax(-1)


class FeedForward(nn.Module):
    """One half of the channels, after a GELU, gates the other (section 3.2)."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        hidden = int(channels * EXPANSION)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv = _depthwise(2 * hidden)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        gate, passed = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(F.gelu(gate) * passed)


class TransformerBlock(nn.Module):
    """``x + attention(norm(x))``, then ``x + feed_forward(norm(x))``."""

    def __init__(self, channels: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.norm1 = _norm(channels)
        self.attn = ChannelAttention(channels, heads, bias)
        self.norm2 = _norm(channels)
        self.ffn = FeedForward(channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape and type."""
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Restormer(Network):
    """Four levels of transformer blocks; with as many output planes as input, a residual network.

    The norms and the attention weights run in float32 as well.

    The top level has `width` channels, an even number, and each level below has twice as many.
    `blocks` has the number of blocks of each of the four levels, the same on the way down and up;
    `refinement` blocks follow at full size. `biased`: the convolutions that RepNR replaces have a
    bias. Published ones have none; folding gives them one, for the shift of the CSA.
    """

    architecture = RESTORMER

    def __init__(
        self,
        in_planes: int = 4,
        out_planes: int = 4,
        width: int = 32,
        blocks: Sequence[int] = (2, 2, 2, 2),
        refinement: int = 1,
        biased: bool = False,
    ) -> None:
        super().__init__()
        if width % 2 or len(blocks) != 4 or min(blocks) < 1:
            raise TypeError("width must be even, and each of four levels has a block or more")
        self.adds_input = in_planes == out_planes
        self.architecture = replace(RESTORMER, halo=_reach(blocks, refinement))
        one, two, three, four = (width << level for level in range(4))

        def level(channels: int, number: int, count: int) -> nn.Sequential:
            heads = 1 << number
            return nn.Sequential(*(TransformerBlock(channels, heads, biased) for _ in range(count)))

        self.patch_embed = nn.Sequential(
            OrderedDict(proj=nn.Conv2d(in_planes, one, 3, padding=1, bias=biased))
        )
        self.encoder_level1 = level(one, 0, blocks[0])
        self.down1_2 = _resample(one, True, biased)
        self.encoder_level2 = level(two, 1, blocks[1])
        self.down2_3 = _resample(two, True, biased)
        self.encoder_level3 = level(three, 2, blocks[2])
        self.down3_4 = _resample(three, True, biased)
        self.latent = level(four, 3, blocks[3])
        self.up4_3 = _resample(four, False, biased)
        self.reduce_chan_level3 = nn.Conv2d(2 * three, three, 1, bias=biased)
        self.decoder_level3 = level(three, 2, blocks[2])
        self.up3_2 = _resample(three, False, biased)
        self.reduce_chan_level2 = nn.Conv2d(2 * two, two, 1, bias=biased)
        self.decoder_level2 = level(two, 1, blocks[1])
        self.up2_1 = _resample(two, False, biased)
        # At the top the channels stay doubled after the skip.
        self.decoder_level1 = level(2 * one, 0, blocks[0])
        self.refinement = level(2 * one, 0, refinement)
        self.output = nn.Conv2d(2 * one, out_planes, 3, padding=1, bias=False)

    @classmethod
    def published_arguments(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the width off the first layer, and the blocks off the tensors' names."""
        levels = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
        arguments: dict[str, Any] = {
            "width": shapes["patch_embed.proj.weight"][0],
            "blocks": [count_blocks(shapes, rf"{level}\.(\d+)\.") for level in levels],
            "refinement": count_blocks(shapes, r"refinement\.(\d+)\."),
        }
        if "patch_embed.proj.bias" in shapes:
            arguments["biased"] = True
        return arguments

    def _inner(self, h: Tensor) -> Tensor:
        one = self.encoder_level1(h)
        two = self.encoder_level2(self.down1_2(one))
        three = self.encoder_level3(self.down2_3(two))
        h = self.latent(self.down3_4(three))
        h = self.reduce_chan_level3(torch.cat((self.up4_3(h), three), 1))
        h = self.decoder_level3(h)
        h = self.reduce_chan_level2(torch.cat((self.up3_2(h), two), 1))
        h = self.decoder_level2(h)
        h = self.decoder_level1(torch.cat((self.up2_1(h), one), 1))
        return self.refinement(h)


def _reach(blocks: Sequence[int], refinement: int) -> int:
    """Plane pixels that the convolutions reach: two per block, at its level's scale."""
    twice = 2 * (blocks[0] + 2 * blocks[1] + 4 * blocks[2])  # on the way down and up
    pixels = 2 * (twice + 8 * blocks[3] + refinement)
    # First and last layer; three 3x3 on the way down (1, 2, 4) and up (2, 4, 8); the other pixels
    # of a cell at the lowest level.
    return pixels + 2 + 7 + 14 + 7


def _resample(channels: int, down: bool, bias: bool) -> nn.Sequential:
    """Make a 3x3 convolution and half the size with twice the channels, or the reverse."""
    out = channels // 2 if down else 2 * channels
    conv = nn.Conv2d(channels, out, 3, padding=1, bias=bias)
    shuffle = nn.PixelUnshuffle(2) if down else nn.PixelShuffle(2)
    return nn.Sequential(OrderedDict(body=nn.Sequential(conv, shuffle)))


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def _norm(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(body=ChannelNorm(channels, NORM_EPS)))
