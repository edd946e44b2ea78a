import numpy as np
import pytest

from ledcli.raw.reader import read_raw
from tests.shoot import COLOUR_MATRIX, make_raw

RATIONAL, SRATIONAL, SHORT = 5, 10, 3
TUNGSTEN, D65 = (0.4476, 0.4074), (0.3127, 0.3290)
WARM_MATRIX = ((1.0, -0.4, -0.1), (-0.5, 1.3, 0.2), (-0.1, 0.3, 0.6))


def _fractions(values):
    return tuple(part for value in np.ravel(values) for part in (round(10000 * value), 10000))


def _white(matrix, xy):
    x, y = xy
    camera = np.array(matrix) @ [x / y, 1, (1 - x - y) / y]
    return camera[1] / camera


@pytest.mark.parametrize("xy", [TUNGSTEN, D65])
def test_the_white_point_gives_the_white_balance(tmp_path, xy):
    """LibRaw multiplies the colour matrix by the white point instead."""
    path = tmp_path / "a.dng"
    balance = (50727, RATIONAL, 3, _fractions((1.2, 1.0, 0.9)))
    make_raw(path, neutral=None, more_tags=[(50729, RATIONAL, 2, _fractions(xy))])
    photo = read_raw(path)
    np.testing.assert_allclose(photo.as_shot_wb, _white(COLOUR_MATRIX, xy), rtol=1e-3)
    np.testing.assert_allclose(photo.colour_matrix, COLOUR_MATRIX, atol=1e-3)
    make_raw(path, neutral=None, more_tags=[(50729, RATIONAL, 2, _fractions(xy)), balance])
    balanced = np.diag([1.2, 1, 0.9]) @ COLOUR_MATRIX
    np.testing.assert_allclose(read_raw(path).as_shot_wb, _white(balanced, xy), rtol=1e-3)
    # The camera's neutral goes before its white point.
    make_raw(path, more_tags=[(50729, RATIONAL, 2, _fractions(xy))])
    photo = read_raw(path)
    np.testing.assert_allclose(photo.as_shot_wb, [2, 1, 1.6], rtol=1e-3)
    np.testing.assert_allclose(photo.colour_matrix, COLOUR_MATRIX, atol=1e-3)


def test_two_matrices_are_mixed_by_the_temperature_of_the_white(tmp_path):
    path = tmp_path / "a.dng"

    def wb(xy):
        warm = [(50722, SRATIONAL, 9, _fractions(WARM_MATRIX)), (50779, SHORT, 1, 17)]
        make_raw(path, neutral=None, more_tags=[*warm, (50729, RATIONAL, 2, _fractions(xy))])
        return read_raw(path).as_shot_wb

    np.testing.assert_allclose(wb(D65), _white(COLOUR_MATRIX, D65), rtol=2e-3)
    np.testing.assert_allclose(wb(TUNGSTEN), _white(WARM_MATRIX, TUNGSTEN), rtol=2e-3)
    between = (0.3690, 0.3719)  # 4300 K
    half = 0.5 * np.array(COLOUR_MATRIX) + 0.5 * np.array(WARM_MATRIX)
    np.testing.assert_allclose(wb(between), _white(half, between), rtol=0.05)


@pytest.mark.parametrize("xy", [(0.0, 0.3), (0.7, 0.4), (0.4, 0.1858)])
def test_an_impossible_white_point_is_none(tmp_path, xy):
    path = tmp_path / "a.dng"
    make_raw(path, neutral=None, more_tags=[(50729, RATIONAL, 2, _fractions(xy))])
    assert read_raw(path).as_shot_wb is None
