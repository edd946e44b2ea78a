"""Sample what a pretraining step needs: a CSA set, noise, clean scenes, and short frames."""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ledcli.noise.cameras import (
    CALIBRATED_WHITE,
    MAKERS,
    Camera,
    calibrated_cameras,
    random_camera,
    virtual_cameras,
)
from ledcli.noise.physics import NoiseParameters, add_noise, on_sensor_lines
from ledcli.sensor.layout import LAYOUTS
from ledcli.sensor.symmetry import Flip, cells_lost, even_start, flip_planes
from ledcli.training.data.crops import FULL_SCALE

COLUMN_SHARE, HOT_SHARE = 0.25, 0.25
"""Shares of frames with column noise and with hot pixels."""
COLUMN_SCALE = (0.05, 0.6)
"""Standard deviation of a column's value, in standard deviations of a pixel's read noise."""
HOT_DENSITY = (1e-5, 2e-3)
"""Share of hot pixels, uniform in its logarithm."""
HOT_SCALE = (4.0, 60.0)
"""Mean excess of a hot pixel in standard deviations of read noise, uniform in its logarithm."""


@dataclass(frozen=True)
class Defects:
    """The out-of-model noise of ``N`` frames: what no noise model of a camera has.

    Attributes
    ----------
    columns : Tensor ``(N,)``
        Standard deviation of a column's value over that of the read noise.
    density, hot : Tensor ``(N,)``
        Share of hot pixels, and their mean excess over the read noise's deviation.
    """

    columns: Tensor
    density: Tensor
    hot: Tensor

    def to(self, device: torch.device | str) -> Self:
        """Return the same on another device."""
        return type(self)(*(getattr(self, f.name).to(device) for f in fields(self)))

    def sample(self, like: Tensor, read: Tensor, generator: torch.Generator) -> Tensor:
        """Draw what is added to frames ``(N, planes, h, w)`` with read noise of deviation ``read``.

        X-Trans frames start with an even cell.
        """
        added = torch.zeros_like(like)
        if self.columns.any():
            added += on_sensor_lines(like, 1, generator) * _column(self.columns * read)
        if self.density.any():
            chance = torch.rand(like.shape, generator=generator, device=like.device)
            share = chance / _column(self.density).clamp_min(1e-9)
            # Of the pixels that are hot the share is even in 0..1: its logarithm is exponential.
            excess = -share.clamp(1e-6, 1.0).log() * _column(self.hot * read)
            added += torch.where(share < 1, excess, 0.0)
        return added


def sample_defects(count: int, share: float, rng: np.random.Generator) -> Defects:
    """Draw the defects of ``count`` frames; ``share`` scales how many have any."""

    def some(part: float, low: float, high: float) -> Tensor:
        values = np.exp(rng.uniform(np.log(low), np.log(high), count))
        chosen = rng.random(count) < share * part
        return torch.from_numpy(np.where(chosen, values, 0.0).astype(np.float32))

    hot = np.exp(rng.uniform(np.log(HOT_SCALE[0]), np.log(HOT_SCALE[1]), count)).astype(np.float32)
    return Defects(
        some(COLUMN_SHARE, *COLUMN_SCALE), some(HOT_SHARE, *HOT_DENSITY), torch.from_numpy(hot)
    )


def _column(per_frame: Tensor) -> Tensor:
    return per_frame.reshape(-1, 1, 1, 1)


GENERIC = "generic"
FRESH_SHARE, WIDE_SHARE = 0.6, 0.3
"""Share of the generic set's frames whose camera is random, the others are calibrated; and share
of the random ones that are drawn from the wide ranges."""
STEPS = (1.0, 1.0, 1.0, 4.0, 16.0)
"""Quantisation steps in 14-bit DN: 14-bit, 12-bit and 10-bit cameras."""
VALIDATION_CROPS = 8
"""Crops that are never trained on."""


