"""Load the pairs of a list: read their headers, check them, and measure the camera's noise."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ledcli.batch.darks import MAX_DARK_TIME, SHORT_S
from ledcli.errors import LedError, MetadataError, PairError, as_led_error
from ledcli.noise.blocks import Planes
from ledcli.pairs.checks import check_pair
from ledcli.pairs.frames import is_wanted, ratio_of, read_pair
from ledcli.pairs.list_file import Pair
from ledcli.pairs.result import ListedDark
from ledcli.pairs.rule import HIGH_ISO, LOW_ISO
from ledcli.raw.decoder import decoders
from ledcli.raw.exif import Exif, read_exif
from ledcli.raw.reader import RawPhoto, read_raw
from ledcli.reporting import count
from ledcli.training.data.pairs import MAX_PIXELS, CameraPairs, RawPair, camera_pairs
from ledcli.zoo.model_file import file_sha256

Take = Callable[[RawPhoto, RawPhoto, float, float], None]
"""Receives the short and the long frame of a pair, their ratio and the short ISO."""
Problem = Callable[[LedError], None]
"""Receives why a file cannot be read; what it belongs to is left out."""


def stop_at(error: LedError) -> None:
    """Leave nothing out: raise the error."""
    raise error


class PairHeader(NamedTuple):
    """What the files of a pair say about it."""

    pair: Pair
    camera: str
    ratio: float
    iso: float
    long_iso: float
    exposure_time: float | None
    serial: str | None


@dataclass
class LoadedPairs:
    """The pairs of a list, in memory.

    ``camera`` is its name in EXIF; ``records``, for the model file, are hashes of the files, ratio
    and ISO; ``darks`` is the number of dark frames used. ``warnings`` say what was left out, and
    where LED's rule for ISOs is not met.
    """

    camera: str
    camera_pairs: CameraPairs
    records: list[dict[str, Any]]
    darks: int = 0
    warnings: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return what the tuned model's file says of the pairs; JSON values."""
        isos, ratios = list(self.camera_pairs.noise_profile.isos), self.camera_pairs.ratios
        return {"pairs": self.records, "dark_frames": self.darks, "isos": isos, "ratios": ratios}

    def summary(self) -> str:
        """Return in a line what was loaded."""
        ratios = ", ".join(f"{ratio:g}" for ratio in self.camera_pairs.ratios)
        isos = ", ".join(f"{iso:g}" for iso in self.camera_pairs.noise_profile.isos)
        dark = f", {count(self.darks, 'dark frame')}" if self.darks else ""
        pairs = count(len(self.camera_pairs.pairs), "pair")
        return f"{pairs} of {self.camera}: ratios {ratios}, ISO {isos}{dark}"


def read_headers(
    pairs: Sequence[Pair],
    *,
    ratios: Sequence[float] = (),
    one_iso: bool = False,
    problem: Problem = stop_at,
) -> list[PairHeader]:
    """Read the headers, and refuse what no tuning can be made of.

    Only the pairs of the given ratios are used; empty uses all. ``one_iso`` accepts pairs of one
    ISO. Raises PairError if the pairs are of several cameras or of one ISO, or none has the ratio
    or can be read; MetadataError if a file lacks its camera, ISO or exposure time; and what
    `problem` raises.
    """
    files = dict.fromkeys(file for pair in pairs for file in (pair.short, pair.long))
    found = dict(zip(files, decoders.each(read_exif, files), strict=True))
    headers = []
    for pair in pairs:
        short, long = found[pair.short], found[pair.long]
        if isinstance(short, LedError):
            problem(short)
        elif isinstance(long, LedError):
            problem(long)
        else:
            headers.append(_header(pair, short, long))
    if not headers:
        raise PairError("no pair of the list can be read: see 'led pairs check'")
    first = headers[0]
    for header in headers:
        if header.camera.casefold() != first.camera.casefold():
            raise PairError(
                f"{header.pair.short} is of {header.camera} and {first.pair.short} of "
                f"{first.camera}: a model is tuned to one camera, make a list for each"
            )
        if header.serial and first.serial and header.serial != first.serial:
            raise PairError(
                f"{header.pair.short} and {first.pair.short} are of two bodies of {first.camera} "
                f"(serial {header.serial} and {first.serial}): make a list for each"
            )
    chosen = [header for header in headers if is_wanted(header.ratio, ratios)]
    if not chosen:
        there = ", ".join(f"{r:g}" for r in sorted({h.ratio for h in headers}))
        wanted = ", ".join(f"{r:g}" for r in ratios)
        raise PairError(f"no pair has ratio {wanted}: the list has {there}")
    if not one_iso:
        _two_isos({h.iso for h in chosen})
    return chosen


