"""The tags of an output: image, CFA pattern, camera, shot, colours, Exif, GPS and IPTC."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ledcli.metadata.carried import Carried, Fields, Place, date, tags_in
from ledcli.metadata.tiff import Directory, Field, FieldType
from ledcli.raw.colour import white_balance_of
from ledcli.raw.exif import ISO_ELSEWHERE, UNKNOWN_CAMERA, Exif
from ledcli.raw.libraw import XYZ_FROM_SRGB, usable_matrix
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import AnyPhase, colour_pattern

EXIF_IFD, GPS_IFD, IPTC_TAG = 34665, 34853, 33723
UNCOMPRESSED, JPEG = 1, 7
"""Compression."""
RGB, YCBCR, CFA, LINEAR_RAW = 2, 6, 32803, 34892
"""PhotometricInterpretation."""
_ISO, _ISO_TYPE, _ISO_INDEX, _EXIF_VERSION, _GPS_VERSION = 34855, 34864, 34866, 36864, 0
_RECOMMENDED_INDEX = 2
"""SensitivityType: the ISO is a recommended exposure index."""
_MIN_EXIF = b"0231"
"""ExifVersion if the source has none, or an older one than its tags need."""
_EXIF_SINCE = {
    # Exif 2.32, table of changes: the tags that each version added.
    b"0230": frozenset(range(34864, 34870)) | frozenset(range(42032, 42038)),
    b"0231": frozenset(range(36880, 36883)) | frozenset(range(37888, 37894)),
    b"0232": frozenset({42080}),
}
_GPS_NEW = bytes((2, 3, 0, 0))
_GPS_SINCE = dict.fromkeys(range(27, 31), bytes((2, 2, 0, 0))) | {31: _GPS_NEW}
"""GPSVersionID that a tag needs, if more than 2.0 (Exif 2.2, 2.3)."""


def put_image(
    ifd: Directory,
    shape: tuple[int, ...],
    *,
    bits: int,
    photometric: int = CFA,
    reduced: bool = False,
) -> None:
    """Put the tags of an uncompressed image in one strip, of shape (H, W) or (H, W, colours)."""
    colours = shape[2] if len(shape) == 3 else 1
    ifd.set(254, FieldType.LONG, int(reduced))  # NewSubfileType
    ifd.set(256, FieldType.LONG, shape[1])  # ImageWidth
    ifd.set(257, FieldType.LONG, shape[0])  # ImageLength
    ifd.set(258, FieldType.SHORT, [bits] * colours)  # BitsPerSample
    ifd.set(259, FieldType.SHORT, UNCOMPRESSED)  # Compression
    ifd.set(262, FieldType.SHORT, photometric)  # PhotometricInterpretation
    ifd.set(277, FieldType.SHORT, colours)  # SamplesPerPixel
    ifd.set(278, FieldType.LONG, shape[0])  # RowsPerStrip
    ifd.set(284, FieldType.SHORT, 1)  # PlanarConfiguration


def put_cfa_pattern(ifd: Directory, phase: AnyPhase) -> None:
    """Put the colours of the CFA's pixels; DNG numbers R, G, B as the planes do."""
    colours = colour_pattern(phase)
    ifd.set(33421, FieldType.SHORT, colours.shape)  # CFARepeatPatternDim
    ifd.set(33422, FieldType.BYTE, colours.ravel().tolist())  # CFAPattern


def put_shot(root: Directory, photo: RawPhoto) -> None:
    """Put the tags of camera and shot into the first directory of a DNG.

    They are the source's own where it has them, otherwise what LibRaw knows. Orientation, XMP,
    software and colours are not among them.
    """
    put_tags(root, photo.exif, photo.carried)
    _copy(root, photo.carried.image, tags_in(Place.CAMERA))
    _fill_text(root, 50708, photo.exif.camera or UNKNOWN_CAMERA)  # UniqueCameraModel
    _fill_text(root, 50735, photo.exif.serial)  # CameraSerialNumber


def put_tags(root: Directory, exif: Exif, carried: Carried) -> None:
    """Put the tags of camera and shot that any TIFF may have; see `put_shot`."""
    _copy(root, carried.image, tags_in(Place.IMAGE))
    _fill_text(root, 271, exif.make)  # Make
    _fill_text(root, 272, exif.model)  # Model
    _fill_text(root, 306, date(exif.datetime))  # DateTime
    _fill_text(root, 315, exif.artist)  # Artist
    _fill_text(root, 33432, exif.copyright)  # Copyright
    root.children[EXIF_IFD] = [exif_directory(exif, carried)]
    if carried.gps:
        root.children[GPS_IFD] = [_gps_directory(carried.gps)]
    if carried.iptc:
        # Readers expect LONGs.
        padded = carried.iptc + bytes(-len(carried.iptc) % 4)
        root.set(IPTC_TAG, FieldType.LONG, padded)


