"""Fold a model's RepNR blocks into its plain network, and prove that the function is the same.

The proof runs every block as it is defined (pad, align, convolve, add the OMNR branch;
`RepNRConv.forward_unfolded`) and compares it with the plain convolution that replaces it: block by
block on the same input, and from the network's input to its output; in float32, border included.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import ledcli
from ledcli.errors import ModelError, UsageError
from ledcli.nets import repnr
from ledcli.nets.forms import form_of
from ledcli.nets.network import Network
from ledcli.nets.repnr import RepNRConv
from ledcli.noise.estimate import NoiseProfile
from ledcli.output.atomic import REPLACE, check_new
from ledcli.raw.decoder import decoders
from ledcli.raw.reader import read_raw
from ledcli.reporting import SILENT, Reporter
from ledcli.sensor.layout import layout_of
from ledcli.zoo.model_file import file_sha256, load_model, save_model
from ledcli.zoo.spec import ModelSpec, short
from ledcli.zoo.store import check_suffix

SYNTHETIC_NOISE = NoiseProfile(4e-4, 2e-6)
"""Of the synthetic frame: a high ISO; gain and read variance, with white - black as 1."""
SYNTHETIC_RATIO = 100.0
MAX_PROOF_SIDE = 1024
"""Of the crop of a photo used for the proof, plane pixels."""
TOLERANCE = 1e-5
"""Largest difference in float32, relative to the output's largest value where that is above 1."""


