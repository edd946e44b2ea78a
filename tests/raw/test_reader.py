import json
import os
import struct
from functools import partial

import numpy as np
import pytest
import rawpy
import tifffile

from ledcli.errors import RawError
from ledcli.metadata.dng_mosaic import mosaic_directory, wrong_layout
from ledcli.metadata.tiff import STRIPS, TILES, Directory, FieldType, serialise
from ledcli.output.dng import dng_bytes
from ledcli.raw.decoder import decoders
from ledcli.raw.inputs import RAW_SUFFIXES
from ledcli.raw.libraw import XYZ_FROM_SRGB, colour_matrix
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import Phase, pack, pattern
from tests.shoot import (
    COLOUR_MATRIX,
    SHARED,
    colours_of,
    make_constant,
    make_dark,
    make_raw,
    make_zero_tail,
    truncate,
)

RAW = SHARED / "raw"
needs_real_files = pytest.mark.skipif(not RAW.is_dir(), reason="no ../shared/data/raw here")


def _real(kind):
    if not RAW.is_dir():
        return []
    return sorted(RAW.glob(f"{kind}/*"))


def _refusal(path, **how):
    with pytest.raises(RawError) as caught:
        decoders.run(partial(read_raw, **how), path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path))
    return message


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("shape", [(64, 80), (63, 80), (64, 81), (33, 37)])
def test_mosaic_levels_and_phase_come_back(tmp_path, phase, shape):
    path = tmp_path / "a.NEF"
    mosaic = make_raw(path, shape=shape, phase=phase, black=(500, 510, 520, 530), white=16000)
    photo = read_raw(path)
    np.testing.assert_array_equal(photo.mosaic, mosaic)
    assert photo.mosaic.dtype == np.uint16
    assert photo.phase == phase
    np.testing.assert_array_equal(photo.black, [500, 510, 520, 530])
    np.testing.assert_array_equal(photo.white, [16000] * 4)
    assert photo.bits == 14


BLACK = (500, 520, 540, 560)


@pytest.mark.parametrize("area", [(4, 6, 104, 140), (2, 4, 101, 141), (0, 2, 67, 81)])
@pytest.mark.parametrize("phase", list(Phase))
def test_the_phase_is_that_of_the_active_area(tmp_path, area, phase):
    path = tmp_path / "a.dng"
    mosaic = make_raw(path, phase=phase, active_area=area, black=BLACK)
    photo = read_raw(path)
    top, left, bottom, right = area
    np.testing.assert_array_equal(photo.mosaic, mosaic[top:bottom, left:right])
    assert photo.phase == phase
    np.testing.assert_array_equal(photo.black, BLACK)


@pytest.mark.parametrize("area", [(3, 5, 103, 142), (1, 4, 102, 141), (2, 7, 67, 81)])
@pytest.mark.parametrize("phase", list(Phase))
def test_an_odd_active_area_keeps_all_pixels_and_colours(tmp_path, area, phase):
    """LibRaw leaves out the first line of an odd margin, and takes one colour's black for
    another's."""
    path = tmp_path / "a.dng"
    row, col = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}[phase]
    light = np.full((130, 160), 0.1)
    light[row::2, col::2] = 0.5
    crop = [(50719, 4, 2, (4, 2)), (50720, 4, 2, (60, 50))]
    mosaic = make_raw(
        path, phase=phase, light=light, active_area=area, black=BLACK, gain=0, more_tags=crop
    )
    photo = read_raw(path)
    top, left, bottom, right = area
    np.testing.assert_array_equal(photo.mosaic, mosaic[top:bottom, left:right])
    np.testing.assert_array_equal(photo.black, BLACK)
    assert photo.crop == (2, 4, 50, 60)
    x = photo.normalised()
    red = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}[photo.phase]
    np.testing.assert_allclose(x[red[0] :: 2, red[1] :: 2], 0.5, atol=0.01)
    assert np.median(x) == pytest.approx(0.1, abs=0.01)


RGB_BLACK = (500, 520, 540)
XTRANS_AREAS = [None, (0, 0, 100, 140), (1, 4, 102, 141), (3, 5, 103, 142), (8, 14, 101, 150)]


