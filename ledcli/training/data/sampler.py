"""Sample what a pretraining step needs: a CSA set, noise, clean scenes, and short frames."""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
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
from ledcli.noise.physics import NoiseParameters, add_noise, column
from ledcli.sensor.layout import LAYOUTS
from ledcli.sensor.symmetry import Flip, cells_lost, even_start, flip_planes
from ledcli.training.data.crops import FULL_SCALE, Crops, crop_noise
from ledcli.training.data.faults import Defects, Faults, sample_defects, sample_faults
from ledcli.training.data.scenes import add_stars, log_uniform

GENERIC = "generic"
FRESH_SHARE, WIDE_SHARE = 0.6, 0.3
"""Share of the generic set's frames whose camera is random, the others are calibrated; and share
of the random ones that are drawn from the wide ranges."""
STEPS = (1.0, 1.0, 1.0, 4.0, 16.0)
"""Quantisation steps in 14-bit DN: 14-bit, 12-bit and 10-bit cameras."""
VALIDATION_CROPS = 8
"""Crops that are never trained on."""
STAR_SHARE = 0.06
"""Share of the generic set's scenes that are night skies, times the recipe's faults."""
CLEAN_NOISE, MIN_CLEAN_SHARE = 0.35, 0.1
"""Largest noise of a crop of its own over that of the frame; share of the cleanest crops that may
be drawn in any case."""
UNKNOWN = 2.0
"""Truth of a pixel that is not known: it counts neither in losses nor in validation."""
MULTIPLE = 16
"""Sides of crops are multiples of it: networks halve them up to four times."""
MID_SIGNAL = 0.1
"""Signal at which the noise of a frame is compared with that of the crops."""


@dataclass(frozen=True)
class PretrainRecipe:
    """What decides a pretraining besides its length; written into the model file."""

    form: str = "stabilised"
    """Input form, ``stabilised`` or ``gain``."""
    architecture: str = "resunet"
    arguments: dict[str, Any] = field(default_factory=dict)
    """Of the network, as in nets/registry.py, without its planes."""
    ratio_range: tuple[float, float] = (1.0, 300.0)
    """Ratios, uniform in their logarithm."""
    at_one: float = 0.1
    """Share of frames at ratio 1 exactly, when the range begins there."""
    virtual: int = 5
    """Virtual cameras by coverage, one CSA set each."""
    makers: bool = True
    """A CSA set for each maker with a calibrated camera."""
    generic: float = 0.5
    """Share of iterations for the generic set, which mixes calibrated and random cameras."""
    colour_bias: bool = False
    """Frames with a wrong black level: a tuned model learns its camera's, a blind one cannot."""
    optimiser: str = "muon"
    """``muon`` for the kernels and Adam for the rest, or ``adam`` for all."""
    stages: Sequence[tuple[float, int, int]] = (
        (0.5, 16, 64),
        (0.8, 8, 128),
        (0.95, 4, 192),
        (1.0, 2, 256),
    )
    """(until, batch, side) over the progress: small crops first, large ones last."""
    seed: int = 0
    cfa: str = "bayer"
    """Kind of sensor, of `ledcli.sensor.layout.LAYOUTS`."""
    faults: float = 0.0
    """Scales how many of the generic set's frames have camera faults (training/data/faults.py) and
    stars: 1 is usual, 0 none."""
    clean_crops: bool = False
    """Take crops for frames of little noise from those that have less noise of their own."""

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
    """Short frames and their truth."""

    clean: Tensor
    """The truth times the ratio ``(N, planes, h, w)``, 0 to 1; `UNKNOWN` where there is none."""
    x: Tensor
    """Normalised short frames ``(N, planes, h, w)``, not multiplied by the ratio."""
    ratio: Tensor
    gain: Tensor
    read_variance: Tensor
    """Their ratios and true noise profiles ``(N,)`` (white - black = 1)."""

    def to(self, device: torch.device) -> Self:
        """Return the same on a device."""
        if device.type == "cuda" and self.x.device.type == "cpu":
            # From pinned memory the copy does not wait for the steps before it.
            return type(self)(*(part.pin_memory().to(device, non_blocking=True) for part in self))
        return type(self)(*(part.to(device) for part in self))


