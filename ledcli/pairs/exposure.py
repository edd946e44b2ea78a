"""The exposures that cameras have, and which of them makes a ratio with a long frame."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledcli.errors import MetadataError, PairError
from ledcli.pairs.frames import Frame
from ledcli.raw.exif import Exif

ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Ratios that people mean, within a decade; those of SID, ELD and LED are among them."""
THIRD_STOPS = (1.25, 1.6, 3.2, 6.4)
"""The others that third-stop shutter speeds come to."""
TOLERANCE = 0.045
"""What nominal shutter speeds are off by: 1/125 s is 1/128 s, and a ratio of 300 at ISO 100 (10 s,
1/30 s) is 312.5 at ISO 3200 (10 s at ISO 100, 1/1000 s)."""
LEAST_LONG = 1 / 1.05
"""Below this ratio the two are the wrong way round."""


def nominal_ratio(ratio: float) -> float:
    """Snap a ratio to a nominal one.

    Parameters
    ----------
    ratio : float
        Above 0.

    Returns
    -------
    float
        The round ratio within 4.5 %, else the third-stop one, else the ratio to three digits.

    Examples
    --------
    >>> [nominal_ratio(ratio) for ratio in (98.7, 101.6, 128.0, 312.5, 322.5, 4.6875)]
    [100.0, 100.0, 125.0, 300.0, 320.0, 4.69]
    """
    decade = math.floor(math.log10(ratio))
    for values in (ROUND, THIRD_STOPS):
        nominal = [value * 10.0**power for power in (decade, decade + 1) for value in values]
        nearest = min(nominal, key=lambda value: abs(math.log(value / ratio)))
        if abs(ratio / nearest - 1) <= TOLERANCE:
            return float(f"{nearest:.6g}")
    return float(f"{ratio:.3g}")


def ratio_of(short: Exif, long: Exif, paths: tuple[Path, Path]) -> float:
    """Ratio of a pair by its EXIF: exposure level of the long frame over that of the short one.

    Parameters
    ----------
    short, long : Exif
    paths : (Path, Path)
        Of the short and the long frame, for the message.

    Returns
    -------
    float
        Snapped to a nominal ratio.

    Raises
    ------
    MetadataError
        A frame has no usable ISO or exposure time.
    PairError
        The long frame is exposed less than the short one.
    """
    levels = []
    for exif, path in zip((short, long), paths, strict=True):
        if exif.exposure_level is None:
            raise MetadataError(
                f"{path}: {missing_tags(exif)}, so the pair's ratio is unknown: add it to the "
                "pair's line in the list as a third column"
            )
        levels.append(exif.exposure_level)
    ratio = levels[1] / levels[0]
    if ratio < LEAST_LONG:
        raise PairError(
            f"{paths[1]}: is exposed less than {paths[0]}: a pair is SHORT LONG, in that order"
        )
    return nominal_ratio(ratio)


def missing_tags(exif: Exif) -> str:
    """Say which tags of the exposure level are missing: ``has no usable ISO tag``."""
    missing = [
        name
        for name, value in (("ISO", exif.iso), ("ExposureTime", exif.exposure_time))
        if value is None
    ]
    return f"has no usable {' and no '.join(missing)} tag"


# fmt: off
SHUTTERS = (
    *(1 / n for n in (
        8000, 6400, 5000, 4000, 3200, 2500, 2000, 1600, 1250, 1000, 800, 640, 500, 400, 320, 250,
        200, 160, 125, 100, 80, 60, 50, 40, 30, 25, 20, 15, 13, 10, 8, 6, 5, 4,
    )),
    0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.3, 1.6, 2, 2.5, 3.2, 4, 5, 6, 8, 10, 13, 15, 20, 25, 30,
)
"""Shutter speeds of cameras in third stops, seconds."""
ISOS = (
    100, 125, 160, 200, 250, 320, 400, 500, 640, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000,
    5000, 6400, 8000, 10000, 12800, 16000, 20000, 25600, 32000, 40000, 51200,
)
"""ISOs of cameras in third stops."""
# fmt: on
FARTHEST = 0.1
"""Nominal ratios are not farther from the real ones, as a logarithm."""


@dataclass(frozen=True)
class Exposure:
    """ISO and exposure time of a frame to shoot.

    Attributes
    ----------
    iso : float
    exposure_time : float
        In seconds.
    """

    iso: float
    exposure_time: float

    @property
    def level(self) -> float:
        """Exposure level."""
        return self.iso * self.exposure_time

    def __str__(self) -> str:
        return f"ISO {self.iso:g}, {time_text(self.exposure_time)}"


def best_short(
    ratio: float, isos: Sequence[float], long: Exposure, frames: Iterable[Frame]
) -> Exposure | None:
    """Find the short frame whose exposure level is the long one's over the ratio.

    Parameters
    ----------
    ratio : float
        Nominal.
    isos : sequence of float
        To choose from, the best first.
    long : Exposure
    frames : iterable of Frame
        Of the camera: what they show it to have is preferred.

    Returns
    -------
    Exposure or None
        None where no shutter speed does.
    """
    frames = list(frames)
    shown_isos, shown_times = ({f.iso for f in frames}, {f.seconds for f in frames if f.seconds})

    def off(short: Exposure) -> float:
        return abs(math.log(long.level / short.level / ratio))

    def preference(short: Exposure) -> tuple[bool, float, int, bool]:
        new_iso, new_time = short.iso not in shown_isos, short.exposure_time not in shown_times
        return new_iso, round(off(short), 2), isos.index(short.iso), new_time

    fitting = [
        short
        for short in _exposures(isos, {*SHUTTERS, *shown_times})
        if off(short) < FARTHEST and nominal_ratio(long.level / short.level) == ratio
    ]
    return min(fitting, key=preference, default=None)


def time_text(seconds: float) -> str:
    """Say an exposure time as cameras do.

    Examples
    --------
    >>> time_text(0.4), time_text(1 / 640)
    ('0.4 s', '1/640 s')
    """
    return f"{seconds:.3g} s" if seconds >= 0.29 else f"1/{1 / seconds:.0f} s"


def _exposures(isos: Sequence[float], times: set[float]) -> Iterator[Exposure]:
    return (Exposure(iso, time) for iso in isos for time in sorted(times))
