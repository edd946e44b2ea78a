import json
import random
import shutil
import struct
import subprocess
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledcli.metadata import carried as tags
from ledcli.metadata.carried import Carried, Place, fit, read_carried, tags_in
from ledcli.metadata.containers import FileBytes
from ledcli.metadata.tiff import Directory, Field, FieldType, serialise
from ledcli.metadata.xmp import xmp_packet
from ledcli.output.dng import dng_bytes
from ledcli.output.tags import put_tags
from ledcli.raw.exif import Exif
from ledcli.raw.reader import read_raw
from tests.shoot import SHARED, make_raw

RAW = SHARED / "raw"
LETTER = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 7: "s", 9: "i", 10: "i", 11: "f", 13: "I"}
XMP = xmp_packet({"model": "m"})
EXIF, GPS, IMAGE = tags_in(Place.EXIF), tags_in(Place.GPS), tags_in(Place.IMAGE)
CAMERA, COLOUR = tags_in(Place.CAMERA), tags_in(Place.COLOUR)
IPTC = b"\x1c\x02\x05\0\x05night"


def tiff(order, directories, base=8):
    """A TIFF of either byte order from {tag: (type, values)} per directory, bytes as they are."""
    starts, at = [], base
    for directory in directories:
        starts.append(at)
        at += 2 + 12 * len(directory) + 4
    entries, values = b"", b""
    for directory in directories:
        entries += struct.pack(order + "H", len(directory))
        for tag, (kind, value) in sorted(directory.items()):
            if tag in (34665, 34853) and isinstance(value, str):
                value = [starts[int(value)]]
            if isinstance(value, bytes):
                data, count = value, len(value)
            else:
                data = struct.pack(f"{order}{len(value)}{LETTER[kind]}", *value)
                count = len(value) // (2 if kind in (5, 10) else 1)
            entries += struct.pack(order + "HHI", tag, kind, count)
            if len(data) <= 4:
                entries += data.ljust(4, b"\0")
            else:
                entries += struct.pack(order + "I", at + len(values))
                values += data + b"\0" * (len(data) % 2)
        entries += bytes(4)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", base) + entries + values


def camera_file(order):
    return tiff(
        order,
        [
            {
                271: (2, b"Led\0"),
                315: (2, b"A. Photographer\0"),
                700: (1, XMP),
                33723: (7, IPTC),
                34665: (4, "1"),
                34853: (13, "2"),
            },
            {
                33434: (5, [10, 600]),
                34855: (3, [800]),
                36867: (2, b"2024:05:06 07:08:09\0"),
                37380: (10, [-1, 3]),
                37500: (7, b"notes"),
                37510: (
                    7,
                    b"UNICODE\0" + "né".encode("utf-16-le" if order == "<" else "utf-16-be"),
                ),
                42034: (5, [24, 1, 70, 1, 0, 0, 0, 0]),
            },
            {0: (1, bytes((2, 3, 0, 0))), 1: (2, b"N\0"), 2: (5, [47, 1, 30, 1, 123, 10])},
        ],
    )


@pytest.mark.parametrize("order", "<>")
def test_tags_of_either_byte_order_come_out_little_endian(order):
    carried = read_carried(camera_file(order))
    assert carried.image[315] == Field(FieldType.ASCII, b"A. Photographer\0")
    assert carried.exif[33434] == Field(FieldType.RATIONAL, struct.pack("<2I", 10, 600))
    assert carried.exif[34855] == Field(FieldType.SHORT, struct.pack("<H", 800))
    assert carried.exif[37380] == Field(FieldType.SRATIONAL, struct.pack("<2i", -1, 3))
    assert carried.exif[37510].data == b"UNICODE\0" + "né".encode("utf-16-le")
    assert carried.exif[42034].count == 4
    assert carried.gps[2] == Field(FieldType.RATIONAL, struct.pack("<6I", 47, 1, 30, 1, 123, 10))
    assert (carried.xmp, carried.iptc, carried.maker_notes) == (XMP, IPTC, True)
    assert 37500 not in carried.exif and not carried.raw


