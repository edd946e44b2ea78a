"""The run: where the results go, and every photo on its way through."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ledcli import __version__
from ledcli.errors import LedError, MetadataError, OutputError, UsageError
from ledcli.inference.choice import Choice, Chooser, Named, camera_noise
from ledcli.inference.engine import Denoiser
from ledcli.noise.estimate import NoiseLine, estimate_noise
from ledcli.photo.cfa import pack, unpack
from ledcli.photo.dng import dng_bytes
from ledcli.photo.exif import require_exposure_level
from ledcli.photo.files import atomic_write
from ledcli.photo.inputs import FoundRaw
from ledcli.photo.raw import RawPhoto, read_raw
from ledcli.photo.render import png_bytes, render_rgb16, tiff_bytes
from ledcli.zoo.pick import covers

SUFFIX_OF_FORMAT = {"dng": ".dng", "png": ".png", "tiff": ".tif"}
LARGEST_RATIO = 10_000.0
"""Thirteen stops: beyond, a typing error is likelier than a photo."""
SOFTWARE = f"led {__version__}"


@dataclass(frozen=True)
class Job:
    """One photo: where it is and, by format, where its results go."""

    source: Path
    outputs: Mapping[str, Path]


@dataclass(frozen=True)
class Settings:
    """What is done to every photo.

    Attributes
    ----------
    ratio : float
        Digital gain, unless ``exposure`` is given.
    exposure : float or None
        Exposure level (ISO x seconds) to bring every photo to.
    strength : float
        0 leaves the input as it is (times the ratio), 1 denoises fully.
    """

    ratio: float = 1.0
    exposure: float | None = None
    strength: float = 1.0

    def ratio_of(self, photo: RawPhoto) -> float:
        """Return the photo's ratio; raises MetadataError when a tag is missing or nonsense."""
        if self.exposure is None:
            return self.ratio
        ratio = self.exposure / require_exposure_level(photo.path, photo.exif)
        if ratio > LARGEST_RATIO:
            raise MetadataError(
                f"{photo.path}: its ISO and exposure time ask for a ratio of {ratio:.3g}: "
                "check them, or give --ratio"
            )
        # A brighter photo is not darkened: its clipped highlights would come out tinted.
        return max(ratio, 1.0)


@dataclass
class Result:
    """What became of one photo; ``error`` is None when all went well. Times are in seconds.

    ``noise_from`` says where ``noise`` comes from: ``lines`` (the model's own, over ISO) or
    ``blind`` (estimated from the photo).
    """

    source: Path
    outputs: list[Path] = field(default_factory=list)
    error: Exception | None = None
    warnings: list[str] = field(default_factory=list)
    ratio: float | None = None
    choice: Choice | None = None
    noise: NoiseLine | None = None
    noise_from: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def plan(raws: Sequence[FoundRaw], formats: Sequence[str], out: Path | None = None) -> list[Job]:
    """Name the results of every photo, so that no two share a name and none is a source.

    Parameters
    ----------
    raws : sequence of FoundRaw
        From `find_raws`.
    formats : sequence of str
        Of ``dng``, ``png``, ``tiff``.
    out : Path, optional
        Output folder, instead of the one beside each input.

    Raises
    ------
    UsageError
        A format is not known.
    OutputError
        A result would lie where a source is.
    """
    for name in formats:
        if name not in SUFFIX_OF_FORMAT:
            raise UsageError(f"no format '{name}': choose {', '.join(SUFFIX_OF_FORMAT)}")
    wanted = [(out or raw.beside) / raw.below / raw.file.stem for raw in raws]
    shared = Counter(map(_key, wanted))
    sources = {_key(raw.file.resolve()) for raw in raws}
    taken: set[str] = set()
    jobs = []
    for raw, base in zip(raws, wanted, strict=True):
        # IMG_1.CR2 and IMG_1.NEF keep their full names: IMG_1.CR2.dng, IMG_1.NEF.dng.
        base = base if shared[_key(base)] == 1 else base.with_name(raw.file.name)
        name, again = base.name, 1
        while _key(base.with_name(name)) in taken:
            again += 1
            name = f"{base.name}-{again}"
        taken.add(_key(base.with_name(name)))
        outputs = {f: base.with_name(name + SUFFIX_OF_FORMAT[f]) for f in formats}
        for path in outputs.values():
            if _key(path.resolve()) in sources:
                raise OutputError(f"{path} is one of the photos: choose another folder with --out")
        jobs.append(Job(raw.file, outputs))
    return jobs


