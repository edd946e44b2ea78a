"""The tags about a shot, as directories of a file to be written: camera, Exif, GPS, IPTC."""

from ledcli.photo.carried import Carried
from ledcli.photo.exif import Exif
from ledcli.photo.raw import RawPhoto
from ledcli.photo.tags import ISO_ELSEWHERE, date
from ledcli.photo.tiff import Directory, Kind, rational

EXIF_IFD = 34665
GPS_IFD = 34853


def put_shot(root: Directory, photo: RawPhoto) -> None:
    """Put what the source says about the shot into the first directory of a file.

    Make, model, date, artist, copyright, and the Exif directory. Not the orientation, the XMP
    packet and the software: those are the writer's.

    Parameters
    ----------
    root : Directory
    photo : RawPhoto
    """
    put_tags(root, photo.exif, photo.carried)


def put_tags(root: Directory, exif: Exif, carried: Carried | None = None) -> None:
    """As `put_shot`, for tags without their photo."""
    root.text(271, exif.make)
    root.text(272, exif.model)
    root.text(306, date(exif.datetime))
    root.text(315, exif.artist)
    root.text(33432, exif.copyright)
    root.children[EXIF_IFD] = [exif_directory(exif, carried)]


def exif_directory(exif: Exif, carried: Carried | None = None) -> Directory:
    """Make the Exif directory: exposure, ISO, aperture, lens and date, as far as they are known."""
    ifd = Directory()
    for tag, value in (
        (33434, exif.exposure_time),
        (33437, exif.aperture),
        (37386, exif.focal_length),
    ):
        if value is not None:
            ifd.rationals(tag, [rational(value)])
    if exif.iso is not None:
        iso = round(exif.iso)
        ifd.integers(34855, Kind.SHORT, min(max(iso, 1), ISO_ELSEWHERE))
        if iso >= ISO_ELSEWHERE:
            ifd.integers(34864, Kind.SHORT, 2)
            ifd.integers(34866, Kind.LONG, iso)
    ifd.raw(36864, Kind.UNDEFINED, b"0231")
    ifd.text(36867, date(exif.datetime))
    ifd.text(42033, exif.serial)
    ifd.text(42035, exif.lens_make)
    ifd.text(42036, exif.lens)
    return ifd
