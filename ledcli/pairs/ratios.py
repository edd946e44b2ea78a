"""Ratios by EXIF, and the nominal ones that third-stop shutter speeds miss by a little."""

import math
from pathlib import Path

from ledcli.errors import MetadataError, PairError
from ledcli.photo.exif import Exif

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
