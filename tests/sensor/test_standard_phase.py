"""Moving a mosaic to the standard phase: every colour at its position in the cell."""

import itertools

import numpy as np
import pytest

from ledcli.sensor.cfa import (
    PHASES,
    STANDARD_PHASE,
    Phase,
    colour_map,
    pack,
    pattern,
    standard_start,
    to_standard_phase,
)
from ledcli.sensor.symmetry import Flip

EVERY_PHASE = [*PHASES["bayer"], *PHASES["xtrans"]]


@pytest.mark.parametrize("phase", EVERY_PHASE)
@pytest.mark.parametrize("shape", [(12, 18), (13, 19)])
def test_a_pixel_lies_where_its_phase_says(phase, shape):
    mosaic = np.arange(1, shape[0] * shape[1] + 1).reshape(shape)
    planes = to_standard_phase(pack(mosaic, phase), phase)
    cell, side = pattern(STANDARD_PHASE[phase.layout.name]), phase.layout.side
    top, left = phase.row, phase.col
    for row, col in np.ndindex(shape):
        y, x = row + top, col + left
        plane = cell[y % len(cell), x % len(cell)]
        assert planes[plane, y // side, x // side] == mosaic[row, col]


@pytest.mark.parametrize("phase", list(Phase))
def test_the_rows_before_the_first_pixel_are_mirrored(phase):
    mosaic = np.arange(8 * 10).reshape(8, 10)
    planes = to_standard_phase(pack(mosaic, phase), phase)
    top, left = phase.row, phase.col
    whole = np.pad(mosaic, ((top, top), (left, left)), "reflect")
    np.testing.assert_array_equal(planes, pack(whole, Phase.RGGB))


@pytest.mark.parametrize("phase", EVERY_PHASE)
@pytest.mark.parametrize(
    "flip", list(itertools.starmap(Flip, itertools.product([False, True], repeat=3)))
)
def test_the_first_standard_cell_of_a_flipped_mosaic_is_found(phase, flip):
    flipped = flip.image(colour_map(phase, (15, 16)))
    row, col = standard_start(flipped, phase.layout)
    rest = flipped[row:, col:]
    np.testing.assert_array_equal(rest, colour_map(STANDARD_PHASE[phase.layout.name], rest.shape))
    assert row < 3 and col < 6


@pytest.mark.parametrize("phase", EVERY_PHASE)
def test_a_shifted_phase_has_the_colours_of_the_crop(phase):
    whole = colour_map(phase, (20, 20))
    np.testing.assert_array_equal(whole[3:, 5:], colour_map(phase.shifted(3, 5), (17, 15)))
