"""What a preview shows and where it is written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ledcli.batch.inputs import find_raws
from ledcli.batch.plan import split_results
from ledcli.batch.settings import Engine, Quality, Result, Settings
from ledcli.errors import OutputError, RawError, UsageError
from ledcli.inference.backends import choose_backend
from ledcli.output.atomic import atomic_write
from ledcli.preview.variants import Variant
from ledcli.raw.decoder import decoders
from ledcli.reporting import Reporter
from ledcli.zoo.selection import BestModel, Chooser, NamedModel

if TYPE_CHECKING:
    from ledcli.preview.run import PreviewedPhoto

SUFFIXES = (".html", ".png")


@dataclass
class PreviewPlan:
    """A planned preview: `run` makes the pictures, `write` the file."""

    photos: list[Path]
    variants: Sequence[Variant]
    settings: Settings
    engine: Engine
    out: Path
    overwrite: bool
    rejected: list[Result]
    """Inputs that cannot be shown, with the reason."""
    chooser: Callable[[Variant], Chooser]

    def run(self) -> "Iterator[PreviewedPhoto]":
        """Yield each photo as soon as its crops are denoised."""
        decoders.start()  # while torch is imported
        from ledcli.inference.denoiser import DenoiserCache
        from ledcli.preview.run import Previewer

        denoisers, settings = DenoiserCache(*self.engine), self.settings
        if dark := settings.dark:
            settings = replace(settings, dark=dark.measured(force=settings.force_read))
        yield from Previewer(settings, self.variants, self.chooser, denoisers).run(self.photos)

    def write(self, previewed: "Sequence[PreviewedPhoto]", commands: Mapping[int, str]) -> None:
        """Write the page or the sheet, completely or not at all; raises OutputError.

        `commands` are those of the variants, by number.
        """
        if self.out.suffix.lower() == ".png":
            from ledcli.preview.sheet import sheet_png

            data = sheet_png(previewed, self.variants)
        else:
            from ledcli.preview.page import page_html

            data = page_html(previewed, self.variants, commands)
        try:
            atomic_write(self.out, data, overwrite=self.overwrite)
        except FileExistsError:
            raise _exists(self.out) from None


def plan_preview(
    inputs: Sequence[str],
    out: Path,
    variants: Sequence[Variant],
    settings: Settings,
    *,
    engine: Engine,
    recursive: bool,
    count: int,
    overwrite: bool,
    report: Reporter,
) -> PreviewPlan:
    """Find the photos and check the output; `count` photos at most, evenly spread.

    Raises UsageError if no raw is found or the output is neither a page nor a picture, OutputError
    if it exists and is not to be replaced, or has no folder, ModelError if there is no such model.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out takes a name that ends in {' or '.join(SUFFIXES)}, not {out}")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: its folder does not exist: make it first")
    if out.exists() and not overwrite:
        raise _exists(out)
    rejected: list[Result] = []
    raws = find_raws(
        inputs,
        recursive=recursive,
        problem=lambda error: rejected.append(Result(None, error=error)),
        note=report.warn,
    )
    if any(out.exists() and out.samefile(raw.file) for raw in raws):
        raise UsageError(f"{out}: is one of the photos: choose another --out")
    if settings.dark:
        force, more = settings.force_read, bool(rejected)
        raws = settings.dark.without(raws, report, force=force, more=more)
    photos, results = split_results(raws)
    for raw in results:
        error = RawError(f"{raw.file}: already denoised by led: name the camera's raw")
        rejected.append(Result(raw.file, error=error))
    files = [raw.file for raw in photos]
    if len(files) > count:
        report.info(f"{count} of {len(files)} photos, evenly spread; --photos shows more")
        files = [files[n * (len(files) - 1) // max(count - 1, 1)] for n in range(count)]

    @cache
    def chooser(model: str | None, fast: bool) -> Chooser:
        return NamedModel(model) if model is not None else BestModel(fast)

    def chooser_of(variant: Variant) -> Chooser:
        return chooser(variant.model, variant.settings.quality == Quality.FAST)

    choosers = [chooser_of(variant) for variant in variants]  # a wrong name is one error
    for each in choosers:
        each.check_steps(settings.steps)
    named = {each.chosen.path for each in choosers if isinstance(each, NamedModel)}
    backend = choose_backend(engine.backend, named.pop() if len(named) == 1 else None)
    if not named:  # of several models, each finds its own
        engine = engine._replace(backend=backend)
    return PreviewPlan(files, variants, settings, engine, out, overwrite, rejected, chooser_of)


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path}: exists: use --overwrite to replace it, or another --out")
