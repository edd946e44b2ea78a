"""How much of the machine's rate of matrix products training uses, and how fast it is.

    python tests/benchmarks/finetune_speed.py

`led finetune` against the same with every operation spread over all cores, and against float32 with
contiguous tensors; `led pretrain` in each of its stages. All take turns with matrix products in the
same precision. The useful FLOPs of a step are three times those of the network's forward pass.

Shares are of products on all cores by the clock, and of products on one core by processor time: on
a machine with other work only the latter says something about led. Cores of one operation that wait
for each other count as busy. ``--quick`` leaves out the two other ways, which such a machine slows
most, and does one turn of one step.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gpu_parts import flops_of
from report import RESULTS, context, finish, head, parser_of, table

from ledcli.inference.backends.torch import choose_device, choose_precision
from ledcli.sensor.cfa import Phase
from ledcli.training.data.crops import encode, pack_rgb
from ledcli.training.data.pairs import CameraPairs, RawPair, camera_pairs
from ledcli.training.data.sampler import PretrainRecipe
from ledcli.training.data.scenes import make_scene
from ledcli.training.loop import Trainer
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.led import LedMethod, LedRecipe, groups, prepare
from ledcli.training.methods.start import Start
from ledcli.training.optim import Schedule, one_thread, worker_count
from ledcli.training.pretrain import PretrainMethod
from ledcli.zoo.model_file import load_model, read_spec
from ledcli.zoo.store import find_model

TURNS, ITERATIONS, SIDE, CROPS = 10, 5, 1024, 24
BACKWARD = 3
"""FLOPs of a training step over those of the forward pass."""
PRODUCT, PRODUCTS = 2048, 2
"""Side of the square matrices, and products between two measurements."""
FINETUNE, SPREAD, PLAIN = "led finetune", "each operation on all cores", "float32, contiguous"


class Spent(NamedTuple):
    """Seconds by the clock and of the processor."""

    wall: float
    cpu: float


def main() -> None:
    """Time, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="of a turn")
    parser.add_argument("--quick", action="store_true", help="led's own ways, once")
    parser.add_argument("--json", type=Path, default=RESULTS / "finetune_speed.json")
    options = parser.parse_args()
    device = choose_device(options.device)
    bf16 = choose_precision("auto", device) == "bf16"
    turns, iterations = (1, 1) if options.quick else (options.turns, options.iterations)
    recipe = LedRecipe()
    flops = flops_of(find_model())
    shots, workers = _shots(), worker_count(device)
    work = {FINETUNE: (_tuning(shots, recipe, device, workers, bf16=bf16), 0.01)}
    if not options.quick:
        work[SPREAD] = _tuning(shots, recipe, device, 1, bf16=bf16), 0.01
        work[PLAIN] = _tuning(shots, recipe, device, 1, bf16=False), 0.01
        work[PLAIN][0].net.to(memory_format=torch.contiguous_format)
    pixels = dict.fromkeys(work, recipe.batch * recipe.side**2)
    pretraining = PretrainRecipe(**read_spec(find_model().path).training["recipe"])
    trainer = _pretraining(pretraining, device, workers, bf16=bf16)
    for until, count, side in pretraining.stages:
        name = f"led pretrain, {count} x {side} x {side}"
        work[name], pixels[name] = (trainer, until - 1e-6), count * side**2
    spent: dict[str, list[Spent]] = {name: [] for name in work}
    products: dict[str, list[Spent]] = {name: [] for name in work}
    multiply = _multiply(device, torch.bfloat16 if bf16 else torch.float32)
    for name, (each, progress) in work.items():
        each.one_step(progress)
        print(f"warm: {name}", flush=True)
    for _ in range(turns):
        for name, (each, progress) in work.items():
            with one_thread():
                cpu = _spent(multiply, device).cpu
            products[name].append(Spent(_spent(multiply, device).wall, cpu))
            step = partial(each.one_step, progress)
            steps = [_spent(step, device) for _ in range(iterations)]
            spent[name].append(
                Spent(*(statistics.fmean(part) for part in zip(*steps, strict=True)))
            )
    about = context() | {"device": str(device), "turns": turns}
    rows, results = [], {}
    for name, found in spent.items():
        useful = BACKWARD * flops * pixels[name]
        rate = 2 * PRODUCT**3 * PRODUCTS
        medians = Spent(*(statistics.median(part) for part in zip(*found, strict=True)))
        between = Spent(*(statistics.median(part) for part in zip(*products[name], strict=True)))
        shares = [useful / m / (rate / b) for m, b in zip(medians, between, strict=True)]
        results[name] = {
            "wall_s": round(medians.wall, 3),
            "cpu_s": round(medians.cpu, 3),
            "share_wall": round(shares[0], 3),
            "share_cpu": round(shares[1], 3),
        }
        seconds = (f"{value:.2f} s" for value in medians)
        rows.append([name, *seconds, *(f"{share:.0%}" for share in shares)])
    text = head("Training speed", about)
    text += (
        f"Fine-tuning: {recipe.batch} crops of {recipe.side} x {recipe.side} plane pixels a step; "
        f"{'bfloat16' if bf16 else 'float32'} on {device}, {workers} workers; medians over turns "
        f"of {iterations} steps: {turns}. Shares are of the rate of matrix products in between.\n\n"
    )
    header = ["training", "step", "processor time", "share by the clock", "by processor time"]
    text += table(header, rows)
    finish(options.json, about | {"ways": results}, text)


def _spent(work: Callable[[], object], device: torch.device) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def _multiply(device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    a = torch.randn(PRODUCT, PRODUCT, device=device).to(dtype)
    out = torch.empty_like(a)

    def multiply() -> None:
        for _ in range(PRODUCTS):
            torch.mm(a, a, out=out)

    multiply()
    return multiply


def _shots() -> CameraPairs:
    rng = np.random.default_rng(0)
    shots = []
    for iso in (400.0, 6400.0):
        clean = pack_rgb(make_scene(SIDE, rng))
        short = rng.poisson(clean * 100).astype(np.float32) / 10_000
        short += rng.normal(0, 1e-3, short.shape).astype(np.float32)
        shots.append(RawPair(short, clean, 100.0, iso, 100.0, f"ISO {iso:g}", Phase.RGGB))
    return camera_pairs(shots)


def _tuning(
    shots: CameraPairs, recipe: LedRecipe, device: torch.device, workers: int, *, bf16: bool
) -> Trainer:
    found = find_model()
    spec, net = load_model(found.path)
    prepare(spec, net, found.csa_set)
    inputs = MethodInputs(shots, device, input_form=spec.input_form, workers=workers)
    return LedMethod(recipe, inputs).trainer(Start(spec, net, groups(net)), bf16=bf16)


def _pretraining(
    recipe: PretrainRecipe, device: torch.device, workers: int, *, bf16: bool
) -> Trainer:
    rng = np.random.default_rng(0)
    crops = np.stack([encode(pack_rgb(make_scene(SIDE // 2, rng))) for _ in range(CROPS)])
    method = PretrainMethod(recipe, crops, device)
    net, muon = method.network(), recipe.optimiser == "muon"
    return Trainer(net, method, Schedule(10**6), device, bf16=bf16, workers=workers, muon=muon)


if __name__ == "__main__":
    main()
