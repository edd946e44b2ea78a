"""A camera's noise profile over ISO, measured on its pairs; part of a tuned model. No torch.

Gain and read variance are straight lines over ISO, both in logarithms (ELD, section 3.4). Two ISOs
determine a line, which is why LED needs two pairs: one at a low ISO and one at a high one.

The profile includes the dark shading: the error of the black level over the frame, the same in
every shot. The camera gives one black level per colour. What the sensor adds without light varies
over the frame: one offset per colour is ELD's colour bias, a smooth pattern is dark shading. It
follows the ISO (PMN, Feng et al. 2022, section 3.3), and dark frames show it.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from ledcli.noise.blocks import Floats, Planes
from ledcli.noise.estimate import NoiseProfile
from ledcli.sensor.layout import LAYOUTS

NODES = (12, 16)
"""Nodes of dark shading over the height and the width of a frame."""
MIN_CELL = 16
"""Side of the area that a node stands for, plane pixels, at least."""
USUAL = (0.001, 0.999)
"""Quantiles of a dark frame's pixels. Pixels further out than their span beyond them are hot, and
are clipped there. No standard deviations: a quiet camera's pixels take two or three DN."""
SURE = 3.0
"""Standard errors below which an offset measured on pairs is taken for chance."""

MAX_COEFFICIENT, MAX_ISO, MAX_SHADING, MAX_NODES, MAX_SIDE = 1e3, 1e8, 1.0, 4096, 1 << 20
"""Limits for slopes and intercepts, ISOs, shading (of white), nodes and sides of a frame: a file
beyond them is damaged."""
KEYS = {"isos", "gain", "variance", "shading", "frame"}


class DarkShading(NamedTuple):
    """The error of the black level at one ISO, in units of white - black."""

    iso: float
    offsets: Planes
    """``(planes, rows, cols)``: nodes spread over the frame; one per plane is a plain offset."""


def measure_dark_shading(iso: float, frames: Iterable[Planes]) -> DarkShading | None:
    """Measure dark shading on dark frames: normalised ``(planes, h, w)`` of one ISO and size.

    None without a frame.
    """
    grids = [cell_means(planes) for planes in frames]
    if not grids:
        return None
    return DarkShading(iso, np.mean(grids, axis=0, dtype=np.float32))


def shading_from_pairs(
    iso: float, offsets: Sequence[tuple[Sequence[float], Sequence[float]]]
) -> DarkShading:
    """Average the black offsets measured on the pairs of one ISO.

    A pair has an offset and a standard error for each plane. The result has one node per plane:
    the mean over the pairs, shrunk to 0 where it may be chance.
    """
    values, errors = np.array(offsets, np.float64).transpose(1, 0, 2)
    weight = 1 / np.square(np.maximum(errors, 1e-12))
    mean = (weight * values).sum(0) / weight.sum(0)
    sure = 1 - SURE**2 / np.maximum(weight.sum(0) * np.square(mean), 1e-30)
    return DarkShading(iso, (mean * sure.clip(0)).astype(np.float32)[:, None, None])


def interpolate_shading(shading: Sequence[DarkShading], iso: float) -> Planes:
    """Return the offsets at an ISO: linear between measured ISOs (rising), constant beyond."""
    known = [s.iso for s in shading]
    after = int(np.searchsorted(known, iso).clip(1, max(len(known) - 1, 1)))
    low, high = shading[after - 1], shading[min(after, len(known) - 1)]
    if high.iso == low.iso:
        return low.offsets
    share = np.float32(np.clip((iso - low.iso) / (high.iso - low.iso), 0, 1))
    return low.offsets + share * (high.offsets - low.offsets)


def upsample(values: Planes, shape: tuple[int, ...]) -> Planes:
    """Spread nodes ``(n, rows, cols)`` over a frame ``(n, h, w)``, linearly between their centres.

    One node per plane is returned as it is, and broadcasts.
    """
    if values.shape[1:] == (1, 1):
        return values
    for axis, size in enumerate(shape, start=1):
        nodes = values.shape[axis]
        values = interpolate(values, axis, (np.arange(size) + 0.5) * nodes / size - 0.5)
    return values


def interpolate(values: Planes, axis: int, position: Floats) -> Planes:
    """Return values at positions along an axis: linear between them, constant beyond."""
    last = values.shape[axis] - 1
    position = position.clip(0, last)
    below = np.minimum(position.astype(np.int64), max(last - 1, 0))
    share = (position - below).astype(np.float32).reshape((-1, *[1] * (values.ndim - 1 - axis)))
    above = np.minimum(below + 1, last)
    return values.take(below, axis) * (1 - share) + values.take(above, axis) * share


def cell_means(planes: Planes) -> Planes:
    """Return the nodes ``(planes, rows, cols)`` of a frame ``(planes, h, w)``: means of areas."""
    counts = [max(1, min(n, s // MIN_CELL)) for n, s in zip(NODES, planes.shape[1:], strict=True)]
    low, high = np.quantile(planes[:, ::3, ::3], USUAL, axis=(1, 2), keepdims=True)
    kept = planes.clip(2 * low - high, 2 * high - low)
    for axis, count in enumerate(counts, start=1):
        edges = np.linspace(0, kept.shape[axis], count + 1).round().astype(np.int64)
        widths = np.diff(edges).reshape((-1, 1) if axis == 1 else (-1,))
        kept = np.add.reduceat(kept, edges[:-1], axis, dtype=np.float64) / widths
    return kept.astype(np.float32)


class NoiseAtIso(NamedTuple):
    """A camera's noise at one ISO."""

    profile: NoiseProfile
    offsets: Planes
    """Error of the black level, as in `DarkShading`."""
    frame: tuple[int, int]
    """Size (h, w) in plane pixels of the frames that the offsets are spread over."""

    def correct_black(self, planes: Planes) -> Planes:
        """Return normalised planes ``(planes, h, w)`` without the error of the black level.

        A frame of another size (a crop mode) is an unknown part of the sensor: it is corrected by
        the mean of each plane.
        """
        offsets = self.offsets
        if planes.shape[1:] != self.frame:
            offsets = offsets.mean((1, 2), keepdims=True)
        return planes - upsample(offsets, planes.shape[1:])

    def part(self, frame: tuple[int, int], rows: slice, cols: slice) -> Self:
        """Return that of a part of a frame ``(h, w)``."""
        empty = np.zeros((len(self.offsets), *frame), np.float32)
        offsets = (empty - self.correct_black(empty))[:, rows, cols]
        return self._replace(offsets=offsets, frame=offsets.shape[1:])


@dataclass(frozen=True)
class CameraNoiseProfile:
    """The noise of one camera over ISO; all logarithms are natural."""

    isos: tuple[float, ...]
    """Of the pairs, ascending. The profile holds from the lowest to the highest."""
    gain: tuple[float, float]
    """``log(gain) = slope * log(iso) + intercept``, and the same for the read variance."""
    read_variance: tuple[float, float]
    shading: tuple[DarkShading, ...]
    """By rising ISO, which need not be those of the pairs."""
    frame: tuple[int, int]
    """Size (h, w) of the camera's frames in plane pixels."""

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
