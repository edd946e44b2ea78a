"""The few shots: pairs of one camera in memory, what they say of its noise, and crops of them.

Everything is in the numbers' contract: planes R, G1, B, G2, white - black = 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ledcli.errors import PairError
from ledcli.noise.estimate import NoiseLine, estimate_noise
from ledcli.noise.lines import CameraLines
from ledcli.noise.shading import dark_shading, enlarged, interpolated, pair_shading
from ledcli.noise.transfer import (
    Exposure,
    Transfer,
    camera_lines,
    measure_exposure,
    measure_transfer,
)
from ledcli.training.draws import Batch

HELD_SIDE = 128
"""Side of a held crop, plane pixels; less where the frames are small."""
HELD_PER_PAIR = 3
SMALLEST_SIDE = 32
"""Plane pixels a side below which a frame is no use."""

Planes = NDArray[np.float32]
Half = NDArray[np.float16]


class Shot(NamedTuple):
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
class Frames:
    """A pair ready for training.

    Attributes
    ----------
    short, clean : float16 ``(4, h, w)``
        The short frame with black where it belongs, and the truth: the long frame brought to
        exactly ``ratio`` times the short one's exposure, 1 at most. Half precision keeps steps
        well under the noise.
    ratio, iso : float
        Of the pair, and of its short frame.
    blind : NoiseLine
        What an un-tuned model takes for the short frame's noise.
    held : tuple of int
        Left columns of the windows that are never trained on, all at the bottom of the frame.
    held_side : int
        Their side in plane pixels.
    """

    short: Half
    clean: Half
    ratio: float
    iso: float
    blind: NoiseLine
    held: tuple[int, ...]
    held_side: int

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
        row, col = (int(rng.integers(n - side + 1)) for n in self.trained)
        short, clean = self.window(row, col, side)
        flips = tuple(axis for axis in (1, 2) if rng.random() < 0.5)
        return np.flip(short, flips), np.flip(clean, flips)

    def held_windows(self) -> list[tuple[Half, Half]]:
        """Return the windows that are never trained on."""
        return [self.window(self.trained[0], col, self.held_side) for col in self.held]


@dataclass(frozen=True)
class FewShot:
    """The pairs of one camera, and the lines of its noise measured on them."""

    frames: tuple[Frames, ...]
    lines: CameraLines

    @property
    def ratios(self) -> list[float]:
        """The different ratios, rising."""
        return sorted({frames.ratio for frames in self.frames})

    @property
    def side(self) -> int:
        """The largest side that a crop of every pair may have."""
        return min(min(frames.trained) for frames in self.frames)

    def line(self, iso: float) -> NoiseLine:
        """Return the measured noise line at the ISO of a pair."""
        noise = self.lines.at(iso)
        if noise is None:
            raise ValueError(f"no pair has ISO {iso:g}")
        return noise.line

    def batch(self, rng: np.random.Generator, count: int, side: int) -> Batch:
        """Draw crops ``(count, 4, side, side)``, of every pair as often."""
        chosen = [self.frames[i] for i in rng.integers(len(self.frames), size=count)]
        crops = [frames.draw(rng, side) for frames in chosen]
        return _batch(crops, chosen, [self.line(frames.iso) for frames in chosen])

    def held_batches(self, *, blind: bool = False) -> list[Batch]:
        """Return the held crops, a batch a pair; with the lines of the camera, or blind."""
        return [
            _batch(
                frames.held_windows(),
                [frames] * len(frames.held),
                [frames.blind if blind else self.line(frames.iso)] * len(frames.held),
            )
            for frames in self.frames
        ]


def few_shot(
    shots: Iterable[Shot],
    darks: Mapping[float, Iterable[Planes]] | None = None,
    *,
    seed: int = 0,
) -> FewShot:
    """Measure a camera's noise on its pairs and make them ready for training.

    Parameters
    ----------
    shots : iterable of Shot
        Of one camera and one size; taken one by one, so that few are in memory in full.
    darks : mapping of ISO to planes ``(4, h, w)``, optional
        Lens-cap frames: the dark shading is then theirs. Without them each colour's black offset
        is measured on the pairs.
    seed : int
        Of the choice of held crops.

    Raises
    ------
    PairError
        There is no pair, a long frame is clipped, or the frames are too small.
    """
    shading = [dark_shading(iso, frames) for iso, frames in sorted((darks or {}).items())]
    rng = np.random.default_rng(seed)
    frames: list[Frames] = []
    exposures: dict[float, list[Exposure]] = {}
    transfers: dict[float, list[Transfer]] = {}
    for shot in shots:
        if shading:
            grid = interpolated(shading, shot.iso)
            shot = shot._replace(short=shot.short - enlarged(grid, shot.short.shape[1:]))
        exposure, transfer = _measured(shot)
        exposures.setdefault(shot.iso, []).append(exposure)
        transfers.setdefault(shot.iso, []).append(transfer)
        frames.append(_frames(shot, exposure, rng))
    if not frames:
        raise PairError("no pair is left to tune with: shoot two for each ratio")
    if not shading:
        shading = [
            pair_shading(iso, [(e.offset, e.error) for e in found])
            for iso, found in sorted(exposures.items())
        ]
        for each in frames:
            each.short[:] -= interpolated(shading, each.iso).astype(np.float16)
    return FewShot(tuple(frames), camera_lines(transfers, shading))


def _measured(shot: Shot) -> tuple[Exposure, Transfer]:
    try:
        exposure = measure_exposure(shot.short, shot.long, shot.ratio)
        own = shot.long_iso / shot.iso
        return exposure, measure_transfer(shot.short, shot.long, shot.ratio, exposure, own)
    except PairError as error:
        raise PairError(f"{shot.name}: {error}: shoot this pair again") from error


def _frames(shot: Shot, exposure: Exposure, rng: np.random.Generator) -> Frames:
    _, height, width = shot.short.shape
    side = min(HELD_SIDE, height // 4, width // 4)
    if min(height, width) < SMALLEST_SIDE:
        raise PairError(f"{shot.name}: is too small to tune with ({2 * width}x{2 * height} pixels)")
    held = tuple(int(rng.integers(width - side + 1)) for _ in range(HELD_PER_PAIR))
    scaled = shot.long * np.float32(exposure.scale)
    return Frames(
        short=shot.short.astype(np.float16),
        clean=scaled.clip(None, 1).astype(np.float16),
        ratio=shot.ratio,
        iso=shot.iso,
        blind=estimate_noise(shot.short),
        held=held,
        held_side=side,
    )


def _batch(
    crops: Sequence[tuple[Half, Half]], frames: Sequence[Frames], lines: Sequence[NoiseLine]
) -> Batch:
    short, clean = (torch.from_numpy(np.stack(part)).float() for part in zip(*crops, strict=True))
    return Batch(
        clean=clean,
        x=short,
        ratio=torch.tensor([f.ratio for f in frames]),
        gain=torch.tensor([line.gain for line in lines]),
        variance=torch.tensor([line.variance for line in lines]),
    )
