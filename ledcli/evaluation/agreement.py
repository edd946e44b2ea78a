"""Whether every backend, device and precision of this machine agrees with the reference."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from ledcli.batch.settings import Engine
from ledcli.errors import UsageError
from ledcli.evaluation.datasets.photographs import noise_of, short_frame
from ledcli.inference.backends import BACKENDS, load_backend
from ledcli.inference.backends.torch import choose_device, fast_in_bf16
from ledcli.inference.denoiser import Denoiser, Planes
from ledcli.training.data.crops import pack_rgb
from ledcli.training.data.scenes import make_scene
from ledcli.zoo.store import ChosenModel

SIDE = 256
"""Plane pixels of the test frame."""
RATIO = 100.0
MAX_RMS = {"float32": 2e-4, "bf16": 3e-3}
"""Of white: far below the noise left in a photo at this ratio (0.03)."""


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
    clean = pack_rgb(make_scene(2 * SIDE, np.random.default_rng(0)))
    short = short_frame(clean, noise_of("NikonD850", 3.0), RATIO, seed=0)
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
                yield Engine(device, precision, SIDE // 2, name)


def _denoised(model: ChosenModel, short: Planes, engine: Engine) -> Planes:
    denoiser = Denoiser(model.path, model.csa_set, **engine._asdict())
    return np.clip(denoiser.denoise(short, RATIO), 0, 1)