def _box(kind, *content):
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _containers():
    whole, canon = camera_file("<"), bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    parts = {
        b"CMT1": tiff("<", [{271: (2, b"Led\0"), 315: (2, b"A. Photographer\0")}]),
        b"CMT2": tiff("<", [{34855: (3, [800]), 36880: (2, b"+02:00\0")}]),
        b"CMT3": tiff("<", [{8: (4, [1])}]),
        b"CMT4": tiff("<", [{1: (2, b"N\0")}]),
    }
    cr3 = _box(b"ftyp", b"crx \0\0\0\1crx isom")
    cr3 += _box(b"moov", _box(b"uuid", canon, *(_box(*part) for part in parts.items())))
    cr3 += _box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), XMP)
    segments = b""
    for body in (b"Exif\0\0" + whole, b"http://ns.adobe.com/xap/1.0/\0" + XMP):
        segments += struct.pack(">2sH", b"\xff\xe1", len(body) + 2) + body
    jpeg = b"\xff\xd8" + segments + b"\xff\xda\0\2"
    raf = b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + struct.pack(">II", 100, len(jpeg))
    mrw = struct.pack(">4sI", b"\0PRD", 4) + bytes(4) + struct.pack(">4sI", b"\0TTW", len(whole))
    return {
        "CR3": cr3,
        "RAF": raf.ljust(100, b"\0") + jpeg,
        "MRW": struct.pack(">4sI", b"\0MRM", len(mrw) + len(whole)) + mrw + whole,
        "JPEG in front": jpeg,
        "RW2": b"IIU\0" + whole[4:],
    }


@pytest.mark.parametrize("kind", _containers())
def test_every_container_gives_its_tags(kind):
    carried = read_carried(_containers()[kind])
    assert carried.image[315].data == b"A. Photographer\0"
    assert carried.exif[34855].data == b"\x20\x03"
    assert carried.gps[1].data == b"N\0"
    assert carried.maker_notes and (carried.xmp == XMP)


def test_a_crw_has_maker_notes_and_nothing_else():
    assert read_carried(b"II\x1a\0\0\0HEAPCCDR" + bytes(100)) == Carried(maker_notes=True)
    assert read_carried(b"") == read_carried(b"hello" * 100) == Carried()


@pytest.mark.parametrize(
    ("table", "tag", "given", "taken"),
    [
        (
            EXIF,
            34855,
            Field(FieldType.LONG, struct.pack("<I", 400)),
            Field(FieldType.SHORT, b"\x90\1"),
        ),
        (EXIF, 34855, Field(FieldType.LONG, struct.pack("<I", 70000)), None),
        (EXIF, 34855, Field(FieldType.ASCII, b"400\0"), None),
        (EXIF, 34855, Field(FieldType.SHORT, bytes(10)), None),
        (EXIF, 33434, Field(FieldType.RATIONAL, struct.pack("<2I", 1, 0)), None),
        (EXIF, 33434, Field(FieldType.SRATIONAL, struct.pack("<2i", -1, 60)), None),
        (
            EXIF,
            33434,
            Field(FieldType.SRATIONAL, struct.pack("<2i", 1, 60)),
            Field(FieldType.RATIONAL, struct.pack("<2I", 1, 60)),
        ),
        (EXIF, 36867, Field(FieldType.ASCII, b"2024:05:06 07:08:09\0"), "same"),
        (EXIF, 36867, Field(FieldType.ASCII, b"0000:00:00 00:00:00\0"), None),
        (EXIF, 36867, Field(FieldType.ASCII, b"2024:02:31 07:08:09\0"), None),
        (EXIF, 36867, Field(FieldType.ASCII, b"2024:2:1  07:08:09 \0"), None),
        (EXIF, 42036, Field(FieldType.ASCII, b"Lens"), Field(FieldType.ASCII, b"Lens\0")),
        (EXIF, 42036, Field(FieldType.ASCII, b"x" * 5000), None),
        (
            EXIF,
            42034,
            Field(FieldType.RATIONAL, struct.pack("<8I", 24, 1, 70, 1, 0, 0, 0, 0)),
            "same",
        ),
        (
            EXIF,
            42034,
            Field(FieldType.RATIONAL, struct.pack("<8I", 24, 0, 70, 1, 0, 0, 0, 0)),
            None,
        ),
        (GPS, 2, Field(FieldType.RATIONAL, bytes(16)), None),
        (COLOUR, 50938, Field(FieldType.FLOAT, struct.pack("<3f", 0, float("nan"), 1)), None),
        (CAMERA, 50708, Field(FieldType.BYTE, b"Cam\0"), Field(FieldType.ASCII, b"Cam\0")),
        (IMAGE, 40091, Field(FieldType.BYTE, b"n\0\0\0"), "same"),
    ],
)
def test_values_are_made_standard_or_left_out(table, tag, given, taken):
    assert fit(table[tag], given) == (given if taken == "same" else taken)


