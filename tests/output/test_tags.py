import io
import shutil
import struct
import subprocess
from dataclasses import replace
from fractions import Fraction

import exifread
import numpy as np
import pytest

from ledcli.metadata.carried import Carried
from ledcli.metadata.tiff import Directory, Field, FieldType, serialise
from ledcli.output.tags import EXIF_IFD, GPS_IFD, exif_directory, put_shot, put_tags, rational
from ledcli.raw.exif import Exif
from ledcli.raw.reader import read_raw
from tests.shoot import make_raw

IPTC = b"\x1c\x02\x05\0\x05night"


def _short(value):
    return Field(FieldType.SHORT, struct.pack("<H", value))


def _tags(directory):
    return exifread.process_file(io.BytesIO(serialise(directory)), details=False)


def test_the_sources_own_fields_go_before_what_is_known_otherwise():
    time = Field(FieldType.RATIONAL, struct.pack("<2I", 10, 600))
    carried = Carried(exif={33434: time, 42036: Field(FieldType.ASCII, b"Lens\0")})
    exif = Exif(iso=400, exposure_time=1 / 60, aperture=2.8, lens="Another", serial="7")
    fields = exif_directory(exif, carried).fields
    assert fields[33434] == time and fields[42036].data == b"Lens\0"
    assert fields[33437].data == struct.pack("<2I", 14, 5) and fields[34855] == _short(400)
    assert fields[42033].data == b"7\0"


def test_a_zero_or_a_list_that_begins_with_one_is_no_answer():
    zero = Field(FieldType.RATIONAL, struct.pack("<2I", 0, 1))
    isos = Field(FieldType.SHORT, struct.pack("<2H", 0, 3200))
    fields = exif_directory(
        Exif(iso=3200, exposure_time=1 / 60), Carried(exif={33434: zero, 33437: zero, 34855: isos})
    ).fields
    assert fields[33434].data == struct.pack("<2I", 1, 60) and fields[34855] == _short(3200)
    assert fields[33437] == zero


def test_a_blank_text_is_no_answer():
    blank = Field(FieldType.ASCII, b"    \0\0\0\0")
    carried = Carried(exif={42036: blank, 42033: blank}, image={315: blank})
    root = Directory()
    put_tags(root, Exif(lens="Lens", artist="A"), carried)
    (shot,) = root.children[EXIF_IFD]
    assert shot.fields[42036].data == b"Lens\0" and root.fields[315].data == b"A\0"
    assert shot.fields[42033] == blank


@pytest.mark.parametrize("time", ["2024:13:45 99:99:99", "2024:02:31 07:08:09", "yesterday"])
def test_a_date_that_does_not_exist_is_not_written(time):
    put_tags(root := Directory(), Exif(datetime=time), Carried())
    (shot,) = root.children[EXIF_IFD]
    assert 306 not in root.fields and 36867 not in shot.fields


@pytest.mark.parametrize(
    ("said", "known", "wanted"),
    [
        ({}, 3200, {34855: 3200}),
        ({34855: 0}, 3200, {34855: 3200}),
        ({34855: 100}, 3200, {34855: 100}),
        ({34855: 65535}, 204800, {34855: 65535, 34864: 2, 34866: 204800}),
        ({34855: 65535, 34866: 102400}, 102400, {34855: 65535, 34866: 102400}),
        ({}, 0.4, {34855: 1}),
        ({}, None, {}),
    ],
)
def test_the_iso_is_there_once_and_right(said, known, wanted):
    letter = {34866: "I"}
    kind = {34866: FieldType.LONG}
    carried = Carried(
        exif={
            tag: Field(
                kind.get(tag, FieldType.SHORT), struct.pack("<" + letter.get(tag, "H"), value)
            )
            for tag, value in said.items()
        }
    )
    fields = exif_directory(Exif(iso=known), carried).fields
    found = {tag: fields[tag].data for tag in range(34855, 34870) if tag in fields}
    assert {tag: int.from_bytes(data, "little") for tag, data in found.items()} == wanted


