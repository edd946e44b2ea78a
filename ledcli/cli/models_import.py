"""`led models import`: a published LED checkpoint becomes a model on the shelf."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledcli.cli.console import Output
from ledcli.cli.importing import AcceptOption, ForceOption, accept, install
from ledcli.cli.options import DryRunOption, JsonOption, QuietOption
from ledcli.errors import UsageError


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.pth", help="A published checkpoint.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the model.", show_default="the file's")
    ] = None,
    ratio_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="Ratios that it was trained for.",
            show_default="what the file's name says",
        ),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="'MAKE MODEL'",
            help="Camera that it was tuned to, as 'led info' shows it.",
            show_default="what the file's name says",
        ),
    ] = None,
    accept_license: AcceptOption = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Install a checkpoint of the published LED code as a model.

    Knows UNet, NAFNet and Restormer, pretrained, fine-tuned or deployed, by their tensors alone.
    Nothing but tensors is read: a file that wants more is refused. 'led denoise --model' and 'led
    finetune --pretrained' take the model by its name.

    Examples
    --------
    A file whose name says for which camera and ratios it is::

        led models import LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio100-300.pth --accept-license

    One whose name does not::

        led models import net_g_latest.pth --name mine --ratio-range 1 200
    """
    from ledcli.zoo.store import check_name
    from ledcli.zoo.upstream import model_name

    output = Output(json=json, quiet=quiet)
    if not file.is_file():
        raise UsageError(f"{file}: there is no such file")
    name = name or model_name(file.stem)
    check_name(name)
    if ratio_range is not None:
        _check_ratios(*ratio_range)

    from ledcli.zoo.upstream import LICENCE, LICENCE_URL, import_checkpoint

    imported = import_checkpoint(file, ratio_range=ratio_range, camera=camera, force=force)
    if not dry_run:
        accept(output, LICENCE, LICENCE_URL, now=accept_license)
    install(output, imported, name, {"source": file}, dry_run=dry_run)


def _check_ratios(low: float, high: float) -> None:
    from ledcli.zoo.spec import MAX_RATIO

    if not 0 < low <= high <= MAX_RATIO:
        raise UsageError(
            f"--ratio-range takes the lowest and the highest ratio, above 0 and up to "
            f"{MAX_RATIO:g}, not {low:g} {high:g}"
        )
