"""Whether a device gives the pictures of the reference, which is torch on the CPU in float32.

Drivers have been shipped that compute wrong pictures without an error. So a device is compared on
synthetic frames before it is used, and the result is kept in the cache folder: until hardware,
driver, library, led or the model change, or for a month, since not every driver states its version.
"""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path

import torch
from torch import Tensor

from ledcli import __version__
from ledcli.errors import LedError, first_line
from ledcli.inference.backends import Target
from ledcli.noise.estimate import NoiseProfile
from ledcli.output.atomic import atomic_write
from ledcli.zoo.store import cache_dir

ROWS, COLS = 128, 320
"""Of a synthetic frame, plane pixels: small, and more than one tile of the smallest size."""
STRIP_ROWS = 4
"""Of a strip of such a frame: so low that three levels down some are not at the frame's border."""
MAX_RMS = {"float32": 2e-4, "fp16": 1e-3, "bf16": 3e-3, "int8": 3e-3}
"""Of white: far below the noise left in a photo at ratio 100 (0.03)."""
MAX_AGE = 30 * 86400
"""Seconds."""
_EXPOSURES = ((100.0, NoiseProfile(2e-4, 1e-7)), (1.0, NoiseProfile(2e-5, 1e-8)))
"""Ratio and noise: a dark frame, and a bright one, whose values in the network are large."""

Run = Callable[[Tensor, float, NoiseProfile], Tensor]


@dataclass(frozen=True)
class Agreement:
    """How far a result is from the reference, as shares of white, or why there is no result."""

    precision: str
    rms: float = inf
    largest: float = inf
    error: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the difference is small enough for photographs."""
        return not self.error and self.rms <= MAX_RMS[self.precision]

    @property
    def problem(self) -> str:
        """What is wrong, as the end of a sentence; empty if nothing is."""
        wrong = f"computes wrong pictures (off by {self.rms:.1e} of white)"
        return "" if self.agrees else self.error or wrong


def synthetic_frames(planes: int) -> Iterator[tuple[Tensor, float, NoiseProfile]]:
    """Make noisy frames of slopes, edges, a fine grating, black and clipped areas.

    Yields frames ``(planes, ROWS, COLS)``, each with its ratio and its noise.
    """
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(ROWS), torch.arange(COLS), indexing="ij")
    light = 0.02 + 0.9 * x / COLS
    light = torch.where((y // 48 + x // 48) % 2 == 0, light, 0.3 * light)
    light = torch.where(y < ROWS // 4, light * (1 + 0.4 * torch.sin(x / 2.0)), light)
    light = torch.where((y - 80) ** 2 + (x - 80) ** 2 < 30**2, 0.0, light)
    light = torch.where((y - 80) ** 2 + (x - 200) ** 2 < 20**2, 1.3, light)
    colours = torch.linspace(0.4, 1.0, planes)[:, None, None]
    for ratio, noise in _EXPOSURES:
        clean = light * colours / ratio
        deviation = (clean * noise.gain + noise.read_variance).sqrt()
        random = torch.randn(clean.shape, generator=generator)
        yield (clean + deviation * random).clamp_max(1.0), ratio, noise


def results_of(run: Run, planes: int) -> list[Tensor]:
    """Run the synthetic frames: `run` maps a frame, its ratio and its noise to its result."""
    return [run(*exposure) for exposure in synthetic_frames(planes)]


def compare(run: Run, expected: list[Tensor], planes: int, precision: str) -> Agreement:
    """Compare a device's results with the reference's; its errors are part of the answer."""
    try:
        results = results_of(run, planes)
    except (RuntimeError, LedError) as error:
        return failed(precision, error)
    if not all(bool(each.isfinite().all()) for each in results):
        return Agreement(precision)  # before clamping, which makes white of infinity
    differences = [a.clamp(0, 1) - b.clamp(0, 1) for a, b in zip(results, expected, strict=True)]
    squares = [float(each.double().square().mean()) for each in differences]
    return Agreement(
        precision, max(squares) ** 0.5, max(float(each.abs().max()) for each in differences)
    )


def failed(precision: str, error: Exception) -> Agreement:
    """Return what an error of a device means."""
    return Agreement(precision, error=f"fails: {first_line(error)}")


class Verdict:
    """The agreement of a target on a model file and a CSA set, as the cache folder has it.

    Of one model, since what overflows depends on the weights; and of one machine, since a cache
    folder may be shared and not every library names its hardware.
    """

    def __init__(self, target: Target, sha256: str, csa_set: str) -> None:
        self.precision = target.precision
        machine = platform.platform(), platform.node()
        parts = __version__, *machine, target.identity, target.precision, sha256, csa_set
        name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        self.file: Path = cache_dir() / "agreement" / f"{name}.json"

    def read(self) -> Agreement | None:
        """Return what was kept; None if there is nothing, or it is old or damaged."""
        try:
            if not 0 <= time.time() - self.file.stat().st_mtime <= MAX_AGE:
                return None
            values = json.loads(self.file.read_text("utf-8"))
            rms, largest = float(values["rms"]), float(values["largest"])
            return Agreement(self.precision, rms, largest, str(values["error"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, agreement: Agreement) -> None:
        """Keep a comparison; without a cache folder the next run compares again.

        So it does after an error, which may pass: another program may have taken the memory.
        """
        with suppress(OSError, LedError):
            if agreement.error:
                self.file.unlink(missing_ok=True)
                return
            self.file.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(asdict(agreement))
            atomic_write(self.file, text.encode(), overwrite=True)
