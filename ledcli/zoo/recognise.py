"""Recognising a published network from the names and shapes of its tensors alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ledcli.errors import ModelError
from ledcli.nets import registry as table
from ledcli.nets.network import Shapes
from ledcli.zoo.model_file import size_text

PLANES = 4
"""Planes that a published network takes and gives."""


class PlainNetwork(NamedTuple):
    """The name of an architecture, and the arguments that the network is built with."""

    name: str
    arguments: dict[str, Any]


def recognise(shapes: Shapes) -> PlainNetwork:
    """Find the plain network that has these tensors, whatever its width and number of blocks.

    RepNR blocks count as the convolutions that they replace. Raises ModelError, without the file's
    name, if it has no published architecture, or another number of planes than a Bayer mosaic.
    """
    published = [each for each in table.ARCHITECTURES.values() if each.published]
    for architecture in published:
        first, last = (
            shapes.get(f"{layer}.weight", ())
            for layer in (architecture.first_layer, architecture.last_layer)
        )
        if len(first) == len(last) == 4:
            if (first[1], last[0]) != (PLANES, PLANES):
                raise ModelError(
                    f"is a {architecture.name} that takes {first[1]} planes and gives {last[0]}; "
                    f"LED's Bayer networks take and give {PLANES}"
                )
            read = table.network_class(architecture).published_arguments(shapes)
            planes = {"in_planes": PLANES, "out_planes": PLANES}
            found = PlainNetwork(architecture.name, {**planes, **read})
            check_shapes(found.name, _plain_shapes(found), shapes)
            return found
    some = ", ".join(f"'{n[:40]}'" for n in list(shapes)[:3])
    names = ", ".join(each.name for each in published)
    raise ModelError(f"its tensors ({some}, ...) are not those of a network led imports: {names}")


def check_shapes(architecture: str, expected: Shapes, shapes: Shapes) -> None:
    """Compare tensor shapes; raises ModelError, without the file's name, if they differ."""
    for name, shape in expected.items():
        if name not in shapes:
            raise ModelError(f"is a {architecture}, but its tensor '{name}' is missing")
        if shapes[name] != shape:
            raise ModelError(
                f"is a {architecture}, but its tensor '{name}' is {size_text(shapes[name])} where "
                f"{size_text(shape)} is needed"
            )
    for name in shapes:
        if name not in expected:
            raise ModelError(f"is a {architecture}, but has a tensor '{name[:80]}' too many")


def _plain_shapes(network: PlainNetwork) -> dict[str, tuple[int, ...]]:
    try:
        with torch.device("meta"):
            net = table.build(network.name, network.arguments)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"there can be no {network.name} with {network.arguments}") from error
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
