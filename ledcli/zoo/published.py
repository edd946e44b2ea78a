"""Recognise a published LED network by its tensors, and rename them to ours.

Its tensors of a RepNR block are `main_weight`, `main_bias`, `align_weights.N`,
`align_biases.N` (one alignment per virtual camera, the last for the target) and, once tuned,
`aux_weight`, `aux_bias`; a deployed network has plain convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ledcli.errors import ModelError
from ledcli.nets import registry as table
from ledcli.nets import repnr
from ledcli.nets.network import Shapes
from ledcli.nets.repnr import RepNRConv
from ledcli.zoo.checkpoint_file import Tensors
from ledcli.zoo.model_file import check_shapes

PLANES = 4
"""Planes that a published network takes and gives."""
TOLERANCE = 1e-4
"""Largest difference between a tensor of the fold and that of the deployed network."""


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


def _plain_shapes(network: PlainNetwork) -> dict[str, tuple[int, ...]]:
    try:
        with torch.device("meta"):
            net = table.build(network.name, network.arguments)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"there can be no {network.name} with {network.arguments}") from error
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


class Agreement(NamedTuple):
    """How far a fold differs from the deployed network that came with it."""

    largest: float
    """Largest difference between two values, and the tensor that it is in."""
    tensor: str
    shifts: int
    """Convolutions without a bias that dropped the shift of their alignment; the largest shift."""
    dropped: float

    def checked(self, *, force: bool) -> str:
        """Return a line about it; raises ModelError if they disagree, unless `force`."""
        dropped = ""
        if self.shifts:
            dropped = (
                f"; params_deploy lacks the bias of {self.shifts} folded convolutions (up to "
                f"{self.dropped:.1e}), which the fold keeps"
            )
        if self.largest <= TOLERANCE:
            return f"its fold equals params_deploy to {self.largest:.1e}{dropped}"
        text = (
            f"its RepNR form folds into another network than its params_deploy: they differ by "
            f"{self.largest:.1e} in '{self.tensor}'"
        )
        if not force:
            raise ModelError(f"{text}. --force takes the RepNR form anyway")
        return f"{text}; taking the RepNR form{dropped}"


def compare_deployed(
    network: PlainNetwork,
    tensors: Mapping[str, Tensor],
    csa_set: str,
    deployed: Mapping[str, Tensor],
) -> Agreement:
    """Compare the fold of a RepNR network (`tensors`, renamed) with the file's deployed network.

    LED's fold drops the shift of an alignment where the convolution has no bias to put it in (all
    of Restormer's): such a bias is counted, not compared. Raises ModelError without the file's
    name if the two do not belong to the same network.
    """
    sets = tuple(
        dict.fromkeys(name.rpartition(".")[2] for name in tensors if ".align_weights." in name)
    )
    omnr = any(name.endswith(".aux_weight") for name in tensors)
    net = table.build(network.name, network.arguments)
    without_bias = {
        n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.bias is None
    }
    repnr.convert(net, sets, omnr=omnr)
    net.load_state_dict(dict(tensors))
    blocks = {n for n, layer in net.named_modules() if isinstance(layer, RepNRConv)}
    folded = repnr.deploy(net, csa_set).state_dict()
    worst, where, shifts, dropped = 0.0, "", 0, 0.0
    for name, tensor in folded.items():
        layer = name.removesuffix(".bias")
        if name not in deployed and layer in blocks & without_bias:
            largest = float(tensor.abs().max())
            shifts += largest > 0
            dropped = max(dropped, largest)
            continue
        other = deployed.get(name)
        if other is None or other.shape != tensor.shape:
            raise ModelError(f"its params_deploy has no tensor '{name}' of the same shape")
        differences = (tensor - other.to(torch.float32)).abs()
        difference = float(differences.nan_to_num(torch.inf).max())
        if difference > worst:
            worst, where = difference, name
    extra = [name for name in deployed if name not in folded]
    if extra:
        raise ModelError(f"its params_deploy has a tensor '{extra[0][:80]}' too many")
    return Agreement(worst, where, shifts, dropped)


PRETRAIN, TUNED, DEPLOY = "pretrain", "fine-tuned", "deploy"
"""The three forms of a checkpoint."""
GENERIC, TARGET = "generic", "target"
"""CSA sets: the mean over the virtual cameras, from which tuning starts, and the tuned one."""

_ALIGNMENT = re.compile(r"(.+)\.(align_weights|align_biases)\.(\d{1,3})")
_PART = re.compile(r"(.+)\.(main|aux)_(weight|bias)")


class PublishedNet:
    """The tensors of a published network, with or without RepNR blocks."""

    def __init__(self, network: PlainNetwork, tensors: Tensors, alignments: int) -> None:
        self.network = network
        self.tensors = tensors
        self.alignments = alignments
        """Number per block; 0 in a plain network."""
        self.omnr = any(name.endswith(".aux_weight") for name in tensors)

    @classmethod
    def from_section(cls, section: Tensors) -> PublishedNet:
        """Recognise a network; raises ModelError without the file's name."""
        tensors = without_module(section)
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or tensor.layout != torch.strided:
                raise ModelError(f"its tensor '{name[:80]}' does not hold floating-point numbers")
        shapes, counts = {}, set()
        for name, tensor in tensors.items():
            if match := _ALIGNMENT.fullmatch(name):
                counts.add(int(match[3]) + 1)
            elif match := _PART.fullmatch(name):
                if match[2] == "main":
                    shapes[f"{match[1]}.{match[3]}"] = tuple(tensor.shape)
            else:
                shapes[name] = tuple(tensor.shape)
        return cls(recognise(shapes), tensors, max(counts, default=0))

    def csa_sets(self, form: str) -> tuple[str, ...]:
        """Names of the CSA sets, the default first."""
        if form == DEPLOY:
            return ()
        virtual = tuple(f"virtual{number}" for number in range(self.alignments - 1))
        return (TARGET if form == TUNED else GENERIC, *virtual)

    def converted(self) -> tuple[str, Tensors]:
        """Return the form, and the tensors under our names and in float32."""
        blocks = {match[1] for n in self.tensors if (match := _PART.fullmatch(n))}
        if not blocks:
            form = DEPLOY
        elif self.alignments < 2:
            raise ModelError(
                f"its RepNR blocks have {self.alignments} alignments; a checkpoint has one per "
                "virtual camera and one for the target"
            )
        else:
            form = TUNED if self.omnr or self._target_is_tuned() else PRETRAIN
        expected = self._expected(self.csa_sets(form))
        found = {self._renamed(n, form): t.to(torch.float32) for n, t in self.tensors.items()}
        if form == PRETRAIN:  # its target alignment is the identity still
            found = {n: t for n, t in found.items() if not n.endswith(f".{TARGET}")}
            found |= self._means(found)
        for name, shape in expected.items():
            if name not in found and name.endswith(("main_bias", "aux_bias")):
                found[name] = torch.zeros(shape)  # a convolution without a bias gains one
        shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
        check_shapes(self.network.name, expected, shapes)
        for name, tensor in found.items():
            if not tensor.isfinite().all():
                raise ModelError(f"its tensor '{name}' holds values that are not finite numbers")
        return form, {name: found[name].clone() for name in expected}

    def _expected(self, sets: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        with torch.device("meta"):
            net = table.build(self.network.name, self.network.arguments)
            if sets:
                repnr.convert(net, sets, omnr=self.omnr)
        return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}

    def _renamed(self, name: str, form: str) -> str:
        match = _ALIGNMENT.fullmatch(name)
        if match is None or form == DEPLOY:
            return name
        number = int(match[3])
        own = TARGET if number == self.alignments - 1 else f"virtual{number}"
        return f"{match[1]}.{match[2]}.{own}"

    def _target_is_tuned(self) -> bool:
        """Whether the last alignment is anything but the identity."""
        last = self.alignments - 1
        return any(
            bool((tensor != (1 if match[2] == "align_weights" else 0)).any())
            for name, tensor in self.tensors.items()
            if (match := _ALIGNMENT.fullmatch(name)) and int(match[3]) == last
        )

    def _means(self, found: Tensors) -> Tensors:
        """Return the generic set: the virtual cameras' mean, as tuning starts (LED, 3.3)."""
        layers: dict[str, list[Tensor]] = {}
        for name, tensor in found.items():
            layer, _, last = name.rpartition(".")
            if re.fullmatch(r"virtual\d+", last):
                layers.setdefault(layer, []).append(tensor)
        for layer, tensors in layers.items():
            if len({t.shape for t in tensors}) > 1:
                raise ModelError(f"its tensors '{layer}' have different shapes")
        return {f"{layer}.{GENERIC}": torch.stack(ts).mean(0) for layer, ts in layers.items()}


def without_module(section: Mapping[str, Tensor]) -> Tensors:
    """Remove the `module.` of `DataParallel` from the tensor names."""
    if all(name.startswith("module.") for name in section):
        return {name.removeprefix("module."): tensor for name, tensor in section.items()}
    return dict(section)
