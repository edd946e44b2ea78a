"""What `led models import` and `led models pull` have in common: licence, shelf, result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.console import Output
from ledcli.cli.terminal import printable

if TYPE_CHECKING:
    from ledcli.zoo.upstream import Imported

AcceptOption = Annotated[
    bool,
    typer.Option("--accept-license", help="Accept the licence of the weights; once is enough."),
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Take a RepNR form that does not fold into its params_deploy."),
]


def accept(output: Output, licence: str, url: str, *, now: bool) -> None:
    """Show a licence and see that it is accepted; raises UsageError when it never was."""
    from ledcli.zoo.releases import Remembered

    new = Remembered().accept(licence, url, accepted=now)
    output.info(f"licence: {licence}, {url}" + ("; accepted, and remembered" if new else ""))


def install(
    output: Output,
    imported: Imported,
    name: str,
    record: Mapping[str, object],
    *,
    dry_run: bool,
) -> None:
    """Put the model on the shelf under a name, and say what it is; `record` is said as well."""
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
    output.result(
        {
            "model": name,
            "status": "planned" if dry_run else "done",
            "file": path,
            "architecture": spec.architecture,
            "arguments": spec.arguments,
            "form": imported.form,
            "csa_sets": spec.csa_sets,
            "ratio_range": spec.ratio_range,
            "cameras": spec.cameras,
            "licence": spec.licence,
            "notes": imported.notes,
            **record,
        },
        f"{name}: {printable(what)}" + ("" if dry_run else f"; installed as {printable(path)}"),
    )
    if dry_run:
        return
    if spec.cameras and imported.form != "pretrain":
        output.hint(
            f"'led denoise' takes it from now on for photos of {', '.join(spec.cameras)} at these "
            f"ratios; 'led models rm {name}' removes it"
        )
    elif imported.form == "pretrain":
        output.hint(f"'led finetune --pretrained {name}' tunes it to your camera")
