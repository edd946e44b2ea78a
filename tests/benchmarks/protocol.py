"""The quality protocol: photographs, cameras, ratios, noise, figures of merit.

The same noise for every rival: a frame's seed follows from its photo and cell alone.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import checkout  # noqa: F401
import imageio.v3 as iio
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ledcli.noise.cameras import CALIBRATED_WHITE, calibrated
from ledcli.noise.physics import NoiseParameters, add_noise
from ledcli.training.crops import pack_rgb, srgb_to_linear

VERSION = "1"
"""Raised whenever the same photo and cell give other figures than before."""
PHOTOS = 6
SIZE_MULTIPLE = 32
WHITE_BALANCE = (2.0, 1.0, 1.7)
"""Linear red and blue are divided by these: a daylight scene as a sensor sees it."""
GAINS = {"SonyA7S2": 3.0, "NikonD850": 10.0, "CanonEOS700D": 10.0}
"""System gain K, DN per electron: a high ISO of each camera."""
RATIOS = (1.0, 20.0, 100.0, 300.0)

SSIM_WINDOW = 7

Planes = NDArray[np.float32]


class Cell(NamedTuple):
    """One camera at one ratio."""

    camera: str
    gain: float
    ratio: float

    @property
    def name(self) -> str:
        """Return a short name, such as ``NikonD850-100``."""
        return f"{self.camera}-{self.ratio:g}"


CELLS = tuple(Cell(camera, gain, ratio) for camera, gain in GAINS.items() for ratio in RATIOS)


class Score(NamedTuple):
    """PSNR in dB and mean SSIM of four planes clipped to 0..1."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class Photo:
    """A clean photograph.

    Attributes
    ----------
    path : Path
        Its file.
    crop : int or None
        Side of the middle that is used, in plane pixels (smoke runs); None takes all.
    """

    path: Path
    crop: int | None = None

    @cached_property
    def planes(self) -> Planes:
        """Clean planes R, G1, B, G2 ``(4, h, w)``, linear, 0..1."""
        coded = np.asarray(iio.imread(self.path, mode="RGB"))
        rows, cols = (n // SIZE_MULTIPLE * SIZE_MULTIPLE for n in coded.shape[:2])
        linear = srgb_to_linear(coded[:rows, :cols].astype(np.float32) / np.float32(255))
        planes = pack_rgb(linear / np.float32(WHITE_BALANCE))
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
        )

    @cached_property
    def noise(self) -> NoiseParameters:
        """The camera at this gain: its lines and mean lambda, no colour bias."""
        camera = calibrated()[self.cell.camera]
        return camera.sample(1, gain=self.cell.gain, spread=False, colour_bias=False)

    @cached_property
    def short(self) -> Planes:
        """The short frame, normalised, clipped at the sensor's white, not below black."""
        seed = int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:7], "big")
        clean = torch.from_numpy(self.photo.planes)[None]
        dn = add_noise(
            clean * (CALIBRATED_WHITE / self.cell.ratio),
            self.noise,
            torch.Generator().manual_seed(seed),
        )
        return (dn[0] / CALIBRATED_WHITE).clamp_max(1).numpy()

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


def cells(names: str | None) -> tuple[Cell, ...]:
    """Return the cells that are named, in part (``D850``, ``-300``, ``A7S2-1``); None: all."""
    if names is None:
        return CELLS
    parts = [part.strip().lower() for part in names.split(",")]
    chosen = tuple(
        cell
        for cell in CELLS
        if any(part in cell.camera.lower() or cell.name.lower().endswith(part) for part in parts)
    )
    if not chosen:
        raise SystemExit(
            f"--cells {names}: no such cell; there are {', '.join(c.name for c in CELLS)}"
        )
    return chosen


def score(planes: Planes, clean: Planes) -> Score:
    """Compare planes ``(4, h, w)`` with the clean ones."""
    shown = planes.clip(0, 1).astype(np.float64)
    error = float(np.square(shown - clean).mean())
    return Score(-10 * np.log10(error), ssim(shown, clean.astype(np.float64)))


def ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean SSIM (Wang et al. 2004) over planes of range 1, as scikit-image has it by default.

    Uniform window of 7 x 7 inside the planes only, unbiased covariance: what the rows of peers
    were measured with.
    """
    x, y = torch.from_numpy(a), torch.from_numpy(b)

    def mean(planes: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(planes, SSIM_WINDOW, 1)

    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    mx, my = mean(x), mean(y)
    vx = (mean(x * x) - mx * mx) * unbiased
    vy = (mean(y * y) - my * my) * unbiased
    cov = (mean(x * y) - mx * my) * unbiased
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(index.mean())