@pytest.mark.parametrize("area", XTRANS_AREAS)
@pytest.mark.parametrize("offset", [(0, 0), (1, 4), (2, 1), (5, 5)])
def test_an_x_trans_keeps_its_pattern_and_black_levels(tmp_path, area, offset):
    path = tmp_path / "a.RAF"
    crop = [(50719, 4, 2, (4, 2)), (50720, 4, 2, (60, 50))]
    mosaic = make_raw(path, phase=offset, active_area=area, black=RGB_BLACK, more_tags=crop)
    photo = read_raw(path)
    top, left, bottom, right = area or (0, 0, *mosaic.shape)
    np.testing.assert_array_equal(photo.mosaic, mosaic[top:bottom, left:right])
    assert photo.cfa == "xtrans"
    colours = np.array(photo.colours)
    cell = np.roll(colours_of(offset), (-top, -left), (0, 1))
    np.testing.assert_array_equal(colours[pattern(photo.phase)], cell)
    np.testing.assert_array_equal(photo.black, np.array(RGB_BLACK)[colours])
    np.testing.assert_array_equal(photo.white, [16383] * 9)
    assert photo.crop == (2, 4, 50, 60)
    assert np.array_equal(photo.planes(), pack(photo.normalised(), photo.phase))
    np.testing.assert_allclose(photo.as_shot_wb, [2, 1, 1.6], rtol=1e-5)
    np.testing.assert_allclose(photo.colour_matrix, COLOUR_MATRIX, atol=1e-5)


def test_colour_white_balance_and_orientation(tmp_path):
    path = tmp_path / "a.dng"
    for orientation in range(1, 9):
        make_raw(path, orientation=orientation)
        photo = read_raw(path)
        assert photo.orientation == orientation
    np.testing.assert_allclose(photo.as_shot_wb, [2, 1, 1.6], rtol=1e-5)
    np.testing.assert_allclose(photo.colour_matrix, COLOUR_MATRIX, atol=1e-5)
    make_raw(path, neutral=None, colour_matrix=None)
    photo = read_raw(path)
    assert photo.as_shot_wb is None and photo.colour_matrix is None


def test_the_white_level_of_a_dng_is_its_own(tmp_path):
    """LibRaw knows a lower limit for this camera's own files."""
    path = tmp_path / "a.dng"
    make_raw(path, make="NIKON CORPORATION", model="NIKON D2Hs")
    np.testing.assert_array_equal(read_raw(path).white, [16383] * 4)


def test_a_name_that_is_not_utf8_is_read(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.dng")
    make_raw(tmp_path / "a.dng")
    try:
        (tmp_path / "a.dng").rename(path)
    except OSError:
        pytest.skip("this file system wants UTF-8 names")
    assert read_raw(path).mosaic.shape == (128, 160)


@pytest.mark.parametrize(
    "how", [{}, {"black": 0}, {"bits": 10, "black": 32, "read_noise": 0.7}, {"read_noise": 60.0}]
)
def test_a_dark_frame_is_accepted(tmp_path, how):
    path = tmp_path / "a.dng"
    make_dark(path, **how)
    assert abs(read_raw(path).normalised().mean()) < 0.01


def test_saturated_last_rows_are_accepted(tmp_path):
    path = tmp_path / "a.dng"
    light = np.full((128, 160), 0.2)
    light[100:] = 3
    make_raw(path, light=light)
    assert read_raw(path).mosaic[-1, -1] == 16383


def test_files_without_an_image_are_refused(tmp_path):
    path = tmp_path / "a.dng"
    make_constant(path, 0)
    assert "every pixel is 0" in _refusal(path)
    make_constant(path, 700)
    assert "every pixel is 700" in _refusal(path)
    make_zero_tail(path, rows=4)
    assert "last 4 of 128 rows" in _refusal(path)
    mosaic = np.zeros((128, 160), np.uint16)
    mosaic[7::20, ::20] = 4000
    make_raw(path, mosaic=mosaic)
    assert "damaged or truncated" in _refusal(path)
    photo = read_raw(path, force=True)
    assert "99.7% of the pixels are 0" in photo.warnings[0] and photo.mosaic.max() == 4000
    make_raw(path, light=np.zeros((128, 160)), black=8000, read_noise=50)
    mosaic = read_raw(path).mosaic - 6000
    make_raw(path, mosaic=mosaic, black=8000)
    assert "outside black and white" in _refusal(path)


def _letterbox(mosaic):
    mosaic[-24:] = 512


def _all_sky_circle(mosaic):
    rows, cols = np.mgrid[:128, :160]
    mosaic[(rows - 60) ** 2 + (cols - 80) ** 2 > 55**2] = 512


def _saturated_below_white(mosaic):
    mosaic[-30:] = 13000


def _all_white(mosaic):
    mosaic[:] = 16383


def _stars_over_clipped_black(mosaic):
    mosaic[:] = 512
    mosaic[7::20, ::20] = 4000


@pytest.mark.parametrize(
    "draw",
    [
        _letterbox,
        _all_sky_circle,
        _saturated_below_white,
        _all_white,
        _stars_over_clipped_black,
    ],
)
def test_a_sound_frame_that_looks_damaged_is_read_with_a_warning(tmp_path, draw):
    path = tmp_path / "a.ARW"
    mosaic = make_raw(path)
    assert read_raw(path).warnings == ()
    draw(mosaic)
    make_raw(path, mosaic=mosaic)
    photo = read_raw(path)
    np.testing.assert_array_equal(photo.mosaic, mosaic)
    (warning,) = photo.warnings
    assert warning.startswith(f"{path}: ") and "\n" not in warning
    truncate(path, 0.9)
    assert "truncated" in _refusal(path)


def test_zeros_inside_a_frame_are_warned_of(tmp_path):
    path, whole = tmp_path / "a.dng", make_raw(tmp_path / "a.dng", shape=(160, 160))
    for part in (np.s_[:80, :80], np.s_[60:124], np.s_[:, 4:68]):
        mosaic = whole.copy()
        mosaic[part] = 0
        make_raw(path, mosaic=mosaic)
        (warning,) = read_raw(path).warnings
        share = float(warning.split("% of the frame is constant")[0].split()[-1])
        assert share == pytest.approx(100 * (mosaic == 0).mean(), abs=6)


def test_a_part_that_is_no_lossless_jpeg_is_refused(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path)
    photo = read_raw(path)
    data = bytearray(dng_bytes(photo, photo.normalised(), software="led"))
    path.write_bytes(data)
    assert read_raw(path).warnings == ()
    image = mosaic_directory(bytes(data))
    (start, *_), tiles = image.integers(TILES[0]), len(image.integers(TILES[0]))
    data[start : start + 8] = bytes(8)
    path.write_bytes(data)
    assert f"has lost 1 of its {tiles} tiles, the file is damaged" in _refusal(path)
    with pytest.raises(RawError, match="has lost 1 of"):
        read_raw(path, force=True)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"shape": (16, 16)}, "too small (16x16 pixels"),
        ({"active_area": (0, 0, 900, 900)}, "not inside its 400 rows and 600 columns"),
        ({"active_area": (90, 90, 10, 10)}, "not inside its 400 rows and 600 columns"),
    ],
)
def test_a_layout_that_libraw_refuses_is_named(tmp_path, how, words):
    make_raw(tmp_path / "a.dng", **{"shape": (400, 600)} | how)
    assert words in _refusal(tmp_path / "a.dng")


