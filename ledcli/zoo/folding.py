"""Folding a model's RepNR blocks into its plain network, and the proof that nothing changes.

The proof runs every block as it is defined (pad, align, convolve, add the OMNR branch;
`RepNRConv.forward_unfolded`) and compares it with the plain convolution that takes its place:
block by block on the very same input, and from the network's input to its output. It is done in
float32, the border included: no pixel is left out.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import ledcli
from ledcli.errors import ModelError
from ledcli.nets import repnr
from ledcli.nets.forms import form_of
from ledcli.nets.network import Network
from ledcli.nets.repnr import RepNRConv
from ledcli.noise.estimate import NoiseProfile
from ledcli.sensor.layout import layout_of
from ledcli.zoo.spec import ModelSpec

MADE_UP_NOISE = NoiseProfile(4e-4, 2e-6)
"""Of the made-up frame: a high ISO, gain and read variance in units of white - black."""
MADE_UP_RATIO = 100.0


def network_inputs(
    spec: ModelSpec, net: Network, frames: Sequence[Tensor] = (), *, seed: int = 0
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
    multiple = net.architecture.size_multiple
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
    deviation = (planes * MADE_UP_NOISE.gain + MADE_UP_NOISE.read_variance).sqrt()
    return planes + deviation * torch.randn(planes.shape, generator=generator)


TOLERANCE = 1e-5
"""Largest difference, relative to the output's largest value where that is above 1 (float32)."""


class Difference(NamedTuple):
    """Largest difference, and the largest value of the output that it was seen in."""

    largest: float
    scale: float

    @property
    def relative(self) -> float:
        """The difference over the scale where that is above 1: what the tolerance is for."""
        return self.largest / max(self.scale, 1.0)


@dataclasses.dataclass(frozen=True)
class Proof:
    """What the comparison of a network with its folded form found.

    Attributes
    ----------
    inputs : int
        How many inputs were run through both.
    block : str
        Name of the block that differed most on one and the same input.
    worst_block : Difference
        By how much it did.
    network : Difference
        By how much the outputs of the networks differ, at worst.
    """

    inputs: int
    block: str
    worst_block: Difference
    network: Difference

    @property
    def holds(self) -> bool:
        """Whether folded and unfolded are the same function to `TOLERANCE`."""
        # A NaN on either side holds for nothing.
        return self.worst_block.relative <= TOLERANCE and self.network.relative <= TOLERANCE

    def __str__(self) -> str:
        """Say it in a line."""
        return (
            f"folded and unfolded differ by {self.network.largest:.1e} at most "
            f"(values to {self.network.scale:.3g}), the worst block, {self.block}, by "
            f"{self.worst_block.largest:.1e} (values to {self.worst_block.scale:.3g}), "
            f"over {self.inputs} inputs, border included"
        )


def fold(
    spec: ModelSpec, net: nn.Module, csa_set: str, *, source_sha256: str | None = None
) -> tuple[ModelSpec, Network]:
    """Fold every RepNR block into the plain convolution that it equals.

    Parameters
    ----------
    spec, net
        As `load_model` gives them; they stay as they are.
    csa_set : str
        The CSA set to fold.
    source_sha256 : str, optional
        Hash of the model's file, for the record.

    Returns
    -------
    spec : ModelSpec
        Without CSA sets and OMNR branch; all else is kept, with a note of the folding.
    plain : Network
        The plain network of `spec.architecture`, on the CPU in float32.

    Raises
    ------
    ModelError
        When there is nothing to fold, or no such set; without the file's name.
    """
    if not spec.csa_sets:
        raise ModelError("is a plain network already: there is nothing to fold")
    if csa_set not in spec.csa_sets:
        raise ModelError(f"has no CSA set '{csa_set}': choose one of {', '.join(spec.csa_sets)}")
    note: dict[str, Any] = {"csa_set": csa_set, "omnr": spec.omnr, "version": ledcli.__version__}
    if source_sha256 is not None:
        note["source_sha256"] = source_sha256
    training = {**spec.training, "folded": note}
    assert isinstance(net, Network)  # as every network with CSA sets
    # A fold may leave a bias where the plain network had none: the architecture says which one.
    arguments = {**spec.arguments, **net.architecture.folded_arguments}
    folded = dataclasses.replace(
        spec, arguments=arguments, csa_sets=(), omnr=False, training=training
    )
    return folded, repnr.deploy(copy.deepcopy(net).cpu().float(), csa_set).eval()


def prove(net: nn.Module, csa_set: str, plain: nn.Module, inputs: Iterable[Tensor]) -> Proof:
    """Compare a network, its blocks run as they are defined, with its folded form.

    Parameters
    ----------
    net : nn.Module
        The network with its RepNR blocks; it stays as it is.
    csa_set : str
        The CSA set that was folded.
    plain : nn.Module
        What `fold` made of it.
    inputs : iterable of Tensors ``(N, in_planes, h, w)``
        What the networks are given: of `trial.network_inputs`.

    Returns
    -------
    Proof
        What was found; `Proof.holds` says whether it is a proof.

    Raises
    ------
    ModelError
        When the network does not take the inputs.
    """
    net, plain = (copy.deepcopy(each).cpu().float().eval() for each in (net, plain))
    repnr.select(net, csa_set)
    worst = {name: Difference(0.0, 0.0) for name, _ in _named_blocks(net)}
    network, tried = Difference(0.0, 0.0), 0
    _unfold(net, plain, worst)
    for x in inputs:
        try:
            with torch.inference_mode():
                network = _worse(network, _difference(plain(x), net(x)))
        except RuntimeError as error:
            raise ModelError(
                f"the network cannot be run on {tuple(x.shape)}: header and tensors disagree"
            ) from error
        tried += 1
    block = max(worst, key=lambda name: _order(worst[name]))
    return Proof(tried, block, worst[block], network)


def _unfold(net: nn.Module, plain: nn.Module, worst: dict[str, Difference]) -> None:
    """Have the blocks of `net` run as they are defined, each compared with its plain layer."""
    for name, block in _named_blocks(net):
        layer = plain.get_submodule(name)

        def compare(
            _: nn.Module, given: tuple[Tensor], out: Tensor, name: str = name,
            layer: nn.Module = layer,
        ) -> None:  # fmt: skip
            worst[name] = _worse(worst[name], _difference(layer(given[0]), out))

        block.forward = block.forward_unfolded  # type: ignore[method-assign]
        block.register_forward_hook(compare)


def _named_blocks(net: nn.Module) -> list[tuple[str, RepNRConv]]:
    return [(n, layer) for n, layer in net.named_modules() if isinstance(layer, RepNRConv)]


def _difference(folded: Tensor, unfolded: Tensor) -> Difference:
    return Difference(float((folded - unfolded).abs().max()), float(unfolded.abs().max()))


def _worse(a: Difference, b: Difference) -> Difference:
    return max(a, b, key=_order)


def _order(difference: Difference) -> float:
    """Order by the relative difference; one that is no number is the worst of all."""
    return difference.relative if difference.relative == difference.relative else float("inf")
