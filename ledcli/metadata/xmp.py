"""XMP packets: led's record of what was done to a photo, joined to the source's own packet."""

import os
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping
from html import escape  # not xml.sax, which imports urllib
from pathlib import Path
from xml.parsers import expat

from ledcli.errors import UsageError
from ledcli.metadata.containers import FileBytes, png_text
from ledcli.metadata.tiff import Bytes, Directory

XMP_TAG = 700
NAMESPACE = "urn:ledcli:denoise:1.0/"
PNG_XMP = "XML:com.adobe.xmp"
"""Keyword of a PNG's text chunk, XMP specification part 3."""
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
BASIC = "http://ns.adobe.com/xap/1.0/"
TIFF = "http://ns.adobe.com/tiff/1.0/"
CAMERA_RAW = (
    "http://ns.adobe.com/camera-raw-settings/1.0/",
    "http://ns.adobe.com/camera-raw-saved-settings/1.0/",
)
"""How to develop the source, and its snapshots of that."""
MAX_PACKET_BYTES = 8 << 20
"""Raw developers keep masks and histories in the packet."""
_MAX_RECORD_BYTES = 1 << 16
"""What led's record may add to the largest packet of a source."""
_MAX_DEPTH = 100
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
_END = b'\n<?xpacket end="w"?>'
_TAG_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=<>"'/]+)\s*=\s*("[^"]*"|'[^']*')""")

Properties = Collection[tuple[str, str | None]]
"""Namespaces and names of properties; None is every name."""


def xmp_packet(
    note: Mapping[str, object], base: bytes | None = None, *, upright: bool = False
) -> bytes:
    """Make an XMP packet, UTF-8, with a record of short values; its names must be identifiers.

    The source's packet, `base`, is kept unchanged except for an earlier record of led's and Camera
    Raw's settings, made for a darker photo; it is ignored if it is not XMP, or made to break
    readers. `upright` is for an image with the orientation applied: the source's is removed.
    """
    attributes = []
    for name, value in note.items():
        if not (name.isascii() and name.isidentifier()):
            raise ValueError(f"{name!r} cannot name a property")
        # XML cannot represent control characters.
        text = "".join(c if c.isprintable() else " " for c in str(value))
        attributes.append(f'\n   led:{name}="{escape(text)}"')
    ours = description(f'xmlns:led="{NAMESPACE}"{"".join(attributes)}')
    unwanted: set[tuple[str, str | None]] = {(name, None) for name in (NAMESPACE, *CAMERA_RAW)}
    if upright:
        unwanted.add((TIFF, "Orientation"))
    return join(base, ours if note or not base else b"", unwanted)


def description(attributes: str) -> bytes:
    """Return an ``rdf:Description`` element for `join`."""
    element = f'  <rdf:Description xmlns:rdf="{RDF}" rdf:about=""\n   {attributes}/>\n'
    return element.encode("utf-8", "replace")


def join(base: bytes | None, ours: bytes, unwanted: Properties = ()) -> bytes:
    """Add a description to a packet and remove some of its properties.

    A base that is not XMP, too large, too deep, or declares a document type (whose entities can
    grow without limit) is replaced by a new packet. `unwanted` properties are removed where they
    are direct ones of a description.
    """
    joined = _joined(base, ours, unwanted) if base else None
    if joined is not None and parse(joined) is not None:
        return joined
    head = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{RDF}">\n'.encode()
    return _BEGIN + head + ours + b" </rdf:RDF>\n</x:xmpmeta>" + _END


def parse(packet: bytes) -> ElementTree.Element | None:
    """Parse a packet; None if it is damaged, too large, or declares a document type."""
    if len(packet) > MAX_PACKET_BYTES + _MAX_RECORD_BYTES or b"<!DOCTYPE" in packet:
        return None
    try:
        return ElementTree.fromstring(packet.decode("utf-8").rstrip("\0"))
    except (ElementTree.ParseError, ValueError):
        return None


