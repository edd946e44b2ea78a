"""The public Python API. The command line parses its options, calls these functions, and prints.

The functions take paths and plain values, never print, and raise `LedError` with a message of one
line. Long ones take a `Reporter` for messages and progress. Examples are in docs/python-api.md.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledcli.batch.settings import DenoiseOptions, Engine, Quality, Result, Settings, converted
from ledcli.errors import UsageError
from ledcli.reporting import SILENT, Reporter, Stop, Stoppable, never_stop

if TYPE_CHECKING:
    from ledcli.evaluation.results import Evaluation
    from ledcli.inference.denoiser import Denoiser
    from ledcli.pairs.result import Scan
    from ledcli.training.finetune import FinetuneResult
    from ledcli.training.settings import FinetuneSettings

PathLike = str | Path


def denoise(
    paths: PathLike | Sequence[PathLike],
    out: PathLike | None = None,
    *,
    ratio: float | None = 1.0,
    exposure: float | None = None,
    strength: float = 1.0,
    luma: float | None = None,
    chroma: float | None = None,
    noise: tuple[float, float] | None = None,
    dark: PathLike | Sequence[PathLike] = (),
    quality: str = "standard",
    steps: int | None = None,
    highlights: str = "clip",
    formats: Sequence[str] = (),
    compression: str = "ljpeg",
    linear: bool = False,
    model: PathLike | None = None,
    name: str = "{stem}{ext}",
    recursive: bool = False,
    shard: str | None = None,
    again: bool = False,
    force_read: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    precision: str = "auto",
    engine: Engine = Engine(),  # noqa: B008  (immutable)
    ray: str | None = None,
    stop: Stop = lambda: False,
    report: Reporter = SILENT,
) -> list[Result]:
    """Denoise raws, as `led denoise` does; files that are up to date are skipped.

    Parameters
    ----------
    paths : path or sequence of path
        Raw files, folders and patterns.
    out : path, optional
        Output folder; ``denoised`` beside the input by default.
    ratio : float or None
        Digital gain of the result, 1 or more; None takes it from each photo's histogram.
    exposure : float, optional
        Exposure level (ISO x seconds) to bring each photo to, instead of ``ratio``.
    strength : float
        0 leaves the noise, 1 denoises fully.
    luma, chroma : float, optional
        The same for noise in brightness (grain) and in colour (blotches); ``strength`` by default.
    noise : (float, float), optional
        Gain (DN per electron) and read noise (DN); by default estimated, or the tuned model's.
    quality, dark, steps, highlights, formats, compression, linear, name, recursive, again
        As the options of `led denoise`; so are ``force_read``, ``overwrite``, ``dry_run`` and
        ``precision`` (``auto``, ``bf16`` or ``float32``; of some backends ``fp16`` and ``int8``).
    model : path, optional
        A model's name or file; by default the best one for each photo.
    shard : str, optional
        ``I/N``: only part I of N of the photos; ``auto``: that of this task of a job array.
    engine : Engine
        Device, tile size and backend; its precision counts if ``precision`` is ``auto``.
    ray : str, optional
        Work on a Ray cluster: ``local`` starts one, ``auto`` and ``HOST:PORT`` join one.
    stop : callable
        Asked between photos; returns True to end early.
    report : Reporter
        Receives messages and progress.

    Returns
    -------
    list of Result
        One per photo, whatever became of it: `Result.status`, `Result.outputs`, `Result.error`.

    Raises
    ------
    LedError
        Nothing could be started: bad options, no such model, an output folder that is read-only.
    """
    if exposure is not None and ratio not in (None, 1):
        raise UsageError("ratio and exposure exclude each other: give one of them")
    words = dict[str, Any](highlights=highlights, compression=compression, quality=quality)
    settings = Settings(
        ratio=ratio,
        exposure=exposure,
        strength=strength,
        luma=luma,
        chroma=chroma,
        noise=noise,
        linear=linear,
        again=again,
        steps=steps,
        force_read=force_read,
        **words,
    )
    if precision != "auto":
        engine = engine._replace(precision=precision)
    options = DenoiseOptions(
        _paths(paths, "paths"),
        _path(out, "out"),
        settings,
        formats=_paths(formats or (), "formats", "texts"),
        model=_checked(model, "model"),
        name=str(name),
        recursive=recursive,
        shard=_checked(shard, "shard", "a text"),
        engine=engine,
        overwrite=overwrite,
        dry_run=dry_run,
        ray=_checked(ray, "ray", "a text"),
        dark=_paths(dark or (), "dark"),
    )
    return list(denoise_each(options, stoppable=lambda: nullcontext(stop), report=report))


def denoise_each(
    options: DenoiseOptions, *, stoppable: Stoppable = never_stop, report: Reporter = SILENT
) -> Iterator[Result]:
    """Denoise raws as `denoise` does, and yield the result of each photo as soon as it is written.

    With ``options.watch`` it goes on with what comes into the folders, until it is stopped. Raises
    the same errors; `stoppable` and `report` are as for `finetune`.
    """
    from ledcli.batch.run import plan_denoise
    from ledcli.batch.watch import watch

    if options.watch:
        with stoppable() as stop:
            yield from watch(options, report, stop=stop)
        return
    planned = plan_denoise(options, report)
    yield from planned.rejected
    if options.dry_run:
        yield from planned.preview()
        return
    with stoppable() as stop:
        yield from planned.run(stop=stop, report=report)


def load_model(
    name: PathLike | None = None,
    *,
    csa_set: str | None = None,
    quality: str = "standard",
    engine: Engine = Engine(),  # noqa: B008  (immutable)
) -> "Denoiser":
    """Load a model by name (`led models list`) or file.

    If none is given, it is the bundled default, or the bundled fast model for the quality ``fast``.
    `Denoiser.denoise` takes packed planes or a raw file.

    Raises
    ------
    ModelError
        No such model, or a damaged file.
    UsageError
        The quality is ``best``, or ``fast`` beside a name.
    """
    from ledcli.inference.denoiser import Denoiser
    from ledcli.zoo.selection import default_name
    from ledcli.zoo.store import find_model

    asked = converted(Quality, quality, "quality")
    if asked == Quality.BEST:
        raise UsageError("quality 'best' is not a model: give ensemble=True to Denoiser.denoise")
    if asked == Quality.FAST:
        if name is not None:
            raise UsageError("quality 'fast' chooses the model: leave out the quality or the name")
        name = default_name("bayer", fast=True)
    found = find_model(_checked(name, "name"))
    return Denoiser(found.path, found.csa_set if csa_set is None else csa_set, **engine._asdict())


def scan_pairs(
    folder: PathLike,
    out: PathLike | None = None,
    *,
    keep_shifted: bool = False,
    force_read: bool = False,
    report: Reporter = SILENT,
) -> "Scan":
    """Find the pairs of short and long frames in a folder and its subfolders.

    Parameters
    ----------
    folder : path
    out : path, optional
        Write the list of good pairs here, and the details beside it, as `led pairs scan` does.
    keep_shifted : bool
        Accept pairs whose frames are shifted.
    force_read : bool
        Read frames that look damaged.
    report : Reporter
        Receives messages and progress.

    Returns
    -------
    Scan
        The pairs, dark frames, unused frames and why, what is missing, and `problems`.

    Raises
    ------
    LedError
        The folder has no raws, or the list cannot be written.
    """
    from ledcli.pairs.result import check_replaceable, write_scan
    from ledcli.pairs.scan import scan

    where, to = converted(Path, folder, "folder", "a path"), _path(out, "out")
    if to is not None:
        check_replaceable(to)
    found = scan(where, keep_shifted=keep_shifted, force_read=force_read, report=report)
    if to is not None and found.pairs:
        write_scan(found, to)
    return found


def finetune(
    pairs: PathLike = "pairs.txt",
    settings: "FinetuneSettings | None" = None,
    *,
    report: Reporter = SILENT,
    stoppable: Stoppable = never_stop,
    **options: Any,  # noqa: ANN401
) -> "FinetuneResult":
    """Tune a model to the camera of a list of pairs, and install it if it is better.

    Parameters
    ----------
    pairs : path
        A list of pairs, as `scan_pairs` writes it.
    settings : FinetuneSettings, optional
        What to tune, and how.
    report : Reporter
        Receives messages and progress.
    stoppable : callable
        Opens the context in which the training can be stopped; it can be resumed afterwards.
    **options
        Fields of `FinetuneSettings` that replace those of ``settings``: ``name``, ...

    Returns
    -------
    FinetuneResult
        How it ended, the name of the model, and its improvement on the validation crops.

    Raises
    ------
    LedError
        The options, the pairs or the pretrained model cannot be used, or the training failed.
    """
    from ledcli.training.finetune import finetune as run
    from ledcli.training.settings import FinetuneSettings

    how = replace(settings or FinetuneSettings(), **options)
    file = converted(Path, pairs, "pairs", "a path")
    return run(file, how, report=report, stoppable=stoppable)


def evaluate(
    models: Sequence[PathLike] = (),
    *,
    sid: PathLike | None = None,
    eld: PathLike | None = None,
    pairs: PathLike | None = None,
    photos: PathLike | None = None,
    list_file: PathLike | None = None,
    cameras: Sequence[str] = (),
    gains: Sequence[float] = (),
    ratios: Sequence[float] = (),
    quality: str = "standard",
    engine: Engine = Engine(),  # noqa: B008  (immutable)
    ray: str | None = None,
    stop: Stop = lambda: False,
    report: Reporter = SILENT,
) -> "Evaluation":
    """Measure PSNR and SSIM of models on one dataset, as `led evaluate` does.

    Parameters
    ----------
    models : sequence of path
        Names or files; the bundled default for the frames' kind of sensor if empty.
    sid, eld, pairs, photos : path
        Exactly one: a folder in SID's or ELD's layout, a list of pairs, or a folder of clean
        photographs to which calibrated noise is added.
    list_file : path, optional
        SID: the list of pairs to use.
    cameras, gains
        Photographs: names of calibrated cameras, and system gains in DN per electron.
    ratios : sequence of float
        Only these ratios; all if empty.
    quality : str
        ``fast`` measures the fast model, ``best`` each model with self-ensemble.
    engine, ray, stop, report
        As for `denoise`.

    Raises
    ------
    LedError
        The dataset or a model cannot be used. A frame that cannot be read is skipped instead.
    """
    from ledcli.evaluation.datasets.base import DatasetOptions
    from ledcli.evaluation.run import evaluate as run

    noisy = _paths(cameras or (), "cameras", "texts"), _numbers(gains, "gains")
    named = [str(model) for model in _paths(models or (), "models")]
    listed = _path(list_file, "list_file")
    options = DatasetOptions(_numbers(ratios, "ratios"), listed, *noisy, named)
    given = {"sid": sid, "eld": eld, "pairs": pairs, "photos": photos}
    return run(
        {name: _path(path, name) for name, path in given.items()},
        options,
        quality=converted(Quality, quality, "quality"),
        engine=engine,
        ray=_checked(ray, "ray", "a text"),
        stoppable=lambda: nullcontext(stop),
        report=report,
    )


def _checked(value: Any, name: str, takes: str = "a path") -> Any:  # noqa: ANN401
    """Return a text or path as it is, or None; raises UsageError."""
    if value is not None:
        converted(Path, value, name, takes)
    return value


def _path(value: PathLike | None, name: str) -> Path | None:
    return None if value is None else converted(Path, value, name, "a path")


def _paths(value: object, name: str, takes: str = "paths") -> list[Any]:
    """Return texts or paths as they are, a single one in a list; raises UsageError."""
    given = converted(list, [value] if isinstance(value, str | Path) else value, name, takes)
    converted(lambda each: list(map(Path, each)), given, name, takes)
    return given


def _numbers(value: Any, name: str) -> list[float]:  # noqa: ANN401
    given = [value] if isinstance(value, str | int | float) else value
    return converted(lambda each: list(map(float, each)), given, name, "numbers")
