"""What makes a training step: its learning rates, the optimisers, and the workers that share it.

Muon is momentum whose direction is made orthogonal (Jordan et al. 2024, "Muon: an optimizer for
hidden layers in neural networks"). The gradient of a layer, seen as a matrix, has a few large
singular values; in Muon's step all of them are near one, so that rare directions are learnt as fast
as common ones. In five minutes on one core it brought a UNet to 34.4 dB, and Adam to 32.6
(models/EXPERIMENTS.md).

Workers are threads that compute a batch in parts, each on a core of its own. One operation spread
over two cores wastes a third of them, measured on this loop: they wait for each other after every
one, and for long where something else runs too. Two halves of a batch, each on one core from the
clean scene to the gradient, meet once a step.
"""

import copy
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

ALL = "all"
"""The group of parameters that a schedule without phases trains."""
VALIDATE_EVERY = 50
"""Steps between two validations of a training that ends early."""
MIN_GAIN = 0.03
"""PSNR in dB by which validation crops must gain in `Schedule.patience` steps."""
MIN_RATE = 0.01
"""Share of the peak learning rate that is left at the end."""
MOMENTUM = 0.95
STEP_RMS = 0.2
"""Root mean square of a step over the learning rate, as Adam's is: rates mean the same for both
(Liu et al. 2025, "Muon is scalable for LLM training")."""
ITERATIONS = 5
BESIDE_MUON = 0.15
"""Adam's learning rate over Muon's, where both train a network."""
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic iteration, chosen by Jordan et al. for a steep start at zero."""
MIN_MUON_SIDE = 24
"""A kernel whose matrix has a shorter side is left to Adam: there is little to make orthogonal."""
MAX_WORKERS = 8
"""Of one training: a part of a batch should hold more than one crop."""

Map = Callable[[Callable[[Any], None], Sequence[Any]], Iterable[None]]
"""Applies a function to each item of a list: ``map``, or `Workers.map` on several cores."""
Gradients = Sequence[Tensor | None]


class TrainingPhase(NamedTuple):
    """A part of a training: until which progress, and the groups it trains at which peak rates."""

    until: float
    rates: Mapping[str, float]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    iterations: int
    """Steps in all, unless ``minutes`` is over first."""
    minutes: float | None = None
    """Time budget: progress is then whichever of the two is further."""
    learning_rate: float = 4e-4
    """Peak rate; it falls to a hundredth of it."""
    warm_up: int = 200
    """Steps over which the rate rises to its peak."""
    clip: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.999
    """Decay of the average per step; lower at the start, where there is little to average."""
    phases: tuple[TrainingPhase, ...] = ()
    """Parts with groups, rates and a fall of their own; they replace `learning_rate`."""
    decay: float | None = None
    """None: a cosine over the whole training. Otherwise the rate stays at its peak and falls over
    this last share of the training (warm-up, stable, decay; Hu et al. 2024, "MiniCPM"). Such a
    training can be lengthened while the rate is stable, and ended at any time: resumed with
    ``minutes`` set to those it has had over ``1 - decay``, it decays from there."""
    patience: int | None = None
    """Steps in which the validation must gain `MIN_GAIN`; where it does not, the decay begins."""

    def as_json(self) -> dict[str, Any]:
        """Return the schedule as JSON values, for the record."""
        return json.loads(json.dumps(asdict(self)))

    def progress(self, step: int, seconds: float) -> float:
        """Return the part of the training that is done, 0 to 1."""
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.iterations, by_time))

    def validates(self, step: int) -> bool:
        """Return whether a step must be validated to know when to begin the decay."""
        return self.patience is not None and step % VALIDATE_EVERY == 0

    def rates(self, step: int, progress: float) -> dict[str, float]:
        """Return the learning rate of each group that a step trains."""
        begun = 0.0
        for phase in self.phases or (TrainingPhase(1.0, {ALL: self.learning_rate}),):
            if progress < phase.until or phase.until >= 1:
                break
            begun = phase.until
        rise = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        share = (progress - begun) / (phase.until - begun)
        fall = MIN_RATE + (1 - MIN_RATE) * self._fall(share)
        return {group: peak * rise * fall for group, peak in phase.rates.items()}

    def _fall(self, share: float) -> float:
        """Return what is left of the peak after a share of a phase, 1 to 0."""
        if self.decay is None:
            return (1 + math.cos(math.pi * share)) / 2
        # One minus a square root was best in a comparison of decays (Haegele et al. 2024).
        decayed = (share - 1 + self.decay) / self.decay if self.decay else 0.0
        return 1 - math.sqrt(max(decayed, 0.0))

    def rate(self, step: int, progress: float) -> float:
        """Return the highest learning rate of a step."""
        return max(self.rates(step, progress).values())


@dataclass
class Plateau:
    """The last validation that gained enough, in dB, and its step."""

    psnr: float = -math.inf
    step: int = 0

    def judge(self, psnr: float, step: int, schedule: Schedule) -> Schedule:
        """Return the schedule; where the validation gains no more, its decay begins here."""
        if psnr >= self.psnr + MIN_GAIN:
            self.psnr, self.step = psnr, step
        elif schedule.patience and step - self.step >= schedule.patience:
            iterations = math.ceil(step / (1 - (schedule.decay or 0)))
            schedule = replace(schedule, iterations=min(iterations, schedule.iterations))
        return schedule


class Muon(torch.optim.Optimizer):
    """Steps kernels ``(C_out, C_in, kh, kw)``, each seen as a matrix ``(C_out, C_in kh kw)``.

    The learning rate is on Adam's scale.
    """

    def __init__(self, params: Iterable[Any], lr: float, map_fn: Map = map) -> None:
        super().__init__(params, {"lr": lr})
        self.map_fn = map_fn

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every kernel that has a gradient."""
        moved = [
            (weight, group["lr"])
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None
        ]
        # The large ones first: what is left at the end for one core alone is small.
        moved.sort(key=lambda job: -job[0].numel())
        for _ in self.map_fn(self._move, moved):
            pass

    @torch.no_grad()
    def _move(self, job: tuple[Tensor, float]) -> None:
        weight, rate = job
        gradient = weight.grad
        assert gradient is not None
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        # Nesterov's: the gradient counts once more than it does in the momentum.
        ahead = gradient.lerp(momentum, MOMENTUM).flatten(1)
        size = rate * STEP_RMS * max(ahead.shape) ** 0.5
        weight.add_(orthogonal(ahead).view_as(weight), alpha=-size)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix ``(m, n)`` with the singular vectors of the given one and values near 1.

    A Newton-Schulz iteration; the values end between 0.7 and 1.2, which is near enough. Each
    iteration multiplies the matrix ``X`` by a polynomial of ``X X'``. The polynomials are therefore
    computed on that small square, and the matrix is multiplied once, by their product: a UNet's
    kernels need two and a half times fewer multiplications, so that float32 is affordable.
    """
    wide = matrix.float() if matrix.shape[0] <= matrix.shape[1] else matrix.float().T
    wide = wide / (wide.norm() + 1e-7)
    gram = wide @ wide.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for iteration in range(ITERATIONS):
        factor = _A * identity + _B * gram + _C * gram @ gram
        product = factor @ product
        if iteration < ITERATIONS - 1:
            gram = factor @ gram @ factor
    wide = product @ wide
    return (wide if matrix.shape[0] <= matrix.shape[1] else wide.T).to(matrix.dtype)


def suits_muon(weight: Tensor) -> bool:
    """Return whether a parameter is a kernel that Muon trains."""
    return weight.ndim == 4 and min(len(weight), weight[0].numel()) >= MIN_MUON_SIDE


def optimisers(
    groups: Mapping[str, list[nn.Parameter]], rate: float, muon: bool, map_fn: Map = map
) -> list[torch.optim.Optimizer]:
    """Make Adam, and Muon for the kernels if asked for.

    The parameter groups of both carry the name of their group, and the share of the schedule's
    learning rate that is theirs.
    """

    def named(for_muon: bool, share: float) -> list[dict[str, Any]]:
        return [
            {
                "params": [w for w in weights if (muon and suits_muon(w)) is for_muon],
                "name": name,
                "share": share,
            }
            for name, weights in groups.items()
        ]

    # A CSA set that was not drawn has no gradient and is left alone by both.
    adam = torch.optim.Adam(named(False, BESIDE_MUON if muon else 1.0), lr=rate, fused=True)
    return [adam, Muon(named(True, 1.0), rate, map_fn)] if muon else [adam]


def snapshot(
    weights: Sequence[Tensor], optimisers: Sequence[torch.optim.Optimizer]
) -> Callable[[], None]:
    """Return what brings weights and optimisers back to where they are now, to the bit."""
    values = [weight.detach().clone() for weight in weights]
    states = [copy.deepcopy(each.state_dict()) for each in optimisers]

    @torch.no_grad()
    def restore() -> None:
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)
        for optimiser, state in zip(optimisers, states, strict=True):
            optimiser.load_state_dict(state)

    return restore


def worker_count(device: torch.device) -> int:
    """Return how many workers a training uses: one a core; a GPU computes the batch at once."""
    return min(torch.get_num_threads(), MAX_WORKERS) if device.type == "cpu" else 1


class Workers:
    """Threads that share a network's parameters; each has modules, and so a CSA set, of its own."""

    def __init__(self, net: nn.Module, count: int) -> None:
        shared = {id(p): p for p in net.parameters()}
        self.nets = [net, *(copy.deepcopy(net, dict(shared)) for _ in range(count - 1))]
        self._threads = ThreadPoolExecutor(count, "worker", torch.set_num_threads, (1,))
        self.map = self._threads.map

    def gradients(
        self, loss: Callable[[nn.Module, int], Tensor], weights: Sequence[Tensor], busy: int
    ) -> tuple[Tensor, Gradients]:
        """Return the sum of the workers' losses and its gradients; None for a weight not used.

        ``loss`` takes a worker's network and number; only the first ``busy`` workers are asked.
        """

        def worker(number: int) -> tuple[Tensor, Gradients]:
            value = loss(self.nets[number], number)
            return value.detach(), torch.autograd.grad(value, weights, allow_unused=True)

        values, gradients = zip(*self._threads.map(worker, range(busy)), strict=True)
        return torch.stack(values).sum(), [_sum(parts) for parts in zip(*gradients, strict=True)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep what the calling thread computes inside the block to one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Return the sum over the workers; one that did not use the weight counts as zero."""
    known = [part for part in parts if part is not None]
    for part in known[1:]:
        known[0].add_(part)
    return known[0] if known else None
