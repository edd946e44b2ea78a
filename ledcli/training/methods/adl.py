"""Adaptive domain learning (Algorithm 1): other cameras' shots, as far as they help this one.

The network is first trained on the target's own pairs. Then every step takes a batch of some
source together with the target's, and is kept only if the network got better on other pairs of
the target, or on the other half of a single one; otherwise it is rolled back. At the end the
target's pairs alone fine-tune it.

Unlike in the paper, a source that does not help is drawn less often.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

from ledcli.errors import UsageError
from ledcli.nets.forms import form_of
from ledcli.nets.modulation import ModulatedNet
from ledcli.nets.network import Network
from ledcli.training.data.pairs import CameraPairs, TrainingPair
from ledcli.training.data.sampler import Batch
from ledcli.training.data.sources import PairSource, SourceBatch
from ledcli.training.methods.base import FinetuneMethod, FinetuneRecipe, MethodInputs, mean_psnr
from ledcli.training.methods.led import form_loss
from ledcli.training.methods.start import Pretrained, Start, transfer_weights

FIRST_SHARE, LAST_SHARE = 0.2, 0.5
"""Of the target's pairs that validate a step, at the beginning and at the end."""
FEW = 10
"""Pairs below which those that validate are chosen by how different their gains are, and there is
no modulation: an ISO would tell which scene it is."""
WINDOWS = 4
"""Windows of a pair that validate."""


class ValidationWindow(NamedTuple):
    """A window of a pair that validates a step: its top left corner in plane pixels."""

    pair: TrainingPair
    row: int
    col: int


Psnr = Callable[[ValidationWindow], float]
"""Measures a network on a window, dB."""


