"""What fine-tuning gives: odd cameras, tuned with two pairs per ratio, with one, or wrong ones.

    python tests/benchmarks/finetune.py
    python tests/benchmarks/finetune.py --cameras rows --variants two,led

Each tuning takes some minutes. Every result is kept in results/finetune.json as it is there, and
a run goes on with what is missing for this model and recipe; --anew forgets what is there.
"""

import argparse
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch
from oddcameras import BANDING, CAMERAS, FRAME, HOT, LONG_ISO, SIZE, TILES, OddCamera, Planes, wall
from protocol import PHOTOS, photos, score, true_profile
from report import RESULTS, SHARED, context, head, keep, parser_of, table

from ledcli.inference.backends.torch import choose_device, choose_precision
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.camera_profile import CameraNoiseProfile, upsample
from ledcli.noise.cameras import CALIBRATED_WHITE
from ledcli.noise.dark import DarkMeasurement
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.noise.physics import add_noise
from ledcli.sensor.cfa import Phase
from ledcli.training.data.pairs import RawPair, camera_pairs
from ledcli.training.data.sampler import Batch
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.led import (
    PROFILE_ERROR,
    SCHEDULES,
    TARGET,
    LedMethod,
    LedRecipe,
    groups,
    prepare,
)
from ledcli.training.methods.start import Start
from ledcli.zoo.model_file import file_sha256, load_model, save_model
from ledcli.zoo.store import find_model

RATIOS = (100.0, 300.0)
DN = 1 / CALIBRATED_WHITE
LOW, HIGH = 400.0, 6400.0
TEST_ISOS = (400.0, 1600.0, 6400.0)
DARKS_PER_ISO = 2
SETS = {
    "two": ((LOW, HIGH), "two pairs per ratio"),
    "one": ((HIGH,), "one pair per ratio"),
    "one-iso": ((HIGH, HIGH), "two pairs of one ISO"),
}
"""Variants that differ in the pairs: ISOs of the pairs of each ratio."""
VARIANTS = {
    "noisy": "noisy input",
    "untuned": "un-tuned, blind",
    **{name: text for name, (_, text) in SETS.items()},
    "rival": "calibrated rival",
    "led": "two pairs, LED's schedule",
    "quadruple": "two pairs, 16 crops",
    "shaded-untuned": "dark shading: un-tuned",
    "shaded-untuned-darks": "dark shading: un-tuned, led denoise --dark",
    "shaded": "dark shading: two pairs",
    "shaded-darks": "dark shading: two pairs and dark frames",
}
EVERYWHERE = ("noisy", "untuned", "two", "one", "one-iso", "rival", "led", "quadruple")
"""Variants that are run on every camera; the others on one."""
FOLDERS = ("matheus_unsplash", "oceanic_pexels", "budgie", "trident_pexels")
START = "generic"


def main() -> None:
    """Run what is missing, print and keep."""
    options = _options()
    cameras = [c for c in CAMERAS if options.cameras is None or c.name in options.cameras]
    variants = list(VARIANTS) if options.variants is None else options.variants.split(",")
    device = choose_device(options.device)
    bench = Bench(options.photos, device, choose_precision("auto", device) == "bf16", options)
    done: dict[str, Any] = {}
    if options.json.is_file() and not options.anew:
        done = json.loads(options.json.read_text())["runs"]
    for camera in cameras:
        for variant in variants:
            if variant not in EVERYWHERE and camera.name != options.extras:
                continue
            key = f"{camera.name}: {variant}"
            if done.get(key, {}).get("made with") == bench.identity(variant):
                continue
            done[key] = bench.run(camera, variant)
            print(f"{key}: {_summary(done[key])}", file=sys.stderr, flush=True)
            about = context() | {"device": str(device), "model_sha256": bench.sha256}
            keep(options.json, about | {"runs": done}, _markdown(about, done))
    print(options.json.with_suffix(".md").read_text())


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--cameras", type=lambda text: text.split(","), help="by commas")
    parser.add_argument("--variants", help=f"by commas, of {', '.join(VARIANTS)}")
    parser.add_argument("--extras", default="rows", help="camera of the variants run on one only")
    parser.add_argument("--photos", type=Path, default=SHARED / "clean")
    parser.add_argument("--iterations", type=int, default=0, help="0: the schedule's")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, default=RESULTS / "finetune.json")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the tuned models here")
    parser.add_argument("--anew", action="store_true", help="do what is done already again")
    return parser.parse_args()


