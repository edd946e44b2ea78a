"""Exposure diffusion (Wang et al., ExposureMethod, 2023): a network learns to expose on.

From the short frame it guesses the clean image, lets the photons of that guess come in, and guesses
again (Algorithm 1). It is trained on frames of its own making, which obey the noise of real ones,
so that at denoising it may do the same for as many steps as one has time for.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ledcli.nets.exposure_diffusion import (
    AdaptiveForm,
    add_photons,
    default_steps,
    exposure_schedule,
    refine,
)
from ledcli.noise.estimate import NoiseProfile
from ledcli.training.data.pairs import MULTIPLE, CameraPairs
from ledcli.training.data.sampler import Batch
from ledcli.training.losses import known, mean_known
from ledcli.training.methods.base import (
    Finished,
    Pretrained,
    Start,
    psnr_before,
    transfer_weights,
    validation_psnr,
)
from ledcli.training.schedule import Schedule
from ledcli.zoo.model_file import ModelSpec

DARKEST = 1e-3
"""Of white: added to both sides of the divergence, on top of the read noise's light."""


@dataclass(frozen=True)
class ExposureRecipe:
    """All that decides a training by exposure diffusion but the pairs and the start.

    Attributes
    ----------
    iterations : int
    batch, side : int
        Crops of an iteration and their side in plane pixels.
    steps : int
        T: the network sees every crop T + 1 times, at exposures from the short frame's to the
        reference's.
    l1 : float
        Weight of the mean absolute error beside the divergence.
    learning_rate : float
        Peak, of Muon for the kernels; Adam's for the rest follows.
    seed : int
    """

    iterations: int = 1500
    batch: int = 8
    side: int = 128
    steps: int = 2
    l1: float = 1.0
    learning_rate: float = 1e-3
    seed: int = 0


class ExposureMethod:
    """The method that the loop trains.

    Parameters
    ----------
    recipe : ExposureRecipe
    shots : CameraPairs
        Pairs, and the gain K over ISO by a photon-transfer fit on them.
    device : torch.device
    workers : int
        Parts of a batch that are computed side by side.
    """

    name = "exposure"

    def __init__(
        self, recipe: ExposureRecipe, shots: CameraPairs, device: torch.device, workers: int = 1
    ) -> None:
        self.recipe, self.shots, self.device = recipe, shots, device
        self.workers = min(workers, recipe.batch)
        self.side = min(recipe.side, shots.side) // MULTIPLE * MULTIPLE
        self.form = AdaptiveForm()

    def before(self, pretrained: Pretrained, *, bf16: bool) -> float:
        """Return the PSNR of the held crops in dB before tuning."""
        return psnr_before(pretrained, self.shots, self.device, bf16=bf16)

    def begin(self, pretrained: Pretrained) -> Start:
        """Take the pretrained weights over where they fit; the layer of Eq. 12 starts anew."""
        spec, net, csa_set, _ = pretrained
        planes = {"in_planes": self.form.in_planes, "out_planes": self.form.out_planes}
        adopted = transfer_weights(spec, net, csa_set, seed=self.recipe.seed, **planes)
        gained = replace(adopted.spec, input_form="gain", output="adaptive")
        return Start(gained, adopted.net, note=str(adopted), muon=True, workers=self.workers)

    def schedule(self) -> Schedule:
        """Return how long and how fast."""
        recipe = self.recipe
        return Schedule(recipe.iterations, learning_rate=recipe.learning_rate, warm_up=50, ema=0.99)

    def loss(self, net: nn.Module, progress: float, generator: torch.Generator) -> Tensor:
        """Draw crops and expose them on; return the mean of the steps' losses (Algorithm 1)."""
        seed = int(torch.randint(2**31, (), generator=generator, device=self.device))
        count = max(1, self.recipe.batch // self.workers)
        drawn = self.shots.batch(np.random.default_rng(seed), count, self.side)
        batch = Batch(*(part.to(self.device) for part in drawn))
        # Every frame has a way of its own: from its ratio to 1.
        ways = zip(
            *(exposure_schedule(float(r), self.recipe.steps + 1) for r in batch.ratio), strict=True
        )
        stops = [torch.tensor(way, device=self.device) for way in ways]
        counts = known(batch.clean)
        darkness = darkness_of(batch)
        x, total = batch.x, torch.zeros((), device=self.device)
        for number, now in enumerate(stops):
            clean = self.form(net, x, 1 / now, batch.gain, batch.variance)
            total = total + divergence(clean, batch.clean, darkness, counts)
            total = total + self.recipe.l1 * mean_known((clean - batch.clean).abs(), counts)
            if number < self.recipe.steps:
                then = stops[number + 1]
                x = add_photons(x, clean.detach(), now, then, batch.gain, generator)
        return total / len(stops)

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the PSNR of the held crops."""
        return {"psnr": self.psnr(net)}

    def psnr(self, net: nn.Module) -> float:
        """Return the PSNR of the held crops in dB, by as many looks as denoising usually takes."""

        def looked(batch: Batch) -> Tensor:
            frames = zip(batch.x, *(column.tolist() for column in batch[2:]), strict=True)
            return torch.stack([self._refined(net, *frame) for frame in frames])

        return validation_psnr(looked, self.shots, self.device)

    def _refined(
        self, net: nn.Module, frame: Tensor, ratio: float, gain: float, variance: float
    ) -> Tensor:
        line = frame.new_tensor([gain]), frame.new_tensor([variance])

        def clean(x: Tensor, at: float) -> Tensor:
            return self.form(net, x[None], x.new_tensor([at]), *line)[0]

        return refine(clean, frame, ratio, NoiseProfile(gain, variance), default_steps(ratio))

    def record(self) -> dict[str, Any]:
        """Return nothing: the recipe says it all."""
        return {}

    def finish(self, spec: ModelSpec, net: nn.Module) -> Finished:
        """Install the network as it is: there is nothing to fold."""
        return Finished(spec, net)


def darkness_of(batch: Batch) -> Tensor:
    """Return the light ``(N, 1, 1, 1)``, times the ratio, whose photon noise the read noise equals.

    A shifted Poisson distribution has read noise and photons in one: its rate is never zero, and
    neither is what the divergence divides by.
    """
    light = batch.variance / batch.gain * batch.ratio
    return (light + DARKEST).reshape(-1, 1, 1, 1)


def divergence(clean: Tensor, truth: Tensor, darkness: Tensor, counts: Tensor) -> Tensor:
    """Return the mean divergence of two Poisson distributions (Eq. 11).

    ``F log(F / X) + X - F`` with ``darkness`` added to F and X, over the pixels that count.

    Parameters
    ----------
    clean, truth : Tensor ``(N, 4, h, w)``
        F and X, from 0 to 1.
    darkness : Tensor ``(N, 1, 1, 1)``
    counts : Tensor ``(N, 4, h, w)``
        1 where the truth is known, 0 elsewhere.
    """
    f, x = clean.float() + darkness, truth + darkness
    return mean_known(f * (f / x).log() + x - f, counts)
