"""Developing: a pixel of the picture for each of the mosaic, the same as turned upright."""

from dataclasses import replace

import numpy as np
import pytest

from ledcli.errors import RawError
from ledcli.output.dng import dng_bytes
from ledcli.output.render import check_square, develop_dng, develop_mosaic, upright
from ledcli.raw.reader import read_raw
from tests.shoot import make_raw


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright_it_equals_libraws_picture(tmp_path, orientation):
    make_raw(tmp_path / "a.dng", shape=(65, 83), orientation=orientation)
    photo = read_raw(tmp_path / "a.dng")
    x = photo.normalised()
    picture = develop_mosaic(photo, x)
    assert picture.shape == (65, 83, 3)
    shown = develop_dng(dng_bytes(photo, x, software="t", compression="none"))
    np.testing.assert_array_equal(upright(picture, photo.orientation), shown)


@pytest.mark.parametrize("phase", ["RGGB", "BGGR", "GRBG", "GBRG", (1, 2)])
def test_a_pixel_is_where_the_mosaic_has_it(tmp_path, phase):
    light = np.full((60, 72), 0.05)
    light[30:34, 41:45] = 0.9
    make_raw(tmp_path / "a.dng", light=light, phase=phase)
    photo = read_raw(tmp_path / "a.dng")
    grey = develop_mosaic(photo, photo.normalised()).sum(2).astype(np.float64)
    rows, cols = np.nonzero(grey > (grey.max() + grey.min()) / 2)
    assert (rows.mean(), cols.mean()) == (pytest.approx(31.5, abs=1), pytest.approx(42.5, abs=1))


def test_pixels_that_are_not_square_are_refused(tmp_path):
    make_raw(tmp_path / "a.dng")
    photo = read_raw(tmp_path / "a.dng")
    check_square(photo)
    with pytest.raises(RawError, match="not square"):
        develop_mosaic(replace(photo, pixel_aspect=2.0), photo.normalised())
