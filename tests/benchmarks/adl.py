"""Adaptive domain learning against plain fine-tuning: the paper's Table 5, and the case it is for.

    python tests/benchmarks/adl.py --json tests/benchmarks/results/adl.json

A made-up camera that no calibration knows has twenty small pairs at ratio 100. A small network is
trained on them from scratch, in the gain form and by L1 as in the paper, for the same iterations:

- base: on the target's pairs alone, plainly, and by adaptive domain learning without a source,
  which is the modulation alone;
- plainly and by adaptive domain learning with a source, seven of whose pairs there are for every
  one of the target. Harmful 1 has the wrong noise: bright frames with Gaussian noise of 30/255,
  cut off at black and white as an 8-bit picture is. Harmful 2 is misaligned: the truth is another
  scene, or black. Useful are calibrated and virtual cameras over scenes of their own, at the same
  ratio; here one may also train on the source first and on the target afterwards.

Judged on frames of other scenes by the same camera.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from report import context, finish, head, parser_of, table
from torch import Tensor, nn

from ledcli.evaluation.simulation import CAMERA
from ledcli.nets.forms import form_of
from ledcli.nets.modulation import ModulatedNet
from ledcli.nets.network import build
from ledcli.noise.cameras import CALIBRATED_WHITE
from ledcli.noise.physics import add_noise
from ledcli.sensor.cfa import Phase
from ledcli.training.data.crops import encode, pack_rgb
from ledcli.training.data.pairs import CameraPairs, RawPair, camera_pairs
from ledcli.training.data.sampler import Batch
from ledcli.training.data.scenes import make_scene
from ledcli.training.data.sources import MadeUpSource, PairSource, SourceBatch, SourceDomain
from ledcli.training.loop import Method, Trainer
from ledcli.training.methods.adl import AdlMethod, AdlRecipe
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.led import form_loss
from ledcli.training.methods.start import Pretrained
from ledcli.training.optim import Schedule
from ledcli.zoo.spec import ModelSpec

CPU = torch.device("cpu")
TARGET, RATIO, ISOS = "Target", 100.0, (400.0, 1600.0, 6400.0)
PAIRS, SIDE, TESTED, TEST_SIDE = 20, 128, 24, 192
ARGUMENTS = {"in_planes": 4, "channels": [12, 24, 48, 64]}
GAUSSIAN = 30 / 255
SEEDS = (0, 1)
POOLED = 0.875
"""Share of a source's crops where they are in one pool with the target's."""
PLAIN, FIRST, ADL = "plain", "plain, source first", "adl"


def main() -> None:
    """Train, judge, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shots, frames = (
        camera_pairs(map(_pair, range(PAIRS))),
        [_frame(1000 + n) for n in range(TESTED)],
    )
    crops = np.stack([encode(_clean(500 + n, SIDE)) for n in range(96)])
    useful = MadeUpSource("useful", crops, (RATIO, RATIO))
    sources: dict[str, SourceDomain | None] = {
        "base": None,
        "harmful 1, wrong noise": WrongNoise(useful),
        "harmful 2, misaligned": Misaligned(PairSource("misaligned", shots)),
        "useful cameras": useful,
    }
    results = {}
    for name, source in sources.items():
        for way in (PLAIN, ADL) if source is not useful else (PLAIN, FIRST, ADL):
            found = [trained(way, source, shots, options.iterations, seed) for seed in SEEDS]
            psnr = [judged(net, frames) for net, _ in found]
            results[f"{name}, {way}"] = {"psnr": psnr, "kept": [kept for _, kept in found]}
            print(name, way, psnr, [kept for _, kept in found], flush=True)
    base = np.mean(results["base, plain"]["psnr"])
    rows = [
        [
            name,
            f"{np.mean(row['psnr']):.2f}",
            f"{np.mean(row['psnr']) - base:+.2f}",
            ", ".join(f"{value:.2f}" for value in row["psnr"]),
            ", ".join(str(kept) for kept in row["kept"]),
        ]
        for name, row in results.items()
    ]
    about = context() | {"pairs": PAIRS, "ratio": RATIO, "iterations": options.iterations}
    markdown = head("Adaptive domain learning", about) + (
        f"{PAIRS} pairs of a made-up camera at ratio {RATIO:g}, {options.iterations} iterations "
        f"each, judged on {TESTED} frames of other scenes: PSNR of the planes in dB, the mean of "
        f"{len(SEEDS)} seeds.\n\n"
        + table(["trained on", "dB", "over base, plain", "by seed", "source steps kept"], rows)
    )
    finish(options.json, about | {"results": results}, markdown)


class Plain(Method):
    """Naive fine-tuning: crops of one pool, every step kept.

    The pool is the target's pairs and seven times as many of the source, or, when the source goes
    first, the source's alone for one half of the training and the target's for the other.
    """

    def __init__(
        self, shots: CameraPairs, source: SourceDomain | None, recipe: AdlRecipe, *, first: bool
    ) -> None:
        self.shots, self.source, self.recipe, self.first = shots, source, recipe, first
        self.form = form_of("gain")

    def loss(self, net: nn.Module, progress: float, generator: torch.Generator) -> Tensor:
        """Return L1 of the next batch."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, round(progress * recipe.iterations)])
        foreign = 0 if self.source is None else self._foreign(progress)
        parts = []
        if foreign < recipe.batch:
            parts.append(self.shots.batch(rng, recipe.batch - foreign, recipe.side))
        if foreign and self.source is not None:
            parts.append(self.source.draw(rng, foreign, recipe.side).batch)
        batch = Batch(*map(torch.cat, zip(*parts, strict=True)))
        return form_loss(self.form, net, batch, batch.gain, batch.variance)

    def _foreign(self, progress: float) -> int:
        if self.first:
            return self.recipe.batch if progress < 0.5 else 0
        return round(self.recipe.batch * POOLED)

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return nothing: judged at the end."""
        return {}


