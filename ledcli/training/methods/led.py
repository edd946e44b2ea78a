"""LED: its loss, and its fine-tuning of a pretrained network to one camera by a few pairs.

The chosen CSA set becomes the camera's own, ``target``; an OMNR branch is added at zero; the main
convolutions stay frozen (section 3.3). Afterwards everything folds into the plain network.

The loss is taken where the input form puts the noise: in the stabilised domain, where it has unit
variance, or times the ratio in linear light. Stabilised, pairs of all ratios and ISOs have the same
weight; multiplied by the ratio, the darkest would dominate.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from ledcli.errors import ModelError, TrainingError, UsageError
from ledcli.nets.forms import InputForm, StabilisedForm, form_of
from ledcli.nets.repnr import blocks, convert
from ledcli.noise.physics import column, electron_scale, stabilise, unstabilise
from ledcli.training.data.sampler import Batch
from ledcli.training.methods.base import FinetuneMethod, FinetuneRecipe, Finished, MethodInputs
from ledcli.training.methods.start import Pretrained, Start
from ledcli.training.optim import BESIDE_MUON, Schedule, TrainingPhase
from ledcli.zoo.folding import fold, network_inputs, prove
from ledcli.zoo.spec import ModelSpec

TARGET = "target"
"""Name of the tuned camera's CSA set."""
CSA, OMNR = "csa", "omnr"
"""The two groups of parameters that are tuned."""
OMNR_KEPT = 0.8
"""What is left of the OMNR branch after a joint training: a few scenes teach it their own detail
too. On other scenes the mean stays, and frames of little noise gain 0.2 dB."""
PROFILE_ERROR = (0.05, 0.07)
"""Spread of the gain and of the read variance in training, in logarithms: what a noise profile
measured on two pairs may be off by."""
STABLE_FLOOR, LINEAR_FLOOR = 1e-4, 1e-7
"""Mean square errors below which a frame counts as clean: a hundredth of the noise's standard
deviation; 70 dB."""
PAST_WHITE = 0.05
"""Weight of an error above white: highlights are clipped there, but keep a slope."""
CLIPPED = 0.98
"""Of white: where the truth is brighter the long frame may be clipped."""

JOINT = "joint"
_JOINT = (TrainingPhase(1.0, {CSA: 5e-4 / BESIDE_MUON, OMNR: 7e-4}),)
_LED = (TrainingPhase(2 / 3, {CSA: 1e-4}), TrainingPhase(1.0, {OMNR: 1e-5}))
SCHEDULES = {
    JOINT: Schedule(600, warm_up=20, ema=0.99, phases=_JOINT, decay=0.2, patience=200),
    "led": Schedule(1500, warm_up=20, ema=0.99, phases=_LED),
}
"""``led`` has the published phases and rates, and Adam: 1,000 iterations on the CSA at 1e-4, then
500 on the OMNR branch at 1e-5. ``joint`` trains both at once, the kernels of the branch by Muon, at
rates that suit a stabilised network; it ends early where the validation crops gain no more."""


def prepare(spec: ModelSpec, net: nn.Module, csa_set: str) -> nn.Module:
    """Give a pretrained network the target CSA set and the OMNR branch, in place.

    The target set starts from the named CSA set; from the mean of all sets without a name; from the
    identity in a plain network. All parameters but those of the target set and the OMNR branch are
    frozen.
    """
    if not spec.csa_sets:
        convert(net, (TARGET,))
    net.requires_grad_(False)
    for block in blocks(net):
        names = [csa_set] if csa_set else list(block.align_weights)
        weight = torch.stack([block.align_weights[name] for name in names]).mean(0)
        bias = torch.stack([block.align_biases[name] for name in names]).mean(0)
        block.align_weights = nn.ParameterDict({TARGET: nn.Parameter(weight)})
        block.align_biases = nn.ParameterDict({TARGET: nn.Parameter(bias)})
        block.selected = TARGET
        if block.aux_weight is None:
            block.add_omnr()
    for group in groups(net).values():
        for parameter in group:
            parameter.requires_grad_(True)
    return net


