import struct
import subprocess
import sys
import time
from datetime import UTC, datetime
from fractions import Fraction
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledcli.errors import LedError, MetadataError, RawError
from ledcli.raw.exif import Exif, read_exif, require_exposure_level
from ledcli.raw.libraw import OpenedRaw
from tests.shoot import SHARED, make_raw

SHORT, LONG, RATIONAL, ASCII = 3, 4, 5, 2
RAW = SHARED / "raw"
needs_real_files = pytest.mark.skipif(not RAW.is_dir(), reason="no ../shared/data/raw here")


def test_the_tags_of_a_raw(tmp_path):
    path = tmp_path / "a.ARW"
    make_raw(path, iso=6400, exposure_time=Fraction(1, 30))
    exif = read_exif(path)
    assert (exif.make, exif.model, exif.camera) == ("Led", "Testcam One", "Led Testcam One")
    assert (exif.iso, exif.exposure_time) == (6400, 1 / 30)
    assert (exif.aperture, exif.focal_length) == (2.8, 50)
    assert exif.datetime == "2024:05:06 07:08:09"
    assert exif.exposure_level == pytest.approx(6400 / 30)
    assert require_exposure_level(path, exif) == exif.exposure_level


@pytest.mark.parametrize(("iso", "time"), [(None, None), (0, Fraction(0))])
def test_missing_and_zero_stay_missing(tmp_path, iso, time):
    path = tmp_path / "a.dng"
    make_raw(path, iso=iso, exposure_time=time, aperture=None, model=None)
    exif = read_exif(path)
    assert exif.iso is None and exif.exposure_time is None
    assert exif.aperture is None and exif.model is None
    assert exif.exposure_level is None


@pytest.mark.parametrize(
    ("iso", "time", "words"),
    [
        (None, 1 / 60, "no usable ISO tag"),
        (100, None, "no usable ExposureTime tag"),
        (None, None, "no usable ISO and no ExposureTime tag"),
    ],
)
def test_a_missing_tag_is_reported_with_its_file(tmp_path, iso, time, words):
    path = tmp_path / "night.dng"
    with pytest.raises(MetadataError, match=words) as caught:
        require_exposure_level(path, Exif(iso=iso, exposure_time=time))
    assert "night.dng" in str(caught.value) and "\n" not in str(caught.value)


def test_iso_beyond_16_bits_is_in_another_tag(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path, iso=65535, more_tags=[(34866, LONG, 1, 204800)])
    assert read_exif(path).iso == 204800
    make_raw(path, iso=65535)
    assert read_exif(path).iso is None


SENSITIVITIES = [(34865, LONG, 1, 409600), (34866, LONG, 1, 102400), (34867, LONG, 1, 204800)]


@pytest.mark.parametrize(
    ("kind", "iso"), [(1, 409600), (2, 102400), (3, 204800), (5, 409600), (7, 102400), (9, 102400)]
)
def test_the_sensitivity_type_says_which_tag_has_the_iso(tmp_path, kind, iso):
    path = tmp_path / "a.dng"
    more = [*SENSITIVITIES, (34864, SHORT, 1, kind)]
    make_raw(path, iso=65535, more_tags=more)
    assert read_exif(path).iso == iso
    make_raw(path, iso=400, more_tags=more)
    assert read_exif(path).iso == 400
    make_raw(path, iso=65535, more_tags=[SENSITIVITIES[0], (34864, SHORT, 1, 2)])
    assert read_exif(path).iso == 409600


def test_the_first_iso_of_a_list_that_is_not_zero_counts(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path, iso=None, more_tags=[(34855, SHORT, 2, (0, 3200))])
    assert read_exif(path).iso == 3200


FLOAT, DOUBLE, SRATIONAL = 11, 12, 10


