import dataclasses
import io
import json
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ledcli.errors import OutputError
from ledcli.metadata.tiff import Directory, FieldType, serialise
from ledcli.metadata.xmp import note_in, read_note, xmp_packet
from ledcli.output.dng import dng_bytes
from ledcli.output.pixels import black_levels
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import Phase
from tests.conformance import judges
from tests.shoot import SHARED, make_dark, make_raw

RAW = SHARED / "raw"
needs_real_files = pytest.mark.skipif(not RAW.is_dir(), reason="no ../shared/data/raw here")


def _again(photo, x, tmp_path, **how):
    path = tmp_path / "again.dng"
    path.write_bytes(dng_bytes(photo, x, software="led test", **how))
    return read_raw(path)


def _off_by(photo, x):
    """Largest difference to a read-back DNG, in steps of its 16 bits."""
    steps = np.abs(photo.normalised() - x).max() * (photo.white - photo.black).max()
    return float(steps)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("shape", [(64, 80), (63, 80), (64, 81), (63, 81)])
def test_what_was_written_is_read_to_half_a_step(tmp_path, phase, shape):
    path = tmp_path / "a.ARW"
    make_raw(path, shape=shape, phase=phase, black=(500, 510, 520, 530), orientation=6)
    photo = read_raw(path)
    x = photo.normalised()
    again = _again(photo, x, tmp_path)
    assert again.mosaic.shape == shape and again.phase == phase
    assert _off_by(again, x) < 0.51
    # Levels that were apart by camera stay so: one factor for all, white at the top.
    np.testing.assert_array_equal(again.white, [65535] * 4)
    factor = (again.white - again.black) / (photo.white - photo.black)
    np.testing.assert_allclose(factor, factor[0], rtol=1e-4)


def test_the_source_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "a.ARW"
    mosaic = make_raw(path)
    photo = read_raw(path)
    again = _again(photo, photo.normalised(), tmp_path)
    black, white = photo.black[0], photo.white[0]
    np.testing.assert_array_equal(np.rint(again.normalised() * (white - black) + black), mosaic)


@pytest.mark.parametrize("how", [{"bits": 10, "black": 32}, {"bits": 12, "black": 0}, {}])
def test_noise_below_black_is_kept(tmp_path, how):
    path = tmp_path / "a.dng"
    make_dark(path, read_noise=6, **how)
    photo = read_raw(path)
    for ratio in (1, 8):
        noise = np.random.default_rng(0).normal(0, 0.005, photo.mosaic.shape)
        x = (noise * ratio).astype(np.float32)
        again = _again(photo, x, tmp_path)
        assert (again.black >= 1024).all()
        assert _off_by(again, x) < 0.51
        assert again.normalised().mean() == pytest.approx(x.mean(), abs=1e-5)


def test_above_white_is_white_and_numbers_are_rounded(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path)
    photo = read_raw(path)
    x = photo.normalised()
    step = 1 / (65535 - black_levels(photo, x)[0])
    x[0, :4] = (1.5, np.inf, 100.4 * step, 100.6 * step)
    again = _again(photo, x, tmp_path)
    low = int(again.black[0])
    assert again.mosaic[0, :4].tolist() == [65535, 65535, low + 100, low + 101]
    x[0, 0] = np.nan
    with pytest.raises(OutputError, match="not numbers"):
        dng_bytes(photo, x, software="led")


def test_the_shot_and_the_camera_go_with_it(tmp_path):
    path = tmp_path / "IMG_1é.ARW"
    make_raw(path, iso=6400, exposure_time=Fraction(1, 3), orientation=8)
    photo = read_raw(path)
    again = _again(photo, photo.normalised(), tmp_path)
    assert again.exif == photo.exif
    assert again.orientation == 8
    np.testing.assert_allclose(again.as_shot_wb, photo.as_shot_wb, rtol=1e-5)
    np.testing.assert_allclose(again.colour_matrix, photo.colour_matrix, atol=1e-5)
    with tifffile.TiffFile(tmp_path / "again.dng") as tif:
        tags = {tag.code: tag.value for tag in tif.pages[0].tags}
        assert tif.byteorder == "<"
    assert tags[50708] == "Led Testcam One"
    assert bytes(tags[50827]).decode() == "IMG_1é.ARW\0"
    assert tags[305] == "led test"
    # Exposure tags belong in the Exif directory and nowhere else.
    assert 33434 not in tags and tags[34665]["ExposureTime"] == (1, 3)


def test_iso_beyond_16_bits_goes_with_it(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path, iso=65535, more_tags=[(34866, 4, 1, 409600)])
    photo = read_raw(path)
    assert _again(photo, photo.normalised(), tmp_path).exif.iso == 409600


