"""The public Python API. The command line parses its options, calls these functions, and prints.

The functions take paths and plain values, never print, and raise `LedError` with a message of one
line. Long ones take callbacks: `on_message` gets sentences for a person, `stop` is asked between
two pieces of work and returns True to end early.

Examples
--------
Denoise a folder, a hundred times brighter::

    import ledcli

    for photo in ledcli.denoise("raw", ratio=100):
        print(photo.source, photo.status, photo.outputs)

Denoise NumPy planes::

    model = ledcli.load_model("generic")
    clean = model.denoise(planes, ratio=100)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledcli.batch.settings import (
    Compression,
    Engine,
    Highlights,
    Job,
    Quality,
    Result,
    Settings,
)
from ledcli.errors import LedError, RawError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ledcli.batch.plan import PlannedPhoto
    from ledcli.evaluation.datasets import Dataset
    from ledcli.evaluation.results import Evaluation, FrameResult
    from ledcli.noise.estimate import NoiseProfile
    from ledcli.pairs.scan import Scan
    from ledcli.training.finetune import Finetuned
    from ledcli.zoo.selection import ModelChooser

PathLike = str | Path


def _nothing(_: Any) -> None:  # noqa: ANN401
    """Ignore a message."""


@dataclass
class DenoiseRun:
    """A planned run over photos: `preview` shows what it would do, `run` does it.

    Attributes
    ----------
    jobs : list of Job
        One per photo, with the files to write.
    settings : Settings
    models : ModelChooser
        Chooses the model of each photo.
    rejected : list of (Path or None, LedError)
        Inputs that cannot be denoised, and why.
    """

    jobs: list[Job]
    settings: Settings
    models: "ModelChooser"
    rejected: list[tuple[Path | None, LedError]] = field(default_factory=list)

    def preview(self, *, overwrite: bool = False) -> "list[tuple[Job, PlannedPhoto]]":
        """Return what would be done for each photo; writes nothing and loads no network."""
        from ledcli.batch.run import plan_photos

        planned = plan_photos(self.jobs, self.settings, self.models, overwrite=overwrite)
        return list(zip(self.jobs, planned, strict=True))

    def run(
        self,
        *,
        engine: Engine = Engine(),  # noqa: B008  (immutable)
        overwrite: bool = False,
        stop: Callable[[], bool] = lambda: False,
        on_message: Callable[[str], None] = _nothing,
    ) -> Iterator[Result]:
        """Denoise what is missing or changed; yields one `Result` per photo, in order."""
        from ledcli.batch.run import run

        return run(
            self.jobs,
            self.settings,
            self.models,
            engine=engine,
            overwrite=overwrite,
            stop=stop,
            say=on_message,
        )


def plan_denoise(
    paths: Sequence[PathLike],
    out: PathLike | None = None,
    *,
    settings: Settings,
    formats: Sequence[str] = (),
    model: PathLike | None = None,
    name: str = "{stem}{ext}",
    recursive: bool = False,
    on_message: Callable[[str], None] = _nothing,
    on_warning: Callable[[str], None] = _nothing,
) -> DenoiseRun:
    """Find the photos, name their outputs and choose where models come from.

    Parameters
    ----------
    paths : sequence of path
        Raw files, folders and patterns.
    out : path, optional
        Output folder; ``denoised`` beside the input by default.
    settings : Settings
        What is done to every photo.
    formats : sequence of str
        ``dng``, ``png``, ``tiff``; DNG by default (PNG for models whose output is sRGB).
    model : path, optional
        A model's name or file; by default the best one for each photo.
    name : str
        Template of output names.
    recursive : bool
        Search subfolders too.

    Raises
    ------
    UsageError
        Options that exclude each other.
    ModelError
        No such model.
    """
    from ledcli.batch.inputs import find_raws
    from ledcli.batch.names import plan_names
    from ledcli.batch.plan import split_results
    from ledcli.batch.settings import srgb_formats
    from ledcli.zoo.selection import ModelPerPhoto, NamedModel

    formats = list(formats)
    models: ModelChooser
    if model is None:
        models = ModelPerPhoto()
    else:
        models = NamedModel(model)
        if models.spec.output == "srgb":
            if not formats:
                on_message(f"{models.name} renders straight to sRGB: writing PNG")
            formats = srgb_formats(models.name, settings, formats)
    formats = formats or ["dng"]
    if settings.linear and "dng" not in formats:
        raise UsageError("--linear applies to DNG only: add --format dng, or leave it out")
    rejected: list[tuple[Path | None, LedError]] = []
    raws = find_raws(
        [str(path) for path in paths],
        recursive=recursive,
        problem=lambda error: rejected.append((None, error)),
        note=on_warning,
        out=None if out is None else Path(out),
    )
    folder = None if out is None else Path(out)
    photos, results = split_results(raws, folder)
    if settings.again:
        photos = [*photos, *results]
    else:
        rejected += [
            (raw.file, RawError(f"{raw.file}: already denoised by led; use --again to repeat"))
            for raw in results
        ]
    return DenoiseRun(
        plan_names(photos, formats, folder, name, sources=raws), settings, models, rejected
    )


def denoise(
    paths: PathLike | Sequence[PathLike],
    out: PathLike | None = None,
    *,
    ratio: float | None = 1.0,
    exposure: float | None = None,
    strength: float = 1.0,
    quality: str = "standard",
    steps: int | None = None,
    highlights: str = "clip",
    formats: Sequence[str] = (),
    compression: str = "ljpeg",
    linear: bool = False,
    model: PathLike | None = None,
    name: str = "{stem}{ext}",
    recursive: bool = False,
    again: bool = False,
    overwrite: bool = False,
    engine: Engine = Engine(),  # noqa: B008  (immutable)
    on_result: Callable[[Result], None] = _nothing,
    on_message: Callable[[str], None] = _nothing,
    stop: Callable[[], bool] = lambda: False,
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
        0 leaves the noise, 1 removes all of it.
    quality, steps, highlights, formats, compression, linear, name, again, overwrite
        As the options of `led denoise`.
    model : path, optional
        A model's name or file; by default the best one for each photo.
    engine : Engine
        Device, precision, tile size and backend.
    on_result, on_message, stop : callable
        Called with each photo's result and with messages; asked between photos.

    Returns
    -------
    list of Result
        One per photo, the failed ones included: `Result.status`, `Result.outputs`, `Result.error`.

    Raises
    ------
    LedError
        Nothing could be started: bad options, no such model, an output folder that cannot be
        written to.

    Examples
    --------
    >>> import ledcli
    >>> [photo] = ledcli.denoise("raw/night.dng", ratio=100)  # doctest: +SKIP
    >>> photo.outputs  # doctest: +SKIP
    [PosixPath('raw/denoised/night.dng')]
    """
    single = isinstance(paths, str | Path)
    settings = Settings(
        ratio=ratio,
        exposure=exposure,
        strength=strength,
        highlights=Highlights(highlights),
        compression=Compression(compression),
        linear=linear,
        again=again,
        quality=Quality(quality),
        steps=steps,
    )
    planned = plan_denoise(
        [paths] if single else paths,  # type: ignore[list-item,arg-type]
        out,
        settings=settings,
        formats=formats,
        model=model,
        name=name,
        recursive=recursive,
        on_message=on_message,
    )
    results = [
        Result(path or Path(), error=error) for path, error in planned.rejected
    ]
    for result in results:
        on_result(result)
    for result in planned.run(
        engine=engine, overwrite=overwrite, stop=stop, on_message=on_message
    ):
        on_result(result)
        results.append(result)
    return results


