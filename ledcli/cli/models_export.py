"""`led models export`: a model's network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledcli.cli.console import Output
from ledcli.cli.options import DryRunOption, JsonOption, QuietOption
from ledcli.cli.terminal import printable
from ledcli.errors import ModelError, OutputError, UsageError


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Model name ('led models list') or file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write it.")],
    csa_set: Annotated[
        str | None,
        typer.Option(
            "--set", metavar="NAME", help="CSA set to fold.", show_default="the name's, or first"
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there already.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a model's network as an ONNX file, for other programs and 'led denoise'.

    The folded network, in float32, for any batch, height and width; what the model says of itself
    goes with it. The file is compared with torch on inputs of several sizes; one that is not the
    same is not written. Needs pip install 'ledcli[onnx]'.

    Examples
    --------
    The bundled set for Sony cameras, and a photo denoised with the file::

        led models export sony -o sony.onnx

        led denoise IMG_1.ARW --model sony.onnx
    """
    output = Output(json=json, quiet=quiet)

    from ledcli.zoo.header import ONNX_SUFFIX, is_onnx, require_onnx
    from ledcli.zoo.store import find_model

    require_onnx("the export")
    found = find_model(model)
    path = found.path
    if not is_onnx(out):
        raise UsageError(f"{out}: an ONNX file ends in {ONNX_SUFFIX}: name it so with --out")
    if not overwrite and (out.exists() or out.is_symlink()):
        raise _there(out)
    if not out.parent.is_dir():
        raise OutputError(f"{out}: its folder does not exist: make it first")

    from ledcli.nets.modulation import ModulatedNet
    from ledcli.output.atomic import atomic_write
    from ledcli.zoo.folding import fold
    from ledcli.zoo.model_file import file_sha256, load_model, write_new
    from ledcli.zoo.onnx import to_onnx

    spec, net = load_model(path)
    if isinstance(net, ModulatedNet):
        raise ModelError(
            f"{path}: is another network for every camera and ISO, and an ONNX file holds one: "
            "use it with 'led denoise --backend onnx'"
        )
    sha256 = file_sha256(path)
    csa_set = csa_set or found.csa_set
    try:
        if spec.csa_sets or csa_set:
            spec, net = fold(spec, net, csa_set, source_sha256=sha256)
        exported = to_onnx(spec, net, source_sha256=sha256)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    output.info(f"check: {exported}")
    if not dry_run:
        try:
            (atomic_write if overwrite else write_new)(out, exported.data)
        except FileExistsError:
            raise _there(out) from None
    output.result(
        {
            "model": out,
            "csa_set": csa_set,
            "status": "planned" if dry_run else "done",
            "bytes": len(exported.data),
            "inputs": exported.inputs,
            "difference": exported.difference.largest,
            "scale": exported.difference.scale,
        },
        f"{printable(path)}{f', set {csa_set}' if csa_set else ''} -> {printable(out)}",
    )


def _there(out: Path) -> OutputError:
    return OutputError(f"{out}: already there. --overwrite replaces, -o takes another name")
