"""`led denoise`: denoise raws."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ledcli.batch.settings import MAX_RATIO, Compression, Engine, Highlights, Quality, Settings
from ledcli.cli.app import FAILED, INTERRUPTED, STOPPING, stoppable
from ledcli.cli.console import Output
from ledcli.cli.options import (
    DeviceOption,
    DryRunOption,
    ForceReadOption,
    JsonOption,
    PrecisionOption,
    QuietOption,
    RawsArgument,
    RecursiveOption,
    TileOption,
)
from ledcli.cli.results import show_model, show_plan, show_result
from ledcli.errors import UsageError
from ledcli.output.formats import FORMATS


def denoise(
    inputs: RawsArgument,
    ratio: Annotated[
        str | None,
        typer.Option(
            metavar="FACTOR|auto",
            help="Digital gain: brighten by this factor, or as each photo's histogram asks for.",
            show_default="1, brightness unchanged",
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
        float, typer.Option(help="0 leaves the noise, 1 removes all of it.", min=0, max=1)
    ] = 1.0,
    quality: Annotated[
        Quality,
        typer.Option(help="best averages four mirrored passes (self-ensemble): 4 times slower."),
    ] = Quality.STANDARD,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Refinement steps (exposure-diffusion models only).",
            show_default="2 from ratio 200, else 1",
            min=1,
            max=20,
        ),
    ] = None,
    highlights: Annotated[
        Highlights,
        typer.Option(help="Highlights pushed above white: clip them, or keep them in the DNG."),
    ] = Highlights.CLIP,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Output folder.", show_default="'denoised' beside it"),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            help="Output names from the photo's {stem}, {ext}, {name}, {suffix}, {folder}.",
        ),
    ] = "{stem}{ext}",
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help=f"Any of {', '.join(FORMATS)}, comma-separated.",
            show_default="dng; png for models that make pictures",
        ),
    ] = None,
    compression: Annotated[
        Compression, typer.Option(help="Compression of the DNG: lossless JPEG, or none.")
    ] = Compression.LJPEG,
    linear: Annotated[
        bool, typer.Option("--linear", help="Write a demosaiced DNG, for programs that prefer it.")
    ] = False,
    recursive: RecursiveOption = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model name ('led models list') or file (.safetensors, .onnx).",
            show_default="the best for each photo",
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    backend: Annotated[
        str,
        typer.Option(
            help="Engine for the network: auto, torch, or onnx (CPU, float32; needs ledcli[onnx])."
        ),
    ] = "auto",
    tile: TileOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Denoise photos that led already denoised.")
    ] = False,
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

    Every photo as bright as a long exposure, or as its own histogram asks for::

        led denoise ./raw --exposure long.ARW
        led denoise ./raw --ratio auto --highlights keep
    """
    from ledcli.batch.run import plan_denoise

    output = Output(json=json, quiet=quiet)
    factor, level = _parse_brightness(ratio, exposure)
    settings = Settings(
        factor, level, strength, highlights, compression, linear, again, quality, steps, force_read
    )
    planned = plan_denoise(
        inputs,
        out,
        settings=settings,
        formats=[f.strip() for group in formats or [] for f in group.split(",")],
        model=model,
        name=name,
        recursive=recursive,
        engine=Engine(device, precision, tile, backend),
        report=output,
    )
    counts: Counter[str] = Counter(failed=len(planned.rejected))
    for rejected in planned.rejected:
        show_result(output, rejected)
    if dry_run:
        preview = planned.preview(overwrite=overwrite)
        counts.update(show_plan(output, *each) for each in preview)
        _finish(output, counts, "planned")
        return
    shown = None
    with (
        stoppable(lambda: output.info(STOPPING.format("photo"))) as stop,
        output.progress(len(planned.jobs), "denoising", "photos") as bar,
    ):
        for result in planned.run(overwrite=overwrite, stop=stop, report=output):
            shown = show_model(output, result, shown)
            show_result(output, result)
            counts[result.status] += 1
            bar.advance(note=str(result.source))
        stopped = stop()
    left = len(planned.jobs) + len(planned.rejected) - counts.total()
    if stopped and left:
        output.hint(f"{left} not started; run the same command again to continue")
    _finish(output, counts, "done", stopped=stopped and left > 0)


def _finish(output: Output, counts: Counter[str], word: str, *, stopped: bool = False) -> None:
    parts = [f"{counts[each]} {each}" for each in (word, "skipped", "failed")]
    output.info(", ".join(part for part in parts if part != "0 skipped"))
    if stopped:
        raise typer.Exit(INTERRUPTED)
    if counts["failed"]:
        raise typer.Exit(FAILED)


def _parse_brightness(ratio: str | None, exposure: str | None) -> tuple[float | None, float | None]:
    """Read ``--ratio`` and ``--exposure``, as in `batch.settings.Settings`.

    Raises UsageError if both are given or a value is out of range, and MetadataError if the raw
    file given for ``--exposure`` has no exposure level. A ratio of None means ``auto``.
    """
    if ratio is not None and exposure is not None:
        raise UsageError("--ratio and --exposure exclude each other: use one of them")
    if exposure is not None:
        return 1.0, _exposure_level(exposure)
    if ratio == "auto":
        return None, None
    try:
        factor = 1.0 if ratio is None else float(ratio)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= MAX_RATIO:
        raise UsageError(f"--ratio takes a factor from 1 to {MAX_RATIO:g}, or auto, not {ratio}")
    return factor, None


def _exposure_level(text: str) -> float:
    from ledcli.raw.exif import read_exif, require_exposure_level

    try:
        level = float(text)
    except ValueError:
        path = Path(text)
        if not path.is_file():
            raise UsageError(
                f"--exposure takes a number (ISO x seconds) or a raw file; '{text}' is neither"
            ) from None
        return require_exposure_level(path, read_exif(path))
    if not 0 < level < float("inf"):
        raise UsageError(f"--exposure takes a level above 0 (ISO x seconds), not {text}")
    return level
