import struct

import pytest

from ledcli.metadata.containers import truncated
from ledcli.metadata.tiff import Directory, FieldType, serialise


def _tiff():
    """As Sony's: a preview, and the raw image in a sub-directory."""
    root, raw = Directory(strips=[bytes(4000)]), Directory(strips=[bytes(90_000)])
    root.set(254, FieldType.LONG, 1)
    root.children[330] = [raw]
    return serialise(root)


def _raf():
    sections = [(160, 1000), (1160, 500), (1660, 50_000)]
    head = b"FUJIFILM".ljust(84, b"\0") + struct.pack(">6I", *(n for s in sections for n in s))
    return head.ljust(sum(sections[-1]), b"\0")


def _crw():
    raw, preview = bytes(40_000), bytes(3000)
    rows = [(0x2005, len(raw), 0), (0x2007, len(preview), len(raw))]
    table = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HII", *row) for row in rows)
    end = struct.pack("<I", len(raw) + len(preview))
    return b"II\x1a\0\0\0HEAPCCDR".ljust(26, b"\0") + raw + preview + table + end


def _cr3():
    boxes = [(b"ftyp", b"crx \0\0\0\1"), (b"moov", bytes(300)), (b"mdat", bytes(50_000))]
    return b"".join(struct.pack(">I4s", 8 + len(body), kind) + body for kind, body in boxes)


@pytest.mark.parametrize(
    "whole", [_tiff(), _raf(), _crw(), _cr3()], ids=["tiff", "raf", "crw", "cr3"]
)
def test_a_file_that_was_cut_off_is_too_short_for_its_header(whole):
    assert truncated(whole) is False
    for keep in (100, 300, 0.1, 0.5, 0.98):
        assert truncated(whole[: int(keep if keep > 1 else keep * len(whole))]) is True


def test_a_directory_beyond_the_end_of_the_file_is_missing():
    data = _tiff()
    root = Directory.first(data)
    (at,) = root.integers(330)
    assert truncated(data[:at]) is True  # the preview follows it
    root = Directory(strips=[bytes(4000)])
    root.set(330, FieldType.LONG, 1 << 20)
    assert truncated(serialise(root)) is False  # what is missing is not the image
    root.set(254, FieldType.LONG, 1)
    assert truncated(serialise(root)) is True


def test_some_files_do_not_tell_how_long_they_should_be():
    assert truncated(b"\xff\xd8\xff\xe1" + bytes(1000)) is None
    assert truncated(b"FOVb" + bytes(1000)) is None


def test_tiles_in_the_same_bytes_do_not_make_a_larger_image():
    root = Directory(strips=[bytes(4000)])
    for tag, values in ((324, [8] * 64), (325, [4000] * 64)):
        root.set(tag, FieldType.LONG, values)
    assert truncated(serialise(root)) is True
    root.set(325, FieldType.LONG, [60] * 64)
    assert truncated(serialise(root)) is False
