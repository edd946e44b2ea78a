"""Adaptive domain learning against plain fine-tuning: the paper's Table 5, and the case it is for.

    python tests/benchmarks/adl.py --json tests/benchmarks/results/adl.json

A made-up camera that no calibration knows has small pairs at ratio 100, twenty or --pairs of them.
A small network is trained on them from scratch, in the gain form and by L1 as in the paper, for
the same iterations:

- base: on the target's pairs alone, plainly, and by adaptive domain learning without a source,
  which is the modulation alone;
- plainly and by adaptive domain learning with a source, seven of whose pairs there are for every
  one of the target. Harmful 1 has the wrong noise: bright frames with Gaussian noise of 30/255,
  cut off at black and white as an 8-bit picture is. Harmful 2 is misaligned: the truth is another
  scene, or black. Useful are calibrated and virtual cameras over scenes of their own, at the same
  ratio. Near are the pairs of six cameras whose every parameter is at most 15 % off the target's.
  With these two one may also train on the source first and on the target afterwards.

Judged on frames of other scenes by the same camera. Every seed has pairs of its own. --rows chooses
what is trained; a run goes on with what is missing in its results, and --anew forgets them.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from report import context, finish, head, keep, note, parser_of, table
from torch import Tensor, nn

from ledcli.evaluation.simulation import CAMERA
from ledcli.inference.backends.torch import choose_precision
from ledcli.nets.forms import form_of
from ledcli.nets.modulation import ModulatedNet
from ledcli.nets.network import build
from ledcli.noise.cameras import CALIBRATED_WHITE, Camera, LogLinear
from ledcli.noise.physics import add_noise
from ledcli.sensor.cfa import Phase
from ledcli.training.data.crops import encode, pack_rgb
from ledcli.training.data.pairs import CameraPairs, RawPair, camera_pairs
from ledcli.training.data.sampler import Batch
from ledcli.training.data.scenes import make_scene
from ledcli.training.data.sources import PairSource, SourceBatch, SourceDomain, SyntheticSource
from ledcli.training.loop import Method, Trainer
from ledcli.training.methods.adl import AdlMethod, AdlRecipe
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.led import form_loss
from ledcli.training.methods.start import Pretrained
from ledcli.training.optim import Schedule
from ledcli.zoo.spec import ModelSpec

CPU = torch.device("cpu")
BF16 = choose_precision("auto", CPU) == "bf16"
TARGET, RATIO, ISOS = "Target", 100.0, (400.0, 1600.0, 6400.0)
SIDE, TESTED, TEST_SIDE = 128, 24, 192
ARGUMENTS = {"in_planes": 4, "channels": [12, 24, 48, 64]}
GAUSSIAN = 30 / 255
NEAR, NEAR_PAIRS, OFF = 6, 32, 0.15
"""Near cameras, pairs of each, and the share by which a parameter may be off."""
POOLED = 0.875
"""Share of a source's crops where they are in one pool with the target's."""
PLAIN, FIRST, ADL, MODULATED = "plain", "plain, source first", "adl", "adl, modulated"
ROWS = {
    "base": ("base", (PLAIN, ADL, MODULATED)),
    "noise": ("harmful 1, wrong noise", (PLAIN, ADL)),
    "misaligned": ("harmful 2, misaligned", (PLAIN, ADL)),
    "useful": ("useful cameras", (PLAIN, FIRST, ADL, MODULATED)),
    "near": ("near cameras", (PLAIN, FIRST, ADL, MODULATED)),
}
"""By source: what it is called, and the ways to train with it."""
KEYS = {
    f"{source}-{way.rpartition(' ')[2]}": (source, way)
    for source, (_, ways) in ROWS.items()
    for way in ways
}
"""The rows as --rows calls them."""


def main() -> None:
    """Train what is missing, judge, keep and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--pairs", default="20", help="of the target; several numbers by commas")
    usual = [row for row in KEYS if MODULATED.split()[1] not in row]
    parser.add_argument("--rows", default=",".join(usual), help=f"by commas, of {', '.join(KEYS)}")
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--anew", action="store_true", help="do what is done already again")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    options = parser.parse_args()
    torch.set_num_threads(1)
    numbers, rows = [int(n) for n in options.pairs.split(",")], options.rows.split(",")
    same = {"ratio": RATIO, "iterations": options.iterations}
    about = context() | same
    results: dict[str, Any] = {}
    if options.json.is_file() and not options.anew:
        kept = json.loads(options.json.read_text())
        results = kept["results"] if all(kept.get(name) == same[name] for name in same) else {}
    frames = [_frame(1000 + n) for n in range(TESTED)]
    crops = np.stack([encode(_clean(500 + n, SIDE)) for n in range(96)])
    useful = SyntheticSource("useful", crops, (RATIO, RATIO))
    near: list[SourceDomain] = [near_source(number) for number in range(NEAR)]
    for count in numbers:
        for seed in range(options.seeds):
            shots = target_pairs(count, seed)
            sources: dict[str, list[SourceDomain]] = {
                "base": [],
                "noise": [WrongNoise(useful)],
                "misaligned": [Misaligned(PairSource("misaligned", shots))],
                "useful": [useful],
                "near": near,
            }
            for row in rows:
                source, way = KEYS[row]
                name = f"{count} pairs: {ROWS[source][0]}, {way}"
                if str(seed) in results.get(name, {}):
                    continue
                net, steps = trained(way, sources[source], shots, options.iterations, seed)
                run = {"psnr": judged(net, frames), "kept": steps}
                results.setdefault(name, {})[str(seed)] = run
                note(f"{name}, seed {seed}: {run}")
                keep(options.json, about | {"results": results}, _markdown(about, results))
    finish(options.json, about | {"results": results}, _markdown(about, results))