@dataclass(frozen=True)
class AdlRecipe(FinetuneRecipe):
    """What decides a training by adaptive domain learning besides the pairs and the start.

    Half of a batch is the source's.
    """

    target_until: float = 0.3
    sources_until: float = 0.7
    """Progress at which the target's pretraining and the sources' part end."""
    best: int = 10
    """M: with how many of the best PSNRs a step's is compared."""
    modulated_from: int = FEW
    """Pairs of the target from which on the network is modulated."""
    learning_rate: float = 1e-4
    """Peak, of Adam."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.target_until < self.sources_until <= 1:
            raise UsageError(
                "target_until must be below sources_until, and that at most 1, not "
                f"{self.target_until:g} and {self.sources_until:g}"
            )


class AdlMethod(FinetuneMethod):
    """Trains all weights on the target's pairs and on sources; validates the sources' steps.

    The schedule is one cosine for all three parts: were the rate raised again for the sources,
    every step would be compared with a network that had converged, and rolled back.
    """

    name = "adl"
    recipe_type = AdlRecipe
    cfas = ("bayer",)
    takes_sources = True

    recipe: AdlRecipe

    def __init__(self, recipe: AdlRecipe, inputs: MethodInputs) -> None:
        self.camera, self.sources = inputs.camera, list(inputs.sources)
        self.parts = parts_of(inputs.camera_pairs)
        super().__init__(recipe, inputs)
        self.target = PairSource(inputs.camera, self.parts)
        self.tried: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.validation: DynamicValidation | None = None
        self._on_trial: tuple[str, list[int]] | None = None

    def max_side(self) -> int:
        """Return the largest side that the target and all sources have crops of."""
        return min([self.parts.side, *(source.side for source in self.sources)])

    def begin(self, pretrained: Pretrained) -> Start:
        """Transfer the pretrained network, plain; add its modulation unless the pairs are few."""
        start = transfer_weights(pretrained, seed=self.recipe.seed)
        self.form = form_of(pretrained.spec.input_form, pretrained.spec.output)
        spec, net = start.spec, start.net
        if len(self.camera_pairs.pairs) >= self.recipe.modulated_from:
            assert isinstance(start.net, Network)
            named = [self.camera, *(sensor for each in self.sources for sensor in each.sensors)]
            sensors = tuple(dict.fromkeys(named))
            spec, net = replace(spec, modulation=sensors), ModulatedNet(start.net, sensors)
        return Start(spec, net, note=start.note if start.new else "")

    def loss(self, net: nn.Module, progress: float, generator: Generator, part: range) -> Tensor:
        """Draw what this part of Algorithm 1 trains on; return its loss, as LED's."""
        recipe, rng = self.recipe, self.rng_of(progress)
        self._on_trial = None
        way = (progress - recipe.target_until) / (recipe.sources_until - recipe.target_until)
        if not 0 <= way < 1 or not self.sources:
            return self._loss(net, self.target.draw(rng, recipe.batch, self.side))
        if self.validation is None:
            with torch.inference_mode():
                self.validation = self._new_validation(partial(self._psnr_at, net))
            # Before torch 2.10 the weights that were cast there would have no gradient here.
            torch.clear_autocast_cache()
        source = self.sources[rng.integers(len(self.sources))]
        if rng.random() > self._success_rate(source.name):
            return self._loss(net, self.target.draw(rng, recipe.batch, self.side))
        validating = self.validation.draw(rng, way)
        rest = [pair for i, pair in enumerate(self.parts.pairs) if i not in validating]
        half = max(1, recipe.batch // 2)
        foreign = source.draw(rng, half, self.side)
        self._on_trial = source.name, validating
        own = self.target.draw(rng, half, self.side, among=rest)
        both = Batch(*(torch.cat(parts) for parts in zip(foreign.batch, own.batch, strict=True)))
        sensors, isos = foreign.sensors + own.sensors, foreign.isos + own.isos
        return self._loss(net, SourceBatch(both, sensors, isos))

    def must_validate(self) -> bool:
        """Return whether the step that was just drawn has a source in it."""
        return self._on_trial is not None

    def accepts(self, net: nn.Module) -> bool:
        """Keep a step after which the network is good enough on other pairs of the target."""
        assert self._on_trial and self.validation
        name, validating = self._on_trial
        rng = np.random.default_rng([self.recipe.seed, 1, self.tried.total()])
        self.tried[name] += 1
        kept = self.validation.accepts(validating, rng, partial(self._psnr_at, net))
        self.kept[name] += kept
        return kept

    def psnr(self, net: nn.Module) -> float:
        """Return the PSNR of the validation crops in dB."""
        found = []
        for pair, batch in zip(self.camera_pairs.pairs, self.validation_batches(), strict=True):
            _set_shots(net, [self.camera] * len(batch.x), [pair.iso] * len(batch.x))
            found.append(self.batch_psnr(net, batch))
        return mean_psnr(found)

    def state(self) -> dict[str, Any]:
        """Return how often each source helped, and what steps are compared with."""
        if self.validation is None:
            return {}
        at_start = [psnr for windows in self.validation.windows for _, psnr in windows]
        best = self.validation.best
        return {"tried": self.tried, "kept": self.kept, "at_start": at_start, "best": best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        for counted, key in ((self.tried, "tried"), (self.kept, "kept")):
            counted.update({name: int(n) for name, n in dict(state[key]).items()})
        at_start = list(state["at_start"])
        self.validation = self._new_validation(lambda _: float(at_start.pop(0)))
        self.validation.best = [float(value) for value in state["best"]]

    def record(self) -> dict[str, Any]:
        """Return how many steps were tried and kept, by source."""
        names = dict.fromkeys(source.name for source in self.sources)
        return {"sources": {n: {"tried": self.tried[n], "kept": self.kept[n]} for n in names}}

    def _new_validation(self, psnr: Psnr) -> "DynamicValidation":
        recipe = self.recipe
        return DynamicValidation(self.parts, self.side, recipe.best, psnr, recipe.seed)

    def _success_rate(self, source: str) -> float:
        """Return how often a source is used when it is drawn; otherwise the target's pairs are.

        A step that is rolled back is time lost, and Algorithm 1 loses all of it when no source
        helps. Here a source is tried as often as its steps have been kept.
        """
        return (self.kept[source] + 1) / (self.tried[source] + 1)

    def _loss(self, net: nn.Module, drawn: SourceBatch) -> Tensor:
        batch = drawn.batch.to(self.device)
        _set_shots(net, drawn.sensors, drawn.isos)
        return form_loss(self.form, net, batch)

    def _psnr_at(self, net: nn.Module, window: ValidationWindow) -> float:
        pair, row, col = window
        short, clean = map(pair.standard, pair.window(row, col, self.side))
        _set_shots(net, [self.camera], [pair.iso])
        return self.batch_psnr(net, self.camera_pairs.batch_of([(short, clean)], [pair]))


def parts_of(camera_pairs: CameraPairs) -> CameraPairs:
    """Return the target's pairs; of a single one its upper and lower half.

    So every step is validated on something that it is not trained on.
    """
    if len(camera_pairs.pairs) > 1:
        return camera_pairs
    (pair,) = camera_pairs.pairs
    middle = pair.trained[0] // 2
    upper = replace(pair, short=pair.short[:, :middle], clean=pair.clean[:, :middle])
    lower = replace(pair, short=pair.short[:, middle:], clean=pair.clean[:, middle:])
    return replace(camera_pairs, pairs=(replace(upper, validation_side=0), lower))


def _set_shots(net: nn.Module, sensors: Sequence[str | None], isos: Sequence[float]) -> None:
    if isinstance(net, ModulatedNet):
        net.set_shots(sensors, isos)


class DynamicValidation:
    """Draws the target's pairs that validate a step, and decides whether the step is good enough.

    A step is compared with the mean of the ``best`` results so far (M of the paper). ``psnr`` gives
    that of a window of ``side`` plane pixels, in dB, before the first step on a source.
    """

    def __init__(
        self, camera_pairs: CameraPairs, side: int, best: int, psnr: Psnr, seed: int
    ) -> None:
        self.camera_pairs, self.max_best = camera_pairs, best
        self.best = [0.0]
        rng = np.random.default_rng([seed, 2])
        self.windows: list[list[tuple[ValidationWindow, float]]] = []
        for pair in camera_pairs.pairs:
            rows, cols = (rng.integers(n - side + 1, size=WINDOWS).tolist() for n in pair.trained)
            windows = [ValidationWindow(pair, *start) for start in zip(rows, cols, strict=True)]
            self.windows.append([(window, psnr(window)) for window in windows])

    def draw(self, rng: np.random.Generator, way: float) -> list[int]:
        """Draw the numbers of the pairs that validate a step.

        ``way`` runs from 0 at the beginning of the sources' part to 1 at its end.
        """
        count = len(self.camera_pairs.pairs)
        size = max(1, round(count * (FIRST_SHARE + (LAST_SHARE - FIRST_SHARE) * way)))
        if count >= FEW:
            return [int(i) for i in rng.choice(count, size, replace=False)]
        pairs = self.camera_pairs
        gains = [math.log(pairs.profile_at(pair.iso).gain) for pair in pairs.pairs]
        chosen = [int(rng.integers(count))]
        while len(chosen) < size:
            left = [i for i in rng.permutation(count).tolist() if i not in chosen]
            chosen.append(max(left, key=lambda i: min(abs(gains[i] - gains[j]) for j in chosen)))
        return chosen

    def accepts(self, chosen: list[int], rng: np.random.Generator, psnr: Psnr) -> bool:
        """Compare the network with the mean of the best (Eq. 2); remember it if it is better."""
        known = [[each for each in self.windows[i] if not math.isnan(each[1])] for i in chosen]
        drawn = [windows[rng.integers(len(windows))] for windows in known if windows]
        if not drawn:
            return False
        value = sum(psnr(window) - at_start for window, at_start in drawn) / len(drawn)
        if value <= sum(self.best) / len(self.best):
            return False
        self.best = sorted([*self.best, value])[-self.max_best :]
        return True
