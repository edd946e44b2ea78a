"""`led denoise`: denoise raws."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ledcli.batch.settings import Compression, DenoiseOptions, Highlights, Quality, Settings, Status
from ledcli.cli import options as opt
from ledcli.cli.app import FAILED, INTERRUPTED, STOPPING, stoppable
from ledcli.cli.results import show_model, show_result
from ledcli.errors import UsageError


def denoise(
    inputs: opt.InputsArgument = None,
    ratio: opt.RatioOption = None,
    exposure: opt.ExposureOption = None,
    strength: opt.StrengthOption = 1.0,
    luma: opt.LumaOption = None,
    chroma: opt.ChromaOption = None,
    quality: opt.QualityOption = Quality.STANDARD,
    noise: opt.NoiseOption = "auto",
    dark: opt.DarkOption = None,
    steps: opt.StepsOption = None,
    highlights: Annotated[
        Highlights,
        Option(help="Highlights pushed above white: clip them, or keep them in the DNG."),
    ] = Highlights.CLIP,
    out: opt.OutFolderOption = None,
    name: opt.NameOption = "{stem}{ext}",
    formats: opt.FormatOption = None,
    compression: Annotated[
        Compression, Option(help="Compression of the DNG: lossless JPEG, or none.")
    ] = Compression.LJPEG,
    linear: Annotated[
        bool,
        Option("--linear/--no-linear", help="Write a demosaiced DNG.", show_default=False),
    ] = False,
    recursive: opt.RecursiveOption = False,
    files_from: Annotated[
        str | None,
        Option(
            "--files-from",
            metavar="LIST|-",
            help="Read more inputs from a file, or '-' for standard input: one a line, or "
            "separated by NUL.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        Option(
            "--shard",
            metavar="I/N|auto",
            help="Do part I of N (from 0) of the photos, or that of this task of a SLURM or AWS "
            "Batch array.",
        ),
    ] = None,
    ray: opt.RayOption = None,
    watch: Annotated[bool, Option("--watch", help="Keep running, and denoise new files.")] = False,
    model: opt.ModelOption = None,
    engine: opt.EngineOptions = opt.AUTO,
    again: opt.AgainOption = False,
    force_read: opt.ForceReadOption = False,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Make all results again; replace existing files.")
    ] = False,
    dry_run: opt.DryRunOption = False,
    output: opt.OutputOptions = opt.PLAIN,
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

    Each photo as bright as its histogram asks for::

        led denoise ./raw --ratio auto --highlights keep

    Black, shading and hot pixels corrected with dark frames (lens cap on)::

        led denoise ./raw --ratio 300 --dark ./lens-cap

    Watch a folder until Ctrl-C::

        led denoise ./incoming --watch

    Part of a long run, on the first of four machines::

        led denoise /nas/raw -r --out /nas/clean --shard 0/4
    """
    from ledcli.api import denoise_each
    from ledcli.raw.inputs import read_list

    raws = [*(inputs or []), *(read_list(files_from) if files_from else [])]
    if not raws:
        raise UsageError("name raw files or folders, or a list of them by --files-from")
    factor, level = opt.parse_brightness(ratio, exposure)
    settings = Settings(
        ratio=factor,
        exposure=level,
        strength=strength,
        luma=luma,
        chroma=chroma,
        noise=opt.parse_noise(noise),
        highlights=highlights,
        compression=compression,
        linear=linear,
        again=again,
        quality=quality,
        steps=steps,
        force_read=force_read,
    )
    options = DenoiseOptions(
        raws,
        out,
        settings,
        formats=[f.strip() for group in formats or [] for f in group.split(",")],
        model=model,
        name=name,
        recursive=recursive,
        shard=shard,
        engine=engine,
        overwrite=overwrite,
        dry_run=dry_run,
        watch=watch,
        ray=ray,
        dark=dark or [],
    )
    # By photo: in a watch one that failed is tried again when its file changes.
    became: dict[Path | int, Status] = {}
    model_shown = None
    on_stop = partial(stoppable, lambda: output.info(STOPPING.format("photo")))
    for result in denoise_each(options, stoppable=on_stop, report=output):
        model_shown = show_model(output, result, model_shown)
        show_result(output, result, dry_run=dry_run)
        became[result.source or len(became)] = result.status
    counts = Counter(became.values())
    if left := counts[Status.NOT_STARTED]:
        output.hint(f"{left} not started; run the same command again to continue")
    done = Status.PLANNED if dry_run else Status.DONE
    parts = [f"{counts[each]} {each}" for each in (done, Status.SKIPPED, Status.FAILED)]
    output.info(", ".join(part for part in parts if part != "0 skipped"))
    if left or counts[Status.FAILED]:
        raise typer.Exit(INTERRUPTED if left else FAILED)
