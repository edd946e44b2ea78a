"""Turn a published LED checkpoint into a model of ours: recognise it by its tensors, rename them.

All published networks take and give the planes R, G1, B, G2 of `min(x * ratio, 1)`: the input form
`gain`. Their tensors of a RepNR block are `main_weight`, `main_bias`, `align_weights.N`,
`align_biases.N` (one alignment per virtual camera, the last for the target) and, once tuned,
`aux_weight`, `aux_bias`; a deployed network has plain convolutions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import ledcli
from ledcli.errors import ModelError, UsageError
from ledcli.nets import network as table
from ledcli.nets import repnr
from ledcli.nets.network import PlainNetwork, Shapes
from ledcli.nets.repnr import RepNRConv
from ledcli.zoo.checkpoint_file import PublishedName, Tensors, parse_name, read_sections
from ledcli.zoo.model_file import check_shapes, file_sha256
from ledcli.zoo.spec import ModelSpec

LICENCE = "CC-BY-NC-4.0"
"""Of the published weights."""
LICENCE_URL = "https://creativecommons.org/licenses/by-nc/4.0/"
SOURCE = "https://github.com/Srameo/LED"
EXAMPLE = "LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio100-300.pth"

SECTIONS = ("params", "params_ema", "params_deploy", "")
"""Where in a file the network is, the first that exists; the last is the top level."""
CAMERA_NAMES = {
    "sonya7s2": "Sony ILCE-7SM2",
    "nikond850": "NIKON D850",
    "canoneos70d": "Canon EOS 70D",
    "canoneos700d": "Canon EOS 700D",
}
"""Cameras of the datasets SID and ELD, as their photos name them."""
TOLERANCE = 1e-4
"""Largest difference between a tensor of the fold and that of the deployed network."""
PRETRAIN, TUNED, DEPLOY = "pretrain", "fine-tuned", "deploy"
"""The three forms of a checkpoint."""
GENERIC, TARGET = "generic", "target"
"""CSA sets: the mean over the virtual cameras, from which tuning starts, and the tuned one."""

_ALIGNMENT = re.compile(r"(.+)\.(align_weights|align_biases)\.(\d{1,3})")
_PART = re.compile(r"(.+)\.(main|aux)_(weight|bias)")


@dataclass(frozen=True)
class Imported:
    """A checkpoint as our model."""

    spec: ModelSpec
    """Without a name of its own: `install_model` names it."""
    tensors: Tensors
    """Those of the network that `spec` describes, in float32."""
    form: str
    notes: tuple[str, ...]
    """How the file was read, for people."""


def import_checkpoint(
    path: Path,
    *,
    ratio_range: tuple[float, float] | None = None,
    camera: str | None = None,
    method: str | None = None,
    licence: str = LICENCE,
    source: str | None = None,
    force: bool = False,
) -> Imported:
    """Read a published checkpoint of UNet, NAFNet or Restormer.

    Ratio range, camera (as its photos name it) and method replace what a name of the published
    form tells. `force` takes the RepNR form although it does not fold into `params_deploy`.

    Raises ModelError when the file is damaged, is not such a checkpoint, or holds two networks that
    disagree; UsageError when the ratios that the network was trained for are unknown.
    """
    sections = read_sections(path)
    published = parse_name(path.stem)
    ratios = ratio_range or (published.ratio_range if published else None)
    if ratios is None:
        raise UsageError(
            f"{path}: the ratios that it was trained for are unknown (a name like {EXAMPLE} tells "
            "them): use --ratio-range LOW HIGH"
        )
    key = next((key for key in SECTIONS if key in sections), None)
    if key is None:
        raise ModelError(
            f"{path}: has its tensors under '{next(iter(sections))[:40]}'; a checkpoint has them "
            f"under {', '.join(SECTIONS[:-1])} or at its top"
        )
    record: dict[str, Any] = {"file": path.name[:200], "sha256": file_sha256(path), "under": key}
    record["version"] = ledcli.__version__
    try:
        net = PublishedNet.from_section(sections[key])
        notes = [f"using the network under '{key}'"] if key == "params_ema" else []
        unused = [k for k in SECTIONS[:-1] if k in sections and k not in (key, "params_deploy")]
        notes += [f"the network under '{k}' is ignored" for k in unused]
        form, tensors = net.converted()
        if "params_deploy" in sections and key != "params_deploy":
            if form == TUNED:
                largest, note = check_deployed(net, tensors, sections["params_deploy"], force=force)
                record["deploy_difference"] = largest
                notes.append(note)
            else:
                notes.append(f"params_deploy is ignored: the {form} form has several folds")
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    cameras, camera_notes = _cameras(form, camera, published)
    made_by = method or (published.method if published else "led")
    spec = ModelSpec(
        name="imported",
        architecture=net.network.name,
        arguments=net.network.arguments,
        input_form="gain",
        csa_sets=net.csa_sets(form),
        omnr=net.omnr,
        ratio_range=ratios,
        method="pretrain" if form == PRETRAIN else made_by.lower()[:64],
        cameras=cameras,
        licence=licence,
        source=source or f"{path.name[:200]}, of the published form of {SOURCE}",
        training={"imported": record | {"form": form}},
    )
    return Imported(spec, tensors, form, (*notes, *camera_notes))


def _cameras(
    form: str, camera: str | None, published: PublishedName | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if camera is not None:
        return (camera,), ()
    name = published.camera if published else ""
    if form == PRETRAIN or not name:
        return (), ()
    known = CAMERA_NAMES.get(re.sub(r"[^a-z0-9]", "", name.lower()))
    if known:
        return (known,), ()
    return (name,), (
        f"photos may call this camera other than '{name}', the name in the file's: --camera 'MAKE "
        "MODEL', as 'led info' shows it, makes 'led denoise' choose this model by itself",
    )


class PublishedNet(NamedTuple):
    """The tensors of a published network, with or without RepNR blocks."""

    network: PlainNetwork
    tensors: Tensors
    alignments: int
    """Number per block; 0 in a plain network."""

    @property
    def omnr(self) -> bool:
        """Whether its blocks have the OMNR branch."""
        return any(name.endswith(".aux_weight") for name in self.tensors)

    @classmethod
    def from_section(cls, section: Tensors) -> PublishedNet:
        """Recognise a network; raises ModelError without the file's name."""
        tensors, shapes, counts = without_wrappers(section), {}, set()
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or tensor.layout != torch.strided:
                raise ModelError(f"its tensor '{name[:80]}' does not hold floating-point numbers")
            if match := _ALIGNMENT.fullmatch(name):
                counts.add(int(match[3]) + 1)
            elif match := _PART.fullmatch(name):
                if match[2] == "main":
                    shapes[f"{match[1]}.{match[3]}"] = tuple(tensor.shape)
            else:
                shapes[name] = tuple(tensor.shape)
        network = table.recognise(shapes)
        check_shapes(network.name, _shapes(network), shapes)
        return cls(network, tensors, max(counts, default=0))

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
        expected = _shapes(self.network, self.csa_sets(form), self.omnr)
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


