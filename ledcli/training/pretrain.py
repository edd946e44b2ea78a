"""LED's pretraining (LED, section 3.2): one network over many cameras' noise.

Every iteration draws one CSA set, makes a batch of short frames with the noise of that set's
cameras, and trains that CSA and the shared weights.
"""

import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from ledcli import __version__
from ledcli.errors import TrainingError
from ledcli.nets.forms import FORMS, InputForm, StabilisedForm, form_of
from ledcli.nets.network import build
from ledcli.nets.repnr import convert, select
from ledcli.noise.cameras import calibrated_cameras
from ledcli.output.atomic import RENAME, check_new, explained
from ledcli.training.data.crops import FULL_SCALE, Crops, load_crops
from ledcli.training.data.sampler import Batch, PretrainRecipe, Sampler, short_frames
from ledcli.training.loop import LogLine, Method, Trainer
from ledcli.training.methods.led import form_loss
from ledcli.training.optim import Schedule, worker_count
from ledcli.training.processes import Processes
from ledcli.zoo.model_file import load_model, save_model
from ledcli.zoo.spec import ModelSpec
from ledcli.zoo.store import check_suffix

LEARNING_RATES = {"muon": 2e-3, "adam": 4e-4}
"""Peak rates by optimiser: those that long trainings were made with."""
VALIDATION_CAMERA, VALIDATION_GAIN = "NikonD850", 10.0


class PretrainMethod(Method):
    """Trains a CSA set and the shared weights on sampled frames.

    The last crops of the crop file ``(n, planes, S, S)`` are kept for validation.
    """

    def __init__(self, recipe: PretrainRecipe, crops: Crops, device: torch.device) -> None:
        self.recipe, self.device, self.form = recipe, device, _form(recipe)
        self.crops = [*crops.shape, zlib.crc32(crops[0].tobytes()), zlib.crc32(crops[-1].tobytes())]
        self.sampler = Sampler(recipe, crops, device)

    def network(self) -> nn.Module:
        """Build the network with its CSA sets; the stabilised form starts as the identity."""
        torch.manual_seed(self.recipe.seed)
        arguments = _arguments(self.recipe)
        net = convert(build(self.recipe.architecture, arguments), self.sampler.sets)
        if isinstance(self.form, StabilisedForm):
            for weight in net.get_submodule(net.architecture.last_layer).parameters():
                nn.init.zeros_(weight)
        return net

    def stage(self, progress: float) -> tuple[int, int]:
        """Return crops per batch, and their side."""
        return next(s[1:] for s in self.recipe.stages if progress < s[0] or s[0] >= 1)

    def batch_size(self, progress: float) -> int:
        """Return the crops of a batch."""
        return self.stage(progress)[0]

    def loss(self, net: nn.Module, progress: float, generator: Generator, part: range) -> Tensor:
        """Draw a CSA set and a part of a batch; return its loss."""
        # All samples follow from the loop's generator: a resumed training goes on alike.
        seed = int(torch.randint(2**31, (), generator=generator, device=self.device))
        sampler = self.sampler.seeded(seed)
        name = sampler.csa_set()
        select(net, name)
        batch = sampler.batch(name, len(part), self.stage(progress)[1], generator)
        batch = jitter_estimated_profile(batch, sampler.generator)
        return form_loss(self.form, net, batch, shot=False)

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the PSNR of the validation crops at ratios 1, 20, 100 and 300: always the same."""
        crops = self.sampler.validation_crops
        if not len(crops):
            return {}
        select(net, next(iter(self.sampler.sets)))
        generator = Generator(self.device).manual_seed(1)
        side = self.sampler.max_side
        coded = torch.from_numpy(crops[..., :side, :side].astype(np.float32)).to(self.device)
        clean = (coded / FULL_SCALE) ** 2
        low, high = self.recipe.ratio_range
        return {
            f"psnr_{ratio:g}": self._psnr(net, clean, ratio, generator)
            for ratio in (1.0, 20.0, 100.0, 300.0)
            if low <= ratio <= high
        }

    def state(self) -> dict[str, Any]:
        """Return what tells one crop file from another."""
        return {"crops": self.crops}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raise TrainingError if the checkpoint was trained on another crop file."""
        if state["crops"] != self.crops:
            raise TrainingError("the checkpoint is of other crops: name its crop file with --crops")

    def _psnr(self, net: nn.Module, clean: Tensor, ratio: float, generator: Generator) -> float:
        noise = calibrated_cameras()[VALIDATION_CAMERA].sample(
            len(clean), gain=VALIDATION_GAIN, spread=False, colour_bias=False
        )
        ratios = torch.full((len(clean),), ratio, device=self.device)
        batch = short_frames(clean, ratios, noise.to(self.device), generator)
        error = [
            (self.form(net, *(t[i : i + 1] for t in batch[1:])).clamp(0, 1) - clean[i]).square()
            for i in range(len(clean))
        ]
        return float((-10 * torch.cat(error).mean((1, 2, 3)).log10()).mean())


