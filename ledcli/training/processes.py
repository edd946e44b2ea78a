"""A training on several processes, as torchrun starts them: each computes a part of every batch.

Once a step the gradients are added up, all in one vector; every process then makes the same update
of the same weights. (DistributedDataParallel would hang its averaging on one backward pass of one
module; here each worker has its own, and the CSA sets drawn differ between the processes.) The
first process alone prints and writes, and its clock is that of all.
"""

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from ledcli.errors import TrainingError, UsageError

MAX_WAIT = timedelta(days=1)
"""For another process; the first one may pack photographs for hours."""
_CUDA = "cpu:gloo,cuda:nccl"


def even_parts(batch: range, count: int) -> list[range]:
    """Divide the numbers of crops into parts whose sizes differ by one at most."""
    return [batch[i * len(batch) // count : (i + 1) * len(batch) // count] for i in range(count)]


class Processes:
    """The processes of a training; this class is a single one, which has nobody to wait for."""

    rank, count = 0, 1

    def check(self, device: torch.device) -> None:
        """Raise UsageError if not every process has a device of its own."""

    def seed_parts(self, generators: Sequence[torch.Generator], seed: int, step: int) -> None:
        """Seed the workers' generators for a step: no part of any step draws as another does."""
        for part, generator in enumerate(generators, self.rank * len(generators)):
            sequence = np.random.SeedSequence((seed, step, part))
            generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    def total(self, loss: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Add up the weights' gradients over all processes; return the sum of the losses.

        A process that did not use a weight counts as zero, unless none did.
        """
        return loss

    def of_first(self, value: float) -> float:
        """Return the first process's value, when it has got here."""
        return value

    def compare(self, state: str, what: str) -> None:
        """Raise TrainingError if ``state`` is not the same in all processes."""
        own = crc32(state.encode())
        if self.of_first(own) != own:
            raise TrainingError(
                f"process {self.rank} has {what} than process 0: give all of them the same "
                "options, and a folder that all see"
            )

    def may_report(self) -> bool:
        """Return whether this process is the one that says why the training failed."""
        return True


class ProcessGroup(Processes):
    """Processes that talk through torch.distributed: gloo on the CPU, NCCL on GPUs of NVIDIA."""

    def __init__(self) -> None:
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

        self.dist = dist
        if not dist.is_available():
            raise UsageError("this build of torch trains on one process only: leave out torchrun")
        gpus, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
        if gpus:
            torch.cuda.set_device(local % gpus)
        self.spare = local >= gpus
        try:
            self.store, self.rank, self.count = next(rendezvous("env://"))
        except (ValueError, RuntimeError) as error:
            raise UsageError(
                "WORLD_SIZE is set, but the other processes cannot be found: start with "
                "'torchrun --nproc-per-node N -m -- ledcli pretrain', or unset WORLD_SIZE"
            ) from error
        self._call(
            dist.init_process_group,
            _CUDA if gpus and dist.is_nccl_available() else "gloo",
            store=self.store,
            rank=self.rank,
            world_size=self.count,
            timeout=MAX_WAIT,
        )
        # Not before the process ends: its error must be printed before the others know of it.
        atexit.register(dist.destroy_process_group)

    def check(self, device: torch.device) -> None:
        """Raise UsageError if not every process has a device of its own."""
        if device.type == "cpu":
            return
        if device.type != "cuda" or device.index is not None:
            raise UsageError(f"several processes train on cpu or cuda, not {device}: see --device")
        if self.spare:
            raise UsageError(
                f"there are {torch.cuda.device_count()} GPUs here: start as many processes, or "
                "train with --device cpu"
            )

    def total(self, loss: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Add up gradients and loss over all processes."""
        used = torch.tensor([w.grad is not None for w in weights], dtype=torch.uint8)
        self._call(self.dist.all_reduce, used, self.dist.ReduceOp.MAX)
        common = [w for w, anywhere in zip(weights, used.tolist(), strict=True) if anywhere]
        parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in common]
        whole = torch.cat([*(part.reshape(-1) for part in parts), loss.reshape(1)])
        self._call(self.dist.all_reduce, whole)
        *sums, loss = whole.split([*(part.numel() for part in parts), 1])
        # Into the old ones: fused Adam walks through memory, as the weights lie in it.
        shaped = [each.view(part.shape) for each, part in zip(sums, parts, strict=True)]
        torch._foreach_copy_(parts, shaped)
        for weight, part in zip(common, parts, strict=True):
            weight.grad = part
        return loss[0].clone()  # a view would keep all gradients

    def of_first(self, value: float) -> float:
        """Return the first process's value."""
        shared = torch.tensor([value], dtype=torch.float64)
        self._call(self.dist.broadcast, shared, 0)
        return float(shared)

    def may_report(self) -> bool:
        """Return True in the first process that asks: the others fail because it did."""
        try:
            return bool(self.store.add("led/failed", 1) == 1)
        except RuntimeError:  # the one that keeps the store is gone
            return self.rank == 0

    def _call(self, function: Callable[..., Any], *given: Any, **named: Any) -> None:  # noqa: ANN401
        try:
            function(*given, **named)
        except RuntimeError as error:
            raise TrainingError(
                f"process {self.rank} has lost another one, which was stopped or cannot be "
                "reached: start all again with --resume"
            ) from error


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that torchrun started, or none if it did not start this one.

    If the block fails, so do the others: all but the first that fails end in silence.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield Processes()
        return
    group = None
    try:
        group = ProcessGroup()
        yield group
    except BaseException as error:
        # Before they have joined, all fail alike.
        if group.may_report() if group else os.environ.get("RANK", "0") == "0":
            raise
        status = 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_status", 1)
        raise SystemExit(status) from error
