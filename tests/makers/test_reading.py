"""True CR2, NEF and ARW files are read as their maker notes say."""

from fractions import Fraction

import numpy as np
import pytest

from ledcli.errors import RawError
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import Phase
from tests.makers import canon
from tests.makers.cameras import AREA, BALANCE, CAMERAS, MASKED
from tests.shoot import scene

each = pytest.mark.parametrize("camera", CAMERAS, ids=str)


@each
def test_samples_levels_and_tags_are_the_files(camera, tmp_path):
    path, decoded = camera.shoot(tmp_path, scene(AREA), iso=1600, time=Fraction(1, 125))
    photo = read_raw(path)
    (height, width), (top, left) = photo.mosaic.shape, camera.margin
    # LibRaw leaves out columns at the right of some models, and one row and column of Canon's.
    assert AREA[0] - 1 <= height <= AREA[0] and AREA[1] - 42 <= width <= AREA[1]
    np.testing.assert_array_equal(photo.mosaic, decoded[top:, left:][:height, :width])
    assert photo.phase == Phase.RGGB
    np.testing.assert_allclose(photo.black, camera.black, atol=0.15 if left else 0)
    assert camera.white[0] <= photo.white.min() == photo.white.max() <= camera.white[1]
    np.testing.assert_allclose(photo.as_shot_wb, BALANCE, rtol=1e-5)
    assert photo.crop == camera.crop
    exif = photo.exif
    assert (exif.iso, exif.exposure_time, exif.model) == (1600, 1 / 125, camera.model)
    assert exif.datetime == "2024:05:06 07:08:09" and exif.artist is None
    assert photo.colour_matrix is not None and photo.warnings == ()


def test_a_canon_s_masked_columns_say_what_black_is_and_sensor_info_the_crop(tmp_path):
    """LibRaw cuts black to whole numbers, and drops the first row of a crop at an odd one."""
    path, decoded = MASKED.shoot(tmp_path, np.full((1450, 2176), 0.1))
    photo = read_raw(path)
    assert photo.crop == MASKED.crop == (5, 8, 1440, 2160)
    np.testing.assert_array_equal(photo.mosaic, decoded[6:, 48:][:1448])
    np.testing.assert_allclose(photo.black, MASKED.black, atol=0.05)


def test_a_stated_limit_does_not_raise_white(tmp_path):
    """Burnt areas would turn pink if white were above what the sensor gives."""
    mosaic = np.random.default_rng(0).integers(1000, 15280, (256, 320)).astype(np.uint16)
    how = {"borders": (0, 0, 319, 255), "balance": (2000, 1000, 1000, 1500)}
    for stated, expected in ((14000, 14000), (16383, 15280)):
        (tmp_path / "a.CR2").write_bytes(canon.cr2(mosaic, white=stated, **how))
        np.testing.assert_allclose(read_raw(tmp_path / "a.CR2").white, expected, atol=100)


@each
def test_a_file_cut_short_is_refused(camera, tmp_path):
    path, _ = camera.shoot(tmp_path, scene(AREA))
    data = path.read_bytes()
    for kept in (0.99, 0.9, 0.5):
        path.write_bytes(data[: int(kept * len(data))])
        with pytest.raises(RawError, match="damaged or truncated"):
            read_raw(path)
