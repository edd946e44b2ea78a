"""Train a small network on what a larger model makes of sampled frames: how the fast model is made.

    python tests/benchmarks/distil.py pool CROPS POOL --count 450
    python tests/benchmarks/distil.py train CROPS POOL OUT.safetensors --minutes 42 --rate 1.5e-3

A pool is a folder of batches: short frames, their truth, and the teacher's result with the true
noise profile. It is computed once; steps draw windows and mirror images. Minutes are of processor
time on one core. OUT.checkpoint is written every two minutes; --resume goes on from it.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from report import parser_of
from torch import Tensor, nn

from ledcli import __version__
from ledcli.nets.forms import StabilisedForm, form_of
from ledcli.nets.repnr import deploy, select
from ledcli.noise.physics import column, electron_scale, stabilise, unstabilise
from ledcli.sensor.symmetry import MIRRORS, flip_planes
from ledcli.training.data.crops import FULL_SCALE, load_crops
from ledcli.training.data.sampler import Batch, PretrainRecipe, Sampler
from ledcli.training.loop import Trainer
from ledcli.training.methods import led
from ledcli.training.optim import Schedule
from ledcli.training.pretrain import PretrainMethod, describe, jitter_estimated_profile
from ledcli.zoo.model_file import file_sha256, load_model, save_model
from ledcli.zoo.store import FAST, find_model

CPU = torch.device("cpu")
RECIPE = PretrainRecipe(
    arguments={
        "out_planes": 8,
        "channels": [32, 64, 96],
        "encoder": [1, 2, 2],
        "decoder": [2, 1],
        "up": "bilinear",
        "stride": 2,
    },
    generic=0.6,
    faults=1.0,
    clean_crops=True,
    stages=((0.45, 16, 64), (0.8, 10, 96), (1.0, 8, 112)),
    seed=29,
)
SIDE, BATCH = 128, 8
PATTERN_WEIGHT = 0.05
"""Weight of the part of the error that repeats: it hardly counts in a mean square, but is seen."""
PERIODS = (2, 4, 8)
"""Periods, in plane pixels, of the patterns that the way up leaves."""
TEACHER = 0.8
"""Weight of the teacher in the target where it is nearer to the truth than the student."""
PARTS = ("x", "clean", "teacher", "ratio", "gain", "variance")

Stored = dict[str, NDArray[Any]]


def fill(crops: Path, pool: Path, count: int, seed: int) -> None:
    """Add batches to a pool."""
    pool.mkdir(exist_ok=True)
    sampler = Sampler(RECIPE, load_crops(crops), CPU)
    spec, teacher = load_model(find_model().path)
    form, folded = form_of(spec.input_form), {}
    for number in range(count):
        step_seed = 1_000_003 * seed + number
        step = sampler.seeded(step_seed)
        name = step.csa_set()
        if name not in folded:
            folded[name] = deploy(teacher, name).eval()
        batch = step.batch(name, BATCH, SIDE, torch.Generator().manual_seed(step_seed))
        with torch.inference_mode():
            found = form(folded[name], batch.x, batch.ratio, batch.gain, batch.read_variance)
        clean, found = (_coded(planes) for planes in (batch.clean, found))
        values = (batch.x, clean, found, batch.ratio, batch.gain, batch.read_variance)
        arrays = dict(zip(PARTS, map(np.asarray, values), strict=True))
        np.savez(pool / f"{seed}-{number}.npz", name=np.array(name), **arrays)


class Distilling(PretrainMethod):
    """Pretraining on a pool instead of fresh frames."""

    pool: list[Stored]

    def loss(
        self, net: nn.Module, progress: float, generator: torch.Generator, part: range
    ) -> Tensor:
        """Draw a batch of one CSA set from the pool; return its loss."""
        seed = int(torch.randint(2**31, (), generator=generator))
        rng = np.random.default_rng(seed)
        count, side = self.stage(progress)
        name = str(self.pool[rng.integers(len(self.pool))]["name"])
        stored = [each for each in self.pool if str(each["name"]) == name]
        chosen = [stored[i] for i in rng.integers(len(stored), size=-(-count // BATCH))]
        parts = zip(*(_window(each, side, rng) for each in chosen), strict=True)
        x, clean, teacher, *figures = (torch.cat(part)[:count] for part in parts)
        select(net, name)
        assert isinstance(self.form, StabilisedForm)
        batch = Batch(clean, x, *figures)
        batch = jitter_estimated_profile(batch, torch.Generator().manual_seed(seed))
        return distilled(self.form, net, batch, teacher)


def distilled(form: StabilisedForm, net: nn.Module, batch: Batch, teacher: Tensor) -> Tensor:
    """Return `led.form_loss` with the gradient of an error to truth and teacher ``(N, 4, h, w)``.

    Where the teacher is further from the truth than the student, it does not count.
    """
    gain, t0 = electron_scale(column(batch.gain), column(batch.read_variance))
    denoised = form.denoise(net, stabilise(batch.x / gain, t0), t0)
    level = gain * column(batch.ratio)
    stable = tuple(stabilise(planes / level, t0) for planes in (batch.clean, teacher))
    linear = led.under_white(unstabilise(denoised, t0) * level)
    pattern = PATTERN_WEIGHT * pattern_error(denoised - stable[0])
    in_noise = _log_error(denoised, *stable, led.STABLE_FLOOR, pattern)
    in_light = _log_error(linear, batch.clean, teacher, led.LINEAR_FLOOR, torch.zeros(()))
    return (in_noise + in_light) / 2


def pattern_error(error: Tensor) -> Tensor:
    """Return ``(N,)``, how much of the error ``(N, planes, h, w)`` repeats.

    For each period, the variance of the mean error over the period's phases, times the samples of
    a phase; then the mean over the periods. Without a pattern that is about the mean square error.
    """
    total = torch.zeros(len(error), device=error.device)
    for period in PERIODS:
        rows, cols = (n // period for n in error.shape[2:])
        if rows * cols < 2:
            continue
        cut = error[:, :, : rows * period, : cols * period]
        phases = cut.unflatten(3, (cols, period)).unflatten(2, (rows, period)).mean((2, 4))
        total = total + rows * cols * phases.var((2, 3), correction=0).mean(1)
    return total / len(PERIODS)


def _log_error(out: Tensor, truth: Tensor, teacher: Tensor, floor: float, added: Tensor) -> Tensor:
    error = _mean_square(out - truth)
    share = TEACHER * (_mean_square(teacher - truth) < error.detach())
    mixed = (1 - share) * error + share * _mean_square(out - teacher)
    scale = (error + added + floor).detach()
    value = (mixed + added) / scale / 2
    return (value - value.detach() + scale.log() / 2).mean()


def _mean_square(error: Tensor) -> Tensor:
    return error.square().mean((1, 2, 3))


def _window(stored: Stored, side: int, rng: np.random.Generator) -> list[Tensor]:
    """Return the parts of a stored batch, cut and mirrored alike."""
    top, left = rng.integers(0, SIDE - side, 2)
    flip = MIRRORS[rng.integers(len(MIRRORS))]
    parts = []
    for name in PARTS:
        values = stored[name]
        if values.ndim == 4:
            cut = values[..., top : top + side + 1, left : left + side + 1]
            values = np.stack([flip_planes(frame, flip) for frame in cut])
        part = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        parts.append((part / FULL_SCALE).square() if name in ("clean", "teacher") else part)
    return parts


def _coded(planes: Tensor) -> Tensor:
    return (planes.clamp(0, 1).sqrt() * FULL_SCALE).round().to(torch.uint16)


def main() -> None:
    """Fill a pool, or train."""
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=("pool", "train"))
    parser.add_argument("crops", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=450)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=42.0)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "pool":
        fill(options.crops, options.pool, options.count, options.seed)
        return
    train(options)


def train(options: argparse.Namespace) -> None:
    """Train on a pool, and write the model file."""
    method = Distilling(RECIPE, load_crops(options.crops), CPU)
    method.pool = [dict(np.load(path)) for path in sorted(options.pool.glob("*.npz"))]
    schedule = Schedule(10**7, options.minutes, options.rate, warm_up=300)
    trainer = Trainer(
        method.network(),
        method,
        schedule,
        CPU,
        bf16=False,
        seed=RECIPE.seed,
        muon=True,
        clock=time.process_time,
    )
    checkpoint = options.out.with_suffix(".checkpoint")
    if options.resume:
        trainer.resume(checkpoint, RECIPE.text())
    for line in trainer.run(checkpoint, RECIPE.text(), checkpoint_every=120):
        print(line.as_json(), flush=True)
    training = {
        "quality": FAST,
        "recipe": json.loads(RECIPE.text()),
        "schedule": schedule.as_json(),
        "teacher": {"sha256": file_sha256(find_model().path), "share": TEACHER},
        "iterations": trainer.step,
        "seconds": round(trainer.seconds),
        "version": __version__,
    }
    spec = replace(describe(RECIPE, "led-bayer-fast"), training=training)
    with trainer.averaged():
        save_model(options.out, spec, trainer.net.state_dict(), half=True)


if __name__ == "__main__":
    main()