def without_wrappers(section: Tensors) -> Tensors:
    """Remove what `DataParallel` and `torch.compile` put before the tensor names."""
    for _ in range(2):
        for prefix in ("module.", "_orig_mod."):
            if all(name.startswith(prefix) for name in section):
                section = {name.removeprefix(prefix): t for name, t in section.items()}
    return dict(section)


def _shapes(network: PlainNetwork, sets: tuple[str, ...] = (), omnr: bool = False) -> Shapes:
    try:
        with torch.device("meta"):
            net = table.build(*network)
            if sets:
                repnr.convert(net, sets, omnr)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"there can be no {network.name} with {network.arguments}") from error
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def check_deployed(
    published: PublishedNet, tensors: Tensors, deployed: Tensors, *, force: bool
) -> tuple[float, str]:
    """Compare the fold of a RepNR network (`tensors`, renamed) with the file's deployed network.

    LED's fold drops the shift of an alignment where the convolution has no bias to put it in (all
    of Restormer's): such a bias is counted, not compared. Returns the largest difference of two
    values, and a line about it. Raises ModelError without the file's name if the two do not belong
    to the same network, or differ, unless `force`.
    """
    deployed = without_wrappers(deployed)
    net = table.build(*published.network)
    without_bias = {n for n, m in net.named_modules() if getattr(m, "bias", ()) is None}
    repnr.convert(net, published.csa_sets(TUNED), published.omnr)
    net.load_state_dict(tensors)
    without_bias &= {n for n, layer in net.named_modules() if isinstance(layer, RepNRConv)}
    folded = repnr.deploy(net, TARGET).state_dict()
    worst, where, shifts, dropped = 0.0, "", 0, 0.0
    for name, tensor in folded.items():
        if name not in deployed and name.removesuffix(".bias") in without_bias:
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
    if extra := [name for name in deployed if name not in folded]:
        raise ModelError(f"its params_deploy has a tensor '{extra[0][:80]}' too many")
    lacks = ""
    if shifts:
        lacks = (
            f"; params_deploy lacks the bias of {shifts} folded convolutions (up to "
            f"{dropped:.1e}), which the fold keeps"
        )
    if worst <= TOLERANCE:
        return worst, f"its fold equals params_deploy to {worst:.1e}{lacks}"
    text = (
        f"its RepNR form folds into another network than its params_deploy: they differ by "
        f"{worst:.1e} in '{where}'"
    )
    if not force:
        raise ModelError(f"{text}. --force takes the RepNR form anyway")
    return worst, f"{text}; taking the RepNR form{lacks}"
