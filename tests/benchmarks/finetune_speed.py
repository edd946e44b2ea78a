"""How fast fine-tuning is: the tool's way against float32 with contiguous tensors, same pixels.

    python tests/benchmarks/finetune_speed.py

Both take turns of ten iterations, a hundred each, so that a busy machine slows both.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from checkout import RESULTS
from report import context, head, keep, table

from ledcli.inference.backends.torch import choose_device, choose_precision
from ledcli.sensor.cfa import Phase
from ledcli.training.data.crops import pack_rgb
from ledcli.training.data.pairs import CameraPairs, RawPair, camera_pairs
from ledcli.training.data.scenes import make_scene
from ledcli.training.loop import Trainer
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.led import LedMethod, LedRecipe, groups, prepare
from ledcli.zoo.model_file import load_model
from ledcli.zoo.store import find_model

TURN, TURNS, SIDE = 10, 10, 1024


def main() -> None:
    """Time, print and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--json", type=Path, default=RESULTS / "finetune_speed.json")
    options = parser.parse_args()
    device = choose_device(options.device)
    shots = _shots()
    fast = _trainer(shots, device, bf16=choose_precision("auto", device) == "bf16")
    plain = _trainer(shots, device, bf16=False)
    plain.net.to(memory_format=torch.contiguous_format)
    trainers = {"led finetune": fast, "float32, contiguous": plain}
    for trainer in trainers.values():
        _iterate(trainer, 2)
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(options.turns):
        for name, trainer in trainers.items():
            before = time.perf_counter()
            _iterate(trainer, TURN)
            seconds[name].append((time.perf_counter() - before) / TURN)
    recipe = LedRecipe()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["float32, contiguous"] / medians["led finetune"]
    about = context() | {"device": str(device), "turns": options.turns}
    rows = [
        [
            name,
            f"{1e3 * median:.0f} ms",
            f"{1e3 * min(seconds[name]):.0f} to {1e3 * max(seconds[name]):.0f} ms",
            f"{median * recipe.iterations / 60:.1f} min",
        ]
        for name, median in medians.items()
    ]
    text = head("Fine-tuning speed", about)
    text += (
        f"{recipe.batch} crops of {recipe.side} x {recipe.side} plane pixels an iteration, on "
        f"{device}; medians of {options.turns} turns of {TURN}.\n\n"
    )
    text += table(["way", "iteration", "turns", f"{recipe.iterations:,} iterations"], rows)
    text += f"\n{ratio:.1f} times faster.\n"
    print(text)
    keep(options.json, about | {"seconds": seconds, "ratio": round(ratio, 2)}, text)


def _shots() -> CameraPairs:
    rng = np.random.default_rng(0)
    shots = []
    for iso in (400.0, 6400.0):
        clean = pack_rgb(make_scene(SIDE, rng))
        short = rng.poisson(clean * 100).astype(np.float32) / 10_000
        short += rng.normal(0, 1e-3, short.shape).astype(np.float32)
        shots.append(RawPair(short, clean, 100.0, iso, 100.0, f"ISO {iso:g}", Phase.RGGB))
    return camera_pairs(shots)


def _trainer(shots: CameraPairs, device: torch.device, *, bf16: bool) -> Trainer:
    found = find_model("generic")
    spec, net = load_model(found.path)
    prepare(spec, net, found.csa_set)
    method = LedMethod(LedRecipe(), MethodInputs(shots, device, input_form=spec.input_form))
    return Trainer(net, method, method.schedule(), device, bf16=bf16, groups=groups(net))


def _iterate(trainer: Trainer, count: int) -> None:
    end = trainer.step + count
    for _ in trainer.run(log_every=1, stop=lambda: trainer.step >= end):
        pass
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