@pytest.mark.parametrize(
    ("version", "tag", "wanted"),
    [
        (b"0220", 34855, b"0220"),
        (b"0220", 42036, b"0231"),
        (b"0230", 36881, b"0231"),
        (b"0232", 36881, b"0232"),
        (None, 34855, b"0231"),
        (b"\0\0\0\0", 42080, b"0232"),
    ],
)
def test_the_exif_version_is_one_that_has_the_tags(version, tag, wanted):
    exif = {tag: _short(1)} | ({36864: Field(FieldType.UNDEFINED, version)} if version else {})
    fields = exif_directory(Exif(), Carried(exif=exif)).fields
    assert fields[36864].data == wanted


def test_gps_and_iptc_go_along():
    root = Directory()
    gps = {
        1: Field(FieldType.ASCII, b"N\0"),
        31: Field(FieldType.RATIONAL, struct.pack("<2I", 5, 1)),
    }
    put_tags(root, Exif(), Carried(gps=gps, iptc=IPTC))
    (place,) = root.children[GPS_IFD]
    assert place.fields == {**gps, 0: Field(FieldType.BYTE, bytes((2, 3, 0, 0)))}
    assert root.fields[33723] == Field(FieldType.LONG, IPTC + b"\0\0")
    put_tags(root := Directory(), Exif(), Carried())
    assert GPS_IFD not in root.children and 33723 not in root.fields


def test_a_dng_gets_the_names_and_numbers_of_its_camera(tmp_path):
    make_raw(tmp_path / "a.dng", more_tags=[(50708, 2, 6, "Led T\0"), (51105, 2, 2, "B\0")])
    photo = read_raw(tmp_path / "a.dng")
    put_shot(root := Directory(), photo)
    assert root.fields[50708].data == b"Led T\0" and root.fields[51105].data == b"B\0"
    bare = replace(photo, carried=Carried(), exif=replace(photo.exif, serial="77"))
    put_shot(root := Directory(), bare)
    assert root.fields[50708].data == b"Led Testcam One\0" and root.fields[50735].data == b"77\0"
    assert str(_tags(root)["EXIF ExposureTime"]) == "1/60"
    put_tags(root := Directory(), photo.exif, photo.carried)
    assert not any(tag > 50000 for tag in root.fields)


@pytest.mark.skipif(not shutil.which("exiftool"), reason="no exiftool on the PATH")
def test_exiftool_finds_nothing_wrong(tmp_path):
    root = Directory()
    gps = {
        1: Field(FieldType.ASCII, b"N\0"),
        2: Field(FieldType.RATIONAL, struct.pack("<6I", 47, 1, 3, 1, 2, 1)),
    }
    exif = {
        37510: Field(FieldType.UNDEFINED, b"ASCII\0\0\0night"),
        36881: Field(FieldType.ASCII, b"+02:00\0"),
    }
    carried = Carried(exif=exif, gps=gps, iptc=IPTC)
    known = Exif(make="Led", model="T", iso=409600, exposure_time=1 / 3, lens="L", serial="1")
    put_tags(root, known, carried)
    root.set(50706, FieldType.BYTE, (1, 4, 0, 0))
    (tmp_path / "a.dng").write_bytes(serialise(root))
    words = ["exiftool", "-validate", "-warning", "-error", "-a", "-UserComment", "-ObjectName"]
    done = subprocess.run([*words, tmp_path / "a.dng"], capture_output=True, text=True, check=False)
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == ["OK", "night", "night"]


@pytest.mark.parametrize("value", [Fraction(1, 60), Fraction(1, 8000), Fraction(5, 2), 30, 7.1])
def test_exposure_times_stay_the_fractions_they_were(value):
    exact = Fraction(value).limit_denominator(10000)
    assert rational(float(value)) == exact
    assert rational(float(np.float32(float(value)))) == exact