Look = Callable[[Planes, float], tuple[Planes, NoiseProfile]]
"""How a frame of an ISO is looked at: the frame with black where it belongs, and its noise."""


class Bench:
    """Tunes and measures on one device."""

    def __init__(
        self, folder: Path, device: torch.device, bf16: bool, options: argparse.Namespace
    ) -> None:
        self.device, self.bf16, self.iterations = device, bf16, options.iterations
        self.keep = options.keep
        self.model = find_model(START).path
        self.sha256 = file_sha256(self.model)
        self.scenes = _scenes(folder / "train")
        self.tests = photos(folder / "eval" / "kodak")
        self.untuned = Denoiser(self.model, START, device=str(device))

    def recipe(self, variant: str) -> LedRecipe:
        """Return how a variant is tuned."""
        changes: dict[str, dict[str, Any]] = {
            "led": {"schedule": "led"},
            "quadruple": {"batch": 4 * LedRecipe.batch},
        }
        return LedRecipe(iterations=self.iterations, **changes.get(variant, {}))

    def identity(self, variant: str) -> dict[str, Any]:
        """Return what a kept result must have been made with to count."""
        recipe = self.recipe(variant)
        return {
            "model": self.sha256[:12],
            "start": START,
            "device": self.device.type,
            "recipe": asdict(recipe),
            "schedule": SCHEDULES[recipe.schedule].as_json(),
            "line error": list(PROFILE_ERROR),
        }

    def run(self, camera: OddCamera, variant: str) -> dict[str, Any]:
        """Tune if the variant is tuned, and measure it in every cell."""
        before = time.monotonic()
        if variant.startswith("shaded"):
            camera = camera.shaded()
        denoiser, look = self.untuned, _blind
        if variant == "shaded-untuned-darks":
            look = _by_darks(camera)
        elif variant not in ("noisy", "untuned", "shaded-untuned"):
            denoiser, look = self._tuned(camera, variant)
        seconds = time.monotonic() - before
        cells = {
            f"{ratio:g}/{iso:g}": self._cell(
                camera, ratio, iso, None if variant == "noisy" else denoiser, look
            )
            for ratio in RATIOS
            for iso in TEST_ISOS
        }
        return {
            "made with": self.identity(variant),
            "psnr": cells,
            "mean": round(float(np.mean(list(cells.values()))), 3),
            "seconds": round(seconds),
        }

    def _tuned(self, camera: OddCamera, variant: str) -> tuple[Denoiser, Look]:
        recipe = self.recipe(variant)
        isos = SETS.get(variant, SETS["two"])[0]
        darks = None
        if variant == "shaded-darks":
            darks = {iso: [_dark(camera, iso, n) for n in range(DARKS_PER_ISO)] for iso in isos}
        shots = camera_pairs(_shots(camera, isos, self.scenes), darks)
        spec, net = load_model(self.model)
        prepare(spec, net, START)
        inputs = MethodInputs(shots, self.device, input_form=spec.input_form)
        rival = variant == "rival"
        method = Rival(camera, recipe, inputs) if rival else LedMethod(recipe, inputs)
        trainer = method.trainer(Start(spec, net, groups(net)), bf16=self.bf16)
        for line in trainer.run(log_every=50):
            took = f"{line.seconds:.0f} s, {time.process_time():.0f} s of the processor"
            print(f"  {line.step}: {line.loss:.4f}, {line.validation}, {took}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder, trainer.averaged():
            method.settle(trainer.net)
            path = Path(folder) / "tuned.safetensors"
            tuned = replace(spec, csa_sets=(TARGET,), omnr=True)
            save_model(path, tuned, trainer.net.state_dict())
            if self.keep:
                save_model(
                    self.keep / f"{camera.name.replace(' ', '-')}-{variant}.safetensors",
                    replace(tuned, noise_profile=shots.noise_profile),
                    trainer.net.state_dict(),
                )
            denoiser = Denoiser(path, TARGET, device=str(self.device))
        if variant == "rival":
            return denoiser, lambda short, iso: (short, true_profile(camera.noise(iso)))
        return denoiser, lambda short, iso: _by_lines(shots.noise_profile, short, iso)

    def _cell(
        self, camera: OddCamera, ratio: float, iso: float, denoiser: Denoiser | None, look: Look
    ) -> float:
        values = []
        for photo in self.tests:
            seed = _seed("test", camera.name, ratio, iso, photo.path.name)
            short = camera.frame(photo.planes, iso, ratio, seed)
            result = np.minimum(short * np.float32(ratio), 1)
            if denoiser is not None:
                corrected, noise = look(short, iso)
                result = denoiser.denoise(corrected, ratio, noise=noise)
            values.append(score(result, photo.planes).psnr)
        return round(float(np.mean(values)), 3)


class Rival(LedMethod):
    """Calibration-based: the same scenes, but the noise is that of the camera's own model.

    The model is the true one, as a perfect calibration would find it; what no model here has
    (banding, hot pixels) it lacks.
    """

    def __init__(self, camera: OddCamera, recipe: LedRecipe, inputs: MethodInputs) -> None:
        super().__init__(recipe, inputs)
        self.camera = camera
        self.isos = sorted({pair.iso for pair in self.camera_pairs.pairs})

    def draw(self, rng: np.random.Generator) -> Batch:
        """Draw clean crops, ISOs from the lowest to the highest of the pairs, and noise."""
        drawn = self.camera_pairs.batch(rng, self.recipe.batch, self.side)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        isos = np.exp(rng.uniform(*np.log([self.isos[0], self.isos[-1]]), len(drawn.x)))
        frames, lines = [], []
        for clean, ratio, iso in zip(drawn.clean, drawn.ratio, isos, strict=True):
            signal = clean[None] * (CALIBRATED_WHITE / ratio)
            noise = self.camera.noise(float(iso))
            dn = add_noise(signal, noise, generator)[0]
            frames.append((dn.round() / CALIBRATED_WHITE).clamp_max(1))
            lines.append(true_profile(noise))
        gain, variance = (torch.tensor(column) for column in zip(*lines, strict=True))
        return drawn._replace(x=torch.stack(frames), gain=gain, read_variance=variance)


def _blind(short: Planes, iso: float) -> tuple[Planes, NoiseProfile]:
    return short, estimate_noise(short)


def _by_darks(camera: OddCamera) -> Look:
    """Return how `led denoise --dark` looks at a frame, with dark frames of every test ISO."""
    patterns = {}
    for iso in TEST_ISOS:
        measurement = DarkMeasurement(Phase.RGGB, (2 * FRAME[0], 2 * FRAME[1]), DN)
        for number in range(DARKS_PER_ISO):
            if why := measurement.add(_dark(camera, iso, number)):
                raise SystemExit(f"{camera.name}: {why}")
        patterns[iso] = measurement.result()

    def look(short: Planes, iso: float) -> tuple[Planes, NoiseProfile]:
        whole = np.zeros((4, *FRAME), np.float32)
        corrected = whole[:, : short.shape[1], : short.shape[2]]
        corrected[:] = short
        patterns[iso].correct(whole)
        return corrected, estimate_noise(corrected)._replace(
            read_variance=patterns[iso].read_variance
        )

    return look


def _by_lines(lines: CameraNoiseProfile, short: Planes, iso: float) -> tuple[Planes, NoiseProfile]:
    noise = lines.at(iso)
    if noise is None:
        return _blind(short, iso)
    # A test frame is the top left of the sensor; the shading is of all of it.
    whole = upsample(noise.offsets, FRAME)
    return short - whole[:, : short.shape[1], : short.shape[2]], noise.profile


def _scenes(folder: Path) -> list[Path]:
    """Return the photographs that fill their part of a wall."""
    paths = [p for name in FOLDERS for p in sorted((folder / name).glob("*.jpg"))]
    if not paths:
        raise SystemExit(f"{folder}: no photographs here; name their folder with --photos")
    return [p for p in paths if all(n >= s for n, s in zip(_size(p), SIZE, strict=True))]


def _size(path: Path) -> tuple[int, ...]:
    return iio.improps(path).shape[:2]


def _shots(camera: OddCamera, isos: Sequence[float], scenes: list[Path]) -> list[RawPair]:
    """Shoot pairs: for each ratio one of each ISO, each of a scene of its own."""
    shots = []
    for ratio in RATIOS:
        for number, iso in enumerate(isos):
            name = f"{camera.name} {ratio:g} {iso:g} {number}"
            seed = _seed("pair", name, camera.shading)
            clean = wall(scenes, np.random.default_rng(seed))
            short = camera.frame(clean, iso, ratio, seed)
            long = camera.frame(clean, LONG_ISO, 1.0, seed + 1)
            shots.append(RawPair(short, long, ratio, iso, LONG_ISO, name, Phase.RGGB))
    return shots


def _dark(camera: OddCamera, iso: float, number: int) -> Planes:
    seed = _seed("dark", camera.name, iso, number)
    return camera.frame(np.zeros((4, *FRAME), np.float32), iso, 1.0, seed)


def _seed(*parts: object) -> int:
    return zlib.crc32(" ".join(map(str, parts)).encode())


def _summary(result: dict[str, Any]) -> str:
    cells = ", ".join(f"{cell} {psnr:.2f}" for cell, psnr in result["psnr"].items())
    return f"{result['mean']:.2f} dB ({cells}), {result['seconds']} s"


def _markdown(about: dict[str, Any], done: dict[str, Any]) -> str:
    text = head("Fine-tuning", about)
    text += (
        f"Bundled model, sha256 {about['model_sha256'][:12]}, on {about['device']}. PSNR in dB of "
        f"the raw planes, mean of {PHOTOS} Kodak photographs at ISO "
        f"{', '.join(f'{iso:g}' for iso in TEST_ISOS)}; pairs at ISO {LOW:g} and {HIGH:g} (one "
        f"pair: {HIGH:g}).\nEach pair shows a wall of {TILES[0] * TILES[1]} photographs of its "
        "own, none of them a test photograph.\nNoise beyond every range that the model was trained "
        f"over, with column banding ({BANDING:g} of the read noise's deviation) and hot pixels (1 "
        f"in {1 / HOT:,.0f}).\n\n"
    )
    for camera in CAMERAS:
        rows = []
        base = done.get(f"{camera.name}: untuned")
        for variant, title in VARIANTS.items():
            run = done.get(f"{camera.name}: {variant}")
            if run is None:
                continue
            means = [
                np.mean([run["psnr"][f"{ratio:g}/{iso:g}"] for iso in TEST_ISOS])
                for ratio in RATIOS
            ]
            gain = f"{run['mean'] - base['mean']:+.2f}" if base else "-"
            cells = [f"{run['psnr'][cell]:.2f}" for cell in run["psnr"]]
            rows.append([title, *(f"{m:.2f}" for m in means), f"{run['mean']:.2f}", gain, *cells])
        cells = [f"{ratio:g}, ISO {iso:g}" for ratio in RATIOS for iso in TEST_ISOS]
        columns = [camera.name, *(f"ratio {r:g}" for r in RATIOS), "mean", "gain", *cells]
        text += table(columns, rows) + "\n" if rows else ""
    return text + _verdict(done)


def _verdict(done: dict[str, Any]) -> str:
    """Say by how much two pairs per ratio differ from the rest."""
    names = [c.name for c in CAMERAS]

    def run(camera: str, variant: str) -> dict[str, Any]:
        return done[f"{camera}: {variant}"]

    def gain(variant: str, over: str) -> tuple[float, float]:
        """Return the mean gain, and the least of any camera, ratio and ISO."""
        cameras = [c for c in names if {f"{c}: {variant}", f"{c}: {over}"} <= done.keys()]
        both = [(run(c, variant), run(c, over)) for c in cameras]
        cells = [a["psnr"][cell] - b["psnr"][cell] for a, b in both for cell in a["psnr"]]
        return (float(np.mean(cells)), min(cells)) if cells else (np.nan, np.nan)

    lines = []
    compared = [("two", over) for over in ("untuned", "one", "one-iso", "rival", "led")]
    for variant, over in [*compared, ("quadruple", "untuned"), ("quadruple", "two")]:
        mean, least = gain(variant, over)
        if np.isnan(mean):
            continue
        lines.append(
            f"{VARIANTS[variant].capitalize()} over {VARIANTS[over]}: {mean:+.2f} dB on the mean, "
            f"{least:+.2f} dB in the worst cell.\n"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
