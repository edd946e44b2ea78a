"""Published LED checkpoints: what they are, told from their tensors, and our model of them.

All take and give the planes R, G1, B, G2 of `min(x * ratio, 1)`: the input form `gain`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ledcli
from ledcli.errors import ModelError, UsageError
from ledcli.zoo.checkpoint_file import Tensors, read_sections
from ledcli.zoo.model_file import file_sha256
from ledcli.zoo.spec import MAX_NAME_LENGTH, MAX_RATIO, ModelSpec
from ledcli.zoo.upstream_net import (
    PRETRAIN,
    TARGET,
    TUNED,
    UpstreamNet,
    compare_deployed,
    without_module,
)

EXAMPLE = "LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio100-300.pth"

AS_PHOTOS_SAY = {
    "sonya7s2": "Sony ILCE-7SM2",
    "nikond850": "NIKON D850",
    "canoneos70d": "Canon EOS 70D",
    "canoneos700d": "Canon EOS 700D",
}
"""Cameras of the datasets SID and ELD, as their own photos name them."""

_NUMBER = r"\d{1,7}(?:\.\d{1,6})?"
_NAME = re.compile(
    r"(?P<method>[^_]+)_(?P<phase>[^_]+)_(?P<dataset>[^_]+)_(?P<camera>[^_]+)_(?P<setting>.+)"
    rf"_Setting_Ratio(?P<low>{_NUMBER})(?:-(?P<high>{_NUMBER}))?",
    re.IGNORECASE,
)


class UpstreamName(NamedTuple):
    """The parts of a published file's name; `camera` and `dataset` are empty for `None`."""

    method: str
    phase: str
    dataset: str
    camera: str
    setting: str
    ratio_range: tuple[float, float]


def parse_name(stem: str) -> UpstreamName | None:
    """Take a file's name (without its suffix) apart; None when it has not the published form.

    Examples
    --------
    >>> parse_name("LED_Pretrain_None_None_CVPR20_Setting_Ratio100-300").ratio_range
    (100.0, 300.0)
    """
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    method, phase, dataset, camera, setting, low, high = match.groups()
    ends = float(low), float(high or low)
    if not 0 < ends[0] <= ends[1] <= MAX_RATIO:
        return None
    dataset, camera = ("" if part.lower() == "none" else part for part in (dataset, camera))
    return UpstreamName(method, phase, dataset, camera, setting, ends)


def model_name(stem: str) -> str:
    """Make the name of a model from that of a file: lower case, with dashes.

    Raises
    ------
    UsageError
        When no letter or digit is left.
    """
    name = re.sub(r"[^a-z0-9.]+", "-", stem.lower())[:MAX_NAME_LENGTH].strip("-.")
    if not name:
        raise UsageError(f"'{stem}' gives no name for the model: name it with --name")
    return name


def photo_camera(camera: str) -> str:
    """Return a camera's name as its photos say it, where it is known; else as it is."""
    return AS_PHOTOS_SAY.get(re.sub(r"[^a-z0-9]", "", camera.lower()), camera)


LICENCE = "CC-BY-NC-4.0"
"""Of the published weights."""
LICENCE_URL = "https://creativecommons.org/licenses/by-nc/4.0/"
SOURCE = "https://github.com/Srameo/LED"

SECTIONS = ("params", "params_ema", "params_deploy", "")
"""Where in a file the network stands, the first that is there; last, bare at its top."""


@dataclass(frozen=True)
class Imported:
    """A checkpoint as our model.

    Attributes
    ----------
    spec : ModelSpec
        Still named after nothing: `install_model` names it.
    tensors : dict of str to Tensor
        Those of the network that `spec` describes, in float32.
    form : str
        `pretrain`, `fine-tuned` or `deploy`.
    notes : tuple of str
        What the user should know of how the file was read.
    """

    spec: ModelSpec
    tensors: Tensors
    form: str
    notes: tuple[str, ...]


def import_checkpoint(
    path: Path,
    *,
    ratio_range: tuple[float, float] | None = None,
    camera: str | None = None,
    licence: str = LICENCE,
    source: str | None = None,
    force: bool = False,
) -> Imported:
    """Read a published checkpoint of UNet, NAFNet or Restormer.

    Parameters
    ----------
    path : Path
        The `.pth` file. Its name tells ratio range and camera where it has the published form.
    ratio_range : (float, float), optional
        Instead of what the name tells.
    camera : str, optional
        The camera that the model was tuned to, as its photos name it, instead of the name's.
    licence, source : str
        For the model file.
    force : bool
        Take the RepNR form although `params_deploy` is not what it folds into.

    Raises
    ------
    ModelError
        When the file is damaged, is no such checkpoint, or holds two networks that disagree.
    UsageError
        When nothing says for which ratios the network was trained.
    """
    told = parse_name(path.stem)
    ratios = ratio_range or (told.ratio_range if told else None)
    if ratios is None:
        raise UsageError(
            f"{path}: nothing says for which ratios it was trained (a name like {EXAMPLE} would): "
            "say it with --ratio-range LOW HIGH"
        )
    sections = read_sections(path)
    key = next((key for key in SECTIONS if key in sections), None)
    if key is None:
        known = ", ".join(SECTIONS[:-1])
        raise ModelError(
            f"{path}: has its tensors under '{next(iter(sections))[:40]}'; a checkpoint has them "
            f"under {known} or at its top"
        )
    try:
        read = UpstreamNet.of(sections[key])
        notes = [f"the network under '{key}' is taken"] if key == "params_ema" else []
        unused = [k for k in SECTIONS[:-1] if k in sections and k not in (key, "params_deploy")]
        notes += [f"the network under '{k}' is left aside" for k in unused]
        form, tensors = read.converted()
        agreement = None
        if "params_deploy" in sections and key != "params_deploy":
            if form == TUNED:
                plain = without_module(sections["params_deploy"])
                agreement = compare_deployed(read.architecture, tensors, TARGET, plain)
                notes.append(agreement.checked(force=force))
            else:
                notes.append(f"params_deploy is left aside: the {form} form has no one fold")
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    cameras, camera_notes = _cameras(form, camera, told)
    record: dict[str, Any] = {
        "file": path.name[:200],
        "sha256": file_sha256(path),
        "form": form,
        "under": key,
        "version": ledcli.__version__,
    }
    if agreement is not None:
        record["deploy_difference"] = agreement.largest
    spec = ModelSpec(
        name="imported",
        architecture=read.architecture.name,
        arguments=read.architecture.arguments,
        input_form="gain",
        csa_sets=read.sets(form),
        omnr=read.omnr,
        ratio_range=ratios,
        method=_method(form, told),
        cameras=cameras,
        licence=licence,
        source=source or f"{path.name[:200]}, of the published form of {SOURCE}",
        training={"imported": record},
    )
    return Imported(spec, tensors, form, (*notes, *camera_notes))


def _cameras(
    form: str, wanted: str | None, told: UpstreamName | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the cameras that the model is for, and what there is to say about them."""
    if wanted is not None:
        return (wanted,), ()
    if form == PRETRAIN or told is None or not told.camera:
        return (), ()
    camera = photo_camera(told.camera)
    if camera != told.camera:
        return (camera,), ()
    return (camera,), (
        f"no photo may call its camera '{camera}', as the file does: --camera 'MAKE MODEL', as "
        "'led info' shows it, lets 'led denoise' take this model by itself",
    )


def _method(form: str, told: UpstreamName | None) -> str:
    if form == PRETRAIN:
        return "pretrain"
    return told.method.lower()[:64] if told else "led"
