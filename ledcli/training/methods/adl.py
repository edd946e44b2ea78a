"""Adaptive domain learning (Algorithm 1): other cameras' shots, as far as they help this one.

The network is first trained on the target's own shots. Then every step takes a batch of some
source together with the target's, and is kept only if the network got better on other shots of
the target; otherwise it is undone. At the end the target's shots alone fine-tune it.

One thing is not the paper's: a source that does not help loses its turns to the target's shots.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ledcli.nets.forms import form_of
from ledcli.nets.modulation import ModulatedNet
from ledcli.training.data.pairs import MULTIPLE, CameraPairs, TrainingPair
from ledcli.training.data.sampler import Batch
from ledcli.training.losses import form_loss
from ledcli.training.methods.adl_sources import Source, SourceBatch
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

FIRST_SHARE, LAST_SHARE = 0.2, 0.5
"""Of the target's pairs that validate a step, at the beginning and at the end."""
FEW = 10
"""Pairs below which those that validate are chosen by how different their gains are."""
WINDOWS = 4
"""Places of a pair that validate."""


class Window(NamedTuple):
    """A place of a pair that validates."""

    frame: TrainingPair
    row: int
    col: int


class DynamicValidation:
    """Sampler what validates a step, and says whether the step is good enough.

    Parameters
    ----------
    shots : CameraPairs
        The target's pairs.
    side : int
        Of a window, plane pixels.
    best : int
        M: how many of the best are remembered.
    psnr : callable
        PSNR of a window in dB, by the network as it is now: the first in the queue.
    seed : int
        Of the windows' places.
    """

    def __init__(
        self, shots: CameraPairs, side: int, best: int, psnr: Callable[[Window], float], seed: int
    ) -> None:
        self.shots, self.most = shots, best
        self.best = [0.0]
        rng = np.random.default_rng([seed, 2])
        self.windows: list[list[tuple[Window, float]]] = []
        for frame in shots.frames:
            rows, cols = (rng.integers(n - side + 1, size=WINDOWS).tolist() for n in frame.trained)
            places = [Window(frame, *place) for place in zip(rows, cols, strict=True)]
            self.windows.append([(window, psnr(window)) for window in places])

    def draw(self, rng: np.random.Generator, way: float) -> list[int]:
        """Draw the pairs that validate a step, by number.

        Parameters
        ----------
        rng : numpy.random.Generator
        way : float
            0 at the beginning of the sources' part, 1 at its end.
        """
        count = len(self.shots.frames)
        size = max(1, round(count * (FIRST_SHARE + (LAST_SHARE - FIRST_SHARE) * way)))
        if count >= FEW:
            return [int(i) for i in rng.choice(count, size, replace=False)]
        gains = [math.log(self.shots.line(frame.iso).gain) for frame in self.shots.frames]
        chosen = [int(rng.integers(count))]
        while len(chosen) < size:
            left = [i for i in rng.permutation(count).tolist() if i not in chosen]
            chosen.append(max(left, key=lambda i: min(abs(gains[i] - gains[j]) for j in chosen)))
        return chosen

    def accepts(
        self, chosen: list[int], rng: np.random.Generator, psnr: Callable[[Window], float]
    ) -> bool:
        """Compare the network with the mean of the best (Eq. 2); remember it if it is better."""
        drawn = [self.windows[i][rng.integers(WINDOWS)] for i in chosen]
        value = sum(psnr(window) - at_start for window, at_start in drawn) / len(drawn)
        if value <= sum(self.best) / len(self.best):
            return False
        self.best = sorted([*self.best, value])[-self.most :]
        return True


@dataclass(frozen=True)
class AdlRecipe:
    """All that decides a training by adaptive domain learning but the shots and the start.

    Attributes
    ----------
    iterations : int
        Of all three parts.
    batch, side : int
        Crops of an iteration, half of them of the source, and their side in plane pixels.
    target_until, sources_until : float
        Progress at which the target's pretraining and the sources' part end.
    best : int
        M: with how many of the best PSNRs a step's is compared.
    learning_rate : float
        Peak, of Adam.
    seed : int
    """

    iterations: int = 1500
    batch: int = 16
    side: int = 128
    target_until: float = 0.3
    sources_until: float = 0.7
    best: int = 10
    learning_rate: float = 1e-4
    seed: int = 0