def test_a_photo_that_says_nothing_still_makes_a_dng(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(
        path, make=None, model=None, iso=None, exposure_time=None, aperture=None,
        focal_length=None, datetime=None, neutral=None, colour_matrix=None,
    )  # fmt: skip
    photo = read_raw(path)
    again = _again(photo, photo.normalised(), tmp_path)
    assert again.exif == photo.exif and again.orientation == 1
    with rawpy.imread(str(tmp_path / "again.dng")) as raw:
        rgb = raw.postprocess(use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0)
    # A grey wall is grey: no matrix and no balance means camera colours as they are.
    red, green, blue = rgb.reshape(-1, 3).mean(0)
    assert red == pytest.approx(green, rel=0.03) and blue == pytest.approx(green, rel=0.03)


def test_crop_and_pixel_shape_go_with_it(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path)
    for crop, aspect in (((4, 6, 100, 120), 1.5), (None, 0.75), (None, 1.0)):
        photo = dataclasses.replace(read_raw(path), crop=crop, pixel_aspect=aspect)
        again = _again(photo, photo.normalised(), tmp_path)
        assert again.crop == crop
        assert again.pixel_aspect == pytest.approx(aspect, rel=1e-3)
        assert again.mosaic.shape == photo.mosaic.shape


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
values = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co", "Zl", "Zp", "Cf", "Zs")))


@given(st.dictionaries(names, values, min_size=1, max_size=5))
def test_a_note_comes_back_whatever_is_in_it(note):
    root = Directory()
    root.set(700, FieldType.BYTE, xmp_packet(note))
    assert note_in(serialise(root)) == note


def test_the_note_is_in_the_dng_and_nobody_elses_is_taken_for_it(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path)
    assert read_note(path) is None
    assert read_note(tmp_path / "none") is None
    photo = read_raw(path)
    _again(photo, photo.normalised(), tmp_path, note={"model": 'a "b" <c> & d', "ratio": 2.5})
    assert read_note(tmp_path / "again.dng") == {"model": 'a "b" <c> & d', "ratio": "2.5"}


def test_a_hostile_packet_is_not_expanded():
    root = Directory()
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'
    root.set(700, FieldType.BYTE, bomb)
    assert note_in(serialise(root)) is None


@needs_real_files
@pytest.mark.parametrize("name", ["canon_s40_0101.CRW", "canon_kissx4_ml_colorchart.dng"])
def test_libraw_shows_source_and_dng_alike(tmp_path, name):
    source = Path(RAW / "good" / name)
    photo = read_raw(source)
    (tmp_path / "a.dng").write_bytes(dng_bytes(photo, photo.normalised(), software="led"))
    pictures = []
    for path in (source, tmp_path / "a.dng"):
        with rawpy.imread(str(path)) as raw:
            pictures.append(
                raw.postprocess(
                    use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0, half_size=True
                ).astype(np.float64)
            )
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.2


def _exiftool(path, *options):
    """Tags by group and name, as exiftool reads them."""
    done = subprocess.run(
        ["exiftool", "-j", "-G1", "-n", *options, str(path)], capture_output=True, check=True
    )
    return json.loads(done.stdout)[0]


needs_exiftool = pytest.mark.skipif(not shutil.which("exiftool"), reason="no exiftool here")


def _directories(path):
    """First directory, raw and preview, as tag to value."""
    with tifffile.TiffFile(path) as tif:
        first = tif.pages[0]
        return [{tag.code: tag.value for tag in page.tags} for page in (first, *first.pages)]


@pytest.mark.parametrize(
    ("asked", "linear", "wanted"),
    [
        ({}, False, (4, 1)),
        ({51009: (3, 0), 51022: (6, 1)}, False, (4, 3)),  # the second may be left out
        ({51009: (6, 0)}, False, (6, 6)),
        ({51009: (6, 0), 51022: (3, 0)}, True, (4, 3)),  # list 2 is for mosaics
    ],
)
def test_a_reader_must_know_the_corrections_that_it_must_make(tmp_path, asked, linear, wanted):
    more = []
    for tag, (minor, flags) in asked.items():
        data = struct.pack(">5I", 1, 3, 0x01000000 + (minor << 16), flags, 0)
        more.append((tag, 7, len(data), data))
    assert _versions(tmp_path, more, linear=linear) == [(1, n, 0, 0) for n in wanted]


def test_a_reader_must_know_illuminants_without_a_number(tmp_path):
    described = (52533, 7, 18, struct.pack("<H4I", 0, 3, 10, 3, 10))
    assert _versions(tmp_path, [(50778, 3, 1, (255,)), described]) == [(1, 6, 0, 0)] * 2
    assert _versions(tmp_path, [described]) == [(1, 4, 0, 0), (1, 1, 0, 0)]


def _versions(tmp_path, more, **how):
    """DNGVersion and DNGBackwardVersion of the result of a raw with these tags."""
    make_raw(path := tmp_path / "a.dng", more_tags=more)
    photo = read_raw(path)
    path.write_bytes(dng_bytes(photo, photo.normalised(), **how))
    first, *_ = _directories(path)
    return [tuple(first[tag]) for tag in (50706, 50707)]


FORMS = [{}, {"compression": "none"}, {"linear": True}, {"linear": True, "compression": "none"}]


@pytest.mark.parametrize("how", FORMS)
def test_a_file_is_thumbnail_raw_and_preview(tmp_path, how):
    path = tmp_path / "a.dng"
    make_raw(path, shape=(301, 402), orientation=6)
    photo = read_raw(path)
    note = {"model": "x", "when": "2026-01-02T03:04:05Z"}
    path.write_bytes(dng_bytes(photo, photo.normalised(), software="led 1.2", note=note, **how))
    first, raw, preview = _directories(path)
    assert [tags[254] for tags in (first, raw, preview)] == [1, 0, 1]
    assert first[274] == 6 and 274 not in raw and 274 not in preview
    assert (raw[256], raw[257], raw[258]) == (402, 301, (16, 16, 16) if "linear" in how else 16)
    assert raw[262] == (34892 if "linear" in how else 32803)
    assert raw[259] == (1 if "compression" in how else 7)
    assert raw[50720] == (402, 301)
    assert (preview[256], preview[257], preview[259]) == (201, 150, 7)
    assert (preview[50966], preview[50967], preview[50970]) == ("led", "1.2", 2)
    assert preview[50971] == note["when"]
    # What belongs to the shot and the camera is in the first directory alone.
    for tag in (271, 272, 700, 34665, 50706, 50721, 50728, 50730):
        assert tag in first and tag not in raw and tag not in preview


@needs_exiftool
@pytest.mark.parametrize("how", [*FORMS, {"headroom": 7.3}])
@pytest.mark.parametrize("shape", [(32, 33), (333, 400)])
def test_exiftool_finds_nothing_wrong(tmp_path, how, shape):
    path = tmp_path / "a.dng"
    make_raw(path, shape=shape, black=(500, 510, 520, 530), orientation=8)
    photo = read_raw(path)
    note = {"model": "x", "when": "2026-01-02T03:04:05Z"}
    path.write_bytes(dng_bytes(photo, photo.normalised(), software="led 1", note=note, **how))
    found = _exiftool(path, "-validate", "-warning", "-error", "-a")
    assert found.pop("ExifTool:Validate") == "0 0 0"
    assert found.keys() <= {"SourceFile"}


@pytest.mark.parametrize("shape", [(64, 80), (45, 37), (32, 400)])
def test_compressed_and_not_are_the_same_to_the_last_bit(tmp_path, shape):
    path = tmp_path / "a.ARW"
    make_raw(path, shape=shape, phase="GBRG")
    photo = read_raw(path)
    x = np.random.default_rng(0).uniform(-0.02, 1.1, shape).astype(np.float32)
    mosaics = [_again(photo, x, tmp_path, compression=how).mosaic for how in ("ljpeg", "none")]
    np.testing.assert_array_equal(*mosaics)


def test_the_preview_is_of_the_denoised_pixels(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path, shape=(600, 800))
    photo = read_raw(path)
    for level, shown in ((0.0, 0), (2.0, 255)):
        x = np.full(photo.mosaic.shape, level, np.float32)
        path.write_bytes(dng_bytes(photo, x, software="led"))
        with rawpy.imread(str(path)) as raw:
            thumb = raw.extract_thumb()
        assert thumb.format == rawpy.ThumbFormat.JPEG
        assert (np.asarray(Image.open(io.BytesIO(thumb.data))) == shown).all()


def test_headroom_keeps_what_is_brighter_and_the_exposure_makes_up_for_it(tmp_path):
    path = tmp_path / "a.dng"
    tags = [(50730, 10, 1, (1, 2))]
    make_raw(path, more_tags=tags)
    photo = read_raw(path)
    x = photo.normalised() * 3
    x[10:20, 10:20] = 3.9
    again = _again(photo, x, tmp_path, headroom=4.0)
    np.testing.assert_array_equal(again.white, [65535] * 4)
    step = 4 / float(65535 - again.black[0])
    assert np.abs(again.normalised() * 4 - x).max() < 1.01 * step
    first, *_ = _directories(tmp_path / "again.dng")
    assert Fraction(*first[50730]) == Fraction(5, 2)


def test_a_sky_with_headroom_does_not_band(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path, shape=(200, 320))
    photo = read_raw(path)
    step = 256 / 60000
    sky = np.broadcast_to(np.linspace(10, 13, 320, dtype=np.float32) * step, (200, 320)).copy()
    again = _again(photo, sky, tmp_path, headroom=256.0)
    columns = again.normalised().mean(axis=0) * 256
    # Rounded to the nearest, columns would be off by up to half a step.
    assert np.abs(columns - sky[0]).max() < 0.15 * step
    # And the same file comes out every time.
    same = [dng_bytes(photo, sky, software="led", headroom=256.0) for _ in range(2)]
    assert same[0] == same[1]


@needs_real_files
@needs_exiftool
def test_real_frames_make_files_in_which_nothing_is_wrong(tmp_path):
    for source in sorted((RAW / "good").iterdir()):
        photo = read_raw(source)
        path = tmp_path / f"{source.stem}.dng"
        path.write_bytes(dng_bytes(photo, photo.normalised(), software="led 1"))
    assert judges.complaints(tmp_path.iterdir()) == {}
