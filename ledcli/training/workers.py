"""Workers: threads that compute a step's batch in parts, each on a core of its own.

One operation spread over two cores wastes a third of them, measured on this loop: they wait for
each other after every one, and for long where something else runs too. Two halves of a batch, each
on one core from the clean scene to the gradient, meet once a step.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Gradients = Sequence[Tensor | None]
MAX_WORKERS = 8
"""Of one training: a part of a batch should hold more than one crop."""


def worker_count(device: torch.device) -> int:
    """Return how many workers a training uses: one a core; a GPU computes the batch at once."""
    return min(torch.get_num_threads(), MAX_WORKERS) if device.type == "cpu" else 1


class Workers:
    """Threads that share the weights of a network.

    Parameters
    ----------
    net : nn.Module
        Its parameters are shared; each worker has modules of its own, and so selects its own CSA.
    count : int
        Workers, 1 or more.
    """

    def __init__(self, net: nn.Module, count: int) -> None:
        shared = {id(p): p for p in net.parameters()}
        self.nets = [net, *(copy.deepcopy(net, dict(shared)) for _ in range(count - 1))]
        self._threads = ThreadPoolExecutor(count, "worker", torch.set_num_threads, (1,))
        self.map = self._threads.map

    def gradients(
        self, loss: Callable[[nn.Module, int], Tensor], weights: Sequence[Tensor]
    ) -> tuple[Tensor, Gradients]:
        """Return the mean loss of the workers and its gradients.

        Parameters
        ----------
        loss : callable
            The loss of a worker, from its network and its number.
        weights : sequence of Tensor
            What to differentiate by; one that no worker used has the gradient None.
        """

        def worker(number: int) -> tuple[Tensor, Gradients]:
            value = loss(self.nets[number], number)
            return value.detach(), torch.autograd.grad(value, weights, allow_unused=True)

        values, gradients = zip(*self._threads.map(worker, range(len(self.nets))), strict=True)
        return torch.stack(values).mean(), [_mean(parts) for parts in zip(*gradients, strict=True)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep what the calling thread computes inside the block to one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _mean(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Return the mean over the workers; one that did not use the weight counts as zero."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    total = known[0]
    for part in known[1:]:
        total = total.add_(part)
    return total.div_(len(parts))
