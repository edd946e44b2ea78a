"""Turn a published LED checkpoint, at hand or downloaded, into a model of ours.

All published networks take and give the planes R, G1, B, G2 of `min(x * ratio, 1)`: the input form
`gain`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ledcli
from ledcli.errors import ModelError, UsageError
from ledcli.zoo.checkpoint_file import Tensors, read_sections
from ledcli.zoo.model_file import file_sha256
from ledcli.zoo.published import (
    PRETRAIN,
    TARGET,
    TUNED,
    PublishedNet,
    compare_deployed,
    without_module,
)
from ledcli.zoo.releases import (
    NOISE_MODEL,
    PublishedName,
    PullHistory,
    Release,
    fetch_release,
    parse_name,
)
from ledcli.zoo.spec import ModelSpec

if TYPE_CHECKING:
    from ledcli.zoo.download import ShowProgress

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


@dataclass(frozen=True)
class Imported:
    """A checkpoint as our model.

    Attributes
    ----------
    spec : ModelSpec
        Without a name of its own: `install_model` names it.
    tensors : dict of str to Tensor
        Those of the network that `spec` describes, in float32.
    form : str
        `pretrain`, `fine-tuned` or `deploy`.
    notes : tuple of str
        How the file was read, for people.
    """

    spec: ModelSpec
    tensors: Tensors
    form: str
    notes: tuple[str, ...]


class Pulled(NamedTuple):
    """A downloaded checkpoint, its address and hash, and whether the hash was known before."""

    imported: Imported
    url: str
    sha256: str
    pinned_by: str
    first: bool


def pull_release(
    release: Release,
    *,
    force: bool = False,
    show: ShowProgress = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> Pulled:
    """Download a checkpoint and import it; pin its hash at the first download.

    Raises
    ------
    DownloadError
        When it cannot be downloaded, or its hash is not the one in the registry or the pinned one.
    ModelError
        When it is not a checkpoint of a network; the file is not kept.
    UsageError
        For a noise model.
    """
    if release.kind == NOISE_MODEL:
        raise UsageError(
            f"{release.name} is a noise model of LED's training code, which led cannot import; it "
            f"can be downloaded from {release.urls[-1]}"
        )
    history = PullHistory()
    known = release.sha256 or history.sha256(release.name)
    path, url, sha256 = fetch_release(release, known, show=show, say=say)
    try:
        imported = import_checkpoint(
            path,
            ratio_range=release.ratio_range,
            camera=release.camera,
            method=release.method,
            licence=release.licence,
            source=f"{url}, of {release.source}"[:1000],
            force=force,
        )
    finally:
        path.unlink(missing_ok=True)
    if known is None:
        history.pin(release.name, sha256)
    pinned_by = "registry" if release.sha256 else "first download"
    return Pulled(imported, url, sha256, pinned_by, known is None)


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

    Parameters
    ----------
    path : Path
        The `.pth` file. A name of the published form tells ratio range, camera and method.
    ratio_range, camera, method : optional
        Replace what the name tells; the camera as its photos name it.
    licence, source : str
        For the model file.
    force : bool
        Take the RepNR form although it does not fold into `params_deploy`.

    Raises
    ------
    ModelError
        When the file is damaged, is not such a checkpoint, or holds two networks that disagree.
    UsageError
        When the ratios that the network was trained for are unknown.
    """
    published = parse_name(path.stem)
    ratios = ratio_range or (published.ratio_range if published else None)
    if ratios is None:
        raise UsageError(
            f"{path}: the ratios that it was trained for are unknown (a name like {EXAMPLE} tells "
            "them): use --ratio-range LOW HIGH"
        )
    sections = read_sections(path)
    key = next((key for key in SECTIONS if key in sections), None)
    if key is None:
        raise ModelError(
            f"{path}: has its tensors under '{next(iter(sections))[:40]}'; a checkpoint has them "
            f"under {', '.join(SECTIONS[:-1])} or at its top"
        )
    record: dict[str, Any] = {
        "file": path.name[:200],
        "sha256": file_sha256(path),
        "under": key,
        "version": ledcli.__version__,
    }
    try:
        net = PublishedNet.from_section(sections[key])
        notes = [f"using the network under '{key}'"] if key == "params_ema" else []
        unused = [k for k in SECTIONS[:-1] if k in sections and k not in (key, "params_deploy")]
        notes += [f"the network under '{k}' is ignored" for k in unused]
        form, tensors = net.converted()
        if "params_deploy" in sections and key != "params_deploy":
            if form == TUNED:
                plain = without_module(sections["params_deploy"])
                agreement = compare_deployed(net.network, tensors, TARGET, plain)
                record["deploy_difference"] = agreement.largest
                notes.append(agreement.checked(force=force))
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
    """Return the cameras that the model is for, and notes about them."""
    if camera is not None:
        return (camera,), ()
    if form == PRETRAIN or published is None or not published.camera:
        return (), ()
    name = published.camera
    known = CAMERA_NAMES.get(re.sub(r"[^a-z0-9]", "", name.lower()))
    if known:
        return (known,), ()
    return (name,), (
        f"photos may call this camera other than '{name}', the name in the file's: --camera 'MAKE "
        "MODEL', as 'led info' shows it, makes 'led denoise' choose this model by itself",
    )
