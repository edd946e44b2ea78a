"""Train recipes briefly, one change each, and measure them on validation crops.

    python tests/benchmarks/recipes.py CROPS OUT --minutes 5 --start models/led-bayer.safetensors \
        --recipe '{"faults": 1, "arguments": {"up": "bilinear"}}'
    python tests/benchmarks/recipes.py CROPS OUT --measure models/led-bayer.safetensors

Minutes are of processor time on one core, so that other work on the machine does not count. The
last crops of the file are for validation. OUT gets a line of JSON for every run.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from report import parser_of
from torch import Tensor, nn

from ledcli.evaluation.simulation import CAMERA as DEMO_CAMERA
from ledcli.nets.forms import InputForm, form_of
from ledcli.nets.repnr import select
from ledcli.noise.cameras import Camera, calibrated_cameras
from ledcli.training.data.crops import FULL_SCALE, load_crops
from ledcli.training.data.faults import Faults, sample_faults
from ledcli.training.data.sampler import PretrainRecipe, short_frames
from ledcli.training.data.scenes import add_stars
from ledcli.training.loop import Trainer
from ledcli.training.optim import Schedule
from ledcli.training.pretrain import PretrainMethod, initialise_from
from ledcli.zoo.model_file import load_model

CPU = torch.device("cpu")
VALIDATION_CROPS, SIDE = 20, 128
CELLS = [
    (camera, gain, ratio)
    for camera, gain in (("SonyA7S2", 3.0), ("NikonD850", 10.0), ("CanonEOS700D", 10.0))
    for ratio in (1.0, 20.0, 100.0, 300.0)
]
FAULTS: dict[str, tuple[float, dict[str, float]]] = {
    "defects": (20.0, {"defective": 3e-4}),
    "zeros": (20.0, {"defective": 3e-4, "pedestal": 512.0}),
    "black": (300.0, {"black": 0.3}),
    "smoothed": (100.0, {"smoothing": 0.1}),
    "smoothed20": (20.0, {"smoothing": 0.1}),
    "vignetting": (100.0, {"vignetting": float(np.log(4))}),
    "vignetting20": (20.0, {"vignetting": float(np.log(4))}),
    "bands": (100.0, {"rows": 0.0, "columns": 0.5}),
    "coarse": (20.0, {"step": 3.0}),
    "clipped": (100.0, {"clip": 0.0}),
    "stars": (20.0, {}),
}
"""Name, ratio and faults of the frames. Bands are measured with the demo camera, which has row
noise of its own."""
FAULT_CAMERA, FAULT_GAIN, BANDS_GAIN = "NikonD850", 10.0, 4.0


def main() -> None:
    """Train or only measure; append the figures."""
    parser = parser_of(__doc__)
    parser.add_argument("crops", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", default="")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--recipe", type=json.loads, default={})
    parser.add_argument("--start", type=Path)
    parser.add_argument("--measure", type=Path, help="a model file to measure, without training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    crops = load_crops(options.crops)
    steps = 0
    if options.measure:
        spec, net = load_model(options.measure)
        form = form_of(spec.input_form)
    else:
        recipe = replace(PretrainRecipe(seed=1), **options.recipe)
        net, form, steps = _train(recipe, crops[:-VALIDATION_CROPS], options)
    select(net, "generic")
    began = time.process_time()
    figures = measured(net.eval(), form, crops[-VALIDATION_CROPS:])
    line = {
        "name": options.name or str(options.measure or ""),
        "recipe": options.recipe,
        "rate": options.rate,
        "steps": steps,
        "measuring_seconds": round(time.process_time() - began),
        **{name: round(value, 3) for name, value in figures.items()},
    }
    with options.out.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def _train(
    recipe: PretrainRecipe, crops: np.ndarray, options: argparse.Namespace
) -> tuple[nn.Module, InputForm, int]:
    method = PretrainMethod(recipe, crops, CPU)
    net = method.network()
    if options.start:
        initialise_from(net, options.start)
    schedule = Schedule(10**6, options.minutes, options.rate, warm_up=50, ema=0.99)
    trainer = Trainer(
        net, method, schedule, CPU, bf16=False, seed=1, muon=True, clock=time.process_time
    )
    for line in trainer.run(checkpoint_every=1e9, log_every=20):
        print(line.as_json(), flush=True)
    trainer.swap_average()
    return net, method.form, trainer.step


@torch.inference_mode()
def measured(net: nn.Module, form: InputForm, crops: np.ndarray) -> dict[str, float]:
    """Return PSNR by ratio over the twelve cells, their mean, and by fault."""
    clean = (torch.from_numpy(crops[..., :SIDE, :SIDE].astype(np.float32)) / FULL_SCALE).square()
    white_balance = torch.tensor((2.0, 1.0, 1.7, 1.0)).reshape(1, 4, 1, 1)
    clean = clean / white_balance
    by_ratio: dict[float, list[float]] = {}
    for camera, gain, ratio in CELLS:
        by_ratio.setdefault(ratio, []).append(
            _psnr(net, form, clean, calibrated_cameras()[camera], gain, ratio)
        )
    figures = {f"{ratio:g}": float(np.mean(values)) for ratio, values in by_ratio.items()}
    figures["mean"] = float(np.mean(list(figures.values()) or [0]))
    for name, (ratio, values) in FAULTS.items():
        scenes, camera, gain = clean, calibrated_cameras()[FAULT_CAMERA], FAULT_GAIN
        if name == "stars":
            chosen = np.ones(len(clean), np.bool_)
            scenes = clean.clone()
            add_stars(scenes, chosen, np.random.default_rng(0))
            scenes.clamp_max_(1)
        if name == "bands":
            camera, gain = DEMO_CAMERA, BANDS_GAIN
        figures[name] = _psnr(net, form, scenes, camera, gain, ratio, _faults(len(clean), values))
    figures["pattern"] = _pattern(net, form)
    return figures


def _pattern(net: nn.Module, form: InputForm) -> float:
    """Return how far the phases of flat greys differ, % of the grey: the largest of three."""
    found = []
    for camera, ratio, level in (
        ("NikonD850", 100.0, 0.4),
        ("CanonEOS700D", 100.0, 0.4),
        ("CanonEOS700D", 300.0, 0.4),
    ):
        noise = calibrated_cameras()[camera].sample(1, gain=10.0, spread=False, colour_bias=False)
        clean = torch.full((1, 4, 512, 512), level)
        generator = torch.Generator().manual_seed(2)
        batch = short_frames(clean, torch.tensor([ratio]), noise, generator)
        out = form(net, *batch[1:])[..., 64:-64, 64:-64]
        phases = out.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((2, 4))
        found.append(float((phases.amax((2, 3)) - phases.amin((2, 3))).max() / level))
    return 100 * max(found)


def _faults(count: int, values: dict[str, float]) -> Faults:
    none = sample_faults(count, 4, 0.0, np.random.default_rng(0))
    given = {name: torch.full((count,), value) for name, value in values.items()}
    if "black" in given:
        signs = torch.from_numpy(np.random.default_rng(0).choice((-1.0, 1.0), (count, 4)))
        given["black"] = (given["black"][:, None] * signs).float()
    zero = torch.zeros(count)
    return replace(none, **{"known": zero, "pedestal": zero, **given})


def _psnr(
    net: nn.Module,
    form: InputForm,
    clean: Tensor,
    camera: Camera,
    gain: float,
    ratio: float,
    faults: Faults | None = None,
) -> float:
    count = len(clean)
    noise = camera.sample(count, gain=gain, spread=False, colour_bias=False)
    generator = torch.Generator().manual_seed(1)
    ratios = torch.full((count,), ratio)
    batch = short_frames(clean, ratios, noise, generator, faults=faults)
    figures = []
    for i in range(count):
        one = (values[i : i + 1] for values in batch[1:])
        error = form(net, *one).clamp(0, 1) - batch.clean[i]
        figures.append(float(-10 * error.square().mean().log10()))
    return float(np.mean(figures))


if __name__ == "__main__":
    main()
