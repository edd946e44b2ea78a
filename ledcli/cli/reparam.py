"""`led reparam`: fold a tuned model into a plain network and verify it."""

from pathlib import Path
from typing import Annotated

import typer

from ledcli.cli.console import Output
from ledcli.cli.options import DryRunOption, JsonOption, QuietOption
from ledcli.cli.terminal import printable


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
    from ledcli.zoo.folding import fold_model
    from ledcli.zoo.store import find_model

    output = Output(json=json, quiet=quiet)

    found = find_model(model)
    csa_set = csa_set or found.csa_set
    proof = fold_model(
        found.path, out, csa_set, photo=photo, half=half, overwrite=overwrite, dry_run=dry_run
    )
    output.info(f"proof: {proof}")
    output.result(
        {
            "model": out,
            "csa_set": csa_set,
            "status": "planned" if dry_run else "done",
            "inputs": proof.inputs,
            "worst_block": proof.block,
            "block_difference": proof.worst_block.largest,
            "block_scale": proof.worst_block.scale,
            "difference": proof.network.largest,
            "scale": proof.network.scale,
        },
        f"{printable(found.path)}, set {csa_set} -> {printable(out)}",
    )
