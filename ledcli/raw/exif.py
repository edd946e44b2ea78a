"""What a raw file says about the shot: ISO, exposure time, camera, lens. Nothing is guessed."""

import contextlib
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ledcli.errors import MetadataError, RawError, os_reason
from ledcli.metadata.carried import date
from ledcli.metadata.containers import FileBytes, Holds, crw_camera, parts
from ledcli.metadata.tiff import Bytes, Directory, Field
from ledcli.raw.libraw import OpenedRaw, open_raw

ISO_ELSEWHERE = 65535
"""Exif 2.3, PhotographicSensitivity: the value does not fit, another tag has it."""
UNKNOWN_CAMERA = "Unknown camera"
"""UniqueCameraModel, which a DNG must have, in results of photos that do not name theirs."""
_ISO, _ISO_TYPE, _OUTPUT, _INDEX, _SPEED = 34855, 34864, 34865, 34866, 34867
"""PhotographicSensitivity, SensitivityType, StandardOutputSensitivity, RecommendedExposureIndex,
ISOSpeed."""
_ISO_ORDER = {
    1: (_OUTPUT,),
    2: (_INDEX,),
    3: (_SPEED,),
    4: (_OUTPUT, _INDEX),
    5: (_OUTPUT, _SPEED),
    6: (_INDEX, _SPEED),
}
"""By SensitivityType: the tags that have the photographic sensitivity (Exif 2.3, 4.6.5)."""
_ISO_TAGS = (_INDEX, _OUTPUT, _SPEED)
_TAGS = {
    "make": 271,
    "model": 272,
    "iso": _ISO,
    "exposure_time": 33434,
    "aperture": 33437,
    "focal_length": 37386,
    "datetime": 36867,  # DateTimeOriginal
    "lens": 42036,  # LensModel
    "lens_make": 42035,
    "serial": 42033,  # BodySerialNumber
    "artist": 315,
    "copyright": 33432,
}
"""Fields of `Exif` and their tags, in the Exif or the first directory."""
_EXIF_IFD, _DATE_TIME, _SHUTTER_SPEED, _APERTURE, _UNIQUE_MODEL = 34665, 306, 37377, 37378, 50708
_LIMITS = {
    "iso": (0.1, 1e8),
    "exposure_time": (1e-9, 1e6),
    "aperture": (0.1, 1e3),
    "focal_length": (0.1, 1e5),
}
"""Numeric fields: no photo has values outside; the widest real ones are ISO 4,560,000 and hours."""
_MAX_TEXT, _MAX_BYTES = 200, 1 << 16
_MAX_APEX = 50.0


@dataclass(frozen=True)
class Exif:
    """Tags of one shot, as spelled in the file; None if it does not have them."""

    make: str | None = None
    model: str | None = None
    iso: float | None = None
    exposure_time: float | None = None
    """Seconds."""
    aperture: float | None = None
    """f-number."""
    focal_length: float | None = None
    """Millimetres."""
    datetime: str | None = None
    """When the shot was taken, ``YYYY:MM:DD HH:MM:SS``."""
    lens: str | None = None
    lens_make: str | None = None
    serial: str | None = None
    """The camera body's."""
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
    if exif.exposure_level is None:
        raise MetadataError(
            f"{path}: {missing_tags(exif)}, so its exposure level is unknown: give the ratio "
            "yourself with --ratio"
        )
    return exif.exposure_level


def missing_tags(exif: Exif) -> str:
    """Say which tags of the exposure level are missing: ``has no usable ISO tag``."""
    tags = {"ISO": exif.iso, "ExposureTime": exif.exposure_time}
    missing = [name for name, value in tags.items() if value is None]
    return f"has no usable {' and no '.join(missing)} tag"


def is_camera(camera: str | None, make: str | None, names: Collection[str]) -> bool:
    """Return True if a camera is one of those that a model names, however they are spelt.

    Case, blanks and a missing or repeated make are ignored.

    Examples
    --------
    >>> is_camera("NIKON D850", "NIKON CORPORATION", ["Nikon Corporation  NIKON D850"])
    True
    """
    if not camera:
        return False
    maker = set((make or "").casefold().split())
    return _without_make(camera, maker) in (_without_make(name, maker) for name in names)


