"""What the rest of led needs to know about an architecture. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """The descriptor of an architecture, for the default arguments or for those of a network.

    Attributes
    ----------
    name : str
        As in model files and options; also the module in ledcli/nets that defines it.
    class_name : str
        The class in that module, a `Network`.
    first_layer, last_layer : str
        Its first and last convolution.
    plain_layers : tuple of str
        Convolutions that stay plain when the network is converted to RepNR; each name stands for
        all layers whose name contains it.
    size_multiple : int
        Height and width of the input must be multiples of this.
    halo : int
        Plane pixels that the convolutions reach: the margin of a tile. 96 is the reach of the
        bundled ResUNet: in float32 tiles equal the whole frame to 1e-5 of white; 80 left 3e-4 at
        ratio 300 and 1e-2 in single pixels at ratio 100.
    tile : int
        Side of a tile without its halo, plane pixels. 640 fits a processor's cache; larger ones
        waste less on halos, but are only 2 % faster.
    global_operations : str
        What it does over all that it sees, as a verb; a tile then differs from the whole frame,
        and neighbouring tiles are blended. Empty for a network of convolutions.
    activation_slope : float
        Slope of the leaky ReLU, `Network.activation`, after every child convolution but the
        `plain_layers`; 1 if there is none. Inference fuses it into the convolution.
    widened : callable
        Arguments for a number of channels at the top level.
    cfa_arguments : mapping
        Default arguments by kind of sensor, where they are not those of the class.
    folded_arguments : mapping
        Arguments of the plain network that a folded one is.
    published : bool
        Whether published checkpoints use its tensor names. They are recognised by the first and
        last layer; `Network.published_arguments` reads the arguments off the shapes.
    """

    name: str
    class_name: str
    first_layer: str
    last_layer: str
    plain_layers: tuple[str, ...]
    widened: Callable[[int], dict[str, Any]]
    size_multiple: int
    halo: int = 96
    tile: int = 640
    global_operations: str = ""
    activation_slope: float = 1.0
    cfa_arguments: Mapping[str, Arguments] = field(default_factory=dict)
    folded_arguments: Arguments = field(default_factory=dict)
    published: bool = False

    @property
    def float32_layers(self) -> tuple[str, str]:
        """Children that run in float32 whatever the precision of the others: first and last.

        The first sees signals hundreds of times their noise; after the last a smooth sky must not
        show bands.
        """
        return self.first_layer.partition(".")[0], self.last_layer

    @property
    def tile_note(self) -> str:
        """What tiles change, for the user; empty if nothing."""
        if not self.global_operations:
            return ""
        return (
            f"{self.name} {self.global_operations}: with another --tile a large photo comes out "
            "a little different; neighbouring tiles are blended"
        )

    def arguments(self, cfa: str, channels: int | None = None) -> dict[str, Any]:
        """Return the arguments for a sensor, or for a number of channels at the top level."""
        return dict(self.cfa_arguments.get(cfa, {})) if channels is None else self.widened(channels)