def _markdown(about: dict[str, Any], results: dict[str, Any]) -> str:
    rows = []
    for name, found in results.items():
        base = results.get(f"{name.partition(':')[0]}: base, plain", {})
        gains = [run["psnr"] - base[seed]["psnr"] for seed, run in found.items() if seed in base]
        psnr = [run["psnr"] for run in found.values()]
        by_seed = ", ".join(f"{value:.2f}" for value in psnr)
        gain = f"{np.mean(gains):+.2f}" if gains else "-"
        kept = ", ".join(run["kept"] for run in found.values())
        rows.append([name, f"{np.mean(psnr):.2f}", gain, by_seed, kept])
    return head("Adaptive domain learning", about) + (
        f"Pairs of a made-up camera at ratio {RATIO:g}, {about['iterations']} iterations each, "
        f"judged on {TESTED} frames of other scenes: PSNR of the planes in dB, the mean of the "
        "seeds. Every seed has pairs of its own.\n\n"
        + table(["trained on", "dB", "over base, plain", "by seed", "source steps kept"], rows)
    )


class Plain(Method):
    """Naive fine-tuning: crops of one pool, every step kept.

    The pool is the target's pairs and seven times as many of the sources, or, when the sources go
    first, theirs alone for one half of the training and the target's for the other.
    """

    def __init__(
        self, shots: CameraPairs, sources: list[SourceDomain], recipe: AdlRecipe, *, first: bool
    ) -> None:
        self.shots, self.sources, self.recipe, self.first = shots, sources, recipe, first
        self.form = form_of("gain")

    def loss(
        self, net: nn.Module, progress: float, generator: torch.Generator, part: range
    ) -> Tensor:
        """Return L1 of the next batch."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, round(progress * recipe.iterations)])
        foreign = self._foreign(progress) if self.sources else 0
        parts = []
        if foreign < recipe.batch:
            parts.append(self.shots.batch(rng, recipe.batch - foreign, recipe.side))
        if foreign:
            source = self.sources[rng.integers(len(self.sources))]
            parts.append(source.draw(rng, foreign, recipe.side).batch)
        batch = Batch(*map(torch.cat, zip(*parts, strict=True)))
        return form_loss(self.form, net, batch)

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

    def __init__(self, inner: SyntheticSource) -> None:
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
    way: str, sources: list[SourceDomain], shots: CameraPairs, iterations: int, seed: int
) -> tuple[nn.Module, str]:
    """Train one network; return it, and how many of the sources' steps were kept."""
    recipe = AdlRecipe(iterations=iterations, batch=8, side=64, learning_rate=1e-3, seed=seed)
    torch.manual_seed(seed)
    net = build("resunet", ARGUMENTS)
    if way in (PLAIN, FIRST):
        schedule = Schedule(iterations, learning_rate=recipe.learning_rate, warm_up=20, ema=0.99)
        plain = Plain(shots, sources, recipe, first=way == FIRST)
        trainer = Trainer(net, plain, schedule, CPU, bf16=BF16)
    else:
        if way == MODULATED:
            recipe = replace(recipe, modulated_from=0)
        method = AdlMethod(recipe, MethodInputs(shots, CPU, TARGET, sources=sources))
        start = method.begin(Pretrained(_spec(), net))
        trainer = Trainer(start.net, method, method.schedule(), CPU, bf16=BF16)
    for _ in trainer.run():
        pass
    trainer.swap_average()
    if way in (PLAIN, FIRST) or not sources:
        return trainer.net, "-"
    return trainer.net, f"{method.kept.total()} of {method.tried.total()}"