class Denoiser:
    """A loaded model. Make one with `load_model`.

    Attributes
    ----------
    name : str
        Name of the model.
    """

    def __init__(self, path: Path, csa_set: str, engine: Engine = Engine()) -> None:  # noqa: B008
        from ledcli.inference.denoiser import Denoiser as Network

        self._network = Network(
            path,
            csa_set,
            device=engine.device,
            precision=engine.precision,
            tile=engine.tile,
            backend=engine.backend,
        )
        self.name = self._network.name

    def denoise(
        self,
        planes: "NDArray[np.float32] | PathLike",
        ratio: float = 1.0,
        *,
        noise: "NoiseProfile | None" = None,
        strength: float = 1.0,
    ) -> "NDArray[np.float32]":
        """Denoise packed planes, or the planes of a raw file.

        Parameters
        ----------
        planes : float32 ``(4, H/2, W/2)`` or ``(9, H/3, W/3)``, or path
            Normalised planes, (DN - black) / (white - black), not multiplied by the ratio, in the
            order R, G1, B, G2 (see ``docs/python-api.md`` for X-Trans); or a raw file.
        ratio : float
            Digital gain of the result.
        noise : NoiseProfile, optional
            Gain and read variance of the planes (white - black = 1); estimated if not given.
        strength : float
            0 leaves the noise, 1 removes all of it.

        Returns
        -------
        float32, same shape as the planes
            Clean planes times the ratio; not clipped.

        Raises
        ------
        LedError
            The raw cannot be read, or the model does not fit the planes.
        """
        if isinstance(planes, str | Path):
            from ledcli.raw.reader import read_raw

            photo = read_raw(Path(planes))
            return self._network.denoise(
                photo.planes(),
                ratio,
                phase=photo.phase,
                noise=noise,
                strength=strength,
                exif=photo.exif,
            )
        return self._network.denoise(planes, ratio, noise=noise, strength=strength)


def load_model(
    name: PathLike | None = None,
    *,
    csa_set: str | None = None,
    engine: Engine = Engine(),  # noqa: B008  (immutable)
) -> Denoiser:
    """Load a model by name (`led models list`) or file; the bundled default if none is given.

    Raises
    ------
    ModelError
        No such model, or a damaged file.
    """
    from ledcli.zoo.store import find_model

    found = find_model(name)
    return Denoiser(found.path, found.csa_set if csa_set is None else csa_set, engine)


def scan_pairs(
    folder: PathLike, out: PathLike | None = None, *, keep_shifted: bool = False
) -> "Scan":
    """Find the pairs of short and long frames in a folder and its subfolders.

    Parameters
    ----------
    folder : path
    out : path, optional
        Write the list here, and the details beside it, as `led pairs scan` does.
    keep_shifted : bool
        Accept pairs whose frames are shifted.

    Returns
    -------
    Scan
        The pairs, dark frames, frames that are not used and why, and what is missing.

    Raises
    ------
    LedError
        The folder has no raws, or the list cannot be written.
    """
    from ledcli.pairs.scan import scan

    found = scan(Path(folder), keep_shifted=keep_shifted)
    if out is not None:
        write_pairs(found, Path(out))
    return found
