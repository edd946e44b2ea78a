"""`led models import`, `pull` and `export`, and `led reparam`: models from and to other files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ledcli.cli import options as opt
from ledcli.cli.console import Output, printable
from ledcli.errors import UsageError

if TYPE_CHECKING:
    from ledcli.zoo.importing import Imported
    from ledcli.zoo.releases import PullHistory, Release

UNKNOWN = "unknown until fetched"
DESCRIBED = ("architecture", "arguments", "csa_sets", "ratio_range", "cameras", "licence")
"""What is said of an installed model."""


def import_(
    file: Annotated[Path, Argument(metavar="FILE.pth", help="A published checkpoint.")],
    name: Annotated[
        str | None, Option(help="Name of the model.", show_default="the file's")
    ] = None,
    ratio_range: Annotated[
        tuple[float, float] | None,
        Option(
            metavar="LOW HIGH",
            help="Ratios that it was trained for.",
            show_default="from the file's name",
        ),
    ] = None,
    camera: Annotated[
        str | None,
        Option(
            metavar="'MAKE MODEL'",
            help="Camera that it was tuned to, as 'led info' shows it.",
            show_default="from the file's name",
        ),
    ] = None,
    accept_license: opt.AcceptOption = False,
    force: opt.ForceOption = False,
    dry_run: opt.DryRunOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Install a checkpoint of the published LED code as a model.

    Recognises UNet, NAFNet and Restormer, pretrained, fine-tuned or deployed, by their tensors. The
    file is never executed: one that contains anything but tensors is refused. 'led denoise
    --model' and 'led finetune --pretrained' accept the model by its name.

    Examples
    --------
    A file whose name tells camera and ratios::

        led models import LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio100-300.pth --accept-license

    Another file::

        led models import net_g_latest.pth --name mine --ratio-range 1 200
    """
    from ledcli.zoo.releases import model_name
    from ledcli.zoo.spec import MAX_RATIO, is_ratio_range
    from ledcli.zoo.store import check_name

    if not os.path.isfile(file):
        raise UsageError(f"{file}: there is no such file")
    name = name or model_name(file.stem)
    check_name(name)
    if ratio_range is not None and not is_ratio_range(ratio_range):
        raise UsageError(
            f"--ratio-range takes the lowest and the highest ratio, above 0 and up to "
            f"{MAX_RATIO:g}, not {ratio_range[0]:g} {ratio_range[1]:g}"
        )

    from ledcli.zoo.importing import LICENCE, LICENCE_URL, import_checkpoint

    imported = import_checkpoint(file, ratio_range=ratio_range, camera=camera, force=force)
    if not dry_run:
        _accept(output, LICENCE, LICENCE_URL, now=accept_license)
    _install(output, imported, name, {"source": file}, dry_run=dry_run)


