"""`led reparam`: fold a tuned model into a plain network and verify it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.console import Output
from ledcli.cli.options import DryRunOption, JsonOption, QuietOption
from ledcli.cli.terminal import printable
from ledcli.errors import ModelError, OutputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ledcli.zoo.folding import Proof

PROOF_SIDE = 1024
"""Largest side of the crop of a photo used for the proof, plane pixels."""


def reparam(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Model name ('led models list') or file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Model file to write.")],
    csa_set: Annotated[
        str | None,
        typer.Option(
            "--set",
            metavar="NAME",
            help="CSA set to fold.",
            show_default="that of the name, or the first",
        ),
    ] = None,
    photo: Annotated[
        Path | None, typer.Option(metavar="RAW", help="Verify on this photo too.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store rounded 16-bit weights: half the size.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
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
    output = Output(json=json, quiet=quiet)

    from ledcli.zoo.store import SUFFIX, find_model

    found = find_model(model)
    path = found.path
    csa_set = csa_set or found.csa_set
    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: the name of a model file ends in {SUFFIX}; change --out")
    if out.exists() and out.samefile(path):
        raise UsageError(f"{out}: this is the model itself; choose another name with --out")
    if not overwrite and (out.exists() or out.is_symlink()):
        raise _there(out)
    if not out.parent.is_dir():
        raise OutputError(f"{out}: the folder does not exist; create it first")

    from ledcli.zoo.folding import fold, network_inputs, prove
    from ledcli.zoo.model_file import file_sha256, load_model, save_model

    frames = [_planes(photo)] if photo is not None else []
    spec, net = load_model(path)
    try:
        folded, plain = fold(spec, net, csa_set, source_sha256=file_sha256(path))
        proof = prove(net, csa_set, plain, network_inputs(spec, plain, frames))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    if not proof.holds:
        raise ModelError(f"{path}: the folded network differs, so nothing was written: {proof}")
    output.info(f"proof: {proof}")
    if not dry_run:
        try:
            save_model(out, folded, plain.state_dict(), half=half, overwrite=overwrite)
        except FileExistsError:
            raise _there(out) from None
    output.result(
        {
            "model": out,
            "csa_set": csa_set,
            "status": "planned" if dry_run else "done",
            **_record(proof),
        },
        f"{printable(path)}, set {csa_set} -> {printable(out)}",
    )


def _there(out: Path) -> OutputError:
    return OutputError(f"{out}: already exists; use --overwrite, or another name with -o")


def _planes(path: Path) -> "Tensor":
    """Return the centre of a photo as normalised planes ``(C, H, W)``."""
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