class AdlMethod:
    """The method that the loop trains, and the validator of its steps.

    Parameters
    ----------
    recipe : AdlRecipe
    camera : str
        The target's name.
    shots : CameraPairs
        The target's pairs.
    sources : sequence of Source
    device : torch.device
    """

    name = "adl"

    def __init__(
        self,
        recipe: AdlRecipe,
        camera: str,
        shots: CameraPairs,
        sources: Sequence[Source],
        device: torch.device,
    ) -> None:
        self.recipe, self.camera, self.shots, self.device = recipe, camera, shots, device
        self.sources = list(sources)
        side = min([recipe.side, shots.side, *(source.side for source in sources)])
        self.side = side // MULTIPLE * MULTIPLE
        self.tried: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.validation: DynamicValidation | None = None
        self._at_stake: tuple[str, list[int]] | None = None

    def before(self, pretrained: Pretrained, *, bf16: bool) -> float:
        """Return the PSNR of the held crops in dB before tuning."""
        return psnr_before(pretrained, self.shots, self.device, bf16=bf16)

    def begin(self, pretrained: Pretrained) -> Start:
        """Take the pretrained network over, plain, and add its modulation."""
        spec, net, csa_set, _ = pretrained
        adopted = transfer_weights(spec, net, csa_set, seed=self.recipe.seed)
        self.form = form_of(spec.input_form, spec.output)
        named = [self.camera, *(sensor for each in self.sources for sensor in each.sensors)]
        sensors = tuple(dict.fromkeys(named))
        return Start(
            replace(adopted.spec, modulation=sensors),
            ModulatedNet(adopted.net, sensors),
            note=str(adopted) if adopted.anew else "",
        )

    def schedule(self) -> Schedule:
        """Return how long and how fast.

        One cosine for all parts: were the rate raised again for the sources, every step would be
        compared with a network that had come to rest, and undone.
        """
        recipe = self.recipe
        return Schedule(recipe.iterations, learning_rate=recipe.learning_rate, warm_up=20, ema=0.99)

    def loss(self, net: nn.Module, progress: float, generator: torch.Generator) -> Tensor:
        """Draw what this part of Algorithm 1 trains on; return its loss, as LED's."""
        assert isinstance(net, ModulatedNet)
        recipe, frames = self.recipe, self.shots.frames
        rng = np.random.default_rng([recipe.seed, round(progress * recipe.iterations)])
        self._at_stake = None
        way = (progress - recipe.target_until) / (recipe.sources_until - recipe.target_until)
        if not 0 <= way < 1 or not self.sources:
            return self._loss(net, self._target(rng, recipe.batch, frames))
        if self.validation is None:
            self.validation = self._validation(net)
        source = self.sources[rng.integers(len(self.sources))]
        if rng.random() > self._promise(source.name):
            return self._loss(net, self._target(rng, recipe.batch, frames))
        validating = self.validation.draw(rng, way)
        rest = [frame for i, frame in enumerate(frames) if i not in validating]
        half = max(1, recipe.batch // 2)
        foreign = source.draw(rng, half, self.side)
        self._at_stake = source.name, validating
        return self._loss(net, _merged(foreign, self._target(rng, half, rest or frames)))

    def tentative(self, progress: float) -> bool:
        """Tell whether the step that was just drawn has a source in it."""
        return self._at_stake is not None

    def accepts(self, net: nn.Module) -> bool:
        """Keep a step after which the network is good enough on other shots of the target."""
        assert self._at_stake and self.validation and isinstance(net, ModulatedNet)
        name, validating = self._at_stake
        rng = np.random.default_rng([self.recipe.seed, 1, self.tried.total()])
        self.tried[name] += 1
        kept = self.validation.accepts(validating, rng, lambda window: self._psnr_at(net, window))
        self.kept[name] += kept
        return kept

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the PSNR of the held crops."""
        return {"psnr": self.psnr(net)}

    def psnr(self, net: nn.Module) -> float:
        """Return the PSNR of the held crops in dB."""
        assert isinstance(net, ModulatedNet)
        isos = iter([frame.iso for frame in self.shots.frames])

        def denoise(batch: Batch) -> Tensor:
            net.about([self.camera] * len(batch.x), [next(isos)] * len(batch.x))
            return self.form(net, *batch[1:])

        return validation_psnr(denoise, self.shots, self.device)

    def finish(self, spec: ModelSpec, net: nn.Module) -> Finished:
        """Install the network as it is: what it folds into depends on the photo's ISO."""
        return Finished(spec, net)

    def record(self) -> dict[str, Any]:
        """Return how many steps were tried and kept, by source."""
        names = dict.fromkeys(source.name for source in self.sources)
        return {"sources": {n: {"tried": self.tried[n], "kept": self.kept[n]} for n in names}}

    def _promise(self, source: str) -> float:
        """Return the share of a source's turns that it takes; the target's shots take the others.

        A step that is undone is time lost, and Algorithm 1 loses all of it when no source helps:
        here a source tries as often as its steps have been kept.
        """
        return (self.kept[source] + 1) / (self.tried[source] + 1)

    def _loss(self, net: ModulatedNet, drawn: SourceBatch) -> Tensor:
        batch = self._here(drawn.batch)
        net.about(drawn.sensors, drawn.isos)
        return form_loss(self.form, net, batch, batch.gain, batch.variance)

    def _target(
        self, rng: np.random.Generator, count: int, frames: Sequence[TrainingPair]
    ) -> SourceBatch:
        chosen = [frames[i] for i in rng.integers(len(frames), size=count)]
        batch = self.shots.batch_of([f.draw(rng, self.side) for f in chosen], chosen)
        return SourceBatch(batch, [self.camera] * count, [f.iso for f in chosen])

    def _validation(self, net: ModulatedNet) -> DynamicValidation:
        recipe = self.recipe
        with torch.inference_mode():
            return DynamicValidation(
                self.shots, self.side, recipe.best, lambda w: self._psnr_at(net, w), recipe.seed
            )

    def _psnr_at(self, net: ModulatedNet, window: Window) -> float:
        frame, row, col = window
        batch = self._here(self.shots.batch_of([frame.window(row, col, self.side)], [frame]))
        net.about([self.camera], [frame.iso])
        clean = self.form(net, *batch[1:]).clamp(0, 1)
        return float(-10 * (clean - batch.clean).square().mean().clamp_min(1e-12).log10())

    def _here(self, batch: Batch) -> Batch:
        return Batch(*(part.to(self.device) for part in batch))


def _merged(first: SourceBatch, second: SourceBatch) -> SourceBatch:
    parts = (torch.cat(pair) for pair in zip(first.batch, second.batch, strict=True))
    return SourceBatch(
        Batch(*parts), [*first.sensors, *second.sensors], [*first.isos, *second.isos]
    )
