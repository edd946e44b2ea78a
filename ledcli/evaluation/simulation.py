"""Made-up frames: a small shoot with the truth that real raws lack, and a test of every engine.

The shoot's camera is not calibrated: its row noise is stronger than any in the bundled model's
training, and its columns band, which no noise model here has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ledcli.batch.settings import Engine
from ledcli.errors import UsageError
from ledcli.evaluation.datasets.photographs import WHITE_BALANCE, noise_of, short_frame
from ledcli.inference.backends import BACKENDS, load_backend
from ledcli.inference.backends.torch import choose_device, fast_in_bf16
from ledcli.inference.denoiser import Denoiser, Planes
from ledcli.noise.cameras import CALIBRATED_WHITE, Camera, LogLinear
from ledcli.noise.physics import add_noise
from ledcli.output.atomic import atomic_write
from ledcli.output.dng import dng_bytes
from ledcli.raw.exif import Exif
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import Phase, unpack
from ledcli.sensor.levels import Levels
from ledcli.training.data.crops import pack_rgb
from ledcli.training.data.scenes import Linear, make_scene
from ledcli.zoo.store import ChosenModel

MAKE, MODEL = "led", "Democam"
BLACK, WHITE = 512.0, 512.0 + CALIBRATED_WHITE
_BALANCE = np.array(WHITE_BALANCE, np.float32)
BASE_ISO = 400.0
"""ISO at which the gain K is 1 DN per electron."""
CAMERA = Camera(
    name=MODEL,
    gain_range=(0.25, 32.0),
    read=LogLinear(0.65, 0.3, 0.0),
    row=LogLinear(0.75, 0.2, 0.0),
    shapes=[-0.15],
    colour_bias=[[0.0] * 4],
)
BANDING = 0.5
"""Standard deviation of a column's value, in standard deviations of the read noise."""
_COLUMN_OF_PLANE = (0, 1, 1, 0)
"""R and G2 lie on one sensor column, G1 and B on the next."""
LONG_ISO, LONG_TIME = 100.0, 10.0
PAIR_ISOS, PHOTO_ISO = (400.0, 6400.0), 1600.0
"""ISOs of the pairs' short frames, by LED's rule, and of the photos, between them."""

ENGINE_SIDE, ENGINE_RATIO = 256, 100.0
"""Of the frame that engines are compared on: side in plane pixels, and ratio."""
MAX_RMS = {"float32": 2e-4, "bf16": 3e-3}
"""Of white: far below the noise left in a photo at this ratio (0.03)."""


@dataclass(frozen=True)
class Shot:
    """A frame on disk and its truth: clean mosaic ``(H, W)`` times the ratio, 0 to 1."""

    path: Path
    photo: RawPhoto
    short: NDArray[np.float32]
    truth: NDArray[np.float32]


def make_photos(
    folder: Path, count: int, *, ratio: float = 100.0, size: int = 1024, seed: int = 0
) -> list[Shot]:
    """Write short frames of different scenes into a folder.

    `size` is the side of the mosaic in pixels, even; the same seed gives the same shoot.
    """
    rng = np.random.default_rng(seed)
    return [
        _take(folder / f"IMG_{9000 + n}.dng", _scene(size, rng), PHOTO_ISO, ratio, 100 * seed + n)
        for n in range(1, count + 1)
    ]


def make_pairs(
    folder: Path, *, ratio: float = 100.0, size: int = 1280, seed: int = 0
) -> list[tuple[Shot, Shot]]:
    """Write the two pairs, short and long, that LED needs for a ratio; see `make_photos`."""
    rng = np.random.default_rng([seed, 1])
    pairs = []
    for number, iso in enumerate(PAIR_ISOS):
        scene, name, own = _scene(size, rng), 2 * number + 1, 100 * seed + 50 + 2 * number
        short = _take(folder / f"IMG_{name:04}.dng", scene, iso, ratio, own)
        long = _take(folder / f"IMG_{name + 1:04}.dng", scene, LONG_ISO, 1.0, own + 1)
        pairs.append((short, long))
    return pairs


