"""`led reparam`: fold a tuned model, and prove that it is the same function."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.console import Output, printable
from ledcli.cli.options import DryRunOption, JsonOption, QuietOption
from ledcli.errors import ModelError, OutputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ledcli.zoo.folding import Proof

PROOF_SIDE = 1024
"""Sides in plane pixels of what is taken of a photo for the proof, at most."""


def reparam(
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
    photo: Annotated[
        Path | None, typer.Option(metavar="RAW", help="Prove it on this photo as well.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store weights in 16 bits: half the size, rounded.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there already.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fold a tuned model into its plain network, and prove it is the same.

    The alignment and the OMNR branch of every block go into one plain convolution. The proof runs
    both forms over random and photo-like input in float32, border included; a model that does
    not pass is not written. 'led finetune' does all this by itself.

    Examples
    --------
    A pretrained backbone, with its set for Sony cameras::

        led reparam backbone.safetensors -o sony.safetensors --set sony

    Just the proof, on a photo of your own::

        led reparam sony -o sony.safetensors --photo IMG_1.ARW --dry-run
    """
    output = Output(json=json, quiet=quiet)

    from ledcli.zoo.store import SUFFIX, find_model

    path, branch = find_model(model)
    branch = csa_set or branch
    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: a model file ends in {SUFFIX}: name it so with --out")
    if out.exists() and out.samefile(path):
        raise UsageError(f"{out}: is the model itself: choose another name with --out")
    if not overwrite and (out.exists() or out.is_symlink()):
        raise _there(out)
    if not out.parent.is_dir():
        raise OutputError(f"{out}: its folder does not exist: make it first")

    from ledcli.zoo.folding import fold, network_inputs, prove
    from ledcli.zoo.model_file import file_sha256, load_model, save_model

    frames = [_planes(photo)] if photo is not None else []
    spec, net = load_model(path)
    try:
        folded, plain = fold(spec, net, branch, source_sha256=file_sha256(path))
        proof = prove(net, branch, plain, network_inputs(spec, net, frames))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    if not proof.holds:
        raise ModelError(f"{path}: is not the same when folded, so nothing was written: {proof}")
    output.info(f"proof: {proof}")
    if not dry_run:
        try:
            save_model(out, folded, plain.state_dict(), half=half, overwrite=overwrite)
        except FileExistsError:
            raise _there(out) from None
    output.result(
        {"model": out, "set": branch, "status": "planned" if dry_run else "done", **_record(proof)},
        f"{printable(path)}, set {branch} -> {printable(out)}",
    )


def _there(out: Path) -> OutputError:
    return OutputError(f"{out}: already there. --overwrite replaces, -o takes another name")


def _planes(path: Path) -> "Tensor":
    """Return the middle of a photo as normalised planes."""
    import torch

    from ledcli.raw.reader import read_raw

    photo = read_raw(path)
    planes = torch.from_numpy(photo.planes())
    top, left = (max(n - PROOF_SIDE, 0) // 2 for n in planes.shape[1:])
    return planes[:, top : top + PROOF_SIDE, left : left + PROOF_SIDE]


def _record(proof: "Proof") -> dict[str, object]:
    return {
        "inputs": proof.inputs,
        "worst_block": proof.block,
        "block_difference": proof.worst_block.largest,
        "block_scale": proof.worst_block.scale,
        "difference": proof.network.largest,
        "scale": proof.network.scale,
    }
