"""`led denoise`: denoise raws."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ledcli.batch.settings import Compression, Engine, Highlights, Quality, Result, Settings
from ledcli.cli.app import FAILED, INTERRUPTED, STOPPING, stoppable
from ledcli.cli.console import Output
from ledcli.cli.options import (
    AgainOption,
    AnyDeviceOption,
    AnyPrecisionOption,
    BackendOption,
    ChromaOption,
    DryRunOption,
    ExposureOption,
    ForceReadOption,
    FormatOption,
    InputsArgument,
    JsonOption,
    LumaOption,
    ModelOption,
    NameOption,
    NoiseOption,
    OutFolderOption,
    QualityOption,
    QuietOption,
    RatioOption,
    RecursiveOption,
    StepsOption,
    StrengthOption,
    TileOption,
    parse_brightness,
    parse_noise,
)
from ledcli.cli.results import show_model, show_plan, show_result
from ledcli.errors import UsageError


def denoise(
    inputs: InputsArgument = None,
    ratio: RatioOption = None,
    exposure: ExposureOption = None,
    strength: StrengthOption = 1.0,
    luma: LumaOption = None,
    chroma: ChromaOption = None,
    quality: QualityOption = Quality.STANDARD,
    noise: NoiseOption = "auto",
    steps: StepsOption = None,
    highlights: Annotated[
        Highlights,
        typer.Option(help="Highlights pushed above white: clip them, or keep them in the DNG."),
    ] = Highlights.CLIP,
    out: OutFolderOption = None,
    name: NameOption = "{stem}{ext}",
    formats: FormatOption = None,
    compression: Annotated[
        Compression, typer.Option(help="Compression of the DNG: lossless JPEG, or none.")
    ] = Compression.LJPEG,
    linear: Annotated[
        bool,
        typer.Option(
            "--linear/--no-linear",
            help="Write a demosaiced DNG, for programs that prefer it.",
            show_default=False,
        ),
    ] = False,
    recursive: RecursiveOption = False,
    files_from: Annotated[
        str | None,
        typer.Option(
            "--files-from",
            metavar="LIST|-",
            help="Read more inputs from a file, or '-' for standard input: one a line, or "
            "separated by NUL.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N|auto",
            help="Do part I of N (from 0) of the photos, or that of this task of a SLURM or AWS "
            "Batch array.",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Keep running, and take what comes into the folders."),
    ] = False,
    model: ModelOption = None,
    device: AnyDeviceOption = "auto",
    precision: AnyPrecisionOption = "auto",
    backend: BackendOption = "auto",
    tile: TileOption = None,
    again: AgainOption = False,
    force_read: ForceReadOption = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make all results again; replace existing files.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Denoise raws to 16-bit DNG, PNG or TIFF.

    Each photo gets the newest model tuned to its camera that covers its ratio and ISO, or else the
    bundled model. Originals are never changed. Run the command again to do what is missing or
    changed. Ctrl-C finishes the current photo; a second one stops at once.

    Examples
    --------
    A folder of raws shot a hundred times too dark::

        led denoise ./raw --ratio 100

    High-ISO photos at their own brightness, as DNG and PNG::

        led denoise IMG_1.CR2 IMG_2.NEF --format dng,png

    A part of a long run, on each of four machines::

        led denoise /nas/raw -r --out /nas/clean --shard 0/4

    Whatever comes into a folder, until Ctrl-C::

        led denoise ./incoming --watch

    A camera whose noise led cannot tell from its raws::

        led denoise ./raw --ratio 100 --noise 4.2,8

    Every photo as bright as a long exposure, or as its own histogram asks for::

        led denoise ./raw --exposure long.ARW
        led denoise ./raw --ratio auto --highlights keep
    """
    from ledcli.batch.inputs import read_list
    from ledcli.batch.run import plan_denoise
    from ledcli.batch.shards import array_variable, parse_shard
    from ledcli.batch.watch import watch as watch_folders

    output = Output(json=json, quiet=quiet)
    inputs = [*(inputs or []), *(read_list(files_from) if files_from else [])]
    if not inputs:
        raise UsageError("name raw files or folders, or a list of them by --files-from")
    factor, level = parse_brightness(ratio, exposure)
    settings = Settings(
        factor,
        level,
        strength,
        highlights,
        compression,
        linear,
        again,
        quality,
        steps,
        force_read,
        parse_noise(noise),
        luma,
        chroma,
    )
    plan = partial(
        plan_denoise,
        inputs,
        out,
        settings=settings,
        formats=[f.strip() for group in formats or [] for f in group.split(",")],
        model=model,
        name=name,
        recursive=recursive,
        shard=None if shard is None else parse_shard(shard),
        engine=Engine(device, precision, tile, backend),
    )
    if watch:
        if dry_run:
            raise UsageError("--watch and --dry-run exclude each other")
        _watch(
            output,
            partial(
                watch_folders,
                inputs,
                plan,
                output,
                recursive=recursive,
                out=out,
                overwrite=overwrite,
            ),
        )
        return
    planned = plan(report=output)
    if shard is None and len(planned.jobs) > 1 and (task := array_variable()):
        output.hint(f"{task} is set: use --shard auto to divide the photos among the array's tasks")
    counts: Counter[str] = Counter(failed=len(planned.rejected))
    for rejected in planned.rejected:
        show_result(output, rejected)
    if dry_run:
        preview = planned.preview(overwrite=overwrite)
        counts.update(show_plan(output, *each) for each in preview)
        _finish(output, counts, "planned")
        return
    shown = None
    with stoppable(lambda: output.info(STOPPING.format("photo"))) as stop:
        for result in planned.run(overwrite=overwrite, stop=stop, report=output):
            shown = show_model(output, result, shown)
            show_result(output, result)
            if not json and (faster := planned.suggestion(result)):
                output.hint(faster)
            counts[result.status] += 1
        stopped = stop()
    left = len(planned.jobs) + len(planned.rejected) - counts.total()
    if stopped and left:
        output.hint(f"{left} not started; run the same command again to continue")
    _finish(output, counts, "done", stopped=stopped and left > 0)


def _watch(output: Output, results: Callable[..., Iterator[Result]]) -> None:
    """Show what comes until Ctrl-C, which is the way to end it: no failure."""
    last: dict[Path | None, str] = {}  # one that failed is tried again when its file changes
    shown = None
    with stoppable(lambda: output.info(STOPPING.format("photo"))) as stop:
        for result in results(stop=stop):
            shown = show_model(output, result, shown)
            show_result(output, result)
            last[result.source] = result.status
    _finish(output, Counter(last.values()), "done")


def _finish(output: Output, counts: Counter[str], word: str, *, stopped: bool = False) -> None:
    parts = [f"{counts[each]} {each}" for each in (word, "skipped", "failed")]
    output.info(", ".join(part for part in parts if part != "0 skipped"))
    if stopped:
        raise typer.Exit(INTERRUPTED)
    if counts["failed"]:
        raise typer.Exit(FAILED)
