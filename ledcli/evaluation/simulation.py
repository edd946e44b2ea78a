"""Made-up frames: a small shoot with the truth that real raws lack, and a test of every engine.

The shoot's camera is not calibrated: its row noise is stronger than any in the bundled model's
training, and its columns band, which no noise model here has.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ledcli.batch.settings import Engine
from ledcli.errors import DeviceError, UsageError
from ledcli.evaluation.datasets.photographs import WHITE_BALANCE
from ledcli.inference.agreement import MAX_RMS, Agreement, failed, results_of
from ledcli.inference.backends import BACKENDS, Backend, Precision, load_backend
from ledcli.inference.denoiser import Denoiser
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
    tukey_lambdas=[-0.15],
    colour_bias=[[0.0] * 4],
)
BANDING = 0.5
"""Standard deviation of a column's value, in standard deviations of the read noise."""
_COLUMN_OF_PLANE = (0, 1, 1, 0)
"""R and G2 lie on one sensor column, G1 and B on the next."""
LONG_ISO, LONG_TIME = 100.0, 10.0
PAIR_ISOS, PHOTO_ISO = (400.0, 6400.0), 1600.0
"""ISOs of the pairs' short frames, by LED's rule, and of the photos, between them."""

ENGINE_TILE = 64
"""Side, plane pixels: the frames that engines are compared on are of two tiles."""


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


class Tried(NamedTuple):
    """A way to compute and its agreement with the reference; None if it is not there, and why."""

    engine: Engine
    agreement: Agreement | None
    missing: str = ""


def compare_engines(model: ChosenModel) -> Iterator[Tried]:
    """Run synthetic frames in every way that led knows and compare with torch on the CPU.

    What is found is kept, so that ``auto`` uses the devices that agree and no others.
    """
    reference = Denoiser(
        model.path, model.csa_set, device="cpu", precision="float32", tile=0, backend="torch"
    )
    with torch.inference_mode():
        expected = results_of(reference.run, reference.spec.planes)
    for name, entry in BACKENDS.items():
        try:
            entry.require("it")
        except UsageError as error:
            yield Tried(Engine("", "", None, name), None, str(error))
            continue
        backend = load_backend(name)
        for device, missing in backend.devices().items():
            if missing:
                yield Tried(Engine(device, "", None, name), None, missing)
                continue
            for precision in _precisions(backend, device):
                engine = Engine(device, precision, ENGINE_TILE, name)
                yield Tried(engine, _agreement(model, engine, expected))


def _precisions(backend: Backend, device: str) -> Iterator[Precision]:
    """All that a device has; of a CPU float32 and what ``auto`` takes: it has no need of others."""
    best = backend.targets(device, "auto")[0].precision
    for precision in MAX_RMS:
        with suppress(UsageError):
            (target,) = backend.targets(device, precision)
            if device != "cpu" or precision in ("float32", best):
                yield target.precision


def _agreement(model: ChosenModel, engine: Engine, expected: list[Tensor]) -> Agreement:
    try:
        denoiser = Denoiser(model.path, model.csa_set, **engine._asdict(), check=False)
    except (RuntimeError, DeviceError) as error:
        return failed(engine.precision, error)
    found = denoiser.compared(expected)
    if denoiser.target.identity:
        denoiser.verdict.keep(found)
    return found