def _scene(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    scene: Linear = (make_scene(size, rng) / _BALANCE).astype(np.float32)
    return pack_rgb(scene)


def _take(path: Path, clean: NDArray[np.float32], iso: float, ratio: float, seed: int) -> Shot:
    """Photograph clean planes ``(4, h, w)`` and write the frame."""
    generator = torch.Generator().manual_seed(seed)
    noise = CAMERA.sample(1, gain=iso / BASE_ISO, spread=False, colour_bias=False)
    signal = torch.from_numpy(clean)[None] * (CALIBRATED_WHITE / ratio)
    dn = add_noise(signal, noise, generator)[0]
    banding = torch.randn(2, 1, dn.shape[2], generator=generator)[list(_COLUMN_OF_PLANE)]
    dn += BANDING * noise.pixel_variance().sqrt() * banding
    shape = (2 * clean.shape[1], 2 * clean.shape[2])
    stored = np.clip(np.rint(unpack(dn.numpy(), Phase.RGGB, shape) + BLACK), 0, WHITE)
    short = ((stored - BLACK) / CALIBRATED_WHITE).astype(np.float32)
    time = LONG_TIME * LONG_ISO / (iso * ratio)
    photo = RawPhoto(
        path=path,
        mosaic=stored.astype(np.uint16),
        phase=Phase.RGGB,
        levels=Levels(np.full(4, BLACK, np.float32), np.full(4, WHITE, np.float32)),
        exif=Exif(make=MAKE, model=MODEL, iso=iso, exposure_time=time, aperture=4.0),
        colour_matrix=None,
        as_shot_wb=np.array(WHITE_BALANCE),
        daylight_wb=None,
        orientation=1,
        bits=14,
        crop=None,
        pixel_aspect=1.0,
    )
    atomic_write(path, dng_bytes(photo, short, software="led demo"))
    return Shot(path, photo, short, unpack(clean, Phase.RGGB, shape))


class Agreement(NamedTuple):
    """A way to compute, and how far its result is from the reference (share of white)."""

    engine: Engine
    rms: float
    largest: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is small enough for photographs."""
        return self.rms <= MAX_RMS[self.engine.precision]


def compare_engines(model: ChosenModel) -> Iterator[Agreement]:
    """Denoise a made-up frame in every way this machine has, and compare with torch on the CPU."""
    clean = pack_rgb(make_scene(2 * ENGINE_SIDE, np.random.default_rng(0)))
    short = short_frame(clean, noise_of("NikonD850", 3.0), ENGINE_RATIO, seed=0)
    reference = _denoised(model, short, Engine("cpu", "float32", 0, "torch"))
    for engine in _engines():
        difference = _denoised(model, short, engine) - reference
        rms = float(np.sqrt(np.mean(difference**2, dtype=np.float64)))
        yield Agreement(engine, rms, float(np.abs(difference).max()))


def devices() -> list[str]:
    """Return the kinds of device this machine has, the preferred first."""
    best = choose_device().type
    return [best] if best == "cpu" else [best, "cpu"]


def _engines() -> Iterator[Engine]:
    for name, entry in BACKENDS.items():
        try:
            entry.require(f"the {name} backend")
        except UsageError:
            continue
        for device in devices():
            for precision in MAX_RMS:
                if precision == "bf16" and not fast_in_bf16(torch.device(device)):
                    continue
                try:
                    load_backend(name).resolve(device, precision)
                except UsageError:
                    continue
                yield Engine(device, precision, ENGINE_SIDE // 2, name)


def _denoised(model: ChosenModel, short: Planes, engine: Engine) -> Planes:
    denoiser = Denoiser(model.path, model.csa_set, **engine._asdict())
    return np.clip(denoiser.denoise(short, ENGINE_RATIO), 0, 1)
