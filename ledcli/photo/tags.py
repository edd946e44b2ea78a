"""Values of EXIF tags as exifread finds them, made fit to use: numbers, text, dates."""

import logging
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, BinaryIO

import exifread

# exifread says "File format not recognized." on standard error unless someone else listens.
logging.getLogger("exifread").addHandler(logging.NullHandler())

Tags = Mapping[str, Any]
"""By exifread's names: ``EXIF ExposureTime``, ``Image Model``."""

ISO_ELSEWHERE = 65535
"""EXIF 2.3, PhotographicSensitivity: the value does not fit, another tag has it."""
_ISO_TAGS = ("RecommendedExposureIndex", "StandardOutputSensitivity", "ISOSpeed")
_DIRECTORIES = ("EXIF", "Image")
SANE = {
    # Nothing outside is a photograph; the widest real ones are ISO 4,560,000 and hours.
    "iso": (0.1, 1e8),
    "exposure_time": (1e-9, 1e6),
    "aperture": (0.1, 1e3),
    "focal_length": (0.1, 1e5),
}
"""Fields of `Exif` that are numbers, with their bounds."""
_LONGEST_TEXT = 200
_DATE = re.compile(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")


def tags_in(file: BinaryIO) -> Tags:
    """Read every tag that exifread finds; on input made to break it, none."""
    try:
        return exifread.process_file(file, details=False)
    except Exception:
        # It raises what it likes (struct.error, IndexError, ...), and all of it means one thing.
        return {}


def find(tags: Tags, name: str) -> object:
    """Return the tag of that name in the Exif directory, else in the first; None without."""
    for directory in _DIRECTORIES:
        tag = tags.get(f"{directory} {name}")
        if tag is not None:
            return tag
    return None


def iso_of(tags: Tags) -> tuple[float | None, bool]:
    """Return the ISO, and whether LibRaw may know better (no tag, zero, or "elsewhere")."""
    iso = number(find(tags, "ISOSpeedRatings"))
    if iso is not None and 0 < iso < ISO_ELSEWHERE:
        return iso, False
    others = (number(find(tags, name)) for name in _ISO_TAGS)
    found = next((value for value in others if value is not None and value > 0), None)
    return found, found is None


def number(tag: object) -> float | None:
    """Return the first value of a tag as a number, by exact fractions; None when it is not one."""
    values = getattr(tag, "values", None)
    value = values[0] if isinstance(values, list) and values else values
    try:
        if isinstance(value, Fraction):
            # exifread's own fraction keeps a zero denominator instead of raising.
            return float(Fraction(value.numerator, value.denominator))
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except (ZeroDivisionError, OverflowError):
        pass
    return None


def sane(field: str, value: float | None) -> float | None:
    """Return the number if a photograph can have it."""
    low, high = SANE[field]
    return float(value) if value is not None and low <= value <= high else None


def text(tag: object) -> str | None:
    """Return the text of a tag, cleaned."""
    return clean(getattr(tag, "values", None))


def clean(value: object) -> str | None:
    """Make text fit for one line of a terminal: no control characters, no padding."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    value = value.split("\0")[0][:_LONGEST_TEXT]
    return "".join(c if c.isprintable() else " " for c in value).strip() or None


def date(value: str | None) -> str | None:
    """Return ``YYYY:MM:DD HH:MM:SS`` as it is, anything else as None."""
    return value if value and _DATE.fullmatch(value) and not value.startswith("0000") else None