def test_camera_ratings_are_added_to_the_xmp():
    rated = {18246: (3, [4]), 271: (2, b"Led\0")}
    assert b'xmp:Rating="4"' in read_carried(tiff("<", [rated])).xmp
    both = read_carried(tiff("<", [{**rated, 700: (1, XMP)}])).xmp
    assert b'xmp:Rating="4"' in both and b"urn:ledcli" in both
    own = XMP.replace(b"led:model=", b"led:Rating=")
    assert read_carried(tiff("<", [{**rated, 700: (1, own)}])).xmp == own
    for stars in (0, 6, 65535):
        assert read_carried(tiff("<", [{18246: (3, [stars])}])).xmp is None


def test_colour_is_taken_from_dngs_only(tmp_path):
    path = tmp_path / "a.dng"
    more = [(50730, 10, 1, (1, 2)), (51009, 7, 4, bytes(4)), (50937, 4, 3, (1, 1, 1))]
    make_raw(path, more_tags=[*more, (50938, 11, 3, (0.0, 1.0, 1.0))])
    carried = read_raw(path).carried
    assert {50721, 50728, 50730, 50778, 50937, 50938} <= carried.image.keys()
    assert carried.raw == {51009: Field(FieldType.UNDEFINED, bytes(4))}
    make_raw(path, more_tags=[*more, (50938, 11, 6, (0.0, 1.0, 1.0) * 2)])
    # A table of two entries where the profile says one.
    assert not {50937, 50938} & read_raw(path).carried.image.keys()
    data = path.read_bytes().replace(struct.pack("<HHI", 50706, 1, 4), struct.pack("<HHI", 9, 1, 4))
    assert not read_carried(data).image.keys() - IMAGE.keys()


def test_a_large_file_is_not_read_whole(tmp_path):
    path = tmp_path / "a.NEF"
    path.write_bytes(camera_file(">"))
    with open(path, "r+b") as file:
        file.truncate(1 << 32)
    tracemalloc.start()
    with FileBytes(path) as data:
        assert read_carried(data) == read_carried(camera_file(">"))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()
        assert data[len(data) - 2 :] == b"\0\0" and data[1 << 40 :] == b""
        assert data[: 2 << 20] == path.open("rb").read(2 << 20)


def test_a_file_that_shrinks_while_it_is_read_is_an_oserror(tmp_path):
    path = tmp_path / "a.NEF"
    path.write_bytes(camera_file("<") + bytes(1 << 20))
    with FileBytes(path) as data, pytest.raises(OSError, match="shorter"):
        path.write_bytes(b"")
        read_carried(data)


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1), st.sampled_from([*_containers(), "TIFF", "big-endian"]))
def test_damage_never_raises(seed, kind):
    rng = random.Random(seed)
    whole = _containers() | {"TIFF": camera_file("<"), "big-endian": camera_file(">")}
    data = bytearray(whole[kind])
    for _ in range(rng.randrange(1, 60)):
        data[rng.randrange(4, len(data))] = rng.choice((0, 1, 255, rng.randrange(256)))
    carried = read_carried(bytes(data[: rng.randrange(len(data))]))
    root = Directory()
    put_tags(root, Exif(), carried)
    serialise(root)


def test_loops_and_huge_counts_end():
    loop = tiff("<", [{34665: (4, [8]), 34853: (4, [8]), 330: (4, [8] * 1000)}])
    assert read_carried(loop) == Carried()
    many = struct.pack("<HHII", 330, 4, 1 << 20, 26)
    data = b"II*\0\x08\0\0\0\1\0" + many + struct.pack("<I", 8) + bytes(4 << 20)
    assert read_carried(data) == Carried()
    huge = struct.pack("<HHII", 700, 1, 2**32 - 1, 8)
    assert read_carried(b"II*\0\x08\0\0\0\1\0" + huge + bytes(100)) == Carried()


@pytest.mark.skipif(not RAW.is_dir(), reason="no ../shared/data/raw here")
@pytest.mark.skipif(not shutil.which("exiftool"), reason="no exiftool on the PATH")
@pytest.mark.parametrize(
    "name",
    [
        "canon_1ds3_header.CR2",
        "canon_r6_pruned.CR3",
        "exiftool_FujiFilm.raf",
        "exiftool_Minolta.mrw",
        "exiftool_Nikon.nef",
        "exiftool_Panasonic.rw2",
        "gopro_hero7.GPR",
        "iphone12pro_proraw_emptied.dng",
        "nikon_d70s_truncated.NEF",
        "sony_a55_truncated.ARW",
    ],
)
def test_real_tags_are_carried_completely(name, tmp_path):
    """Every tag of the table that exiftool finds in the source, it finds in the result."""
    root = Directory()
    source = RAW / "bad" / name
    put_tags(root, Exif(), read_carried(source.read_bytes()))
    (tmp_path / "a.tif").write_bytes(serialise(root))
    words = ["exiftool", "-j", "-n", "-G1", "-D", "-ExifIFD:all", "-GPS:all", "-IFD0:all"]
    done = subprocess.run([*words, source, tmp_path / "a.tif"], capture_output=True, check=False)
    theirs, ours = json.loads(done.stdout)
    tables = {"ExifIFD": EXIF, "GPS": GPS, "IFD0": IMAGE}
    wanted = {
        key: value
        for key, value in theirs.items()
        if ":" in key and value["id"] in tables.get(key.split(":")[0], {})
    }
    assert len(wanted) > 10
    assert {key: ours.get(key) for key in wanted} == wanted


