import struct
import tracemalloc
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledcli.errors import UsageError
from ledcli.metadata.tiff import Directory, FieldType, serialise
from ledcli.metadata.xmp import NAMESPACE, XMP_TAG, note_in, now, read_note, xmp_packet
from ledcli.output.render import png_bytes, tiff_bytes

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
LIGHTROOM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <!-- made by hand -->
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:crss="http://ns.adobe.com/camera-raw-saved-settings/1.0/"
    xmlns:d="urn:ledcli:denoise:1.0/"
    xmp:Rating="4" tiff:Orientation="6" crs:Exposure2012='+1.00' d:model="old">
   <dc:subject><rdf:Bag><rdf:li>night &amp; owls</rdf:li></rdf:Bag></dc:subject>
   <d:ratio>3</d:ratio><d:empty/>
   <crs:ToneCurve><rdf:Seq><rdf:li>0, 0</rdf:li></rdf:Seq></crs:ToneCurve>
   <crss:SavedSettings><rdf:Bag><rdf:li>
     <rdf:Description crss:Name="dark"><crss:Parameters crs:Exposure2012="+5"/></rdf:Description>
   </rdf:li></rdf:Bag></crss:SavedSettings>
   <tiff:Orientation>6</tiff:Orientation>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
   \n<?xpacket end="w"?>""".encode()


def _file(packet):
    root = Directory()
    root.set(XMP_TAG, FieldType.BYTE, packet)
    return serialise(root)


def _said(packet):
    return note_in(_file(packet))


def test_a_note_joins_the_sources_packet_without_loss():
    packet = xmp_packet({"model": "new", "when": "today"}, LIGHTROOM)
    assert _said(packet) == {"model": "new", "when": "today"}
    root = ElementTree.fromstring(packet.decode())
    assert [li.text for li in root.iter(f"{{{RDF}}}li")] == ["night & owls"]
    first, ours = root.iter(f"{{{RDF}}}Description")
    assert first.attrib["{http://ns.adobe.com/xap/1.0/}Rating"] == "4"
    assert first.attrib["{http://ns.adobe.com/tiff/1.0/}Orientation"] == "6"
    assert all(key.startswith((f"{{{NAMESPACE}}}", f"{{{RDF}}}about")) for key in ours.attrib)
    assert packet.count(b"<?xpacket") == 2 and b"made by hand" in packet


def test_settings_made_for_the_dark_photo_are_removed():
    for upright in (False, True):
        packet = xmp_packet({"model": "new"}, LIGHTROOM, upright=upright)
        assert b"ToneCurve" not in packet and b"Exposure" not in packet and b"dark" not in packet
        ElementTree.fromstring(packet.decode())


def test_a_second_note_replaces_the_first():
    once = xmp_packet({"model": "a", "ratio": 2}, LIGHTROOM)
    twice = xmp_packet({"model": "b"}, once)
    assert _said(twice) == {"model": "b"}
    assert xmp_packet({"model": "a", "ratio": 2}, twice) == once


def test_a_rendered_image_drops_the_orientation():
    packet = xmp_packet({"model": "new"}, LIGHTROOM, upright=True).decode()
    assert "Orientation" not in packet
    assert "night &amp; owls" in packet and 'xmp:Rating="4"' in packet
    ElementTree.fromstring(packet)


def test_a_packet_without_its_wrapper_gets_one():
    bare = LIGHTROOM[LIGHTROOM.index(b"<x:") : LIGHTROOM.index(b"</x:xmpmeta>") + 12]
    packet = xmp_packet({"model": "m"}, bare + b"\0\0")
    assert packet.count(b"<?xpacket") == 2 and _said(packet) == {"model": "m"}


@pytest.mark.parametrize(
    "base",
    [
        b"",
        b"hello",
        b"<a/>",
        b"\xff\xfe<\0a\0",
        LIGHTROOM[:-200],
        b'<rdf:RDF xmlns:rdf="' + RDF.encode() + b'"/>',
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + LIGHTROOM[LIGHTROOM.index(b"<x:") :],
        b"<a>" * 50_000,
        b"<a>" * 5000 + b"</a>" * 5000,
        b" " * (9 << 20),
    ],
)
def test_a_packet_that_is_not_xmp_is_left_out(base):
    note = {"model": "m"}
    assert xmp_packet(note, base) == xmp_packet(note)


@given(st.binary(max_size=60), st.integers(0, len(LIGHTROOM)))
@example(b"}", 74)  # in a namespace
@example(b"<!DOCTYPE", 20)
def test_a_damaged_packet_never_breaks_the_note(damage, at):
    packet = xmp_packet({"model": "m"}, LIGHTROOM[:at] + damage + LIGHTROOM[at + len(damage) :])
    assert _said(packet)["model"] == "m"


def test_dng_tiff_and_png_are_read_alike(tmp_path):
    rgb = np.zeros((8, 8, 3), np.uint16)
    note = {"model": 'a "b" <c> & é'}
    files = {"a.dng": _file(xmp_packet(note)), "a.tif": tiff_bytes(rgb, note=note)}
    files["a.png"] = png_bytes(rgb, note=note)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert note_in(data) == read_note(tmp_path / name) == note
    assert read_note(tmp_path) is None and read_note(tmp_path / "none") is None


def test_a_compressed_png_text_is_read():
    text = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp_packet({"model": "m"}))
    chunk = struct.pack(">I", len(text)) + b"iTXt" + text + bytes(4)
    assert note_in(b"\x89PNG\r\n\x1a\n" + chunk) == {"model": "m"}


def test_a_note_turned_into_elements_is_read():
    packet = xmp_packet({"model": "m"}).replace(b' led:model="m"/>', b"><led:model>m</led:model>")
    packet = packet.replace(b"</led:model>", b"</led:model></rdf:Description>")
    assert _said(packet.replace(b"\n   >", b">")) == {"model": "m"}


def test_the_note_of_a_large_file_is_read_without_the_image(tmp_path):
    path = tmp_path / "a.dng"
    root = Directory()
    root.set(XMP_TAG, FieldType.BYTE, xmp_packet({"model": "m"}))
    path.write_bytes(serialise(root))
    with open(path, "r+b") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    assert read_note(path) == {"model": "m"}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_time_is_utc_and_can_be_set(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert now() == "2023-11-14T22:13:20Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH is 'soon'"):
        now()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert len(now()) == 20 and now() > "2024"


def test_entities_are_never_expanded():
    packet = xmp_packet({"model": "m"}).replace(
        b"<x:xmpmeta", b'<!DOCTYPE x [<!ENTITY a "a">]><x:xmpmeta', 1
    )
    assert _said(packet) is None
