"""What gpu.py measures of training; see gpu_parts.py."""

import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from gpu_parts import RATIO, Bench, Found, flops_of
from measure import timed

from ledcli.evaluation.simulation import LONG_ISO, make_pairs
from ledcli.inference.backends.torch import choose_precision
from ledcli.sensor.cfa import Phase, pack
from ledcli.training.data.crops import load_crops, pack_crops
from ledcli.training.data.pairs import CameraPairs, RawPair, camera_pairs
from ledcli.training.data.sampler import PretrainRecipe
from ledcli.training.loop import Trainer
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.led import LedMethod, LedRecipe
from ledcli.training.methods.start import pretrained_model
from ledcli.training.optim import Schedule
from ledcli.training.pretrain import PretrainMethod
from ledcli.zoo.model_file import read_spec
from ledcli.zoo.store import find_model

MIN_COMPARED = 100
"""Iterations of a fine-tuning below which a comparison with the CPU says nothing."""
BACKWARD = 3
"""FLOPs of a training step over those of the forward pass."""
CPU = torch.device("cpu")


def finetune(bench: Bench) -> Found:
    """Fine-tune by LED on the device and on the CPU; compare the tuned models on the CPU."""
    shots = _synthetic_pairs(bench)
    recipe = LedRecipe()
    if bench.tiny:
        recipe = replace(recipe, iterations=3, batch=2, side=32)
    rows: list[dict[str, Any]] = []

    def tune(device: torch.device, iterations: int, until: float) -> float | None:
        tuned = _tuned(shots, replace(recipe, iterations=iterations), device, until)
        rows.append({"device": str(device)} | tuned)
        return tuned["PSNR, dB"]

    on_device = tune(bench.device, recipe.iterations, bench.end - 0.4 * bench.left)
    yield {"rows": rows}
    # As long as the CPU has time for; the device then does the same once more.
    each = 1 / _tuned(shots, replace(recipe, iterations=3), CPU, bench.end)["iterations/s"]
    iterations = int(min(recipe.iterations, 0.7 * bench.left / each))
    if iterations < bench.pick(MIN_COMPARED, 1):
        yield {"note": f"Not compared: the CPU needs {each:.2f} s an iteration."}
        return
    on_cpu = tune(CPU, iterations, bench.end)
    yield {"rows": rows}
    if iterations < recipe.iterations or on_device is None:
        on_device = tune(bench.device, iterations, bench.end)
    if on_cpu is None or on_device is None:
        yield {"rows": rows, "note": "Not compared: the time was over."}
        return
    apart = on_device - on_cpu
    note = f"{iterations:,} iterations on {bench.device} against the CPU: {apart:+.3f} dB."
    yield {"rows": rows, "difference_db": round(apart, 4), "note": note}


def _synthetic_pairs(bench: Bench) -> CameraPairs:
    """Shoot the demo's pairs: its camera has noise that the bundled model has not seen."""
    pairs = make_pairs(bench.folder, ratio=RATIO, size=bench.pick(1024, 512))
    shots = []
    for short, long in pairs:
        planes = [pack(shot.short, Phase.RGGB) for shot in (short, long)]
        assert short.photo.exif.iso
        iso = short.photo.exif.iso
        shots.append(RawPair(*planes, RATIO, iso, LONG_ISO, short.path.name, Phase.RGGB))
    return camera_pairs(shots)


def _tuned(
    shots: CameraPairs, recipe: LedRecipe, device: torch.device, until: float
) -> dict[str, Any]:
    """Fine-tune the bundled model; its PSNR is None if the time ends before."""
    origin = pretrained_model(find_model())
    bf16 = choose_precision("auto", device) == "bf16"
    method = LedMethod(recipe, MethodInputs(shots, device, input_form=origin.spec.input_form))
    before = method.before(origin, bf16=bf16)
    start = method.begin(origin)
    trainer = method.trainer(start, bf16=bf16)
    seconds = _train(trainer, until)
    found = {
        "precision": "bf16" if bf16 else "float32",
        "iterations": trainer.step,
        "s": round(seconds, 1),
        "iterations/s": round(trainer.step / seconds, 3),
        "before, dB": round(before, 3),
        "PSNR, dB": None,
    }
    if trainer.step == trainer.schedule.iterations:
        trainer.swap_average()
        method.settle(trainer.net)
        method.finish(start.spec, trainer.net)  # folds, and proves that nothing changed
        judge = LedMethod(recipe, MethodInputs(shots, CPU, input_form=origin.spec.input_form))
        with torch.inference_mode():
            found["PSNR, dB"] = round(judge.psnr(trainer.net.to(CPU)), 4)
    return found


def _train(trainer: Trainer, until: float) -> float:
    """Train until a time at most; return the seconds."""
    start = time.monotonic()
    for _ in trainer.run(checkpoint_every=float("inf"), stop=lambda: time.monotonic() > until):
        pass
    trainer.trained[0].sum().item()  # waits for the device
    return time.monotonic() - start


def pretrain(bench: Bench) -> Found:
    """Pretrain by the bundled model's recipe, each of its stages for a while."""
    path = bench.folder / "crops.npy"
    megabytes, side = bench.pick((8.0, 256), (0.4, 64))
    pack_crops(None, path, megabytes=megabytes, side=side)
    model = find_model()
    recipe = PretrainRecipe(**read_spec(model.path).training["recipe"])
    crops, rate, rows = load_crops(path), bench.matrix_rate(), []
    stages = bench.pick(recipe.stages, ((1.0, 2, 32),))
    for number, (_, count, side) in enumerate(stages):
        until = time.monotonic() + 0.8 * bench.left / (len(stages) - number)
        one = replace(recipe, stages=((1.0, count, side),))
        method = PretrainMethod(one, crops, bench.device)
        schedule = Schedule(iterations=bench.pick(10**9, 4))
        trainer = Trainer(method.network(), method, schedule, bench.device, bf16=bench.bf16,
                          muon=recipe.optimiser == "muon")  # fmt: skip
        for _ in range(bench.pick(10, 1)):
            trainer.one_step(0.0)
        before = trainer.step
        seconds = _train(trainer, until)
        steps = (trainer.step - before) / seconds
        flops = BACKWARD * count * side**2 * flops_of(model)
        # The part of a step that is made on the CPU, without the noise.
        drawing = timed(lambda m=method, c=count, s=side: m.sampler.scenes(c, s), 5, bench.device)
        rows.append(
            {
                "crops": f"{count} of {side} x {side}",
                "steps/s": round(steps, 2),
                "of the matrix rate": f"{flops * steps / rate:.1%}",
                "drawing scenes, ms": round(1e3 * statistics.median(drawing), 2),
            }
        )
        yield {"rows": rows}