def jitter_estimated_profile(batch: Batch, generator: Generator) -> Batch:
    """Return the batch with gain and read variance as wrong as blind estimates are.

    The more noise, the better the estimate (tests/benchmarks/results/noise_estimate.md).
    """
    shape = (2, len(batch.x))
    normal = torch.randn(shape, generator=generator).to(batch.x.device)
    far = torch.rand(shape, generator=generator).to(batch.x.device)
    how_far = torch.rand(shape, generator=generator).to(batch.x.device)
    unsure = batch.ratio**-0.35
    # Texture makes it overrate the gain; without dark areas the read noise is a guess.
    texture = torch.where(far[0] < 0.3, how_far[0], 0.0)
    guess = torch.where(far[1] < 0.15, 5 * how_far[1] - 2, 0.0)
    return batch._replace(
        gain=batch.gain * ((0.03 + 0.09 * unsure) * normal[0] + unsure * texture).exp(),
        read_variance=batch.read_variance
        * ((0.05 + 0.1 * unsure) * normal[1] + unsure * guess).exp(),
    )


def initialise_from(net: nn.Module, model: Path) -> tuple[str, ...]:
    """Copy a model file's weights, as far as they fit, into a network with its CSA sets.

    Tensors of the same name and shape are copied. A 2x2 transposed kernel becomes the mean of its
    four taps if the network has a 1x1 convolution there. Of a layer with more outputs than before,
    the first are the old ones. Returns the names of the tensors that keep their own values. Raises
    ModelError if the file is not a model, TrainingError if nothing in it fits.
    """
    given, own = load_model(model)[1].state_dict(), net.state_dict()
    with torch.no_grad():
        kept = tuple(k for k, weight in own.items() if not _copy_fitting(weight, given.get(k)))
    if len(kept) == len(own):
        raise TrainingError(f"{model} has no weights that fit: choose a model of the same kind")
    return kept


def _copy_fitting(weight: Tensor, old: Tensor | None) -> bool:
    if old is None:
        return False
    if weight.shape == old.shape:
        weight.copy_(old)
    elif old.ndim == 4 and old.shape[2:] == (2, 2) and weight.shape[2:] == (1, 1):
        weight.copy_(old.mean((2, 3), keepdim=True).transpose(0, 1))
    elif weight.shape[1:] == old.shape[1:] and len(weight) > len(old):
        weight[: len(old)] = old
    else:
        return False
    return True


def _form(recipe: PretrainRecipe) -> InputForm:
    if recipe.form not in FORMS:
        raise TrainingError(f"no input form '{recipe.form}': choose {' or '.join(FORMS)}")
    return form_of(recipe.form, planes=recipe.planes)


def _arguments(recipe: PretrainRecipe) -> dict[str, Any]:
    """Return all that the network is built with."""
    planes = {"in_planes": _form(recipe).in_planes}
    if recipe.cfa != "bayer":
        planes["out_planes"] = recipe.planes
    return planes | recipe.arguments


