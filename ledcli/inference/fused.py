"""A convolution and what follows it in one pass over memory, on the CPU.

After a convolution the leaky ReLU, or a sum, is bound by memory and takes half as long as the
convolution itself; oneDNN applies it while the result is still in a register.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ledcli.nets import resunet


class ActivatedConv(nn.Module):
    """A plain convolution followed by a leaky ReLU, computed together."""

    activates = True

    def __init__(self, plain: nn.Conv2d, slope: float) -> None:
        super().__init__()
        self.plain, self.slope = plain, slope

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)`` and activate."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, *_arguments(self.plain), "leaky_relu", [self.slope], ""
        )
        return result


class FusedBlock(nn.Module):
    """A residual block of two plain convolutions: activation and sum inside them."""

    def __init__(self, block: resunet.ResidualBlock) -> None:
        super().__init__()
        assert isinstance(block.first, nn.Conv2d) and isinstance(block.second, nn.Conv2d)
        self.first = ActivatedConv(block.first, resunet.NEGATIVE_SLOPE)
        self.second = block.second

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape, in place: nothing else needs a block's input."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            x, self.first(x), *_arguments(self.second), "add", 1.0, None, [], None
        )
        return result


def fuse(net: nn.Module) -> None:
    """Fuse, in place, residual blocks and the convolutions that the network says are activated.

    Does nothing where this build of torch lacks the operation: the result is the same, slower.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.mkldnn, "_convolution_pointwise"
    ):
        return
    for name, module in list(net.named_modules()):
        if isinstance(module, resunet.ResidualBlock):
            parent, _, child = name.rpartition(".")
            setattr(net.get_submodule(parent), child, FusedBlock(module))
    left_alone = getattr(net, "plain_layers", ())
    slope = getattr(net, "negative_slope", None)
    if slope is None:
        return
    for name, layer in list(net.named_children()):
        if isinstance(layer, nn.Conv2d) and name not in left_alone:
            setattr(net, name, ActivatedConv(layer, slope))


def _arguments(conv: nn.Conv2d) -> tuple[Any, ...]:
    return (
        conv.weight,
        conv.bias,
        list(conv.padding),
        list(conv.stride),
        list(conv.dilation),
        conv.groups,
    )
