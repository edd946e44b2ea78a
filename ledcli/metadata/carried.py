"""The tags that go from a source to its result as they are: EXIF, GPS, IPTC, XMP, DNG colour."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from ledcli.metadata.containers import Holds, is_ciff, parts
from ledcli.metadata.dng_frame import is_dng, raw_directory
from ledcli.metadata.tag_table import (
    DNG_COLOUR,
    DNG_NAMES,
    DNG_RAW,
    EXIF,
    GPS,
    IMAGE,
    LONGEST_OPCODES,
    MAPS,
    Spec,
    fit,
    turned_charset,
)
from ledcli.metadata.tiff import Field
from ledcli.metadata.tiff_reader import (
    Bytes,
    Directory,
    byte_order,
    child,
    first_directory,
    integers,
    value_of,
)
from ledcli.metadata.xmp import BASIC, LARGEST_PACKET, RDF, packet

Fields = Mapping[int, Field]
"""By tag."""

_XMP, _IPTC, _EXIF_IFD, _GPS_IFD, _MAKER_NOTES = 700, 33723, 34665, 34853, 37500
_DNG_PRIVATE_DATA = 50740
_RATING = 18246
"""Microsoft's tag of the stars that a photo was given; in the standard they are XMP's."""
_MOST_STARS = 5
_IPTC_MARK = 0x1C
_LARGEST_IPTC = 1 << 20
"""Bytes."""


@dataclass(frozen=True)
class Carried:
    """What a source says beyond what `Exif` and `RawPhoto` hold.

    Attributes
    ----------
    image, exif, gps : Fields
        Of the first directory (DNG's colour tags among them), the Exif and the GPS directory.
    xmp, iptc : bytes or None
        The packets.
    maker_notes : bool
        Whether the source has any.
    raw : Fields
        Of the directory of a DNG's raw picture.
    """

    image: Fields = field(default_factory=dict)
    exif: Fields = field(default_factory=dict)
    gps: Fields = field(default_factory=dict)
    xmp: bytes | None = None
    iptc: bytes | None = None
    maker_notes: bool = False
    raw: Fields = field(default_factory=dict)


def read_carried(data: Bytes) -> Carried:
    """Read the tags of a raw file that go to its result.

    Only the tags of `carriedtags` are taken, and of them those whose values are what the standard
    asks for. Whatever else the file holds, or where its offsets point, nothing is raised but what
    reading `data` raises itself.

    Parameters
    ----------
    data : Bytes
        The file: TIFF of either byte order (most raws), CR3, RAF, MRW, or a JPEG in front.

    Returns
    -------
    Carried
        The values little-endian; empty for a file of another kind.
    """
    found = _Found()
    for part in parts(data):
        if part.holds is Holds.ALL:
            found.take_file(part.data)
        elif part.holds is Holds.EXIF:
            found.take(found.exif, part.data, first_directory(part.data), EXIF)
        elif part.holds is Holds.GPS:
            found.take(found.gps, part.data, first_directory(part.data), GPS)
        elif part.holds is Holds.XMP:
            found.xmp = found.xmp or part.data[:]
        else:
            found.maker_notes = True
    return Carried(
        image=found.image,
        exif=found.exif,
        gps=found.gps,
        xmp=_rated(found.xmp, found.stars),
        iptc=found.iptc,
        maker_notes=found.maker_notes or is_ciff(data),
        raw=found.raw,
    )


class _Found:
    """Tags as they are found; what was found first stays."""

    def __init__(self) -> None:
        self.image: dict[int, Field] = {}
        self.exif: dict[int, Field] = {}
        self.gps: dict[int, Field] = {}
        self.raw: dict[int, Field] = {}
        self.xmp: bytes | None = None
        self.stars = 0
        self.iptc: bytes | None = None
        self.maker_notes = False

    def take_file(self, data: Bytes) -> None:
        """Take all of a TIFF."""
        order = byte_order(data)
        if order is None:
            return
        first = first_directory(data)
        exif = child(data, order, first.get(_EXIF_IFD))
        self.take(self.image, data, first, IMAGE)
        # Some cameras keep the exposure in the first directory, as TIFF/EP had it.
        self.take(self.exif, data, exif, EXIF)
        self.take(self.exif, data, first, EXIF)
        self.take(self.gps, data, child(data, order, first.get(_GPS_IFD)), GPS)
        if is_dng(data):
            self.take(self.image, data, first, DNG_NAMES | DNG_COLOUR)
            _drop_wrong_maps(self.image)
            self.take(self.raw, data, raw_directory(data), DNG_RAW)
        self.stars = self.stars or sum(integers(data, order, first.get(_RATING))[:1])
        self.xmp = self.xmp or _packet(data, first, _XMP, LARGEST_PACKET)
        iptc = _packet(data, first, _IPTC, _LARGEST_IPTC)
        if self.iptc is None and iptc and iptc[0] == _IPTC_MARK:
            self.iptc = iptc
        notes = _MAKER_NOTES in exif or _MAKER_NOTES in first or _DNG_PRIVATE_DATA in first
        self.maker_notes = self.maker_notes or notes

    def take(
        self, into: dict[int, Field], data: Bytes, directory: Directory, specs: Mapping[int, Spec]
    ) -> None:
        """Take the tags of a directory that are wanted and what they should be."""
        order = byte_order(data) or "<"
        for tag in specs.keys() & directory.keys() - into.keys():
            value = value_of(data, order, directory[tag], LONGEST_OPCODES)
            fitting = fit(specs[tag], turned_charset(tag, value, order)) if value else None
            if fitting is not None:
                into[tag] = fitting


def _rated(xmp: bytes | None, stars: int) -> bytes | None:
    """Return the packet, with the camera's rating when it has none of its own."""
    if xmp is not None and len(xmp) > LARGEST_PACKET:
        xmp = None
    if not 1 <= stars <= _MOST_STARS or b"Rating" in (xmp or b""):
        return xmp
    ours = (
        f'  <rdf:Description xmlns:rdf="{RDF}" rdf:about=""\n   xmlns:xmp="{BASIC}" '
        f'xmp:Rating="{stars}"/>\n'
    )
    return packet(ours.encode(), xmp)


def _packet(data: Bytes, first: Directory, tag: int, largest: int) -> bytes | None:
    """Bytes of a tag, whatever its type says they are."""
    entry = first.get(tag)
    # Value order "<" takes them as they lie in the file.
    value = value_of(data, "<", entry, largest) if entry else None
    return value[2] if value else None


def _drop_wrong_maps(image: dict[int, Field]) -> None:
    """Take out the tables of a colour profile that are not as large as the profile says."""
    for table, dims in MAPS.items():
        if table in image:
            size = struct.unpack("<3I", image[dims][2]) if dims in image else (0,)
            if image[table][1] != 3 * math.prod(size):
                del image[table]
    for dims in set(MAPS.values()):
        if not any(MAPS[table] == dims for table in MAPS.keys() & image.keys()):
            image.pop(dims, None)
