"""`led denoise`: clean raws."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.app import FAILED
from ledcli.cli.console import Output, printable
from ledcli.cli.options import DryRunOption, JsonOption, QuietOption
from ledcli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from ledcli.inference.choice import Chooser
    from ledcli.inference.folder import Job, Result


def denoise(
    inputs: Annotated[
        list[str], typer.Argument(metavar="RAW...", help="Raw files, folders or patterns.")
    ],
    ratio: Annotated[
        float | None,
        typer.Option(help="Brighten by this factor; without it the photo keeps its brightness."),
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
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder.", show_default="'denoised' beside the input"),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="dng, png or tiff; several: --format dng,png", show_default="dng"
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into subfolders too.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model name ('led models list') or file.", show_default="the best for each photo"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps or xpu.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, bf16 or float32.")] = "auto",
    tile: Annotated[
        int | None, typer.Option(help="Side of a tile in pixels of one colour; 0: whole frame.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that are there already.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Clean raws to 16-bit DNG, PNG or TIFF.

    Each photo goes to the newest model that you tuned to its camera and that covers the ratio and
    the ISO, else to the bundled one. The originals are never written to.

    Examples
    --------
    A folder of raws shot a hundred times too dark::

        led denoise ./raw --ratio 100

    High-ISO photos at their own brightness, as DNG and PNG::

        led denoise IMG_1.CR2 IMG_2.NEF --format dng,png

    Every photo to the brightness of a long exposure::

        led denoise ./raw --exposure long.ARW
    """
    output = Output(json=json, quiet=quiet)
    if ratio is not None and exposure is not None:
        raise UsageError("--ratio and --exposure both say how much to brighten: give one of them")

    from ledcli.inference.folder import LARGEST_RATIO, Settings, existing, plan  # NumPy, torch
    from ledcli.photo.inputs import find_raws

    if ratio is not None and not 1 <= ratio <= LARGEST_RATIO:
        raise UsageError(f"--ratio is a factor from 1 to {LARGEST_RATIO:g}, not {ratio:g}")
    level = _exposure_level(exposure) if exposure is not None else None
    settings = Settings(ratio=1.0 if ratio is None else ratio, exposure=level, strength=strength)
    chosen = [f.strip() for group in formats or ["dng"] for f in group.split(",")]
    problems: list[UsageError] = []
    raws = find_raws(inputs, recursive=recursive, problem=problems.append)
    jobs = plan(raws, chosen, out)
    for problem in problems:
        output.error(problem)
    there = existing(jobs)
    if there and not overwrite:
        raise OutputError(
            f"{there[0]}{f' and {len(there) - 1} more' if len(there) > 1 else ''}: already there. "
            "--overwrite replaces, --out chooses another folder"
        )
    if dry_run:
        for job in jobs:
            output.result(_planned(job), _line(job.source, job.outputs.values()))
        return

    from ledcli.inference.folder import run

    models, where = _models(model, device, precision, tile)
    output.info(f"{len(jobs)} photo{'s' if len(jobs) > 1 else ''}, {where}")
    failed = len(problems)
    said = None
    with output.progress(len(jobs), "denoising", "photos") as bar:
        for result in run(models, jobs, settings):
            how = _how(result)
            if how and how != said:
                output.info(how)
                said = how
            failed += _show(output, result)
            bar.advance(note=result.source.name)
    output.info(f"{len(jobs) + len(problems) - failed} done, {failed} failed")
    if failed:
        raise typer.Exit(FAILED)


def _exposure_level(text: str) -> float:
    """Take a number as the level itself, anything else as a long exposure's file."""
    from ledcli.photo.exif import read_exif, require_exposure_level

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


def _models(
    name: str | None, device: str, precision: str, tile: int | None
) -> tuple["Chooser", str]:
    """Return what chooses the model of each photo, and where they run, in words."""
    from ledcli.inference.choice import Named, PerPhoto
    from ledcli.inference.engine import Denoiser
    from ledcli.inference.tiles import TILE
    from ledcli.zoo.bundled import find_bundled
    from ledcli.zoo.shelf import find_model, listed_name

    side = TILE if tile is None else tile
    if name is None:
        find_bundled()  # if it is missing, that is one error and not one a photo
        models = PerPhoto(device=device, precision=precision, tile=side)
        return models, f"{models.device}, {models.precision}"
    found = find_model(name)
    denoiser = Denoiser(*found, device=device, precision=precision, tile=side)
    named = Named(denoiser, listed_name(found), found.path.name)
    return named, f"{denoiser.device}, {denoiser.precision}"


def _how(result: "Result") -> str | None:
    """Say what denoised a photo; None where it came to nothing before."""
    choice = result.choice
    if choice is None or result.noise_from is None:
        return None
    noise = {"lines": "the camera's own noise", "blind": "noise estimated from the photo"}
    return f"model {choice.model} ({choice.reason}), {noise[result.noise_from]}"


def _show(output: Output, result: "Result") -> bool:
    """Report one photo; return whether it failed."""
    for warning in result.warnings:
        output.warn(warning)
    if result.error is not None:
        output.error(result.error)
        if output.json:
            output.result({"file": result.source, "status": "failed", "error": str(result.error)})
        return True
    choice, noise = result.choice, result.noise
    output.result(
        {
            "file": result.source,
            "status": "done",
            "outputs": result.outputs,
            "ratio": result.ratio,
            **(choice.record() if choice else {}),
            "noise": result.noise_from,
            "gain": noise.gain if noise else None,
            "read_variance": noise.variance if noise else None,
            "seconds": {part: round(s, 4) for part, s in result.seconds.items()},
        },
        _line(result.source, result.outputs),
    )
    return False


def _planned(job: "Job") -> dict[str, object]:
    return {"file": job.source, "status": "planned", "outputs": list(job.outputs.values())}


def _line(source: Path, outputs: Iterable[Path]) -> str:
    return f"{printable(source)} -> {', '.join(printable(path) for path in outputs)}"
