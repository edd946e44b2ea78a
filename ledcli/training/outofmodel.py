"""What sensors do that the noise model does not know: columns that differ, hot pixels.

A backbone that has met them leaves less to the OMNR branch, and does well where nobody tunes.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ledcli.noise.physics import on_sensor_lines

COLUMN_SHARE, HOT_SHARE = 0.25, 0.25
"""Shares of frames that have either."""
COLUMN_SCALE = (0.05, 0.6)
"""Standard deviation of a column's value, in standard deviations of a pixel's read noise."""
HOT_DENSITY = (1e-5, 2e-3)
"""Share of pixels that are hot, evenly in its logarithm."""
HOT_SCALE = (4.0, 60.0)
"""Mean excess of a hot pixel, in standard deviations of read noise, evenly in its logarithm."""


@dataclass(frozen=True)
class OutOfModel:
    """What ``N`` frames have of each.

    Attributes
    ----------
    columns : Tensor ``(N,)``
        Standard deviation of a column's value over that of the read noise.
    density, hot : Tensor ``(N,)``
        Share of hot pixels, and their mean excess over the read noise's deviation.
    """

    columns: Tensor
    density: Tensor
    hot: Tensor

    def to(self, device: torch.device | str) -> Self:
        """Return the same on another device."""
        return type(self)(*(getattr(self, f.name).to(device) for f in fields(self)))

    def sample(self, like: Tensor, read: Tensor, generator: torch.Generator) -> Tensor:
        """Draw what is added to frames ``(N, planes, h, w)`` of read noise ``read``, deviations.

        An X-Trans's begin with an even cell.
        """
        added = torch.zeros_like(like)
        if self.columns.any():
            added += on_sensor_lines(like, 1, generator) * _frames(self.columns * read)
        if self.density.any():
            chance = torch.rand(like.shape, generator=generator, device=like.device)
            share = chance / _frames(self.density).clamp_min(1e-9)
            # Of the pixels that are hot the share is even in 0..1: its logarithm is exponential.
            excess = -share.clamp(1e-6, 1.0).log() * _frames(self.hot * read)
            added += torch.where(share < 1, excess, 0.0)
        return added


def draw_out_of_model(count: int, share: float, rng: np.random.Generator) -> OutOfModel:
    """Draw for ``count`` frames; ``share`` scales how many have any."""

    def some(part: float, low: float, high: float) -> Tensor:
        values = np.exp(rng.uniform(np.log(low), np.log(high), count))
        chosen = rng.random(count) < share * part
        return torch.from_numpy(np.where(chosen, values, 0.0).astype(np.float32))

    hot = np.exp(rng.uniform(np.log(HOT_SCALE[0]), np.log(HOT_SCALE[1]), count)).astype(np.float32)
    return OutOfModel(
        some(COLUMN_SHARE, *COLUMN_SCALE), some(HOT_SHARE, *HOT_DENSITY), torch.from_numpy(hot)
    )


def _frames(per_frame: Tensor) -> Tensor:
    return per_frame.reshape(-1, 1, 1, 1)
