"""What a raw file says about the shot: ISO, exposure time, camera, lens. Nothing is guessed."""

import contextlib
import io
import logging
import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import exifread

from ledcli.errors import MetadataError, RawError, os_reason
from ledcli.metadata.containers import FileBytes, Holds, crw_camera, parts
from ledcli.raw.libraw import OpenedRaw, open_raw

# exifread logs "File format not recognized." to standard error unless there is a handler.
logging.getLogger("exifread").addHandler(logging.NullHandler())

Tags = dict[str, Any]
"""By exifread's names: ``EXIF ExposureTime``, ``Image Model``."""

ISO_ELSEWHERE = 65535
"""EXIF 2.3, PhotographicSensitivity: the value does not fit, another tag has it."""
_ISO_TAGS = ("RecommendedExposureIndex", "StandardOutputSensitivity", "ISOSpeed")
_TAGS = {
    "make": "Make",
    "model": "Model",
    "exposure_time": "ExposureTime",
    "aperture": "FNumber",
    "focal_length": "FocalLength",
    "datetime": "DateTimeOriginal",
    "lens": "LensModel",
    "lens_make": "LensMake",
    "serial": "BodySerialNumber",
    "artist": "Artist",
    "copyright": "Copyright",
}
"""Fields of `Exif` and their tags, in the Exif or the first directory."""
_LIMITS = {
    "iso": (0.1, 1e8),
    "exposure_time": (1e-9, 1e6),
    "aperture": (0.1, 1e3),
    "focal_length": (0.1, 1e5),
}
"""Numeric fields: no photo has values outside; the widest real ones are ISO 4,560,000 and hours."""
_MAX_TEXT = 200
_DATE = re.compile(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")


@dataclass(frozen=True)
class Exif:
    """Tags of one shot; None if the file does not have them.

    Attributes
    ----------
    make, model, lens, lens_make : str or None
        As spelled in the file.
    iso, exposure_time, aperture, focal_length : float or None
        Exposure time in seconds, f-number, millimetres.
    datetime : str or None
        When the shot was taken, ``YYYY:MM:DD HH:MM:SS``.
    serial, artist, copyright : str or None
        `serial` is the camera body's.
    """

    make: str | None = None
    model: str | None = None
    iso: float | None = None
    exposure_time: float | None = None
    aperture: float | None = None
    focal_length: float | None = None
    datetime: str | None = None
    lens: str | None = None
    lens_make: str | None = None
    serial: str | None = None
    artist: str | None = None
    copyright: str | None = None

    @property
    def exposure_level(self) -> float | None:
        """ISO x exposure time in seconds; None when either is missing."""
        if self.iso is None or self.exposure_time is None:
            return None
        return self.iso * self.exposure_time

    @property
    def camera(self) -> str | None:
        """Make and model as one name, without the make twice; None when neither is known."""
        if not self.model:
            return self.make
        first = (self.make or "").split(" ")[0]
        if not self.make or self.model.lower().startswith(first.lower()):
            return self.model
        return f"{self.make} {self.model}"


def read_exif(path: Path) -> Exif:
    """Read the tags of a raw file, usually from its header alone.

    Only if the header has no readable ISO or exposure time is the file opened with LibRaw, which
    knows more maker notes and formats but decodes the image on the way.

    What is missing, zero or impossible in the file is None; everything for a file that is not a
    raw. Raises RawError if the file does not exist or cannot be read.
    """
    path = Path(path)
    exif, missing = _from_header(path)
    if missing & {"iso", "exposure_time"}:
        with contextlib.suppress(RawError), open_raw(path) as raw:
            return _completed(exif, missing, raw)
    return exif


def read_exif_opened(path: Path, raw: OpenedRaw) -> Exif:
    """As `read_exif`, for a file that LibRaw has open already."""
    return _completed(*_from_header(path), raw)


def require_exposure_level(path: Path, exif: Exif) -> float:
    """Return ISO x exposure time in seconds; MetadataError names the file and a missing tag."""
    level = exif.exposure_level
    if level is not None:
        return level
    known = {"ISO": exif.iso, "ExposureTime": exif.exposure_time}
    missing = " and no ".join(name for name, value in known.items() if value is None)
    raise MetadataError(
        f"{path}: has no usable {missing} tag, so its exposure level is unknown: give the ratio "
        "yourself with --ratio"
    )


def date(value: str | None) -> str | None:
    """Return ``YYYY:MM:DD HH:MM:SS`` unchanged, anything else as None."""
    return value if value and _DATE.fullmatch(value) and not value.startswith("0000") else None


def _from_header(path: Path) -> tuple[Exif, set[str]]:
    """Read tags by exifread; also return the fields for which the file has no tag.

    A tag that is zero is an answer (unknown), and LibRaw is not asked: it would turn a shutter
    speed of 0 into one second.
    """
    try:
        with open(path, "rb") as file:
            tags = _read_tags(file)
    except OSError as error:
        raise RawError(f"{path}: cannot be read: {os_reason(error)}") from None
    crw = None
    if not tags:
        with contextlib.suppress(OSError), FileBytes(path) as data:
            crw = crw_camera(data)
            for part in parts(data):
                if part.holds in (Holds.ALL, Holds.EXIF) and part.data is not data:
                    tags.update(_read_tags(io.BytesIO(part.data[:])))
    missing = {field for field, tag in _TAGS.items() if _find(tags, tag) is None}
    found: dict[str, Any] = {}
    for field, tag in _TAGS.items():
        read = _number if field in _LIMITS else _text
        found[field] = _checked(field, read(_find(tags, tag)))
    if not _text(_find(tags, "DateTimeOriginal")):
        found["datetime"] = date(_text(_find(tags, "DateTime")))
    iso = _number(_find(tags, "ISOSpeedRatings"))
    if iso is None or not 0 < iso < ISO_ELSEWHERE:
        others = (_number(_find(tags, name)) for name in _ISO_TAGS)
        iso = next((value for value in others if value is not None and value > 0), None)
        missing |= {"iso"} if iso is None else set()
    if crw and found["make"] is None and found["model"] is None:
        found["make"], found["model"], found["serial"] = (_clean(value) for value in crw)
    found["iso"] = _checked("iso", iso)
    return Exif(**found), missing


def _completed(exif: Exif, missing: set[str], raw: OpenedRaw) -> Exif:
    """Fill the fields without a tag from what LibRaw knows."""
    new: dict[str, Any] = {
        field: _checked(field, value)
        for field, value in raw.shot().items()
        if field in missing and getattr(exif, field) is None
    }
    return replace(exif, **new)


def _read_tags(file: BinaryIO) -> Tags:
    """Read every tag that exifread finds; none if the input breaks it."""
    try:
        return dict(exifread.process_file(file, details=False))
    except Exception:  # struct.error, IndexError, ...: all mean that there are no tags
        return {}


def _find(tags: Tags, name: str) -> object:
    return tags.get(f"EXIF {name}", tags.get(f"Image {name}"))


def _number(tag: object) -> float | None:
    """Return the first value of a tag as a number; None if it is not one."""
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


def _text(tag: object) -> str | None:
    return _clean(getattr(tag, "values", None))


def _checked(field: str, value: object) -> float | str | None:
    """Return a field's value if a photo can have it, text cleaned; else None."""
    if field in _LIMITS:
        low, high = _LIMITS[field]
        return float(value) if isinstance(value, int | float) and low <= value <= high else None
    return date(_clean(value)) if field == "datetime" else _clean(value)


def _clean(value: object) -> str | None:
    """Make text fit for one line of a terminal: no control characters, no padding."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    value = value.split("\0")[0][:_MAX_TEXT]
    return "".join(c if c.isprintable() else " " for c in value).strip() or None