def judged(net: nn.Module, frames: list[Frame]) -> float:
    """Return the mean PSNR of the frames in dB."""
    form, values = form_of("gain"), []
    for x, clean, iso in frames:
        if isinstance(net, ModulatedNet):
            net.set_shots([TARGET], [iso])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=BF16):
            out = form(net, x, torch.tensor([RATIO]), torch.ones(1), torch.ones(1)).float()
        values.append(float(-10 * (out.clamp(0, 1) - clean).square().mean().log10()))
    return round(sum(values) / len(values), 3)


def target_pairs(count: int, seed: int) -> CameraPairs:
    """Shoot the target's pairs; two of them have the lowest and the highest ISO."""
    isos = ISOS[::2] if count == 2 else ISOS
    return camera_pairs(_pair(100_000 * seed + n, isos[n % len(isos)]) for n in range(count))


def near_source(number: int) -> PairSource:
    """Shoot the pairs of a near camera, with scenes of their own."""
    rng = np.random.default_rng([number, 7])
    slopes, factors = rng.uniform(1 - OFF, 1 + OFF, (2, 3))
    camera = Camera(
        name=f"Near {number}",
        gain_range=CAMERA.gain_range,
        read=LogLinear(CAMERA.read.slope * slopes[0], CAMERA.read.bias + np.log(factors[0]), 0.0),
        row=LogLinear(CAMERA.row.slope * slopes[1], CAMERA.row.bias + np.log(factors[1]), 0.0),
        tukey_lambdas=[CAMERA.tukey_lambdas[0] * slopes[2]],
        colour_bias=CAMERA.colour_bias,
    )
    shots = range(10_000 * (number + 1), 10_000 * (number + 1) + NEAR_PAIRS)
    pairs = [_pair(n, ISOS[n % len(ISOS)], camera, 400 * factors[2]) for n in shots]
    return PairSource(camera.name, camera_pairs(pairs))


def _clean(seed: int, side: int) -> np.ndarray:
    return pack_rgb(make_scene(2 * side, np.random.default_rng(seed)))


def _shoot(
    clean: np.ndarray,
    iso: float,
    ratio: float,
    seed: int,
    camera: Camera = CAMERA,
    unit_iso: float = 400,
) -> np.ndarray:
    noise = camera.sample(1, gain=iso / unit_iso, spread=False, colour_bias=False)
    signal = torch.from_numpy(clean)[None] * (CALIBRATED_WHITE / ratio)
    dn = add_noise(signal, noise, torch.Generator().manual_seed(seed))[0]
    return (dn / CALIBRATED_WHITE).clamp_max(1).numpy()


def _pair(number: int, iso: float, camera: Camera = CAMERA, unit_iso: float = 400) -> RawPair:
    clean = _clean(number, SIDE)
    short = _shoot(clean, iso, RATIO, number, camera, unit_iso)
    long = _shoot(clean, 100, 1, 5000 + number, camera, unit_iso)
    return RawPair(short, long, RATIO, iso, 100.0, str(number), Phase.RGGB)


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
