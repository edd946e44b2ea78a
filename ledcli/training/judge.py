"""Steps that are looked at before they are kept, and the way back from those that are not."""

import copy
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Judge(Protocol):
    """A method that looks at steps; one that it does not accept leaves no trace."""

    def tentative(self, progress: float) -> bool:
        """Tell whether the step that was just drawn is looked at."""

    def accepts(self, net: nn.Module) -> bool:
        """Tell whether the step that has just been made is kept."""


class Memory:
    """The weights and what the optimisers remember, as they are now.

    Parameters
    ----------
    weights : sequence of Tensor
        Those that are trained.
    optimisers : sequence of Optimizer
    """

    def __init__(
        self, weights: Sequence[Tensor], optimisers: Sequence[torch.optim.Optimizer]
    ) -> None:
        self.weights, self.optimisers = weights, optimisers
        self._values = [weight.detach().clone() for weight in weights]
        # States go by their weights, which a copy must not copy.
        same = {id(weight): weight for weight in weights}
        self._states = [copy.deepcopy(dict(each.state), dict(same)) for each in optimisers]

    def restore(self) -> None:
        """Bring weights and optimisers back, to the bit."""
        with torch.no_grad():
            for weight, value in zip(self.weights, self._values, strict=True):
                weight.copy_(value)
        for optimiser, state in zip(self.optimisers, self._states, strict=True):
            optimiser.state.clear()
            optimiser.state.update(state)