class Sampler:
    """Samples everything a step needs; the same seed gives the same.

    The last crops of the crop file ``(n, planes, S, S)`` are kept for validation; frames are made
    on the device.
    """

    def __init__(self, recipe: PretrainRecipe, crops: Crops, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        trained = len(crops) - min(VALIDATION_CROPS, len(crops) // 4)
        self.crops, self.validation_crops = crops[:trained], crops[trained:]
        self.sets = recipe.sets()
        if recipe.clean_crops:
            noise = crop_noise(self.crops)
            self.cleanest_first = np.argsort(noise)
            self.own_noise = noise[self.cleanest_first]
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Seed the random numbers of a step."""
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
        return stack_noise(frames).to(self.device)

    def ratios(self, batch: int) -> Tensor:
        """Draw ratios ``(batch,)``."""
        low, high = self.recipe.ratio_range
        ratios = log_uniform(self.rng, low, high, batch)
        if low == 1:
            ratios[self.rng.random(batch) < self.recipe.at_one] = 1
        return torch.from_numpy(ratios.astype(np.float32)).to(self.device)

    @property
    def max_side(self) -> int:
        """The largest side that a drawn crop may have."""
        return (self.crops.shape[-1] - cells_lost(self.recipe.planes)) // MULTIPLE * MULTIPLE

    def scenes(
        self, batch: int, side: int, noise: Tensor | None = None, stars: float = 0.0
    ) -> Tensor:
        """Draw clean planes: augmented crops under a random illuminant and exposure.

        ``noise`` ``(batch,)`` limits the crops to clean ones if the recipe says so: the standard
        deviations of the frames' noise in the square root of the signal. ``stars`` is the share of
        night skies with stars.
        """
        layout, count = LAYOUTS[self.recipe.cfa], self.recipe.planes
        whole, lost = self.crops.shape[-1], cells_lost(count)
        side = min(side, self.max_side)
        coded = np.empty((batch, count, side, side), np.uint16)
        cut, limits = side + lost, [] if noise is None else noise.tolist()
        for frame, planes in enumerate(coded):
            top, left = even_start(count, *self.rng.integers(0, whole - cut + 1, 2))
            crop = self.crop(None if noise is None else limits[frame])
            window = crop[:, top : top + cut, left : left + cut]
            planes[:] = flip_planes(window, Flip.random(self.rng))
        linear = (torch.from_numpy(coded).to(self.device).float() / FULL_SCALE).square()
        red, blue = self.rng.uniform(1.2, 2.6, (2, batch))
        exposure = self.rng.uniform(0.4, 1.0, batch)
        over = self.rng.random(batch) < 0.1
        exposure[over] = self.rng.uniform(1.0, 2.5, int(over.sum()))
        colours = exposure[:, None] / np.stack((red, np.ones(batch), blue), 1)
        of_planes = colours[:, list(layout.colours)].astype(np.float32)
        weights = torch.from_numpy(of_planes).to(self.device)
        scenes = linear * weights[:, :, None, None]
        if stars:
            add_stars(scenes, self.rng.random(batch) < stars, self.rng)
        return scenes.clamp_max(1.0)

    def crop(self, noise: float | None = None) -> NDArray[np.uint16]:
        """Draw a crop, of those that are clean enough for a noise if the recipe says so."""
        count = len(self.crops)
        if noise is None or not self.recipe.clean_crops:
            return self.crops[self.rng.integers(count)]
        clean = int(np.searchsorted(self.own_noise, CLEAN_NOISE * noise))
        clean = max(clean, round(MIN_CLEAN_SHARE * count), 1)
        return self.crops[self.cleanest_first[self.rng.integers(clean)]]

    def batch(self, name: str, count: int, side: int, generator: torch.Generator) -> Batch:
        """Draw short frames of a CSA set; their noise is made with ``generator``."""
        recipe, generic = self.recipe, float(name == GENERIC)  # other sets have no defects
        share = recipe.faults * generic
        if recipe.clean_crops or recipe.faults:
            ratio, noise = self.ratios(count), self.noise(name, count)
            clean = self.scenes(count, side, _root_noise(noise, ratio), STAR_SHARE * share)
            defects = sample_defects(count, generic, self.rng)
        else:  # in the order of earlier versions, so that a seed gives the same training
            clean, ratio = self.scenes(count, side), self.ratios(count)
            defects, noise = sample_defects(count, generic, self.rng), self.noise(name, count)
        faults = None
        if recipe.faults:
            faults = sample_faults(count, recipe.planes, share, self.rng)
        return short_frames(clean, ratio, noise, generator, defects, faults)


def stack_noise(frames: Sequence[NoiseParameters]) -> NoiseParameters:
    """Return the noise of a batch of those frames."""
    columns = zip(*(vars(frame).values() for frame in frames), strict=True)
    return NoiseParameters(*map(torch.cat, columns))


def short_frames(
    clean: Tensor,
    ratio: Tensor,
    noise: NoiseParameters,
    generator: torch.Generator,
    defects: Defects | None = None,
    faults: Faults | None = None,
) -> Batch:
    """Make short frames of clean planes, clipped at white.

    The truth of a frame that the camera smoothed is smoothed too. The noise profile of such a
    frame, and of one with corrected vignetting, is that of `Faults.noise_profile`.
    """
    dn = clean * CALIBRATED_WHITE / column(ratio)
    if faults is not None:
        dn = dn / faults.correction(dn)
    dn = add_noise(dn, noise, generator)
    read = noise.pixel_variance().sqrt()
    if defects is not None:
        dn += defects.sample(dn, read, generator)
    gain, variance = noise.gain / CALIBRATED_WHITE, noise.pixel_variance() / CALIBRATED_WHITE**2
    if faults is not None:
        dn = faults.apply(dn, read, CALIBRATED_WHITE, generator)
        clean, (gain, variance) = faults.smooth(clean), faults.noise_profile(gain, variance)
    return Batch(clean, (dn / CALIBRATED_WHITE).clamp_max(1.0), ratio, gain, variance)


def _root_noise(noise: NoiseParameters, ratio: Tensor) -> Tensor:
    """Return the standard deviation ``(N,)`` of the noise in the square root of a middle signal."""
    level = ratio / CALIBRATED_WHITE
    variance = noise.gain * level * MID_SIGNAL + noise.pixel_variance() * level.square()
    return (variance / MID_SIGNAL).sqrt() / 2
