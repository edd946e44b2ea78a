"""Inputs to try a network on: random ones, and photos as the input form hands them on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ledcli.errors import ModelError
from ledcli.nets.forms import form_of
from ledcli.noise.estimate import NoiseLine
from ledcli.noise.places import layout_of
from ledcli.zoo.spec import ModelSpec

MADE_UP_NOISE = NoiseLine(4e-4, 2e-6)
"""Of the made-up frame: a high ISO, gain and read variance in units of white - black."""
MADE_UP_RATIO = 100.0


def network_inputs(
    spec: ModelSpec, net: nn.Module, frames: Sequence[Tensor] = (), *, seed: int = 0
) -> list[Tensor]:
    """Make what `prove` needs: random inputs, and photos as the input form hands them on.

    Parameters
    ----------
    spec, net
        The model; `net` only for the sizes that it takes.
    frames : sequence of Tensors ``(planes, h, w)``
        Normalised planes of real photos (white - black = 1), if any are at hand; they are cut to
        sizes that the network takes. A made-up frame, dark and noisy, is always among them.
    seed : int

    Returns
    -------
    list of Tensors ``(1, in_planes, h, w)``

    Raises
    ------
    ModelError
        When a frame is smaller than the network takes, or from another kind of sensor.
    """
    multiple = int(getattr(net, "size_multiple", 1))
    form = form_of(spec.input_form, planes=spec.planes)
    generator = torch.Generator().manual_seed(seed)
    # Sides of odd multiples, and a frame of one multiple that is nearly all border.
    sizes = [(3 * multiple, 5 * multiple), (multiple, multiple), (7 * multiple, multiple)]
    inputs = [torch.randn(1, form.in_planes, *size, generator=generator) for size in sizes]
    made_up = _made_up(spec.planes, 7 * multiple, 9 * multiple, generator)
    for frame in (made_up, *frames):
        if len(frame) != spec.planes:
            raise ModelError(f"is for {spec.cfa} sensors, and the photo is from another")
        rows, cols = (n // multiple * multiple for n in frame.shape[1:])
        if not rows or not cols:
            raise ModelError(
                f"the network takes frames of {multiple} x {multiple} planes and more, "
                f"not {' x '.join(map(str, frame.shape[1:]))}"
            )
        seen: list[Tensor] = []
        line = [torch.tensor([v]) for v in (MADE_UP_RATIO, *MADE_UP_NOISE)]
        with torch.inference_mode():
            form(_Recorder(seen, spec.planes), frame[None, :, :rows, :cols].float(), *line)
        inputs += seen
    return inputs


class _Recorder(nn.Module):
    """Stands in for a network and keeps what it is given."""

    def __init__(self, seen: list[Tensor], planes: int) -> None:
        super().__init__()
        self.seen, self.planes = seen, planes

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return torch.zeros_like(x[:, : self.planes])


def _made_up(count: int, rows: int, cols: int, generator: torch.Generator) -> Tensor:
    """Planes of a slope with an edge and black in it, a hundred times too dark, with noise."""
    light = torch.linspace(0, 1, cols).expand(rows, cols).clone()
    light[rows // 3 : rows // 2] = 0.0
    colour = torch.tensor([0.5, 1.0, 0.6])[list(layout_of(count).colours)]
    planes = light * colour[:, None, None] / MADE_UP_RATIO
    deviation = (planes * MADE_UP_NOISE.gain + MADE_UP_NOISE.variance).sqrt()
    return planes + deviation * torch.randn(planes.shape, generator=generator)