def load_pairs(
    headers: Sequence[PairHeader],
    darks: Sequence[ListedDark] = (),
    *,
    keep_shifted: bool = False,
    one_iso: bool = False,
    force_read: bool = False,
    step: Callable[[Path], None] = lambda _: None,
    take: Take | None = None,
    problem: Problem = stop_at,
    max_pixels: int = MAX_PIXELS,
) -> LoadedPairs:
    """Read the pairs of one camera, check them, and measure its noise on them.

    Dark frames of the camera correct its dark shading. ``keep_shifted``, ``one_iso`` and
    ``force_read`` accept pairs that are shifted, of one ISO, or have a frame that looks damaged.
    ``step`` receives the path of every pair that was read, ``take`` the frames of every pair that
    is used; ``max_pixels`` of all of them are kept. Raises PairError if no pair is left, or those
    that are left have one ISO; and what `problem` raises.
    """
    loaded: list[PairHeader] = []
    size: tuple[int, ...] = ()
    records: list[dict[str, Any]] = []
    warnings: dict[str, None] = {}  # in order; a long frame may be in many pairs

    def read() -> Iterator[RawPair]:
        nonlocal size
        left_out = ""
        for header in headers:
            pair, ratio, iso = header.pair, header.ratio, header.iso
            try:
                short, long = read_pair(pair, force=force_read)
                check = check_pair(short, long, ratio)
            except (LedError, MemoryError) as error:
                problem(as_led_error(error, pair.short))
                continue
            finally:
                step(pair.short)
            warnings.update(dict.fromkeys([*short.warnings, *long.warnings]))
            problems = check.problems_if(keep_shifted=keep_shifted)
            if take is not None and not problems and check.motion:
                problems = ("something moved in it, and this method takes whole frames only",)
            if not problems:
                size = size or short.mosaic.shape
                if short.mosaic.shape != size:
                    problems = (f"its size is not that of {loaded[0].pair.short}",)
            if problems:
                left_out = f"{pair.short}: left out: {'; '.join(problems)}"
                warnings[left_out] = None
                continue
            warnings.update((f"{pair.short}: {note}", None) for note in check.notes)
            loaded.append(header)
            hashes = {"short": file_sha256(pair.short), "long": file_sha256(pair.long)}
            records.append({**hashes, "ratio": ratio, "iso": iso})
            if take is not None:
                take(short, long, ratio, iso)
            planes, about = (short.planes(), long.planes()), (str(pair.short), short.phase)
            moved = check.motion and check.motion.mask(planes[0].shape[1:])
            noise = short.estimate_noise(planes[0])
            yield RawPair(*planes, ratio, iso, header.long_iso, *about, moved, noise)
        if not loaded:
            why = f" ({left_out})" if left_out else ""
            raise PairError(f"no pair is left to tune with{why}: see 'led pairs check'")

    used = 0

    def planes_of(paths: Sequence[Path]) -> Iterator[Planes]:
        nonlocal used
        for photo in decoders.each(partial(read_raw, force=force_read), paths):
            if isinstance(photo, LedError):
                problem(photo)
            elif photo.mosaic.shape != size:
                warnings[f"{photo.path}: not used: its size is not that of the pairs"] = None
            else:
                warnings.update(dict.fromkeys(photo.warnings))
                used += 1
                yield photo.planes()

    usable = _usable(darks, headers)
    if len(usable) < len(darks):
        unused = f"{len(darks) - len(usable)} of {len(darks)} dark frames are of another camera or"
        warnings[f"{unused} exposed too long, and are not used"] = None
    by_iso: dict[float, list[Path]] = {}
    for dark in usable:
        by_iso.setdefault(dark.iso, []).append(dark.file)
    dark_planes = {iso: planes_of(paths) for iso, paths in by_iso.items()}
    measured = camera_pairs(read(), dark_planes, max_pixels=max_pixels // len(headers))
    if not one_iso:
        _two_isos({header.iso for header in loaded})
    found = [*warnings, *_rule_warnings(loaded)]
    return LoadedPairs(headers[0].camera, measured, records, used, found)


def _header(pair: Pair, short: Exif, long: Exif) -> PairHeader:
    if short.camera is None:
        raise MetadataError(f"{pair.short}: does not say its camera, which the model is tuned to")
    for path, exif in ((pair.short, short), (pair.long, long)):
        if exif.iso is None:
            raise MetadataError(f"{path}: has no usable ISO tag, which the noise depends on")
    assert short.iso is not None and long.iso is not None
    ratio = pair.ratio or ratio_of(short, long, (pair.short, pair.long))
    return PairHeader(
        pair, short.camera, ratio, short.iso, long.iso, short.exposure_time, short.serial
    )


def _two_isos(isos: set[float]) -> None:
    if len(isos) == 1:
        (iso,) = isos
        other = f"at most {LOW_ISO:g}" if iso > LOW_ISO else f"{HIGH_ISO:g} or more"
        raise PairError(
            f"all pairs have ISO {iso:g}, and noise over ISO needs two: shoot a pair at ISO "
            f"{other} for each ratio, or tune for this ISO alone with --force"
        )


def _usable(darks: Sequence[ListedDark], headers: Sequence[PairHeader]) -> list[ListedDark]:
    """Return the dark frames of the camera that are exposed about as long as its short frames."""
    first = headers[0]
    times = [h.exposure_time for h in headers if h.exposure_time is not None]
    longest = max(MAX_DARK_TIME * max(times, default=0.0), SHORT_S)
    return [
        dark
        for dark in darks
        if (dark.camera or "").casefold() == first.camera.casefold()
        and (not dark.serial or not first.serial or dark.serial == first.serial)
        and (dark.exposure_time is None or not times or dark.exposure_time <= longest)
    ]


def _rule_warnings(headers: Sequence[PairHeader]) -> Iterator[str]:
    isos: dict[float, list[float]] = {}
    for header in headers:
        isos.setdefault(header.ratio, []).append(header.iso)
    for ratio, found in sorted(isos.items()):
        if min(found) > LOW_ISO or max(found) < HIGH_ISO:
            yield (
                f"ratio {ratio:g} has pairs at ISO {', '.join(f'{i:g}' for i in sorted(found))}: "
                f"best are one at ISO {LOW_ISO:g} or less and one at {HIGH_ISO:g} or more"
            )
