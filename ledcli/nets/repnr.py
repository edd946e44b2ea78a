"""RepNR blocks: a convolution with camera-specific alignments (CSAs) and an OMNR branch (LED, 3.3).

For an input ``x`` of ``(N, C_in, H, W)``::

    block(x) = main(a * pad(x) + b) + aux(pad(x))

``pad`` adds zeros first, so that the scale ``a`` and shift ``b`` of the selected CSA act on the
border too. The block then equals the plain convolution with kernel ``main * a + aux`` and bias
``main_bias + sum over taps and input channels of main * b + aux_bias``, border included. This is
how it is computed in training, and why folding is exact.
"""

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.nets.network import Network

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class RepNRConv(nn.Module):
    """A convolution with named CSA sets and, when tuned, an OMNR branch.

    The plain convolution, ungrouped and padded with zeros, gives the main weights. Each set starts
    as the identity, scale 1 and shift 0, and the OMNR branch at zero.
    """

    def __init__(self, plain: nn.Conv2d, sets: Iterable[str], omnr: bool = False) -> None:
        super().__init__()
        if plain.groups != 1 or plain.padding_mode != "zeros":
            raise ValueError("RepNR blocks replace ungrouped, zero-padded convolutions only")
        self.stride: Any = plain.stride
        self.padding: Any = plain.padding
        self.dilation: Any = plain.dilation
        weight = plain.weight.detach()
        bias = weight.new_zeros(len(weight)) if plain.bias is None else plain.bias.detach()
        self.main_weight = nn.Parameter(weight.clone())
        self.main_bias = nn.Parameter(bias.clone())
        shape = (1, weight.shape[1], 1, 1)
        self.align_weights = nn.ParameterDict({s: weight.new_ones(shape) for s in sets})
        self.align_biases = nn.ParameterDict({s: weight.new_zeros(shape) for s in sets})
        self.aux_weight: nn.Parameter | None = None
        self.aux_bias: nn.Parameter | None = None
        if omnr:
            self.add_omnr()
        self.selected = next(iter(self.align_weights))

    def add_omnr(self) -> None:
        """Add the OMNR branch at zero, so that the block's function does not change."""
        self.aux_weight = nn.Parameter(torch.zeros_like(self.main_weight))
        self.aux_bias = nn.Parameter(torch.zeros_like(self.main_bias))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel ``(C_out, C_in, kh, kw)`` and bias ``(C_out,)`` of the equal plain convolution."""
        scale = self.align_weights[self.selected]
        shift = self.align_biases[self.selected]
        weight = self.main_weight * scale
        bias = self.main_bias + (self.main_weight.sum((2, 3)) * shift.flatten()).sum(1)
        if self.aux_weight is not None and self.aux_bias is not None:
            weight = weight + self.aux_weight
            bias = bias + self.aux_bias
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block with the selected CSA, in its folded form."""
        weight, bias = self.folded()
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation)

    def forward_unfolded(self, x: Tensor) -> Tensor:
        """Apply the block as it is defined: pad, align, convolve, add the OMNR branch."""
        rows, cols = self.padding
        padded = F.pad(x, (cols, cols, rows, rows))
        aligned = padded * self.align_weights[self.selected] + self.align_biases[self.selected]
        y = F.conv2d(aligned, self.main_weight, self.main_bias, self.stride, 0, self.dilation)
        if self.aux_weight is not None:
            y = y + F.conv2d(padded, self.aux_weight, self.aux_bias, self.stride, 0, self.dilation)
        return y


def convert(net: AnyModule, sets: Iterable[str], omnr: bool = False) -> AnyModule:
    """Replace the convolutions of ``net`` by RepNR blocks, in place, and return it.

    The `plain_layers` of its architecture and transposed convolutions stay as they are.
    """
    names = tuple(sets)
    if not names:
        raise ValueError("RepNR blocks need at least one CSA set")
    keep = net.architecture.plain_layers if isinstance(net, Network) else ()
    for name, layer in list(net.named_modules()):
        if isinstance(layer, nn.Conv2d) and not any(part in name for part in keep):
            net.set_submodule(name, RepNRConv(layer, names, omnr))
    return net


def blocks(net: nn.Module) -> list[RepNRConv]:
    """Return the RepNR blocks of a network, in the order of their definition."""
    return [layer for layer in net.modules() if isinstance(layer, RepNRConv)]


def select(net: nn.Module, name: str) -> None:
    """Select the CSA set that every block uses; raises KeyError if a block lacks it."""
    for block in blocks(net):
        if name not in block.align_weights:
            raise KeyError(f"no CSA set '{name}' (there are {', '.join(block.align_weights)})")
        block.selected = name


def deploy(net: AnyModule, name: str) -> AnyModule:
    """Return a copy of ``net`` with every block folded into its plain convolution."""
    plain = copy.deepcopy(net)
    select(plain, name)
    for layer_name, layer in list(plain.named_modules()):
        if isinstance(layer, RepNRConv):
            plain.set_submodule(layer_name, _fold(layer))
    return plain.requires_grad_(False)


def _fold(block: RepNRConv) -> nn.Conv2d:
    weight, bias = block.folded()
    out_channels, in_channels, rows, cols = weight.shape
    plain = nn.Conv2d(
        in_channels, out_channels, (rows, cols), block.stride, block.padding, block.dilation
    )
    plain.weight, plain.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return plain
