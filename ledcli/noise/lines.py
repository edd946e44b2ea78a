"""A camera's own noise over ISO, as its pairs show it: what a tuned model carries.

Gain and read variance are straight lines over ISO, both in logarithms (ELD, section 3.4): two ISOs
determine a line, which is why LED wants two pairs, of a low ISO and a high one. No torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ledcli.noise.estimate import NoiseLine

LARGEST = 1e3
"""No slope, intercept or offset is larger: a file that says so is damaged."""


class CameraNoise(NamedTuple):
    """A camera's noise at one ISO.

    Attributes
    ----------
    line : NoiseLine
        Variance over the signal (white - black = 1).
    offset : tuple of 4 floats
        What black is off by in the planes R, G1, B, G2, in units of white - black: ELD's colour
        bias. Subtracted before anything else.
    """

    line: NoiseLine
    offset: tuple[float, ...]


@dataclass(frozen=True)
class CameraLines:
    """Lines of one camera; all logarithms are natural.

    Attributes
    ----------
    isos : tuple of floats
        ISOs of the pairs, ascending. The lines hold from the lowest to the highest.
    gain, variance : (slope, intercept)
        ``log(gain) = slope * log(iso) + intercept``, and the same for the read variance.
    offsets : tuple of 4-tuples
        Black offset at each of the ISOs; between them it follows log(iso).
    """

    isos: tuple[float, ...]
    gain: tuple[float, float]
    variance: tuple[float, float]
    offsets: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        numbers = [*self.isos, *self.gain, *self.variance, *(v for o in self.offsets for v in o)]
        if not all(isinstance(v, float | int) and math.isfinite(v) for v in numbers):
            raise ValueError("the noise lines hold values that are not finite numbers")
        if not self.isos or self.isos[0] <= 0 or list(self.isos) != sorted(set(self.isos)):
            raise ValueError("the noise lines need ISOs above 0 in rising order")
        if any(abs(v) > LARGEST for v in numbers[len(self.isos) :]):
            raise ValueError("the noise lines hold values beyond all reason")
        if len(self.gain) != 2 or len(self.variance) != 2:
            raise ValueError("a noise line is a slope and an intercept")
        if len(self.offsets) != len(self.isos) or any(len(o) != 4 for o in self.offsets):
            raise ValueError("the noise lines need four offsets for each ISO")

    def at(self, iso: float | None) -> CameraNoise | None:
        """Return the noise at an ISO; None outside the ISOs that the lines hold for."""
        if iso is None or not self.isos[0] <= iso <= self.isos[-1]:
            return None
        place = math.log(iso)
        gain, variance = (
            math.exp(slope * place + intercept) for slope, intercept in (self.gain, self.variance)
        )
        known = [math.log(i) for i in self.isos]
        offset = tuple(
            float(np.interp(place, known, column)) for column in zip(*self.offsets, strict=True)
        )
        return CameraNoise(NoiseLine(gain, variance), offset)

    def to_json(self) -> dict[str, Any]:
        """Return the lines as JSON values."""
        return {
            "isos": list(self.isos),
            "gain": list(self.gain),
            "variance": list(self.variance),
            "offsets": [list(offset) for offset in self.offsets],
        }

    @classmethod
    def from_json(cls, values: object) -> "CameraLines":
        """Make lines of what `to_json` gives; raises ValueError for anything else."""
        if not isinstance(values, dict) or set(values) != {"isos", "gain", "variance", "offsets"}:
            raise ValueError("the noise lines need isos, gain, variance and offsets")
        try:
            return cls(
                isos=_floats(values["isos"]),
                gain=_floats(values["gain"]),  # type: ignore[arg-type]
                variance=_floats(values["variance"]),  # type: ignore[arg-type]
                offsets=tuple(_floats(offset) for offset in values["offsets"]),
            )
        except TypeError as error:
            raise ValueError("the noise lines hold something that is no number") from error


def _floats(values: Sequence[object]) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or any(isinstance(v, bool | str) for v in values):
        raise TypeError
    return tuple(float(v) for v in values)
