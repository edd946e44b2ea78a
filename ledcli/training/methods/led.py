"""LED's fine-tuning (LED, section 3.3): a pretrained network to one camera by a few pairs.

The chosen CSA set becomes the camera's own, ``target``; an OMNR branch is added at zero; the main
convolutions stay frozen. Afterwards everything folds into the plain network.

The loss is taken where the input form puts the noise (training/losses.py), so that pairs of all
ratios and ISOs have the same weight; multiplied by the ratio, the darkest would dominate.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ledcli.errors import TrainingError, UsageError
from ledcli.nets.forms import form_of
from ledcli.nets.repnr import blocks, convert
from ledcli.training.data.sampler import Batch
from ledcli.training.losses import form_loss
from ledcli.training.methods.base import (
    FinetuneMethod,
    FinetuneRecipe,
    Finished,
    MethodInputs,
    Pretrained,
    Start,
)
from ledcli.training.optim import Phase, Schedule
from ledcli.zoo.folding import fold, network_inputs, prove
from ledcli.zoo.spec import ModelSpec

TARGET = "target"
"""Name of the tuned camera's CSA set."""
CSA, OMNR = "csa", "omnr"
"""The two groups of parameters that are tuned."""
PROFILE_ERROR = (0.05, 0.07)
"""Spread of the gain and of the read variance in training, in logarithms: what a noise profile
measured on two pairs may be off by."""

SCHEDULES: dict[str, tuple[Phase, ...]] = {
    "joint": (Phase(1.0, {CSA: 5e-4, OMNR: 2e-4}),),
    "led": (Phase(2 / 3, {CSA: 1e-4}), Phase(1.0, {OMNR: 1e-5})),
}
"""``led`` has the published phases and rates: 1,000 iterations on the CSA at 1e-4, then 500 on the
OMNR branch at 1e-5. ``joint`` trains both at once, at rates that suit a stabilised network; at
twice these rates the loss spikes on the way."""


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
    """What decides a fine-tuning by LED besides the pairs and the pretrained model.

    Attributes
    ----------
    schedule : str
        A name in `SCHEDULES`.
    shot_noise : float
        Share of crops that get more light with its photon noise (PMN, section 3.2); 0 because it
        does not help a stabilised network, which knows the noise of every brightness.
    """

    schedule: str = "joint"
    shot_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise UsageError(f"no schedule '{self.schedule}': choose {' or '.join(SCHEDULES)}")


class LedMethod(FinetuneMethod):
    """Trains a CSA set and an OMNR branch of the pretrained network, then folds them."""

    name = "led"
    recipe_type = LedRecipe
    needs_pretrained = True

    recipe: LedRecipe

    def __init__(self, recipe: LedRecipe, inputs: MethodInputs) -> None:
        super().__init__(recipe, inputs)
        self.form = form_of(inputs.input_form, planes=self.camera_pairs.planes)

    def begin(self, pretrained: Pretrained) -> Start:
        """Add the target set and the OMNR branch to the pretrained network, in place."""
        spec, net, csa_set, _ = pretrained
        assert net is not None
        prepare(spec, net, csa_set)
        return Start(replace(spec, csa_sets=(TARGET,), omnr=True), net, groups(net))

    def schedule(self) -> Schedule:
        """Return the schedule that the recipe names."""
        phases = SCHEDULES[self.recipe.schedule]
        return Schedule(self.recipe.iterations, warm_up=self.warm_up, ema=0.99, phases=phases)

    def loss(self, net: nn.Module, progress: float, generator: torch.Generator) -> Tensor:
        """Draw crops; return the loss in the form's own domain, as the module says."""
        rng = self.rng_of(progress)
        batch = self.draw(rng).to(self.device)
        return form_loss(self.form, net, batch, *jitter_noise_profile(batch, rng))

    def draw(self, rng: np.random.Generator) -> Batch:
        """Draw the crops of an iteration."""
        batch = self.camera_pairs.batch(rng, self.recipe.batch, self.side)
        return add_light(batch, rng, self.recipe.shot_noise) if self.recipe.shot_noise else batch

    def finish(self, spec: ModelSpec, net: nn.Module) -> Finished:
        """Fold, and prove on the validation crops that nothing changed."""
        folded, plain = fold(spec, net, TARGET)
        frames = [batch.x[0] for batch in self.validation_batches()]
        proof = prove(net, TARGET, plain, network_inputs(spec, plain, frames))
        if not proof.holds:
            raise TrainingError(f"the folded network is not the tuned one: {proof}")
        return Finished(folded, plain, proof)


def add_light(batch: Batch, rng: np.random.Generator, share: float) -> Batch:
    """Add light to crops, with its photon noise (PMN's shot-noise augmentation).

    Light ``l`` on top of a signal brings Poisson noise of its own and changes nothing else: short
    frame ``+ K Poisson(l / K)``, truth ``+ ratio * l``.
    """
    count, planes = batch.x.shape[:2]
    chosen = rng.random((count, 1, 1, 1)) < share
    most = 0.2 * rng.random((count, planes, 1, 1)) * chosen
    light = torch.from_numpy(most.astype(np.float32)) / batch.ratio.reshape(-1, 1, 1, 1)
    gain = batch.gain.reshape(-1, 1, 1, 1)
    electrons = rng.poisson((light / gain).expand_as(batch.x).numpy()).astype(np.float32)
    clean = batch.clean + light * batch.ratio.reshape(-1, 1, 1, 1)
    return batch._replace(
        clean=clean.clamp_max(1.0), x=batch.x + gain * torch.from_numpy(electrons)
    )


def jitter_noise_profile(batch: Batch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return gain and read variance ``(N,)`` as wrong as measured ones are."""
    off = [np.exp(spread * rng.standard_normal(len(batch.x))) for spread in PROFILE_ERROR]
    factors = torch.from_numpy(np.stack(off).astype(np.float32)).to(batch.x.device)
    return batch.gain * factors[0], batch.variance * factors[1]
