"""The record inside an output of what was done to it, as XMP in a namespace of our own."""

import os
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from ledcli.errors import UsageError
from ledcli.metadata.containers import FileBytes, png_text
from ledcli.metadata.tiff import Bytes, Directory

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
BASIC = "http://ns.adobe.com/xap/1.0/"
TIFF = "http://ns.adobe.com/tiff/1.0/"
CAMERA_RAW = "http://ns.adobe.com/camera-raw-settings/1.0/"
LARGEST_PACKET = 8 << 20
"""Bytes; raw developers keep masks and histories in it."""
_OURS = 1 << 16
"""Bytes that our own lines may add to the largest packet of a source."""
_DEEPEST = 100
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
_END = b'\n<?xpacket end="w"?>'
_TAG_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=<>"'/]+)\s*=\s*("[^"]*"|'[^']*')""")

Unwanted = Collection[tuple[str, str | None]]
"""Namespaces and names of properties; None is every name."""


class _NotXmp(Exception):
    """The packet is no XMP, or none to be trusted."""


def packet(ours: bytes, base: bytes | None = None, unwanted: Unwanted = ()) -> bytes:
    """Make a packet of a description alone, or joined to another packet if that can be (`join`)."""
    joined = join(base, ours, unwanted) if base else None
    if joined is not None and parsed(joined) is not None:
        return joined
    head = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{RDF}">\n'.encode()
    return _BEGIN + head + ours + b" </rdf:RDF>\n</x:xmpmeta>" + _END


def parsed(packet: bytes) -> ElementTree.Element | None:
    """Parse a packet; None when it is damaged, too large, or declares a document type."""
    if len(packet) > LARGEST_PACKET + _OURS or b"<!DOCTYPE" in packet:
        return None
    try:
        return ElementTree.fromstring(packet.decode("utf-8").rstrip("\0"))
    except (ElementTree.ParseError, ValueError):
        return None


def join(base: bytes, ours: bytes, unwanted: Unwanted) -> bytes | None:
    """Add a description to a packet, and take some properties out of it.

    Parameters
    ----------
    base : bytes
        The packet, UTF-8.
    ours : bytes
        An ``rdf:Description`` element that declares its own namespaces.
    unwanted : pairs of namespace and name
        Properties that are left out where they stand directly in a description.

    Returns
    -------
    bytes or None
        None when `base` is no XMP, too large, too deep, or declares a document type (entities can
        be made to grow without end).
    """
    whole = base.rstrip(b"\0").removeprefix(b"\xef\xbb\xbf")
    if len(whole) > LARGEST_PACKET:
        return None
    try:
        walk = _Walk(whole, unwanted)
    except (_NotXmp, expat.ExpatError, ValueError):
        return None
    parts, at = [], 0
    for cut in [*sorted(walk.cuts), _Cut(walk.end, walk.end)]:
        # What lies inside something that goes already is gone with it.
        if cut.start >= at:
            parts.append(whole[at : cut.start])
            at = cut.stop
    joined = b"".join([*parts, ours, whole[at:]])
    if b"<?xpacket" not in joined:
        joined = _BEGIN + joined + _END
    return joined


@dataclass(frozen=True, order=True)
class _Cut:
    """Bytes of the packet that go."""

    start: int
    stop: int


class _Walk:
    """One pass over a packet: where its RDF ends, and where unwanted properties lie."""

    def __init__(self, packet: bytes, unwanted: Unwanted) -> None:
        self.cuts: list[_Cut] = []
        self.end = -1
        self._packet = packet
        self._unwanted = unwanted
        self._path: list[str] = []
        self._going: int | None = None
        self._prefixes: dict[str, str] = {}
        self._parser = parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartElementHandler = self._starts
        parser.EndElementHandler = self._ends
        parser.Parse(packet, True)
        if self.end < 0:
            raise _NotXmp

    def _doctype(self, *what: object) -> None:
        raise _NotXmp

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        self._prefixes[prefix or ""] = uri or ""

    def _starts(self, name: str, attributes: dict[str, str]) -> None:
        at = self._parser.CurrentByteIndex
        inside = self._in_description()
        self._path.append(name)
        if len(self._path) > _DEEPEST:
            raise _NotXmp
        if name == f"{RDF} RDF" and self._is_empty(at):
            raise _NotXmp
        if inside and self._is_unwanted(name):
            self._going = at
        elif self._in_description() and any(self._is_unwanted(name) for name in attributes):
            self._cut_attributes(at)
            about = f"{RDF} about"
            if self._is_empty(at) and all(a == about or self._is_unwanted(a) for a in attributes):
                self.cuts.append(self._whole(at))

    def _ends(self, name: str) -> None:
        at = self._parser.CurrentByteIndex
        self._path.pop()
        if self._going is not None and self._in_description():
            # Of an empty element, expat reports the byte after it as its end.
            stop = at if self._is_empty(self._going) else self._packet.index(b">", at) + 1
            self.cuts.append(_Cut(self._going, stop))
            self._going = None
        if name == f"{RDF} RDF" and self.end < 0:
            self.end = at

    def _in_description(self) -> bool:
        """Whether the path ends at a description of the first RDF."""
        rdf, description = f"{RDF} RDF", f"{RDF} Description"
        return self._path[-2:] == [rdf, description] and self.end < 0

    def _is_unwanted(self, name: str) -> bool:
        uri, _, local = name.rpartition(" ")
        return (uri, None) in self._unwanted or (uri, local) in self._unwanted

    def _tag(self, at: int) -> tuple[list[re.Match[bytes]], int]:
        """Find the attributes of the start tag at that byte, and the byte after the tag."""
        name = _TAG_NAME.match(self._packet, at)
        if name is None:
            raise _NotXmp
        found, end = [], name.end()
        while attribute := _ATTRIBUTE.match(self._packet, end):
            found.append(attribute)
            end = attribute.end()
        return found, self._packet.index(b">", end) + 1

    def _is_empty(self, at: int) -> bool:
        return self._packet.startswith(b"/>", self._tag(at)[1] - 2)

    def _whole(self, at: int) -> _Cut:
        """Return the empty element at that byte, with the blanks that an earlier join added."""
        stop = self._tag(at)[1]
        start = at - 2 if self._packet.startswith(b"  ", at - 2) else at
        return _Cut(start, stop + 1 if self._packet.startswith(b"\n", stop) else stop)

    def _cut_attributes(self, at: int) -> None:
        for attribute in self._tag(at)[0]:
            prefix, _, local = attribute[1].decode().rpartition(":")
            if prefix and self._is_unwanted(f"{self._prefixes.get(prefix, '')} {local}"):
                self.cuts.append(_Cut(attribute.start(), attribute.end()))


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
    found = Directory.first(data).stored(XMP_TAG, LARGEST_PACKET + _OURS) or png_text(data, PNG_XMP)
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
