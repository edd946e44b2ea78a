"""`led evaluate`: how good models are, by frames whose truth is known."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.app import FAILED, INTERRUPTED
from ledcli.cli.console import Output
from ledcli.cli.figures import show_frame, show_means, show_skipped
from ledcli.cli.options import (
    DeviceOption,
    JsonOption,
    PrecisionOption,
    QuietOption,
    TileOption,
    parse_numbers,
)
from ledcli.cli.terminal import stoppable
from ledcli.errors import OutputError

if TYPE_CHECKING:
    from ledcli.evaluation.datasets.base import Source
    from ledcli.evaluation.results import Evaluation

STOPPING = "stopping: the frame at work is finished first; Ctrl-C once more stops at once"


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Model names ('led models list') or files.",
            show_default="the bundled default",
        ),
    ] = None,
    sid: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Frames in SID's layout: short, long.")
    ] = None,
    list_file: Annotated[
        Path | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="SID's list of pairs to take.",
            show_default="the test list in the folder",
        ),
    ] = None,
    eld: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Frames in ELD's layout: CAMERA/scene-1.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="LIST", help="A list of pairs: 'led pairs scan', DarkRAW, LED."),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Clean photographs, given calibrated cameras' noise."),
    ] = None,
    cameras: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Calibrated cameras for --photos, by commas.", show_default="all"
        ),
    ] = None,
    gains: Annotated[
        str | None,
        typer.Option(
            metavar="K,...",
            help="System gains for --photos, DN per electron.",
            show_default="two of each camera",
        ),
    ] = None,
    ratios: Annotated[
        str | None,
        typer.Option(
            metavar="RATIO,...",
            help="These ratios only: 100,300.",
            show_default="all; 1,20,100,300 for --photos",
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="A row per frame and model, for a spreadsheet."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A page of tables, curves and crops (index.html)."),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    tile: TileOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """PSNR and SSIM of models on SID, ELD, pairs, or calibrated noise.

    Each short frame goes through each model as 'led denoise' takes it, and is compared with its
    long frame: the raw planes, and half-size pictures in sRGB; as they are, and after the
    illuminance correction (one factor per frame) that figures in papers are given with. 'noisy'
    is the short frame times the ratio.

    Examples
    --------
    The bundled model on SID's test list::

        led evaluate --sid ~/SID

    Two models on ELD, with a page to look at::

        led evaluate sony my-camera --eld ~/ELD --ratios 100,200 --report report

    Your own pairs, as a table for a spreadsheet::

        led evaluate generic my-camera --pairs pairs.txt --csv figures.csv

    Clean photographs with the noise of a calibrated camera::

        led evaluate --photos ~/kodak --cameras SonyA7S2 --ratios 100
    """
    output = Output(json=json, quiet=quiet)
    wanted = parse_numbers(ratios, "--ratios", 1, "100,300")
    levels = parse_numbers(gains, "--gains", 0, "3")
    _check_csv(csv)
    _check_report(report)

    from ledcli.batch.settings import Engine
    from ledcli.evaluation.datasets import read_dataset
    from ledcli.evaluation.datasets.base import DatasetOptions
    from ledcli.evaluation.evaluate import Measurement, load_candidates
    from ledcli.evaluation.results import count
    from ledcli.evaluation.srgb import picture_models

    names = [name.strip() for name in (cameras or "").split(",") if name.strip()]
    source = read_dataset(
        {"sid": sid, "eld": eld, "pairs": pairs, "photos": photos},
        DatasetOptions(wanted, list_file, names, levels, models or []),
    )
    candidates = load_candidates(models or [], Engine(device, precision, tile))
    measurement = Measurement(source, candidates)
    if makers := picture_models(candidates):
        output.info(
            f"{', '.join(makers)} goes from the raw straight to a picture: all sRGB figures are of "
            "pictures as large as the raws, against LibRaw's"
        )
    for line in source.skipped:
        show_skipped(output, None, line)
    frames, of_models = count(len(source.cases), "frame"), count(len(candidates), "model")
    output.info(f"{source.name}: {frames}, {of_models}")
    with (
        stoppable(lambda: output.info(STOPPING)) as stop,
        output.progress(len(source.cases), "measuring", "frames") as bar,
    ):
        for measured in measurement.run():
            show_frame(output, measured)
            bar.advance(note=measured.case.name)
            if stop():
                break
        stopped = stop()
    evaluation = measurement.evaluation()
    written = True
    if evaluation.frames:
        show_means(output, evaluation)
        written = _write(output, evaluation, csv, report)
    _leave(output, source, evaluation, stopped=stopped, written=written)


def _write(output: Output, evaluation: "Evaluation", csv: Path | None, report: Path | None) -> bool:
    """Write what was asked for; that one of the two fails does not cost the other."""
    from ledcli.evaluation.report import write_report
    from ledcli.evaluation.results import write_csv

    written = True
    for path, write in ((csv, write_csv), (report, write_report)):
        if path is None:
            continue
        try:
            output.info(f"wrote {write(path, evaluation)}")
        except OutputError as error:
            output.error(error)
            written = False
    return written


def _leave(
    output: Output, source: "Source", evaluation: "Evaluation", *, stopped: bool, written: bool
) -> None:
    """Sum up, and leave with the exit status that says so."""
    done = len({frame.frame for frame in evaluation.frames})
    failed = len(evaluation.skipped)
    left = len(source.cases) + len(source.skipped) - done - failed
    text = f"{done} measured" + (f", {failed} failed" if failed else "")
    output.info(text + (f", {left} not begun" if left else ""))
    if stopped and left:
        raise typer.Exit(INTERRUPTED)
    if failed or not written:
        raise typer.Exit(FAILED)


def _check_csv(csv: Path | None) -> None:
    """Refuse at once what could not be written at the end."""
    if csv is None:
        return
    if not os.path.isdir(csv.parent):
        raise OutputError(f"{csv}: its folder does not exist: make it first")
    if os.path.lexists(csv):
        raise OutputError(f"{csv}: already there: choose another name with --csv")
    if not os.access(csv.parent, os.W_OK):
        raise OutputError(f"{csv}: its folder cannot be written to: choose another with --csv")


def _check_report(report: Path | None) -> None:
    """Refuse at once a folder that could not be made or written to at the end."""
    if report is None:
        return
    there = next(place for place in (report, *report.absolute().parents) if os.path.lexists(place))
    if not os.path.isdir(there):
        raise OutputError(f"{there}: is a file, not a folder: choose another with --report")
    if not os.access(there, os.W_OK):
        raise OutputError(f"{there}: cannot be written to: choose another folder with --report")
