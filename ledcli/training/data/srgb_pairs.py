"""Pairs for SID: the short frame's mosaic with the long frame's picture by LibRaw, and crops.

A pair is kept as a mosaic and not as planes. Mirrored, transposed and cropped anywhere, a mosaic
has another phase: its crop starts at the next cell of the standard phase (sensor/cfa.py), so that
every colour and every pixel of the picture keeps its position in the cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ledcli.errors import PairError
from ledcli.noise.outliers import remove_outliers
from ledcli.noise.profile import CameraNoiseProfile
from ledcli.output.render import develop_mosaic
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import STANDARD_PHASE, AnyPhase, colour_map, pack, standard_start, unpack
from ledcli.sensor.symmetry import Flip
from ledcli.training.data.pairs import MULTIPLE, VALIDATION_SIDE, spread
from ledcli.training.data.sampler import Batch

MAX_PIXELS = 1 << 28
"""Pixels of all pairs that are kept, 2 GB, and a little more for the validation windows; of more
pairs less of each frame."""
MIN_SIDE = 4 * MULTIPLE
"""Cells a side below which a frame is of no use."""
WHITE = 65535
NO_FLIP = Flip()

Picture = NDArray[np.uint16]
Planes = NDArray[np.float16]


@dataclass(frozen=True)
class SrgbPair:
    """A pair ready for SID.

    Attributes
    ----------
    mosaic : float16 ``(H, W)``
        The short frame, normalised, black corrected, not multiplied by the ratio.
    phase
        Of its first pixel.
    picture : uint16 ``(H, W, 3)``
        The long frame as LibRaw develops it, sRGB.
    noisy : uint16 ``(rows, W, 3)``
        The last rows of the short frame times the ratio, developed alike; never trained on.
    ratio : float
    """

    mosaic: NDArray[np.float16]
    phase: AnyPhase
    picture: Picture
    noisy: Picture
    ratio: float

    @property
    def cell(self) -> int:
        """Pixels along a side of a cell."""
        return self.phase.layout.side

    @property
    def slack(self) -> int:
        """Extra pixels that a crop needs to start at the standard phase."""
        return self.phase.layout.period - 1

    @property
    def validation_side(self) -> int:
        """Side in cells of the windows that are never trained on."""
        return (len(self.noisy) - self.slack) // self.cell

    @property
    def side(self) -> int:
        """The largest side in cells that a drawn crop may have."""
        height, width = self.picture.shape[:2]
        return (min(height - len(self.noisy), width) - self.slack) // self.cell

    def cut(self, row: int, col: int, side: int, flip: Flip = NO_FLIP) -> tuple[Planes, Picture]:
        """Cut planes ``(4 or 9, side, side)`` at the standard phase near a pixel, and the picture.

        The picture is ``(cell * side, cell * side, 3)``.
        """
        down, right = self._start(row, col, side, flip)
        reach = self.cell * side + self.slack
        window = np.s_[row : row + reach, col : col + reach]
        crop = np.s_[down : down + self.cell * side, right : right + self.cell * side]
        planes = pack(flip.image(self.mosaic[window])[crop], STANDARD_PHASE[self.phase.layout.name])
        return planes, flip.image(self.picture[window])[crop]

    def draw(self, rng: np.random.Generator, side: int) -> tuple[Planes, Picture]:
        """Draw a crop of what is trained on, mirrored and transposed at random (section 4.2)."""
        height, width = self.picture.shape[:2]
        reach = self.cell * side + self.slack
        row = int(rng.integers(height - len(self.noisy) - reach + 1))
        col = int(rng.integers(width - reach + 1))
        return self.cut(row, col, side, Flip.random(rng))

    def validation_windows(self) -> list[tuple[Planes, Picture, Picture]]:
        """Return the windows that are never trained on: planes, picture, noisy picture."""
        height, width = self.picture.shape[:2]
        side, top = self.validation_side, height - len(self.noisy)
        pixels = self.cell * side
        found = []
        for col in spread(width, pixels, width - pixels - self.slack):
            down, right = self._start(top, col, side, NO_FLIP)
            noisy = self.noisy[down : down + pixels, col + right : col + right + pixels]
            found.append((*self.cut(top, col, side), noisy))
        return found

    def _start(self, row: int, col: int, side: int, flip: Flip) -> tuple[int, int]:
        """Return where the standard phase starts in a flipped window."""
        reach = self.cell * side + self.slack
        colours = colour_map(self.phase.shifted(row, col), (reach, reach))
        return standard_start(flip.image(colours), self.phase.layout)


@dataclass(frozen=True)
class SrgbPairs:
    """The pairs of one camera as SID takes them.

    Their batches hold the sRGB pictures ``(N, 3, H, W)``, 0 to 1, as the truth, and a noise profile
    of zeros, which SID does not use.
    """

    pairs: tuple[SrgbPair, ...]

    @property
    def cfa(self) -> str:
        """Kind of the camera's sensor."""
        return self.pairs[0].phase.layout.name

    @property
    def planes(self) -> int:
        """Planes of the camera's mosaic."""
        return self.pairs[0].phase.layout.planes

    @property
    def side(self) -> int:
        """The largest side in cells that a crop of every pair may have."""
        return min(pair.side for pair in self.pairs)

    def mean(self) -> Tensor:
        """Return the mean colour ``(3,)`` of what is trained on, 0 to 1."""
        trained = [pair.picture[: -len(pair.noisy)] for pair in self.pairs]
        means = np.mean([picture.mean((0, 1), dtype=np.float64) for picture in trained], 0)
        return torch.from_numpy((means / WHITE).astype(np.float32))

    def batch(self, rng: np.random.Generator, count: int, side: int) -> Batch:
        """Draw so many crops, of every pair as often."""
        chosen = [self.pairs[i] for i in rng.integers(len(self.pairs), size=count)]
        return _batch([pair.draw(rng, side) for pair in chosen], [p.ratio for p in chosen])

    def validation_batches(self) -> list[tuple[Batch, Tensor]]:
        """Return the validation crops, one batch per pair, each with the noisy picture."""
        batches = []
        for pair in self.pairs:
            windows = pair.validation_windows()
            batch = _batch([window[:2] for window in windows], [pair.ratio] * len(windows))
            batches.append((batch, _tensor([noisy for _, _, noisy in windows])))
        return batches


