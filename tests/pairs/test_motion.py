"""Objects that move between the frames of a pair, and frames that only share a gradient."""

import numpy as np
import pytest

from ledcli.pairs.checks import check_pair
from ledcli.pairs.scan import scan
from ledcli.raw.reader import read_raw
from tests.pairs.scenes import SHAPE, picture, shot, through

ROW, COL, SIDE = 96, 200, 32


def with_object(light, stops, *, row=ROW, col=COL):
    """Return the light with a box in it that is so many stops brighter."""
    seen = light.copy()
    seen[row : row + SIDE, col : col + SIDE] *= 2.0**stops
    return seen


@pytest.mark.parametrize(
    ("ratio", "iso", "stops"), [(20, 100, 0.3), (100, 1600, -1), (300, 400, 1)]
)
def test_a_moved_object_is_named_and_masked(tmp_path, ratio, iso, stops):
    light = np.minimum(through(picture(1)), 0.4)
    shot(tmp_path / "l.ARW", light, 100, 10)
    shot(tmp_path / "s.ARW", with_object(light, stops), iso, 1000 / (iso * ratio))
    [pair] = scan(tmp_path).pairs
    [note] = pair.check.notes
    assert "something moved" in note and "of the frame" in note
    moved = pair.check.motion.mask((SHAPE[0] // 2, SHAPE[1] // 2))
    inside = np.zeros_like(moved)
    inside[ROW // 2 : (ROW + SIDE) // 2, COL // 2 : (COL + SIDE) // 2] = True
    assert moved[inside].mean() > 0.7
    assert moved[~inside].mean() < 0.05
    assert pair.check.motion.share == pytest.approx(moved.mean(), abs=0.01)


def test_two_areas_are_counted(tmp_path):
    light = np.minimum(through(picture(1)), 0.4)
    moved = with_object(with_object(light, 1.2), -1.5, row=20, col=40)
    short = read_raw(shot(tmp_path / "s.ARW", moved, 100, 0.5))
    [note] = check_pair(short, read_raw(shot(tmp_path / "l.ARW", light, 100, 10)), 20).notes
    assert "one more place" in note


@pytest.mark.parametrize("ratio", [20, 100, 300])
@pytest.mark.parametrize("iso", [100, 6400])
def test_noise_banding_and_hot_pixels_are_no_motion(tmp_path, ratio, iso):
    light = through(picture(4))
    paths = [
        shot(tmp_path / "s.ARW", light, iso, 1000 / (iso * ratio)),
        shot(tmp_path / "l.ARW", light, 100, 10),
    ]
    short, long = map(read_raw, paths)
    rng = np.random.default_rng(ratio)
    read_noise = 2 + iso / 800
    dn = short.mosaic + rng.normal(0, 0.4 * read_noise, (SHAPE[0], 1))
    dn += (rng.random(SHAPE) < 1e-3) * rng.exponential(20 * read_noise, SHAPE)
    short.mosaic[:] = np.rint(dn).clip(0, 16383)
    check = check_pair(short, long, ratio)
    assert (check.problems, check.notes, check.motion) == ((), (), None)


def test_banding_at_the_edge_of_the_frame_is_no_motion(tmp_path):
    light = through(picture(4))
    short = read_raw(shot(tmp_path / "s.ARW", light, 6400, 1000 / (6400 * 300)))
    long = read_raw(shot(tmp_path / "l.ARW", light, 100, 10))
    short.mosaic[:, -8:] -= 12  # a little more than the read noise
    assert check_pair(short, long, 300).motion is None


def test_soft_scenes_that_share_a_gradient_are_no_pair(tmp_path):
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] / SHAPE[1]

    def soft(row, col):
        blob = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / 0.15**2)
        return (0.05 + 0.25 * cols + 0.1 * rows) * (1 + 0.8 * blob)

    short = read_raw(shot(tmp_path / "s.ARW", soft(0.2, 0.3), 400, 1 / 40))
    long = read_raw(shot(tmp_path / "l.ARW", soft(0.6, 0.7), 100, 10))
    assert check_pair(short, long, 100).problems
    same = read_raw(shot(tmp_path / "same.ARW", soft(0.2, 0.3), 100, 10))
    assert check_pair(short, same, 100).problems == ()
