"""The architectures: what the rest of led needs to know about each. No torch.

A new architecture is a module with a subclass of `Network`, which is imported to build it, and one
entry here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ledcli.errors import ModelError

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """The descriptor of an architecture, for the default arguments or for those of a network."""

    name: str
    """As in model files and options."""
    network: str
    """The class, a `Network`, after the module in ledcli/nets that defines it."""
    first_layer: str
    last_layer: str
    plain_layers: tuple[str, ...]
    """Convolutions that stay plain when the network is converted to RepNR: all layers whose name
    contains one of these."""
    widened: Callable[[int], dict[str, Any]]
    """Arguments for a number of channels at the top level."""
    size_multiple: int
    """Height and width of the input must be multiples of this."""
    halo: int = 96
    """Plane pixels that the convolutions reach: the margin of a tile. 96 is the reach of the
    bundled ResUNet: in float32 tiles equal the whole frame to 1e-5 of white; 80 left 3e-4 at ratio
    300 and 1e-2 in single pixels at ratio 100."""
    tile: int = 640
    """Side of a tile without its halo, plane pixels. 640 fits a processor's cache; larger ones
    waste less on halos, but are only 2 % faster."""
    global_operations: str = ""
    """What it does over all that it sees, as a verb; a tile then differs from the whole frame, and
    neighbouring tiles are blended. Empty for a network of convolutions."""
    activation_slope: float = 1.0
    """Slope of the leaky ReLU, `Network.activation`, after every child convolution but the
    `plain_layers`; 1 if there is none. Inference fuses it into the convolution."""
    cfa_arguments: Mapping[str, Arguments] = field(default_factory=dict)
    """Default arguments by kind of sensor, where they are not those of the class."""
    folded_arguments: Arguments = field(default_factory=dict)
    """Arguments of the plain network that a folded one is."""
    published: bool = False
    """Whether published checkpoints use its tensor names. They are recognised by the first and last
    layer; `Network.published_arguments` reads the arguments off the shapes."""

    @property
    def float32_layers(self) -> tuple[str, str]:
        """Children that run in float32 whatever the precision of the others: first and last.

        The first sees signals hundreds of times their noise; after the last a smooth sky must not
        show bands.
        """
        return self.first_layer.partition(".")[0], self.last_layer

    def arguments(self, cfa: str, channels: int | None = None) -> dict[str, Any]:
        """Return the arguments for a sensor, or for a number of channels at the top level."""
        return dict(self.cfa_arguments.get(cfa, {})) if channels is None else self.widened(channels)


UNET = Architecture(
    name="unet",
    network="unet.UNet",
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
    network="unet.ResUNet",
    first_layer="head",
    last_layer="tail",
    plain_layers=("tail", "up"),
    widened=lambda channels: {"channels": [channels, 4 * channels, 8 * channels, 16 * channels]},
    size_multiple=8,
    # 7.3 MB of the 8 that a second bundled model may have; nine planes need a wider first level.
    cfa_arguments={"xtrans": {"channels": [24, 64, 128, 160]}},
)
NAFNET = Architecture(
    name="nafnet",
    network="nafnet.NAFNet",
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
    network="restormer.Restormer",
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


def tile_note(name: str) -> str:
    """Return what tiles change for an architecture, in a sentence; empty if nothing, or unknown."""
    if name not in ARCHITECTURES or not (operations := ARCHITECTURES[name].global_operations):
        return ""
    return (
        f"{name} {operations}: with another --tile a large photo comes out a little different; "
        "neighbouring tiles are blended"
    )
