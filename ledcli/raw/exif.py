"""What a raw file says about the shot: ISO, exposure time, camera, lens. Never guessed."""

import contextlib
import io
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import exifread

from ledcli.errors import MetadataError, RawError
from ledcli.metadata.containers import FileBytes, Holds, crw_make_model, crw_serial, parts
from ledcli.raw.libraw import OpenedRaw, open_raw

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


@dataclass(frozen=True)
class Exif:
    """Tags of one shot; None is "the file does not say".

    Attributes
    ----------
    make, model : str or None
        Camera, as the file spells it.
    iso : float or None
    exposure_time : float or None
        In seconds.
    aperture : float or None
        F-number.
    focal_length : float or None
        In millimetres.
    datetime : str or None
        When the shot was taken, ``YYYY:MM:DD HH:MM:SS``.
    lens, lens_make, serial, artist, copyright : str or None
        `serial` is the camera body's.
    orientation : int or None
        TIFF orientation, 1 to 8.
    """

    make: str | None = None
    model: str | None = None
    iso: float | None = None
    exposure_time: float | None = None
    aperture: float | None = None
    focal_length: float | None = None
    datetime: str | None = None
    lens: str | None = None
    orientation: int | None = None
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
        """Make and model as one name, the make not said twice; None when neither is known."""
        if not self.model:
            return self.make
        first = (self.make or "").split(" ")[0]
        if not self.make or self.model.lower().startswith(first.lower()):
            return self.model
        return f"{self.make} {self.model}"


def read_exif(path: Path) -> Exif:
    """Read the tags of a raw file, usually from its header alone.

    Only when the header has no readable ISO or exposure time is the file opened with LibRaw,
    which knows more maker notes and formats but decodes the picture on the way.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Exif
        What is missing, zero or senseless in the file is None. A file that is no raw at all
        gives nothing but None.

    Raises
    ------
    RawError
        The file does not exist or cannot be read.
    """
    path = Path(path)
    exif, unsaid = _from_header(path)
    if unsaid & {"iso", "exposure_time"}:
        try:
            with open_raw(path) as raw:
                return _completed(exif, unsaid, raw)
        except RawError:
            pass
    return exif


def read_exif_opened(path: Path, raw: OpenedRaw) -> Exif:
    """As `read_exif`, for a file that LibRaw has open already."""
    exif, unsaid = _from_header(path)
    return _completed(exif, unsaid, raw)


def require_exposure_level(path: Path, exif: Exif) -> float:
    """Exposure level of a shot: ISO x exposure time in seconds.

    Parameters
    ----------
    path : Path
        For the message.
    exif : Exif

    Returns
    -------
    float

    Raises
    ------
    MetadataError
        Naming the file and the tag that is missing.
    """
    missing = [
        name
        for name, value in (("ISO", exif.iso), ("ExposureTime", exif.exposure_time))
        if value is None
    ]
    level = exif.exposure_level
    if level is None:
        raise MetadataError(
            f"{path}: has no usable {' and no '.join(missing)} tag, so its exposure level is "
            "unknown: give the ratio yourself with --ratio"
        )
    return level


def _from_header(path: Path) -> tuple[Exif, set[str]]:
    """Tags by exifread, and the names of the fields for which the file has no tag at all.

    A tag that is there and zero is an answer (nobody knows), and LibRaw is not asked again: it
    would turn a shutter speed of 0 into one second.
    """
    tags: dict[str, Any] = {}
    try:
        with open(path, "rb") as file:
            tags.update(tags_in(file))
    except OSError as error:
        raise RawError(
            f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    named = serial = None
    if not tags:
        with contextlib.suppress(OSError), FileBytes(path) as data:
            named = crw_make_model(data)
            serial = crw_serial(data, named[1]) if named else None
            for part in parts(data):
                if part.holds in (Holds.ALL, Holds.EXIF) and part.data is not data:
                    tags.update(tags_in(io.BytesIO(part.data[:])))
    iso, ask_for_iso = iso_of(tags)
    numbers = {
        "exposure_time": number(find(tags, "ExposureTime")),
        "aperture": number(find(tags, "FNumber")),
        "focal_length": number(find(tags, "FocalLength")),
    }
    unsaid = {
        field
        for field, tag in (
            ("exposure_time", "ExposureTime"),
            ("aperture", "FNumber"),
            ("focal_length", "FocalLength"),
            ("datetime", "DateTimeOriginal"),
            ("lens", "LensModel"),
            ("artist", "Artist"),
        )
        if find(tags, tag) is None
    }
    if ask_for_iso:
        unsaid.add("iso")
    make, model = text(find(tags, "Make")), text(find(tags, "Model"))
    if make is None and model is None and named:
        make, model = (clean(word) for word in named)
    orientation = number(find(tags, "Orientation"))
    exif = Exif(
        make=make,
        model=model,
        iso=sane("iso", iso),
        **{field: sane(field, value) for field, value in numbers.items()},
        datetime=date(text(find(tags, "DateTimeOriginal")) or text(find(tags, "DateTime"))),
        lens=text(find(tags, "LensModel")),
        orientation=int(orientation) if orientation and orientation in range(1, 9) else None,
        lens_make=text(find(tags, "LensMake")),
        serial=text(find(tags, "BodySerialNumber")) or serial,
        artist=text(find(tags, "Artist")),
        copyright=text(find(tags, "Copyright")),
    )
    return exif, unsaid


def _completed(exif: Exif, unsaid: set[str], raw: OpenedRaw) -> Exif:
    """Fill the fields that the header does not mention from what LibRaw knows."""
    known = raw.shot()
    found: dict[str, Any] = {}
    for field in unsaid & known.keys():
        value = known[field]
        if field in SANE:
            value = sane(field, value)
        elif field == "datetime":
            value = date(value)
        else:
            value = clean(value)
        if value is not None and getattr(exif, field) is None:
            found[field] = value
    return replace(exif, **found)