def groups(net: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the parameters that are tuned, by group."""
    found: dict[str, list[nn.Parameter]] = {CSA: [], OMNR: []}
    for block in blocks(net):
        found[CSA] += [block.align_weights[TARGET], block.align_biases[TARGET]]
        found[OMNR] += [p for p in (block.aux_weight, block.aux_bias) if p is not None]
    return found


@dataclass(frozen=True)
class LedRecipe(FinetuneRecipe):
    """What decides a fine-tuning by LED besides the pairs and the pretrained model."""

    iterations: int = 0
    """At most; 0 is replaced by what the schedule has."""
    batch: int = 4
    schedule: str = JOINT
    """A name in `SCHEDULES`."""

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise UsageError(f"no schedule '{self.schedule}': choose {' or '.join(SCHEDULES)}")
        iterations = self.iterations or SCHEDULES[self.schedule].iterations
        object.__setattr__(self, "iterations", iterations)
        super().__post_init__()


class LedMethod(FinetuneMethod):
    """Trains a CSA set and an OMNR branch of the pretrained network, then folds them."""

    name = "led"
    recipe_type = LedRecipe
    needs_pretrained = True
    parallel = True

    recipe: LedRecipe

    def __init__(self, recipe: LedRecipe, inputs: MethodInputs) -> None:
        super().__init__(recipe, inputs)
        self.form = form_of(inputs.input_form, planes=self.camera_pairs.planes)
        self.muon = recipe.schedule == JOINT

    @classmethod
    def check_start(cls, spec: ModelSpec) -> None:
        """Refuse networks of other methods."""
        if spec.output != "planes":
            raise ModelError(
                f"--method led does not tune {spec.name}, a model of another method: name another "
                "with --pretrained"
            )

    def begin(self, pretrained: Pretrained) -> Start:
        """Add the target set and the OMNR branch to the pretrained network, in place."""
        spec, net, csa_set, _ = pretrained
        assert net is not None
        prepare(spec, net, csa_set)
        return Start(replace(spec, csa_sets=(TARGET,), omnr=True), net, groups(net))

    def schedule(self) -> Schedule:
        """Return the schedule that the recipe names."""
        return replace(SCHEDULES[self.recipe.schedule], iterations=self.recipe.iterations)

    def loss(self, net: nn.Module, progress: float, generator: Generator, part: range) -> Tensor:
        """Draw crops; return the loss in the form's own domain, as the module says."""
        rng = self.rng_of(progress)  # all workers draw the whole batch alike
        drawn = jitter_measured_profile(self.draw(rng), rng)
        batch = Batch(*(tensor[part.start : part.stop] for tensor in drawn)).to(self.device)
        return form_loss(self.form, net, batch)

    def draw(self, rng: np.random.Generator) -> Batch:
        """Draw the crops of an iteration."""
        return self.camera_pairs.batch(rng, self.recipe.batch, self.side)

    @torch.no_grad()
    def settle(self, net: nn.Module) -> None:
        """Shrink the OMNR branch of a joint training, as `OMNR_KEPT` says."""
        if self.muon:
            for parameter in groups(net)[OMNR]:
                parameter.mul_(OMNR_KEPT)

    def record(self) -> dict[str, Any]:
        """Return what is left of the OMNR branch."""
        return {"omnr_kept": OMNR_KEPT if self.muon else 1.0}

    def finish(self, spec: ModelSpec, net: nn.Module) -> Finished:
        """Fold, and prove on the validation crops that nothing changed."""
        folded, plain = fold(spec, net, TARGET)
        frames = [batch.x[0] for batch in self.validation_batches()]
        proof = prove(net, TARGET, plain, network_inputs(spec, plain, frames))
        if not proof.holds:
            raise TrainingError(f"the folded network is not the tuned one: {proof}")
        return Finished(folded, plain, proof)


def jitter_measured_profile(batch: Batch, rng: np.random.Generator) -> Batch:
    """Return the batch with gain and read variance as wrong as measured ones are."""
    off = [np.exp(spread * rng.standard_normal(len(batch.x))) for spread in PROFILE_ERROR]
    factors = torch.from_numpy(np.stack(off).astype(np.float32)).to(batch.x.device)
    gain, variance = batch.gain * factors[0], batch.read_variance * factors[1]
    return batch._replace(gain=gain, read_variance=variance)


def known(clean: Tensor) -> Tensor:
    """Return 1 where a shot truth is known, 0 where the long frame may be clipped."""
    return (clean < CLIPPED).float()


def mean_known(values: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of the values that count."""
    return (values * counts).sum() / counts.sum().clamp_min(1)


def form_loss(form: InputForm, net: nn.Module, batch: Batch, *, shot: bool = True) -> Tensor:
    """Return the loss where the input form puts the noise.

    ``gain``: L1 between the planes times the ratio, as published. ``stabilised``: every frame by
    the logarithm of its error, so that all ratios have the same weight.

    If the truth was ``shot``, its clipped pixels do not count.
    """
    counts = known(batch.clean) if shot else None
    if not isinstance(form, StabilisedForm):
        error = (form(net, *batch[1:]) - batch.clean).abs()
        return error.mean() if counts is None else mean_known(error, counts)
    gain, t0 = electron_scale(column(batch.gain), column(batch.read_variance))
    denoised = form.denoise(net, stabilise(batch.x / gain, t0), t0)
    level = gain * column(batch.ratio)
    return frame_loss(denoised, batch.clean, level, t0, counts)


def frame_loss(
    denoised: Tensor,
    clean: Tensor,
    level: Tensor,
    t0: Tensor,
    counts: Tensor | None = None,
) -> Tensor:
    """Return what the stabilised form trains on: every frame by the logarithm of its error.

    Half of it in standard deviations of noise, where dark and bright weigh alike, half in linear
    light, where PSNR is measured.

    ``denoised`` are the network's stabilised planes, ``clean`` the truth times the ratio, clipped
    at 1, ``counts`` 1 where it is known and 0 elsewhere, all ``(N, 4, h, w)``; what is denoised
    above 1 counts little. ``level`` and ``t0`` ``(N, 1, 1, 1)`` are the gain times the ratio, and
    the transform's offset (noise/physics.py).
    """
    stable = denoised - stabilise(clean / level, t0)
    linear = under_white(unstabilise(denoised, t0) * level) - clean
    in_noise = log_error(stable, STABLE_FLOOR, counts)
    return (in_noise + log_error(linear, LINEAR_FLOOR, counts)) / 2


def log_error(error: Tensor, floor: float, counts: Tensor | None = None) -> Tensor:
    """Return the mean over frames of the logarithm of the root mean square error, in nepers.

    That is PSNR divided by -8.7. A frame of deep noise, whose error is a tenth of the noise's
    deviation, so has the same weight as a clean one, where half of the noise must stay.

    ``counts`` are weights of the mean of ``error``, both ``(N, planes, h, w)``. ``floor`` is the
    mean square error below which an error does not matter.
    """
    if counts is None:
        mean = error.square().mean((1, 2, 3))
    else:
        total = (error.square() * counts).sum((1, 2, 3))
        mean = total / counts.sum((1, 2, 3)).clamp_min(1)
    return (mean + floor).log().mean() / 2


def under_white(x: Tensor) -> Tensor:
    """Compress what lies above white (1), where PSNR clips."""
    return torch.where(x > 1, 1 + PAST_WHITE * (x - 1), x)
