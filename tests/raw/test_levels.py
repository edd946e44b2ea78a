"""Black and white as the file has them: fractions, any pattern, deltas, masked pixels."""

import struct

import numpy as np
import pytest
import tifffile

from ledcli.errors import RawError
from ledcli.output.dng import dng_bytes
from ledcli.raw.levels import measured_black
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import Phase, pack, pattern
from tests.shoot import (
    BLACK_LEVEL,
    BLACK_REPEAT,
    DELTA_H,
    DELTA_V,
    MASKED_AREAS,
    SHARED,
    WHITE_LEVEL,
    make_raw,
    numbers_tag,
)

SHAPE = (62, 90)
ROWS, COLUMNS = (np.arange(n) for n in SHAPE)
BAYER, XTRANS = "GBRG", (2, 1)
RAMP, WAVE = 24 * (ROWS % 4 < 2) - 3.5, 12 + 9.75 * np.sin(COLUMNS / 9)
NO_REPEAT = (BLACK_REPEAT, 3, 0, ())


def repeat(cell):
    return (BLACK_REPEAT, 3, 2, np.shape(cell)), numbers_tag(BLACK_LEVEL, cell)


TWO = [[64.9, 64.1], [64.25, 64.75]]
CELLS = {
    "one": [[511.9]],
    "2x2": TWO,
    "2x1": [[500], [520]],
    "4x4": np.arange(16).reshape(4, 4) * 2.25 + 500,
    "3x5": np.arange(15).reshape(3, 5) + 499.5,
}
BLACKS = {name: (repeat(cell), cell, 0, 0) for name, cell in CELLS.items()} | {
    "no repeat": ((NO_REPEAT, numbers_tag(BLACK_LEVEL, TWO)), TWO, 0, 0),
    "all in a delta": ((*repeat([[0]]), numbers_tag(DELTA_V, [512] * len(ROWS))), [[512]], 0, 0),
    "deltas": (
        (*repeat([[500.5]]), numbers_tag(DELTA_V, RAMP), numbers_tag(DELTA_H, WAVE)),
        [[500.5]],
        RAMP[:, None],
        WAVE,
    ),
}
"""Tags; what repeats, and what is added to each row and column."""


def black_of(photo):
    """Return black (H, W) as the normalisation has it."""
    span = np.take(photo.white - photo.black, np.tile(pattern(photo.phase), (62, 90)))
    height, width = photo.mosaic.shape
    return photo.mosaic - photo.normalised() * span[:height, :width]


@pytest.mark.parametrize("area", [None, (3, 5, 65, 95)], ids=["whole", "odd area"])
@pytest.mark.parametrize(
    ("case", "phase"),
    [
        *((case, BAYER) for case in BLACKS),
        *((case, XTRANS) for case in BLACKS if case != "no repeat"),
    ],
)
def test_black_is_the_file_s_at_every_pixel(tmp_path, case, phase, area):
    tags, cell, rows, columns = BLACKS[case]
    black = np.tile(cell, SHAPE)[: SHAPE[0], : SHAPE[1]] + rows + columns
    shape = SHAPE if area is None else (70, 100)
    mosaic = np.random.default_rng(1).integers(400, 16000, shape).astype(np.uint16)
    make_raw(tmp_path / "a.dng", mosaic=mosaic, phase=phase, active_area=area, more_tags=tags)
    photo = read_raw(tmp_path / "a.dng")
    np.testing.assert_allclose(black_of(photo), black, atol=5e-3)
    means = pack(black, photo.phase).mean((1, 2))
    np.testing.assert_allclose(photo.black, means, atol=2e-3)
    np.testing.assert_array_equal(photo.planes(), pack(photo.normalised(), photo.phase))


def test_a_result_has_no_delta_and_the_source_s_brightness(tmp_path):
    tags = BLACKS["deltas"][0]
    make_raw(tmp_path / "a.dng", shape=SHAPE, phase=BAYER, more_tags=tags)
    photo = read_raw(tmp_path / "a.dng")
    x = photo.normalised()
    (tmp_path / "b.dng").write_bytes(dng_bytes(photo, x, software="led"))
    again = read_raw(tmp_path / "b.dng")
    assert again.levels.pattern is None
    np.testing.assert_allclose(again.normalised(), x, atol=1e-5)


