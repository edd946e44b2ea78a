"""LED's fine-tuning (LED, section 3.3): a pretrained network to one camera by a few pairs.

The chosen CSA set becomes the camera's own, ``target``; an OMNR branch is added at zero; the main
convolutions stay frozen. Afterwards everything folds into the plain network.

The loss is taken where the input form puts the noise (training/losses.py), so that a pair at ratio
300 and one at ratio 1, of a low ISO and of a high one, weigh alike; in the gained domain the
darkest pairs would drown the others.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ledcli.errors import TrainingError, UsageError
from ledcli.nets.forms import FORMS
from ledcli.nets.repnr import blocks, convert
from ledcli.training.data.pairs import MULTIPLE, CameraPairs
from ledcli.training.data.sampler import Batch
from ledcli.training.losses import form_loss
from ledcli.training.methods.base import Finished, Pretrained, Start, psnr_before, validation_psnr
from ledcli.training.schedule import Phase, Schedule
from ledcli.zoo.folding import fold, network_inputs, prove
from ledcli.zoo.model_file import ModelSpec

TARGET = "target"
"""Name of the tuned camera's CSA set."""
CSA, OMNR = "csa", "omnr"
"""The two groups of parameters that are tuned."""
ITERATIONS = 1500
BATCH, SIDE = 16, 128
"""Crops of an iteration, and their side in plane pixels: ten minutes on two cores, 0.4 dB better
than a quarter of it."""
LINE_ERROR = (0.05, 0.07)
"""Spread of the gain and of the read variance in training, in logarithms: what a line measured on
two pairs may be off by."""

SCHEDULES: dict[str, tuple[Phase, ...]] = {
    "joint": (Phase(1.0, {CSA: 5e-4, OMNR: 2e-4}),),
    "led": (Phase(2 / 3, {CSA: 1e-4}), Phase(1.0, {OMNR: 1e-5})),
}
"""``led`` has the published phases and rates: 1,000 iterations on the CSA at 1e-4, then 500 on the
OMNR branch at 1e-5. ``joint`` trains both at once, at rates that suit a stabilised network; at
twice these rates the loss leaps up on the way."""


def schedule_of(name: str, iterations: int = ITERATIONS) -> Schedule:
    """Return a schedule by name; raises UsageError for a name that is not in `SCHEDULES`."""
    if name not in SCHEDULES:
        raise UsageError(f"no schedule '{name}': choose {' or '.join(SCHEDULES)}")
    return Schedule(iterations, warm_up=20, ema=0.99, phases=SCHEDULES[name])


def prepare(spec: ModelSpec, net: nn.Module, csa_set: str) -> nn.Module:
    """Give a pretrained network the target CSA set and the OMNR branch, in place.

    Parameters
    ----------
    spec, net
        As `load_model` gives them.
    csa_set : str
        The CSA set to start from; empty takes the mean of all sets, or starts at the identity in
        a plain network.

    Returns
    -------
    nn.Module
        Every parameter but those of the target set and the OMNR branch is frozen.
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
class Recipe:
    """All that decides a fine-tuning but the pairs and the pretrained model.

    Attributes
    ----------
    schedule : str
        A name of `SCHEDULES`.
    iterations : int
    batch, side : int
        Crops of an iteration and their side in plane pixels.
    shot_noise : float
        Share of crops that get more light with its photon noise (PMN, section 3.2); off because
        it does not help a stabilised network, which knows the noise of every brightness.
    seed : int
    """

    schedule: str = "joint"
    iterations: int = ITERATIONS
    batch: int = BATCH
    side: int = SIDE
    shot_noise: float = 0.0
    seed: int = 0


class LedMethod:
    """LED's method: the CSA set and the OMNR branch are trained, then folded.

    Parameters
    ----------
    form : str
        Input form of the model.
    recipe : Recipe
    shots : CameraPairs
    device : torch.device
    """

    name = "led"

    def __init__(self, form: str, recipe: Recipe, shots: CameraPairs, device: torch.device) -> None:
        self.form, self.recipe, self.shots, self.device = FORMS[form], recipe, shots, device
        self.side = min(recipe.side, shots.side) // MULTIPLE * MULTIPLE

    def before(self, pretrained: Pretrained, *, bf16: bool) -> float:
        """Return the PSNR of the held crops in dB before tuning."""
        return psnr_before(pretrained, self.shots, self.device, bf16=bf16)

    def begin(self, pretrained: Pretrained) -> Start:
        """Add the target set and the OMNR branch to the pretrained network, in place."""
        spec, net, csa_set, _ = pretrained
        if net is None:
            raise UsageError("LED tunes a pretrained model: name one with --pretrained")
        prepare(spec, net, csa_set)
        return Start(replace(spec, csa_sets=(TARGET,), omnr=True), net, groups(net))

    def schedule(self) -> Schedule:
        """Return how long and how fast."""
        return schedule_of(self.recipe.schedule, self.recipe.iterations)

    def record(self) -> dict[str, Any]:
        """Return nothing: the recipe says it all."""
        return {}

    def finish(self, spec: ModelSpec, net: nn.Module) -> Finished:
        """Fold, and prove on the held crops that nothing changed."""
        folded, plain = fold(spec, net, TARGET)
        frames = [batch.x[0] for batch in self.shots.validation_batches()]
        proof = prove(net, TARGET, plain, network_inputs(spec, plain, frames))
        if not proof.holds:
            raise TrainingError(f"the folded network is not the tuned one: {proof}")
        return Finished(folded, plain, proof)

    def loss(self, net: nn.Module, progress: float, generator: torch.Generator) -> Tensor:
        """Draw crops; return the loss in the form's own domain, as the module says."""
        # By the place in the schedule: the same crops on every device, and after a resumption.
        step = round(progress * self.recipe.iterations)
        rng = np.random.default_rng([self.recipe.seed, step])
        batch = Batch(*(part.to(self.device) for part in self.draw(rng)))
        return form_loss(self.form, net, batch, *jitter_noise_profile(batch, rng))

    def draw(self, rng: np.random.Generator) -> Batch:
        """Draw the crops of an iteration."""
        batch = self.shots.batch(rng, self.recipe.batch, self.side)
        return add_light(batch, rng, self.recipe.shot_noise) if self.recipe.shot_noise else batch

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the PSNR of the held crops."""
        return {"psnr": self.psnr(net)}

    def psnr(self, net: nn.Module) -> float:
        """Return the PSNR of the held crops, with the camera's lines, in dB."""
        return validation_psnr(lambda batch: self.form(net, *batch[1:]), self.shots, self.device)


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
    """Make the noise lines as wrong as measured ones are; both ``(N,)``."""
    off = [np.exp(spread * rng.standard_normal(len(batch.x))) for spread in LINE_ERROR]
    factors = torch.from_numpy(np.stack(off).astype(np.float32)).to(batch.x.device)
    return batch.gain * factors[0], batch.variance * factors[1]