def test_strips_in_the_same_bytes_are_named():
    root = Directory()
    root.set(254, FieldType.LONG, 0)
    root.set(262, FieldType.SHORT, 32803)
    for tag, value in zip(STRIPS, ([8, 100], [200, 200]), strict=True):
        root.set(tag, FieldType.LONG, value)
    assert "share bytes" in wrong_layout(serialise(root) + bytes(400))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("keep", [0.99, 0.5, 0.05])
def test_a_truncated_file_is_refused(tmp_path, keep, force):
    path = tmp_path / "a.ARW"
    make_raw(path, shape=(400, 600))
    truncate(path, keep)
    assert "truncated" in _refusal(path, force=force)


def test_files_that_are_not_raws_are_refused(tmp_path):
    assert "no such file" in _refusal(tmp_path / "none.dng")
    assert "folder" in _refusal(tmp_path)
    path = tmp_path / "a.dng"
    path.write_bytes(b"")
    assert "empty" in _refusal(path)
    path.write_text("hello " * 1000)
    assert "not a raw file" in _refusal(path)
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(5000))
    assert "JPEG" in _refusal(path)
    path.write_bytes(b"II*\0\x10\0\0\0")
    assert "not a raw file" in _refusal(path)
    os.mkfifo(tmp_path / "pipe.dng")
    assert "not a regular file" in _refusal(tmp_path / "pipe.dng")


def test_unsupported_sensors_are_refused(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path, shape=(30, 160))
    assert "too small" in _refusal(path)
    version = (50706, 1, 4, bytes((1, 4, 0, 0)), True)
    model = (50708, 2, 8, "Testcam", True)
    rgb = np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    tifffile.imwrite(
        path,
        rgb,
        photometric=34892,
        planarconfig="contig",
        metadata=None,
        extratags=[version, model],
    )
    assert "has no mosaic: each pixel has all colours already" in _refusal(path)
    odd = b"".join(
        bytes("RGB".index(c) for c in line)
        for line in ("GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB", "RBGRRG")
    )
    tags = [version, model, (33421, 3, 2, (6, 6), True), (33422, 1, 36, odd, True)]
    tifffile.imwrite(path, rgb[..., 0], photometric="cfa", metadata=None, extratags=tags)
    assert "neither Bayer nor X-Trans" in _refusal(path)


