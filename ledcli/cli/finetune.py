"""`led finetune`: tune a model to a camera with a few pairs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from ledcli.cli import options as opt
from ledcli.cli.app import FAILED, INTERRUPTED, stoppable
from ledcli.cli.results import show_finetuned


def finetune(
    pairs: Annotated[
        Path, Argument(metavar="[PAIRS]", help="List of pairs, from 'led pairs scan'.")
    ] = Path("pairs.txt"),
    pretrained: Annotated[
        str | None,
        Option(
            metavar="NAME|FILE|none",
            help="Model to start from ('led models list'), or none.",
            show_default="generic, or xtrans for X-Trans pairs",
        ),
    ] = None,
    quality: Annotated[
        Literal["fast", "standard"],
        Option(help="fast tunes the fast model, for 'led denoise --quality fast'."),
    ] = "standard",
    method: Annotated[
        str,
        Option(
            help="led: LED; adl: adaptive domain learning; exposure: exposure diffusion; sid: "
            "straight to sRGB, no DNGs."
        ),
    ] = "led",
    source: Annotated[
        list[Path] | None,
        Option(
            metavar="LIST|FOLDER",
            help="ADL: another camera's list of pairs, or clean photos.",
            show_default="simulated cameras and scenes",
        ),
    ] = None,
    name: Annotated[
        str | None, Option(help="Name of the tuned model.", show_default="the camera's")
    ] = None,
    out: Annotated[
        Path | None,
        Option("--out", "-o", metavar="FILE", help="Also write the model here; LED's is unfolded."),
    ] = None,
    ratios: Annotated[
        str | None, Option(metavar="RATIO,...", help="Use only pairs of these ratios.")
    ] = None,
    iters: Annotated[
        int | None,
        Option(
            help="Iterations; --method led ends earlier if validation crops stop gaining.",
            min=1,
            show_default="led: 600, sid: 2000, others and --schedule led: 1500",
        ),
    ] = None,
    crops: Annotated[
        int | None,
        Option(
            help="Crops per iteration.",
            min=1,
            show_default="led: 4, adl: 16, others: 8",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        Option(
            help="LED: joint (CSA and OMNR branch at once), or led (published phases and rates).",
            show_default="joint",
        ),
    ] = None,
    seed: opt.SeedOption = 0,
    l1: Annotated[
        float | None,
        Option(help="Exposure diffusion: weight of the L1 loss.", min=0, show_default="1"),
    ] = None,
    keep: opt.KeepOption = False,
    force: Annotated[
        bool,
        Option("--force", help="Accept pairs of one ISO, and install a model that is no better."),
    ] = False,
    force_read: opt.ForceReadOption = False,
    resume: Annotated[bool, Option("--resume", help="Continue a stopped run.")] = False,
    device: opt.DeviceOption = "auto",
    precision: opt.PrecisionOption = "auto",
    dry_run: opt.DryRunOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Tune a model to your camera with two pairs of shots per ratio.

    Checks the pairs, measures the camera's noise on them, tunes the pretrained model, folds it into
    a plain network and installs it: 'led denoise' then uses it for photos of this camera. Parts of
    the pairs are never trained on; a model that is no better there is not installed.

    Examples
    --------
    The pairs found by 'led pairs scan'::

        led finetune --pretrained sony

    A list of your own, for one ratio; with another camera's pairs (adaptive domain learning)::

        led finetune pairs.txt --ratios 100 --name my-camera
        led finetune --method adl --source other.txt

    SID: a model that makes pictures, and is used only when named::

        led finetune --method sid --name my-pictures
        led denoise ./raw --ratio 100 --model my-pictures
    """
    from ledcli.api import finetune as run
    from ledcli.training.finetune import Status
    from ledcli.training.settings import FinetuneSettings

    options: dict[str, Any] = {"iterations": iters, "batch": crops, "seed": seed}
    settings = FinetuneSettings(
        pretrained=pretrained,
        quality=quality,
        method=method,
        options=options | {"schedule": schedule, "l1": l1},
        sources=tuple(source or ()),
        name=name,
        out=out,
        ratios=tuple(opt.parse_numbers(ratios, "--ratios")),
        keep_shifted=keep,
        force=force,
        force_read=force_read,
        resume=resume,
        device=device,
        precision=precision,
        dry_run=dry_run,
    )
    done = run(pairs, settings, report=output, stoppable=stoppable)
    show_finetuned(output, done)
    if done.status is Status.STOPPED:
        raise typer.Exit(INTERRUPTED)
    if done.status is Status.NOT_BETTER or done.failed:
        raise typer.Exit(FAILED)
