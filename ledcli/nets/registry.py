"""The table of architectures. It imports no torch; a network's module is imported to build it.

A new architecture is a module with a subclass of `Network`, and one entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from ledcli.errors import ModelError
from ledcli.nets.architecture import Architecture

if TYPE_CHECKING:
    from ledcli.nets.network import Network

UNET = Architecture(
    name="unet",
    class_name="UNet",
    first_layer="conv1_1",
    last_layer="conv10_1",
    plain_layers=("conv10_1",),
    widened=lambda channels: {"channels": channels},
    size_multiple=16,
    activation_slope=0.2,  # SID, section 3.3
    published=True,
)
RESUNET = Architecture(
    name="resunet",
    class_name="ResUNet",
    first_layer="head",
    last_layer="tail",
    plain_layers=("tail",),
    widened=lambda channels: {"channels": [channels, 4 * channels, 8 * channels, 16 * channels]},
    size_multiple=8,
    # 7.3 MB of the 8 that a second bundled model may have; nine planes need a wider first level.
    cfa_arguments={"xtrans": {"channels": [24, 64, 128, 160]}},
)
NAFNET = Architecture(
    name="nafnet",
    class_name="NAFNet",
    first_layer="intro",
    last_layer="ending",
    plain_layers=("ending", "dwconv2", "downconv", "upconv"),
    widened=lambda channels: {"width": channels},
    size_multiple=16,
    halo=109,
    global_operations="takes means over all that it sees",
    published=True,
)
RESTORMER = Architecture(
    name="restormer",
    class_name="Restormer",
    first_layer="patch_embed.proj",
    last_layer="output",
    plain_layers=("output", "dwconv"),
    widened=lambda channels: {"width": channels},
    size_multiple=8,
    halo=120,
    # Inside a feed-forward part the top level has ten times its channels: half a GB in bfloat16.
    tile=448,
    global_operations="attends to all that it sees",
    folded_arguments={"biased": True},
    published=True,
)
ARCHITECTURES = {each.name: each for each in (UNET, RESUNET, NAFNET, RESTORMER)}


def architecture_of(name: str) -> Architecture:
    """Return an architecture by name; raises ModelError for an unknown one."""
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"unknown architecture '{name}': this version knows {known}")
    return ARCHITECTURES[name]


def network_class(architecture: Architecture) -> type[Network]:
    """Import the class of an architecture."""
    module = vars(import_module(f"ledcli.nets.{architecture.name}"))
    return cast("type[Network]", module[architecture.class_name])


def build(name: str, arguments: Mapping[str, Any]) -> Network:
    """Build a plain network; raises ModelError for an unknown name or unknown arguments."""
    network = network_class(architecture_of(name))
    try:
        return network(**arguments)
    except TypeError as error:
        raise ModelError(f"architecture '{name}' does not take {arguments}") from error


def tile_note(name: str) -> str:
    """Return what tiles change for an architecture, in a sentence; empty if nothing, or unknown."""
    return ARCHITECTURES[name].tile_note if name in ARCHITECTURES else ""