def network_inputs(
    spec: ModelSpec, net: Network, frames: Sequence[Tensor] = (), *, seed: int = 0
) -> list[Tensor]:
    """Make inputs for `prove`: random ones, a synthetic dark frame and photos in the input form.

    `frames` are normalised planes of photos ``(planes, h, w)``, cropped to a size that the network
    accepts. Returns Tensors ``(1, in_planes, h, w)``. Raises ModelError when a frame is too small,
    or from another kind of sensor.
    """
    multiple = net.architecture.size_multiple
    form = form_of(spec.input_form, planes=spec.planes)
    generator = torch.Generator().manual_seed(seed)
    # Odd multiples, and a frame that is nearly all border.
    sizes = [(3 * multiple, 5 * multiple), (multiple, multiple), (7 * multiple, multiple)]
    inputs = [torch.randn(1, form.in_planes, *size, generator=generator) for size in sizes]

    def record(x: Tensor) -> Tensor:  # in place of the network
        inputs.append(x.clone())
        return torch.zeros_like(x[:, : spec.planes])

    synthetic = _synthetic(spec.planes, 7 * multiple, 9 * multiple, generator)
    for frame in (synthetic, *frames):
        if len(frame) != spec.planes:
            raise ModelError(f"is for {spec.cfa} sensors, unlike the photo")
        rows, cols = (n // multiple * multiple for n in frame.shape[1:])
        if not rows or not cols:
            raise ModelError(
                f"the network needs frames of at least {multiple} x {multiple} planes, "
                f"not {' x '.join(map(str, frame.shape[1:]))}"
            )
        line = [torch.tensor([v]) for v in (SYNTHETIC_RATIO, *SYNTHETIC_NOISE)]
        with torch.inference_mode():
            form(record, frame[None, :, :rows, :cols].float(), *line)
    return inputs


def _synthetic(count: int, rows: int, cols: int, generator: torch.Generator) -> Tensor:
    """Return noisy planes of a dark gradient with a black band."""
    light = torch.linspace(0, 1, cols).expand(rows, cols).clone()
    light[rows // 3 : rows // 2] = 0.0
    colour = torch.tensor([0.5, 1.0, 0.6])[list(layout_of(count).colours)]
    planes = light * colour[:, None, None] / SYNTHETIC_RATIO
    deviation = (planes * SYNTHETIC_NOISE.gain + SYNTHETIC_NOISE.read_variance).sqrt()
    return planes + deviation * torch.randn(planes.shape, generator=generator)


class Difference(NamedTuple):
    """Largest difference between two outputs, and the largest value in them."""

    largest: float
    scale: float

    @property
    def relative(self) -> float:
        """The difference over the scale where that is above 1; infinite if one is not a number."""
        relative = self.largest / max(self.scale, 1.0)
        return math.inf if math.isnan(relative) else relative

    def record(self, start: str = "") -> dict[str, float]:
        """Return both as `--json` names them, after a start."""
        return {f"{start}difference": self.largest, f"{start}scale": self.scale}


def difference_of(actual: Tensor, expected: Tensor) -> Difference:
    """Return the largest difference between two tensors of the same shape."""
    return Difference(float((actual - expected).abs().max()), float(expected.abs().max()))


@dataclasses.dataclass(frozen=True)
class Proof:
    """The differences between a network and its folded form, over a number of inputs."""

    inputs: int
    block: str
    """Name of the block that differed most, and its difference, on the same input."""
    worst_block: Difference
    network: Difference
    """Largest difference of the networks' outputs."""

    @property
    def holds(self) -> bool:
        """Whether folded and unfolded are the same function to `TOLERANCE`."""
        return self.worst_block.relative <= TOLERANCE and self.network.relative <= TOLERANCE

    def __str__(self) -> str:
        """Return it as one line."""
        return (
            f"folded and unfolded differ by {self.network.largest:.1e} at most "
            f"(values to {self.network.scale:.3g}), the worst block, {self.block}, by "
            f"{self.worst_block.largest:.1e} (values to {self.worst_block.scale:.3g}), "
            f"over {self.inputs} inputs, border included"
        )


def fold(
    spec: ModelSpec, net: nn.Module, csa_set: str, *, source_sha256: str | None = None
) -> tuple[ModelSpec, Network]:
    """Fold every RepNR block, with its CSA set, into the plain convolution that it equals.

    Returns new ones: the description without CSA sets and OMNR branch, with a note of the folding
    and of the file's hash; and the plain network, on the CPU in float32. Raises ModelError, without
    the file's name, when there is nothing to fold, or no such set.
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


def prove(net: nn.Module, csa_set: str, plain: nn.Module, inputs: Sequence[Tensor]) -> Proof:
    """Compare a network, its blocks run as they are defined, with its folded form from `fold`.

    `plain` is from `fold`, with the same CSA set, and the inputs ``(N, in_planes, h, w)`` are from
    `network_inputs`. Raises ModelError when the network cannot process them.
    """
    net, plain = (copy.deepcopy(each).cpu().float().eval() for each in (net, plain))
    repnr.select(net, csa_set)
    worst: dict[str, Difference] = {}

    def record(
        name: str, layer: nn.Module, _: nn.Module, given: tuple[Tensor], out: Tensor
    ) -> None:
        own = difference_of(layer(given[0]), out)
        worst[name] = max(worst[name], own, key=lambda d: d.relative)

    for name, layer in net.named_modules():
        if isinstance(layer, RepNRConv):
            worst[name] = Difference(0.0, 0.0)
            layer.forward = layer.forward_unfolded  # type: ignore[method-assign]
            layer.register_forward_hook(partial(record, name, plain.get_submodule(name)))
    network = compare_networks(plain, net, inputs)
    block = max(worst, key=lambda name: worst[name].relative)
    return Proof(len(inputs), block, worst[block], network)


def compare_networks(net: nn.Module, reference: nn.Module, inputs: Iterable[Tensor]) -> Difference:
    """Return the largest difference of two networks' outputs; ModelError if one cannot be run."""
    differences = []
    for x in inputs:
        try:
            with torch.inference_mode():
                differences.append(difference_of(net(x), reference(x)))
        except RuntimeError as error:
            why = f"header and tensors disagree ({short(str(error))})"
            raise ModelError(f"cannot be run on {tuple(x.shape)}: {why}") from error
    return max(differences, key=lambda d: d.relative)


def fold_model(
    path: Path,
    out: Path,
    csa_set: str,
    *,
    photo: Path | None = None,
    half: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    report: Reporter = SILENT,
) -> Proof:
    """Fold a model file, prove it, on a photo too if one is given, and write the plain model.

    `half` stores 16-bit weights; `dry_run` does everything but write the file; `report` receives
    what may be wrong with the photo. Raises ModelError if the model cannot be read or folded, or
    the proof fails; OutputError or UsageError if the new file cannot be written, exists (unless
    `overwrite`), or is the model itself.
    """
    check_suffix(out)
    with contextlib.suppress(OSError, ValueError):  # `made_of` explains those
        if out.samefile(path):
            raise UsageError(f"{out}: this is the model itself; choose another name with --out")
    with made_of(path, out, overwrite=overwrite):
        frames = []
        if photo is not None:
            raw = decoders.run(read_raw, photo)
            for warning in raw.warnings:
                report.warn(warning)
            planes = torch.from_numpy(raw.planes())
            top, left = (max(n - MAX_PROOF_SIDE, 0) // 2 for n in planes.shape[1:])
            frames.append(planes[:, top : top + MAX_PROOF_SIDE, left : left + MAX_PROOF_SIDE])
        spec, net = load_model(path)
        folded, plain = fold(spec, net, csa_set, source_sha256=file_sha256(path))
        proof = prove(net, csa_set, plain, network_inputs(spec, plain, frames))
        if not proof.holds:
            raise ModelError(f"the folded network differs, so nothing was written: {proof}")
        if not dry_run:
            save_model(out, folded, plain.state_dict(), half=half, overwrite=overwrite)
    return proof


@contextmanager
def made_of(path: Path, out: Path, *, overwrite: bool) -> Iterator[None]:
    """Make a file of a model inside the block; errors name the model.

    Raises OutputError if the file exists and must not be replaced, or has no folder.
    """
    check_new(out, REPLACE, overwrite=overwrite)
    try:
        yield
    except ModelError as error:
        named = str(error).startswith((f"{path}:", f"{out}:"))
        raise (error if named else ModelError(f"{path}: {error}")) from error.__cause__
