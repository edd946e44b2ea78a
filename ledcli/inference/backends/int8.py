"""Networks of 8 bits, rounded after training, for backends that have fast instructions for it.

The levels below the top are rounded: weights by output channel, activations by layer. The top level
and all sums stay in float32. In deep noise the picture is a tenth of the noise there, less than a
step of 8 bits over a layer's range (models/EXPERIMENTS.md).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.errors import ModelError
from ledcli.inference.agreement import made_up_frames
from ledcli.nets.forms import form_of
from ledcli.nets.network import Network
from ledcli.nets.unet import ResizeConv, ResUNet
from ledcli.zoo.spec import ModelSpec

TOP = ("head", "tail", "encoder.0.", "decoder.0.")
"""Layers that stay in float32."""
STEPS = 255
"""From the smallest to the largest number of 8 bits."""
KEPT = 0.75
"""Of the range of a layer's input on made-up frames, whose contrasts are rare in photographs: what
lies beyond is clipped. The whole range loses 0.034 dB in the worst cell, 0.65 to 0.8 of it 0.02."""


class RoundedConv(nn.Module):
    """A convolution whose weights and input are rounded to 8 bits; the bounds are the input's."""

    def __init__(self, conv: nn.Conv2d, lowest: float, highest: float) -> None:
        super().__init__()
        self.conv, self.step = conv, max(highest - lowest, 1e-6) / STEPS
        self.zero = round(-lowest / self.step)
        largest = conv.weight.abs().amax((1, 2, 3)).clamp_min(1e-6)
        self.steps, self.zeros = largest * 2 / (STEPS - 1), torch.zeros_like(largest).int()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` as the convolution does."""
        conv = self.conv
        x = torch.fake_quantize_per_tensor_affine(x, self.step, self.zero, 0, STEPS)
        weight = torch.fake_quantize_per_channel_affine(
            conv.weight, self.steps, self.zeros, 0, -(STEPS // 2) - 1, STEPS // 2
        )
        h = F.conv2d(x, weight, conv.bias, conv.stride, conv.padding)
        resized = isinstance(conv, ResizeConv)
        return F.interpolate(h, scale_factor=2, mode="bilinear") if resized else h


def round_below_top(spec: ModelSpec, net: Network) -> None:
    """Round a folded network in place, to the ranges that made-up frames have.

    Raises ModelError if it is no ResUNet.
    """
    if not isinstance(net, ResUNet):
        raise ModelError(f"{spec.architecture} has no int8; leave out --precision")
    bounds: dict[str, tuple[float, float]] = {}

    def widen(name: str, _: nn.Module, given: tuple[Tensor]) -> None:
        lowest, highest = bounds.get(name, (0.0, 0.0))
        bounds[name] = (
            min(lowest, KEPT * float(given[0].min())),
            max(highest, KEPT * float(given[0].max())),
        )

    layers = {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d) and not name.startswith(TOP)
    }
    hooks = [each.register_forward_pre_hook(partial(widen, name)) for name, each in layers.items()]
    form = form_of(spec.input_form, spec.output, spec.planes)
    with torch.inference_mode():
        for frame, ratio, noise in made_up_frames(spec.planes):
            form(net, frame[None], *(torch.tensor([value]) for value in (ratio, *noise)))
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        net.set_submodule(name, RoundedConv(layer, *bounds[name]))
