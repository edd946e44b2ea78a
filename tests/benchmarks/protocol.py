"""The quality protocol: photographs, cameras, ratios, noise, figures of merit.

The same noise for every rival: a frame's seed follows from its photo and cell alone.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import report  # noqa: F401
from numpy.typing import NDArray

from ledcli.evaluation.datasets.photographs import clean_planes, noise_of, seed_of, short_frame
from ledcli.evaluation.metrics import psnr, ssim
from ledcli.noise.cameras import CALIBRATED_WHITE
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.physics import NoiseParameters

VERSION = "1"
"""Raised whenever the same photo and cell give other figures than before."""
PHOTOS = 6
SHRINK = 2
"""Cells of the lower gain take the photographs at half their size: Kodak's own grain and 8-bit
steps are white noise as strong as that of K = 3 (standard deviation 0.004 to 0.008 of the square
root of the signal, in the quietest fifth of the blocks), which is no truth for less noise."""
GAINS = {
    "SonyA7S2": (3.0, 0.75),
    "NikonD850": (10.0, 2.5),
    "CanonEOS700D": (10.0, 2.5),
    "CanonEOS70D": (10.0, 2.5),
}
"""System gains K, DN per electron: a high ISO of each camera, and one two stops lower."""
RATIOS = (1.0, 4.0, 20.0, 100.0, 200.0, 300.0)

Planes = NDArray[np.float32]


class Cell(NamedTuple):
    """One camera at one gain and ratio."""

    camera: str
    gain: float
    ratio: float

    @property
    def name(self) -> str:
        """Return a short name: ``NikonD850-100`` at the high gain, else ``NikonD850-K2.5-100``.

        The noise follows from it: a name that changes makes another frame.
        """
        high = self.gain == GAINS[self.camera][0]
        return f"{self.camera}-{'' if high else f'K{self.gain:g}-'}{self.ratio:g}"

    @property
    def shrink(self) -> int:
        """By how much its photographs are shrunk."""
        return 1 if self.gain == GAINS[self.camera][0] else SHRINK


TWELVE = {
    f"{camera}-{ratio}"
    for camera in ("SonyA7S2", "NikonD850", "CanonEOS700D")
    for ratio in (1, 20, 100, 300)
}
"""Names of the cells that peers were measured on elsewhere."""
CELLS = tuple(
    Cell(camera, gain, ratio)
    for camera, gains in GAINS.items()
    for gain in gains
    for ratio in RATIOS
)


def true_profile(noise: NoiseParameters) -> NoiseProfile:
    """Return the profile of a frame's noise; row noise is not in it."""
    variance = float(noise.pixel_variance()) / CALIBRATED_WHITE**2
    return NoiseProfile(float(noise.gain) / CALIBRATED_WHITE, variance)


class Score(NamedTuple):
    """PSNR in dB and mean SSIM of four planes clipped to 0..1."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class Photo:
    """A clean photograph."""

    path: Path
    """Its file."""
    crop: int | None = None
    """Side of the middle that is used, in plane pixels (smoke runs); None takes all."""
    shrink: int = 1
    """By how much it is shrunk before."""

    @cached_property
    def planes(self) -> Planes:
        """Clean planes R, G1, B, G2 ``(4, h, w)``, linear, 0..1."""
        planes = clean_planes(self.path, self.shrink)
        if self.crop is None:
            return planes
        top, left = ((n - self.crop) // 2 for n in planes.shape[1:])
        return planes[:, top : top + self.crop, left : left + self.crop].copy()

    @cached_property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Shot:
    """A photo as a camera takes it, too dark by the ratio."""

    photo: Photo
    cell: Cell

    @property
    def key(self) -> str:
        """What its noise, and so every figure, follows from."""
        return f"v{VERSION} {self.photo.path.name} {self.photo.sha256[:12]} {self.cell.name} " + (
            f"K{self.cell.gain:g} crop{self.photo.crop or 0}"
            + (f" shrink{self.photo.shrink}" if self.photo.shrink > 1 else "")
        )

    @cached_property
    def noise(self) -> NoiseParameters:
        """The camera at this gain: its lines and mean lambda, no colour bias."""
        return noise_of(self.cell.camera, self.cell.gain)

    @cached_property
    def short(self) -> Planes:
        """The short frame, normalised, clipped at the sensor's white, not below black."""
        return short_frame(self.photo.planes, self.noise, self.cell.ratio, seed_of(self.key))

    @property
    def noisy(self) -> Planes:
        """The short frame times the ratio, clipped above."""
        return np.minimum(self.short * np.float32(self.cell.ratio), 1)


def photos(folder: Path, crop: int | None = None, count: int = PHOTOS) -> list[Photo]:
    """Return the first photographs of a folder by name."""
    paths = sorted(folder.glob("*.png"))[:count]
    if not paths:
        raise SystemExit(f"{folder}: no .png here; name the folder of photographs with --photos")
    return [Photo(path, crop) for path in paths]


def photos_of(cell: Cell, pictures: list[Photo]) -> list[Photo]:
    """Return the photographs as a cell takes them."""
    return [replace(picture, shrink=cell.shrink) for picture in pictures]


def cells(names: str | None) -> tuple[Cell, ...]:
    """Return the cells that are named, in part (``D850``, ``-300``, ``K0.75-1``); None: all."""
    if names is None:
        return CELLS
    parts = [part.strip().lower() for part in names.split(",")]
    chosen = tuple(
        cell
        for cell in CELLS
        if any(
            part in cell.camera.lower()
            or cell.name.lower().endswith(part)
            or part == f"k{cell.gain:g}"
            for part in parts
        )
    )
    if not chosen:
        raise SystemExit(
            f"--cells {names}: no such cell; there are {', '.join(c.name for c in CELLS)}"
        )
    return chosen


def score(planes: Planes, clean: Planes) -> Score:
    """Compare planes ``(4, h, w)`` with the clean ones."""
    shown = planes.clip(0, 1).astype(np.float64)
    return Score(psnr(shown, clean), ssim(shown, clean))
