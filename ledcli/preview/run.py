"""Making a preview: which photos, by which models, and the file that shows them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ledcli.batch.plan import DENOISED, split_results
from ledcli.batch.settings import Engine, Quality, Result, Settings
from ledcli.errors import NoRawsError, RawError, UsageError
from ledcli.inference.backends import choose_backend
from ledcli.output.atomic import REPLACE, atomic_write, check_new
from ledcli.preview.variants import Variant
from ledcli.raw.decoder import decoders
from ledcli.raw.inputs import find_raws
from ledcli.reporting import Reporter
from ledcli.zoo.selection import NamedModel, chooser_of

if TYPE_CHECKING:
    from ledcli.preview.crops import PreviewedPhoto

SUFFIXES = (".html", ".png")


def preview(
    inputs: Sequence[str],
    out: Path,
    variants: Sequence[Variant],
    settings: Settings,
    *,
    commands: Mapping[int, str],
    engine: Engine,
    recursive: bool,
    count: int,
    overwrite: bool,
    dry_run: bool,
    on_photo: Callable[["PreviewedPhoto"], None],
    report: Reporter,
) -> list[Path]:
    """Write a page or a contact sheet of photos, and return these: at most `count`, evenly spread.

    Those that cannot be read do not count. `commands` are those of the variants, by number.
    `on_photo` gets each photo as soon as its crops are denoised, and first the inputs that cannot
    be shown. If all fail, nothing is written and nothing returned.

    Raises UsageError if no raw is found or the output is neither a page nor a picture, OutputError
    if it cannot be written or is not to be replaced, ModelError if there is no such model.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out takes a name that ends in {' or '.join(SUFFIXES)}, not {out}")
    check_new(out, REPLACE, overwrite=overwrite)
    rejected: list[Result] = []
    raws = find_raws(
        inputs,
        recursive=recursive,
        problem=lambda error: rejected.append(Result(None, error=error)),
        note=report.warn,
    )
    if any(os.path.exists(out) and out.samefile(raw.file) for raw in raws):
        raise UsageError(f"{out}: is one of the photos: choose another --out")
    if settings.dark:
        force, more = settings.force_read, bool(rejected)
        raws = settings.dark.without(raws, report, force=force, more=more)
    photos, results = split_results(raws)
    for file in [raw.file for raw in results if raw.named]:
        error = RawError(f"{file}: {DENOISED}: name the camera's raw")
        rejected.append(Result(file, error=error))
    if not (photos or rejected):
        raise NoRawsError("nothing to preview: led wrote every file found; name the camera's raws")
    files = [raw.file for raw in photos]
    if len(files) > count:
        report.info(f"{count} of {len(files)} photos, evenly spread; --photos shows more")

    once = cache(chooser_of)
    # A wrong name is one error.
    choosers = [once(v.model, v.settings.quality == Quality.FAST) for v in variants]
    for each in choosers:
        each.check_steps(settings.steps)
    named = {each.chosen.path for each in choosers if isinstance(each, NamedModel)}
    backend = choose_backend(engine.backend, named.pop() if len(named) == 1 else None)
    if not named:  # of several models, each finds its own
        engine = engine._replace(backend=backend)
    from ledcli.preview.crops import PreviewedPhoto

    for result in rejected:
        on_photo(PreviewedPhoto(result))
    if dry_run:
        engine.check()
        return _spread(files, count)
    decoders.start()  # while torch is imported
    from ledcli.inference.denoiser import DenoiserCache
    from ledcli.preview.pages import page_html, sheet_png
    from ledcli.preview.tiles import Previewer

    denoisers = DenoiserCache(*engine)
    if dark := settings.dark:
        settings = replace(settings, dark=dark.measured(force=settings.force_read))
    previewer = Previewer(settings, variants, choosers, denoisers)
    done: dict[Path, PreviewedPhoto] = {}
    with report.progress(min(count, len(files)), "previewing", "photos") as bar:
        # Others take the place of those that cannot be read.
        while chosen := _spread([file for file in files if file not in done], count):
            for file, photo in zip(chosen, previewer.run(chosen), strict=True):
                on_photo(photo)
                done[file] = photo
                if not isinstance(photo.result.error, RawError):
                    count -= 1
                    bar.advance(note=str(file))
    files = [file for file in files if file in done]
    previewed = [done[file] for file in files]
    if not any(photo.tiles for photo in previewed):
        return []
    sheet = out.suffix.lower() == ".png"
    data = sheet_png(previewed, variants) if sheet else page_html(previewed, variants, commands)
    atomic_write(out, data, overwrite=overwrite)
    return files


def _spread(files: Sequence[Path], count: int) -> list[Path]:
    """Return at most `count` of the files, evenly spread."""
    count = min(count, len(files))
    return [files[n * (len(files) - 1) // max(count - 1, 1)] for n in range(count)]