def exif_directory(exif: Exif, carried: Carried) -> Directory:
    """Make the Exif directory: the source's own fields, completed by what LibRaw knows."""
    ifd = Directory(fields=dict(carried.exif))
    for tag, value in (
        (33434, exif.exposure_time),  # ExposureTime
        (33437, exif.aperture),  # FNumber
        (37386, exif.focal_length),  # FocalLength
    ):
        stored = ifd.fields.get(tag)
        if value is not None and not (stored and any(stored.numbers())):
            ifd.set(tag, FieldType.RATIONAL, rational(value))
    _fill_iso(ifd, exif.iso)
    _fill_text(ifd, 36867, date(exif.datetime))  # DateTimeOriginal
    _fill_text(ifd, 42033, exif.serial)  # BodySerialNumber
    _fill_text(ifd, 42035, exif.lens_make)  # LensMake
    _fill_text(ifd, 42036, exif.lens)  # LensModel
    found = ifd.fields.get(_EXIF_VERSION)
    version = found.data if found else b""
    needed = max((v for v, tags in _EXIF_SINCE.items() if tags & ifd.fields.keys()), default=b"")
    if not version.isdigit() or version < needed:
        ifd.set(_EXIF_VERSION, FieldType.UNDEFINED, max(needed, _MIN_EXIF))
    return ifd


def rational(value: float) -> Fraction:
    """Return the simplest fraction within 1e-7 of a number, so that 1/60 s stays 1/60."""
    exact = fraction = Fraction(value)
    for power in range(10):
        fraction = exact.limit_denominator(10**power)
        if abs(fraction - exact) <= abs(exact) / 10**7:
            break
    return fraction


def _gps_directory(gps: Fields) -> Directory:
    ifd = Directory(fields=dict(gps))
    needed = max((_GPS_SINCE.get(tag, b"") for tag in gps), default=b"")
    if _GPS_VERSION not in gps or gps[_GPS_VERSION].data < needed:
        ifd.set(_GPS_VERSION, FieldType.BYTE, _GPS_NEW)
    return ifd


def _copy(root: Directory, fields: Fields, tags: Iterable[int]) -> None:
    root.fields.update({tag: fields[tag] for tag in tags if tag in fields})


def _fill_text(ifd: Directory, tag: int, value: str | None) -> None:
    """Set a text tag if the directory has none, or a blank one."""
    present = ifd.fields.get(tag)
    if present is None or (value and not present.data.strip(b"\0 ")):
        ifd.set_text(tag, value)


def _fill_iso(ifd: Directory, value: float | None) -> None:
    """Set the ISO if it is missing, 0, or said to be in another tag that is missing."""
    if value is None:
        return
    found = ifd.fields.get(_ISO)
    said = found.words()[0] if found else 0
    elsewhere = ifd.fields.keys() & {34865, 34866, 34867}
    iso = max(round(value), 1)
    if said and (said < ISO_ELSEWHERE or elsewhere):
        return
    ifd.set(_ISO, FieldType.SHORT, min(iso, ISO_ELSEWHERE))
    if iso >= ISO_ELSEWHERE and not elsewhere:
        ifd.set(_ISO_TYPE, FieldType.SHORT, _RECOMMENDED_INDEX)
        ifd.set(_ISO_INDEX, FieldType.LONG, iso)


# Colour

_MATRIX_1, _ILLUMINANT_1, _FORWARD_1 = 50721, 50778, 50964
_MATRIX_2, _ILLUMINANT_2, _FORWARD_2 = 50722, 50779, 50965
ILLUMINANT_DATA = 52533, 52534
"""Tags that describe an illuminant which has no number; they came with DNG 1.6."""
_SECOND_SET = {_MATRIX_2, _ILLUMINANT_2, _FORWARD_2, ILLUMINANT_DATA[1], 50724, 50939}
"""With CameraCalibration2 and ProfileHueSatMapData2: what belongs to the second illuminant."""
_NEUTRAL, _WHITE_XY = 50728, 50729
_EXPOSURE = _BASELINE_EXPOSURE, _EXPOSURE_OFFSET = 50730, 51109
_OF_THE_SHOT = {_NEUTRAL, _WHITE_XY, _BASELINE_EXPOSURE, 50732, 50734, 50739}
"""With BaselineSharpness, LinearResponseLimit, ShadowScale: these hold without a colour matrix."""
_D65 = 21
_MAX_ILLUMINANT, _OTHER = 24, 255
"""EXIF LightSource: 1 to 24 have a colour; that of 255, "other", is in another tag."""
_MAX_NUMBER, _MAX_STOPS = 100.0, 20.0
Values = NDArray[np.float64]


def put_colour(root: Directory, photo: RawPhoto, headroom: float = 1.0) -> None:
    """Put matrices, neutral and baseline exposure into a DNG's first directory.

    The source's own tags come first, then LibRaw's matrix and white balance. Without any, the
    camera's colours are taken for sRGB and the light for D65, as some programs refuse a DNG
    without a matrix and a neutral; a monochrome image has neither. BaselineExposure makes up for
    the headroom, the file's white over the wanted white.
    """
    own = _trusted(photo.carried.image)
    if photo.monochrome:
        shot = _OF_THE_SHOT - {_NEUTRAL, _WHITE_XY}
        _copy(root, own, shot)
    else:
        _put_colours(root, photo, own)
    stops = own[_BASELINE_EXPOSURE].numbers()[0] if _BASELINE_EXPOSURE in own else 0.0
    stops += float(np.log2(headroom))
    root.set(_BASELINE_EXPOSURE, FieldType.SRATIONAL, _millionths(stops))


