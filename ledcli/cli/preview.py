"""`led preview`: compare options on three crops of each photo before a long run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from ledcli.cli import options as opt
from ledcli.cli.app import FAILED
from ledcli.cli.console import Output, printable
from ledcli.errors import UsageError

if TYPE_CHECKING:
    from ledcli.batch.settings import Result
    from ledcli.preview.crops import PreviewedPhoto

SEVERAL = "Comma-separated: "


def preview(
    inputs: opt.RawsArgument,
    ratio: opt.RatioOption = None,
    exposure: opt.ExposureOption = None,
    strength: Annotated[
        str | None,
        Option(
            metavar="S,...",
            help=SEVERAL + "strengths to compare, 0 to 1.",
            show_default="0.5,0.75,1",
        ),
    ] = None,
    luma: Annotated[str | None, Option(metavar="S,...", help=opt.LUMA)] = None,
    chroma: Annotated[str | None, Option(metavar="S,...", help=opt.CHROMA)] = None,
    quality: Annotated[
        str | None,
        Option(
            metavar="Q,...",
            help=SEVERAL + "any of fast, standard, best.",
            show_default="fast,standard; standard with --model",
        ),
    ] = None,
    model: Annotated[
        str | None,
        Option(
            metavar="M,...",
            help=SEVERAL + "model names ('led models list') or files.",
            show_default="the best for each photo",
        ),
    ] = None,
    noise: opt.NoiseOption = "auto",
    dark: opt.DarkOption = None,
    steps: opt.StepsOption = None,
    photos: Annotated[
        int, Option(help="Photos to show of those found, evenly spread.", min=1, max=24)
    ] = 4,
    out: Annotated[
        Path,
        Option(
            "--out", "-o", metavar="FILE", help="Page (.html) or contact sheet (.png) to write."
        ),
    ] = Path("preview.html"),
    choose: Annotated[
        int | None,
        Option(
            metavar="N", help="Print the command of tile N for the same options; write nothing."
        ),
    ] = None,
    recursive: opt.RecursiveOption = False,
    engine: opt.EngineOptions = opt.AUTO,
    force_read: opt.ForceReadOption = False,
    overwrite: opt.OverwriteOption = False,
    dry_run: opt.DryRunOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Compare options on three crops of each photo before a long run.

    Chooses fine detail, a shadow and a highlight of each photo, and shows them noisy and denoised
    with every combination of strengths, qualities and models. Only the crops go through the
    network. Every tile has a number; its 'led denoise' command is printed, and on the page to copy.

    Examples
    --------
    A folder of photos a hundred times too dark, as a page with a slider::

        led preview ./raw --ratio 100

    The command of tile 5 alone, when you have chosen it::

        led preview ./raw --ratio 100 --choose 5

    Grain left in brightness, none in colour; two models as a picture::

        led preview IMG_1.CR2 --luma 0.5,0.7,0.9 --chroma 1
        led preview IMG_1.CR2 --model sony,my-camera --strength 1 --out compare.png
    """
    from ledcli.batch.darks import DarkFrames
    from ledcli.batch.settings import Quality, Settings, converted
    from ledcli.preview.variants import as_text, command_of, plan_variants

    factor, level = opt.parse_brightness(ratio, exposure)
    settings = Settings(
        factor,
        level,
        steps=steps,
        force_read=force_read,
        noise=opt.parse_noise(noise),
        dark=DarkFrames.find(dark or []),
    )
    variants = plan_variants(
        settings,
        strengths=opt.parse_numbers(strength, "--strength", shares=True),
        lumas=opt.parse_numbers(luma, "--luma", shares=True),
        chromas=opt.parse_numbers(chroma, "--chroma", shares=True),
        qualities=[converted(Quality, name, "--quality") for name in opt.parse_words(quality)],
        models=opt.parse_words(model),
    )
    shared = ["--ratio", ratio or "1"] if exposure is None else ["--exposure", exposure]
    given = {"noise": noise, "steps": steps} | engine._asdict()
    for option, value in given.items():
        shared += [] if value in ("auto", None) else [f"--{option}", str(value)]
    for frame in dark or []:
        shared += ["--dark", frame]
    shared += ["--recursive"] * recursive + ["--force-read"] * force_read
    texts, records = {}, []
    for variant in variants:
        words = command_of(variant, inputs, shared)
        text = texts[variant.number] = as_text(words)
        record = {"tile": variant.number, "label": variant.label, "command": text}
        records.append({**record, "arguments": words})
    if choose is not None:
        if choose not in texts:
            raise UsageError(f"--choose takes a tile's number, 1 to {len(variants)}, not {choose}")
        output.result(records[choose - 1], printable(texts[choose]))
        return

    from ledcli.preview.run import preview as make

    failed: list[Result] = []
    shown: set[str] = set()

    def show(previewed: "PreviewedPhoto") -> None:
        if previewed.result.error is not None:
            failed.append(previewed.result)
        _show(output, previewed, shown)

    found = make(
        inputs,
        out,
        variants,
        settings,
        commands=texts,
        engine=engine,
        recursive=recursive,
        count=photos,
        overwrite=overwrite,
        dry_run=dry_run,
        on_photo=show,
        report=output,
    )
    if not found:
        raise typer.Exit(FAILED)
    output.table(("TILE", "COMMAND"), list(texts.items()), records=records, right=("TILE",))
    status = "planned" if dry_run else "done"
    output.result({"output": out, "status": status, "photos": found}, printable(out))
    if failed:
        raise typer.Exit(FAILED)


def _show(output: Output, previewed: "PreviewedPhoto", shown: set[str]) -> None:
    """Print what became of one photo, a good one only as JSON; warnings are `shown` once."""
    result = previewed.result
    for warning in result.warnings:
        if warning not in shown:
            output.warn(warning)
            shown.add(warning)
    if result.error is not None:
        output.failed(result.source, result.error)
        return
    for number, why in previewed.failed.items():
        output.warn(f"tile {number}: {why}")
    if output.json:
        crops = [{"shows": t.crop.kind, "plane_pixels": t.crop.area} for t in previewed.tiles]
        seconds = {part: round(s, 4) for part, s in result.seconds.items()}
        record = {"file": result.source, "status": "done", "ratio": result.ratio, "crops": crops}
        output.result({**record, "not_shown": previewed.failed, "seconds": seconds})
