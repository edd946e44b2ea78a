"""Noise parameters of cameras: calibrated ones, and virtual ones that cover their range."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import torch
from torch import Tensor

from ledcli.noise.physics import NoiseParameters

CALIBRATED_WHITE = 15871.0
"""White minus black of the calibrations' 14-bit DN (ELD's SonyA7S2: 16383 - 512)."""


@dataclass(frozen=True)
class LogLinear:
    """How a noise scale follows the gain: ``log(scale) = slope * log(K) + bias + N(0, sigma)``."""

    slope: float
    bias: float
    sigma: float

    def sample(self, gain: Tensor, generator: torch.Generator | None, spread: bool) -> Tensor:
        """Draw a scale in DN for each gain ``(N,)``; without ``spread``, the expected one."""
        log = self.slope * gain.log() + self.bias
        if spread:
            log = log + self.sigma * torch.randn(gain.shape, generator=generator)
        return log.exp()


@dataclass(frozen=True)
class Camera:
    """A camera's parameters of the ELD model."""

    name: str
    gain_range: tuple[float, float]
    """Smallest and largest system gain K, DN per electron."""
    read: LogLinear
    """Tukey-lambda scale, and the row noise's standard deviation, over the gain, DN."""
    row: LogLinear
    tukey_lambdas: Sequence[float]
    """Tukey lambda at gains spread evenly (in the logarithm) over the range."""
    colour_bias: Sequence[Sequence[float]]
    """Black offsets of the planes R, G1, B, G2 at gains spread in the same way, DN."""

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        *,
        gain: float | None = None,
        spread: bool = True,
        colour_bias: bool = True,
    ) -> NoiseParameters:
        """Draw the noise of ``count`` frames, on the CPU.

        Without a gain K of all frames, it is drawn evenly in its logarithm over the camera's range.
        With `spread`, scales are drawn around their expectation and lambda by the gain; otherwise
        they are the expected scales and the mean lambda.
        """
        low, high = (torch.tensor(k).log() for k in self.gain_range)
        position = torch.rand(count, generator=generator)
        if gain is not None:
            position = ((torch.tensor(gain).log() - low) / (high - low)).clamp(0, 1).expand(count)
        k = (low + position * (high - low)).exp() if gain is None else torch.full((count,), gain)
        lambdas, biases = torch.tensor(self.tukey_lambdas), torch.tensor(self.colour_bias)
        nearest = lambdas[_nearest(position, len(lambdas))]
        tukey_lambda = nearest if spread else lambdas.mean().expand(count)
        bias = biases[_nearest(position, len(biases))] if colour_bias else torch.zeros(count, 4)
        return NoiseParameters(
            gain=k,
            tukey_lambda=tukey_lambda,
            read=self.read.sample(k, generator, spread),
            row=self.row.sample(k, generator, spread),
            colour_bias=bias,
            step=torch.ones(count),
        )


@cache
def calibrated_cameras() -> dict[str, Camera]:
    """Return the cameras with a public calibration, by name (figures: ELD, MIT licence)."""
    text = resources.files(__package__).joinpath("eld_calibrations.json").read_text("utf-8")
    return {
        name: Camera(
            name=name,
            gain_range=tuple(values["gain"]),
            read=LogLinear(**values["read"]),
            row=LogLinear(**values["row"]),
            tukey_lambdas=values["shape"],
            colour_bias=values["colour_bias"],
        )
        for name, values in json.loads(text)["cameras"].items()
    }


MAKERS: dict[str, tuple[str, ...]] = {
    "sony": ("SonyA7S2",),
    "nikon": ("NikonD850",),
    "canon": ("CanonEOS700D", "CanonEOS70D"),
}
"""The calibrated cameras on which a maker's CSA set is trained."""

VIRTUAL_GAIN = (0.1, 30.0)
VIRTUAL_RANGES: dict[str, tuple[float, float]] = {
    "read_slope": (0.4621, 0.6559),
    "read_bias": (-0.0904, 1.5370),
    "read_sigma": (0.2392, 0.3888),
    "shape": (-0.2429, 0.2),
    "row_slope": (0.4483, 0.7292),
    "row_bias": (-1.7977, -0.5917),
    "row_sigma": (0.2322, 0.2943),
    "colour_bias_mean": (-1.908, 4.081),
    "colour_bias_sigma": (0.0069, 3.038),
}
"""Ranges of the published setting ('CVPR20'), in DN and natural logarithms."""
WIDE_RANGES = VIRTUAL_RANGES | {
    "read_slope": (0.3, 0.9),
    "read_bias": (-1.2, 2.6),
    "row_bias": (-3.0, 0.0),
}
WIDE_GAIN = (0.007, 60.0)
"""Wider: 99.7 % of the 8,048 noise profiles of 433 cameras that darktable's users measured lie
within, and 77 % within the published ranges (tests/benchmarks/noise_ranges.py)."""
COLOUR_BIASES = 16
"""Colour biases of a virtual camera, spread over its gains."""


def virtual_cameras(count: int, seed: int = 0) -> list[Camera]:
    """Make virtual cameras: each parameter at the centres of ``count`` equal parts of its range."""
    generator, table = torch.Generator().manual_seed(seed), {}
    for name, (low, high) in VIRTUAL_RANGES.items():
        positions = (torch.randperm(count, generator=generator) + 0.5) / count
        table[name] = (low + positions * (high - low)).tolist()
    return [
        _virtual(f"virtual{i}", {name: values[i] for name, values in table.items()}, generator)
        for i in range(count)
    ]


def random_camera(generator: torch.Generator | None = None, *, wide: bool = False) -> Camera:
    """Draw one virtual camera at random from the published ranges, or from the wide ones."""
    values = {
        name: float(low + (high - low) * torch.rand((), generator=generator))
        for name, (low, high) in (WIDE_RANGES if wide else VIRTUAL_RANGES).items()
    }
    return _virtual("random", values, generator, WIDE_GAIN if wide else VIRTUAL_GAIN)


def _virtual(
    name: str,
    values: dict[str, float],
    generator: torch.Generator | None,
    gain_range: tuple[float, float] = VIRTUAL_GAIN,
) -> Camera:
    spread = torch.randn(COLOUR_BIASES, 4, generator=generator)
    biases = values["colour_bias_mean"] + values["colour_bias_sigma"] * spread
    return Camera(
        name=name,
        gain_range=gain_range,
        read=LogLinear(values["read_slope"], values["read_bias"], values["read_sigma"]),
        row=LogLinear(values["row_slope"], values["row_bias"], values["row_sigma"]),
        tukey_lambdas=[values["shape"]],
        colour_bias=biases.tolist(),
    )


def _nearest(position: Tensor, count: int) -> Tensor:
    return (position * (count - 1)).round().long()
