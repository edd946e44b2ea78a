"""A camera's noise profile over ISO, measured on its pairs; part of a tuned model. No torch.

Gain and read variance are straight lines over ISO, both in logarithms (ELD, section 3.4). Two ISOs
determine a line, which is why LED needs two pairs: one at a low ISO and one at a high one.
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

MAX_COEFFICIENT, MAX_ISO, MAX_SHADING, MAX_NODES, MAX_SIDE = 1e3, 1e8, 1.0, 4096, 1 << 20
"""Limits for slopes and intercepts, ISOs, shading (of white), nodes and sides of a frame: a file
beyond them is damaged."""
KEYS = {"isos", "gain", "variance", "shading", "frame"}


class NoiseAtIso(NamedTuple):
    """A camera's noise at one ISO.

    Attributes
    ----------
    profile : NoiseProfile
    offsets : float32 ``(planes, rows, cols)``
        Error of the black level, as in `DarkShading`.
    frame : (h, w)
        Size in plane pixels of the frames that the offsets are spread over.
    """

    profile: NoiseProfile
    offsets: NDArray[np.float32]
    frame: tuple[int, int]

    def correct_black(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return normalised planes ``(planes, h, w)`` without the error of the black level.

        A frame of another size (a crop mode) is an unknown part of the sensor: it is corrected by
        the mean of each plane.
        """
        offsets = self.offsets
        if planes.shape[1:] != self.frame:
            offsets = offsets.mean((1, 2), keepdims=True)
        return planes - upsample(offsets, planes.shape[1:])


@dataclass(frozen=True)
class CameraNoiseProfile:
    """The noise of one camera over ISO; all logarithms are natural.

    Attributes
    ----------
    isos : tuple of floats
        ISOs of the pairs, ascending. The profile holds from the lowest to the highest.
    gain, read_variance : (slope, intercept)
        ``log(gain) = slope * log(iso) + intercept``, and the same for the read variance.
    shading : tuple of DarkShading
        By rising ISO, which need not be those of the pairs.
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
            rising = all(a < b for a, b in itertools.pairwise(isos))
            if not isos or not all(0 < iso < MAX_ISO for iso in isos) or not rising:
                raise ValueError("a noise profile needs ISOs above 0 in rising order")
        for line in (self.gain, self.read_variance):
            if len(line) != 2 or not all(abs(v) <= MAX_COEFFICIENT for v in line):
                raise ValueError("a line of a noise profile is a slope and an intercept")
        if len(self.frame) != 2 or not all(0 < n <= MAX_SIDE for n in self.frame):
            raise ValueError("a noise profile needs the size of the camera's frames")
        first = self.shading[0].offsets.shape
        counts = [layout.planes for layout in LAYOUTS.values()]
        if len(first) != 3 or first[0] not in counts or not 0 < first[1] * first[2] <= MAX_NODES:
            raise ValueError("the shading of a noise profile has four planes of nodes, or nine")
        for _, offsets in self.shading:
            if offsets.shape != first or not (np.abs(offsets) <= MAX_SHADING).all():
                raise ValueError("the shading of a noise profile is out of range")

    @property
    def planes(self) -> int:
        """Planes of the camera's mosaic."""
        return len(self.shading[0].offsets)

    def at(self, iso: float | None) -> NoiseAtIso | None:
        """Return the noise at an ISO; None outside the measured ISOs."""
        if iso is None or not self.isos[0] <= iso <= self.isos[-1]:
            return None
        lines = (self.gain, self.read_variance)
        values = (math.exp(slope * math.log(iso) + intercept) for slope, intercept in lines)
        offsets = interpolate_shading(self.shading, iso)
        return NoiseAtIso(NoiseProfile(*values), offsets, self.frame)

    def to_json(self) -> dict[str, Any]:
        """Return the profile as JSON values."""
        return {
            "isos": list(self.isos),
            "gain": list(self.gain),
            "variance": list(self.read_variance),
            "shading": [
                {
                    "iso": s.iso,
                    "grid": [[[float(f"{v:.6g}") for v in r] for r in p] for p in s.offsets],
                }
                for s in self.shading
            ],
            "frame": list(self.frame),
        }

    @classmethod
    def from_json(cls, values: object) -> "CameraNoiseProfile":
        """Read what `to_json` gives; raises ValueError for anything else."""
        if not isinstance(values, dict) or set(values) != KEYS:
            raise ValueError(f"a noise profile needs {', '.join(sorted(KEYS))}")
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
            raise ValueError(f"the noise profile cannot be read ({error})") from error


def _pair(values: Sequence[object]) -> tuple[float, float]:
    first, second = _floats(values)
    return first, second


def _floats(values: Sequence[object]) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or any(isinstance(v, bool | str) for v in values):
        raise TypeError("numbers are missing")
    return tuple(float(v) for v in values)
