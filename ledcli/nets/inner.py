"""What networks share whose inside may run in bfloat16: its type, and a norm that is safe in it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def inner_type(x: Tensor, weight: Tensor) -> torch.dtype:
    """Return the type of the inner layers: autocast's where it is on, else that of a weight."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel; computed in float32, given back in x's type.

    Parameters
    ----------
    channels : int
    eps : float
        Added to the variance.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape and type."""
        last = x.permute(0, 2, 3, 1).float()
        normed = F.layer_norm(
            last, self.weight.shape, self.weight.float(), self.bias.float(), self.eps
        )
        return normed.to(x.dtype).permute(0, 3, 1, 2)
