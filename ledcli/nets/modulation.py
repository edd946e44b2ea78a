"""Channel-wise modulation by sensor and ISO (Adaptive Domain Learning, section 3.2).

Two four-layer perceptrons turn a shot's sensor ``p`` and ISO ``s`` into a scale and a shift for
every output channel of a convolution::

    F' = gamma F + beta,  gamma = 1 + tanh(MLP(p, s)),  beta = MLP(p, s)      (Eq. 4 to 6)

For one shot a convolution and its modulation equal one convolution, so that denoising runs a plain
network.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ledcli.nets.network import Network

WIDTH = 64
"""Width of the perceptrons' hidden layers."""
MIDDLE_ISO, STOPS = 800.0, 4.0
"""The ISO enters as its logarithm: 0 at the middle ISO, 1 so many stops above."""


class ModulatedConv(nn.Conv2d):
    """A convolution whose output is scaled and shifted once both are set."""

    scale: Tensor | None = None
    shift: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C_in, H, W)``; scale and shift are ``(N, C_out, 1, 1)``."""
        y = super().forward(x)
        if self.scale is None or self.shift is None:
            return y
        return y * self.scale.to(y.dtype) + self.shift.to(y.dtype)


class ModulatedNet(nn.Module):
    """A plain network with its modulation, which is the identity before training.

    Every convolution but the last layer and the transposed ones becomes a modulated one, in place.
    Sensors other than those named, and none, leave the network as it is.
    """

    def __init__(self, net: Network, sensors: Sequence[str]) -> None:
        super().__init__()
        self.sensors = tuple(sensors)
        for name, layer in net.named_modules():
            if type(layer) is nn.Conv2d and name != net.architecture.last_layer:
                layer.__class__ = ModulatedConv  # only forward differs
        self.net = net
        channels = sum(conv.out_channels for conv in self._convolutions())
        self.scale, self.shift = (_perceptron(2 * len(sensors), channels) for _ in range(2))

    def set_shots(self, sensors: Sequence[str | None], isos: Sequence[float]) -> None:
        """Set sensor and ISO of every frame in the next batches."""
        weight = next(self.scale.parameters())
        p = torch.tensor([[float(own == sensor) for own in self.sensors] for sensor in sensors])
        s = torch.tensor([[math.log2(iso / MIDDLE_ISO) / STOPS] for iso in isos])
        known = p.sum(1, keepdim=True).to(weight)
        inputs = torch.cat((p, s.expand_as(p)), 1).to(weight)
        scale, shift = 1 + known * self.scale(inputs).tanh(), known * self.shift(inputs)
        convolutions = self._convolutions()
        widths = [conv.out_channels for conv in convolutions]
        parts = zip(convolutions, scale.split(widths, 1), shift.split(widths, 1), strict=True)
        for conv, own_scale, own_shift in parts:
            conv.scale, conv.shift = own_scale[:, :, None, None], own_shift[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Run the network as it is modulated."""
        return self.net(x)

    @torch.no_grad()
    def folded(self, sensor: str | None, iso: float | None) -> Network:
        """Return the equal plain network for shots of a sensor at an ISO.

        With None, or a sensor that it does not know, that is the network without modulation.
        """
        self.set_shots([sensor if iso else None], [iso or MIDDLE_ISO])
        plain = copy.deepcopy(self.net)
        for conv in plain.modules():
            if isinstance(conv, ModulatedConv):
                assert conv.scale is not None and conv.shift is not None
                scale, shift = conv.scale[0, :, 0, 0], conv.shift[0, :, 0, 0]
                bias = shift if conv.bias is None else conv.bias * scale + shift
                conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
                conv.bias = nn.Parameter(bias.clone())
                del conv.scale, conv.shift
                conv.__class__ = nn.Conv2d  # type: ignore[assignment]
        return plain

    def _convolutions(self) -> list[ModulatedConv]:
        return [layer for layer in self.net.modules() if isinstance(layer, ModulatedConv)]


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Four layers, the last at zero: at first they change nothing."""
    layers: list[nn.Module] = [nn.Linear(inputs, WIDTH), nn.LeakyReLU(0.1)]
    for _ in range(2):
        layers += [nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.1)]
    last = nn.Linear(WIDTH, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
