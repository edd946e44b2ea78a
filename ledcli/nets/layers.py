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
        # torch's kernels sum in float32 whatever the type; autocast would only copy twice more.
        with torch.autocast(x.device.type, enabled=False):
            factors = self.weight.to(x.dtype), self.bias.to(x.dtype)
            normed = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, *factors, self.eps)
        return normed.permute(0, 3, 1, 2)
