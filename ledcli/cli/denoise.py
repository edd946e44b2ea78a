"""`led denoise`: clean raws."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ledcli.batch.settings import Compression, Engine, Highlights, Quality, Settings, choose_formats
from ledcli.cli.app import FAILED, INTERRUPTED
from ledcli.cli.console import Output
from ledcli.cli.options import (
    BackendOption,
    DeviceOption,
    DryRunOption,
    JsonOption,
    PrecisionOption,
    QuietOption,
    TileOption,
    parse_brightness,
)
from ledcli.cli.results import how_denoised, show_failed, show_plan, show_result
from ledcli.cli.terminal import stoppable
from ledcli.errors import LedError, RawError, UsageError
from ledcli.output.formats import FORMATS

DENOISED = "{}: is a result of led's: --again denoises it once more"
STOPPING = "stopping: the photo at work is finished first; Ctrl-C once more stops at once"


def denoise(
    inputs: Annotated[
        list[str], typer.Argument(metavar="RAW...", help="Raw files, folders or patterns.")
    ],
    ratio: Annotated[
        str | None,
        typer.Option(
            metavar="FACTOR|auto",
            help="Brighten by this factor, or by what each photo's histogram asks for; without it "
            "the photo keeps its brightness.",
        ),
    ] = None,
    exposure: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL|LONGFILE",
            help="Brighten each photo to this exposure level (ISO x seconds), or that of a raw.",
        ),
    ] = None,
    strength: Annotated[
        float, typer.Option(help="0 leaves the noise, 1 takes all of it.", min=0, max=1)
    ] = 1.0,
    quality: Annotated[
        Quality,
        typer.Option(help="best averages four mirrored passes; four times slower."),
    ] = Quality.STANDARD,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Looks that the network takes; more than one by a model of exposure diffusion.",
            show_default="exposure diffusion: 2 from ratio 200 on; else 1",
            min=1,
            max=20,
        ),
    ] = None,
    highlights: Annotated[
        Highlights,
        typer.Option(help="What the ratio brings past white: clip it, or keep it in the DNG."),
    ] = Highlights.CLIP,
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder.", show_default="'denoised' beside the input"),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            help="Output names: {stem}, {ext}, {name}, {suffix}, {folder} of the photo.",
        ),
    ] = "{stem}{ext}",
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help=f"Any of {', '.join(FORMATS)}, separated by commas.",
            show_default="dng; png of a model that makes pictures",
        ),
    ] = None,
    compression: Annotated[
        Compression, typer.Option(help="Of the DNG: lossless JPEG, or none.")
    ] = Compression.LJPEG,
    linear: Annotated[
        bool, typer.Option("--linear", help="Demosaic the DNG, for programs that prefer it.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into subfolders too.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model name ('led models list') or file (.safetensors, .onnx).",
            show_default="the best for each photo",
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    backend: BackendOption = "auto",
    tile: TileOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Denoise photos that led wrote, too.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make all results anew, whatever is there.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Clean raws to 16-bit DNG, PNG or TIFF.

    Each photo goes to the newest model that you tuned to its camera and that covers the ratio and
    the ISO, else to the bundled one. The originals are never written to. Called again, it does
    only what is missing or changed. Ctrl-C finishes the photo at work; a second one stops at once.

    Examples
    --------
    A folder of raws shot a hundred times too dark::

        led denoise ./raw --ratio 100

    High-ISO photos at their own brightness, as DNG and PNG::

        led denoise IMG_1.CR2 IMG_2.NEF --format dng,png

    Every photo to the brightness of a long exposure::

        led denoise ./raw --exposure long.ARW

    A mixed folder, each photo as bright as it should have been, lamps not burnt out::

        led denoise ./raw --ratio auto --highlights keep
    """
    output = Output(json=json, quiet=quiet)
    gain, level = parse_brightness(ratio, exposure)
    settings = Settings(
        ratio=gain,
        exposure=level,
        strength=strength,
        highlights=highlights,
        compression=compression,
        linear=linear,
        again=again,
        quality=quality,
        steps=steps,
    )

    from ledcli.batch.inputs import find_raws
    from ledcli.batch.manifest import Manifests
    from ledcli.batch.names import plan_names
    from ledcli.batch.plan import split_results
    from ledcli.zoo.selection import BestModel, NamedModel

    chosen = [f.strip() for group in formats or [] for f in group.split(",")]
    named = None if model is None else NamedModel(model)
    chooser = named or BestModel()
    pictures = named.chosen.name if named and named.spec.makes_pictures else None
    chosen = choose_formats(chosen, settings, pictures)
    if pictures and not formats:
        output.info(f"{pictures} makes pictures straight from the raw: writing PNG")
    problems: list[UsageError] = []
    raws = find_raws(
        inputs, recursive=recursive, problem=problems.append, note=output.warn, out=out
    )
    manifests = Manifests()
    photos, named_results = split_results(raws, out, manifests)
    if again:
        photos, named_results = [*photos, *named_results], []
    jobs = plan_names(photos, chosen, out, name, sources=raws, manifests=manifests)
    failed: list[tuple[Path | None, LedError]] = [(None, problem) for problem in problems]
    failed += [(raw.file, RawError(DENOISED.format(raw.file))) for raw in named_results]
    for file, problem in failed:
        show_failed(output, file, problem)

    from ledcli.batch.plan import plan_photos
    from ledcli.batch.run import run
    from ledcli.inference.backends import choose_backend

    backend = choose_backend(backend, named.chosen.path if named else None)
    counts: Counter[str] = Counter(failed=len(failed))
    if dry_run:
        todos = plan_photos(jobs, settings, chooser, manifests, overwrite=overwrite)
        counts.update(show_plan(output, *each) for each in zip(jobs, todos, strict=True))
        _finish(output, counts, "planned")
        return
    said = None
    with (
        stoppable(lambda: output.info(STOPPING)) as stop,
        output.progress(len(jobs), "denoising", "photos") as bar,
    ):
        for result in run(
            jobs,
            settings,
            chooser,
            manifests=manifests,
            engine=Engine(device, precision, tile, backend),
            overwrite=overwrite,
            stop=stop,
            on_message=output.info,
        ):
            how = how_denoised(result)
            if how and how != said:
                output.info(how)
                said = how
            show_result(output, result)
            counts[result.status] += 1
            bar.advance(note=result.source.name)
        stopped = stop()
    left = len(jobs) + len(failed) - counts.total()
    if stopped and left:
        output.hint(f"{left} not begun: the same command goes on")
    _finish(output, counts, "done", stopped=stopped and left > 0)


def _finish(output: Output, counts: Counter[str], word: str, *, stopped: bool = False) -> None:
    """Sum up, and leave with the exit status that says so."""
    parts = [f"{counts[each]} {each}" for each in (word, "skipped", "failed")]
    output.info(", ".join(part for part in parts if part != "0 skipped"))
    if stopped:
        raise typer.Exit(INTERRUPTED)
    if counts["failed"]:
        raise typer.Exit(FAILED)
