"""Black levels in the maker notes of Nikon's raws, which LibRaw cuts to whole numbers."""

from ledcli.metadata.dng_mosaic import mosaic_directory
from ledcli.metadata.tiff import Bytes, Directory

_EXIF_IFD, _MAKER_NOTES, _BITS = 34665, 37500, 258
_NAME = b"Nikon\0\2"
_NOTES_START = 10
"""Name, version and two spare bytes; then a TIFF of their own."""
_BLACK, _BLACK_BITS = 0x3D, 14
"""The tag's levels are for 14 bits, even in a file of 12."""


def nikon_black(data: Bytes) -> list[float]:
    """Read the black level that a NEF's maker notes state (tag BlackLevel).

    Returns
    -------
    list of float
        Of R, G1, G2, B, in DN of the file's own bits; empty for other files and for older cameras,
        whose black is 0.
    """
    notes = Directory.first(data).child(_EXIF_IFD).stored(_MAKER_NOTES) or b""
    bits = mosaic_directory(data).integers(_BITS)
    if not notes.startswith(_NAME) or len(bits) != 1 or bits[0] > _BLACK_BITS:
        return []
    levels = Directory.first(notes[_NOTES_START:]).integers(_BLACK)
    return [level / (1 << (_BLACK_BITS - bits[0])) for level in levels] if len(levels) == 4 else []