@pytest.mark.parametrize(
    ("tags", "seconds"),
    [
        ([(33434, FLOAT, 1, 0.25)], 0.25),
        ([(33434, DOUBLE, 1, 1 / 60)], 1 / 60),
        ([(33434, SRATIONAL, 1, (1, 8))], 1 / 8),
        ([(33434, RATIONAL, 1, (0, 1)), (37377, SRATIONAL, 1, (6, 1))], 1 / 64),
        ([(37377, SRATIONAL, 1, (-3, 1))], 8),
        ([(33434, RATIONAL, 1, (1, 2)), (37377, SRATIONAL, 1, (6, 1))], 1 / 2),
        ([(33434, RATIONAL, 1, (0, 1)), (37377, SRATIONAL, 1, (0, 1))], None),  # both unknown
        ([(37377, SRATIONAL, 1, (-(2**31), 1))], None),
    ],
)
def test_exposure_times_of_any_type_or_as_a_shutter_speed(tmp_path, tags, seconds):
    path = tmp_path / "a.dng"
    make_raw(
        path, exposure_time=None, aperture=None, more_tags=[*tags, (37378, RATIONAL, 1, (3, 1))]
    )
    exif = read_exif(path)
    assert exif.exposure_time == (seconds and pytest.approx(seconds))
    assert exif.aperture == pytest.approx(2**1.5)


@pytest.mark.parametrize(
    ("make", "unique", "named"),
    [
        (None, "Led Testcam Two", ("Led", "Testcam Two")),
        (None, "Testcam", (None, "Testcam")),
        ("Led", "Led Testcam Two", ("Led", "Led Testcam Two")),
    ],
)
def test_a_camera_may_be_named_by_its_unique_model_alone(tmp_path, make, unique, named):
    path = tmp_path / "a.dng"
    more = [(50708, ASCII, len(unique) + 1, unique)]
    make_raw(path, make=make, model=None, more_tags=more)
    exif = read_exif(path)
    assert (exif.make, exif.model) == named and exif.camera == unique
    make_raw(path, more_tags=more)
    assert read_exif(path).camera == "Led Testcam One"


@pytest.mark.parametrize("pair", [(1, 0), (0, 0), (0, 5)])
def test_an_impossible_fraction_is_a_missing_tag(tmp_path, pair):
    path = tmp_path / "a.dng"
    make_raw(path, exposure_time=None, more_tags=[(33434, RATIONAL, 1, pair)])
    assert read_exif(path).exposure_time is None


def test_text_is_fit_for_one_line(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path, model="Evil\x1b[31m\ncam  ")
    model = read_exif(path).model
    assert model.isprintable() and model.startswith("Evil") and model.endswith("cam")


def test_camera_names_do_not_repeat_the_make():
    assert Exif(make="NIKON CORPORATION", model="NIKON D70").camera == "NIKON D70"
    assert Exif(make="SONY", model="ILCE-7S").camera == "SONY ILCE-7S"
    assert Exif(make="SONY").camera == "SONY" and Exif().camera is None


def test_a_missing_file_is_an_error_and_a_text_file_has_no_tags(tmp_path):
    with pytest.raises(RawError, match="no such file"):
        read_exif(tmp_path / "a.dng")
    (tmp_path / "b.dng").write_text("hello")
    assert read_exif(tmp_path / "b.dng") == Exif()


def _tiff(entries):
    fields = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + fields + b"\0\0\0\0"


def _box(kind, *content):
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def test_a_cr3_keeps_its_tags_in_boxes(tmp_path):
    path = tmp_path / "a.CR3"
    first = _tiff([(272, ASCII, 4, b"R99\0")])
    second = _tiff([(34855, SHORT, 1, struct.pack("<HH", 3200, 0))])
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    boxes = _box(b"uuid", canon, _box(b"CMT1", first), _box(b"CMT2", second))
    path.write_bytes(_box(b"ftyp", b"crx \0\0\0\1crx isom") + _box(b"moov", boxes))
    exif = read_exif(path)
    assert (exif.model, exif.iso) == ("R99", 3200)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["dng", "crw", "cr3", "raf", "mrw"]))
def test_damaged_headers_raise_nothing_but_led_errors(tmp_path, seed, kind):
    import numpy as np

    rng = np.random.default_rng(seed)
    path = tmp_path / f"a.{kind}"
    make_raw(path, shape=(32, 32))
    magic = {
        "dng": b"",
        "crw": b"II\x1a\0\0\0HEAPCCDR",
        "cr3": b"\0\0\0\x18ftypcrx \0\0\0\1",
        "raf": b"FUJIFILM",
        "mrw": b"\0MRM",
    }[kind]
    data = bytearray(path.read_bytes())
    for at in rng.integers(4, 600, 40):
        data[at] = rng.integers(0, 256)
    data[: len(magic)] = magic
    path.write_bytes(data[: rng.integers(8, len(data))])
    try:
        exif = read_exif(path)
    except LedError:
        return
    for value in (exif.iso, exif.exposure_time, exif.aperture, exif.focal_length):
        assert value is None or value > 0