class _Taken(NamedTuple):
    """A pair as it was shot: the whole short frame, and the rows from ``top`` on developed."""

    mosaic: NDArray[np.float16]
    phase: AnyPhase
    top: int
    picture: Picture
    noisy: Picture
    ratio: float
    iso: float

    def corrected(self, profile: CameraNoiseProfile) -> SrgbPair:
        """Correct black, which the profile knows for the frame as a whole, and remove outliers."""
        planes = pack(self.mosaic, self.phase).astype(np.float32)
        noise = profile.at(self.iso)
        if noise is not None:
            planes = remove_outliers(noise.correct_black(planes), noise.profile, self.phase)
        shape = (self.mosaic.shape[0], self.mosaic.shape[1])
        mosaic = unpack(planes.astype(np.float16), self.phase, shape)
        rows = slice(self.top, self.top + len(self.picture))
        phase = self.phase.shifted(self.top, 0)
        return SrgbPair(mosaic[rows].copy(), phase, self.picture, self.noisy, self.ratio)


class SrgbCollector:
    """Collects up to ``count`` pairs as they are read, and makes `SrgbPairs` of them."""

    def __init__(self, count: int) -> None:
        self._max_pixels = MAX_PIXELS // max(count, 1)
        self._taken: list[_Taken] = []

    def take(self, short: RawPhoto, long: RawPhoto, ratio: float, iso: float) -> None:
        """Develop a pair and keep what is trained on: the middle rows of a large frame.

        Raises PairError if the frames are too small, and what `develop_mosaic` raises.
        """
        x = short.normalised()
        cell, slack = short.phase.layout.side, short.phase.layout.period - 1
        height, width = x.shape
        smallest = MIN_SIDE * cell
        rows = min(height, max(smallest, self._max_pixels // width))
        if min(rows, width) < smallest:
            raise PairError(f"{short.path}: {width}x{height} pixels are too few to tune")
        side = min(VALIDATION_SIDE, min(rows, width) // cell // 4) // MULTIPLE * MULTIPLE
        top = (height - rows) // 2
        bottom = slice(top + rows - cell * side - slack, top + rows)
        picture = develop_mosaic(long, long.normalised())[top : top + rows].copy()
        noisy = develop_mosaic(short, x * np.float32(ratio))[bottom].copy()
        half = x.astype(np.float16)
        self._taken.append(_Taken(half, short.phase, top, picture, noisy, ratio, iso))

    def pairs(self, profile: CameraNoiseProfile) -> SrgbPairs:
        """Return the pairs with the black of a camera's profile, as `led denoise` corrects it."""
        return SrgbPairs(tuple(taken.corrected(profile) for taken in self._taken))


def _batch(crops: Sequence[tuple[Planes, Picture]], ratios: Sequence[float]) -> Batch:
    planes, pictures = zip(*crops, strict=True)
    x, ratio = torch.from_numpy(np.stack(planes)).float(), torch.tensor(ratios)
    return Batch(_tensor(pictures), x, ratio, torch.zeros_like(ratio), torch.zeros_like(ratio))


def _tensor(pictures: Sequence[Picture]) -> Tensor:
    """Return pictures ``(N, 3, H, W)``, 0 to 1."""
    coded = np.stack(pictures).astype(np.float32) / np.float32(WHITE)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(coded, 3, 1)))
