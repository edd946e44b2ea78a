"""The tags of an output: image, CFA pattern, camera, shot, Exif, GPS and IPTC."""

from collections.abc import Iterable
from fractions import Fraction

from ledcli.metadata.carried import Carried, Fields
from ledcli.metadata.tags import Place, tags_in
from ledcli.metadata.tiff import Directory, FieldType
from ledcli.raw.exif import ISO_ELSEWHERE, Exif, date
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
    _fill_text(root, 50708, photo.exif.camera or "Unknown camera")  # UniqueCameraModel
    _fill_text(root, 50735, photo.exif.serial)  # CameraSerialNumber


def put_tags(root: Directory, exif: Exif, carried: Carried | None = None) -> None:
    """Put the tags of camera and shot that any TIFF may have; see `put_shot`."""
    carried = carried or Carried()
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


def exif_directory(exif: Exif, carried: Carried | None = None) -> Directory:
    """Make the Exif directory: the source's own fields, completed by what LibRaw knows."""
    ifd = Directory(fields=dict(carried.exif) if carried else {})
    for tag, value in (
        (33434, exif.exposure_time),  # ExposureTime
        (33437, exif.aperture),  # FNumber
        (37386, exif.focal_length),  # FocalLength
    ):
        if value is not None and tag not in ifd.fields:
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


def rational(value: float, max_denominator: int = 10**9) -> Fraction:
    """Return the simplest fraction within 1e-7 of a number, so that 1/60 s stays 1/60."""
    exact = Fraction(value)
    limit, fraction = 1, Fraction(0)
    while limit <= max_denominator:
        fraction = exact.limit_denominator(limit)
        if abs(fraction - exact) <= abs(exact) / 10**7:
            break
        limit *= 10
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
