import itertools

import numpy as np
import pytest
import torch

from ledcli.sensor.cfa import MonoPhase, Phase, XTransPhase, colour_pattern, pack, unpack
from ledcli.sensor.layout import XTRANS
from ledcli.sensor.symmetry import (
    MIRRORS,
    Flip,
    cells_lost,
    even_start,
    flip_planes,
    mirrored,
    mirrored_back,
    standard_axes,
)

FLIPS = [Flip(*each) for each in itertools.product([False, True], repeat=3)]
PHASES = {4: Phase.RGGB, 9: XTransPhase(0, 0)}


def place(rows, cols):
    """A picture in which every pixel has a value of its own, alike in all colours."""
    return np.arange(rows * cols, dtype=np.int32).reshape(rows, cols)


@pytest.mark.parametrize("cells", [(8, 10), (9, 8), (7, 9)])
@pytest.mark.parametrize("flip", FLIPS)
def test_a_flipped_x_trans_is_what_the_sensor_sees_of_the_flipped_picture(flip, cells):
    sides = (3 * cells[0], 3 * cells[1])
    planes = pack(place(*sides), PHASES[9])
    found = flip_planes(planes, flip)
    cut = cells_lost(9)
    kept = (cells[1] - cut, cells[0] - cut) if flip.transpose else (cells[0] - cut, cells[1] - cut)
    assert found.shape == (9, *kept)
    # At some position in the flipped picture, by less than a period, the sensor sees just this.
    picture = flip.image(place(*sides))
    places = [
        (row, col)
        for row, col in np.ndindex(6, 6)
        if np.array_equal(seen(picture[row:, col:], kept), found)
    ]
    assert len(places) == 1


def seen(picture, cells):
    return pack(picture[: 3 * cells[0], : 3 * cells[1]], PHASES[9]) if picture.size else None


@pytest.mark.parametrize("planes", [4, 9])
@pytest.mark.parametrize("flip", FLIPS)
def test_every_plane_keeps_its_colour(planes, flip):
    phase = PHASES[planes]
    cell = colour_pattern(phase)
    mosaic = np.tile(cell, (36 // len(cell), 36 // len(cell)))
    for plane, colour in zip(
        flip_planes(pack(mosaic, phase), flip), phase.layout.colours, strict=True
    ):
        assert (plane == colour).all()


def test_x_trans_crops_start_at_even_cells_and_bayer_crops_anywhere():
    for row, col in itertools.product(range(4), repeat=2):
        assert even_start(4, row, col) == (row, col)
        down, right = even_start(len(XTRANS.colours), row, col)
        assert (down + right) % 2 == 0
        assert 0 <= row - down <= 1 and 0 <= col - right <= 1


def test_flipped_planes_are_of_a_mosaic_at_the_standard_phase_whatever_they_were_of():
    mosaic = place(16, 20)
    for phase, flip in itertools.product([*Phase, MonoPhase.MONO], FLIPS):
        planes = flip_planes(pack(mosaic, phase), flip, phase)
        found = unpack(planes, Phase.RGGB, (14, 18) if not flip.transpose else (18, 14))
        # Packed with wrong places, neighbours would not differ by one row or column.
        picture = flip.image(mosaic)
        (at,) = np.argwhere(picture == found[0, 0])
        rows, cols = found.shape
        assert np.array_equal(found, picture[at[0] : at[0] + rows, at[1] : at[1] + cols])


@pytest.mark.parametrize("phase", [*Phase, MonoPhase.MONO, XTransPhase(1, 2)])
def test_mirrored_along_the_standard_axes_a_mosaic_has_the_standard_phase(phase):
    mosaic = place(18, 24)
    axes = standard_axes(phase)
    if phase.layout.fixed_cells:
        assert axes == ()
        return
    planes = np.flip(pack(mosaic, phase), axes)
    seen = np.flip(mosaic, [axis - 1 for axis in axes])
    assert np.array_equal(planes, pack(seen, Phase.RGGB))


@pytest.mark.parametrize("flip", MIRRORS)
def test_a_mirrored_mosaic_has_the_standard_phase_and_comes_back(flip):
    planes = pack(place(16, 20).astype(np.float32), Phase.RGGB)
    seen = mirrored(torch.from_numpy(planes), flip)
    mosaic = unpack(seen.numpy(), Phase.RGGB, (16 + 2 * flip.rows, 20 + 2 * flip.cols))
    inner = mosaic[flip.rows : flip.rows + 16, flip.cols : flip.cols + 20]
    assert np.array_equal(inner, flip.image(place(16, 20)))
    assert np.array_equal(mirrored_back(seen, flip).numpy(), planes)
