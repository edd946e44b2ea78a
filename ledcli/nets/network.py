"""The base class of the architectures, and parts that several of them use."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.errors import ModelError
from ledcli.nets.architecture import Architecture

Shapes = Mapping[str, tuple[int, ...]]

MAX_BLOCKS = 64
"""Blocks of a level in a published checkpoint; the known ones have two."""


class Network(nn.Module):
    """A network that maps planes ``(N, in_planes, H, W)`` to float32 ``(N, out_planes, H, W)``."""

    architecture: Architecture
    """Its descriptor, for the arguments that it was built with."""
    activation: nn.Module
    """Set if ``architecture.activation_slope`` is not 1."""

    @classmethod
    def published_arguments(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the arguments, except planes, off a published checkpoint; raises ModelError."""
        raise NotImplementedError


def count_blocks(names: Iterable[str], pattern: str) -> int:
    """Count the blocks that a pattern finds; raises ModelError for a gap in their numbers."""
    found = {match[1] for name in names if (match := re.match(pattern, name))}
    if len(found) > MAX_BLOCKS or found != set(map(str, range(len(found)))):
        raise ModelError(f"has blocks that are not numbered from 0 to {MAX_BLOCKS - 1} at most")
    return len(found)


def inner_type(x: Tensor, weight: Tensor) -> torch.dtype:
    """Return the type of the inner layers: autocast's if it is on, else that of a weight."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel, computed in float32, returned in x's type."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape and type."""
        # torch's kernels sum in float32 whatever the type; autocast would only copy twice more.
        with torch.autocast(x.device.type, enabled=False):
            factors = self.weight.to(x.dtype), self.bias.to(x.dtype)
            normed = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, *factors, self.eps)
        return normed.permute(0, 3, 1, 2)
