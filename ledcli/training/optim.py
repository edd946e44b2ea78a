"""Optimisers: Adam, and Muon for the kernels of convolutions.

Muon is momentum whose direction is made orthogonal.

A gradient of a layer seen as a matrix has a few large singular values; the step that Muon takes
has all of them near one, so that rare directions are learnt as fast as common ones (Jordan et al.
2024, "Muon: an optimizer for hidden layers in neural networks"). In five minutes of one core it
brought a UNet to 34.4 dB, and Adam to 32.6 (models/EXPERIMENTS.md).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
STEP_RMS = 0.2
"""Root mean square of a step over the learning rate, as Adam's is: rates mean the same for both
(Liu et al. 2025, "Muon is scalable for LLM training")."""
ITERATIONS = 5
BESIDE_MUON = 0.15
"""Adam's learning rate over Muon's, where both train a network."""
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic iteration, chosen by Jordan et al. for a steep start at zero."""
SMALLEST_SIDE = 24
"""A kernel whose matrix has a shorter side is left to Adam: there is little to make orthogonal."""


Each = Callable[[Callable[[Any], None], Sequence[Any]], Iterable[None]]


class Muon(torch.optim.Optimizer):
    """Steps kernels ``(C_out, C_in, kh, kw)``, each seen as a matrix ``(C_out, C_in kh kw)``.

    Parameters
    ----------
    params : iterable
        Kernels, or groups of them.
    lr : float
        Learning rate, on Adam's scale.
    each : callable
        Applies a function to each of a list: ``map``, or that of `Workers`, on several cores.
    """

    def __init__(self, params: Iterable[Any], lr: float, each: Each = map) -> None:
        super().__init__(params, {"lr": lr})
        self.each = each

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
        for _ in self.each(self._move, moved):
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

    A Newton-Schulz iteration in bfloat16: the values end between 0.7 and 1.2, near enough.
    """
    wide = matrix.bfloat16() if matrix.shape[0] <= matrix.shape[1] else matrix.bfloat16().T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = _A * wide + (_B * gram + _C * gram @ gram) @ wide
    return (wide if matrix.shape[0] <= matrix.shape[1] else wide.T).to(matrix.dtype)


def fits(weight: Tensor) -> bool:
    """Whether a parameter is a kernel that Muon is for."""
    return weight.ndim == 4 and min(len(weight), weight[0].numel()) >= SMALLEST_SIDE


def optimisers(
    groups: Mapping[str, list[nn.Parameter]], rate: float, muon: bool, each: Each = map
) -> list[torch.optim.Optimizer]:
    """Make Adam, and Muon for the kernels where it is asked for.

    Parameters
    ----------
    groups : mapping of str to parameters
        By name; the parameter groups of both optimisers carry the name, and the share of the
        learning rate that is theirs.
    rate : float
        Learning rate to begin with.
    muon : bool
        Whether kernels are Muon's.
    each : callable
        As in `Muon`.
    """

    def named(for_muon: bool, share: float) -> list[dict[str, Any]]:
        return [
            {
                "params": [w for w in weights if (muon and fits(w)) is for_muon],
                "name": name,
                "share": share,
            }
            for name, weights in groups.items()
        ]

    # A CSA set that was not drawn has no gradient and is left alone by both.
    adam = torch.optim.Adam(named(False, BESIDE_MUON if muon else 1.0), lr=rate, fused=True)
    return [adam, Muon(named(True, 1.0), rate, each)] if muon else [adam]