class WrongNoise:
    """Bright frames with Gaussian noise over the useful source's scenes, cut off at 0 and 1."""

    name, sensors = "wrong noise", ()

    def __init__(self, inner: MadeUpSource) -> None:
        self.inner, self.side = inner, inner.side

    def draw(self, rng: np.random.Generator, count: int, side: int) -> SourceBatch:
        """Draw crops at ratio 1."""
        batch = self.inner.draw(rng, count, side).batch
        noise = torch.from_numpy(rng.normal(0, GAUSSIAN, batch.x.shape).astype(np.float32))
        ones = torch.ones(count)
        wrong = Batch(
            batch.clean, (batch.clean + noise).clamp(0, 1), ones, ones * 1e-4, ones * GAUSSIAN**2
        )
        return SourceBatch(wrong, [None] * count, [ISOS[0]] * count)


class Misaligned:
    """Short frames of the target beside the truth of other scenes, or black."""

    name, sensors = "misaligned", ()

    def __init__(self, inner: PairSource) -> None:
        self.inner, self.side = inner, inner.side

    def draw(self, rng: np.random.Generator, count: int, side: int) -> SourceBatch:
        """Draw crops; half of them black."""
        batch = self.inner.draw(rng, count, side).batch
        black = torch.from_numpy(rng.random(count) < 0.5).reshape(-1, 1, 1, 1)
        clean = batch.clean.roll(1, 0).where(~black, 0.0)
        return SourceBatch(batch._replace(clean=clean), [None] * count, [ISOS[0]] * count)


class Frame(NamedTuple):
    """A short frame and its truth, ``(1, 4, h, w)``."""

    x: Tensor
    clean: Tensor
    iso: float


def trained(
    way: str, source: SourceDomain | None, shots: CameraPairs, iterations: int, seed: int
) -> tuple[nn.Module, str]:
    """Train one network; return it, and how many of the source's steps were kept."""
    recipe = AdlRecipe(iterations=iterations, batch=8, side=64, learning_rate=1e-3, seed=seed)
    torch.manual_seed(seed)
    net = build("resunet", ARGUMENTS)
    if way != ADL:
        schedule = Schedule(iterations, learning_rate=recipe.learning_rate, warm_up=20, ema=0.99)
        plain = Plain(shots, source, recipe, first=way == FIRST)
        trainer = Trainer(net, plain, schedule, CPU, bf16=True)
    else:
        sources = [] if source is None else [source]
        method = AdlMethod(recipe, MethodInputs(shots, CPU, TARGET, sources=sources))
        start = method.begin(Pretrained(_spec(), net))
        trainer = Trainer(start.net, method, method.schedule(), CPU, bf16=True)
    for _ in trainer.run():
        pass
    trainer.swap_average()
    if way != ADL or source is None:
        return trainer.net, "-"
    return trainer.net, f"{method.kept.total()} of {method.tried.total()}"


def judged(net: nn.Module, frames: list[Frame]) -> float:
    """Return the mean PSNR of the frames in dB."""
    form, values = form_of("gain"), []
    for x, clean, iso in frames:
        if isinstance(net, ModulatedNet):
            net.set_shots([TARGET], [iso])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            out = form(net, x, torch.tensor([RATIO]), torch.ones(1), torch.ones(1)).float()
        values.append(float(-10 * (out.clamp(0, 1) - clean).square().mean().log10()))
    return round(sum(values) / len(values), 3)


def _clean(seed: int, side: int) -> np.ndarray:
    return pack_rgb(make_scene(2 * side, np.random.default_rng(seed)))


def _shoot(clean: np.ndarray, iso: float, ratio: float, seed: int) -> np.ndarray:
    noise = CAMERA.sample(1, gain=iso / 400, spread=False, colour_bias=False)
    signal = torch.from_numpy(clean)[None] * (CALIBRATED_WHITE / ratio)
    dn = add_noise(signal, noise, torch.Generator().manual_seed(seed))[0]
    return (dn / CALIBRATED_WHITE).clamp_max(1).numpy()


def _pair(number: int) -> RawPair:
    clean, iso = _clean(number, SIDE), ISOS[number % len(ISOS)]
    short = _shoot(clean, iso, RATIO, number)
    return RawPair(
        short, _shoot(clean, 100, 1, 5000 + number), RATIO, iso, 100.0, str(number), Phase.RGGB
    )


def _frame(seed: int) -> Frame:
    clean, iso = _clean(seed, TEST_SIDE), ISOS[seed % len(ISOS)]
    short = _shoot(clean, iso, RATIO, seed)
    return Frame(torch.from_numpy(short)[None], torch.from_numpy(clean)[None], iso)


def _spec() -> ModelSpec:
    return ModelSpec(
        name="adl",
        architecture="resunet",
        arguments=ARGUMENTS,
        input_form="gain",
        csa_sets=(),
        ratio_range=(RATIO, RATIO),
        method="none",
        licence="Apache-2.0",
        source="tests/benchmarks/adl.py",
    )


if __name__ == "__main__":
    main()
