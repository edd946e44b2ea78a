"""A camera's own noise over ISO, as its pairs show it: what a tuned model carries.

Gain and read variance are straight lines over ISO, both in logarithms (ELD, section 3.4): two ISOs
determine a line, which is why LED wants two pairs, of a low ISO and a high one. No torch.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.noise.dark_shading import DarkShading, interpolate_shading, upsample
from ledcli.noise.estimate import NoiseProfile
from ledcli.sensor.layout import LAYOUTS

LARGEST, LARGEST_ISO, LARGEST_SHADING, MOST_NODES, LARGEST_SIDE = 1e3, 1e8, 1.0, 4096, 1 << 20
"""No slope or intercept, ISO, shading (of white), number of nodes or side of a frame is larger: a
file that says so is damaged."""
KEYS = {"isos", "gain", "variance", "shading", "frame"}


class NoiseAtIso(NamedTuple):
    """A camera's noise at one ISO.

    Attributes
    ----------
    profile : NoiseProfile
        Variance over the signal (white - black = 1).
    grid : float32 ``(planes, rows, cols)``
        What black is off by, as in `DarkShading`.
    frame : (h, w)
        Size in plane pixels of the frames that the grid is spread over.
    """

    profile: NoiseProfile
    grid: NDArray[np.float32]
    frame: tuple[int, int]

    def correct_black(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return normalised planes ``(planes, h, w)`` with black where it belongs.

        Of a frame of another size (a crop mode) nobody knows which part of the sensor it is: it
        gets the mean of each plane.
        """
        grid = self.grid
        if planes.shape[1:] != self.frame:
            grid = grid.mean((1, 2), keepdims=True)
        return planes - upsample(grid, planes.shape[1:])


@dataclass(frozen=True)
class CameraNoiseProfile:
    """Lines of one camera; all logarithms are natural.

    Attributes
    ----------
    isos : tuple of floats
        ISOs of the pairs, ascending. The lines hold from the lowest to the highest.
    gain, read_variance : (slope, intercept)
        ``log(gain) = slope * log(iso) + intercept``, and the same for the read variance.
    shading : tuple of DarkShading
        By rising ISO, not always those of the pairs; between two it follows the ISO (PMN, 3.3),
        beyond them it stays.
    frame : (h, w)
        Size of the camera's frames in plane pixels.
    """

    isos: tuple[float, ...]
    gain: tuple[float, float]
    read_variance: tuple[float, float]
    shading: tuple[DarkShading, ...]
    frame: tuple[int, int]

    def __post_init__(self) -> None:
        for isos in (self.isos, tuple(s.iso for s in self.shading)):
            if not isos or not all(0 < i < LARGEST_ISO for i in isos) or _unsorted(isos):
                raise ValueError("the noise lines need ISOs above 0 in rising order")
        for line in (self.gain, self.read_variance):
            if len(line) != 2 or not all(abs(v) <= LARGEST for v in line):
                raise ValueError("a noise line is a slope and an intercept")
        if len(self.frame) != 2 or not all(0 < n <= LARGEST_SIDE for n in self.frame):
            raise ValueError("the noise lines need the size of the camera's frames")
        first = self.shading[0].grid.shape
        counts = [len(layout.colours) for layout in LAYOUTS.values()]
        if len(first) != 3 or first[0] not in counts or not 0 < first[1] * first[2] <= MOST_NODES:
            raise ValueError("the shading of the noise lines has four planes of nodes, or nine")
        for _, grid in self.shading:
            if grid.shape != first or not (np.abs(grid) <= LARGEST_SHADING).all():
                raise ValueError("the shading of the noise lines is beyond all reason")

    @property
    def planes(self) -> int:
        """Planes of the camera's mosaic."""
        return len(self.shading[0].grid)

    def at(self, iso: float | None) -> NoiseAtIso | None:
        """Return the noise at an ISO; None outside the ISOs that the lines hold for."""
        if iso is None or not self.isos[0] <= iso <= self.isos[-1]:
            return None
        place = math.log(iso)
        gain, variance = (
            math.exp(slope * place + intercept)
            for slope, intercept in (self.gain, self.read_variance)
        )
        return NoiseAtIso(
            NoiseProfile(gain, variance), interpolate_shading(self.shading, iso), self.frame
        )

    def to_json(self) -> dict[str, Any]:
        """Return the lines as JSON values."""
        return {
            "isos": list(self.isos),
            "gain": list(self.gain),
            "variance": list(self.read_variance),
            "shading": [
                {"iso": s.iso, "grid": [[[_short(v) for v in r] for r in p] for p in s.grid]}
                for s in self.shading
            ],
            "frame": list(self.frame),
        }

    @classmethod
    def from_json(cls, values: object) -> "CameraNoiseProfile":
        """Make lines of what `to_json` gives; raises ValueError for anything else."""
        if not isinstance(values, dict) or set(values) != KEYS:
            raise ValueError(f"the noise lines need {', '.join(sorted(KEYS))}")
        try:
            rows, cols = _pair(values["frame"])
            return cls(
                isos=_floats(values["isos"]),
                gain=_pair(values["gain"]),
                read_variance=_pair(values["variance"]),
                shading=tuple(
                    DarkShading(_floats([s["iso"]])[0], np.array(s["grid"], np.float32))
                    for s in values["shading"]
                ),
                frame=(int(rows), int(cols)),
            )
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ValueError(f"the noise lines cannot be understood ({error})") from error


def _short(value: np.float32) -> float:
    return float(f"{value:.6g}")


def _unsorted(isos: tuple[float, ...]) -> bool:
    return any(a >= b for a, b in itertools.pairwise(isos))


def _pair(values: Sequence[object]) -> tuple[float, float]:
    first, second = _floats(values)
    return first, second


def _floats(values: Sequence[object]) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or any(isinstance(v, bool | str) for v in values):
        raise TypeError("numbers are missing")
    return tuple(float(v) for v in values)