def _put_colours(root: Directory, photo: RawPhoto, own: dict[int, Field]) -> None:
    profile = _profile({tag: field for tag, field in own.items() if tag not in _OF_THE_SHOT})
    root.fields.update(profile)
    if not profile:
        camera = photo.colour_matrix
        matrix = np.linalg.inv(XYZ_FROM_SRGB) if camera is None else camera
        root.set(_MATRIX_1, FieldType.SRATIONAL, _millionths(matrix))
        root.set(_ILLUMINANT_1, FieldType.SHORT, _D65)
    _copy(root, own, _OF_THE_SHOT)
    # A DNG has one of the two, and not every program reads the white point.
    if _NEUTRAL not in own and (photo.as_shot_wb is not None or _WHITE_XY not in own):
        root.set(_NEUTRAL, FieldType.RATIONAL, _millionths(1 / white_balance_of(photo)))
    if _NEUTRAL in root.fields:
        root.fields.pop(_WHITE_XY, None)


def with_less_baseline_exposure(photo: RawPhoto, ratio: float) -> RawPhoto:
    """Return a photo with what its automatic ratio leaves of BaselineExposure and its offset.

    The samples times that ratio are as bright as the picture should be shown, unless the source
    asks for more. At ratio 1 it is shown as its source.
    """
    if ratio <= 1:
        return photo
    own = _trusted(photo.carried.image)
    stops = sum(own[tag].numbers()[0] for tag in own.keys() & {*_EXPOSURE}) - math.log2(ratio)
    image = {tag: field for tag, field in photo.carried.image.items() if tag not in _EXPOSURE}
    if stops > 0:
        Directory(fields=image).set(_BASELINE_EXPOSURE, FieldType.SRATIONAL, _millionths(stops))
    return replace(photo, carried=replace(photo.carried, image=image))


def _trusted(image: Fields) -> dict[int, Field]:
    """Return a source's colour tags whose values are possible."""
    trusted = {}
    for number, tag in tags_in(Place.COLOUR).items():
        field, check = image.get(number), _CHECKS.get(number)
        if field is None or tag.count[0] == tag.count[1] != field.count:
            continue
        values = np.array(field.numbers(), np.float64)
        if check is None or (values.size and np.isfinite(values).all() and check(values)):
            trusted[number] = field
    return trusted


def _profile(own: dict[int, Field]) -> dict[int, Field]:
    """Return the part of a source's colour profile that is consistent; empty without a matrix."""
    if _MATRIX_1 not in own:
        return {}
    drop: set[int] = set()
    lights = []
    for tag, data in zip((_ILLUMINANT_1, _ILLUMINANT_2), ILLUMINANT_DATA, strict=True):
        other = tag in own and own[tag].numbers() == [_OTHER]
        drop |= {data} if not other else {tag} if data not in own else set()
        lights.append(None if tag in drop else own.get(data if other else tag))
    if _MATRIX_2 not in own or None in lights or lights[0] == lights[1]:
        # Two matrices need two known lights.
        drop |= _SECOND_SET
    elif len(own.keys() & {_FORWARD_1, _FORWARD_2}) == 1:
        drop |= {_FORWARD_1, _FORWARD_2}
    return {tag: field for tag, field in own.items() if tag not in drop}


def _is_positive(values: Values) -> bool:
    return bool((values >= 1 / _MAX_NUMBER).all() and (values <= _MAX_NUMBER).all())


def _is_curve(values: Values) -> bool:
    """Return True for points (input, output), inputs rising from 0 to 1."""
    if values.size < 4 or values.size % 2:
        return False
    inputs, outputs = values[::2], values[1::2]
    ends = inputs[0] == 0 and inputs[-1] == 1
    return bool(ends and (np.diff(inputs) > 0).all() and (np.abs(outputs - 0.5) <= 0.5).all())


_CHECKS: dict[int, Callable[[Values], bool]] = {
    **dict.fromkeys(
        (_MATRIX_1, _MATRIX_2, 50723, 50724, _FORWARD_1, _FORWARD_2),
        lambda v: usable_matrix(v.reshape(3, 3)),
    ),
    **dict.fromkeys((50727, _NEUTRAL, 50732, 50739), _is_positive),
    **dict.fromkeys(
        (_ILLUMINANT_1, _ILLUMINANT_2), lambda v: 1 <= v[0] <= _MAX_ILLUMINANT or v[0] == _OTHER
    ),
    **dict.fromkeys(_EXPOSURE, lambda v: bool(abs(v[0]) <= _MAX_STOPS)),
    _WHITE_XY: lambda v: bool((v > 0.05).all() and v.sum() < 1),
    50734: lambda v: _is_positive(v) and v[0] <= 1,
    50940: _is_curve,
}
"""By tag; `read_carried` has checked the others."""


def _millionths(values: ArrayLike) -> list[Fraction]:
    return [Fraction(round(float(value) * 10**6), 10**6) for value in np.ravel(values)]
