"""The tags that go from a source to its result as they are: EXIF, GPS, IPTC, XMP, DNG colour."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledcli.photo.tiff import Field

Fields = Mapping[int, Field]
"""By tag."""


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
    """

    image: Fields = field(default_factory=dict)
    exif: Fields = field(default_factory=dict)
    gps: Fields = field(default_factory=dict)
    xmp: bytes | None = None
    iptc: bytes | None = None
    maker_notes: bool = False
