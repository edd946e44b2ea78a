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
from ledcli.inference.engine import Denoiser
from ledcli.noise.estimate import NoiseLine, estimate_noise
from ledcli.photo.cfa import pack, unpack
from ledcli.photo.dng import dng_bytes
from ledcli.photo.exif import require_exposure_level
from ledcli.photo.files import atomic_write
from ledcli.photo.inputs import FoundRaw
from ledcli.photo.raw import RawPhoto, read_raw
from ledcli.photo.render import png_bytes, render_rgb16, tiff_bytes

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
    """What became of one photo; ``error`` is None when all went well. Times are in seconds."""

    source: Path
    outputs: list[Path] = field(default_factory=list)
    error: Exception | None = None
    warning: str | None = None
    ratio: float | None = None
    noise: NoiseLine | None = None
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


def run(denoiser: Denoiser, jobs: Sequence[Job], settings: Settings) -> Iterator[Result]:
    """Denoise photo after photo; a photo that fails is told of and does not stop the others."""
    for job in jobs:
        result = Result(job.source)
        try:
            _denoise(denoiser, job, settings, result)
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


def _denoise(denoiser: Denoiser, job: Job, settings: Settings, result: Result) -> None:
    clock = _Clock(result.seconds)
    photo = read_raw(job.source)
    result.ratio = settings.ratio_of(photo)
    result.warning = _warning(denoiser, photo.path, result.ratio, settings)
    x = photo.normalised()
    planes = pack(x, photo.phase)
    clock.lap("decode")
    result.noise = estimate_noise(planes)
    clock.lap("estimate")
    clean = denoiser.denoise(
        planes, result.ratio, phase=photo.phase, noise=result.noise, strength=settings.strength
    )
    clock.lap("network")
    mosaic = unpack(clean, photo.phase, x.shape)
    note = _note(denoiser, result.ratio, settings.strength)
    dng = dng_bytes(photo, mosaic, software=SOFTWARE, note=note)
    for name, path in job.outputs.items():
        _write(path, dng if name == "dng" else _rendered(name, dng, photo))
        result.outputs.append(path)
    clock.lap("encode")


def _warning(denoiser: Denoiser, path: Path, ratio: float, settings: Settings) -> str | None:
    lowest, highest = denoiser.spec.ratio_range
    if not lowest <= ratio <= highest:
        return (
            f"{path}: the model was trained for ratios {lowest:g} to {highest:g}, not {ratio:.3g}"
        )
    if settings.exposure is not None and ratio == 1:
        return f"{path}: is as bright as the exposure asked for already: it keeps its brightness"
    return None


def existing(jobs: Sequence[Job]) -> list[Path]:
    """Return the results that are there already: of an earlier run, or somebody's photos."""
    return [path for job in jobs for path in job.outputs.values() if os.path.lexists(path)]


def _rendered(name: str, dng: bytes, photo: RawPhoto) -> bytes:
    encode = {"png": png_bytes, "tiff": tiff_bytes}[name]
    return encode(render_rgb16(dng), exif=photo.exif, software=SOFTWARE)


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path.parent} cannot be made ({reason}): choose another folder with --out"
        ) from error
    atomic_write(path, data)


def _note(denoiser: Denoiser, ratio: float, strength: float) -> dict[str, object]:
    return {
        "model": denoiser.name,
        "sha256": denoiser.sha256,
        "ratio": ratio,
        "strength": strength,
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