def test_a_film_frame_keeps_its_time_rate_stop_and_reel(tmp_path):
    film = [(51043, 1, 16, bytes(range(16))), (51044, 10, 1, (24000, 1001))]
    film += [(51058, 5, 2, (28, 10, 3, 1)), (51081, 2, 5, "A001\0")]
    make_raw(tmp_path / "a.dng", more_tags=film)
    photo = read_raw(tmp_path / "a.dng")
    first = Directory.first(dng_bytes(photo, photo.normalised()))
    found = {tag: first.get(tag) for tag, *_ in film}
    assert found[51043].data == bytes(range(16)) and found[51081].data == b"A001\0"
    assert found[51044].words() == (24000, 1001) and found[51058].numbers() == [2.8, 3]


def test_a_row_in_the_table_is_enough_to_carry_a_tag(tmp_path, monkeypatch):
    row = tags.Tag(0x7040, "Invented", Place.RAW, FieldType.SSHORT, (1, 100))
    monkeypatch.setattr(tags, "TAGS", (*tags.TAGS, row))
    tags_in.cache_clear()
    assert carried_through(tmp_path, [(row.number, 8, 2, (-7, 7))])[row.number].numbers() == [-7, 7]
    tags_in.cache_clear()


def test_lens_corrections_beside_the_raw_image_stay(tmp_path):
    params = {0x7032: (16, *range(16)), 0x7035: (32, *range(-16, 16)), 0x7037: (16, *range(-16, 0))}
    switches = {0x7031: (257,), 0x7034: (1,), 0x7036: (1,)}
    sony = [(tag, 8, len(values), values) for tag, values in (params | switches).items()]
    raw = carried_through(tmp_path, [*sony, (0xC7D5, 7, 6, b"Nikon\0")])
    assert {tag: tuple(raw[tag].numbers()) for tag in params} == params
    assert raw.keys() == {*params, *switches, 0xC7D5} and raw[0xC7D5].data == b"Nikon\0"


@pytest.mark.parametrize("order, stays", [("<", True), (">", False)])
def test_a_phone_s_tone_map_stays_where_its_byte_order_does(tmp_path, order, stays):
    raw = carried_through(tmp_path, [(52525, 7, 64, bytes(range(64)))], byteorder=order)
    assert raw == ({52525: Field(FieldType.UNDEFINED, bytes(range(64)))} if stays else {})
    version = bytes((1, 6 if stays else 4, 0, 0))
    assert struct.pack("<HHI", 50706, 1, 4) + version in (tmp_path / "b.dng").read_bytes()


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize(
    ("crop", "stays"),
    [((0, 1, 8, 7), 1), ((0, 0, 8, 8), 1), ((4, 0, 4, 8), 0), ((0, 5, 8, 4), 0), ((0, 0, 9, 8), 0)],
)
def test_the_crop_that_was_chosen_in_the_camera_stays(tmp_path, crop, stays, linear):
    """As shares of height and width; `crop` has eighths."""
    given = [part for eighths in crop for part in (eighths, 8)]
    make_raw(tmp_path / "a.dng", more_tags=[(51125, 5, 4, given)])
    photo = read_raw(tmp_path / "a.dng")
    data = dng_bytes(photo, photo.normalised(), linear=linear)
    (raw,) = [each for each in Directory.walk(data) if each.integers(254) == [0]]
    found = raw.get(51125)
    assert (found and found.words()) == (tuple(given) if stays else None)


def carried_through(tmp_path, more_tags, **how):
    """Return what the result of a raw with these tags has beside its raw image."""
    make_raw(tmp_path / "a.dng", more_tags=more_tags, **how)
    photo = read_raw(tmp_path / "a.dng")
    (tmp_path / "b.dng").write_bytes(dng_bytes(photo, photo.normalised(), software="led"))
    return read_raw(tmp_path / "b.dng").carried.raw
