import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledcli.sensor.cfa import PHASES, XTransPhase, find_phase, pack, pattern, unpack
from ledcli.sensor.layout import XTRANS
from ledcli.sensor.levels import Levels

SHEET = ("GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB", "RBGBRG")
"""The X-Trans pattern as it is printed everywhere, from one of its corners."""
COLOURS = np.array([["RGB".index(letter) for letter in line] for line in SHEET])
OFFSETS = [(row, col) for row in range(6) for col in range(6)]
ORIGIN = find_phase(COLOURS)
EVERY_PHASE = PHASES["xtrans"]

sides = st.integers(6, 25)
seeds = st.integers(0, 2**32 - 1)
margins = st.integers(-9, 9)


def colours_from(row, col, shape=(6, 6)):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return COLOURS[(rows + row) % 6, (cols + col) % 6]


def test_each_of_the_36_offsets_has_a_phase_and_two_share_one():
    phases = [find_phase(colours_from(row, col)) for row, col in OFFSETS]
    assert set(phases) == set(EVERY_PHASE) and len(EVERY_PHASE) == 18
    assert {phases.count(phase) for phase in EVERY_PHASE} == {2}
    assert phases == [ORIGIN.shifted(row, col) for row, col in OFFSETS]


def test_what_is_no_x_trans_has_no_phase():
    assert find_phase(np.roll(COLOURS, 1, 0)[::2].repeat(2, 0)) is None
    swapped = COLOURS.copy()
    swapped[0, 0] = 0
    assert find_phase(swapped) is None


@pytest.mark.parametrize(("row", "col"), OFFSETS)
@settings(max_examples=12)
@given(height=sides, width=sides, seed=seeds)
def test_unpacking_gives_back_every_mosaic_from_every_offset(row, col, height, width, seed):
    mosaic = np.random.default_rng(seed).integers(0, 2**16, (height, width)).astype(np.uint16)
    phase = find_phase(colours_from(row, col))
    planes = pack(mosaic, phase)
    assert planes.dtype == mosaic.dtype and planes.shape[0] == 9
    # The cells that the mosaic touches, and no others.
    assert planes.shape[1:] == (-(-(height + phase.row) // 3), -(-(width + phase.col) // 3))
    np.testing.assert_array_equal(unpack(planes, phase, mosaic.shape), mosaic)


@pytest.mark.parametrize(("row", "col"), OFFSETS)
@pytest.mark.parametrize("shape", [(6, 6), (7, 11), (12, 18), (13, 8)])
def test_a_plane_holds_one_colour_wherever_the_mosaic_begins(row, col, shape):
    colours = colours_from(row, col, shape)
    planes = pack(colours, find_phase(colours_from(row, col)))
    for plane, colour in zip(planes, XTRANS.colours, strict=True):
        assert (plane == colour).all()  # the cells at the border that were completed, too


def test_planes_are_samples_of_their_cell():
    shape = (24, 30)
    place = np.stack(np.mgrid[: shape[0], : shape[1]])
    for phase in EVERY_PHASE:
        rows, cols = (pack(axis, phase)[:, 2:-2, 2:-2] for axis in place)
        top, left = np.mgrid[2 : 2 + rows.shape[1], 2 : 2 + rows.shape[2]] * 3
        assert set(np.unique(rows + phase.row - top)) == {0, 1, 2}
        assert set(np.unique(cols + phase.col - left)) == {0, 1, 2}
        # Red and blue change places with a neighbour only, greens with none.
        for plane, (even, odd) in enumerate(zip(XTRANS.even, XTRANS.odd, strict=True)):
            apart = abs(even[0] - odd[0]) + abs(even[1] - odd[1])
            assert apart == (0 if XTRANS.colours[plane] == 1 else 1)


@given(st.sampled_from(EVERY_PHASE), st.integers(2, 9), st.integers(2, 9), seeds)
def test_packing_gives_back_every_set_of_planes(phase, rows, cols, seed):
    planes = np.random.default_rng(seed).random((9, rows, cols)).astype(np.float32)
    mosaic = unpack(planes, XTransPhase(0, 0), (3 * rows, 3 * cols))
    np.testing.assert_array_equal(pack(mosaic, XTransPhase(0, 0)), planes)
    # From another offset the same samples are in the same planes.
    cut = mosaic[phase.row :, phase.col :]
    if min(cut.shape) >= XTRANS.period:
        first = (-(-phase.row // 3), -(-phase.col // 3))
        again = pack(cut, phase)
        np.testing.assert_array_equal(
            again[:, first[0] :, first[1] :], planes[:, first[0] :, first[1] :]
        )


@given(st.sampled_from(EVERY_PHASE), margins, margins)
def test_shifting_there_and_back_changes_nothing(phase, rows, cols):
    assert phase.shifted(rows, cols).shifted(-rows, -cols) == phase
    assert phase.shifted(3, 3) == phase == phase.shifted(6, -6)


@given(st.sampled_from(EVERY_PHASE), sides, sides, seeds)
def test_every_plane_is_normalised_by_its_own_levels(phase, height, width, seed):
    mosaic = np.random.default_rng(seed).integers(0, 2**14, (height, width)).astype(np.uint16)
    black, white = np.linspace(500, 540, 9), np.linspace(16000, 16383, 9)
    x = Levels(black, white).normalise(mosaic, phase)
    assert x.dtype == np.float32
    expected = [
        (plane - low) / (high - low)
        for plane, low, high in zip(pack(mosaic, phase), black, white, strict=True)
    ]
    np.testing.assert_allclose(pack(x, phase), expected, atol=1e-6)


def test_the_pattern_names_the_plane_of_each_pixel():
    for phase in EVERY_PHASE:
        cells = (-(-(phase.row + 6) // 3), -(-(phase.col + 6) // 3))
        planes = np.broadcast_to(np.arange(9)[:, None, None], (9, *cells))
        mosaic = unpack(planes, phase, (6, 6))
        np.testing.assert_array_equal(pattern(phase), mosaic)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="5x9"):
        pack(np.zeros((5, 9)), XTransPhase(0, 0))
    with pytest.raises(ValueError, match="12x12"):
        unpack(np.zeros((9, 4, 4)), XTransPhase(1, 0), (12, 12))
