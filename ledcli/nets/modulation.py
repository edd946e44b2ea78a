"""Channel-wise modulation by sensor and ISO (Adaptive Domain Learning, section 3.2).

Two four-layer perceptrons turn what is known of a shot into a scale and a shift for every channel
that a convolution gives::

    F' = gamma F + beta,  gamma = 1 + tanh(MLP(p, s)),  beta = MLP(p, s)      (Eq. 4 to 6)

For one shot a convolution and its modulation are one convolution: a network is denoised with as a
plain one.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ledcli.nets.network import Network

WIDTH = 64
"""Of the perceptrons' hidden layers."""
MIDDLE_ISO, STOPS = 800.0, 4.0
"""ISO is told by its logarithm: 0 at the middle one, 1 so many stops above."""


class ModulatedConv(nn.Conv2d):
    """A convolution whose output is scaled and shifted, when it is told by how much."""

    scale: Tensor | None = None
    shift: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C_in, H, W)``; scale and shift are ``(N, C_out, 1, 1)``."""
        y = super().forward(x)
        if self.scale is None or self.shift is None:
            return y
        return y * self.scale.to(y.dtype) + self.shift.to(y.dtype)


class ModulatedNet(nn.Module):
    """A plain network with its modulation; before anything is known it is the network itself.

    Every convolution but the last layer and the transposed ones is modulated.

    Parameters
    ----------
    net : Network
        A plain network; its convolutions are replaced in place.
    sensors : sequence of str
        Names of the sensors that it is to know. Others, and none, leave the network as it is.
    """

    def __init__(self, net: Network, sensors: Sequence[str]) -> None:
        super().__init__()
        self.sensors = tuple(sensors)
        for name, layer in list(net.named_modules()):
            if type(layer) is nn.Conv2d and name != net.architecture.last_layer:
                parent, _, child = name.rpartition(".")
                setattr(net.get_submodule(parent), child, _modulated(layer))
        self.net = net
        channels = sum(conv.out_channels for conv in self._convolutions())
        self.scale, self.shift = (_perceptron(2 * len(sensors), channels) for _ in range(2))

    def about(self, sensors: Sequence[str | None], isos: Sequence[float]) -> None:
        """Say of every frame of the next batches which sensor took it, at which ISO."""
        known, told = self._told(sensors, isos)
        scale = 1 + known * self.scale(told).tanh()
        shift = known * self.shift(told)
        place = 0
        for conv in self._convolutions():
            channels = slice(place, place + conv.out_channels)
            conv.scale = scale[:, channels, None, None]
            conv.shift = shift[:, channels, None, None]
            place += conv.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Run the network as it is modulated."""
        y: Tensor = self.net(x)
        return y

    @torch.no_grad()
    def folded(self, sensor: str | None, iso: float | None) -> Network:
        """Return the plain network that this one is for shots of a sensor at an ISO.

        Parameters
        ----------
        sensor, iso
            None, or a sensor that it does not know: the network without modulation.
        """
        self.about([sensor if iso else None], [iso or MIDDLE_ISO])
        plain = copy.deepcopy(self.net)
        for name, conv in list(plain.named_modules()):
            if isinstance(conv, ModulatedConv):
                parent, _, child = name.rpartition(".")
                setattr(plain.get_submodule(parent), child, _folded(conv))
        return plain

    def _convolutions(self) -> list[ModulatedConv]:
        return [layer for layer in self.net.modules() if isinstance(layer, ModulatedConv)]

    def _told(self, sensors: Sequence[str | None], isos: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Return who is known ``(N, 1)``, and the metadata ``(N, 2 sensors)``: p, and s repeated.

        The ISO stands where its sensor does: with p it is one number a sensor.
        """
        weight = next(self.scale.parameters())
        p = torch.tensor([[float(own == sensor) for own in self.sensors] for sensor in sensors])
        s = torch.tensor([[math.log2(iso / MIDDLE_ISO) / STOPS] for iso in isos])
        told = torch.cat((p, s.expand_as(p)), 1).to(weight)
        return p.sum(1, keepdim=True).to(weight), told


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Four layers, the last at zero: at first they change nothing."""
    layers: list[nn.Module] = [nn.Linear(inputs, WIDTH), nn.LeakyReLU(0.1)]
    for _ in range(2):
        layers += [nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.1)]
    last = nn.Linear(WIDTH, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def _modulated(plain: nn.Conv2d) -> ModulatedConv:
    conv = copy.deepcopy(plain)
    # The same layer with another way forward; its weights and settings stay as they are.
    conv.__class__ = ModulatedConv
    assert isinstance(conv, ModulatedConv)
    return conv


def _folded(conv: ModulatedConv) -> nn.Conv2d:
    assert conv.scale is not None and conv.shift is not None
    scale, shift = conv.scale[0, :, 0, 0], conv.shift[0, :, 0, 0]
    bias = shift if conv.bias is None else conv.bias * scale + shift
    plain = copy.deepcopy(conv)
    # A ModulatedConv is a Conv2d and no more; mypy knows no class that changes.
    plain.__class__ = nn.Conv2d  # type: ignore[assignment]
    del plain.scale, plain.shift
    plain.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
    plain.bias = nn.Parameter(bias.clone())
    return plain
