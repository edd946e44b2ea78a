"""The tags about a shot, as directories of a file to be written: camera, Exif, GPS, IPTC."""

from collections.abc import Iterable
from fractions import Fraction

from ledcli.metadata.carried import Carried, Fields
from ledcli.metadata.tags import Place, tags_in
from ledcli.metadata.tiff import Directory, FieldType
from ledcli.raw.exif import ISO_ELSEWHERE, Exif, date
from ledcli.raw.reader import RawPhoto

EXIF_IFD = 34665
GPS_IFD = 34853
IPTC_TAG = 33723
_ISO, _ISO_TYPE, _ISO_INDEX, _EXIF_VERSION, _GPS_VERSION = 34855, 34864, 34866, 36864, 0
_RECOMMENDED_INDEX = 2
"""SensitivityType: the ISO is a recommended exposure index."""
_OLDEST_EXIF = b"0231"
"""Version of the Exif directory where the source does not say one, or one older than its tags."""
_EXIF_SINCE = {
    # Exif 2.32, table of changes: tags, and the version that brought them.
    b"0230": frozenset(range(34864, 34870)) | frozenset(range(42032, 42038)),
    b"0231": frozenset(range(36880, 36883)) | frozenset(range(37888, 37894)),
    b"0232": frozenset({42080}),
}
_GPS_NEW = bytes((2, 3, 0, 0))
_GPS_SINCE = dict.fromkeys(range(27, 31), bytes((2, 2, 0, 0))) | {31: _GPS_NEW}
"""Tags that the first version, 2.0, did not have (Exif 2.2, 2.3)."""


def put_shot(root: Directory, photo: RawPhoto) -> None:
    """Put what the source says about the shot into the first directory of a DNG.

    Camera, dates, captions, the Exif and GPS directories and IPTC, as the source wrote them where
    it did, else as LibRaw knows them. Not the orientation, the XMP packet, the software and the
    colours: those are the writer's.

    Parameters
    ----------
    root : Directory
    photo : RawPhoto
    """
    put_tags(root, photo.exif, photo.carried)
    _copy(root, photo.carried.image, tags_in(Place.CAMERA))
    _fill_text(root, 50708, photo.exif.camera or "Unknown camera")
    _fill_text(root, 50735, photo.exif.serial)


def put_tags(root: Directory, exif: Exif, carried: Carried | None = None) -> None:
    """As `put_shot`, for any TIFF: without DNG's own tags."""
    carried = carried or Carried()
    _copy(root, carried.image, tags_in(Place.IMAGE))
    _fill_text(root, 271, exif.make)
    _fill_text(root, 272, exif.model)
    _fill_text(root, 306, date(exif.datetime))
    _fill_text(root, 315, exif.artist)
    _fill_text(root, 33432, exif.copyright)
    root.children[EXIF_IFD] = [exif_directory(exif, carried)]
    if carried.gps:
        root.children[GPS_IFD] = [_gps_directory(carried.gps)]
    if carried.iptc:
        # As LONGs, which is how readers look for it.
        padded = carried.iptc + bytes(-len(carried.iptc) % 4)
        root.set(IPTC_TAG, FieldType.LONG, padded)


def exif_directory(exif: Exif, carried: Carried | None = None) -> Directory:
    """Make the Exif directory: the source's own fields, and what else is known of the shot."""
    ifd = Directory(fields=dict(carried.exif) if carried else {})
    for tag, value in (
        (33434, exif.exposure_time),
        (33437, exif.aperture),
        (37386, exif.focal_length),
    ):
        if value is not None and tag not in ifd.fields:
            ifd.set(tag, FieldType.RATIONAL, rational(value))
    _fill_iso(ifd, exif.iso)
    _fill_text(ifd, 36867, date(exif.datetime))
    _fill_text(ifd, 42033, exif.serial)
    _fill_text(ifd, 42035, exif.lens_make)
    _fill_text(ifd, 42036, exif.lens)
    found = ifd.fields.get(_EXIF_VERSION)
    version = found.data if found else b""
    needed = max((v for v, tags in _EXIF_SINCE.items() if tags & ifd.fields.keys()), default=b"")
    if not version.isdigit() or version < needed:
        ifd.set(_EXIF_VERSION, FieldType.UNDEFINED, max(needed, _OLDEST_EXIF))
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
    """Set a text tag where the directory has none, or a blank one."""
    present = ifd.fields.get(tag)
    if present is None or (value and not present.data.strip(b"\0 ")):
        ifd.set_text(tag, value)


def _fill_iso(ifd: Directory, value: float | None) -> None:
    """Set the ISO where the directory lacks it, says 0, or that it is elsewhere when it is not."""
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
