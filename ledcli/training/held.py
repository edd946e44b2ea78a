"""PSNR on the parts of the pairs that are never trained on."""

from collections.abc import Callable

import torch
from torch import Tensor

from ledcli.training.draws import Batch
from ledcli.training.fewshot import FewShot


def held_psnr(
    denoise: Callable[[Batch], Tensor], shots: FewShot, device: torch.device, *, blind: bool = False
) -> float:
    """Return the mean PSNR of the held crops over the pairs, in dB.

    Parameters
    ----------
    denoise : callable
        Makes clean planes ``(N, 4, h, w)`` times the ratio of a batch.
    shots : FewShot
    device : torch.device
        Where the batch is handed over.
    blind : bool
        As an un-tuned model sees them: black as the file has it, the noise estimated; otherwise
        with what the pairs say of the camera.
    """
    values = []
    for batch in shots.held_batches(blind=blind):
        there = Batch(*(part.to(device) for part in batch))
        error = (denoise(there).detach().clamp(0, 1) - there.clean).square()
        values.append(float(-10 * error.mean().clamp_min(1e-12).log10()))
    return sum(values) / len(values)
