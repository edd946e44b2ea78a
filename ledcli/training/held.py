"""PSNR on the parts of the pairs that are never trained on: of a model, and before any tuning."""

from collections.abc import Callable

import torch
from torch import Tensor

from ledcli.errors import ModelError
from ledcli.nets.forms import form_of
from ledcli.nets.repnr import select
from ledcli.training.draws import Batch
from ledcli.training.fewshot import FewShot
from ledcli.training.methods import Pretrained


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
        values.append(psnr_of(denoise(there), there.clean))
    return sum(values) / len(values)


def untuned_psnr(
    pretrained: Pretrained, shots: FewShot, device: torch.device, *, bf16: bool
) -> float:
    """Return the PSNR of the held crops in dB before tuning.

    Of the pretrained model, blind; without one, of the input times the ratio.

    Raises
    ------
    ModelError
        The model makes pictures and no planes.
    """
    spec, net, branch, _ = pretrained
    if spec.output == "srgb":
        raise ModelError(
            f"{spec.name} makes pictures and no planes: name another with --pretrained, or go on "
            "with it by --method sid"
        )
    if net is None:
        return held_psnr(lambda b: b.x * b.ratio.reshape(-1, 1, 1, 1), shots, device, blind=True)
    if spec.branches:
        select(net, branch)
    form, net = form_of(spec.input_form, spec.output, spec.planes), net.to(device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        return held_psnr(lambda batch: form(net, *batch[1:]), shots, device, blind=True)


def psnr_of(result: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB of a result that is cut to 0..1."""
    error = (result.detach().clamp(0, 1) - truth).square().mean()
    return float(-10 * error.clamp_min(1e-12).log10())