def _key(path: Path) -> str:
    # Some file systems do not tell upper from lower case.
    return str(path).casefold()


def run(models: Denoiser | Chooser, jobs: Sequence[Job], settings: Settings) -> Iterator[Result]:
    """Denoise photo after photo; a photo that fails is told of and does not stop the others.

    Parameters
    ----------
    models : Denoiser or Chooser
        One denoiser for all, or what chooses one for each photo (`inference.choice.PerPhoto`).
    jobs, settings
        From `plan`, and what is done to all of them.
    """
    chooser = Named(models) if isinstance(models, Denoiser) else models
    for job in jobs:
        result = Result(job.source)
        try:
            _denoise(chooser, job, settings, result)
        except LedError as error:
            result.error = error
        except MemoryError:
            result.error = LedError(
                f"{job.source}: needs more memory than there is: close other programs"
            )
        except Exception as error:
            # The next photo must have its turn whatever this one ran into.
            result.error = LedError(f"{job.source}: {type(error).__name__}: {error}")
            result.error.__cause__ = error
        yield result


def _denoise(chooser: Chooser, job: Job, settings: Settings, result: Result) -> None:
    clock = _Clock(result.seconds)
    photo = read_raw(job.source)
    result.ratio = settings.ratio_of(photo)
    x = photo.normalised()
    planes = pack(x, photo.phase)
    clock.lap("decode")
    denoiser, choice, warnings = chooser.choose(photo.exif, result.ratio)
    result.choice = choice
    result.warnings += [*warnings, *_warnings(denoiser, photo.path, result.ratio, settings)]
    clock.lap("model")
    own = camera_noise(denoiser.spec, photo.exif)
    result.noise = own.line if own else estimate_noise(planes)
    result.noise_from = "lines" if own else "blind"
    clock.lap("estimate")
    clean = denoiser.denoise(
        planes,
        result.ratio,
        phase=photo.phase,
        noise=own or result.noise,
        strength=settings.strength,
    )
    clock.lap("network")
    mosaic = unpack(clean, photo.phase, x.shape)
    note = _note(choice, result, settings)
    dng = dng_bytes(photo, mosaic, software=SOFTWARE, note=note)
    for name, path in job.outputs.items():
        _write(path, dng if name == "dng" else _rendered(name, dng, photo, note))
        result.outputs.append(path)
    clock.lap("encode")


def _warnings(denoiser: Denoiser, path: Path, ratio: float, settings: Settings) -> Iterator[str]:
    lowest, highest = denoiser.spec.ratio_range
    if not covers(denoiser.spec.ratio_range, ratio):
        yield f"{path}: the model was trained for ratios {lowest:g} to {highest:g}, not {ratio:.3g}"
    elif settings.exposure is not None and ratio == 1:
        yield f"{path}: is as bright as the exposure asked for already: it keeps its brightness"


def existing(jobs: Sequence[Job]) -> list[Path]:
    """Return the results that are there already: of an earlier run, or somebody's photos."""
    return [path for job in jobs for path in job.outputs.values() if os.path.lexists(path)]


def _rendered(name: str, dng: bytes, photo: RawPhoto, note: Mapping[str, object]) -> bytes:
    encode = {"png": png_bytes, "tiff": tiff_bytes}[name]
    return encode(render_rgb16(dng), exif=photo.exif, software=SOFTWARE, note=note)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path.parent} cannot be made ({reason}): choose another folder with --out"
        ) from error
    atomic_write(path, data)


def _note(choice: Choice, result: Result, settings: Settings) -> dict[str, object]:
    return {
        **choice.record(),
        "noise": result.noise_from,
        "ratio": result.ratio,
        "strength": settings.strength,
        "version": __version__,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class _Clock:
    """Writes down how long each part took."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self.before = seconds, time.perf_counter()

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = now - self.before
        self.before = now
