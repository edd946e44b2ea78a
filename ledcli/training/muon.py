"""Muon: momentum whose direction is made orthogonal, for the kernels of convolutions.

A gradient of a layer seen as a matrix has a few large singular values; the step that Muon takes
has all of them near one, so that rare directions are learnt as fast as common ones (Jordan et al.
2024, "Muon: an optimizer for hidden layers in neural networks"). In five minutes of one core it
brought the bundled model as far as Adam came in ten (models/EXPERIMENTS.md).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
STEP_RMS = 0.2
"""Root mean square of a step over the learning rate, as Adam's is: rates mean the same for both
(Liu et al. 2025, "Muon is scalable for LLM training")."""
ITERATIONS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic iteration, chosen by Jordan et al. for a steep start at zero."""
SMALLEST_SIDE = 24
"""A kernel whose matrix has a shorter side is left to Adam: there is little to make orthogonal."""


class Muon(torch.optim.Optimizer):
    """Steps kernels ``(C_out, C_in, kh, kw)``, each seen as a matrix ``(C_out, C_in kh kw)``.

    Parameters
    ----------
    params : iterable
        Kernels, or groups of them.
    lr : float
        Learning rate, on Adam's scale.
    """

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every kernel that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
                # Nesterov's: the gradient counts once more than it does in the momentum.
                ahead = weight.grad.lerp(momentum, MOMENTUM).flatten(1)
                size = group["lr"] * STEP_RMS * max(ahead.shape) ** 0.5
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