def _from_header(path: Path) -> tuple[Exif, set[str]]:
    """Read a file's own tags; also return the fields that LibRaw may know.

    A tag that is zero is an answer (unknown), and LibRaw is not asked: it would turn a shutter
    speed of 0 into one second.
    """
    try:
        with FileBytes(path) as data:
            tags, crw = _read_tags(data), crw_camera(data)
    except OSError as error:
        raise RawError(f"{path}: cannot be read: {os_reason(error)}") from None
    found: dict[str, Any] = {}
    for name, tag in _TAGS.items():
        read = _number if name in _LIMITS else _text
        found[name] = _checked(name, read(tags.get(tag)))
    found["datetime"] = found["datetime"] or date(_text(tags.get(_DATE_TIME)))
    for name, tag, stops in (("exposure_time", _SHUTTER_SPEED, -1), ("aperture", _APERTURE, 0.5)):
        # APEX values (Exif 2.3, annex C); many files have 0 for unknown.
        apex = _number(tags.get(tag))
        if found[name] is None and apex and abs(apex) < _MAX_APEX:
            found[name] = _checked(name, 2.0 ** (stops * apex))
    if found["iso"] is None:
        order = _ISO_ORDER.get(int(_number(tags.get(_ISO_TYPE)) or 0), ())
        others = (_checked("iso", _number(tags.get(tag))) for tag in (*order, *_ISO_TAGS))
        found["iso"] = next((iso for iso in others if iso), None)
    unique = _text(tags.get(_UNIQUE_MODEL))
    if found["model"] is None and unique not in (None, UNKNOWN_CAMERA):
        # As in LibRaw and dcraw: the first word is the make.
        make, _, model = unique.partition(" ")
        named = found["make"] is not None or not model
        found["make"], found["model"] = (found["make"], unique) if named else (make, model)
    if crw and found["make"] is None and found["model"] is None:
        found["make"], found["model"], found["serial"] = (_clean(value) for value in crw)
    missing = {name for name, tag in _TAGS.items() if name == "iso" or tag not in tags}
    return Exif(**found), {name for name in missing if found[name] is None}


def _completed(exif: Exif, missing: set[str], raw: OpenedRaw) -> Exif:
    """Fill the fields without a tag from what LibRaw knows."""
    new: dict[str, Any] = {
        name: _checked(name, value) for name, value in raw.shot().items() if name in missing
    }
    return replace(exif, **new)


def _read_tags(data: Bytes) -> dict[int, Field]:
    """Read what is wanted of a file's Exif and first directories; Exif's come first."""
    wanted = {*_TAGS.values(), *_ISO_TAGS, _ISO_TYPE, _DATE_TIME}
    wanted |= {_SHUTTER_SPEED, _APERTURE, _UNIQUE_MODEL}
    found: dict[int, Field] = {}
    for part in parts(data):
        first = Directory.first(part.data)
        directories = {Holds.ALL: (first.child(_EXIF_IFD), first), Holds.EXIF: (first,)}
        for directory in directories.get(part.holds, ()):
            for tag in wanted & (directory.entries.keys() - found.keys()):
                if value := directory.get(tag, _MAX_BYTES):
                    found[tag] = value
    return found


def _number(field: Field | None) -> float | None:
    """Return the first number that is not 0; None if there is none."""
    numbers = field.numbers() if field else []
    return next((float(value) for value in numbers if value and math.isfinite(value)), None)


def _text(field: Field | None) -> str | None:
    return _clean(field.data) if field else None


def _checked(field: str, value: object) -> float | str | None:
    """Return a field's value if a photo can have it, text cleaned; else None."""
    if field in _LIMITS:
        low, high = _LIMITS[field]
        if not isinstance(value, int | float) or (field, value) == ("iso", ISO_ELSEWHERE):
            return None
        return float(value) if low <= value <= high else None
    return date(_clean(value)) if field == "datetime" else _clean(value)


def _clean(value: object) -> str | None:
    """Make text fit for one line of a terminal: no control characters, no padding."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    value = value.split("\0")[0][:_MAX_TEXT]
    return "".join(c if c.isprintable() else " " for c in value).strip() or None


def _without_make(camera: str, maker: set[str]) -> list[str]:
    words = camera.casefold().split()
    while len(words) > 1 and words[0] in maker:
        del words[0]
    return words