def test_suffixes_are_lower_case_with_their_dot():
    assert all(s.startswith(".") and s == s.lower() for s in RAW_SUFFIXES)
    assert {".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".kdc"} <= RAW_SUFFIXES
    assert not {".jpg", ".png", ".tif"} & RAW_SUFFIXES


@pytest.mark.parametrize(("code", "codec"), [(8, "Deflate"), (52546, "JPEG XL")])
def test_a_compression_that_is_not_supported_is_named(tmp_path, code, codec):
    path = tmp_path / "a.dng"
    make_raw(path, shape=(256, 256))
    entry = struct.pack("<HHI", 259, 3, 1)
    plain, packed = (entry + struct.pack("<H", number) for number in (1, code))
    path.write_bytes(path.read_bytes().replace(plain, packed))
    assert f"compressed by {codec}, which is not supported" in _refusal(path)


@needs_real_files
@pytest.mark.parametrize("path", _real("good"), ids=lambda path: path.name)
def test_every_good_frame_is_read(path):
    known = {f["file"]: f for f in json.loads((RAW / "manifest.json").read_text())}
    facts = known[f"good/{path.name}"].get("rawpy")
    photo = read_raw(path)
    assert photo.colour_matrix is not None
    if facts:
        assert list(photo.mosaic.shape) == facts["vis"]
        assert photo.mosaic.mean() == pytest.approx(facts["mean"])
        assert sorted(np.floor(photo.black)) == sorted(facts["black"])


@needs_real_files
@pytest.mark.parametrize("path", _real("bad"), ids=lambda path: path.name)
def test_every_bad_file_is_refused_in_one_quiet_line(path, capfd):
    _refusal(path)
    assert capfd.readouterr().err == ""


@needs_real_files
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bad/text_file.cr2", "not a raw file"),
        ("bad/gopro_hero7.GPR", "not supported by this LibRaw"),
        ("bad/canon_1ds3_header.CR2", "damaged or truncated"),
        ("bad/exiftool_CanonRaw.cr2", "damaged or truncated"),
        ("bad/nikon_d7100_truncated.NEF", "damaged or truncated"),
        ("bad/sony_a55_truncated.ARW", "damaged or truncated"),
        ("bad/trunc_sony_zve10.arw", "damaged or truncated"),
        ("bad/exiftool_DNG.dng", "has lost 1 of its 1 tiles"),
        ("bad/exiftool_Panasonic.rw2", "damaged or truncated"),
        ("odd/canon_6d_linear.dng", "no mosaic"),
        ("odd/kodak_c330_yrgb.raw", "has no header"),
        ("headerless/nikon_d750_768x512_rggb.raw", "has no header"),
    ],
)
def test_the_refusal_says_what_is_wrong(name, words):
    assert words in _refusal(RAW / name)


@needs_real_files
@pytest.mark.parametrize(
    "path", [p for p in _real("odd") if p.suffix == ".KDC"], ids=lambda path: path.name
)
def test_odd_bayer_files_are_read(path):
    photo = read_raw(path)
    assert photo.phase == Phase.GRBG
    assert (photo.pixel_aspect > 1.5) == ("dc120" in path.name)
    assert photo.colour_matrix is not None


class OldCamera:
    """A camera whose matrix LibRaw applies but does not tell."""

    rgb_xyz_matrix, color_matrix, daylight_whitebalance = (
        np.zeros((4, 3)),
        np.zeros((3, 4)),
        [1] * 4,
    )

    def __init__(self, to_srgb):
        self.to_srgb = to_srgb

    def postprocess(self, output_color, **how):
        camera = np.random.default_rng(0).integers(0, 65536, (64, 80, 3)).astype(np.uint16)
        srgb = np.rint(camera @ np.transpose(self.to_srgb)).clip(0, 65535).astype(np.uint16)
        return srgb if output_color == rawpy.ColorSpace.sRGB else camera


def test_a_matrix_that_libraw_does_not_tell_is_fitted_to_its_rendering():
    to_srgb = np.array([[1.5, -0.3, -0.2], [-0.1, 1.3, -0.2], [0.1, -0.4, 1.3]])
    matrix = colour_matrix(OldCamera(to_srgb), dng=False)
    np.testing.assert_allclose(np.linalg.inv(matrix @ XYZ_FROM_SRGB), to_srgb, atol=1e-3)
    assert colour_matrix(OldCamera(to_srgb), dng=True) is None
    assert colour_matrix(OldCamera(np.full((3, 3), 0.3)), dng=False) is None


@pytest.mark.parametrize("phase", list(Phase))
def test_planes_are_the_packed_normalised_mosaic(tmp_path, phase):
    make_raw(tmp_path / "a.dng", shape=(65, 131), phase=phase, black=(510, 520, 515, 518))
    photo = read_raw(tmp_path / "a.dng")
    assert np.array_equal(photo.planes(), pack(photo.normalised(), photo.phase))
