"""Checkpoints in the published format, made by rule from tensor names and shapes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.nets import published
from tests.nets.published import Shapes, conv

DEPLOYED_NAME = "LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio100-300.pth"
PRETRAINED_NAME = "LED_Pretrain_None_None_CVPR20_Setting_Ratio100-300.pth"
LEFT_ALONE = {
    "unet": ("conv10_1", "upv"),
    "nafnet": ("ending", "dwconv2", "downconv", "upconv"),
    "restormer": ("output", "dwconv", "qkv_dwconv"),
}


def unet(planes: int = 4, channels: int = 32, out: int | None = None) -> Shapes:
    shapes: Shapes = {}

    def pair(level, before, here):
        shapes.update(conv(f"conv{level}_1", before, here, 3, bias=True))
        shapes.update(conv(f"conv{level}_2", here, here, 3, bias=True))

    before = planes
    for level in range(1, 6):
        here = channels * 2 ** (level - 1)
        pair(level, before, here)
        before = here
    for level in range(6, 10):
        here = channels * 2 ** (9 - level)
        shapes[f"upv{level}.weight"] = (2 * here, here, 2, 2)
        shapes[f"upv{level}.bias"] = (here,)
        pair(level, 2 * here, here)
    return shapes | conv("conv10_1", channels, out or planes, 1, bias=True)


PLAIN = {
    "unet": unet(channels=4),
    "nafnet": published.nafnet(4, 8, [1, 2], 1, [2, 1]),
    "restormer": published.restormer(4, 8, [1, 2, 1, 1], 2),
}


def fill(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random values that keep a signal's size on its way through."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        fan_in = max(torch.Size(shape[1:]).numel(), 1)
        if ".align_weights." in name or name.endswith("temperature") or "norm" in name:
            tensors[name] = 1 + 0.2 * noise
        elif ".align_biases." in name or len(shape) < 3:
            tensors[name] = 0.1 * noise
        elif "aux_weight" in name:
            tensors[name] = 0.1 * noise / fan_in**0.5
        else:
            tensors[name] = noise / fan_in**0.5
    return tensors


def repnr(plain: Shapes, architecture: str, *, tuned: bool, alignments: int = 6, seed: int = 0):
    """Return a RepNR network's tensors: pretrained, or tuned and with the OMNR branch.

    A convolution without a bias has none in its block either, and before tuning the last
    alignment, the target's, is the identity.
    """
    sets = tuple(map(str, range(alignments)))
    shapes = published.repnr(plain, LEFT_ALONE[architecture], sets, omnr=tuned)
    for name in list(shapes):
        layer, _, part = name.rpartition(".")
        if part in ("main_bias", "aux_bias") and f"{layer}.bias" not in plain:
            del shapes[name]
    tensors = fill(shapes, seed)
    if not tuned:
        for name, tensor in tensors.items():
            if name.endswith(f".{alignments - 1}") and ".align_" in name:
                tensor.fill_(1.0 if ".align_weights." in name else 0.0)
    return tensors


def fold(tensors: dict[str, torch.Tensor], alignment: int = 5) -> dict[str, torch.Tensor]:
    """Fold as upstream does: a shift is dropped where there is no bias to put it in."""
    plain = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if part == "main_weight":
            scale = tensors[f"{layer}.align_weights.{alignment}"]
            shift = tensors[f"{layer}.align_biases.{alignment}"]
            kernel, bias = tensor * scale, (tensor * shift).sum((1, 2, 3))
            if f"{layer}.aux_weight" in tensors:
                kernel = kernel + tensors[f"{layer}.aux_weight"]
                bias = bias + tensors.get(f"{layer}.aux_bias", 0)
            plain[f"{layer}.weight"] = kernel
            if f"{layer}.main_bias" in tensors:
                plain[f"{layer}.bias"] = tensors[f"{layer}.main_bias"] + bias
        elif not part.startswith(("main_", "aux_")) and ".align_" not in name:
            plain[name] = tensor
    return plain


def unfolded_unet(tensors: dict[str, torch.Tensor], x: torch.Tensor, alignment: int):
    """Run the UNet as LED defines its blocks: pad, align, convolve; from upstream's tensors."""

    def block(name, h):
        padded = F.pad(h, (1, 1, 1, 1))
        scale = tensors[f"{name}.align_weights.{alignment}"]
        aligned = padded * scale + tensors[f"{name}.align_biases.{alignment}"]
        y = F.conv2d(aligned, tensors[f"{name}.main_weight"], tensors[f"{name}.main_bias"])
        if f"{name}.aux_weight" in tensors:
            y = y + F.conv2d(padded, tensors[f"{name}.aux_weight"], tensors[f"{name}.aux_bias"])
        return F.leaky_relu(y, 0.2)

    def level(number, h):
        return block(f"conv{number}_2", block(f"conv{number}_1", h))

    skips, h = [], x
    for number in range(1, 6):
        h = level(number, F.max_pool2d(h, 2) if number > 1 else h)
        skips.append(h)
    skips.pop()
    for number in range(6, 10):
        up = F.conv_transpose2d(
            h, tensors[f"upv{number}.weight"], tensors[f"upv{number}.bias"], stride=2
        )
        h = level(number, torch.cat((up, skips.pop()), 1))
    return F.conv2d(h, tensors["conv10_1.weight"], tensors["conv10_1.bias"])


def save(path, content):
    torch.save(content, path)
    return path
