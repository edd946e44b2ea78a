"""The few shots: pairs of one camera in memory, what they say of its noise, and crops of them.

Everything is in the numbers' contract: planes R, G1, B, G2, white - black = 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ledcli.noise.estimate import NoiseLine
from ledcli.noise.lines import CameraLines
from ledcli.noise.places import LAYOUTS, layout_of
from ledcli.training.draws import Batch
from ledcli.training.turning import cells_lost, even_start, turned

HELD_SIDE = 128
"""Side of a held crop, plane pixels; less where the frames are small."""
HELD_PER_PAIR = 3
MULTIPLE = 16
"""Sides of crops are multiples of it: what networks halve and halve again."""

Planes = NDArray[np.float32]
Half = NDArray[np.float16]


class RawPair(NamedTuple):
    """A pair as it was shot.

    Attributes
    ----------
    short, long : float32 ``(4, h, w)``
        Normalised planes, not gained.
    ratio : float
        Nominal.
    iso, long_iso : float
        Of the short and the long frame.
    name : str
        For messages.
    """

    short: Planes
    long: Planes
    ratio: float
    iso: float
    long_iso: float
    name: str


@dataclass(frozen=True)
class TrainingPair:
    """A pair ready for training.

    Attributes
    ----------
    short, clean : float16 ``(4, h, w)``
        The short frame with black where it belongs, and the truth: the long frame brought to
        exactly ``ratio`` times the short one's exposure; 1 where the long frame is clipped. Half
        precision keeps steps well under the noise.
    ratio, iso : float
        Of the pair, and of its short frame.
    blind : NoiseLine
        What an un-tuned model takes for the short frame's noise.
    held_side : int
        Side in plane pixels of the windows that are never trained on, at the bottom of the frame.
    untouched : tuple of float16 ``(4, held_side, held_side)``
        These windows of the short frame as it came, black uncorrected.
    """

    short: Half
    clean: Half
    ratio: float
    iso: float
    blind: NoiseLine
    held_side: int
    untouched: tuple[Half, ...]

    @property
    def trained(self) -> tuple[int, int]:
        """Height and width of what is trained on, from the top left."""
        _, height, width = self.short.shape
        return height - self.held_side, width

    def window(self, row: int, col: int, side: int) -> tuple[Half, Half]:
        """Return the window ``(4, side, side)`` of the short frame and of the truth."""
        place = np.s_[:, row : row + side, col : col + side]
        return self.short[place], self.clean[place]

    def draw(self, rng: np.random.Generator, side: int) -> tuple[Half, Half]:
        """Draw a window of what is trained on, mirrored at random.

        Not transposed: row noise would become column noise.
        """
        planes = len(self.short)
        cut = side + cells_lost(planes)
        row, col = (int(rng.integers(n - cut + 1)) for n in self.trained)
        short, clean = self.window(*even_start(planes, row, col), cut)
        flips = (rng.random() < 0.5, rng.random() < 0.5, False)
        return turned(short, flips), turned(clean, flips)

    def held_windows(self, *, untouched: bool = False) -> list[tuple[Half, Half]]:
        """Return the windows that are never trained on."""
        columns = held_columns(self.short.shape, self.held_side)
        windows = [self.window(self.trained[0], col, self.held_side) for col in columns]
        if not untouched:
            return windows
        pairs = zip(self.untouched, windows, strict=True)
        return [(short, clean) for short, (_, clean) in pairs]


@dataclass(frozen=True)
class FewShot:
    """The pairs of one camera, and the lines of its noise measured on them."""

    frames: tuple[TrainingPair, ...]
    lines: CameraLines

    @property
    def ratios(self) -> list[float]:
        """The different ratios, rising."""
        return sorted({frames.ratio for frames in self.frames})

    @property
    def side(self) -> int:
        """The largest side that a crop of every pair may have."""
        return min(min(frames.trained) for frames in self.frames) - cells_lost(self.planes)

    @property
    def planes(self) -> int:
        """Planes of the camera's mosaic."""
        return len(self.frames[0].short)

    @property
    def cfa(self) -> str:
        """Kind of the camera's sensor."""
        layout = layout_of(self.planes)
        return next(cfa for cfa, known in LAYOUTS.items() if known is layout)

    def line(self, iso: float) -> NoiseLine:
        """Return the measured noise line at the ISO of a pair."""
        noise = self.lines.at(iso)
        if noise is None:
            raise ValueError(f"no pair has ISO {iso:g}")
        return noise.line

    def batch(self, rng: np.random.Generator, count: int, side: int) -> Batch:
        """Draw crops ``(count, 4, side, side)``, of every pair as often."""
        chosen = [self.frames[i] for i in rng.integers(len(self.frames), size=count)]
        return self.batch_of([frame.draw(rng, side) for frame in chosen], chosen)

    def batch_of(self, crops: Sequence[tuple[Half, Half]], frames: Sequence[TrainingPair]) -> Batch:
        """Put windows together, each of the pair beside it."""
        return _batch(crops, frames, [self.line(frame.iso) for frame in frames])

    def held_batches(self, *, blind: bool = False) -> list[Batch]:
        """Return the held crops, a batch a pair: with all that is known of the camera, or blind.

        Blind is what an un-tuned model sees: black as the file has it, the noise estimated.
        """
        batches = []
        for frames in self.frames:
            windows = frames.held_windows(untouched=blind)
            line = frames.blind if blind else self.line(frames.iso)
            batches.append(_batch(windows, [frames] * len(windows), [line] * len(windows)))
        return batches


def held_columns(shape: Sequence[int], side: int) -> list[int]:
    """Return the left columns of the held windows, spread, apart if they can.

    Parameters
    ----------
    shape : (planes, h, w)
        Of the frame, several times as large as a window.
    side : int
    """
    planes, height, width = shape
    count = max(1, min(HELD_PER_PAIR, width // side))
    columns = [round((number + 0.5) * (width - side) / count) for number in range(count)]
    return [even_start(planes, height - side, col)[1] for col in columns]


def _batch(
    crops: Sequence[tuple[Half, Half]], frames: Sequence[TrainingPair], lines: Sequence[NoiseLine]
) -> Batch:
    short, clean = (torch.from_numpy(np.stack(part)).float() for part in zip(*crops, strict=True))
    return Batch(
        clean=clean,
        x=short,
        ratio=torch.tensor([f.ratio for f in frames]),
        gain=torch.tensor([line.gain for line in lines]),
        variance=torch.tensor([line.variance for line in lines]),
    )
