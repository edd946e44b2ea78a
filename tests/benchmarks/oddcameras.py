"""Made-up cameras whose noise is outside the virtual ranges, with noise no model here knows.

On top of the ELD model, with scales beyond the ranges that the bundled model was trained over:
column banding (a value per sensor column and frame), hot pixels, and, where asked for, dark
shading (a smooth pattern that stays the same from frame to frame).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import report  # noqa: F401
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ledcli.noise.cameras import CALIBRATED_WHITE, Camera, LogLinear
from ledcli.noise.physics import NoiseParameters, add_noise
from ledcli.raw.colour import linear_from_srgb
from ledcli.training.data.crops import pack_rgb

BANDING = 0.5
"""Standard deviation of the column values, in standard deviations of the read noise."""
HOT = 1 / 20_000
"""Share of hot pixels; each is 10 to 1,000 standard deviations of the read noise too bright."""
SHADING = 0.5
"""Standard deviation of the dark shading over the frame, likewise."""
SHADING_NODES = 4
"""Dark shading is drawn on so many nodes a side and enlarged: it is smooth."""
COLUMN_OF_PLANE = (0, 1, 1, 0)
"""R and G2 lie on one sensor column, G1 and B on the next."""
BASE_ISO = 400.0
"""ISO at which a camera's gain K is 1 DN per electron; K follows the ISO."""
LONG_ISO = 100.0
WHITE_BALANCE = (2.0, 1.0, 1.7)
TILES = (3, 3)
"""A frame of a pair is a wall of so many photographs: 14.7 million pixels, as a camera has."""
SIZE = (960, 1440)
"""Pixels that are used of each, the same of all."""
FRAME = tuple(size * count // 2 for size, count in zip(SIZE, TILES, strict=True))
"""Size of a frame in plane pixels."""

Planes = NDArray[np.float32]


@dataclass(frozen=True)
class OddCamera:
    """A camera, its noise model and the part that is in no model."""

    model: Camera
    """The ELD part: what a perfect calibration would find."""
    seed: int
    """Of the dark shading."""
    shading: float = 0.0
    """Its size in standard deviations of the read noise; 0 is none."""

    @property
    def name(self) -> str:
        """Name of the camera."""
        return self.model.name

    def shaded(self) -> "OddCamera":
        """Return the camera with dark shading."""
        return replace(self, shading=SHADING)

    def noise(self, iso: float) -> NoiseParameters:
        """Return the modelled noise of one frame at an ISO: the lines themselves."""
        return self.model.sample(1, gain=iso / BASE_ISO, spread=False, colour_bias=False)

    def read_sigma(self, iso: float) -> float:
        """Return the standard deviation of the read noise in DN."""
        return float(self.noise(iso).pixel_variance().sqrt())

    def frame(self, clean: Planes, iso: float, ratio: float, seed: int) -> Planes:
        """Photograph clean planes ``(4, h, w)`` in 0..1, too dark by the ratio; normalised."""
        generator = torch.Generator().manual_seed(seed)
        signal = torch.from_numpy(clean)[None] * (CALIBRATED_WHITE / ratio)
        dn = add_noise(signal, self.noise(iso), generator)[0]
        dn += self.read_sigma(iso) * self._unmodelled(dn, generator)
        # A camera stores whole DN; black is high enough that nothing is cut below.
        return (dn.round() / CALIBRATED_WHITE).clamp_max(1).numpy()

    def _unmodelled(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Banding, hot pixels and shading ``(4, h, w)`` in standard deviations of read noise."""
        _, rows, cols = like.shape
        banding = BANDING * torch.randn(2, 1, cols, generator=generator)
        hot = torch.rand(like.shape, generator=generator) < HOT
        heat = 10 ** (1 + 2 * torch.rand(like.shape, generator=generator))
        noise = banding[list(COLUMN_OF_PLANE)] + hot * heat
        if self.shading:
            noise = noise + self.shading * self._pattern(rows, cols)
        return noise

    def _pattern(self, rows: int, cols: int) -> Tensor:
        """Shading of the top left ``(4, rows, cols)``, standard deviation 1 over the frame."""
        return self._whole_pattern[:, :rows, :cols]

    @cached_property
    def _whole_pattern(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        nodes = torch.randn(1, 4, SHADING_NODES, SHADING_NODES, generator=generator)
        whole = F.interpolate(nodes, FRAME, mode="bicubic", align_corners=True)[0]
        return (whole - whole.mean()) / whole.std()


def _camera(name: str, shape: float, read: tuple[float, float], row: tuple[float, float]) -> Camera:
    return Camera(
        name=name,
        gain_range=(0.05, 64.0),
        read=LogLinear(*read, sigma=0.0),
        row=LogLinear(*row, sigma=0.0),
        tukey_lambdas=[shape],
        colour_bias=[[0.0] * 4],
    )


CAMERAS = (
    # Slopes and intercepts of log scale over log K; the virtual ranges are in noise/cameras.py.
    OddCamera(_camera("heavy tails", -0.35, (0.72, -0.3), (0.80, -0.4)), seed=1),
    OddCamera(_camera("light tails", 0.35, (0.40, 1.7), (0.40, -0.3)), seed=2),
    OddCamera(_camera("rows", -0.30, (0.70, 0.4), (0.78, 0.2)), seed=3),
)


def wall(paths: list[Path], rng: np.random.Generator) -> Planes:
    """Return clean planes ``(4, h, w)`` of a wall of photographs drawn at random."""
    down, across = TILES
    chosen = rng.choice(len(paths), down * across, replace=False)
    rows = [
        np.concatenate([_photo(paths[i]) for i in chosen[r * across : (r + 1) * across]], 1)
        for r in range(down)
    ]
    exposure = np.float32(rng.uniform(0.6, 1.0))
    return pack_rgb(np.concatenate(rows, 0) * (exposure / np.float32(WHITE_BALANCE)))


def _photo(path: Path) -> NDArray[np.float32]:
    coded = np.asarray(iio.imread(path, mode="RGB"))
    top, left = ((n - s) // 2 for n, s in zip(coded.shape[:2], SIZE, strict=True))
    crop = coded[top : top + SIZE[0], left : left + SIZE[1]]
    return linear_from_srgb(crop.astype(np.float32) / np.float32(255))