@dataclass(frozen=True)
class PretrainRecipe:
    """What decides a pretraining besides its length; written into the model file.

    Attributes
    ----------
    form : str
        Input form, ``stabilised`` or ``gain``.
    architecture, arguments
        The network, as in nets/registry.py, without its planes.
    ratio_range : (float, float)
        Ratios, uniform in their logarithm.
    at_one : float
        Share of frames at ratio 1 exactly, when the range begins there.
    virtual : int
        Virtual cameras by coverage, one CSA set each.
    makers : bool
        A CSA set for each maker with a calibrated camera.
    generic : float
        Share of iterations for the generic set, which mixes calibrated and random cameras.
    colour_bias : bool
        Frames with a wrong black level: a tuned model learns its camera's, a blind one cannot.
    optimiser : str
        ``muon`` for the kernels and Adam for the rest, or ``adam`` for all.
    stages : sequence of (until, batch, side)
        Batches and crop sides over the progress: small crops first, large ones last.
    cfa : str
        Kind of sensor, of `ledcli.sensor.layout.LAYOUTS`.
    """

    form: str = "stabilised"
    architecture: str = "resunet"
    arguments: dict[str, Any] = field(default_factory=dict)
    ratio_range: tuple[float, float] = (1.0, 300.0)
    at_one: float = 0.1
    virtual: int = 5
    makers: bool = True
    generic: float = 0.5
    colour_bias: bool = False
    optimiser: str = "muon"
    stages: Sequence[tuple[float, int, int]] = (
        (0.5, 16, 64),
        (0.8, 8, 128),
        (0.95, 4, 192),
        (1.0, 2, 256),
    )
    seed: int = 0
    cfa: str = "bayer"

    @property
    def planes(self) -> int:
        """Planes of the mosaic."""
        return LAYOUTS[self.cfa].planes

    def text(self) -> str:
        """Return the recipe as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def sets(self) -> dict[str, list[Camera]]:
        """Return the calibrated and virtual cameras of each CSA set."""
        known = calibrated_cameras()
        sets = {GENERIC: list(known.values())} if self.generic > 0 else {}
        if self.makers:
            sets |= {maker: [known[name] for name in names] for maker, names in MAKERS.items()}
        return sets | {camera.name: [camera] for camera in virtual_cameras(self.virtual, self.seed)}


class Batch(NamedTuple):
    """Short frames and their truth.

    Attributes
    ----------
    clean : Tensor ``(N, planes, h, w)``
        The truth times the ratio, 0 to 1.
    x : Tensor ``(N, planes, h, w)``
        Normalised short frames, not multiplied by the ratio.
    ratio, gain, variance : Tensor ``(N,)``
        Their ratios and true noise profiles (white - black = 1).
    """

    clean: Tensor
    x: Tensor
    ratio: Tensor
    gain: Tensor
    variance: Tensor

    def to(self, device: torch.device) -> Self:
        """Return the same on a device."""
        return type(self)(*(part.to(device) for part in self))


class Sampler:
    """Samples everything a step needs; the same seed gives the same.

    The last crops of the crop file ``(n, planes, S, S)`` are kept for validation; frames are made
    on the device.
    """

    def __init__(
        self, recipe: PretrainRecipe, crops: NDArray[np.uint16], device: torch.device
    ) -> None:
        self.recipe, self.device = recipe, device
        trained = len(crops) - min(VALIDATION_CROPS, len(crops) // 4)
        self.crops, self.validation_crops = crops[:trained], crops[trained:]
        self.sets = recipe.sets()
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Begin a step."""
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def seeded(self, seed: int) -> Self:
        """Return a sampler of the same crops for one step: steps may run in parallel."""
        step = copy.copy(self)
        step.seed(seed)
        return step

    def csa_set(self) -> str:
        """Draw the CSA set of a step."""
        others = [name for name in self.sets if name != GENERIC]
        if not others or self.rng.random() < self.recipe.generic:
            return GENERIC
        return str(self.rng.choice(others))

    def noise(self, name: str, batch: int) -> NoiseParameters:
        """Draw the noise of a batch: frames of the cameras of a CSA set."""
        frames = []
        for _ in range(batch):
            cameras = self.sets[name]
            camera = cameras[self.rng.integers(len(cameras))]
            fresh = name == GENERIC and self.rng.random() < FRESH_SHARE
            if fresh:
                camera = random_camera(self.generator, wide=bool(self.rng.random() < WIDE_SHARE))
            frame = camera.sample(1, self.generator, colour_bias=self.recipe.colour_bias)
            if fresh:
                frame.step.fill_(float(self.rng.choice(STEPS)))
            frames.append(frame)
        columns = zip(*(vars(f).values() for f in frames), strict=True)
        return NoiseParameters(*(torch.cat(column) for column in columns)).to(self.device)

    def defects(self, name: str, batch: int) -> Defects:
        """Draw the defects of the generic set's frames; others have none."""
        share = 1.0 if name == GENERIC else 0.0
        return sample_defects(batch, share, self.rng).to(self.device)

    def ratios(self, batch: int) -> Tensor:
        """Draw ratios ``(batch,)``."""
        low, high = self.recipe.ratio_range
        ratios = np.exp(self.rng.uniform(np.log(low), np.log(high), batch))
        if low == 1:
            ratios[self.rng.random(batch) < self.recipe.at_one] = 1
        return torch.from_numpy(ratios.astype(np.float32)).to(self.device)

    def scenes(self, batch: int, side: int) -> Tensor:
        """Draw clean planes: augmented crops under a random illuminant and exposure."""
        layout, count = LAYOUTS[self.recipe.cfa], self.recipe.planes
        whole, lost = self.crops.shape[-1], cells_lost(count)
        side = min(side, whole - lost)
        coded = np.empty((batch, count, side, side), np.uint16)
        cut = side + lost
        for planes in coded:
            top, left = even_start(count, *self.rng.integers(0, whole - cut + 1, 2))
            crop = self.crops[self.rng.integers(len(self.crops))]
            planes[:] = self.augment(crop[:, top : top + cut, left : left + cut])
        linear = (torch.from_numpy(coded).to(self.device).float() / FULL_SCALE).square()
        red, blue = self.rng.uniform(1.2, 2.6, (2, batch))
        exposure = self.rng.uniform(0.4, 1.0, batch)
        over = self.rng.random(batch) < 0.1
        exposure[over] = self.rng.uniform(1.0, 2.5, int(over.sum()))
        colours = exposure[:, None] / np.stack((red, np.ones(batch), blue), 1)
        of_planes = colours[:, list(layout.colours)].astype(np.float32)
        weights = torch.from_numpy(of_planes).to(self.device)
        return (linear * weights[:, :, None, None]).clamp_max(1.0)

    def augment(self, planes: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Mirror and transpose planes ``(planes, h, w)`` at random (sensor/symmetry.py)."""
        return flip_planes(planes, Flip.random(self.rng))


def short_frames(
    clean: Tensor,
    ratio: Tensor,
    noise: NoiseParameters,
    generator: torch.Generator,
    defects: Defects | None = None,
) -> Batch:
    """Make short frames of clean planes, clipped at white."""
    dn = add_noise(clean * CALIBRATED_WHITE / ratio.reshape(-1, 1, 1, 1), noise, generator)
    if defects is not None:
        dn += defects.sample(dn, noise.pixel_variance().sqrt(), generator)
    x = (dn / CALIBRATED_WHITE).clamp_max(1.0)
    variance = noise.pixel_variance() / CALIBRATED_WHITE**2
    return Batch(clean, x, ratio, noise.gain / CALIBRATED_WHITE, variance)