def test_white_may_differ_between_colours(tmp_path):
    for values, expected in (
        ([15000, 16000, 14000, 13000.5], [15000, 16000, 13000.5, 14000]),
        ([15000, 14000, 13000], [15000, 14000, 13000, 14000]),
    ):
        make_raw(tmp_path / "a.dng", more_tags=[numbers_tag(WHITE_LEVEL, values)])
        np.testing.assert_array_equal(read_raw(tmp_path / "a.dng").white, expected)


def test_levels_may_be_in_the_first_directory(tmp_path):
    mosaic = np.random.default_rng(0).normal(600, 5, (128, 160)).astype(np.uint16)
    version, model = (50706, 1, 4, bytes((1, 4, 0, 0))), (50708, 2, 4, "Cam")
    first = [version, model, numbers_tag(BLACK_LEVEL, [500]), numbers_tag(WHITE_LEVEL, [15000])]
    cfa = [(33421, 3, 2, (2, 2)), (33422, 1, 4, bytes((0, 1, 1, 2)))]
    with tifffile.TiffWriter(tmp_path / "a.dng") as tiff:
        tiff.write(
            np.zeros((16, 16, 3), np.uint8),
            photometric="rgb",
            subifds=1,
            subfiletype=1,
            metadata=None,
            extratags=[(*tag, True) for tag in first],
        )
        tags = [(*tag, True) for tag in cfa]
        tiff.write(mosaic, photometric="cfa", metadata=None, subfiletype=0, extratags=tags)
    photo = read_raw(tmp_path / "a.dng")
    np.testing.assert_array_equal(photo.black, [500] * 4)
    np.testing.assert_array_equal(photo.white, [15000] * 4)


def masked_raw(path, black, level, **how):
    """Write a frame with 32 masked columns, one of them hot, and the level that its tag says."""
    rng = np.random.default_rng(2)
    mosaic = np.rint(rng.normal(np.tile(black, (64, 60)), 2)).astype(np.uint16)
    mosaic[5, 7] = 16383
    mosaic[:, 32:] += 300
    tags = [numbers_tag(MASKED_AREAS, [0, 0, 128, 32])]
    tags += [(BLACK_LEVEL, 4, 0, ()), NO_REPEAT] if level is None else repeat([[level]])
    make_raw(path, mosaic=mosaic, active_area=(0, 32, 128, 120), more_tags=tags, **how)
    return read_raw(path).black


def test_masked_pixels_say_what_black_is(tmp_path):
    path = tmp_path / "a.dng"
    same, different = np.full((2, 2), 256.75), np.array([[255.8, 258.5], [257.1, 256.0]])
    for level in (None, 250, 257):
        np.testing.assert_allclose(masked_raw(path, same, level), 256.75, atol=0.12)
        found = masked_raw(path, different, level)
        np.testing.assert_allclose(found, [255.8, 258.5, 256, 257.1], atol=0.25)
    # They confirm a level that is as exact as they are.
    np.testing.assert_array_equal(masked_raw(path, same, 256.75), [256.75] * 4)


def test_masked_pixels_of_nothing_are_ignored(tmp_path):
    make_raw(tmp_path / "a.dng", active_area=(0, 40, 128, 160), black=500)
    photo = read_raw(tmp_path / "a.dng")
    samples = np.array(photo.mosaic)
    mosaic = np.hstack((np.zeros((128, 40), np.uint16), samples))
    for masked in ([0, 0, 128, 40], [0, 50, 128, 90], [0, 0, 4, 4], [0, 0, 500, 40]):
        tags = [numbers_tag(MASKED_AREAS, masked)]
        make_raw(
            tmp_path / "a.dng",
            mosaic=mosaic,
            active_area=(0, 40, 128, 160),
            black=500,
            more_tags=tags,
        )
        np.testing.assert_array_equal(read_raw(tmp_path / "a.dng").black, [500] * 4)


def test_light_on_masked_pixels_does_not_move_black(tmp_path):
    path, area = tmp_path / "a.dng", (0, 32, 128, 160)
    mosaic = make_raw(path, active_area=area)
    tags = [numbers_tag(MASKED_AREAS, [0, 0, 128, 32])]
    for light in (np.linspace(60, 0, 32), 11500):
        mosaic[:, :32] = np.rint(np.random.default_rng(4).normal(512 + light, 4, (128, 32)))
        make_raw(path, mosaic=mosaic, active_area=area, more_tags=tags)
        photo = read_raw(path)
        np.testing.assert_array_equal(photo.black, [512] * 4)
        assert "the file at 512: 512 is used" in photo.warnings[0]


