"""A preview of photos in variants: qualities or models, with strengths; and the command of each."""

import itertools
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ledcli.batch.plan import split_results
from ledcli.batch.settings import Engine, Quality, Result, Settings
from ledcli.errors import RawError, UsageError
from ledcli.inference.backends import choose_backend
from ledcli.output.atomic import REPLACE, atomic_write, check_new
from ledcli.raw.decoder import decoders
from ledcli.raw.inputs import find_raws
from ledcli.reporting import Reporter
from ledcli.zoo.selection import FAST_CHOOSES, Chooser, NamedModel, chooser_of

if TYPE_CHECKING:
    from ledcli.preview.crops import PreviewedPhoto

SUFFIXES = (".html", ".png")
MAX_VARIANTS = 24
"""More are no longer compared, and make too large a page."""
DEFAULT_STRENGTHS = (0.5, 0.75, 1.0)
DEFAULT_QUALITIES = (Quality.FAST, Quality.STANDARD)

Strengths = Sequence[float] | None


@dataclass(frozen=True)
class Variant:
    """One way to denoise all photos."""

    number: int
    """From 1; on the tiles."""
    settings: Settings
    model: str | None
    """As the user named it; None is the best for each photo."""

    @property
    def network(self) -> str:
        """Which network, in a word or two."""
        quality = self.settings.quality
        named = [os.path.basename(self.model)] if self.model is not None else []
        if self.model is None or quality != Quality.STANDARD:
            named.append(quality)
        return " ".join(named)

    @property
    def strength(self) -> str:
        """How much is removed, in a few words."""
        luma, chroma = self.settings.grain
        return f"strength {luma:g}" if luma == chroma else f"luma {luma:g}, chroma {chroma:g}"

    @property
    def label(self) -> str:
        """Both."""
        return f"{self.network}, {self.strength}"

    @property
    def options(self) -> list[str]:
        """Its options of `led denoise`, written out, as a file may set other defaults."""
        luma, chroma = self.settings.grain
        options = ["--quality", str(self.settings.quality)]
        if self.model is not None:
            options += ["--model", self.model]
        if luma == chroma:
            return [*options, "--strength", f"{luma:g}"]
        return [*options, "--luma", f"{luma:g}", "--chroma", f"{chroma:g}"]


def plan_variants(
    settings: Settings,
    *,
    strengths: Strengths = None,
    lumas: Strengths = None,
    chromas: Strengths = None,
    qualities: Sequence[Quality] = (),
    models: Sequence[str] = (),
) -> list[Variant]:
    """Combine every network with every strength; `settings` are what they share.

    Raises UsageError if there are too many, or a model is named with the quality ``fast``.
    """
    if models and Quality.FAST in qualities:
        raise UsageError(FAST_CHOOSES.format("--model"))
    qualities = qualities or ((Quality.STANDARD,) if models else DEFAULT_QUALITIES)
    if strengths is None:
        # With luma and chroma given, the strength has no effect.
        strengths = (1.0,) if lumas and chromas else DEFAULT_STRENGTHS
    grains = {
        replace(settings, strength=each, luma=luma, chroma=chroma).grain: None
        for each, luma, chroma in itertools.product(strengths, lumas or (None,), chromas or (None,))
    }
    networks = dict.fromkeys(itertools.product(models or (None,), qualities))
    if len(networks) * len(grains) > MAX_VARIANTS:
        raise UsageError(
            f"{len(networks) * len(grains)} variants: name fewer strengths, qualities or models, "
            f"{MAX_VARIANTS} together at most"
        )
    numbers = itertools.count(1)
    return [
        Variant(next(numbers), replace(settings, quality=quality, luma=luma, chroma=chroma), model)
        for (model, quality), (luma, chroma) in itertools.product(networks, grains)
    ]


def command_of(variant: Variant, inputs: Sequence[str], shared: Sequence[str]) -> list[str]:
    """Return the words of the `led denoise` that makes a variant of all inputs.

    `shared` are the options that all variants have. A name that looks like an option gets its
    folder.
    """
    names = [os.path.join(".", name) if name.startswith("-") else name for name in inputs]
    return ["led", "denoise", *names, *shared, *variant.options]


def as_text(words: Sequence[str]) -> str:
    """Quote a command for the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


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

    `commands` are those of the variants, by number. `on_photo` gets each photo as soon as its crops
    are denoised, and first the inputs that cannot be shown. If all fail, nothing is written and
    nothing returned.

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

    once = cache(chooser_of)

    def chooser(variant: Variant) -> Chooser:
        return once(variant.model, variant.settings.quality == Quality.FAST)

    choosers = list(map(chooser, variants))  # a wrong name is one error
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
        return files
    decoders.start()  # while torch is imported
    from ledcli.inference.denoiser import DenoiserCache
    from ledcli.preview.pages import page_html, sheet_png
    from ledcli.preview.tiles import Previewer

    denoisers = DenoiserCache(*engine)
    if dark := settings.dark:
        settings = replace(settings, dark=dark.measured(force=settings.force_read))
    previewed = []
    with report.progress(len(files), "previewing", "photos") as bar:
        for photo in Previewer(settings, variants, chooser, denoisers).run(files):
            on_photo(photo)
            previewed.append(photo)
            bar.advance(note=str(photo.result.source))
    if not any(photo.tiles for photo in previewed):
        return []
    sheet = out.suffix.lower() == ".png"
    data = sheet_png(previewed, variants) if sheet else page_html(previewed, variants, commands)
    atomic_write(out, data, overwrite=overwrite)
    return files