def now() -> str:
    """Return the time for a record, UTC to the second in ISO form.

    ``SOURCE_DATE_EPOCH`` in the environment replaces the clock, so that builds and tests can make
    the same bytes twice (reproducible-builds.org). Raises UsageError if it is not a number.
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
    """Read led's record from a DNG, TIFF or PNG without reading the whole file.

    None if the file was not written by led, or cannot be read.
    """
    try:
        with FileBytes(path) as data:
            return note_in(data)
    except OSError:
        return None


def note_in(data: Bytes) -> dict[str, str] | None:
    """As `read_note`, for a file in memory."""
    limit = MAX_PACKET_BYTES + _MAX_RECORD_BYTES
    found = Directory.first(data).stored(XMP_TAG, limit) or png_text(data, PNG_XMP)
    root = parse(found) if found else None
    if root is None:
        return None
    prefix = f"{{{NAMESPACE}}}"
    note: dict[str, str] = {}
    for element in root.iter(f"{{{RDF}}}Description"):
        # Programs that keep a packet may turn its attributes into elements.
        said = [*element.attrib.items(), *((child.tag, child.text or "") for child in element)]
        note |= {key.removeprefix(prefix): value for key, value in said if key.startswith(prefix)}
    return note or None


class _NotXmp(Exception):
    """The packet is not XMP, or not to be trusted."""


def _joined(base: bytes, ours: bytes, unwanted: Properties) -> bytes | None:
    whole = base.rstrip(b"\0").removeprefix(b"\xef\xbb\xbf")
    if len(whole) > MAX_PACKET_BYTES:
        return None
    try:
        scan = _Scan(whole, unwanted)
    except (_NotXmp, expat.ExpatError, ValueError):
        return None
    parts, at = [], 0
    for start, stop in [*sorted(scan.cuts), (scan.end, scan.end)]:
        # A cut inside another one is gone already.
        if start >= at:
            parts.append(whole[at:start])
            at = stop
    joined = b"".join([*parts, ours, whole[at:]])
    return joined if b"<?xpacket" in joined else _BEGIN + joined + _END


class _Scan:
    """One pass over a packet: where its RDF ends, and the bytes (start, stop) of what to remove."""

    def __init__(self, packet: bytes, unwanted: Properties) -> None:
        self.cuts: list[tuple[int, int]] = []
        self.end = -1
        self._packet = packet
        self._unwanted = unwanted
        self._path: list[str] = []
        self._removal_start: int | None = None
        self._prefixes: dict[str, str] = {}
        self._parser = parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartElementHandler = self._start_element
        parser.EndElementHandler = self._end_element
        parser.Parse(packet, True)
        if self.end < 0:
            raise _NotXmp

    def _doctype(self, *what: object) -> None:
        raise _NotXmp

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        self._prefixes[prefix or ""] = uri or ""

    def _start_element(self, name: str, attributes: dict[str, str]) -> None:
        at = self._parser.CurrentByteIndex
        inside = self._in_description()
        self._path.append(name)
        if len(self._path) > _MAX_DEPTH:
            raise _NotXmp
        if name == f"{RDF} RDF" and self._is_empty(at):
            raise _NotXmp
        if inside and self._is_unwanted(name):
            self._removal_start = at
        elif self._in_description() and any(self._is_unwanted(name) for name in attributes):
            self._cut_attributes(at)
            about = f"{RDF} about"
            if self._is_empty(at) and all(a == about or self._is_unwanted(a) for a in attributes):
                self.cuts.append(self._whole(at))

    def _end_element(self, name: str) -> None:
        at = self._parser.CurrentByteIndex
        self._path.pop()
        if self._removal_start is not None and self._in_description():
            # Of an empty element, expat reports the byte after it as its end.
            stop = at if self._is_empty(self._removal_start) else self._packet.index(b">", at) + 1
            self.cuts.append((self._removal_start, stop))
            self._removal_start = None
        if name == f"{RDF} RDF" and self.end < 0:
            self.end = at

    def _in_description(self) -> bool:
        """Return True if the path ends at a description of the first RDF."""
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

    def _whole(self, at: int) -> tuple[int, int]:
        """Return the empty element at that byte, with the blanks that an earlier join added."""
        stop = self._tag(at)[1]
        start = at - 2 if self._packet.startswith(b"  ", at - 2) else at
        return (start, stop + 1 if self._packet.startswith(b"\n", stop) else stop)

    def _cut_attributes(self, at: int) -> None:
        for attribute in self._tag(at)[0]:
            prefix, _, local = attribute[1].decode().rpartition(":")
            if prefix and self._is_unwanted(f"{self._prefixes.get(prefix, '')} {local}"):
                self.cuts.append(attribute.span())
