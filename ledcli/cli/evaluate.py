"""`led evaluate`: measure models on frames whose truth is known."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ledcli.batch.settings import Engine, Quality
from ledcli.cli import options as opt
from ledcli.cli.app import FAILED, INTERRUPTED, STOPPING, stoppable
from ledcli.cli.results import show_frame, show_means, write_files


def evaluate(
    models: Annotated[
        list[str] | None,
        Argument(
            metavar="MODEL",
            help="Model names ('led models list') or files.",
            show_default="generic, or xtrans for X-Trans frames",
        ),
    ] = None,
    sid: Annotated[
        Path | None, Option(metavar="DIR", help="Folder in SID's layout: short, long.")
    ] = None,
    list_file: Annotated[
        Path | None,
        Option(
            "--list",
            metavar="FILE",
            help="SID: list of pairs to use.",
            show_default="the test list in the folder",
        ),
    ] = None,
    eld: Annotated[
        Path | None, Option(metavar="DIR", help="Folder in ELD's layout: CAMERA/scene-1.")
    ] = None,
    pairs: Annotated[
        Path | None,
        Option(metavar="LIST", help="List of pairs, from 'led pairs scan', DarkRAW or LED."),
    ] = None,
    photos: Annotated[
        Path | None, Option(metavar="DIR", help="Clean photographs; calibrated noise is added.")
    ] = None,
    cameras: opt.CamerasOption = None,
    gains: opt.GainsOption = None,
    ratios: opt.RatiosOption = None,
    csv: Annotated[
        Path | None, Option("--csv", metavar="FILE", help="Write one row per frame and model.")
    ] = None,
    report: Annotated[
        Path | None,
        Option(metavar="DIR", help="Write a page of tables, curves and crops (index.html)."),
    ] = None,
    device: opt.DeviceOption = "auto",
    precision: opt.PrecisionOption = "auto",
    quality: opt.QualityOption = Quality.STANDARD,
    tile: opt.TileOption = None,
    ray: opt.RayOption = None,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Measure PSNR and SSIM of models on SID, ELD, pairs or calibrated noise.

    Each short frame is denoised by each model, as by 'led denoise', and compared with its long
    frame: raw planes and half-size sRGB pictures, with and without the illuminance correction (one
    factor per frame) that published figures use. 'noisy' is the short frame times the ratio.

    Examples
    --------
    The bundled model on SID's test list::

        led evaluate --sid ~/SID

    Two models on ELD with a report, and on your own pairs as CSV::

        led evaluate sony my-camera --eld ~/ELD --ratios 100,200 --report report
        led evaluate generic my-camera --pairs pairs.txt --csv figures.csv

    Clean photographs with the noise of a calibrated camera::

        led evaluate --photos ~/kodak --cameras SonyA7S2 --ratios 100
    """
    from ledcli.evaluation.datasets.base import DatasetOptions
    from ledcli.evaluation.report import check_report
    from ledcli.evaluation.results import check_csv
    from ledcli.evaluation.run import evaluate as measure

    if csv is not None:
        check_csv(csv)
    if report is not None:
        check_report(report)
    options = DatasetOptions(
        opt.parse_numbers(ratios, "--ratios"),
        list_file,
        opt.parse_words(cameras),
        opt.parse_numbers(gains, "--gains"),
        models or [],
    )
    evaluation = measure(
        {"sid": sid, "eld": eld, "pairs": pairs, "photos": photos},
        options,
        quality=quality,
        engine=Engine(device, precision, tile),
        ray=ray,
        on_frame=partial(show_frame, output),
        stoppable=partial(stoppable, lambda: output.info(STOPPING.format("frame"))),
        report=output,
    )
    written = True
    if evaluation.frames:
        show_means(output, evaluation)
        written = write_files(output, evaluation, csv, report)
    done = len({frame.frame for frame in evaluation.frames})
    failed, left = len(evaluation.skipped), evaluation.not_started
    text = f"{done} measured" + (f", {failed} failed" if failed else "")
    output.info(text + (f", {left} not started" if left else ""))
    if left:
        raise typer.Exit(INTERRUPTED)
    if failed or not written:
        raise typer.Exit(FAILED)
