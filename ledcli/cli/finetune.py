"""`led finetune`: a model of your own camera from a few pairs."""

from pathlib import Path
from typing import Annotated

import typer

from ledcli.cli.app import FAILED, INTERRUPTED
from ledcli.cli.console import Output
from ledcli.cli.options import DeviceOption, DryRunOption, JsonOption, PrecisionOption, QuietOption
from ledcli.cli.terminal import printable, stoppable
from ledcli.errors import UsageError

DEFAULT_LIST = Path("pairs.txt")


def finetune(
    pairs: Annotated[
        Path, typer.Argument(metavar="[PAIRS]", help="List of pairs, of 'led pairs scan'.")
    ] = DEFAULT_LIST,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|none",
            help="Model to start from ('led models list'), or none.",
            show_default="generic; xtrans for such a sensor",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="led: LED; adl: adaptive domain learning, with other cameras' shots; exposure: "
            "exposure diffusion, for 'denoise --steps'; sid: straight to a picture, no DNGs."
        ),
    ] = "led",
    source: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LIST|FOLDER",
            help="ADL: another camera's list of pairs, or clean photos for made-up cameras.",
            show_default="made-up cameras over made-up scenes",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the tuned model.", show_default="the camera's"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the model here too, not folded ('led reparam')."),
    ] = None,
    ratios: Annotated[
        str | None, typer.Option(help="Use the pairs of these ratios only: 100,300.")
    ] = None,
    iters: Annotated[
        int | None, typer.Option(help="Iterations.", min=1, show_default="1500, sid: 2000")
    ] = None,
    crops: Annotated[
        int | None,
        typer.Option(
            help="Crops of an iteration: 4 take a third of the time.",
            min=1,
            show_default="led and adl: 16, others: 8",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="LED: joint, CSA and OMNR branch at once; or led, its phases and rates.",
            show_default="joint",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.", min=0)] = 0,
    shot_noise: Annotated[
        float | None,
        typer.Option(
            help="LED: share of crops given more light with its photon noise.",
            min=0,
            max=1,
            show_default="0",
        ),
    ] = None,
    l1: Annotated[
        float | None,
        typer.Option(
            help="Exposure diffusion: weight of L1 beside its own loss.", min=0, show_default="1"
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep pairs that are shifted.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Take pairs of one ISO, and a model that is no better."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a tuning that was stopped.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tune a model to your camera with two pairs of shots per ratio.

    Reads the pairs, checks them, measures the camera's noise on them, tunes the pretrained model
    (by LED, unless told otherwise), folds it into a plain network and installs it: 'led denoise'
    takes it from then on for photos of this camera. Parts of the pairs are never trained on; if
    the tuned model is no better there than the one it started from, it is not installed.

    Examples
    --------
    The pairs that 'led pairs scan' found::

        led finetune --pretrained sony

    A list of your own, for one ratio::

        led finetune pairs.txt --ratios 100 --name my-camera

    With another camera's pairs, as far as they help::

        led finetune --method adl --source other.txt

    Exposure diffusion, for many pairs; its model may look again ('led denoise --steps 2')::

        led finetune --method exposure

    SID, for many pairs; its model makes pictures, of the photos that it is named for::

        led finetune --method sid --name my-pictures
        led denoise ./raw --ratio 100 --model my-pictures
    """
    output = Output(json=json, quiet=quiet)
    wanted = parsed_ratios(ratios)

    from ledcli.training.finetune import FinetuneSettings, Status
    from ledcli.training.finetune import finetune as run

    settings = FinetuneSettings(
        pretrained=pretrained,
        method=method,
        options={
            "iterations": iters,
            "batch": crops,
            "seed": seed,
            "schedule": schedule,
            "shot_noise": shot_noise,
            "l1": l1,
        },
        sources=tuple(source or ()),
        name=name,
        out=out,
        ratios=tuple(wanted),
        keep_shifted=keep,
        force=force,
        resume=resume,
        device=device,
        precision=precision,
        dry_run=dry_run,
    )
    done = run(pairs, settings, report=output, stoppable=stoppable)
    if done.status is Status.STOPPED:
        output.info("stopped; go on with the same command and --resume")
        raise typer.Exit(INTERRUPTED)
    if done.tuned is None:
        output.result({"model": done.name, "status": "planned", "pairs": done.pairs}, done.name)
        return
    tuned = done.tuned
    better = tuned.improvement
    record = {"psnr_before": tuned.before, "psnr_after": tuned.after, "improvement_db": better}
    if done.status is Status.NOT_BETTER:
        output.error(
            f"the tuned model is no better on validation crops ({better:+.2f} dB), so the "
            "un-tuned one stays in use: check the pairs and shoot more, or install it with "
            "--resume --force"
        )
        output.result({"model": None, "status": done.status, **record}, "not installed")
        raise typer.Exit(FAILED)
    output.result(
        {"model": done.name, "status": done.status, "file": done.path, **record},
        f"{done.name}: {better:+.2f} dB over {done.method.baseline} on validation "
        f"crops ({tuned.before:.2f} to {tuned.after:.2f} dB); installed as {printable(done.path)}",
    )
    if done.method.hint:
        output.hint(done.method.hint.format(name=done.name))


def parsed_ratios(text: str | None) -> list[float]:
    """Read ``--ratios``; raises UsageError."""
    try:
        ratios = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        ratios = [-1.0]
    if not all(1 <= ratio < float("inf") for ratio in ratios):
        raise UsageError(f"--ratios takes numbers from 1 by commas, such as 100,300, not {text}")
    return ratios
