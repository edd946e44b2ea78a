"""The record inside an output of what was done to it, as an XMP packet of our own namespace."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

from ledcli.photo.tiffread import first_directory_tag

XMP_TAG = 700
NAMESPACE = "urn:ledcli:denoise:1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_LARGEST_PACKET = 1 << 20


def xmp_packet(note: Mapping[str, object], base: bytes | None = None) -> bytes:
    """Make an XMP packet.

    Parameters
    ----------
    note : mapping
        Names to values: names are letters, digits and underscores, values any short text.
    base : bytes or None
        The source's own packet, which the note joins.

    Returns
    -------
    bytes
        UTF-8.
    """
    attributes = []
    for name, value in note.items():
        if not (name.isascii() and name.isidentifier()):
            raise ValueError(f"{name!r} cannot name a property")
        # XML has no way to write control characters.
        text = "".join(c if c.isprintable() else " " for c in str(value))
        attributes.append(f"\n   led:{name}={quoteattr(text)}")
    return (
        f'{_BEGIN}\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'  <rdf:Description rdf:about=""\n   xmlns:led="{NAMESPACE}"{"".join(attributes)}/>\n'
        ' </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def read_note(path: Path) -> dict[str, str] | None:
    """Read the note back from a DNG or TIFF that `led` wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict or None
        None when the file is not ours, or cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    return note_in(data)


def note_in(data: bytes) -> dict[str, str] | None:
    """As `read_note`, for a file in memory."""
    packet = first_directory_tag(data, XMP_TAG)
    # A packet that declares entities is not ours, and could be made to grow without end.
    if not packet or len(packet) > _LARGEST_PACKET or b"<!" in packet:
        return None
    try:
        root = ElementTree.fromstring(packet.decode("utf-8").rstrip("\0"))
    except (ElementTree.ParseError, ValueError):
        return None
    prefix = f"{{{NAMESPACE}}}"
    note = {
        key.removeprefix(prefix): value
        for element in root.iter(f"{{{_RDF}}}Description")
        for key, value in element.attrib.items()
        if key.startswith(prefix)
    }
    return note or None
