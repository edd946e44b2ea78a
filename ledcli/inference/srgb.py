"""From a photo straight to a picture, by SID's network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ledcli.nets.srgb import subpixel
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import AnyPhase, to_standard_phase

WHITE = 65535


@dataclass
class Picture:
    """A photo that a network developed, on its way to disk.

    Attributes
    ----------
    picture : uint16 array (h, w, 3)
        sRGB, upright.
    note : mapping
        What was done, for the record in the files.
    """

    photo: RawPhoto
    picture: NDArray[np.uint16]
    note: Mapping[str, object] = field(default_factory=dict)


def picture_of(
    network: Callable[[Tensor], Tensor],
    planes: NDArray[np.float32],
    phase: AnyPhase,
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Make a picture of planes.

    Parameters
    ----------
    network : callable
        Makes of planes ``(4, h, w)`` of first cells a picture's ``(12, h, w)``; 9 and 27 of an
        X-Trans.
    planes : float32 array (4, h, w)
        As `cfa.pack` makes them.
    phase : Phase or XTransPhase
    shape : (H, W)
        Of the mosaic.

    Returns
    -------
    float32 array (H, W, 3)
        sRGB, 0 to 1, in the sensor's orientation.
    """
    frame = torch.from_numpy(np.ascontiguousarray(to_standard_phase(planes, phase), np.float32))
    picture = subpixel(network(frame)).clamp_(0, 1)
    rows = slice(phase.row, phase.row + shape[0])
    cols = slice(phase.col, phase.col + shape[1])
    shown = picture[:, rows, cols].permute(1, 2, 0)
    return shown.contiguous().numpy()


def in_16_bits(picture: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round a picture of 0 to 1."""
    return np.rint(picture * np.float32(WHITE)).astype(np.uint16)
