import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledcli.sensor.cfa import Phase, offsets, pack, unpack
from ledcli.sensor.levels import Levels

phases = st.sampled_from(list(Phase))
sides = st.integers(2, 19)
seeds = st.integers(0, 2**32 - 1)


def _mosaic(height, width, seed):
    return np.random.default_rng(seed).integers(0, 2**16, (height, width)).astype(np.uint16)


def test_g1_is_the_green_in_reds_row_for_every_phase():
    for phase in Phase:
        red, green1, blue, green2 = offsets(phase)
        assert green1[0] == red[0] and green2[0] == blue[0]
        letters = {red: "R", green1: "G", blue: "B", green2: "G"}
        assert "".join(letters[at] for at in ((0, 0), (0, 1), (1, 0), (1, 1))) == phase


@given(phases, sides, sides, seeds)
def test_unpacking_gives_back_every_mosaic(phase, height, width, seed):
    mosaic = _mosaic(height, width, seed)
    planes = pack(mosaic, phase)
    assert planes.shape == (4, -(-height // 2), -(-width // 2))
    assert planes.dtype == mosaic.dtype
    np.testing.assert_array_equal(unpack(planes, phase, mosaic.shape), mosaic)


@given(phases, sides, sides, seeds)
def test_packing_gives_back_every_set_of_planes(phase, rows, cols, seed):
    planes = np.random.default_rng(seed).random((4, rows, cols)).astype(np.float32)
    mosaic = unpack(planes, phase, (2 * rows, 2 * cols))
    np.testing.assert_array_equal(pack(mosaic, phase), planes)


@given(phases, st.integers(0, 5), st.integers(0, 5), seeds)
def test_a_plane_holds_one_colour_wherever_the_crop_starts(phase, top, left, seed):
    colour = np.empty((12, 14), np.uint16)
    for index, (row, col) in enumerate(offsets(phase)):
        colour[row::2, col::2] = index
    planes = pack(colour[top:, left:], phase.shifted(top, left))
    for index, plane in enumerate(planes):
        assert (plane == index).all()


@given(phases, st.integers(-9, 9), st.integers(-9, 9))
def test_shifting_there_and_back_changes_nothing(phase, rows, cols):
    assert phase.shifted(rows, cols).shifted(-rows, -cols) == phase
    assert phase.shifted(2 * rows, 2 * cols) == phase


def test_an_odd_border_is_completed_with_the_nearest_sample_of_the_colour():
    mosaic = np.arange(15, dtype=np.uint16).reshape(5, 3)
    red, green1, blue, green2 = pack(mosaic, Phase.RGGB)
    np.testing.assert_array_equal(red, mosaic[0::2, 0::2])
    np.testing.assert_array_equal(green1, [[1, 1], [7, 7], [13, 13]])
    np.testing.assert_array_equal(blue, [[4, 4], [10, 10], [10, 10]])
    np.testing.assert_array_equal(green2, [[3, 5], [9, 11], [9, 11]])


@given(phases, sides, sides, seeds)
def test_every_plane_is_normalised_by_its_own_levels(phase, height, width, seed):
    mosaic = _mosaic(height, width, seed) // 4
    black, white = np.array([500, 512, 520, 530.0]), np.array([16000, 16383, 15000, 16383.0])
    x = Levels(black, white).normalise(mosaic, phase)
    assert x.dtype == np.float32
    planes = zip(pack(mosaic, phase), black, white, strict=True)
    expected = [(plane - low) / (high - low) for plane, low, high in planes]
    np.testing.assert_allclose(pack(x, phase), expected, atol=1e-6)


@pytest.mark.parametrize("phase", list(Phase))
def test_black_is_zero_white_is_one_and_nothing_is_clipped(phase):
    black, white = np.array([10, 20, 30, 40]), np.array([110, 220, 330, 440])
    for dn, wanted in ((black, 0.0), (white, 1.0), (2 * white - black, 2.0), (black * 0, None)):
        mosaic = unpack(np.tile(dn[:, None, None], (1, 2, 2)), phase, (4, 4))
        x = Levels(black, white).normalise(mosaic, phase)
        if wanted is None:
            assert (x < 0).all()
        else:
            np.testing.assert_allclose(x, wanted, rtol=1e-6)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1x4"):
        pack(np.zeros((1, 4)), Phase.RGGB)
    with pytest.raises(ValueError, match="6x6"):
        unpack(np.zeros((4, 2, 3)), Phase.RGGB, (6, 6))
