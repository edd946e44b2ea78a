"""Telling a published network from the names and shapes of its tensors alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch

from ledcli.errors import ModelError
from ledcli.nets import registry as table

Shapes = Mapping[str, tuple[int, ...]]

MOST_BLOCKS = 64
"""Blocks of a level; the published networks have two."""
PLANES = 4
"""Planes that a published network takes and gives."""


class Architecture(NamedTuple):
    """A name of `ledcli.nets.registry`, and what the network is built with."""

    name: str
    arguments: dict[str, Any]


def recognise(shapes: Shapes) -> Architecture:
    """Find the plain network that has these tensors, whatever its width and number of blocks.

    Parameters
    ----------
    shapes : mapping of str to tuple
        Names and shapes of all tensors of the plain network (RepNR blocks as the convolutions
        that they replace).

    Raises
    ------
    ModelError
        When it is none of UNet, NAFNet and Restormer, or takes or gives another number of planes
        than a Bayer mosaic has; without the file's name.
    """
    for name, (marks, read) in _KNOWN.items():
        if all(len(shapes.get(mark, ())) == 4 for mark in marks):
            first, last = (shapes[mark] for mark in marks)
            if (first[1], last[0]) != (PLANES, PLANES):
                raise ModelError(
                    f"is a {name} that takes {first[1]} planes and gives {last[0]}; "
                    f"LED's Bayer networks take and give {PLANES}"
                )
            found = Architecture(name, {"in_planes": PLANES, "out_planes": PLANES, **read(shapes)})
            _compare(found, shapes)
            return found
    some = ", ".join(f"'{n[:40]}'" for n in list(shapes)[:3])
    raise ModelError(
        f"its tensors ({some}, ...) are those of no network that led imports: {', '.join(_KNOWN)}"
    )


def plain_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors of a plain network, without making them."""
    try:
        with torch.device("meta"):
            net = table.build(architecture.name, architecture.arguments)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ModelError(
            f"there can be no {architecture.name} with {architecture.arguments}"
        ) from error
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def _compare(found: Architecture, shapes: Shapes) -> None:
    expected = plain_shapes(found)
    for name, shape in expected.items():
        if name not in shapes:
            raise ModelError(f"is a {found.name}, but its tensor '{name}' is missing")
        if shapes[name] != shape:
            raise ModelError(
                f"is a {found.name}, but its tensor '{name}' is {_size(shapes[name])} where "
                f"{_size(shape)} is needed: led knows no such form of it"
            )
    for name in shapes:
        if name not in expected:
            raise ModelError(f"is a {found.name}, but has a tensor '{name[:80]}' too many")


def _unet(shapes: Shapes) -> dict[str, Any]:
    return {"channels": shapes["conv1_1.weight"][0]}


def _nafnet(shapes: Shapes) -> dict[str, Any]:
    levels = _count(shapes, r"downs\.(\d+)\.")
    return {
        "width": shapes["intro.weight"][0],
        "encoder": [_count(shapes, rf"encoders\.{level}\.(\d+)\.") for level in range(levels)],
        "middle": _count(shapes, r"middle_blks\.(\d+)\."),
        "decoder": [_count(shapes, rf"decoders\.{level}\.(\d+)\.") for level in range(levels)],
    }


def _restormer(shapes: Shapes) -> dict[str, Any]:
    levels = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    arguments: dict[str, Any] = {
        "width": shapes["patch_embed.proj.weight"][0],
        "blocks": [_count(shapes, rf"{level}\.(\d+)\.") for level in levels],
        "refinement": _count(shapes, r"refinement\.(\d+)\."),
    }
    if "patch_embed.proj.bias" in shapes:
        arguments["biased"] = True
    return arguments


_KNOWN: dict[str, tuple[tuple[str, str], Callable[[Shapes], dict[str, Any]]]] = {
    "unet": (("conv1_1.weight", "conv10_1.weight"), _unet),
    "nafnet": (("intro.weight", "ending.weight"), _nafnet),
    "restormer": (("patch_embed.proj.weight", "output.weight"), _restormer),
}
"""The explicit list: the first and the last convolution, by which a network is known, and what
its arguments are."""


def _count(names: Iterable[str], pattern: str) -> int:
    """Count the blocks that a pattern finds; they are numbered from 0 without a gap."""
    found = {match[1] for name in names if (match := re.match(pattern, name))}
    if len(found) > MOST_BLOCKS or found != set(map(str, range(len(found)))):
        raise ModelError(f"has blocks that are not numbered from 0 to {MOST_BLOCKS - 1} at most")
    return len(found)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"
