"""What a preview shows and where it is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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

    def run(self) -> "Iterator[PreviewedPhoto]":
        """Yield each photo as soon as its crops are denoised."""
        decoders.start()  # while torch is imported
        from ledcli.inference.denoiser import DenoiserCache
        from ledcli.preview.run import Previewer

        @cache
        def chooser(model: str | None, fast: bool) -> Chooser:
            return NamedModel(model) if model is not None else BestModel(fast)

        for variant in self.variants:  # a wrong name is one error, before the first photo
            chooser(variant.model, variant.settings.quality == Quality.FAST)
        yield from Previewer(
            self.settings,
            self.variants,
            lambda each: chooser(each.model, each.settings.quality == Quality.FAST),
            DenoiserCache(*self.engine),
        ).run(self.photos)

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
    if it exists and is not to be replaced, or has no folder.
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
    photos, results = split_results(raws)
    for raw in results:
        error = RawError(f"{raw.file}: already denoised by led: name the camera's raw")
        rejected.append(Result(raw.file, error=error))
    files = [raw.file for raw in photos]
    if len(files) > count:
        report.info(f"{count} of {len(files)} photos, evenly spread; --photos shows more")
        files = [files[n * (len(files) - 1) // max(count - 1, 1)] for n in range(count)]
    named = {variant.model for variant in variants if variant.model is not None}
    if len(named) == 1:  # of several, each finds its own
        only = NamedModel(named.pop()).chosen.path
        engine = engine._replace(backend=choose_backend(engine.backend, only))
    return PreviewPlan(files, variants, settings, engine, out, overwrite, rejected)


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path}: exists: use --overwrite to replace it, or another --out")