def test_masked_areas_in_the_image_say_nothing_of_black(tmp_path):
    none = [(BLACK_LEVEL, 4, 0, ()), NO_REPEAT]
    for masked in ([0, 0, 2, 2] * 500, [0, 0, 999, 16]):
        tags = [*none, numbers_tag(MASKED_AREAS, masked)]
        make_raw(tmp_path / "a.dng", active_area=(0, 0, 128, 160), more_tags=tags)
        np.testing.assert_array_equal(read_raw(tmp_path / "a.dng").black, [0] * 4)


@pytest.mark.parametrize("right", [0, 12])
def test_a_maker_s_masked_columns_keep_their_fractions(right):
    """As LibRaw, whose mean is cut to whole numbers; in their first columns there is light."""
    rng = np.random.default_rng(3)
    level = np.array([[127.9, 128.6], [128.2, 128.95]])
    image = np.rint(rng.normal(np.tile(level, (80, 100)), 1.5)).astype(np.uint16)
    image[:, :10] += 50
    image[:, 40 : 200 - right] += 700
    area = (6, 40, 160, 200 - right)
    libraw = np.float32([127, 128, 128, 128])
    found = measured_black(image, Phase.RGGB, area, libraw)
    np.testing.assert_allclose(found, [127.9, 128.6, 128.95, 128.2], atol=0.1)
    # A level from elsewhere stays.
    for other in (np.float32([130] * 4), np.float32([0] * 4)):
        np.testing.assert_array_equal(measured_black(image, Phase.RGGB, area, other), other)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data here")
def test_a_real_crw_has_its_masked_columns_mean():
    black = read_raw(SHARED / "raw/good/canon_d30.CRW").black
    np.testing.assert_allclose(black, [127.86, 128.52, 128.95, 128.10], atol=0.04)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ([numbers_tag(DELTA_V, [1, 2, 3])], "3 values of BlackLevelDeltaV for 128 lines"),
        ([numbers_tag(DELTA_H, [1, 2, 3])], "3 values of BlackLevelDeltaH for 160 lines"),
        ([numbers_tag(BLACK_LEVEL, [1, 2, 3, 4, 5])], "5 values of BlackLevel for 2 x 2"),
        ([NO_REPEAT, numbers_tag(BLACK_LEVEL, [1, 2])], "2 values of BlackLevel for Bayer"),
        ([numbers_tag(WHITE_LEVEL, [9e3, 1e4])], "2 values of WhiteLevel .* its white is unclear"),
        ([(BLACK_LEVEL, 5, 1, (1, 0))], "BlackLevel that is not a number"),
        ([(DELTA_V, 11, 128, (float("nan"),) * 128)], "BlackLevelDeltaV that is not a number"),
        ([numbers_tag(BLACK_LEVEL, [16383] * 4)], "not above its black level"),
        ([(50711, 3, 1, 2)], "staggered"),
        ([(50975, 3, 1, 2)], "interleaved rows"),
    ],
)
def test_levels_and_layouts_that_cannot_be_honoured_are_refused(tmp_path, tags, words):
    make_raw(tmp_path / "a.dng", more_tags=tags)
    with pytest.raises(RawError, match=words):
        read_raw(tmp_path / "a.dng")


def test_deltas_of_nothing_may_be_of_any_number(tmp_path):
    make_raw(tmp_path / "a.dng", black=500, more_tags=[numbers_tag(DELTA_V, [0, 0, 0])])
    np.testing.assert_array_equal(read_raw(tmp_path / "a.dng").black, [500] * 4)


def test_two_samples_per_pixel_are_refused(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path)
    data = path.read_bytes()
    for tag, old, new in ((277, 1, 2), (257, 128, 64)):  # SamplesPerPixel, ImageLength
        (entry,) = {
            head + struct.pack("<I", old)
            for kind in (3, 4)
            if (head := struct.pack("<HHI", tag, kind, 1)) + struct.pack("<I", old) in data
        }
        data = data.replace(entry, entry[:8] + struct.pack("<I", new))
    path.write_bytes(data)
    with pytest.raises(RawError, match="2 samples per pixel"):
        read_raw(path)