def describe(recipe: PretrainRecipe, name: str) -> ModelSpec:
    """Describe the model that a recipe makes; raises TrainingError before hours are spent."""
    _form(recipe)
    if recipe.optimiser not in LEARNING_RATES:
        names = " or ".join(LEARNING_RATES)
        raise TrainingError(f"no optimiser '{recipe.optimiser}': choose {names}")
    build(recipe.architecture, _arguments(recipe))
    return ModelSpec(
        name=name,
        architecture=recipe.architecture,
        arguments=_arguments(recipe),
        cfa=recipe.cfa,
        planes=recipe.planes,
        input_form=recipe.form,
        csa_sets=tuple(recipe.sets()),
        ratio_range=recipe.ratio_range,
        method="led pretraining",
        licence="the owner's",
        source="led pretrain",
    )


def check_files(out: Path, *, resume: bool) -> None:
    """Raise LedError for files that would end `pretrain` before it begins."""
    check_suffix(out)
    check_new(out, RENAME, overwrite=resume)
    checkpoint = out.with_suffix(".checkpoint")
    if resume and not os.path.isfile(checkpoint):
        raise TrainingError(f"{checkpoint}: no checkpoint to resume: leave out --resume")
    if not resume and os.path.exists(checkpoint):
        raise TrainingError(f"{checkpoint}: an earlier training: --resume it, or remove it")


def pretrain(
    recipe: PretrainRecipe,
    crops: Path,
    out: Path,
    schedule: Schedule,
    *,
    device: torch.device,
    bf16: bool,
    resume: bool = False,
    start: Path | None = None,
    checkpoint_every: float = 180,
    show: Callable[[LogLine], None] = lambda _: None,
    name: str = "pretrained",
    processes: Processes | None = None,
) -> ModelSpec:
    """Train a backbone on a crop file (training/data/crops.py) and write its model file.

    Beside ``out`` appear ``.checkpoint``, which ``resume`` goes on from, and ``.log.jsonl`` of the
    same stem. The weights start from those of the model file ``start``, else at random. Every
    ``checkpoint_every`` seconds the training is validated and saved. ``show`` receives every log
    line; ``name`` goes into the model file's header. Of several ``processes`` each computes a part
    of every batch, and the first writes all files. Raises TrainingError for no crops, a checkpoint
    or model that does not fit, or a loss that is not a number.
    """
    spec = describe(recipe, name)
    processes, workers = processes or Processes(), worker_count(device)
    method = PretrainMethod(recipe, load_crops(crops, recipe.cfa), device)
    net = method.network()
    if start is not None and not resume:
        initialise_from(net, start)
    trainer = Trainer(
        net,
        method,
        schedule,
        device,
        bf16=bf16,
        seed=recipe.seed,
        workers=workers,
        muon=recipe.optimiser == "muon",
        processes=processes,
    )
    checkpoint = out.with_suffix(".checkpoint")
    if not processes.rank:
        check_files(out, resume=resume)
    if resume:
        trainer.resume(checkpoint, recipe.text())
    state = (recipe.text(), schedule, workers, bf16, device.type, trainer.step, trainer.seconds)
    processes.compare(str(state), "another training or another checkpoint")
    # The other processes yield no lines and write no file.
    log_file = Path(os.devnull) if processes.rank else out.with_suffix(".log.jsonl")
    with open(log_file, "ab" if resume else "wb", buffering=0) as log:
        for line in trainer.run(checkpoint, recipe.text(), checkpoint_every=checkpoint_every):
            with explained(log_file):
                log.write(f"{line.as_json()}\n".encode())
            show(line)
    training = {
        "recipe": json.loads(recipe.text()),
        "schedule": schedule.as_json(),
        "iterations": trainer.step,
        "seconds": round(trainer.seconds),
        "version": __version__,
    }
    spec = replace(spec, training=training)
    if processes.rank:
        return spec
    with trainer.averaged():
        save_model(out, spec, trainer.net.state_dict(), half=True)
    return spec
