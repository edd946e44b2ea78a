"""`led denoise`: denoise raws."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.batch.settings import Compression, Engine, Highlights, Quality, Settings
from ledcli.cli.app import FAILED, INTERRUPTED
from ledcli.cli.console import Output
from ledcli.cli.options import (
    DeviceOption,
    DryRunOption,
    JsonOption,
    PrecisionOption,
    QuietOption,
    RawsArgument,
    RecursiveOption,
    TileOption,
    parse_brightness,
)
from ledcli.cli.terminal import STOPPING, printable, stoppable
from ledcli.output.formats import FORMATS

if TYPE_CHECKING:
    from ledcli.batch.plan import PlannedPhoto
    from ledcli.batch.settings import Job, Result


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

    Every photo as bright as a long exposure::

        led denoise ./raw --exposure long.ARW

    A mixed folder, each photo by its own histogram, with unclipped highlights::

        led denoise ./raw --ratio auto --highlights keep
    """
    from ledcli.batch.run import plan_denoise

    output = Output(json=json, quiet=quiet)
    factor, level = parse_brightness(ratio, exposure)
    settings = Settings(
        factor, level, strength, highlights, compression, linear, again, quality, steps
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
        _show_result(output, rejected)
    if dry_run:
        preview = planned.preview(overwrite=overwrite)
        counts.update(_show_plan(output, *each) for each in preview)
        _finish(output, counts, "planned")
        return
    shown = None
    with (
        stoppable(lambda: output.info(STOPPING.format("photo"))) as stop,
        output.progress(len(planned.jobs), "denoising", "photos") as bar,
    ):
        for result in planned.run(overwrite=overwrite, stop=stop, report=output):
            shown = _show_model(output, result, shown)
            _show_result(output, result)
            counts[result.status] += 1
            bar.advance(note=str(result.source))
        stopped = stop()
    left = len(planned.jobs) + len(planned.rejected) - counts.total()
    if stopped and left:
        output.hint(f"{left} not started; run the same command again to continue")
    _finish(output, counts, "done", stopped=stopped and left > 0)


def _finish(output: Output, counts: Counter[str], word: str, *, stopped: bool = False) -> None:
    """Print the totals and exit with the matching status."""
    parts = [f"{counts[each]} {each}" for each in (word, "skipped", "failed")]
    output.info(", ".join(part for part in parts if part != "0 skipped"))
    if stopped:
        raise typer.Exit(INTERRUPTED)
    if counts["failed"]:
        raise typer.Exit(FAILED)


def _show_model(output: Output, result: "Result", shown: str | None) -> str | None:
    """Print which model denoised a photo, unless `shown` already says so; return what is shown."""
    model = result.model
    if model is None or result.noise_from is None:
        return shown
    noise = {
        "profile": "noise profile of the camera",
        "blind": "noise estimated from the photo",
        "unused": "straight to sRGB",
    }[result.noise_from]
    text = f"model {model.name} ({model.reason}), {noise}"
    text = f"{text}; {result.tile_note}" if result.tile_note else text
    if text != shown:
        output.info(text)
    return text


def _show_result(output: Output, result: "Result") -> None:
    """Print what became of one photo."""
    for warning in result.warnings:
        output.warn(warning)
    record: dict[str, object] = {"file": result.source, "status": result.status}
    if result.error is not None:
        _show_failed(output, result.source, result.error, result.outputs)
        return
    if result.why:
        if output.json:
            output.result({**record, "why": result.why, "outputs": result.outputs})
        return
    model, noise = result.model, result.noise
    record |= {
        "outputs": result.outputs,
        "ratio": result.ratio,
        "headroom": result.headroom,
        **(model.record() if model else {}),
        "noise": result.noise_from,
        "gain": noise.gain if noise else None,
        "read_variance": noise.read_variance if noise else None,
        "seconds": {part: round(s, 4) for part, s in result.seconds.items()},
    }
    brightness = []
    if result.ratio is not None and result.ratio != 1:
        brightness.append(f"x {result.ratio:g}")
    if result.headroom > 1:
        stops = math.log2(result.headroom)
        brightness.append(f"highlights kept: {stops:.1f} stops above white")
    text = f" ({', '.join(brightness)})" if brightness else ""
    output.result(record, _line(result.source, result.outputs) + text)


def _show_plan(output: Output, job: "Job", planned: "PlannedPhoto") -> str:
    """Print what would become of a photo, and return its status."""
    if planned.error is not None:
        _show_failed(output, job.source, planned.error, planned.kept)
        return "failed"
    outputs = [job.outputs[name] for name in planned.make]
    status = "planned" if outputs else "skipped"
    record = {"file": job.source, "status": status, "why": planned.why}
    text = _line(job.source, outputs) if outputs else f"{printable(job.source)}: {planned.why}"
    output.result({**record, "outputs": outputs or planned.kept}, text)
    return status


def _show_failed(
    output: Output, source: Path | None, error: Exception, written: Sequence[Path]
) -> None:
    """Print why a photo failed, and which of its outputs exist nevertheless."""
    output.error(error)
    if output.json:
        record = {"file": source, "status": "failed", "error": str(error), "outputs": written}
        output.result(record)
    elif written:
        output.info(f"{source}: written nevertheless: {', '.join(map(str, written))}")


def _line(source: Path | None, outputs: Sequence[Path]) -> str:
    return f"{printable(source)} -> {', '.join(map(printable, outputs))}"
