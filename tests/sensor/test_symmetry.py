import itertools

import numpy as np
import pytest

from ledcli.sensor.cfa import Phase, layout, pack, pattern
from ledcli.sensor.layout import XTRANS
from ledcli.sensor.symmetry import cells_lost, even_start, turned
from ledcli.sensor.xtrans import XTransPhase

FLIPS = list(itertools.product([False, True], repeat=3))
PHASES = {4: Phase.RGGB, 9: XTransPhase(0, 0)}


def place(rows, cols):
    """A picture in which every pixel has a value of its own, alike in all colours."""
    return np.arange(rows * cols, dtype=np.int32).reshape(rows, cols)


def through(rows, cols, flips):
    picture = place(rows, cols)[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    return picture.T if flips[2] else picture


@pytest.mark.parametrize("cells", [(8, 10), (9, 8), (7, 9)])
@pytest.mark.parametrize("flips", FLIPS)
def test_a_turned_x_trans_is_what_the_sensor_sees_of_the_turned_picture(flips, cells):
    sides = (3 * cells[0], 3 * cells[1])
    planes = pack(place(*sides), PHASES[9])
    found = turned(planes, flips)
    cut = cells_lost(9)
    kept = (cells[1] - cut, cells[0] - cut) if flips[2] else (cells[0] - cut, cells[1] - cut)
    assert found.shape == (9, *kept)
    # At some place of the turned picture, by less than a period, the sensor sees just this.
    picture = through(*sides, flips)
    places = [
        (row, col)
        for row, col in np.ndindex(6, 6)
        if np.array_equal(seen(picture[row:, col:], kept), found)
    ]
    assert len(places) == 1


def seen(picture, cells):
    return pack(picture[: 3 * cells[0], : 3 * cells[1]], PHASES[9]) if picture.size else None


@pytest.mark.parametrize("planes", [4, 9])
@pytest.mark.parametrize("flips", FLIPS)
def test_every_plane_keeps_its_colour(planes, flips):
    phase = PHASES[planes]
    cell = np.array(layout(phase).colours)[pattern(phase)]
    mosaic = np.tile(cell, (36 // len(cell), 36 // len(cell)))
    for plane, colour in zip(
        turned(pack(mosaic, phase), flips), layout(phase).colours, strict=True
    ):
        assert (plane == colour).all()


def test_an_x_trans_is_cut_at_even_cells_and_a_bayer_anywhere():
    for row, col in itertools.product(range(4), repeat=2):
        assert even_start(4, row, col) == (row, col)
        down, right = even_start(len(XTRANS.colours), row, col)
        assert (down + right) % 2 == 0
        assert 0 <= row - down <= 1 and 0 <= col - right <= 1
