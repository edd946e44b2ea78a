"""Cells that begin alike: every colour at its place in the cell, whatever the phase."""

import numpy as np
import pytest

from ledcli.sensor.cfa import (
    FIRST,
    Phase,
    colours_at,
    first_cells,
    origin,
    pack,
    pattern,
    shift_phase,
    to_first,
)
from ledcli.sensor.xtrans import XTransPhase, every_phase

PHASES = [*Phase, *every_phase()]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("shape", [(12, 18), (13, 19)])
def test_a_pixel_lies_where_the_origin_says(phase, shape):
    mosaic = np.arange(1, shape[0] * shape[1] + 1).reshape(shape)
    planes = first_cells(pack(mosaic, phase), phase)
    cfa = "xtrans" if isinstance(phase, XTransPhase) else "bayer"
    cell = pattern(FIRST[cfa])
    side = 2 if cfa == "bayer" else 3
    top, left = origin(phase)
    for row, col in np.ndindex(shape):
        y, x = row + top, col + left
        plane = cell[y % len(cell), x % len(cell)]
        assert planes[plane, y // side, x // side] == mosaic[row, col]


@pytest.mark.parametrize("phase", list(Phase))
def test_what_lies_before_the_first_pixel_is_mirrored(phase):
    mosaic = np.arange(8 * 10).reshape(8, 10)
    planes = first_cells(pack(mosaic, phase), phase)
    top, left = origin(phase)
    whole = np.pad(mosaic, ((top, top), (left, left)), "reflect")
    np.testing.assert_array_equal(planes, pack(whole, Phase.RGGB))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("turn", range(8))
def test_a_turned_mosaics_first_cell_is_found(phase, turn):
    shape = (15, 16)
    colours = colours_at(phase, shape)
    turned = colours[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
    turned = turned.T if turn & 4 else turned
    cfa = "xtrans" if isinstance(phase, XTransPhase) else "bayer"
    row, col = to_first(turned, cfa)
    rest = turned[row:, col:]
    np.testing.assert_array_equal(rest, colours_at(FIRST[cfa], rest.shape))
    assert row < 3 and col < 6


@pytest.mark.parametrize("phase", PHASES)
def test_colours_go_on_with_the_phase(phase):
    whole = colours_at(phase, (20, 20))
    np.testing.assert_array_equal(whole[3:, 5:], colours_at(shift_phase(phase, 3, 5), (17, 15)))
