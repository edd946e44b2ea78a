import io
import struct
from fractions import Fraction

import tifffile

from ledcli.metadata.tiff import Directory, Field, FieldType, serialise


def test_tiff_directories_are_sorted_and_aligned():
    child = Directory(strips=[b"abc"])
    root = Directory(strips=[b"12345", b"67"])
    root.set_text(305, "odd")
    root.set_text(271, "four!")
    root.set(50728, FieldType.RATIONAL, Fraction(1, 3))
    root.children[330] = [child]
    data = serialise(root)
    assert struct.unpack_from("<2sHI", data) == (b"II", 42, 8)
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        tags = {tag.code: tag for tag in tif.pages[0].tags}
    assert list(tags) == sorted(tags)
    assert all(tag.valueoffset % 2 == 0 for tag in tags.values())
    offsets, counts = tags[273].value, tags[279].value
    parts = [data[at : at + n] for at, n in zip(offsets, counts, strict=True)]
    assert parts == [b"12345", b"67"]


def test_tiles_have_tile_tags():
    child = Directory(strips=[b"123", b"4567"], tiled=True)
    root = Directory(strips=[b"thumb"])
    root.children[330] = [child, Directory(strips=[b"other"])]
    data = serialise(root)
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        first, second = tif.pages[0].pages
        tags = {tag.code: tag.value for tag in first.tags}
        assert 273 not in tags and 324 not in {tag.code for tag in second.tags}
    parts = [data[at : at + n] for at, n in zip(tags[324], tags[325], strict=True)]
    assert parts == [b"123", b"4567"]


VALUES = {
    FieldType.BYTE: (0, 255),
    FieldType.SHORT: (0, 65535),
    FieldType.LONG: (0, 2**32 - 1),
    FieldType.RATIONAL: (Fraction(1, 60), Fraction(5, 2)),
    FieldType.SBYTE: (-128, 127),
    FieldType.SSHORT: (-32768, 32767),
    FieldType.SLONG: (-(2**31), 2**31 - 1),
    FieldType.SRATIONAL: (Fraction(-1, 3), Fraction(7)),
    FieldType.FLOAT: (-0.5, 1e10),
    FieldType.DOUBLE: (-0.5, 1e100),
}


def test_a_directory_reads_what_it_wrote():
    root, child = Directory(), Directory()
    for kind, values in VALUES.items():
        child.set(int(kind), kind, values)
    root.set_text(305, "led")
    root.children[330] = [child]
    first, second = Directory.walk(serialise(root))
    assert first.get(305) == Field(FieldType.ASCII, b"led\0") and first.child(330) == second
    for kind, values in VALUES.items():
        assert second.get(int(kind)) == child.fields[int(kind)]
        assert second.get(int(kind)).numbers() == [float(value) for value in values]
    assert first.get(1) is None and first.integers(305) == []