def test_reading_tags_needs_no_torch():
    code = "import sys, ledcli.raw.exif; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_real_files
@pytest.mark.parametrize(
    ("name", "serial"),
    [
        ("good/canon_d30.CRW", "1235-02474"),
        ("bad/exiftool_CanonRaw.crw", "0560018150"),
        ("good/canon_g2_0304.CRW", None),  # another number is in its place
    ],
)
def test_a_crw_serial_number_is_spelled_as_by_canon(name, serial):
    assert read_exif(RAW / name).serial == serial


def _crw(path, model, serial):
    """A CIFF file with nothing but the camera's name and its number, in the folder's own table."""
    inner = struct.pack("<HHII", 1, 0x580B, serial, 0xABABABAB) + struct.pack("<I", 0)
    name = b"Canon\0" + model + b"\0"
    table = struct.pack("<HHIIHII", 2, 0x300A, len(inner), len(name), 0x080A, len(name), 0)
    heap = name + inner + table + struct.pack("<I", len(name) + len(inner))
    path.write_bytes(b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + heap)
    return path


@pytest.mark.parametrize(
    ("model", "number", "serial"),
    [
        (b"Canon EOS D30", 0x123509AA, "1235-02474"),
        (b"Canon EOS 10D", 560018150, "0560018150"),
        (b"Canon EOS 10D", 0, None),
        (b"Canon PowerShot S40", 0x43B2685C, None),
    ],
)
def test_the_serial_number_of_a_synthetic_crw(tmp_path, model, number, serial):
    exif = read_exif(_crw(tmp_path / "a.crw", model, number))
    assert (exif.model, exif.serial) == (model.decode(), serial)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be changed here")
@pytest.mark.parametrize(("crw", "hour"), [(True, "12"), (False, "18")])
def test_a_crw_has_its_own_time_in_every_zone(monkeypatch, crw, hour):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        noon = datetime(2004, 1, 2, 12, 30, tzinfo=UTC).timestamp()
        other = Mock(timestamp=datetime.fromtimestamp(noon), artist="")
        shot = OpenedRaw(Mock(other=other), 0, True, crw).shot()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert shot["datetime"].startswith(f"2004:01:02 {hour}:")


@needs_real_files
@pytest.mark.parametrize(
    ("name", "model", "iso", "time"),
    [
        ("good/canon_s40_0101.CRW", "Canon PowerShot S40", 50, 0.00991446),
        ("good/canon_d30.CRW", "Canon EOS D30", 100, 4.96743),
        ("good/canon_kissx4_ml_colorchart.dng", "Canon EOS Kiss X4", None, None),
        ("bad/canon_r6_pruned.CR3", "Canon EOS R6", 100, 1 / 4),
        ("bad/exiftool_CanonRaw.cr3", "Canon EOS M50", 12800, 1 / 80),
        ("bad/exiftool_FujiFilm.raf", "FinePix S5Pro", 100, 1 / 250),
        ("bad/exiftool_Minolta.mrw", "DiMAGE A2", 64, 1 / 5),
        ("bad/exiftool_Panasonic.rw2", "DMC-LX3", 80, 1 / 250),
        ("bad/gopro_hero7.GPR", "HERO7 Black", 267, 1 / 240),
        ("bad/nikon_d7100_truncated.NEF", "NIKON D7100", 100, 1 / 30),
        ("bad/sony_a55_truncated.ARW", "SLT-A55V", 100, 1 / 100),
        ("odd/kodak_dc120_P003914.KDC", "Kodak DC120 ZOOM Digital Camera", 160, 0.0037),
    ],
)
def test_real_headers(name, model, iso, time):
    exif = read_exif(RAW / name)
    assert exif.model == model
    assert exif.iso == iso
    assert exif.exposure_time == (time if time is None else pytest.approx(time, rel=1e-5))
