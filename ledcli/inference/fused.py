"""A convolution and its activation in one pass over memory, on the CPU.

After a convolution the leaky ReLU is bound by memory and takes half as long as the
convolution itself; oneDNN applies it while the result is still in a register.
"""

import torch
from torch import Tensor, nn


class ActivatedConv(nn.Module):
    """A plain convolution followed by a leaky ReLU, computed together."""

    activates = True

    def __init__(self, plain: nn.Conv2d, slope: float) -> None:
        super().__init__()
        self.plain, self.slope = plain, slope

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)`` and activate."""
        p = self.plain
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, p.weight, p.bias, list(p.padding), list(p.stride), list(p.dilation), p.groups,
            "leaky_relu", [self.slope], "",
        )  # fmt: skip
        return result


def fuse_activations(net: nn.Module) -> None:
    """Fuse, in place, where the network says which convolutions are activated how.

    Does nothing where this build of torch lacks the operation: the result is the same, slower.
    """
    slope = getattr(net, "negative_slope", None)
    available = torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_convolution_pointwise"
    )
    if slope is None or not available:
        return
    left_alone = getattr(net, "plain_layers", ())
    for name, layer in list(net.named_children()):
        if isinstance(layer, nn.Conv2d) and name not in left_alone:
            setattr(net, name, ActivatedConv(layer, slope))
