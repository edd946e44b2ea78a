"""The base class of the architectures, and parts that several of them use."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ledcli.errors import ModelError
from ledcli.nets.registry import ARCHITECTURES, Architecture, architecture_of

Shapes = Mapping[str, tuple[int, ...]]

PUBLISHED_PLANES = 4
"""Planes that a published network takes and gives."""
MAX_BLOCKS = 64
"""Blocks of a level in a published checkpoint; the known ones have two."""


class Network(nn.Module):
    """A network that maps planes ``(N, in_planes, H, W)`` to float32 ``(N, out_planes, H, W)``.

    A subclass defines its layers and `_inner`, or `stages` (`StagedNetwork`). The input form
    decides on the planes of the input.
    """

    architecture: Architecture
    """Its descriptor, for the arguments that it was built with."""
    activation: nn.Module
    """Follows the convolutions, if ``architecture.activation_slope`` is not 1."""
    adds_input = False
    """Whether the input is added to the output."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the first and the last layer in float32, and the inner ones in their own type.

        That is autocast's if it is on, else that of their weights.
        """
        out = self._leave(self._inner(self._enter(x)))
        return out + x.float() if self.adds_input else out

    def _enter(self, x: Tensor) -> Tensor:
        """Run the first layer in float32; return its output in the inner layers' type."""
        device, outer = x.device.type, self.architecture.float32_layers
        inner = next(p.dtype for name, p in self.named_parameters() if not name.startswith(outer))
        if torch.is_autocast_enabled(device):
            inner = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return self._first(x.float()).to(inner)

    def _leave(self, h: Tensor) -> Tensor:
        """Run the last layer in float32."""
        with torch.autocast(h.device.type, enabled=False):
            return self.get_submodule(self.architecture.last_layer)(h.float())

    def _first(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.architecture.float32_layers[0])(x)

    def _inner(self, h: Tensor) -> Tensor:
        """Map the first layer's output ``(N, C, H, W)`` to the last layer's input."""
        raise NotImplementedError

    @classmethod
    def published_arguments(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the arguments, except planes, off a published checkpoint; raises ModelError."""
        raise NotImplementedError


class Stage(NamedTuple):
    """A part of a network that can be computed strip by strip (inference/strips.py)."""

    run: Callable[..., Tensor]
    """Maps the results of other stages ``(N, C, h, w)`` to its own."""
    inputs: tuple[int, ...]
    """Whose results: 0 is the network's input, 1 the first stage's result, and so on."""
    level: int
    """Its result has the size of the network's input over ``2 ** level``."""
    reach: int
    """Rows of the result at the end of a strip that depend on rows beyond it."""

    def then(self, run: Callable[[Tensor], Tensor], reach: int) -> "Stage":
        """Return a stage that goes on with a function of the result."""
        return self._replace(run=lambda *h: run(self.run(*h)), reach=self.reach + reach)


def middle_rows(h: Tensor, rows: int) -> Tensor:
    """Return the middle rows of ``(N, C, H, W)``: those that rows without padding have left."""
    cut = (h.shape[2] - rows) // 2
    return h[:, :, cut : cut + rows]


class StagedNetwork(Network):
    """A network without global operations, defined by its `stages`."""

    def stages(self) -> Sequence[Stage]:
        """Return the stages in the order of their computation; the last gives the output."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Run the stages on the whole frame; first and last layer in float32, see `Network`."""
        stages, results = self.stages(), {0: x}
        for number, stage in enumerate(stages, start=1):
            result = stage.run(*(results[n] for n in stage.inputs))
            later = {n for each in stages[number:] for n in each.inputs}
            results = {n: h for n, h in results.items() if n in later} | {number: result}
        return result


def count_blocks(names: Iterable[str], pattern: str) -> int:
    """Count the blocks that a pattern finds; raises ModelError for a gap in their numbers."""
    found = {match[1] for name in names if (match := re.match(pattern, name))}
    if len(found) > MAX_BLOCKS or found != set(map(str, range(len(found)))):
        raise ModelError(f"has blocks that are not numbered from 0 to {MAX_BLOCKS - 1} at most")
    return len(found)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel, computed in float32, returned in x's type."""

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


def network_class(architecture: Architecture) -> type[Network]:
    """Import the class of an architecture."""
    module, name = architecture.network.split(".")
    return cast("type[Network]", getattr(import_module(f"ledcli.nets.{module}"), name))


def build(name: str, arguments: Mapping[str, Any]) -> Network:
    """Build a plain network; raises ModelError for an unknown name or unknown arguments."""
    network = network_class(architecture_of(name))
    try:
        return network(**arguments)
    except TypeError as error:
        raise ModelError(f"architecture '{name}' does not take {arguments}") from error


class PlainNetwork(NamedTuple):
    """The name of an architecture, and the arguments that the network is built with."""

    name: str
    arguments: dict[str, Any]


def recognise(shapes: Shapes) -> PlainNetwork:
    """Find the published architecture that has these tensors, and read its arguments off them.

    Raises ModelError, without the file's name, if there is none, or it has another number of
    planes than a Bayer mosaic.
    """
    published = [each for each in ARCHITECTURES.values() if each.published]
    for architecture in published:
        first = shapes.get(f"{architecture.first_layer}.weight", ())
        last = shapes.get(f"{architecture.last_layer}.weight", ())
        if len(first) == len(last) == 4:
            if (first[1], last[0]) != (PUBLISHED_PLANES, PUBLISHED_PLANES):
                raise ModelError(
                    f"is a {architecture.name} that takes {first[1]} planes and gives {last[0]}; "
                    f"LED's Bayer networks take and give {PUBLISHED_PLANES}"
                )
            planes = {"in_planes": PUBLISHED_PLANES, "out_planes": PUBLISHED_PLANES}
            read = network_class(architecture).published_arguments(shapes)
            return PlainNetwork(architecture.name, planes | read)
    some = ", ".join(f"'{n[:40]}'" for n in list(shapes)[:3])
    names = ", ".join(each.name for each in published)
    raise ModelError(f"its tensors ({some}, ...) are not those of a network led imports: {names}")
