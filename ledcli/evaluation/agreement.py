"""Whether every fast path of this machine agrees with the reference: the CPU in float32."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ledcli.inference.device import Precision, choose_device, fast_in_bf16
from ledcli.inference.engine import Denoiser, Planes
from ledcli.noise.cameras import CALIBRATED_WHITE, calibrated
from ledcli.noise.physics import add_noise
from ledcli.training.crops import pack_rgb
from ledcli.training.scenes import make_scene
from ledcli.zoo.shelf import FoundModel

SIDE = 256
"""Plane pixels of the frame that is tried."""
RATIO = 100.0
LARGEST_RMS: dict[Precision, float] = {"float32": 2e-4, "bf16": 3e-3}
"""Of white: far below the noise that is left in a photo at this ratio (0.03)."""


@dataclass(frozen=True)
class Path:
    """One way of computing: where, how, and how far from the reference (of white)."""

    device: str
    precision: Precision
    tile: int
    rms: float
    largest: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is small enough for photographs."""
        return bool(self.rms <= LARGEST_RMS[self.precision])


def compare_paths(model: FoundModel) -> Iterator[Path]:
    """Denoise a made-up frame in every way this machine has; yield each way's difference."""
    short = _short_frame()
    reference = _denoised(model, short, "cpu", "float32", 0)
    for device, precision, tile in _ways():
        difference = _denoised(model, short, device, precision, tile) - reference
        yield Path(
            device,
            precision,
            tile,
            rms=float(np.sqrt(np.mean(difference**2, dtype=np.float64))),
            largest=float(np.abs(difference).max()),
        )


def devices() -> list[str]:
    """Return the kinds of device this machine has, the preferred first."""
    best = choose_device().type
    return [best] if best == "cpu" else [best, "cpu"]


def _ways() -> Iterator[tuple[str, Precision, int]]:
    for device in devices():
        yield device, "float32", SIDE // 2
        if fast_in_bf16(torch.device(device)):
            yield device, "bf16", SIDE // 2


def _short_frame() -> Planes:
    clean = torch.from_numpy(pack_rgb(make_scene(2 * SIDE, np.random.default_rng(0))))[None]
    generator = torch.Generator().manual_seed(0)
    camera = calibrated()["NikonD850"]
    noise = camera.sample(1, generator, gain=3.0, spread=False, colour_bias=False)
    dn = add_noise(clean * (CALIBRATED_WHITE / RATIO), noise, generator)
    return (dn[0] / CALIBRATED_WHITE).numpy()


def _denoised(
    model: FoundModel, short: Planes, device: str, precision: Precision, tile: int
) -> Planes:
    denoiser = Denoiser(*model, device=device, precision=precision, tile=tile)
    return np.clip(denoiser.denoise(short, RATIO), 0, 1)
