"""The record inside an output of what was done to it, as XMP in a namespace of our own."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

from ledcli.errors import UsageError
from ledcli.photo.bytesource import Bytes, FileBytes
from ledcli.photo.containers import png_text
from ledcli.photo.tiffread import first_directory_tag
from ledcli.photo.xmpjoin import CAMERA_RAW, RDF, TIFF, packet, parsed

XMP_TAG = 700
NAMESPACE = "urn:ledcli:denoise:1.0/"
PNG_XMP = "XML:com.adobe.xmp"
"""Keyword of the text chunk, XMP specification part 3."""


def xmp_packet(
    note: Mapping[str, object], base: bytes | None = None, *, upright: bool = False
) -> bytes:
    """Make an XMP packet.

    Parameters
    ----------
    note : mapping
        Names to values: names are letters, digits and underscores, values any short text.
    base : bytes or None
        The source's own packet, which the note joins: it stays as it is, but for an earlier note
        of ours. One that is no XMP, or is made to break readers, is left out.
    upright : bool
        Whether the packet is for a picture with the orientation applied, no raw: then the
        source's orientation and its settings for raw developers are left out as well.

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
    ours = (
        f'  <rdf:Description xmlns:rdf="{RDF}" rdf:about=""\n   xmlns:led="{NAMESPACE}"'
        f"{''.join(attributes)}/>\n"
    ).encode("utf-8", "replace")
    unwanted: set[tuple[str, str | None]] = {(NAMESPACE, None)}
    if upright:
        unwanted |= {(TIFF, "Orientation"), (CAMERA_RAW, None)}
    return packet(ours if note or not base else b"", base, unwanted)


def now() -> str:
    """Return the time for a note, UTC to the second in ISO form.

    ``SOURCE_DATE_EPOCH`` in the environment stands in for the clock, so that builds and tests can
    make the same bytes twice (reproducible-builds.org).

    Raises
    ------
    UsageError
        The variable is no number of seconds.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = time.gmtime(int(fixed) if fixed else None)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {fixed!r}, not a number of seconds since 1970: unset it"
        ) from None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)


def read_note(path: Path) -> dict[str, str] | None:
    """Read the note back from a DNG, TIFF or PNG that `led` wrote, and little else of the file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict or None
        None when the file is not ours, or cannot be read.
    """
    try:
        with FileBytes(path) as data:
            return note_in(data)
    except OSError:
        return None


def note_in(data: Bytes) -> dict[str, str] | None:
    """As `read_note`, for a file in memory."""
    found = first_directory_tag(data, XMP_TAG) or png_text(data, PNG_XMP)
    root = parsed(found) if found else None
    if root is None:
        return None
    prefix = f"{{{NAMESPACE}}}"
    note: dict[str, str] = {}
    for element in root.iter(f"{{{RDF}}}Description"):
        # Programs that keep a packet may turn its attributes into elements.
        said = [*element.attrib.items(), *((child.tag, child.text or "") for child in element)]
        note |= {key.removeprefix(prefix): value for key, value in said if key.startswith(prefix)}
    return note or None
