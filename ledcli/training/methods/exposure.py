"""Exposure diffusion (Wang et al., ExposureDiffusion, 2023): a network that exposes a frame on.

From the short frame it estimates the clean image, adds the photons of that estimate, and estimates
again (Algorithm 1). It is trained on frames of its own making, which obey the noise of real ones,
so that at denoising time it can take as many steps as there is time for.
"""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from ledcli.nets.forms import AdaptiveForm, add_photons, default_steps, exposure_schedule, refine
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.physics import column
from ledcli.training.data.sampler import Batch
from ledcli.training.methods.base import FinetuneMethod, FinetuneRecipe
from ledcli.training.methods.led import known, mean_known
from ledcli.training.methods.start import Pretrained, Start, transfer_weights

DARKEST = 1e-3
"""Of white: added to both sides of the divergence, on top of the read noise's light."""


@dataclass(frozen=True)
class ExposureRecipe(FinetuneRecipe):
    """What decides a training by exposure diffusion besides the pairs and the start."""

    batch: int = 8
    steps: int = 1
    """T: the network sees every crop T + 1 times, at exposures from the short frame's to the
    reference's."""
    l1: float = 1.0
    """Weight of the mean absolute error beside the divergence."""
    learning_rate: float = 1e-3
    """Peak, of Muon for the kernels; Adam's for the rest follows."""


class ExposureMethod(FinetuneMethod):
    """Trains all weights on the camera's pairs, exposed on step by step."""

    name = "exposure"
    recipe_type = ExposureRecipe
    cfas = ("bayer",)
    muon = True
    warm_up = 50
    parallel = True

    recipe: ExposureRecipe
    form = AdaptiveForm()

    def begin(self, pretrained: Pretrained) -> Start:
        """Transfer the pretrained weights that fit; the layer of Eq. 12 is initialised."""
        start = transfer_weights(pretrained, seed=self.recipe.seed, form=self.form)
        return start._replace(spec=replace(start.spec, input_form="gain", output="adaptive"))

    def loss(self, net: nn.Module, progress: float, generator: Generator, part: range) -> Tensor:
        """Draw crops and expose them on; return the mean of the steps' losses (Algorithm 1)."""
        drawn = self.camera_pairs.batch(self.workers_rng(generator), len(part), self.side)
        # Every crop has a schedule of its own: from its ratio to 1.
        count = self.recipe.steps + 1
        schedules = zip(*(exposure_schedule(r, count) for r in drawn.ratio.tolist()), strict=True)
        ratios = [torch.tensor(ratio, device=self.device) for ratio in schedules]
        batch = drawn.to(self.device)
        counts = known(batch.clean)
        darkness = darkness_of(batch)
        x, total = batch.x, torch.zeros((), device=self.device)
        for number, now in enumerate(ratios):
            clean = self.form(net, x, 1 / now, batch.gain, batch.read_variance)
            total = total + divergence(clean, batch.clean, darkness, counts)
            total = total + self.recipe.l1 * mean_known((clean - batch.clean).abs(), counts)
            if number < self.recipe.steps:
                then = ratios[number + 1]
                x = add_photons(x, clean.detach(), now, then, batch.gain, generator)
        return total / len(ratios)

    def denoise(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return the clean planes ``(N, 4, h, w)``, with the default refinement steps."""
        frames = zip(batch.x, *(column.tolist() for column in batch[2:]), strict=True)
        return torch.stack([self._refined(net, *frame) for frame in frames])

    def _refined(
        self, net: nn.Module, frame: Tensor, ratio: float, gain: float, variance: float
    ) -> Tensor:
        profile = frame.new_tensor([gain]), frame.new_tensor([variance])

        def clean(x: Tensor, at: float) -> Tensor:
            return self.form(net, x[None], x.new_tensor([at]), *profile)[0]

        return refine(clean, frame, ratio, NoiseProfile(gain, variance), default_steps(ratio))


def darkness_of(batch: Batch) -> Tensor:
    """Return the light ``(N, 1, 1, 1)``, times the ratio, whose photon noise the read noise equals.

    A shifted Poisson distribution models read noise and photons in one: its rate is never zero, and
    neither is what the divergence divides by.
    """
    light = batch.read_variance / batch.gain * batch.ratio
    return column(light + DARKEST)


def divergence(clean: Tensor, truth: Tensor, darkness: Tensor, counts: Tensor) -> Tensor:
    """Return the mean divergence of two Poisson distributions (Eq. 11).

    ``F log(F / X) + X - F``, with F the result, X the truth, both ``(N, 4, h, w)`` and 0 to 1, and
    ``darkness`` ``(N, 1, 1, 1)`` added to both; over the pixels whose ``counts`` is 1, not 0.
    """
    f, x = clean.float() + darkness, truth + darkness
    return mean_known(f * (f / x).log() + x - f, counts)
