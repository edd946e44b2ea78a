"""Black and white levels of a mosaic, and normalisation: black becomes 0, white becomes 1."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ledcli.sensor.cfa import AnyPhase, pack, pattern, unpack

Values = NDArray[np.float32]


class BlackPattern(NamedTuple):
    """Black that differs between pixels of one colour: ``cell + rows + columns``, in DN."""

    cell: Values
    """``(h, w)``: repeats from the mosaic's first pixel."""
    rows: Values
    columns: Values
    """``(H,)`` and ``(W,)``."""

    def level(self) -> Values:
        """Black of every pixel, (H, W)."""
        height, width = len(self.rows), len(self.columns)
        black = np.empty((height, width), np.float32)
        for row, line in enumerate(self.cell[:height]):
            black[row :: len(self.cell)] = np.resize(line, width) + self.columns
        black += self.rows[:, None]
        return black


@dataclass(frozen=True)
class Levels:
    """Black and white level of a mosaic in DN; fractions are kept."""

    black: Values
    white: Values
    """``(planes,)`` in their order: R, G1, B, G2 for Bayer, nine for X-Trans. Where black differs
    between pixels of one colour, its mean."""
    pattern: BlackPattern | None = None
    """Such differences, if there are any."""

    @classmethod
    def of_pattern(cls, black: BlackPattern, white: Values, phase: AnyPhase) -> Self:
        """Return levels whose black is a pattern over the mosaic, which has a phase."""
        period = phase.layout.period
        flat = not np.ptp(black.rows) and not np.ptp(black.columns)
        if flat and all(period % side == 0 for side in black.cell.shape):
            # At most one level for each position of the CFA, and mostly one for each colour.
            cell = np.tile(black.cell, [period // side for side in black.cell.shape])
            cell = cell + black.rows[0] + black.columns[0]
            planes = pattern(phase)
            level = [cell[planes == plane] for plane in range(phase.layout.planes)]
            if not any(np.ptp(each) for each in level):
                return cls(np.array([each[0] for each in level], np.float32), white)
        means = pack(black.level(), phase).mean((1, 2), np.float64)
        return cls(means.astype(np.float32), white, black)

    def scaled(self, factor: float, offset: float) -> Self:
        """Return the levels of a mosaic that is multiplied by a factor, plus an offset in DN."""
        pattern = self.pattern
        if pattern:
            cell = pattern.cell * np.float32(factor) + np.float32(offset)
            pattern = BlackPattern(cell, pattern.rows * factor, pattern.columns * factor)
        black, white = (level * factor + offset for level in (self.black, self.white))
        return replace(self, black=black, white=white, pattern=pattern)

    def normalise(self, mosaic: NDArray[Any], phase: AnyPhase) -> Values:
        """Subtract black and divide by the range; nothing is clipped.

        Maps a mosaic (H, W) in DN to float32 (H, W), ``x = (mosaic - black) / (white - black)``:
        0 is black, 1 is white, noise goes below 0. The range is one per plane, as black does not
        change what a photon adds.
        """
        return unpack(self.planes(mosaic, phase), phase, (mosaic.shape[0], mosaic.shape[1]))

    def planes(self, mosaic: NDArray[Any], phase: AnyPhase) -> Values:
        """Pack a mosaic (H, W) in DN into normalised planes (planes, h, w)."""
        planes = pack(mosaic, phase, np.float32)
        if self.pattern:
            planes -= pack(self.pattern.level(), phase)
        for plane, black, white in zip(planes, self.black, self.white, strict=True):
            if not self.pattern:
                plane -= black
            plane /= np.float32(float(white) - float(black))
        return planes
