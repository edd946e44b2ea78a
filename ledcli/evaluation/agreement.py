"""Whether every way to compute that this machine has agrees with the reference: CPU, float32."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ledcli.inference.backends.torch import Precision, choose_device, fast_in_bf16
from ledcli.inference.denoiser import Denoiser, Planes
from ledcli.noise.cameras import CALIBRATED_WHITE, calibrated_cameras
from ledcli.noise.physics import add_noise
from ledcli.training.data.crops import pack_rgb
from ledcli.training.data.scenes import make_scene
from ledcli.zoo.header import has_onnx
from ledcli.zoo.store import ChosenModel

SIDE = 256
"""Plane pixels of the frame that is tried."""
RATIO = 100.0
LARGEST_RMS: dict[Precision, float] = {"float32": 2e-4, "bf16": 3e-3}
"""Of white: far below the noise that is left in a photo at this ratio (0.03)."""


@dataclass(frozen=True)
class Path:
    """One way of computing: by what, where, how, and how far from the reference (of white)."""

    backend: str
    device: str
    precision: Precision
    tile: int
    rms: float
    largest: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is small enough for photographs."""
        return bool(self.rms <= LARGEST_RMS[self.precision])


def compare_paths(model: ChosenModel) -> Iterator[Path]:
    """Denoise a made-up frame in every way this machine has; yield each way's difference."""
    short = _short_frame()
    reference = _denoised(model, short, _Way("torch", "cpu", "float32", 0))
    for way in _ways():
        difference = _denoised(model, short, way) - reference
        yield Path(
            *way,
            rms=float(np.sqrt(np.mean(difference**2, dtype=np.float64))),
            largest=float(np.abs(difference).max()),
        )


def devices() -> list[str]:
    """Return the kinds of device this machine has, the preferred first."""
    best = choose_device().type
    return [best] if best == "cpu" else [best, "cpu"]


class _Way(NamedTuple):
    backend: str
    device: str
    precision: Precision
    tile: int


def _ways() -> Iterator[_Way]:
    for device in devices():
        yield _Way("torch", device, "float32", SIDE // 2)
        if fast_in_bf16(torch.device(device)):
            yield _Way("torch", device, "bf16", SIDE // 2)
    if has_onnx():
        yield _Way("onnx", "cpu", "float32", SIDE // 2)


def _short_frame() -> Planes:
    clean = torch.from_numpy(pack_rgb(make_scene(2 * SIDE, np.random.default_rng(0))))[None]
    generator = torch.Generator().manual_seed(0)
    camera = calibrated_cameras()["NikonD850"]
    noise = camera.sample(1, generator, gain=3.0, spread=False, colour_bias=False)
    dn = add_noise(clean * (CALIBRATED_WHITE / RATIO), noise, generator)
    return (dn[0] / CALIBRATED_WHITE).numpy()


def _denoised(model: ChosenModel, short: Planes, way: _Way) -> Planes:
    denoiser = Denoiser(model.path, model.csa_set, **way._asdict())
    return np.clip(denoiser.denoise(short, RATIO), 0, 1)