def pull(
    release_name: Annotated[
        str | None, Argument(metavar="NAME", help="The model to download; without it, list them.")
    ] = None,
    name: Annotated[
        str | None, Option(help="Name of the installed model.", show_default="NAME")
    ] = None,
    registry: Annotated[
        Path | None, Option(metavar="FILE.toml", help="A registry with more models or mirrors.")
    ] = None,
    accept_license: opt.AcceptOption = False,
    force: opt.ForceOption = False,
    dry_run: opt.DryRunOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Download a published model and install it.

    Without a NAME, list the models that can be downloaded. A file must have the SHA-256 in the
    registry, or that of its first download. A registry.toml of your own, or --registry, adds
    models, mirrors and hashes.

    Examples
    --------
    List the models, then install one::

        led models pull

        led models pull led-deploy-unet-eld-ratio100-300-sonya7s2 --accept-license
    """
    from ledcli.zoo import releases as table
    from ledcli.zoo.store import check_name

    releases, history = table.read_releases(registry), table.PullHistory()
    if release_name is None:
        _list(output, releases, history)
        output.hint(
            f"the registry is {table.bundled_registry()}; yours would be {table.own_registry()}"
        )
        return
    release = releases.get(release_name.lower())
    if release is None:
        raise UsageError(f"no registry has '{release_name}'. There are: {', '.join(releases)}")
    name = name or release.name
    check_name(name)
    if dry_run:
        sha256 = release.sha256 or history.sha256(release.name)
        record = {"model": name, "status": "planned", "urls": release.urls, "sha256": sha256}
        output.result(record, f"{name}: {release.urls[0]}")
        return
    _accept(output, release.licence, release.licence_url, now=accept_license)

    pulled = table.pull_release(release, force=force, report=output)
    record = {"source": pulled.url, "sha256": pulled.sha256, "pinned_by": pulled.pinned_by}
    _install(output, pulled.imported, name, record, dry_run=False)


def export(
    model: opt.ModelArgument,
    out: opt.OutOption,
    csa_set: opt.CsaSetOption = None,
    overwrite: opt.OverwriteOption = False,
    dry_run: opt.DryRunOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Write a model's network as an ONNX file, for other programs and 'led denoise'.

    The network is folded, in float32, for any batch, height and width; the model's description is
    included. The file is compared with torch at several sizes, and written only if it agrees.
    Needs pip install 'ledcli[onnx]'.

    Examples
    --------
    The bundled set for Sony cameras, and a photo denoised with the file::

        led models export sony -o sony.onnx

        led denoise IMG_1.ARW --model sony.onnx
    """
    from ledcli.zoo.model_file import require_onnx
    from ledcli.zoo.store import find_model

    require_onnx("the export")
    found = find_model(model)
    csa_set = csa_set or found.csa_set

    from ledcli.zoo.onnx import export_model

    exported = export_model(found.path, out, csa_set, overwrite=overwrite, dry_run=dry_run)
    output.info(f"check: {exported}")
    figures = {"bytes": len(exported.data), "inputs": exported.inputs}
    _show_made(output, found.path, out, csa_set, dry_run, **figures, **exported.difference.record())


def reparam(
    model: opt.ModelArgument,
    out: opt.OutOption,
    csa_set: opt.CsaSetOption = None,
    photo: Annotated[Path | None, Option(metavar="RAW", help="Verify on this photo too.")] = None,
    half: Annotated[
        bool,
        Option(
            "--half/--no-half",
            help="Store rounded 16-bit weights: half the size.",
            show_default=False,
        ),
    ] = False,
    overwrite: opt.OverwriteOption = False,
    dry_run: opt.DryRunOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Fold a tuned model into a plain network and verify the result.

    The CSA and the OMNR branch of each block are folded into one plain convolution. Both networks
    are then compared in float32 on random and photo-like input, borders included; a model that
    fails is not written. 'led finetune' does this automatically.

    Examples
    --------
    A pretrained backbone with its CSA set for Sony cameras::

        led reparam backbone.safetensors -o sony.safetensors --set sony

    Only verify, on a photo of your own::

        led reparam sony -o sony.safetensors --photo IMG_1.ARW --dry-run
    """
    from ledcli.zoo.folding import fold_model
    from ledcli.zoo.store import find_model

    found = find_model(model)
    csa_set = csa_set or found.csa_set
    how = {"half": half, "overwrite": overwrite, "dry_run": dry_run}
    proof = fold_model(found.path, out, csa_set, photo=photo, report=output, **how)
    output.info(f"proof: {proof}")
    figures = {"inputs": proof.inputs, "worst_block": proof.block, **proof.network.record()}
    figures |= proof.worst_block.record("block_")
    _show_made(output, found.path, out, csa_set, dry_run, **figures)


def _show_made(
    output: Output, source: Path, target: Path, csa_set: str, dry_run: bool, **figures: object
) -> None:
    """Report a file that was made of a model's CSA set, and how far the two networks differ."""
    status = "planned" if dry_run else "done"
    record = {"model": target, "csa_set": csa_set, "status": status, **figures}
    named = f", set {csa_set}" if csa_set else ""
    output.result(record, f"{printable(source)}{named} -> {printable(target)}")


def _accept(output: Output, licence: str, url: str, *, now: bool) -> None:
    from ledcli.zoo.releases import PullHistory

    new = PullHistory().accept(licence, url, accepted=now)
    output.info(f"licence: {licence}, {url}{'; accepted for all models under it' if new else ''}")


def _install(
    output: Output, imported: Imported, name: str, record: Mapping[str, object], *, dry_run: bool
) -> None:
    """Install a model under a name and report it, with what `record` adds."""
    from ledcli.zoo.store import install_model

    for note in imported.notes:
        output.info(note)
    spec = imported.spec
    low, high = spec.ratio_range
    what = f"{spec.architecture}, {imported.form} form, ratios {low:g} to {high:g}"
    what += f", {', '.join(spec.cameras) or 'any camera'}"
    if spec.csa_sets:
        what += f", CSA set {spec.csa_sets[0]} of {len(spec.csa_sets)}"
    path = None if dry_run else install_model(name, spec, imported.tensors)
    made = {"model": name, "status": "planned" if dry_run else "done", "file": path}
    made |= {key: getattr(spec, key) for key in DESCRIBED}
    where = "" if dry_run else f"; installed as {printable(path)}"
    output.result(
        {**made, "form": imported.form, "notes": imported.notes, **record},
        f"{name}: {printable(what)}{where}",
    )
    if not dry_run and imported.form == "pretrain":
        output.hint(f"'led finetune --pretrained {name}' tunes it to your camera")
    elif not dry_run and spec.cameras:
        output.hint(
            f"'led denoise' now uses it for photos of {', '.join(spec.cameras)} at these ratios; "
            f"'led models rm {name}' removes it"
        )


def _list(output: Output, releases: Mapping[str, Release], history: PullHistory) -> None:
    rows, records = [], []
    for release in releases.values():
        sha256 = release.sha256 or history.sha256(release.name)
        ratios = " to ".join(f"{v:g}" for v in release.ratio_range)
        size = f"{release.bytes / 1e6:.1f} MB" if release.bytes else UNKNOWN
        camera, hashed = release.camera or "any", sha256[:16] if sha256 else UNKNOWN
        rows.append((release.name, camera, ratios, release.licence, size, hashed))
        records.append(asdict(release) | {"sha256": sha256})
    columns = ("NAME", "CAMERA", "RATIO", "LICENCE", "SIZE", "SHA-256")
    output.table(columns, rows, records=records)
